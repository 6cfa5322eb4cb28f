"""Tables of Parquet files: a column a feature, or one column of lists ``features``.

A column ``label`` is no feature. Rows are read in blocks, so that a file that expands
beyond what it declares is left where it does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.data import door
from linclf_jax.data.door import BadFileError

LABEL, LISTS = "label", "features"
_ROWS = 4096  # of a block
_EXPECTED = "a Parquet file"


def peek(path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the features, from the metadata and the first row.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged, or its columns are no features; pyarrow
            is not installed.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        return _features(file, path)


def peek_labels(path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the labels, from the metadata.

    Args:
        path: The file.

    Raises:
        BadFileError: As ``peek``, or there is no column of labels.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        from pyarrow import types

        kind = _label(file, path).type
        dtype = kind.to_pandas_dtype() if types.is_integer(kind) else str
        return (file.metadata.num_rows,), np.dtype(dtype)


def read(path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns the features.

    Args:
        path: The file.
        max_bytes: Most that they may take; what the machine has if None.

    Returns:
        ``(N, D)``, of the dtype that holds the numbers of all columns.

    Raises:
        BadFileError: As ``peek``; a number is missing, or lists differ in length.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        shape, dtype = _features(file, path)
        door.check_size(shape, dtype, path, max_bytes=max_bytes)
        x = np.empty(shape, dtype)
        for start, batch in _batches(file, _columns(file), path):
            x[start : start + len(batch)] = _matrix(batch, shape[1], start, path)
        return x


def read_labels(path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns the column ``label``, or the only one.

    Args:
        path: The file.
        max_bytes: Most that they may take; what the machine has if None.

    Returns:
        ``(N,)`` integers or texts.

    Raises:
        BadFileError: As ``peek_labels``, or a label is missing.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        name, rows = _label(file, path).name, file.metadata.num_rows
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


def _columns(file: Any) -> list[str]:
    names = [field.name for field in file.schema_arrow]
    return [LISTS] if LISTS in names else [name for name in names if name != LABEL]


def _features(file: Any, path: str | Path) -> tuple[tuple[int, int], np.dtype]:
    from pyarrow import types

    names, schema, rows = _columns(file), file.schema_arrow, file.metadata.num_rows
    if not names or rows < 1 or len({*names}) < len(names):
        raise BadFileError(
            f"{path} has {rows} rows and the columns {names}; expected at least one of "
            "each, with names of their own"
        )
    kinds, width = [schema.field(name).type for name in names], len(names)
    if names == [LISTS] and hasattr(kinds[0], "value_type"):
        width = _length_of_lists(file, kinds[0])
        kinds = [kinds[0].value_type]
    for name, kind in zip(names, kinds, strict=True):
        if not (types.is_integer(kind) or types.is_floating(kind)):
            raise BadFileError(f"{path}: column {name} is of {kind}; expected numbers")
    dtypes = [np.dtype(kind.to_pandas_dtype()) for kind in kinds]
    return (rows, width), np.result_type(*dtypes)


def _length_of_lists(file: Any, kind: Any) -> int:
    if hasattr(kind, "list_size"):
        return kind.list_size
    first = next(file.iter_batches(batch_size=1, columns=[LISTS])).column(0)[0]
    return len(first.as_py() or ())


def _label(file: Any, path: str | Path) -> Any:
    fields = list(file.schema_arrow)
    named = [field for field in fields if field.name == LABEL]
    found = named or (fields if len(fields) == 1 else [])
    if len(found) != 1 or file.metadata.num_rows < 1:
        raise BadFileError(
            f"{path} has {file.metadata.num_rows} rows and the columns "
            f"{[field.name for field in fields]}; expected rows, and one column {LABEL}"
        )
    return found[0]


def _batches(
    file: Any, columns: list[str], path: str | Path
) -> Iterator[tuple[int, Any]]:
    """Yields blocks of rows with the number of the first, no more than declared."""
    start, rows = 0, file.metadata.num_rows
    for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
        if start + len(batch) > rows or len(batch.columns) != len(columns):
            raise BadFileError(f"{path} goes on after its {rows} rows of {columns}")
        yield start, batch
        start += len(batch)
    if start < rows:
        raise BadFileError(f"{path} ends after {start} rows; expected {rows}")


def _matrix(batch: Any, width: int, start: int, path: str | Path) -> np.ndarray:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        _check_whole(column, name, start, path)
    column = batch.column(0)
    if not hasattr(column.type, "value_type"):
        return np.stack([c.to_numpy(zero_copy_only=False) for c in batch.columns], 1)
    lengths = np.asarray(column.value_lengths())
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise BadFileError(
            f"{path} has {lengths[row]} {LISTS} in row {start + row}; expected "
            f"{width}, as in the first"
        )
    values = column.flatten()
    if values.null_count:
        row = int(np.argmax(np.asarray(values.is_null()))) // width
        raise BadFileError(f"{path}: a number is missing in row {start + row}")
    return values.to_numpy(zero_copy_only=False).reshape(-1, width)


def _check_whole(column: Any, name: str, start: int, path: str | Path) -> None:
    if column.null_count:
        row = start + int(np.argmax(np.asarray(column.is_null())))
        raise BadFileError(
            f"{path}: {column.null_count} entries of {name} are missing, the first in "
            f"row {row}; expected one in every row"
        )
