"""Dealing the rows of a table into training, validation and test, class by class.

Training has a row of every class; the other splits have one where there are enough.
"""

import itertools
from typing import NamedTuple

import numpy as np

from linclf_jax.data.sources import Source

Fractions = tuple[float, float, float]  # of training, validation and test
Counts = tuple[tuple[int, int], ...]  # a class, and how many rows of it there are


class Lacking(NamedTuple):
    """Classes of which a dealt split has no row, for they have too few."""

    validation: Counts = ()
    test: Counts = ()


class Dealt(NamedTuple):
    """Sorted row numbers of each split, int64."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def deal(source: Source, shares: Fractions, name: str, seed: int) -> Dealt:
    """Returns which rows each split has.

    Args:
        source: The rows, valid.
        shares: Of the splits; 0 for one that is not dealt.
        name: What a message calls the source.
        seed: Of the order.

    Raises:
        ValueError: A class has no row, or a split that is to be tested has none.
    """
    labels = np.asarray(source.labels)
    keys = np.random.PCG64(seed).random_raw(len(labels))
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label, class_name in enumerate(source.class_names):
        rows = np.flatnonzero(labels == label)
        if not len(rows):
            raise ValueError(
                f"{name}: found no row of class {label} ({class_name}), expected at "
                "least one to train with; leave the class out, or add rows of it"
            )
        rows = rows[np.argsort(keys[rows], kind="stable")]
        cuts = np.cumsum(_sizes(len(rows), shares))[:2]
        for part, rows_of_class in zip(parts, np.split(rows, cuts), strict=True):
            part.append(rows_of_class)
    dealt = Dealt(*(np.sort(np.concatenate(part)).astype(np.int64) for part in parts))
    if shares[2] and not len(dealt.test):
        raise ValueError(
            f"{name}: found no class with a row to spare for the test split; expected "
            "one of at least three rows, or --test_features and --test_labels"
        )
    return dealt


def _sizes(count: int, shares: Fractions) -> list[int]:
    """Returns how many rows of a class each split has, of ``count`` in all."""
    cuts = [0, *(round(sum(shares[:k]) * count) for k in (1, 2)), count]
    sizes = [end - start for start, end in itertools.pairwise(cuts)]
    for split, share in enumerate(shares):
        largest = sizes.index(max(sizes))
        # The last row of a class is spared for training alone.
        if share and not sizes[split] and (sizes[largest] > 1 or split == 0):
            sizes[largest] -= 1
            sizes[split] += 1
    return sizes


def lacking(labels: np.ndarray, dealt: Dealt, shares: Fractions) -> Lacking:
    """Returns the classes of which a dealt split has no row.

    Args:
        labels: Of all rows, ``(N,)``.
        dealt: The splits.
        shares: As in ``deal``.
    """
    labels = labels.astype(np.int64)
    counts = np.bincount(labels)

    def absent(rows: np.ndarray) -> Counts:
        missing = np.bincount(labels[rows], minlength=len(counts)) == 0
        return tuple((int(c), int(counts[c])) for c in np.flatnonzero(missing))

    return Lacking(
        absent(dealt.validation) if shares[1] else (),
        absent(dealt.test) if shares[2] else (),
    )


def shares(
    fractions: Fractions, *, deals_validation: bool, deals_test: bool
) -> Fractions:
    """Returns the shares of a source in whose place other rows may stand.

    Args:
        fractions: Of the three splits; positive, summing to 1.
        deals_validation: Whether validation rows are dealt; else training has them.
        deals_test: Whether test rows are dealt; else training has them.

    Raises:
        ValueError: The fractions are others.
    """
    _check_fractions(fractions)
    first, second, third = fractions
    return (
        first + second * (not deals_validation) + third * (not deals_test),
        second * deals_validation,
        third * deals_test,
    )


def _check_fractions(fractions: Fractions) -> None:
    positive = len(fractions) == 3 and all(0 < share < 1 for share in fractions)
    if not positive or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(
            f"found fractions {fractions}, expected three positive ones that sum to 1"
        )
