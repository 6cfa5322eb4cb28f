"""Choosing the penalty of a path by its scores on rows that the fits did not see.

As ``selection`` does among the settings of a sweep, by the same criteria, rules and
ties; here each penalty has one score and its standard error.
"""

from typing import NamedTuple

import numpy as np

from linclf_jax.selection import choose as selection
from linclf_jax.selection import ranking

NAMES = {
    "val_loss": "loss",
    "val_accuracy": "accuracy",
    "val_loss_calibrated": "calibrated loss",
}


class Choices(NamedTuple):
    """Where in a path its best penalties are, by rule."""

    min: int  # the best mean
    one_standard_error: int  # the strongest that is no more than its error worse
    # Other penalties whose mean is exactly the best, the one that comes next first.
    ties: tuple[int, ...] = ()


def choose(
    means: np.ndarray,
    errors: np.ndarray,
    *,
    by: str,
    losses: np.ndarray,
    l2s: np.ndarray,
    eligible: np.ndarray,
) -> Choices | None:
    """Returns the best penalties of a path on validation data.

    Args:
        means: ``(K,)``, of the criterion.
        errors: ``(K,)``, the standard errors of these.
        by: A name in ``ranking.CRITERIA``; ties are broken as ``ranking.ranking`` says.
        losses: ``(K,)``, the mean held-out loss.
        l2s: ``(K,)``.
        eligible: ``(K,)`` boolean, which have fits that ended well.

    Returns:
        None where no penalty is eligible and has a finite mean.
    """
    costs = ranking.CRITERIA[by] * means
    usable = eligible & np.isfinite(costs)
    order = ranking.ranking(costs.tolist(), losses.tolist(), l2s.tolist())
    order = [place for place in order if usable[place]]
    if not order:
        return None
    best, *others = order
    within = [place for place in others if costs[place] <= costs[best] + errors[best]]
    return Choices(
        best,
        max([best, *within], key=lambda place: l2s[place]),
        tuple(place for place in others if costs[place] == costs[best]),
    )


def reason(
    choices: Choices,
    mean: float,
    error: float,
    *,
    by: str,
    what: str,
    rule: str,
    count: int,
) -> str:
    """Returns why a penalty of a path was chosen.

    Args:
        choices: The best penalties.
        mean: Score of the best one.
        error: Standard error of that.
        by: A name in ``ranking.CRITERIA``.
        what: What to call that.
        rule: A name in ``selection.RULES``.
        count: How many penalties there are.
    """
    many = f"{count} penalties" if count > 1 else "one penalty"
    best = f"{selection.WORDS[ranking.CRITERIA[by]]} {what}, {mean:.4f}"
    text = f"the {best}, of {many}"
    if rule != "min":
        within = f"within one standard error, {error:.4f}"
        text = f"the strongest of {many} {within}, of the {best}"
    if choices.ties:
        tied = len(choices.ties) + 1
        first = "" if by == "val_loss" else "the lower val_loss, then "
        text += f"; {tied} tie for it, and {first}the stronger l2 goes first"
    return text
