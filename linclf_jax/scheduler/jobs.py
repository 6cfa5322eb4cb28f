"""Which tiles a sweep trains, by which names, and who goes on after each rung."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from linclf_jax.selection import halving, ranking
from linclf_jax.studies.problem import Problem
from linclf_jax.training import trials
from linclf_jax.training.trials import Trial, TrialBatch

Rows = list[dict[str, Any]]


class Job(NamedTuple):
    """One tile to train from where it stands to a number of epochs."""

    name: str  # of its piece
    tile: TrialBatch
    epochs: int
    # Jobs of fewer epochs that the lanes come from, in the order of the lanes.
    sources: tuple["Job", ...] = ()


def rungs(problem: Problem) -> tuple[int, ...]:
    """Returns the epochs after which lanes are ranked; none without halving."""
    eta = problem.config.halving
    return halving.rungs(problem.lanes[0].static.epochs, eta) if eta else ()


def first(problem: Problem) -> tuple[Job, ...]:
    """Returns the jobs to begin with: of all lanes, or of this shard's share of tiles.

    A tile is the same tile in every shard, so that shards together train what one
    process would have trained.
    """
    config, steps = problem.config, rungs(problem)
    jobs = tuple(
        Job(_name(0, index), tile, steps[0] if steps else tile.static.epochs)
        for index, tile in enumerate(_tiles(problem, problem.lanes))
    )
    return jobs[config.shard_index :: config.num_shards]


def following(
    problem: Problem, jobs: Sequence[Job], rows: Rows, rung: int, epochs: int
) -> tuple[Job, ...]:
    """Returns the jobs of the next rung: the survivors, moved together into tiles.

    Args:
        problem: The flags and lanes.
        jobs: Those of the rung before.
        rows: What came of them.
        rung: Number of the next one, from 0.
        epochs: At its end.
    """
    # A lane is retired until it is among the survivors; ranked are all that ended well.
    standing = [
        {**row, "status": "ok"} if row["status"] == ranking.RETIRED else row
        for row in rows
    ]
    config = problem.config
    alive = halving.survivors(standing, by=config.select_by, eta=config.halving or 0)
    lanes = [lane for job in jobs for lane in job.tile.trials if lane.trial in alive]
    lanes.sort(key=lambda lane: lane.trial)
    home = {lane.trial: job for job in jobs for lane in job.tile.trials}

    def sources(tile: TrialBatch) -> tuple[Job, ...]:
        return tuple(dict.fromkeys(home[lane.trial] for lane in tile.trials))

    return tuple(
        Job(_name(rung, index), tile, epochs, sources(tile))
        for index, tile in enumerate(_tiles(problem, lanes))
    )


def _tiles(problem: Problem, lanes: Sequence[Trial]) -> tuple[TrialBatch, ...]:
    return trials.make_batches(lanes, problem.config.tile_width or 1)


def _name(rung: int, index: int) -> str:
    """Names sort in the order of time, as a checkpoint's pieces must."""
    return f"r{rung:02d}-{index:06d}"
