"""Trains more than a thousand linear classifiers at once and says which one to use.

    python -m experiments.sweep

With no flag: scikit-learn's digits, four optimizers x 16 learning rates x 8 penalties
x 2 seeds, in a quarter of a minute on two cores. It prints the ten best settings, the
choice by validation loss, the test accuracy of that one (0.955, with a 95 % interval
of 0.929 to 0.972), and the run folder, in which ``report.html`` is the page to open.

The same flags with ``--out_dir`` on an unfinished folder go on where it stopped. A
signal (Ctrl-C, SIGTERM) saves the state and ends with exit status 75.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from linclf_jax.cli import compilation_cache, console
from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.cli.options import Config
from linclf_jax.cli.progress import Progress
from linclf_jax.config import penalty
from linclf_jax.reports import sweep_page
from linclf_jax.runs import lock
from linclf_jax.scheduler import jobs, signals, tensorboard
from linclf_jax.scheduler.jobs import Job, Rows
from linclf_jax.scheduler.scheduler import Engine, choose_devices
from linclf_jax.scheduler.worker import Stopped
from linclf_jax.studies import folders, last_step, outcome, rare_classes, refit
from linclf_jax.studies import problem as problem_lib
from linclf_jax.studies.outcome import Outcome
from linclf_jax.studies.problem import Problem
from linclf_jax.training import search_space

DEFAULTS = Config(
    optimizer=("sgd", "momentum", "adam", "lion"),
    learning_rate=search_space.parse("log:1e-3:100:16"),
    l2=(0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1),
    seeds=(0, 1),
)


def run(config: Config, *, experiment: str = "sweep") -> Outcome:
    """Trains, chooses, tests once, and writes the run folder.

    Args:
        config: All flags.
        experiment: The script, which the replay command names.

    Raises:
        ValueError: Before anything is compiled, when a flag or the data is bad or the
            folder belongs to another configuration; after training, when all lanes
            diverged.
        interrupt.Interrupted: A signal stopped it; the same command goes on.
        last_step.Unfinished: The disk or the last step failed; likewise.
    """
    sweep_page.require()
    if config.tensorboard:
        tensorboard.require()
    problem = problem_lib.prepare(config)
    choose_devices(config.devices)
    rare_classes.tell(problem_lib.warnings(problem))
    path = Path(config.out_dir or folders.default(config, experiment))
    first = jobs.first(problem)
    lanes = [lane.trial for job in first for lane in job.tile.trials]
    shown = Progress(total=len(lanes), by=config.select_by)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(signals.Stop())
        stack.enter_context(lock.locked(path))
        folders.open_run(path, problem.config, problem.dataset, experiment)
        stack.enter_context(last_step.guarded(experiment, path, OSError))
        engine = stack.enter_context(Engine(path, problem, stop, folders.tell))
        written = None
        if config.tensorboard:
            written = stack.enter_context(
                tensorboard.EventFile(path, by=config.select_by)
            )
        try:
            with shown:
                train(engine, problem, first, shown, written)
            folders.tell(engine.memory_line())
            return outcome.finish(
                path,
                problem,
                lanes,
                experiment,
                train_alone=engine.alone,
                before_seal=lambda curves: complete(written, curves),
                tell=folders.tell,
            )
        except Stopped:
            name = stop.requested() or "a signal"
            raise signals.Interrupted(name, shown.done, len(lanes), path) from None


def train(
    engine: Engine,
    problem: Problem,
    first: Sequence[Job],
    shown: Progress,
    written: tensorboard.EventFile | None,
) -> None:
    """Trains all lanes of this run, rung by rung; each piece is durable at once."""

    def show(rows: Rows, *, restored: bool = False) -> None:
        shown.update(rows, restored=restored)
        if written is not None and rows:
            written.update(rows)

    now, later = first, list(enumerate(jobs.rungs(problem)))[1:]
    while later and now:
        rows: Rows = []
        for found, _ in engine.run(now):
            rows += found
            show([])  # a rung is long, and its lanes are not done before its end
        rung, epochs = later.pop(0)
        now = jobs.following(problem, now, rows, rung, epochs)
        alive = {lane.trial for job in now for lane in job.tile.trials}
        show([row for row in rows if row["trial"] not in alive])
    for rows, restored in engine.run(now):
        show(rows, restored=restored)


def complete(
    written: tensorboard.EventFile | None, curves: refit.Curves | None
) -> None:
    """Completes the event file, if there is one: a sealed folder changes no more."""
    if written is not None:
        if curves is not None:
            written.write_curves(curves)
        written.close()


def main() -> None:
    """Runs the sweep that the flags describe."""
    config = shared_flags.from_flags()
    compilation_cache.enable_cache(config.compilation_cache)
    print(console.summary(*run(config), also=penalty.columns(config)))


if __name__ == "__main__":
    shared_flags.define(DEFAULTS)
    launch.launch(main)
