"""Statistics of the columns of a matrix, in float64, a block of rows at a time.

A large matrix of bytes or halves is never in memory in float64. The blocks depend on
the number of columns alone, so that the same values give the same bits, whatever dtype
they come in and however they lie in memory.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_ENTRIES = 2**22  # of a block, 32 MiB


class Moments(NamedTuple):
    """What is known of each column."""

    constant: np.ndarray  # (D,) bool: all entries are the same number
    mean: np.ndarray  # (D,) float64, of a constant column the constant
    deviation: np.ndarray  # (D,) float64, of the N rows, not N - 1
    extent: np.ndarray  # (D,) float64, max - min


def blocks(x: np.ndarray, rows: int | None = None) -> Iterator[np.ndarray]:
    """Yields the rows of a matrix in float64, row-major.

    Args:
        x: ``(N, D)``, real numbers of any dtype.
        rows: Of a block; None for as many as have 2^22 entries, at least one.
    """
    step = max(_ENTRIES // x.shape[1], 1) if rows is None else rows
    for start in range(0, len(x), step):
        # Before any sum: its last bits would depend on the dtype and on the order.
        yield np.asarray(x[start : start + step], dtype=np.float64, order="C")


def moments(x: np.ndarray) -> Moments:
    """Takes the moments of each column.

    Args:
        x: ``(N, D)``, finite real numbers of any dtype.

    Returns:
        The moments; those that leave float64 are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        first = [
            (np.min(block, axis=0), np.max(block, axis=0), np.sum(block, axis=0))
            for block in blocks(x)
        ]
        lowest, highest, sums = (np.stack(part) for part in zip(*first, strict=True))
        low, high = np.min(lowest, axis=0), np.max(highest, axis=0)
        # Compared as they are: a mean of equal numbers is their value up to rounding.
        mean = np.where(low == high, low, np.sum(sums, axis=0) / len(x))
        squares = sum(
            np.sum(np.square(block - mean[None, :]), axis=0) for block in blocks(x)
        )
        return Moments(low == high, mean, np.sqrt(squares / len(x)), high - low)


def covariance(x: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the mean over rows of ``z z^T``, with ``z = (x - shift) / scale``.

    Args:
        x: ``(N, D)``, finite real numbers of any dtype.
        shift: ``(D,)`` float64, the means.
        scale: ``(D,)`` float64, positive.

    Returns:
        ``(D, D)`` float64, symmetric.
    """
    total = np.zeros((x.shape[1], x.shape[1]))
    for block in blocks(x):
        z = (block - shift[None, :]) / scale[None, :]
        total += z.T @ z
    return total / len(x)
