"""What the rows of a record say of its trials: how they ended, and which are alike."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax.figures.search_grid import Setting
from linclf_jax.runs.record import Record
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row


class Counts(NamedTuple):
    """How the trials of a record ended."""

    trials: int
    finished: int
    retired: int
    failed: int  # they diverged, or are no optimum
    # A setting of which a trial diverged retires with all its repeats.
    lost_repeats: bool
    # More trials may come: until then all trials of a rung of halving that is not the
    # last are ``retired``, those that train on among them.
    fitting: bool


def count(record: Record) -> Counts:
    """Counts the trials by how they ended."""
    rows = record.rows
    finished = sum(map(ranking.is_usable, rows))
    retired = [row for row in rows if row["status"] == ranking.RETIRED]
    diverged = [row for row in rows if row["status"] == ranking.DIVERGED]
    return Counts(
        trials=len(rows),
        finished=finished,
        retired=len(retired),
        failed=len(rows) - finished - len(retired),
        lost_repeats=not _settings(diverged).isdisjoint(_settings(retired)),
        fitting=record.fitting,
    )


def is_exact(record: Record) -> bool:
    """Whether the trials are solved, and not trained."""
    return bool(record.rows) and "relative_gap" in record.rows[0]


def count_settings(rows: Sequence[Row]) -> int:
    """How many different settings the rows have."""
    return len(_settings(rows))


def _settings(rows: Sequence[Row]) -> set[frozenset]:
    return {frozenset(ranking.settings(row).items()) for row in rows}


def settings(rows: Sequence[Row]) -> list[Setting]:
    """The settings of trained trials, each with its repeats, in order of appearance."""
    groups: dict[frozenset, list[Row]] = {}
    for row in rows:
        key = frozenset(ranking.settings(row).items())
        groups.setdefault(key, []).append(row)
    return [
        Setting(
            optimizer=members[0]["optimizer"],
            learning_rate=members[0]["learning_rate"],
            l2=members[0]["l2"],
            accuracy=np.array([_known(row["val_accuracy"]) for row in members]),
            status=np.array([row["status"] for row in members]),
        )
        for members in groups.values()
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
