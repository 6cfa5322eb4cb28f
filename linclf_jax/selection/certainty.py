"""How sure a choice of penalty is while few of its fits are certified.

The fits of most penalties only have to be near enough to their optimum to be compared.
A choice is certain once it rests on certified fits: those of the penalty that each rule
takes, of the neighbours of these on the grid, and of every other penalty whose score
is no further from deciding otherwise than certification has moved scores so far.

Rows are one per fit, as in ``ranking``; of one group of trials.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from linclf_jax.exact import status
from linclf_jax.selection import choose, ranking, row_scores
from linclf_jax.selection.choose import Errors
from linclf_jax.selection.ranking import METRICS, Row

SELECTION, ALL = "selection", "all"  # what is certified: what it rests on, or all fits

# A path is past its best once the last penalties, at least so many and over such a
# factor of l2, are all worse than the best, and the last one the worst of them. A mean
# difference over the held-out rows is one beyond so many of its standard errors.
PENALTIES = 3
FACTOR = 3.0
ERRORS = 3.0
# Differences below this, of a loss or a share of rows, are never beyond doubt: where
# all rows are right, losses and their errors are rounding.
SMALLEST = 1e-3
# How much further than it has moved any score yet certification may move another.
MARGIN = 2.0


def is_past_best(
    l2s: Sequence[float], means: np.ndarray, rows: np.ndarray, metric: str
) -> bool:
    """Returns whether a path has passed the best penalty beyond doubt.

    Args:
        l2s: ``(K,)``, the largest first.
        means: ``(K,)``, held-out scores.
        rows: ``(K, M)``, the score of each row that is held out.
        metric: A name in ``ranking.METRICS``.
    """
    costs = METRICS[metric] * np.asarray(means)
    if not np.isfinite(costs).all():
        return False
    best = int(np.argmin(costs))
    last = first = len(costs)
    while first > 0 and _is_worse(METRICS[metric] * (rows[first - 1] - rows[best])):
        first -= 1
    return (
        last - first >= PENALTIES
        and l2s[first] >= FACTOR * l2s[-1]
        and costs[-1] == costs[first:].max()
    )


def _is_worse(differences: np.ndarray) -> bool:
    """Returns whether a mean difference ``(M,)`` is above 0 beyond doubt."""
    mean, error = row_scores.curve(differences.astype(np.float64))
    return bool(mean > max(ERRORS * error, SMALLEST))


def undecided(
    rows: Sequence[Row], metric: str, errors: Errors, moved: Mapping[str, float]
) -> list[float]:
    """Returns the penalties that the choice rests on and that have no certificate.

    Args:
        rows: Of the fits of one group.
        metric: A name in ``ranking.METRICS``.
        errors: As for ``choose.select``.
        moved: By metric, how far certification has moved a mean or an error at most.

    Returns:
        Of each l2, the largest first; none once the choice is certain.
    """
    try:
        selection = choose.select(rows, metric=metric, errors=errors, edges=False)
    except choose.NothingUsableError:
        return []
    settings = {
        setting[0]["l2"]: setting
        for setting in ranking.rank_settings(rows, metric=metric)
    }
    l2s = sorted(settings, reverse=True)
    index = {settings[l2][0]["trial"]: k for k, l2 in enumerate(l2s)}
    best = index[selection.rules[choose.BEST]]

    def above_best(name: str) -> np.ndarray:
        means = [ranking.spread(settings[l2], name).mean for l2 in l2s]
        return METRICS[name] * (np.array(means) - means[best])

    costs, near = above_best(metric), MARGIN * moved[metric]
    deciding = np.abs(costs) <= near
    if near == 0.0:  # then it is the next score that decides among equal ones
        other = ranking.order(rows, metric)[-1]
        deciding &= np.abs(above_best(other)) <= MARGIN * moved[other]
    chosen = [best]
    if choose.ONE_STANDARD_ERROR in selection.rules:
        strongest = index[selection.rules[choose.ONE_STANDARD_ERROR]]
        error = choose.standard_error(settings[l2s[best]], metric, errors) or 0.0
        is_near = np.abs(costs - error) <= near
        deciding |= is_near & (np.arange(len(l2s)) < strongest)
        chosen.append(strongest)
    for k in chosen:
        deciding[max(k - 1, 0) : k + 2] = True
    unproved = {row["l2"] for row in rows if row["status"] == status.NOT_CERTIFIED}
    return [
        l2 for l2, holds in zip(l2s, deciding, strict=True) if holds and l2 in unproved
    ]
