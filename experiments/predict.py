"""Predicts new rows by the chosen classifier of a finished run.

    python -m experiments.predict --run=runs/probe-... --features=new.npy --out=new.csv

The run may be any that has chosen a classifier: of a sweep, a path, a course, a probe.
Its files are compared with their SHA-256 sums first. Features are as they came, before
any scaling. ``--out`` is ``.csv`` or ``.parquet``, with a column ``class`` and, with
``--probabilities``, a column for each class, or ``.npy``, a structured array with the
fields ``class`` and ``probabilities (C,)``, classes in the order of the model. In a
``.csv`` an apostrophe stands before what a spreadsheet would take for a formula, see
``runs.csv_text``. It prints the number of rows, the classes, and the file.
"""

from linclf_jax.cli import main
from linclf_jax.studies import predictions
from linclf_jax.studies.predictions import PredictConfig


def run(config: PredictConfig) -> None:
    """Predicts the rows that the flags name."""
    predicted = predictions.run(config)
    names = ", ".join(predicted.class_names)
    print(f"{len(predicted.classes)} rows, classes {names}")
    print(config.out)


SCRIPT = main.Script(run, PredictConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
