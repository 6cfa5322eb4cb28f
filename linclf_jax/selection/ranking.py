"""The rows of a run's results, one per lane: which columns mean what, and their order.

A row is a mapping as in ``results.jsonl``. Here stands what training, selection, the
report and the console have to agree on; nothing here has ever seen the test split.
"""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.training import trials

Row = Mapping[str, Any]
RETIRED = trials.RETIRED

REPEATS = ("seed", "fold")  # what lanes of one setting differ in
SCORES = ("val_loss", "val_accuracy", "train_loss", "train_accuracy")
# What comes of an exact fit besides: its certificate, its cost, and the held-out loss
# once one temperature has calibrated all logits.
_EXACT = (
    *("objective", "gap", "relative_gap", "gradient_norm", "products"),
    *("val_loss_calibrated", "temperature"),
)
# What came out of a lane, or tells repeats apart; all other columns are its settings.
# C says the same as l2, in a unit that depends on how many rows a fold leaves.
OUTCOMES = frozenset(
    {*SCORES, *_EXACT, *REPEATS, "trial", "status", "reason", "epoch", "steps", "C"}
)
# What a selection goes by, with the sign under which less is better.
CRITERIA = {"val_loss": 1, "val_accuracy": -1, "val_loss_calibrated": 1}
# Those that the rows of a sweep hold: the third takes the logits of all rows.
LANE_CRITERIA = ("val_loss", "val_accuracy")


class Spread(NamedTuple):
    """Of a score over the repeats of one setting."""

    mean: float
    sd: float | None  # sample standard deviation; None of a single value
    count: int


def settings(row: Row) -> dict[str, Any]:
    """Returns the settings that a lane uses: what makes it an experiment of its own.

    Args:
        row: One row of results.

    >>> settings({"trial": 3, "optimizer": "sgd", "momentum": None, "val_loss": 1.2})
    {'optimizer': 'sgd'}
    """
    return {k: v for k, v in row.items() if k not in OUTCOMES and v is not None}


def varying(rows: Sequence[Row], also: Collection[str] = ()) -> list[str]:
    """Returns the settings, seeds and folds in which lanes differ, in column order.

    None, for a setting that a lane does not use, is no value.

    Args:
        rows: One per lane.
        also: Other columns that are to be named where lanes differ in them.
    """
    columns = rows[0] if rows else ()
    names = [name for name in columns if name not in OUTCOMES or name in also]
    names += ["seed", "fold"]
    values = {name: {row.get(name) for row in rows} - {None} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    if "label_smoothing" in differing:  # which says more than whether there is any
        differing = [name for name in differing if name != "smoothed"]
    return differing


def validate_criterion(by: str, *, name: str = "--select_by") -> None:
    """Checks what a selection is to go by.

    Args:
        by: A name in ``CRITERIA``.
        name: What the caller calls it.

    Raises:
        ValueError: It is another word; with the names allowed.
    """
    if by not in CRITERIA:
        raise ValueError(f"{name} is {by!r}; expected one of {', '.join(CRITERIA)}")


def order(rows: Sequence[Row], by: str) -> tuple[str, ...]:
    """Returns the scores that rows are ordered by: a criterion, and what breaks ties.

    That is the held-out loss, unless it is the criterion itself. Values of different
    losses do not compare, not even to break a tie.

    Args:
        rows: One per lane.
        by: A name in ``CRITERIA``.

    Raises:
        ValueError: ``by`` is another word.
    """
    validate_criterion(by)
    several = len({row.get("loss") for row in rows}) > 1
    return (by,) if several or by == "val_loss" else (by, "val_loss")


def ranking(
    costs: Sequence[float], losses: Sequence[float], l2s: Sequence[float]
) -> list[int]:
    """Returns the places of settings, the best first: the one rule for all selections.

    The lowest cost is the best. Of equal costs it is the lower held-out loss, of equal
    losses too the stronger penalty, and of equal penalties the first. What is not
    finite is worse than any number.

    Args:
        costs: Of each setting, less is better.
        losses: The held-out log-loss of each, all of one kind or all equal.
        l2s: The penalty of each.

    >>> ranking([0.1, 0.1, 0.1, 0.2], [0.5, 0.4, 0.4, 0.3], [1.0, 0.1, 0.2, 0.0])
    [2, 1, 0, 3]
    """
    return sorted(
        range(len(costs)),
        key=lambda i: (_cost(costs[i], 1), _cost(losses[i], 1), -l2s[i], i),
    )


def rank(rows: Sequence[Row], *, by: str) -> list[Row]:
    """Returns the lanes that ended well, best first.

    Args:
        rows: One per lane.
        by: A name in ``CRITERIA``. Ties are broken as in ``ranking``, the first being
            the lowest lane number.

    Raises:
        ValueError: ``by`` is another word.
    """
    good = sorted(
        ([row] for row in rows if row["status"] == "ok"), key=lambda g: g[0]["trial"]
    )
    return [row for (row,) in _ranked(good, order(rows, by))]


def rank_settings(rows: Sequence[Row], *, by: str) -> list[list[Row]]:
    """Returns the settings that ended well, best first, each with all its repeats.

    Lanes of equal settings repeat one another, over seeds and folds, and are judged by
    their mean. Settings of which one repeat did not end well are left out: a mean over
    the others would flatter them.

    Args:
        rows: One per lane; their order does not matter.
        by: As for ``rank``, of the means. A mean with a score that is not finite is
            worse than any other.

    Returns:
        The lanes of each setting, by their number.

    Raises:
        ValueError: ``by`` is another word.
    """
    names = order(rows, by)
    groups: dict[frozenset, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["trial"]):
        groups.setdefault(frozenset(settings(row).items()), []).append(row)
    good = [g for g in groups.values() if all(row["status"] == "ok" for row in g)]
    return _ranked(good, names)


def spread(rows: Sequence[Row], name: str) -> Spread:
    """Returns mean and standard deviation of a score over repeats.

    Args:
        rows: Of one setting, at least one.
        name: A column, a number in every row.

    >>> spread([{"val_loss": 0.25}, {"val_loss": 0.75}], "val_loss").mean
    0.5
    """
    values = [row[name] for row in rows]
    mean = math.fsum(value / len(values) for value in values)
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean, sd, len(values))


def scores(rows: Sequence[Row], by: str) -> list[float]:
    """Returns the finite scores of the lanes that ended well.

    Args:
        rows: One per lane.
        by: A column.
    """
    found = [row[by] for row in rows if row["status"] == "ok"]
    return [score for score in found if score is not None and math.isfinite(score)]


def better(candidates: Sequence[float | None], by: str) -> float | None:
    """Returns the best score, or None where there is none.

    Args:
        candidates: Scores; None stands for none.
        by: A name in ``CRITERIA``, which says what better means.
    """
    sign = CRITERIA[by]
    known = [score for score in candidates if score is not None]
    return min(known, key=lambda score: sign * score, default=None)


def diverged(rows: Sequence[Row]) -> list[int]:
    """Returns the lanes whose training blew up, in the order of the rows.

    Args:
        rows: One per lane.
    """
    return [row["trial"] for row in rows if row["status"] == "diverged"]


def retired(rows: Sequence[Row]) -> list[int]:
    """Returns the lanes that successive halving took out before the end.

    They have the scores of that moment, and can never be chosen.

    Args:
        rows: One per lane.
    """
    return [row["trial"] for row in rows if row["status"] == RETIRED]


def _ranked(groups: Sequence[list[Row]], names: Sequence[str]) -> list[list[Row]]:
    """Returns groups of repeats, sorted by their lanes, the best first."""
    costs, losses = (
        [_mean_cost(group, name) for group in groups] for name in (names[0], names[-1])
    )
    l2s = [group[0].get("l2") or 0.0 for group in groups]
    return [groups[i] for i in ranking(costs, losses, l2s)]


def _cost(score: float | None, sign: int) -> float:
    return math.inf if score is None or not math.isfinite(score) else sign * score


def _mean_cost(rows: Sequence[Row], name: str) -> float:
    # fsum rounds once, so that the order of the rows moves no bit and breaks no tie;
    # divided first, large losses have a finite sum.
    sign = CRITERIA[name]
    return math.fsum(_cost(row[name], sign) / len(rows) for row in rows)
