"""Probes frozen features: a linear classifier on each set, and how sure its score is.

    python -m experiments.probe --train_features=train.npy --train_labels=train_y.npy \
        --test_features=test.npy --test_labels=test_y.npy

solves softmax regression exactly over 45 penalties and five folds, chooses by held-out
loss, each penalty at the best temperature of its logits, and tests the chosen
classifier once. ``--val_features`` and ``--val_labels`` take the place of the folds.
``--features=NAME=FOLDER,NAME=FOLDER`` compares several sets on the same test rows,
``--protocol`` names the way of a paper, ``--shots=1,5,10,25`` asks how far a few rows
of each class go, with mean and spread over ``--seeds`` draws.

``probe_outcome`` says what the run folder holds.
"""

import time
from pathlib import Path

from linclf_jax.cli import compilation_cache, probe_table
from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.config.probe import Config
from linclf_jax.reports import sweep_page
from linclf_jax.runs import lock
from linclf_jax.studies import (
    folders,
    kept_fits,
    last_step,
    probe_exact,
    probe_outcome,
    probe_problem,
    probe_training,
    rare_classes,
)
from linclf_jax.studies.probe_outcome import Outcome
from linclf_jax.studies.probe_problem import Found, Problem
from linclf_jax.studies.probe_sources import FeatureSet


def run(config: Config) -> Outcome:
    """Fits, chooses, tests once, and writes the run folder.

    Args:
        config: All flags.

    Raises:
        ValueError: Before anything is compiled, when a flag or the data is bad or the
            folder belongs to another configuration; after it, when no setting has fits
            that ended well.
        last_step.Unfinished: The disk or the last step failed; the same command goes
            on.
    """
    sweep_page.require()
    problem = probe_problem.prepare(config)
    for features in problem.sets:
        rare_classes.tell([f"{features.name}: {w}" for w in features.warnings])
    if problem.protocol.training is not None:
        for features in problem.sets:  # before there is a folder of bad settings
            probe_training.arrange(problem, features)
    folder = Path(config.out_dir or folders.default(config, "probe"))
    with lock.locked(folder):
        probe_problem.open_run(folder, problem)
        start = time.monotonic()
        with last_step.guarded("probe", folder, OSError):
            found = {
                features.name: _kept(folder, problem, number)
                for number, features in enumerate(problem.sets)
            }
            seconds = time.monotonic() - start
            return probe_outcome.finish(folder, problem, found, seconds)


def _kept(folder: Path, problem: Problem, number: int) -> Found:
    """Returns the fits of a set, which are there already or are kept from now on."""
    found = kept_fits.load_probe(folder, number)
    if found is None:
        found = solve(problem, problem.sets[number])
        found = kept_fits.save_probe(folder, number, found)
    return found


def solve(problem: Problem, features: FeatureSet) -> Found:
    """Fits and chooses on one set, as the protocol says."""
    find = (
        probe_exact.find if problem.protocol.training is None else probe_training.find
    )
    try:
        return find(problem, features)
    except ValueError as error:
        raise ValueError(f"{features.name}: {error}") from error


def main() -> None:
    """Probes the features that the flags name."""
    config = Config(**shared_flags.values(Config))
    compilation_cache.enable_cache(config.compilation_cache)
    print(probe_table.summary(run(config)))


if __name__ == "__main__":
    shared_flags.define(Config())
    launch.launch(main)
