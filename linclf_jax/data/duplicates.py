"""Rows that stand among others too: tested and trained on, held out and fitted to.

A row is a duplicate of another if all its numbers have the same bytes, once both are of
a dtype that holds either. So 0.0 and -0.0 differ, and 1 and 1.0 do not. Of every row 16
bytes are kept (BLAKE2b), so that tables on the disk may be larger than the memory.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FITTED = -1  # the fold of rows that are never held out, as ``folds.NOT_HELD_OUT``
_BLOCK = 2**24  # bytes that are hashed together
_DIGEST = 16  # bytes


class Duplicates(NamedTuple):
    """Which of some rows stand among others too."""

    rows: np.ndarray  # (N,) boolean
    # (N,) boolean, those of which no equal row has the same label.
    another_label: np.ndarray


class Counts(NamedTuple):
    """How many rows stand among others too."""

    rows: int
    another_label: int  # of these, those of which no equal row has the same label
    size: int  # of how many


def common_dtype(*arrays: np.ndarray) -> np.dtype:
    """Returns a dtype that holds the numbers of all arrays.

    Args:
        arrays: Of any dtypes; float64 where NumPy knows none, as of bfloat16 beside
            float16.
    """
    try:
        return np.result_type(*(array.dtype for array in arrays))
    except TypeError:
        return np.dtype(np.float64)


def between(
    seen: Sequence[tuple[np.ndarray, np.ndarray]], x: np.ndarray, labels: np.ndarray
) -> Duplicates:
    """Returns which rows are equal to one that was seen before.

    Args:
        seen: Features ``(M, D)`` and labels ``(M,)`` of one or several tables.
        x: Features ``(N, D)``, perhaps of another dtype.
        labels: ``(N,)``.

    >>> x, labels = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1])
    >>> found = between([(x, labels)], np.array([[3, 4], [5, 6], [1, 2]]), np.zeros(3))
    >>> found.rows.tolist(), found.another_label.tolist()
    ([True, False, True], [True, False, False])
    """
    tables = [*seen, (x, labels)]
    size = sum(len(own) for _, own in seen)
    fold = np.full(size + len(labels), FITTED)
    fold[size:] = 0
    everywhere = _duplicates(
        [table for table, _ in tables], np.concatenate([own for _, own in tables]), fold
    )
    return Duplicates(*(mask[size:] for mask in everywhere))


def across(x: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> Duplicates:
    """Returns which rows are equal to one that trains while they are held out.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)``.
        fold: ``(N,)``, the fold that holds a row out, ``FITTED`` for none; those rows
            are no duplicates themselves.

    >>> x, labels = np.array([[1], [2], [1], [2]]), np.array([0, 1, 0, 0])
    >>> across(x, labels, np.array([0, 1, 1, 1])).rows.tolist()
    [True, False, True, False]
    """
    return _duplicates([x], labels, fold)


def counts(duplicates: Duplicates, fold: np.ndarray | None = None) -> Counts:
    """Returns how many there are.

    Args:
        duplicates: From ``between`` or ``across``.
        fold: ``(N,)`` of ``across``: rows that are never held out do not count.
    """
    rows, another_label = (int(np.count_nonzero(mask)) for mask in duplicates)
    size = len(duplicates.rows) if fold is None else np.count_nonzero(fold != FITTED)
    return Counts(rows, another_label, int(size))


def _duplicates(
    tables: Sequence[np.ndarray], labels: np.ndarray, fold: np.ndarray
) -> Duplicates:
    kind = common_dtype(*tables)
    digests = np.concatenate([_digests(table, kind) for table in tables])
    _, group = np.unique(digests, return_inverse=True)
    held_out = fold != FITTED
    rows = held_out & (_alike(group) > _alike(group, fold))
    same = _alike(group, labels) > _alike(group, labels, fold)
    return Duplicates(rows, rows & ~same)


def _digests(x: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Returns ``(N,)`` texts of 16 bytes."""
    rows = max(_BLOCK // max(x.shape[1] * kind.itemsize, 1), 1)
    digests = np.empty(len(x), f"S{_DIGEST}")
    for start in range(0, len(x), rows):
        block = x[start : start + rows].astype(kind, copy=False)
        # As bytes, for bfloat16 has no buffer of its own.
        digests[start : start + rows] = [
            hashlib.blake2b(row, digest_size=_DIGEST).digest()
            for row in np.ascontiguousarray(block).view(np.uint8)
        ]
    return digests


def _alike(*columns: np.ndarray) -> np.ndarray:
    """Returns of every row how many have the same integers in all columns."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, number = np.unique(column, return_inverse=True)
        _, key = np.unique(key * (number.max() + 1) + number, return_inverse=True)
    return np.bincount(key)[key]
