"""Rows of results put in order: which columns are settings, and which setting is best.

A row is a mapping as in ``results.jsonl``, one per trial. A metric is a name in
``METRICS``; any other is refused by a ``ValueError``. Here stands what fitting,
selection, the page and the console have to agree on; nothing here has ever seen the
test split.
"""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.exact import status
from linclf_jax.training import trials

Row = Mapping[str, Any]

OK = "ok"  # the status of a trial that was trained to the end
DIVERGED = "diverged"
RETIRED = trials.RETIRED
# What is not certified is compared, and certified before it is chosen.
EXACT = (status.CONVERGED, status.WITHOUT_BOUND, status.NOT_CERTIFIED)
STALLED = status.STALLED
WORST_GAP = 1e-3  # relative, of an exact fit that stalled and may still be chosen

FINAL = "final"  # the stage of a fit that was made to be tested and not to be compared
REPEATS = ("seed", "fold")  # what trials of one setting differ in
SCORES = ("val_loss", "val_accuracy", "train_loss", "train_accuracy")
# What came out of a trial, or tells repeats and groups apart; all other columns are
# its settings. C says the same as l2, in a unit that depends on the rows of a fit.
OUTCOMES = frozenset(
    {
        *SCORES,
        *REPEATS,
        "trial",
        "shots",
        "stage",
        "status",
        "reason",
        "epoch",
        "steps",
        "C",
        "val_loss_calibrated",
        "objective",
        "gap",
        "relative_gap",
        "gradient_norm",
        "products",
    }
)
# What a selection ranks by, with the sign under which less is better.
METRICS = {"val_loss": 1, "val_accuracy": -1, "val_loss_calibrated": 1}
# Those that a sweep's rows hold: the third takes the logits of all held-out rows.
TRIAL_METRICS = ("val_loss", "val_accuracy")


class Spread(NamedTuple):
    """Of a score over the repeats of one setting."""

    mean: float
    # Sample standard deviation; None of a single value, or where one is not finite.
    sd: float | None
    count: int


def settings(row: Row) -> dict[str, Any]:
    """Returns the settings that a trial uses: what makes it an experiment of its own.

    >>> settings({"trial": 3, "optimizer": "sgd", "momentum": None, "val_loss": 1.2})
    {'optimizer': 'sgd'}
    """
    return {k: v for k, v in row.items() if k not in OUTCOMES and v is not None}


def count_settings(rows: Sequence[Row]) -> int:
    """Returns how many different settings rows have."""
    return len({frozenset(settings(row).items()) for row in rows})


def varying(rows: Sequence[Row], also: Collection[str] = ()) -> list[str]:
    """Returns the settings, seeds and folds in which trials differ, in column order.

    And other columns, ``also``, if they differ in them. None, for a setting that a
    trial does not use, is no value.
    """
    columns = rows[0] if rows else ()
    names = [name for name in columns if name not in OUTCOMES or name in also]
    names += [name for name in REPEATS if name not in names]
    values = {name: {row.get(name) for row in rows} - {None} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    if "label_smoothing" in differing:  # which says more than whether there is any
        differing = [name for name in differing if name != "smoothed"]
    return differing


def validate_metric(metric: str, *, name: str = "--metric") -> None:
    """Refuses another word than the metrics; ``name`` is what the caller calls it."""
    if metric not in METRICS:
        raise ValueError(f"{name} is {metric!r}; expected one of {', '.join(METRICS)}")


def is_usable(row: Row) -> bool:
    """Returns whether a trial ended so that its classifier can be chosen.

    An exact fit that stalled is usable if its gap is small.
    """
    if row["status"] == STALLED:
        gap = row["relative_gap"]
        return gap is not None and gap <= WORST_GAP
    return row["status"] in (OK, *EXACT)


def is_compared(row: Row) -> bool:
    """Returns whether a trial was made to be compared, on rows that it did not see."""
    return row.get("stage") != FINAL


def order(rows: Sequence[Row], metric: str) -> tuple[str, ...]:
    """Returns the scores that rows are ordered by: a metric, and what breaks ties.

    That is the held-out loss, unless it is the metric itself. Values of different
    losses do not compare, not even to break a tie.
    """
    validate_metric(metric)
    several = len({row.get("loss") for row in rows}) > 1
    return (metric,) if several or metric == "val_loss" else (metric, "val_loss")


def ranking(
    costs: Sequence[float], losses: Sequence[float], l2s: Sequence[float]
) -> list[int]:
    """Returns the indices of settings, the best first: the one rule of all selections.

    The lowest cost is the best. Of equal costs it is the lower held-out loss, of equal
    losses too the stronger penalty, and of equal penalties the first. What is not
    finite is worse than any number.

    >>> ranking([0.1, 0.1, 0.1, 0.2], [0.5, 0.4, 0.4, 0.3], [1.0, 0.1, 0.2, 0.0])
    [2, 1, 0, 3]
    """
    return sorted(
        range(len(costs)),
        key=lambda i: (_cost(costs[i], 1), _cost(losses[i], 1), -l2s[i], i),
    )


def rank(rows: Sequence[Row], *, metric: str) -> list[Row]:
    """Returns the usable trials that were compared, best first.

    Ties are broken as in ``ranking``, the first being the lowest trial number.
    """
    groups = [[row] for row in sorted(_eligible(rows), key=lambda row: row["trial"])]
    return [row for (row,) in _ranked(groups, order(rows, metric))]


def rank_settings(rows: Sequence[Row], *, metric: str) -> list[list[Row]]:
    """Returns the usable settings, best first, each with its compared repeats.

    Trials of equal settings repeat one another, over seeds and folds, and are judged by
    their mean; one with a score that is not finite is worse than any other. Settings of
    which one trial is not usable are left out: a mean over the others would be too
    good. The trials of a setting are in the order of their numbers.
    """
    names = order(rows, metric)
    groups: dict[frozenset, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["trial"]):
        groups.setdefault(frozenset(settings(row).items()), []).append(row)
    usable = (group for group in groups.values() if all(map(is_usable, group)))
    compared = [[row for row in group if is_compared(row)] for group in usable]
    return _ranked([group for group in compared if group], names)


def spread(rows: Sequence[Row], name: str) -> Spread:
    """Returns mean and standard deviation of a column over the repeats of a setting.

    A file has null for a number that is not finite: then the mean is NaN.

    >>> spread([{"val_loss": 0.25}, {"val_loss": 0.75}], "val_loss").mean
    0.5
    """
    values = [math.nan if row[name] is None else row[name] for row in rows]
    mean = math.fsum(value / len(values) for value in values)
    several = len(values) > 1 and math.isfinite(mean)
    sd = statistics.stdev(values) if several else None
    return Spread(mean, sd, len(values))


def scores(rows: Sequence[Row], name: str) -> list[float]:
    """Returns the finite scores of the usable trials that were compared.

    Rows that are not finished may lack the column.
    """
    values = [row.get(name) for row in _eligible(rows)]
    return [value for value in values if value is not None and math.isfinite(value)]


def better(candidates: Sequence[float | None], metric: str) -> float | None:
    """Returns the best score by a metric that is not None, or None."""
    sign = METRICS[metric]
    known = [score for score in candidates if score is not None]
    return min(known, key=lambda score: sign * score, default=None)


def diverged(rows: Sequence[Row]) -> list[int]:
    """Returns the trials whose training diverged, in the order of the rows."""
    return [row["trial"] for row in rows if row["status"] == DIVERGED]


def retired(rows: Sequence[Row]) -> list[int]:
    """Returns the trials that successive halving took out before the end.

    They have the scores of that moment, and can never be chosen.
    """
    return [row["trial"] for row in rows if row["status"] == RETIRED]


def _eligible(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if is_usable(row) and is_compared(row)]


def _ranked(groups: Sequence[list[Row]], names: Sequence[str]) -> list[list[Row]]:
    """Returns groups of repeats, sorted by their trials, the best first."""
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
    sign = METRICS[name]
    return math.fsum(_cost(row.get(name), sign) / len(rows) for row in rows)
