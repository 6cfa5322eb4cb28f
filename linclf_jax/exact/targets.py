"""Targets of the exact solver: of each row a class, or a distribution over classes."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from linclf_jax import validation

NUMBERED = "names, labels = numpy.unique(labels, return_inverse=True)"


class Targets(NamedTuple):
    """Of each row a class, or where that is not all, a distribution."""

    labels: np.ndarray  # (1 or L, M) int32, the first class of the largest target
    soft: np.ndarray | None  # (1 or L, M, C) float64, rows sum to 1
    num_classes: int

    def dense(self) -> np.ndarray:
        """Returns the distributions ``(1 or L, M, C)``."""
        return np.eye(self.num_classes)[self.labels] if self.soft is None else self.soft

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Returns the mean targets ``(L, C)`` by normalised weights ``(L, M)``."""
        own = self.labels if self.soft is None else self.soft
        lanes = zip(
            weights, np.broadcast_to(own, (len(weights), *own.shape[1:])), strict=True
        )
        if self.soft is not None:
            return np.stack([w @ soft for w, soft in lanes])
        count = self.num_classes
        return np.stack([np.bincount(rows, w, minlength=count) for w, rows in lanes])


def prepare(labels: ArrayLike, used: np.ndarray, num_classes: int | None) -> Targets:
    """Returns the targets of the M rows that are used.

    C is the largest label plus one if None.

    Raises:
        ValueError: The labels are neither integers from 0, ``(N,)``, nor soft targets
            ``(N, C)``; the message says what they are and what to do.
    """
    array = np.asarray(labels)
    require_numbers(array)
    if array.ndim and len(array) != len(used):
        raise ValueError(f"x has {len(used)} rows but labels has {len(array)} entries")
    rows = np.flatnonzero(used)
    if array.ndim != 2:
        return _hard(array, rows, num_classes)
    one_class = array.dtype.kind == "f" and num_classes in (None, 1)
    if array.shape[1] == 1 and not (one_class and (array[rows] == 1.0).all()):
        raise ValueError(
            f"labels has shape {array.shape}; expected ({len(array)},), the class of "
            f"each row: pass labels.ravel(). Soft targets are ({len(array)}, C)"
        )
    return _soft(array, rows, num_classes)


def valid(labels: ArrayLike, num_classes: int) -> np.ndarray:
    """Returns which rows have a class or a distribution, boolean ``(N,)``."""
    array = np.asarray(labels)
    if array.ndim == 1:
        return (array >= 0) & (array < num_classes)
    return _distributions(array)


def require_numbers(labels: np.ndarray) -> None:
    """Refuses labels that are names, and says how to number them."""
    if labels.dtype.kind in "USOT" and labels.size:
        raise ValueError(
            f"labels has dtype {labels.dtype} and begins with {labels.flat[0]!r}; "
            f"expected integers from 0: {NUMBERED} numbers the names of classes"
        )


def _hard(array: np.ndarray, rows: np.ndarray, num_classes: int | None) -> Targets:
    if array.ndim == 1 and len(rows) < len(array):
        # Set to 0 and not left out, so that a message has the row's number in labels.
        filled = np.zeros_like(array)
        filled[rows] = array[rows]
        array = filled
    top = int(array.max()) + 1 if array.size and array.dtype.kind in "iu" else 1
    count = max(top, 1) if num_classes is None else num_classes
    validation.validate_labels(array, count)
    return Targets(array[rows].astype(np.int32)[None], None, count)


def _soft(array: np.ndarray, rows: np.ndarray, num_classes: int | None) -> Targets:
    targets = np.asarray(array[rows], np.float64)
    if num_classes is not None and targets.shape[1] != num_classes:
        raise ValueError(
            f"labels has {targets.shape[1]} columns; expected {num_classes} classes"
        )
    sums = targets.sum(axis=1)
    bad = np.flatnonzero(~_distributions(targets))
    if bad.size:
        raise ValueError(
            f"labels: {bad.size} of {len(rows)} rows are no distribution, first row "
            f"{rows[bad[0]]} with sum {sums[bad[0]]}; expected entries at least 0 that "
            "sum to 1"
        )
    labels = targets.argmax(axis=1).astype(np.int32)[None]
    if ((targets == 0.0) | (targets == 1.0)).all():
        return Targets(labels, None, targets.shape[1])
    return Targets(labels, (targets / sums[:, None])[None], targets.shape[1])


def _distributions(targets: np.ndarray) -> np.ndarray:
    """Returns which rows are at least 0 and sum to 1, boolean ``(N,)``."""
    with np.errstate(invalid="ignore"):
        off = np.abs(targets.sum(axis=1) - 1.0)
        return (targets >= 0).all(axis=1) & (off <= 1e-6)
