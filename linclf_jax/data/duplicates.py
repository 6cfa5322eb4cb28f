"""Rows that are in two sets: tested and trained on, or held out and fitted to.

A row is a duplicate of another if all its numbers have the same bytes, once both are of
a dtype that holds either. So 0.0 and -0.0 differ, and 1 and 1.0 do not. Hashes of 16
bytes (BLAKE2b) are compared, so that tables on the disk may exceed the memory.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax.data.stored_rows import Features

FITTED = -1  # the fold of rows that are never held out, as ``folds.NOT_HELD_OUT``
_BLOCK = 2**24  # bytes that are hashed at once
_DIGEST = 16  # bytes


class Duplicates(NamedTuple):
    """Which of N rows are equal to one of another set."""

    rows: np.ndarray  # (N,) boolean
    another_label: np.ndarray  # (N,) boolean, where no equal row has the same label


class Counts(NamedTuple):
    """How many rows of ``Duplicates`` there are, of all that were compared."""

    rows: int
    another_label: int
    size: int


def common_dtype(*arrays: Features) -> np.dtype:
    """Returns a dtype that holds the numbers of all arrays.

    It is float64 where NumPy knows none, as of bfloat16 beside float16.
    """
    try:
        return np.result_type(*(array.dtype for array in arrays))
    except TypeError:
        return np.dtype(np.float64)


def between(
    others: Sequence[tuple[Features, np.ndarray]], x: Features, labels: np.ndarray
) -> Duplicates:
    """Returns which rows are equal to one of other tables.

    Args:
        others: Features ``(M, D)`` and labels ``(M,)`` of one or several tables.
        x: Features ``(N, D)``, perhaps of another dtype.
        labels: ``(N,)``.

    >>> x, labels = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1])
    >>> both = between([(x, labels)], np.array([[3, 4], [5, 6], [1, 2]]), np.zeros(3))
    >>> both.rows.tolist(), both.another_label.tolist()
    ([True, False, True], [True, False, False])
    """
    tables = [*(table for table, _ in others), x]
    all_labels = np.concatenate([*(table[1] for table in others), labels])
    start = len(all_labels) - len(labels)
    fold = np.where(np.arange(len(all_labels)) < start, FITTED, 0)
    masks = _duplicates(tables, all_labels, fold)
    return Duplicates(*(mask[start:] for mask in masks))


def across(x: Features, labels: np.ndarray, fold: np.ndarray) -> Duplicates:
    """Returns which rows are equal to a training row of the fit that holds them out.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)``.
        fold: ``(N,)``, the fold that holds a row out, ``FITTED`` for none; those rows
            are not marked themselves.

    >>> x, labels = np.array([[1], [2], [1], [2]]), np.array([0, 1, 0, 0])
    >>> across(x, labels, np.array([0, 1, 1, 1])).rows.tolist()
    [True, False, True, False]
    """
    return _duplicates([x], labels, fold)


def counts(duplicates: Duplicates, fold: np.ndarray | None = None) -> Counts:
    """Counts duplicates; of ``across``, rows that are never held out do not count."""
    rows, another_label = (int(np.count_nonzero(mask)) for mask in duplicates)
    size = len(duplicates.rows) if fold is None else np.count_nonzero(fold != FITTED)
    return Counts(rows, another_label, int(size))


def _duplicates(
    tables: Sequence[Features], labels: np.ndarray, fold: np.ndarray
) -> Duplicates:
    dtype = common_dtype(*tables)
    digests = np.concatenate([_digests(table, dtype) for table in tables])
    _, group = np.unique(digests, return_inverse=True)
    held_out = fold != FITTED
    rows = held_out & (_num_equal(group) > _num_equal(group, fold))
    same = _num_equal(group, labels) > _num_equal(group, labels, fold)
    return Duplicates(rows, rows & ~same)


def _digests(x: Features, dtype: np.dtype) -> np.ndarray:
    """Returns the hash of each row, ``(N,)`` of 16 bytes."""
    rows = max(_BLOCK // max(x.shape[1] * dtype.itemsize, 1), 1)
    digests = np.empty(len(x), f"S{_DIGEST}")
    for start in range(0, len(x), rows):
        block = x[start : start + rows].astype(dtype, copy=False)
        # As bytes: bfloat16 has no buffer protocol.
        digests[start : start + rows] = [
            hashlib.blake2b(row, digest_size=_DIGEST).digest()
            for row in np.ascontiguousarray(block).view(np.uint8)
        ]
    return digests


def _num_equal(*columns: np.ndarray) -> np.ndarray:
    """Returns for each row how many rows have the same entries in all columns."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, code = np.unique(column, return_inverse=True)
        _, key = np.unique(key * (code.max() + 1) + code, return_inverse=True)
    return np.bincount(key)[key]
