"""Dealing rows into the folds of a cross-validation, class by class, by a seed."""

import numpy as np


def deal(
    labels: np.ndarray, count: int, *, seed: int, name: str = "count"
) -> np.ndarray:
    """Deals rows into folds, class by class, so that each fold has its share.

    Args:
        labels: ``(N,)``, integers from 0.
        count: Folds, at least 2.
        seed: In ``0..2^32-1``; of a stream apart from that of ``datasets.split``.
        name: What a message calls the count.

    Returns:
        The fold of each row, ``(N,)`` int32, in ``0..count-1``; the folds of a class
        differ by at most one row.

    Raises:
        ValueError: There are fewer than two folds, or a class has fewer rows than
            there are folds.
    """
    if count < 2:
        raise ValueError(f"{name} is {count}; expected at least 2")
    keys = np.random.PCG64([seed, 1]).random_raw(len(labels))
    dealt = np.empty(len(labels), np.int32)
    offset = 0  # so that the rows left over of each class do not all fall to fold 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise ValueError(
                f"{name} is {count}; class {label} has {len(rows)} rows, expected at "
                "least one for each fold"
            )
        rows = rows[np.argsort(keys[rows], kind="stable")]
        dealt[rows] = (np.arange(len(rows)) + offset) % count
        offset += len(rows)
    return dealt
