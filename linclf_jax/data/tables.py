"""Tables of Parquet files: a column a feature, or one column of lists of them.

Which columns are features is for ``columns`` to say; what pandas calls an index in the
metadata is none. Rows are read in blocks, so that a file that expands beyond what it
declares is left where it does.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import columns as columns_lib
from linclf_jax.data import door
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.door import BadFileError

_ROWS = 4096  # of a block
_NONE = ReadOptions()
_EXPECTED = "a Parquet file"


class _Layout(NamedTuple):
    """Where the features of a table are, and what they become."""

    names: tuple[str, ...]  # of the columns
    shape: tuple[int, ...]
    dtype: np.dtype
    lists: bool  # one column, of all numbers of a row
    order: tuple[int, ...] | None = None  # of the axes in a row, of tensors


def peek(
    path: str | Path, options: ReadOptions = _NONE
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the features, from the metadata and the first list.

    Args:
        path: The file.
        options: Which columns are meant.

    Raises:
        BadFileError: It is missing or damaged, or its columns are no features; pyarrow
            is not installed.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        layout = _layout(file, options, path)
        return layout.shape, layout.dtype


def columns(path: str | Path, _: ReadOptions = _NONE) -> tuple[str, ...]:
    """Returns the names of all columns, from the metadata.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged; pyarrow is not installed.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        return tuple(_names(file))


def feature_columns(
    path: str | Path, options: ReadOptions = _NONE
) -> FeatureColumns | None:
    """Returns the columns of the features, from the metadata; None of lists.

    Args:
        path: The file.
        options: Which columns are meant.

    Raises:
        BadFileError: As ``peek``.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        layout = _layout(file, options, path)
        return None if layout.lists else FeatureColumns(layout.names, named=True)


def peek_labels(
    path: str | Path, options: ReadOptions = _NONE
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the labels, from the metadata.

    Args:
        path: The file.
        options: Which column is meant.

    Raises:
        BadFileError: As ``peek``, or there is no column of labels.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        from pyarrow import types

        kind = file.schema_arrow.field(_label(file, options, path)).type
        dtype = kind.to_pandas_dtype() if types.is_integer(kind) else str
        return (file.metadata.num_rows,), np.dtype(dtype)


def read(
    path: str | Path, max_bytes: int | None = None, options: ReadOptions = _NONE
) -> np.ndarray:
    """Returns the features.

    Args:
        path: The file.
        max_bytes: Most that they may take; what the machine has if None.
        options: Which columns are meant.

    Returns:
        ``(N, D)``, of the dtype that holds the numbers of all columns; tensors keep
        their shape.

    Raises:
        BadFileError: As ``peek``; a number is missing, or lists differ in length.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        layout = _layout(file, options, path)
        door.check_size(layout.shape, layout.dtype, path, max_bytes=max_bytes)
        x = np.empty(layout.shape, layout.dtype)
        for start, batch in _batches(file, layout.names, path):
            x[start : start + len(batch)] = _matrix(batch, layout, start, path)
        return x


def read_labels(
    path: str | Path, max_bytes: int | None = None, options: ReadOptions = _NONE
) -> np.ndarray:
    """Returns the column of the labels, or the only one.

    Args:
        path: The file.
        max_bytes: Most that they may take; what the machine has if None.
        options: Which column is meant.

    Returns:
        ``(N,)`` numbers, booleans or texts.

    Raises:
        BadFileError: As ``peek_labels``, or a label is missing.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        name, rows = _label(file, options, path), file.metadata.num_rows
        # As if of eight bytes each; how long texts are stands nowhere.
        door.check_size((rows,), np.dtype(np.int64), path, max_bytes=max_bytes)
        parts = []
        for start, batch in _batches(file, [name], path):
            _check_whole(batch.column(0), name, start, path)
            parts.append(np.array(batch.column(0).to_pylist()))
        return np.concatenate(parts)


def _open(path: str | Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise BadFileError(
            f"{path} takes pyarrow, which is not installed: pip install "
            "'linclf_jax[parquet]'"
        ) from error
    Path(path).stat()  # says that it is missing in fewer words
    return parquet.ParquetFile(path, page_checksum_verification=True)


def _names(file: Any) -> list[str]:
    return [field.name for field in file.schema_arrow]


def _index(file: Any) -> list[str]:
    """Returns the columns that pandas has written as an index, whatever their names."""
    text = (file.schema_arrow.metadata or {}).get(b"pandas")
    found = json.loads(text).get("index_columns", []) if text else []
    return [name for name in found if isinstance(name, str)]  # ranges are no columns


def _layout(file: Any, options: ReadOptions, path: str | Path) -> _Layout:
    from pyarrow import types

    rows, schema = file.metadata.num_rows, file.schema_arrow
    found = columns_lib.features(_names(file), options, path, _index(file))
    if not found or rows < 1:
        raise BadFileError(
            f"{path} has {rows} rows and the columns {[*found]} of features, of "
            f"{_names(file)}; expected at least one of each"
        )
    kinds = {name: schema.field(name).type for name in found}
    lists = [name for name in found if hasattr(kinds[name], "value_type")]
    usual = [name for name in columns_lib.LISTS if name in lists]
    if usual or lists == [*found]:
        return _layout_of_lists(file, (usual or lists)[0], path)
    for name, kind in kinds.items():
        if not (types.is_integer(kind) or types.is_floating(kind)):
            raise BadFileError(
                f"{path}: column {name} is of {kind}; expected numbers, or that "
                f"drop_columns ({columns_lib.flag('drop_columns', name)}) leaves it out"
            )
    dtypes = [np.dtype(kind.to_pandas_dtype()) for kind in kinds.values()]
    return _Layout(found, (rows, len(found)), np.result_type(*dtypes), False)


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
    return _Layout((name,), (file.metadata.num_rows, *row), dtype, True, order)


def _length_of_lists(file: Any, name: str, path: str | Path) -> int:
    """Returns the length of the first list that has one."""
    for _, batch in _batches(file, [name], path):
        lengths = np.asarray(batch.column(0).value_lengths().fill_null(0))
        if lengths.any():
            return int(lengths[np.argmax(lengths > 0)])
    raise BadFileError(f"{path}: all lists of {name} are missing or empty")


def _label(file: Any, options: ReadOptions, path: str | Path) -> str:
    if file.metadata.num_rows < 1:
        raise BadFileError(f"{path} has 0 rows; expected at least one")
    return columns_lib.label(_names(file), options, path, _index(file))


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
        _check_whole(column, name, start, path)
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


def _check_whole(column: Any, name: str, start: int, path: str | Path) -> None:
    if column.null_count:
        row = start + int(np.argmax(np.asarray(column.is_null())))
        raise BadFileError(
            f"{path}: {column.null_count} entries of {name} are missing, the first in "
            f"row {row}; expected one in every row"
        )
