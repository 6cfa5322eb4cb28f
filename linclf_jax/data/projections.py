"""Principal axes of the training rows, and features along them.

Directions in which the rows do not vary, but for rounding, are none: of constant and
repeated columns, and all but N - 1 where there are fewer rows than columns. Divided by
their deviation, they would be noise of the size of the features.
"""

import re

import numpy as np

from linclf_jax.data import statistics

WHITEN = "whiten"
PCA = "pca:K"  # as people are told; K is a number
_PCA = re.compile(r"pca:([1-9][0-9]{0,5})")
_ROWS = 256  # of a product


def is_one(name: str) -> bool:
    """Tells whether a name of a preprocessing is one of a projection.

    Args:
        name: Such as ``pca:50``.
    """
    return name == WHITEN or _PCA.fullmatch(name) is not None


def num_axes(name: str) -> int | None:
    """Returns K of ``pca:K``; None of ``whiten``, which takes all axes there are.

    Args:
        name: One for which ``is_one`` is true.
    """
    found = _PCA.fullmatch(name)
    return int(found[1]) if found else None


def axes(name: str, x: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the axes by which ``(x - shift) / scale`` is multiplied.

    They come in the order of the variance along them, the largest first. An axis and
    its opposite are both principal: the one is taken whose entry of the largest
    magnitude, the first of several, is positive.

    Args:
        name: ``pca:K`` or ``whiten``.
        x: Training features ``(N, D)``, finite real numbers of any dtype.
        shift: ``(D,)`` float64, the means.
        scale: ``(D,)`` float64, positive.

    Returns:
        ``(D, K)`` float64: of ``pca:K`` of length 1, of ``whiten`` such that the
        training rows have variance 1 along each.

    Raises:
        ValueError: Features too large to square, or fewer directions than K, or none.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        variances, directions = _spectrum(x, shift, scale)
    # What eigenvalues near 0 are worth, in float64, of a product of N by D numbers.
    least = max(x.shape) * np.finfo(np.float64).eps * variances[0]
    rank = int(np.count_nonzero(variances > least))
    wanted = num_axes(name) or max(rank, 1)
    if wanted > rank:
        raise ValueError(
            f"{name}: found {rank} directions in which the {len(x)} training rows of "
            f"{x.shape[1]} columns vary, beyond rounding; expected at least {wanted}"
        )
    variances, directions = variances[:wanted], directions[:, :wanted]
    largest = np.argmax(np.abs(directions), axis=0)
    signs = np.sign(directions[largest, np.arange(wanted)])
    lengths = np.sqrt(variances) if name == WHITEN else np.ones(wanted)
    return np.ascontiguousarray(directions * (signs / lengths)[None, :])


def apply(scaled: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Multiplies a block of rows by the axes, each row alike whatever is beside it.

    Args:
        scaled: ``(n, D)`` float64.
        axes: ``(D, K)`` float64.

    Returns:
        ``(n, K)`` float64.
    """
    products = []
    for start in range(0, len(scaled), _ROWS):
        block = scaled[start : start + _ROWS]
        # A product of another shape may add in another order: its last bits differ.
        padded = np.pad(block, ((0, _ROWS - len(block)), (0, 0)))
        products.append((padded @ axes)[: len(block)])
    return np.concatenate(products)


def _spectrum(
    x: np.ndarray, shift: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variances from the largest, and the directions ``(D, ...)`` that have them."""
    if len(x) < x.shape[1]:  # features of a few shots: D is large, N^2 D is not
        (block,) = statistics.blocks(x, rows=len(x))
        centred = (block - shift[None, :]) / scale[None, :]
        _check(np.sum(np.square(centred)))
        _, deviations, transposed = np.linalg.svd(centred, full_matrices=False)
        return np.square(deviations) / len(x), transposed.T
    covariance = statistics.covariance(x, shift, scale)
    _check(np.trace(covariance))
    variances, directions = np.linalg.eigh(covariance)
    return variances[::-1], directions[:, ::-1]


def _check(total: np.floating) -> None:
    if not np.isfinite(total):
        raise ValueError("features are so large that their squares leave float64")
