"""Assigning rows to the folds of a cross-validation, class by class, by a seed.

A fold needs training rows of every class, not held-out ones: a class with fewer rows
than there are folds is held out by some of them, and the only row of a class by none.
"""

from collections.abc import Sequence

import numpy as np

NOT_HELD_OUT = -1  # the fold of a row that is in training in every fold
_NAMED = 3  # classes that a sentence names before it counts the others


def assign(
    labels: np.ndarray, count: int, *, seed: int, name: str = "count"
) -> np.ndarray:
    """Assigns rows to folds, class by class, so that each fold has its share.

    Args:
        labels: ``(N,)``, integers from 0.
        count: Folds, at least 2.
        seed: In ``0..2^32-1``; of a stream apart from that of ``datasets.split``.
        name: What a message calls the count.

    Returns:
        The fold of each row, ``(N,)`` int32, in ``0..count-1``; the folds of a class
        differ by at most one row. ``NOT_HELD_OUT`` is that of the only row of a class,
        without which a fit would not know the class: see ``warning``.

    Raises:
        ValueError: There are fewer than two folds, or more than rows that can be held
            out.
    """
    if count < 2:
        raise ValueError(f"{name} is {count}; expected at least 2")
    keys = np.random.PCG64([seed, 1]).random_raw(len(labels))
    fold = np.full(len(labels), NOT_HELD_OUT, np.int32)
    offset = 0  # so that the rows left over of each class do not all fall to fold 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) == 1:
            continue
        rows = rows[np.argsort(keys[rows], kind="stable")]
        fold[rows] = (np.arange(len(rows)) + offset) % count
        offset += len(rows)
    if offset < count:
        raise ValueError(
            f"{name} is {count}; {offset} rows are of classes with two or more, which "
            f"alone can be held out; expected at least one for each fold: lower {name}"
        )
    return fold


def alone(labels: np.ndarray) -> np.ndarray:
    """Returns which rows are the only ones of their class, ``(N,)`` boolean."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[index] == 1


def warning(
    labels: np.ndarray, held_out: np.ndarray, class_names: Sequence[str] | None = None
) -> str | None:
    """Returns a sentence on classes that held-out rows do not contain, None without.

    Those are the rows ``(N,)`` that some fit did not see.

    >>> warning(np.array([0, 0, 1]), np.array([True, True, False]), ["cat", "yak"])
    'held-out scores contain no row of 1 class, which stays in training: yak (1 row)'
    """
    classes, counts = np.unique(labels, return_counts=True)
    missing = ~np.isin(classes, labels[held_out])
    if not missing.any():
        return None
    names = [class_names[i] if class_names else str(i) for i in classes[missing]]
    which = "1 class, which stays"
    if len(names) > 1:
        which = f"{len(names)} classes, which stay"
    return (
        f"held-out scores contain no row of {which} in training: "
        f"{listed(names, counts[missing])}"
    )


def listed(names: Sequence[object], counts: Sequence[int] | np.ndarray) -> str:
    """Returns the first few classes by name with their rows, and how many more.

    >>> listed(["a", "b", "c", "d", "e"], [1, 2, 1, 1, 1])
    'a (1 row), b (2 rows), c (1 row) and 2 more'
    """
    first = [
        f"{name} ({count} row{'' if count == 1 else 's'})"
        for name, count in zip(names[:_NAMED], counts, strict=False)
    ]
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(first) + rest
