"""Probes frozen features: a linear classifier on each set, and how sure its score is.

    python -m experiments.probe --train_features=train.npy --train_labels=train_y.npy \
        --test_features=test.npy --test_labels=test_y.npy

solves softmax regression over 45 penalties and five folds, selects by held-out loss,
each penalty at the best temperature of its logits, proves that the fits this rests on
are at their optimum, and tests the selected classifier once. ``--val_features`` and
``--val_labels`` take the place of the folds. ``--features=NAME=FOLDER,NAME=FOLDER``
compares several sets on the same test rows, ``--protocol`` names the way of a paper,
``--shots=1,5,10,25`` asks how far a few rows of each class go, with mean and spread
over ``--draws`` draws.

``linclf_jax.runs.schema`` says what the run directory holds.
"""

from linclf_jax.cli import compilation_cache, console, main
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.studies import pipeline, probe, run_files


def run(config: ProbeConfig) -> None:
    """Probes the features that the flags name."""
    compilation_cache.enable_cache(config.runtime.compilation_cache)
    study = probe.prepare(config)
    print(console.summary(pipeline.run(study, run_files.out_dir(study.plan))))


SCRIPT = main.Script(run, ProbeConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
