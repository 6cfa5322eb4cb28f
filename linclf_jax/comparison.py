"""Two classifiers on the same rows: is the one better, and by how much.

What both get right, or both wrong, says nothing of their difference: only the rows on
which they disagree do. Comparing two separate intervals throws that away.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from scipy import special

from linclf_jax import metrics


class Paired(NamedTuple):
    """How two classifiers compare on the same rows; plain numbers."""

    difference: float  # accuracy of the first minus that of the second
    low: float  # of a 95 % interval of the difference
    high: float
    p_value: float  # exact, two-sided, of no difference
    only_a: int  # rows that the first alone has right
    only_b: int
    size: int  # rows


def mcnemar(right_a: jax.Array | np.ndarray, right_b: jax.Array | np.ndarray) -> Paired:
    """Compares two classifiers by the rows that only one of them gets right.

    If they are equally good, each such row falls to either like a coin. The p-value is
    the exact probability of a split at least as uneven (McNemar, 1947). The interval is
    method 10 of Newcombe, "Improved confidence intervals for the difference between
    binomial proportions based on paired data" (1998): Wilson's intervals of both,
    joined by their correlation. The two are different methods, and near 5 % they may
    disagree.

    Args:
        right_a: ``(N,)``, whether the first is right; booleans, or 0 and 1.
        right_b: ``(N,)``, the second, on the same rows in the same order.

    Raises:
        ValueError: The shapes differ, there is no row, or an entry is neither 0 nor 1.

    >>> paired = mcnemar(np.array([1, 1, 1, 1, 0, 0]), np.array([1, 0, 0, 0, 0, 0]))
    >>> paired.difference, paired.p_value
    (0.5, 0.25)
    """
    a, b = _correctness(right_a, "right_a"), _correctness(right_b, "right_b")
    if a.shape != b.shape:
        raise ValueError(
            f"right_a has shape {a.shape} and right_b {b.shape}; expected the same rows"
        )
    both, neither = int(np.sum(a & b)), int(np.sum(~a & ~b))
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(~a & b))
    tail = special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)
    return Paired(
        (only_a - only_b) / len(a),
        *_interval(both, only_a, only_b, neither),
        min(1.0, 2.0 * float(tail)),
        only_a,
        only_b,
        len(a),
    )


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns p-values adjusted for being several, by Holm's method (1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on, none below the
    one before. Those at most 0.05 are the differences that may be called significant
    together: the chance that any of them is false is at most 5 %. ``(M,)``, in the same
    order.

    >>> holm([0.04, 0.01, 0.03, 0.5]).tolist()
    [0.09, 0.04, 0.09, 0.5]
    """
    values = np.asarray(p_values, np.float64)
    bad = np.flatnonzero(~((values >= 0.0) & (values <= 1.0)))
    if values.ndim != 1 or bad.size:
        first = f", the first out of range at {bad[0]}" if bad.size else ""
        raise ValueError(
            f"p_values have shape {values.shape}{first}; expected (M,), from 0 to 1"
        )
    order = np.argsort(values, kind="stable")
    raised = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted


def _correctness(right: jax.Array | np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(right)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(
            f"{name} has shape {values.shape}; expected (N,), at least one row"
        )
    odd = np.flatnonzero((values != 0) & (values != 1))
    if odd.size:
        raise ValueError(
            f"{name}[{odd[0]}] is {values[odd[0]]}, the first of {odd.size} such; "
            "expected 0 or 1, whether the row is right"
        )
    return values.astype(bool)


def _interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Newcombe's method 10, from the four counts."""
    size = both + only_a + only_b + neither
    first, second = (both + only_a) / size, (both + only_b) / size
    low_a, high_a = metrics.wilson_interval(first, size)
    low_b, high_b = metrics.wilson_interval(second, size)
    phi = _correlation(both, only_a, only_b, neither)

    def distance(one: float, other: float) -> float:
        return math.sqrt(one**2 - 2.0 * phi * one * other + other**2)

    difference = (only_a - only_b) / size
    return (
        difference - distance(first - low_a, high_b - second),
        difference + distance(high_a - first, second - low_b),
    )


def _correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """The phi coefficient; where it is above 0, with Newcombe's continuity correction.

    It is 0 where a classifier has all rows right, or none.
    """
    margins = both + only_a, only_b + neither, both + only_b, only_a + neither
    product = math.prod(margins)
    if product == 0:
        return 0.0
    excess = both * neither - only_a * only_b
    half = (both + only_a + only_b + neither) / 2
    corrected = max(excess - half, 0.0) if excess > 0 else excess
    return corrected / math.sqrt(product)
