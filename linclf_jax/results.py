"""The rows of a run's results, one per lane: which columns mean what, and their order.

A row is a mapping as in ``results.jsonl``. Here stands what training, selection, the
report and the console have to agree on; nothing here has ever seen the test split.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

SCORES = ("val_loss", "val_accuracy", "train_loss", "train_accuracy")
# What came out of a lane, or tells repeats apart; all other columns are its settings.
OUTCOMES = frozenset({*SCORES, "lane", "seed", "fold", "status", "reason", "steps"})
# What lanes can be ordered by, the sign under which less is better, the tie-breaker.
CRITERIA = {"val_loss": (1, "val_accuracy"), "val_accuracy": (-1, "val_loss")}


def settings(row: Row) -> dict[str, Any]:
    """Returns the settings that a lane uses: what makes it an experiment of its own.

    Args:
        row: One row of results.

    >>> settings({"lane": 3, "optimizer": "sgd", "momentum": None, "val_loss": 1.2})
    {'optimizer': 'sgd'}
    """
    return {k: v for k, v in row.items() if k not in OUTCOMES and v is not None}


def varying(rows: Sequence[Row]) -> list[str]:
    """Returns the settings, seeds and folds in which lanes differ, in column order.

    None, for a setting that a lane does not use, is no value.

    Args:
        rows: One per lane.
    """
    columns = rows[0] if rows else ()
    names = [name for name in columns if name not in OUTCOMES] + ["seed", "fold"]
    values = {name: {row.get(name) for row in rows} - {None} for name in names}
    return [name for name in names if len(values[name]) > 1]


def validate_criterion(by: str) -> None:
    """Checks what lanes are to be ordered by.

    Args:
        by: A name in ``CRITERIA``.

    Raises:
        ValueError: It is another word; with the names allowed.
    """
    if by not in CRITERIA:
        raise ValueError(
            f"--select_by is {by!r}; expected one of {', '.join(CRITERIA)}"
        )


def rank(rows: Sequence[Row], *, by: str) -> list[Row]:
    """Returns the lanes that ended well, best first.

    Args:
        rows: One per lane.
        by: ``val_loss`` or ``val_accuracy``; the other one breaks ties, then the lane
            number does. A score that is not finite is worse than any other.

    Raises:
        ValueError: ``by`` is another word.
    """
    validate_criterion(by)
    names = (by, CRITERIA[by][1])

    def key(row: Row) -> tuple[float, ...]:
        return (*(_cost(row[name], CRITERIA[name][0]) for name in names), row["lane"])

    return sorted((row for row in rows if row["status"] == "ok"), key=key)


def diverged(rows: Sequence[Row]) -> list[int]:
    """Returns the lanes that did not end well, in the order of the rows.

    Args:
        rows: One per lane.
    """
    return [row["lane"] for row in rows if row["status"] != "ok"]


def _cost(score: float | None, sign: int) -> float:
    return math.inf if score is None or math.isnan(score) else sign * score
