"""Solves a regularisation path exactly and says which penalty to use.

    python -m experiments.path

With no flag: scikit-learn's digits, 45 penalties from 1e-6 to 1, five folds and all
rows: 270 fits, each with a proof that it is within a millionth of the optimum. It
prints both choices, the lowest cross-validated loss and the strongest penalty within a
standard error of it, the test accuracy of the one that ``--choice`` names, and the run
folder, in which ``report.html`` is the page to open.

``--loo`` asks no folds: every penalty is judged by its loss on each row as if the row
had been left out, estimated from one fit. For few rows.
"""

import time
import warnings
from pathlib import Path

from linclf_jax.cli import compilation_cache
from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.reports import sweep_page
from linclf_jax.runs import lock
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.selection.cross_validation import CrossValidation
from linclf_jax.studies import (
    folders,
    kept_fits,
    last_step,
    path_outcome,
    path_problem,
    rare_classes,
)
from linclf_jax.studies.path_outcome import Outcome
from linclf_jax.studies.path_problem import Config, Problem


def run(config: Config) -> Outcome:
    """Solves, chooses, tests once, and writes the run folder.

    Args:
        config: All flags.

    Raises:
        ValueError: Before anything is compiled, when a flag or the data is bad or the
            folder belongs to another configuration; after it, when no penalty has fits
            that ended well.
        last_step.Unfinished: The disk or the last step failed; the same command goes
            on.
    """
    sweep_page.require()
    problem = path_problem.prepare(config)
    rare_classes.tell(problem.warnings)
    folder = Path(config.out_dir or folders.default(config, "path"))
    with lock.locked(folder):
        folders.open_run(folder, config, problem.dataset, "path")
        start = time.monotonic()
        with last_step.guarded("path", folder, OSError):
            found = kept_fits.load_path(folder)
            if found is None:
                found = solve(problem)
                kept_fits.save_path(folder, found)
            seconds = time.monotonic() - start
            return path_outcome.finish(folder, problem, found, seconds)


def solve(problem: Problem) -> CrossValidation:
    """Fits every penalty, in every fold or to all rows alone."""
    config, x, labels, l2s = problem.config, problem.x, problem.labels, problem.l2s
    limits = {"tol": config.tol, "max_newton": config.max_newton}
    if problem.folds is None:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            # Of rare classes, of which there is a line already.
            return path_lib.leave_one_out(x, labels, l2s, **limits)
    return path_lib.cross_validate(x, labels, l2s, problem.folds, **limits)


def main() -> None:
    """Solves the path that the flags describe."""
    config = Config(**shared_flags.values(Config))
    compilation_cache.enable_cache(config.compilation_cache)
    print(path_outcome.summary(run(config)))


if __name__ == "__main__":
    shared_flags.define(Config())
    launch.launch(main)
