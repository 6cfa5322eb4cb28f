"""Parquet files: a column a feature, or one column of lists of them.

What the metadata of pandas calls an index is no feature. Rows are read in blocks, so
that a file which expands beyond the size it declares is noticed there.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import checks
from linclf_jax.data import columns as columns_lib
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import Columns, ReadOptions
from linclf_jax.data.formats import Array, Format, Table

_ROWS = 4096  # of a block


def _table(path: Path, _: ReadOptions) -> Table:
    file = _Parquet(path)
    with file.open() as opened:
        schema = opened.schema_arrow
    lists = [field.name for field in schema if hasattr(field.type, "value_type")]
    columns = Columns(tuple(schema.names), index=_index(schema), lists=lists)
    return Table(columns, file.features, file.labels)


def _index(schema: Any) -> list[str]:
    """Returns the columns that pandas has written as an index, whatever their names."""
    text = (schema.metadata or {}).get(b"pandas")
    index = json.loads(text).get("index_columns", []) if text else []
    return [name for name in index if isinstance(name, str)]  # ranges are no columns


class _Lists(NamedTuple):
    """The shape and order of the numbers in an entry of a column of lists."""

    shape: tuple[int, ...]
    order: tuple[int, ...] | None = None  # of the axes in memory, of tensors


@dataclasses.dataclass(frozen=True)
class _Parquet:
    path: Path

    def open(self) -> Any:
        checks.library("pyarrow", "pyarrow", "'linclf_jax[parquet]'", self.path)
        from pyarrow import parquet

        return parquet.ParquetFile(self.path, page_checksum_verification=True)

    def features(self, names: tuple[str, ...]) -> Array:
        """Returns features of a column each, or those in lists of one column."""
        with self.open() as file:
            num_rows = file.metadata.num_rows
            kinds = [file.schema_arrow.field(name).type for name in names]
            if len(names) == 1 and hasattr(kinds[0], "value_type"):
                return self._features_of_lists(file, names[0], kinds[0])
        dtypes = [self._dtype(*pair) for pair in zip(names, kinds, strict=True)]

        def read() -> np.ndarray:
            x = np.empty((num_rows, len(names)), np.result_type(*dtypes))
            for start, columns in self._blocks(names):
                numbers = [column.to_numpy(zero_copy_only=False) for column in columns]
                x[start : start + len(numbers[0])] = np.stack(numbers, axis=1)
            return x

        return Array((num_rows, len(names)), np.result_type(*dtypes), read)

    def labels(self, name: str) -> Array:
        """Returns a column of numbers, booleans or texts."""
        with self.open() as file:
            num_rows = file.metadata.num_rows

        def read() -> np.ndarray:
            blocks = [column.to_pylist() for _, (column,) in self._blocks([name])]
            return np.concatenate([np.array(block) for block in blocks])

        # Counted as eight bytes each: the metadata does not tell how long texts are.
        return Array((num_rows,), np.dtype(np.int64), read)

    def _features_of_lists(self, file: Any, name: str, kind: Any) -> Array:
        dtype = self._dtype(name, kind.value_type)
        if hasattr(kind, "permutation"):
            order = tuple(kind.permutation or range(len(kind.shape)))
            lists = _Lists(tuple(kind.shape[axis] for axis in order), order)
        elif hasattr(kind, "list_size"):
            lists = _Lists((kind.list_size,))
        else:
            lists = _Lists((self._length_of_lists(file, name),))
        shape = (file.metadata.num_rows, *lists.shape)

        def read() -> np.ndarray:
            x = np.empty(shape, dtype)
            for start, (column,) in self._blocks([name]):
                x[start : start + len(column)] = self._rows(column, name, lists, start)
            return x

        return Array(shape, dtype, read)

    def _dtype(self, name: str, kind: Any) -> np.dtype:
        from pyarrow import types

        if not (types.is_integer(kind) or types.is_floating(kind)):
            raise BadFileError(
                f"{self.path}: column {name} is of {kind}; expected numbers, or that "
                f"drop_columns ({columns_lib.flag('drop_columns', name)}) leaves it out"
            )
        return np.dtype(kind.to_pandas_dtype())

    def _length_of_lists(self, file: Any, name: str) -> int:
        """Returns the length of the first list that has one."""
        for batch in file.iter_batches(batch_size=_ROWS, columns=[name]):
            lengths = np.asarray(batch.column(0).value_lengths().fill_null(0))
            if lengths.any():
                return int(lengths[np.argmax(lengths > 0)])
        raise BadFileError(f"{self.path}: all lists of {name} are missing or empty")

    def _blocks(self, names: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
        """Yields the columns of blocks of rows, with the number of the first row.

        There are as many rows as declared, and no entry is missing.
        """
        with self.open() as file:
            start, rows = 0, file.metadata.num_rows
            for batch in file.iter_batches(batch_size=_ROWS, columns=[*names]):
                if start + len(batch) > rows or len(batch.columns) != len(names):
                    raise BadFileError(
                        f"{self.path} goes on after its {rows} rows of {[*names]}"
                    )
                # Batches need not keep the order of the columns that were asked for.
                columns = [batch.column(name) for name in names]
                for name, column in zip(names, columns, strict=True):
                    self._check_no_nulls(column, name, start)
                yield start, columns
                start += len(batch)
            if start < rows:
                raise BadFileError(
                    f"{self.path} ends after {start} rows; expected {rows}"
                )

    def _check_no_nulls(self, column: Any, name: str, start: int) -> None:
        if column.null_count:
            row = start + int(np.argmax(np.asarray(column.is_null())))
            raise BadFileError(
                f"{self.path}: {column.null_count} entries of {name} are missing, the "
                f"first in row {row}; expected one in every row"
            )

    def _rows(self, column: Any, name: str, lists: _Lists, start: int) -> np.ndarray:
        """Returns the numbers of a block of lists, all of the same length."""
        if lists.order is not None:
            column = column.storage
        width = math.prod(lists.shape)
        lengths = np.asarray(column.value_lengths())
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise BadFileError(
                f"{self.path} has {lengths[row]} {name} in row {start + row}; expected "
                f"{width}, as in the other rows"
            )
        values = column.flatten()
        if values.null_count:
            row = int(np.argmax(np.asarray(values.is_null()))) // width
            raise BadFileError(f"{self.path}: a number is missing in row {start + row}")
        rows = values.to_numpy(zero_copy_only=False)
        if lists.order is None:
            return rows.reshape(-1, width)
        stored = [lists.shape[axis] for axis in np.argsort(lists.order)]
        axes = [1 + axis for axis in lists.order]
        return rows.reshape(-1, *stored).transpose(0, *axes)


FORMAT = Format("a Parquet file", table=_table)
