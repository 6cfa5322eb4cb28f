"""Features that stay as they are stored: rows that are read where they are indexed.

A table of a memory-mapped file is never in memory as a whole, whatever rows are taken
of it. What reads a table goes through it by slices, and sees arrays; ``np.asarray``
reads all of it. The pages that a map has read are given back at once: they stay in the
system's cache, and are not counted as memory of the process.
"""

import dataclasses
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK = 2**22  # entries
# Rows after which pages are given back: a system maps up to 2 MiB around each.
_PART = 256


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """Rows ``(N, D)`` of one or several arrays, most of them memory-mapped."""

    arrays: tuple[np.ndarray, ...]
    number: np.ndarray  # (N,) int8, of the array that a row is of
    row: np.ndarray  # (N,) int64, its number in the array
    dtype: np.dtype  # that the rows are read in; holds the numbers of all arrays

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, D)``, or that of images."""
        return (len(self.row), *self.arrays[0].shape[1:])

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Reads the rows that an index names, and returns what it would of an array."""
        rows, *columns = index if isinstance(index, tuple) else (index,)
        number, row = map(np.atleast_1d, (self.number[rows], self.row[rows]))
        x = np.empty((len(row), *self.shape[1:]), self.dtype)
        for each, array in enumerate(self.arrays):
            own = np.flatnonzero(number == each)
            # In the order of the file, which is that in which a disk reads fastest.
            own = own[np.argsort(row[own], kind="stable")]
            for part in np.split(own, range(_PART, len(own), _PART)):
                x[part] = array[side_by_side(row[part])]
                _give_back(array)
        return x[0 if np.ndim(self.row[rows]) == 0 else slice(None), *columns]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)  # pyright: ignore

    def take(self, rows: slice | np.ndarray) -> "StoredRows":
        """Returns some of the rows, none of them read."""
        return dataclasses.replace(self, number=self.number[rows], row=self.row[rows])


Features = np.ndarray | StoredRows


def stored(x: np.ndarray) -> Features:
    """Returns a memory-mapped table as its rows, and any other as it is."""
    return x if _map(x) is None else _as_rows(x)


def take(x: Features, rows: slice | np.ndarray) -> Features:
    """Returns some rows of a table; they are copied if it is in memory."""
    return x.take(rows) if isinstance(x, StoredRows) else x[rows]


def concatenate(first: Features, second: Features, dtype: np.dtype) -> Features:
    """Returns the rows of two tables; none are read where one of them is stored."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([x.astype(dtype, copy=False) for x in (first, second)])
    parts = [_as_rows(x) for x in (first, second)]
    return StoredRows(
        (*parts[0].arrays, *parts[1].arrays),
        np.concatenate([parts[0].number, parts[1].number + len(parts[0].arrays)]),
        np.concatenate([part.row for part in parts]),
        dtype,
    )


def side_by_side(index: np.ndarray) -> np.ndarray | slice:
    """Returns ascending row numbers as a slice if they are one: it copies nothing."""
    if len(index) and index[-1] - index[0] == len(index) - 1:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def blocks(x: Features) -> Iterator[np.ndarray]:
    """Yields all rows, 2^22 entries at a time, as they are stored."""
    step = max(_BLOCK // max(int(np.prod(x.shape[1:])), 1), 1)
    for start in range(0, len(x), step):
        yield x[start : start + step]


def _as_rows(x: Features) -> StoredRows:
    if isinstance(x, StoredRows):
        return x
    return StoredRows((x,), np.zeros(len(x), np.int8), np.arange(len(x)), x.dtype)


def _map(x: object) -> mmap.mmap | None:
    """Returns the map that the numbers of an array lie in, if they do."""
    while x is not None and not isinstance(x, mmap.mmap):
        x = getattr(x, "base", None)
    return x


def _give_back(array: np.ndarray) -> None:
    mapped = _map(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
