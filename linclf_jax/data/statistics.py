"""Moments and principal axes of a matrix, in float64, a block of rows at a time.

A large matrix of bytes or halves is never in memory in float64. The blocks depend on
the number of columns alone, so that the same values give the same bits, whatever dtype
they come in and however they lie in memory.

Directions in which the rows do not vary, but for rounding, are no axes: of constant and
repeated columns, and all but N - 1 where there are fewer rows than columns. Divided by
their deviation, they would be noise of the size of the features.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from linclf_jax.data.stored_rows import Features

_ENTRIES = 2**22  # of a block, 32 MiB
_ROWS = 256  # of a product


class Moments(NamedTuple):
    """Statistics of each column."""

    mean: np.ndarray  # (D,) float64, of a constant column the constant
    deviation: np.ndarray  # (D,) float64, of the N rows, not N - 1
    extent: np.ndarray  # (D,) float64, max - min


def blocks(x: Features, rows: int | None = None) -> Iterator[np.ndarray]:
    """Yields blocks of ``rows`` in float64, row-major; of 2^22 entries if None."""
    step = max(_ENTRIES // x.shape[1], 1) if rows is None else rows
    for start in range(0, len(x), step):
        # Before any sum: its last bits would depend on the dtype and on the order.
        yield np.asarray(x[start : start + step], dtype=np.float64, order="C")


def moments(x: Features) -> Moments:
    """Returns the moments of each column; those that leave float64 are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        first = [
            (np.min(block, axis=0), np.max(block, axis=0), np.sum(block, axis=0))
            for block in blocks(x)
        ]
        lowest, highest, sums = (np.stack(part) for part in zip(*first, strict=True))
        low, high = np.min(lowest, axis=0), np.max(highest, axis=0)
        # A mean that is computed of equal numbers is their value but for rounding.
        mean = np.where(low == high, low, np.sum(sums, axis=0) / len(x))
        squares = sum(
            np.sum(np.square(block - mean[None, :]), axis=0) for block in blocks(x)
        )
        return Moments(mean, np.sqrt(squares / len(x)), high - low)


def principal_axes(
    x: Features,
    shift: np.ndarray,
    scale: np.ndarray,
    *,
    name: str,
    count: int | None,
    whiten: bool,
) -> np.ndarray:
    """Returns the principal axes of ``z = (x - shift) / scale``.

    They come in the order of the variance along them, the largest first. An axis and
    its opposite are both principal: the one is returned whose entry of the largest
    magnitude, the first of several, is positive.

    Args:
        x: Training features ``(N, D)``, finite real numbers of any dtype.
        shift: ``(D,)``, the means.
        scale: ``(D,)``, positive.
        name: Of the preprocessing, for messages.
        count: K, how many axes; None for all in which the rows vary.
        whiten: Divides each axis, of length 1, by the deviation along it, so that the
            training rows have variance 1 along each.

    Returns:
        ``(D, K)``. Features too large to square, fewer directions than K, and none are
        refused.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        variances, directions = _spectrum(x, shift, scale)
    # The rounding errors, in float64, of eigenvalues of a product of N by D numbers.
    least = max(x.shape) * np.finfo(np.float64).eps * variances[0]
    rank = int(np.count_nonzero(variances > least))
    count = count or max(rank, 1)
    if count > rank:
        raise ValueError(
            f"{name}: found {rank} directions in which the {len(x)} training rows of "
            f"{x.shape[1]} columns vary, beyond rounding; expected at least {count}"
        )
    variances, directions = variances[:count], directions[:, :count]
    largest = np.argmax(np.abs(directions), axis=0)
    signs = np.sign(directions[largest, np.arange(count)])
    lengths = np.sqrt(variances) if whiten else np.ones(count)
    return np.ascontiguousarray(directions * (signs / lengths)[None, :])


def project(scaled: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Multiplies rows ``(n, D)`` by axes; the bits of one depend on no other row."""
    products = []
    for start in range(0, len(scaled), _ROWS):
        block = scaled[start : start + _ROWS]
        # A product of another shape may add in another order: its last bits differ.
        padded = np.pad(block, ((0, _ROWS - len(block)), (0, 0)))
        products.append((padded @ axes)[: len(block)])
    return np.concatenate(products)


def _spectrum(
    x: Features, shift: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns variances, the largest first, and their directions ``(D, ...)``."""
    if len(x) < x.shape[1]:  # features of a few shots: D is large, N^2 D is not
        (block,) = blocks(x, rows=len(x))
        centred = (block - shift[None, :]) / scale[None, :]
        _check_squares(np.sum(np.square(centred)))
        _, deviations, transposed = np.linalg.svd(centred, full_matrices=False)
        return np.square(deviations) / len(x), transposed.T
    matrix = _covariance(x, shift, scale)
    _check_squares(np.trace(matrix))
    variances, directions = np.linalg.eigh(matrix)
    return variances[::-1], directions[:, ::-1]


def _covariance(x: Features, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the mean over rows of ``z z^T``, with ``z = (x - shift) / scale``."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for block in blocks(x):
        z = (block - shift[None, :]) / scale[None, :]
        total += z.T @ z
    return total / len(x)


def _check_squares(total: np.floating) -> None:
    if not np.isfinite(total):
        raise ValueError("features are so large that their squares leave float64")
