"""Solves a regularisation path exactly and says which penalty to use.

    python -m experiments.path

With no flag: scikit-learn's digits, 45 penalties from 1e-6 to 1, five folds and all
rows: 270 fits. Those that the choice rests on have a proof that they are within a
millionth of the optimum; with ``--certify=all`` every one. It prints what each rule
selects, the lowest cross-validated loss and the strongest penalty within a standard
error of it, the test accuracy of the one that ``--rule`` names, and the run directory,
in which ``report.html`` is the page to open.

``--leave_one_out`` asks no folds: every penalty is judged by its loss on each row as if
the row had been left out, estimated from one fit. For few rows.
"""

from linclf_jax.cli import compilation_cache, console, main
from linclf_jax.config.path import PathConfig
from linclf_jax.studies import path, pipeline, run_files


def run(config: PathConfig) -> None:
    """Solves the path that the flags describe."""
    compilation_cache.enable_cache(config.runtime.compilation_cache)
    study = path.prepare(config)
    print(console.summary(pipeline.run(study, run_files.out_dir(study.plan))))


SCRIPT = main.Script(run, PathConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
