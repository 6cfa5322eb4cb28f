"""What the rows of a record say of its trials: how they ended, and which are alike."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from linclf_jax.runs.record import Record
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

# How an exact fit ends well.
CONVERGED, NOT_CERTIFIED = "converged", "not_certified"


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
        lost_repeats=bool(by_setting(diverged).keys() & by_setting(retired).keys()),
        fitting=record.fitting,
    )


def by_setting(rows: Sequence[Row]) -> dict[frozenset, list[Row]]:
    """The repeats of each setting, in order of appearance."""
    groups: dict[frozenset, list[Row]] = {}
    for row in rows:
        key = frozenset(ranking.settings(row).items())
        groups.setdefault(key, []).append(row)
    return groups


def ends(rows: Sequence[Row]) -> Counter[str]:
    """How many trials ended in each way."""
    return Counter(row["status"] for row in rows)
