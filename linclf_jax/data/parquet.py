"""Parquet files: a column a feature, or one column of lists of them.

``columns`` decides which columns are features; what the metadata of pandas calls an
index is none. Rows are read in blocks, so that a file which expands beyond the size it
declares is noticed there.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import columns as columns_lib
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.formats import Array, Format

_ROWS = 4096  # of a block


class _Layout(NamedTuple):
    """Where the features of a table are, and the array that they make."""

    names: tuple[str, ...]  # of the columns
    shape: tuple[int, ...]
    dtype: np.dtype  # holds the numbers of all columns
    lists: bool  # one column, of all numbers of a row
    order: tuple[int, ...] | None = None  # of the axes in a row, of tensors


def _columns(path: str | Path, _: ReadOptions) -> tuple[str, ...]:
    with _open(path) as file:
        return tuple(file.schema_arrow.names)


def _feature_columns(path: str | Path, options: ReadOptions) -> FeatureColumns | None:
    with _open(path) as file:
        layout = _layout(file, options, path)
        return None if layout.lists else FeatureColumns(layout.names, named=True)


def _features(path: str | Path, options: ReadOptions) -> Array:
    """Returns the features; tensors keep their shape."""
    with _open(path) as file:
        layout = _layout(file, options, path)

    def read() -> np.ndarray:
        x = np.empty(layout.shape, layout.dtype)
        with _open(path) as file:
            for start, batch in _batches(file, layout.names, path):
                x[start : start + len(batch)] = _matrix(batch, layout, start, path)
        return x

    return Array(layout.shape, layout.dtype, read)


def _labels(path: str | Path, options: ReadOptions) -> Array:
    """Returns the column of the labels, numbers, booleans or texts."""
    with _open(path) as file:
        num_rows = file.metadata.num_rows
        if num_rows < 1:
            raise BadFileError(f"{path} has 0 rows; expected at least one")
        name = columns_lib.label(file.schema_arrow.names, options, path, _index(file))

    def read() -> np.ndarray:
        parts = []
        with _open(path) as file:
            for start, batch in _batches(file, [name], path):
                _check_no_nulls(batch.column(0), name, start, path)
                parts.append(np.array(batch.column(0).to_pylist()))
        return np.concatenate(parts)

    # Counted as eight bytes each: the metadata does not tell how long texts are.
    return Array((num_rows,), np.dtype(np.int64), read)


def _open(path: str | Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise BadFileError(
            f"{path} takes pyarrow, which is not installed: pip install "
            "'linclf_jax[parquet]'"
        ) from error
    Path(path).stat()  # its error for a missing file is the shorter one
    return parquet.ParquetFile(path, page_checksum_verification=True)


def _index(file: Any) -> list[str]:
    """Returns the columns that pandas has written as an index, whatever their names."""
    text = (file.schema_arrow.metadata or {}).get(b"pandas")
    index = json.loads(text).get("index_columns", []) if text else []
    return [name for name in index if isinstance(name, str)]  # ranges are no columns


def _layout(file: Any, options: ReadOptions, path: str | Path) -> _Layout:
    from pyarrow import types

    num_rows, schema = file.metadata.num_rows, file.schema_arrow
    names = columns_lib.features(file.schema_arrow.names, options, path, _index(file))
    if not names or num_rows < 1:
        raise BadFileError(
            f"{path} has {num_rows} rows and the columns {[*names]} of features, of "
            f"{file.schema_arrow.names}; expected at least one of each"
        )
    kinds = {name: schema.field(name).type for name in names}
    lists = [name for name in names if hasattr(kinds[name], "value_type")]
    usual = [name for name in columns_lib.LISTS if name in lists]
    if usual or lists == [*names]:
        return _layout_of_lists(file, (usual or lists)[0], path)
    for name, kind in kinds.items():
        if not (types.is_integer(kind) or types.is_floating(kind)):
            raise BadFileError(
                f"{path}: column {name} is of {kind}; expected numbers, or that "
                f"drop_columns ({columns_lib.flag('drop_columns', name)}) leaves it out"
            )
    dtypes = [np.dtype(kind.to_pandas_dtype()) for kind in kinds.values()]
    return _Layout(names, (num_rows, len(names)), np.result_type(*dtypes), lists=False)


def _layout_of_lists(file: Any, name: str, path: str | Path) -> _Layout:
    from pyarrow import types

    kind, order = file.schema_arrow.field(name).type, None
    if not (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)):
        raise BadFileError(
            f"{path}: column {name} is of {kind.value_type}; expected numbers"
        )
    if hasattr(kind, "permutation"):
        order = tuple(kind.permutation or range(len(kind.shape)))
        row = tuple(kind.shape[axis] for axis in order)
    elif hasattr(kind, "list_size"):
        row = (kind.list_size,)
    else:
        row = (_length_of_lists(file, name, path),)
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    shape = (file.metadata.num_rows, *row)
    return _Layout((name,), shape, dtype, lists=True, order=order)


def _length_of_lists(file: Any, name: str, path: str | Path) -> int:
    """Returns the length of the first list that has one."""
    for _, batch in _batches(file, [name], path):
        lengths = np.asarray(batch.column(0).value_lengths().fill_null(0))
        if lengths.any():
            return int(lengths[np.argmax(lengths > 0)])
    raise BadFileError(f"{path}: all lists of {name} are missing or empty")


def _batches(
    file: Any, columns: Sequence[str], path: str | Path
) -> Iterator[tuple[int, Any]]:
    """Yields blocks of rows with the number of the first, no more than declared."""
    start, rows = 0, file.metadata.num_rows
    for batch in file.iter_batches(batch_size=_ROWS, columns=[*columns]):
        if start + len(batch) > rows or len(batch.columns) != len(columns):
            raise BadFileError(f"{path} goes on after its {rows} rows of {columns}")
        yield start, batch
        start += len(batch)
    if start < rows:
        raise BadFileError(f"{path} ends after {start} rows; expected {rows}")


def _matrix(batch: Any, layout: _Layout, start: int, path: str | Path) -> np.ndarray:
    # Batches need not keep the order of the columns that were asked for.
    by_name = [batch.column(name) for name in layout.names]
    for name, column in zip(layout.names, by_name, strict=True):
        _check_no_nulls(column, name, start, path)
    if not layout.lists:
        return np.stack([c.to_numpy(zero_copy_only=False) for c in by_name], 1)
    column, name = by_name[0], layout.names[0]
    if layout.order is not None:
        column = column.storage
    width = int(np.prod(layout.shape[1:]))
    lengths = np.asarray(column.value_lengths())
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise BadFileError(
            f"{path} has {lengths[row]} {name} in row {start + row}; expected {width}, "
            "as in the other rows"
        )
    values = column.flatten()
    if values.null_count:
        row = int(np.argmax(np.asarray(values.is_null()))) // width
        raise BadFileError(f"{path}: a number is missing in row {start + row}")
    rows = values.to_numpy(zero_copy_only=False)
    if layout.order is None:
        return rows.reshape(-1, width)
    sizes = [layout.shape[1 + layout.order.index(k)] for k in range(len(layout.order))]
    return rows.reshape(-1, *sizes).transpose(0, *(1 + k for k in layout.order))


def _check_no_nulls(column: Any, name: str, start: int, path: str | Path) -> None:
    if column.null_count:
        row = start + int(np.argmax(np.asarray(column.is_null())))
        raise BadFileError(
            f"{path}: {column.null_count} entries of {name} are missing, the first in "
            f"row {row}; expected one in every row"
        )


FORMAT = Format(
    "a Parquet file",
    _features,
    _labels,
    columns=_columns,
    feature_columns=_feature_columns,
)
