"""Probabilities that mean what they say: one temperature for all logits.

``softmax(logits / T)`` predicts what ``softmax(logits)`` does, with other confidences.
Fitted on rows that trained nothing, T takes back what a classifier is too sure of.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017),
section 4.2.
"""

from typing import NamedTuple

import jax
import numpy as np

COLDEST, HOTTEST = 1e-3, 1e3  # no temperature is fitted beyond these
MAX_STEPS = 100  # of Newton's method; bisection alone needs 45
CLOSE = 1e-12  # a last step of log T
# Of a logit of minus infinity, which may not be multiplied by a probability of 0. Its
# square is finite.
_LOWEST = -1e150


class Slope(NamedTuple):
    """Derivatives of the mean loss with respect to ``beta = 1 / T``."""

    first: float
    second: float  # at least 0: the loss is convex in beta


def fit_temperature(
    logits: jax.Array | np.ndarray, labels: jax.Array | np.ndarray
) -> float:
    """Returns the temperature T of least cross-entropy of ``softmax(logits / T)``.

    With ``m_ij = z_ij - z_iy`` the loss ``mean_i log sum_j exp(beta m_ij)`` is convex
    in ``beta = 1 / T``. The root of its slope is found by Newton's method in
    ``log beta``, in a bracket that is halved wherever a step would leave it.

    Args:
        logits: ``(N, C)``, of rows that trained nothing; computed in float64. Minus
            infinity rules a class out.
        labels: ``(N,)``, integers in ``0..C-1``.

    Returns:
        T, or the end of ``COLDEST..HOTTEST`` that the loss still falls towards:
        ``COLDEST`` where all rows are right, for which no T is low enough. 1 where the
        logits of each row are all equal, so that T changes nothing.

    Raises:
        ValueError: The shapes are others, a logit is NaN or infinity, a label is no
            class, or its own logit is minus infinity.

    >>> best = fit_temperature(np.array([[9.0, 0.0]] * 4), np.array([0, 0, 0, 1]))
    >>> print(f"{best:.4f}")  # three of four are right: the odds must be exp(9 / T)
    8.1922
    """
    margins = _margins(np.asarray(logits, np.float64), np.asarray(labels))
    low, high = -np.log(HOTTEST), -np.log(COLDEST)
    if not margins.any():
        return 1.0
    if np.all(np.sum(margins >= 0.0, axis=1) == 1):
        return COLDEST  # the slope is negative everywhere, but may round to 0
    if slope(margins, np.exp(low)).first >= 0.0:
        return HOTTEST
    if slope(margins, np.exp(high)).first <= 0.0:
        return COLDEST
    log_beta = 0.0
    for _ in range(MAX_STEPS):
        before = log_beta
        log_beta, low, high = _step(margins, log_beta, low, high)
        if abs(log_beta - before) <= CLOSE:
            break
    return float(np.exp(-log_beta))


def slope(margins: np.ndarray, beta: float) -> Slope:
    """Returns how the mean loss changes with the inverse temperature.

    The derivative of ``log sum_j exp(beta m_j)`` is the mean of ``m`` under the
    probabilities, the second one its variance. ``margins (N, C)``, float64, are the
    logits less that of the label.
    """
    scaled = beta * margins
    weights = np.exp(scaled - np.max(scaled, axis=1, keepdims=True))
    probs = weights / np.sum(weights, axis=1, keepdims=True)
    mean = np.sum(probs * margins, axis=1)
    variance = np.sum(probs * (margins - mean[:, None]) ** 2, axis=1)
    return Slope(float(np.mean(mean)), float(np.mean(variance)))


def _step(
    margins: np.ndarray, log_beta: float, low: float, high: float
) -> tuple[float, float, float]:
    """Returns the next ``log beta``, inside the bracket that this one leaves."""
    beta = np.exp(log_beta)
    first, second = slope(margins, beta)
    low, high = (log_beta, high) if first < 0.0 else (low, log_beta)
    # In log beta the loss need not be convex: where it is not, its curvature is no use.
    curvature = first + beta * second
    following = log_beta - first / curvature if curvature > 0.0 else high
    # At the root rounding may take a last step onto an end of the bracket.
    if not (low < following < high or abs(following - log_beta) <= CLOSE):
        following = 0.5 * (low + high)
    return following, low, high


def _margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns each logit less that of the row's label, after checking both."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits have shape {logits.shape} and labels {labels.shape}; expected "
            "(N, C) and (N,), at least one row"
        )
    bad = np.isnan(logits) | np.isposinf(logits)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"logits hold {bad.sum()} entries that are NaN or infinity, the first is "
            f"{logits[row, column]} in row {row}, column {column}; expected none"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= logits.shape[1]))
    if outside.size:
        raise ValueError(
            f"found {outside.size} labels that are no class, the first is label "
            f"{labels[outside[0]]} in row {outside[0]}; expected integers in "
            f"0..{logits.shape[1] - 1}"
        )
    own = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)
    lost = np.flatnonzero(np.isneginf(own[:, 0]))
    if lost.size:
        raise ValueError(
            f"the logit of the label is minus infinity in {lost.size} rows, the first "
            f"is {lost[0]}; expected none, for no temperature makes that loss finite"
        )
    return np.maximum(logits - own, _LOWEST)
