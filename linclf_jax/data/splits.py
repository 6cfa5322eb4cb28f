"""Assignment of rows to training, validation and test, stratified by class.

The rows of each class are ordered by random 64-bit keys and cut at the rounded
cumulative fractions. The keys are the raw stream of NumPy's PCG64, which NumPy
guarantees for all its versions and platforms (unlike methods of ``Generator`` such as
``permutation``), so that a seed names the same split everywhere.

Training has a row of every class; the other splits have one where there are enough: of
a class with fewer rows than splits, training has the first, validation the second.
"""

import itertools
from typing import NamedTuple

import numpy as np

Fractions = tuple[float, float, float]  # of training, validation and test
Counts = tuple[tuple[int, int], ...]  # a class, and how many rows of it there are


class Lacking(NamedTuple):
    """Classes of too few rows, of which a split that was drawn has none."""

    validation: Counts = ()
    test: Counts = ()


class Rows(NamedTuple):
    """Sorted row numbers of each split, int64."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def assign(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    fractions: Fractions,
    name: str,
    seed: int,
) -> Rows:
    """Returns the rows of each split.

    Args:
        labels: Of all rows, ``(N,)`` integers in ``0..C-1``.
        class_names: C names, for messages.
        fractions: Of the splits, from ``drawn``; 0 for one that is not drawn.
        name: Of the dataset, for messages.
        seed: Of the order of the rows, in ``0..2^32-1``.

    Raises:
        ValueError: A class has no row, or the test split is drawn and gets none.
    """
    keys = np.random.PCG64(seed).random_raw(len(labels))
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label, class_name in enumerate(class_names):
        rows = np.flatnonzero(labels == label)
        if not len(rows):
            raise ValueError(
                f"{name}: found no row of class {label} ({class_name}), expected at "
                "least one to train with; leave the class out, or add rows of it"
            )
        rows = rows[np.argsort(keys[rows], kind="stable")]
        cuts = np.cumsum(_sizes(len(rows), fractions))[:2]
        for part, rows_of_class in zip(parts, np.split(rows, cuts), strict=True):
            part.append(rows_of_class)
    rows = Rows(*(np.sort(np.concatenate(part)).astype(np.int64) for part in parts))
    if fractions[2] and not len(rows.test):
        raise ValueError(
            f"{name}: found no class with a row to spare for the test split; expected "
            "one of at least three rows, or --test_features and --test_labels"
        )
    return rows


def _sizes(count: int, fractions: Fractions) -> list[int]:
    """Returns how many rows of a class each split has, of ``count`` in all."""
    cuts = [0, *(round(sum(fractions[:k]) * count) for k in (1, 2)), count]
    sizes = [end - start for start, end in itertools.pairwise(cuts)]
    for split, fraction in enumerate(fractions):
        largest = sizes.index(max(sizes))
        # The last row of a class goes to no split but training.
        if fraction and not sizes[split] and (sizes[largest] > 1 or split == 0):
            sizes[largest] -= 1
            sizes[split] += 1
    return sizes


def lacking(labels: np.ndarray, rows: Rows, fractions: Fractions) -> Lacking:
    """Returns the classes of which a split that was drawn has no row."""
    counts = np.bincount(labels)

    def absent(split: np.ndarray) -> Counts:
        missing = np.bincount(labels[split], minlength=len(counts)) == 0
        return tuple((int(c), int(counts[c])) for c in np.flatnonzero(missing))

    drawn = zip(rows[1:], fractions[1:], strict=True)
    return Lacking(*(absent(split) if share else () for split, share in drawn))


def drawn(fractions: Fractions, *, validation: bool, test: bool) -> Fractions:
    """Returns the fractions of the source that each split gets; refuses others.

    Args:
        fractions: Of the three splits; positive, summing to 1.
        validation: Whether validation rows are drawn from the source; if they have a
            source of their own, their fraction is training rows.
        test: Whether test rows are, likewise.
    """
    positive = len(fractions) == 3 and all(0 < share < 1 for share in fractions)
    if not positive or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(
            f"found fractions {fractions}, expected three positive ones that sum to 1"
        )
    first, second, third = fractions
    return (
        first + second * (not validation) + third * (not test),
        second * validation,
        third * test,
    )
