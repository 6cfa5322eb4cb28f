"""Which batches are trained, by which names, and who goes on after each rung."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from linclf_jax.selection import halving, ranking
from linclf_jax.training import trials
from linclf_jax.training.trials import TrialBatch

Rows = list[dict[str, Any]]


class Job(NamedTuple):
    """One batch to train from where it stands to a number of epochs."""

    name: str  # in the store
    batch: TrialBatch
    epochs: int
    # Jobs of fewer epochs that the trials come from, in the order of the trials.
    sources: tuple["Job", ...] = ()


class Rungs(NamedTuple):
    """Successive halving: when trials are ranked, and how many go on."""

    epochs: tuple[int, ...]  # from ``halving.rungs``
    eta: int  # one in how many settings goes on
    metric: str


def first(batches: Iterable[TrialBatch], rungs: Rungs | None = None) -> tuple[Job, ...]:
    """Returns the jobs to begin with: to the end, or to the first rung if any."""
    return tuple(
        Job(_name(0, index), batch, rungs.epochs[0] if rungs else batch.static.epochs)
        for index, batch in enumerate(batches)
    )


def following(
    jobs: Sequence[Job], rows: Rows, rungs: Rungs, number: int, width: int
) -> tuple[Job, ...]:
    """Returns the jobs of the next rung: the survivors, moved together into batches.

    Args:
        jobs: Those of the rung before.
        rows: What came of them.
        rungs: All rungs.
        number: Of the next one, from 0.
        width: Trials of a batch.
    """
    # A trial is retired until it is among the survivors; ranked are all usable ones.
    standing = [
        {**row, "status": "ok"} if row["status"] == ranking.RETIRED else row
        for row in rows
    ]
    alive = halving.survivors(standing, metric=rungs.metric, eta=rungs.eta)
    origin = {trial: job for job in jobs for trial in job.batch.trials}
    going_on = [trial for trial in origin if trial.trial in alive]
    going_on.sort(key=lambda trial: trial.trial)
    batches = trials.make_batches(going_on, width)
    return tuple(
        Job(
            _name(number, index),
            batch,
            rungs.epochs[number],
            tuple(dict.fromkeys(origin[trial] for trial in batch.trials)),
        )
        for index, batch in enumerate(batches)
    )


def numbers(jobs: Iterable[Job]) -> list[int]:
    """Returns the numbers of the trials of jobs."""
    return [trial.trial for job in jobs for trial in job.batch.trials]


def _name(rung: int, index: int) -> str:
    """Names sort in the order of time, as the batches of a store must."""
    return f"r{rung:02d}-{index:06d}"
