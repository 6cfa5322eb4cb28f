"""Readers of data files, each of which checks all that a file says of itself.

=============  =====================================================================
ending         what is read
=============  =====================================================================
``.npy``       an array, memory-mapped
``.npz``       its array ``features`` or ``labels``, or its only one, or that which
               ``FILE.npz:NAME`` names
``.parquet``   a column a feature, or one of lists ``features``; the column ``label``
``.bin``       CIFAR-10 or CIFAR-100
anything else  IDX, as it is or compressed by gzip
=============  =====================================================================

Features are integers, float16, bfloat16, float32 or float64, and keep their dtype.
Nothing is unpickled, but for Python batches of CIFAR by a reader of arrays alone.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import cifar, door, idx, labels, npy, npz, tables
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.door import BadFileError
from linclf_jax.data.labels import Labels

Header = tuple[tuple[int, ...], np.dtype]  # shape and dtype
read_idx = idx.read
read_cifar = cifar.read
_NONE = ReadOptions()
KINDS = ".npy, .npz, .parquet, IDX or CIFAR"


class _Format(NamedTuple):
    """How the files of a format are read."""

    peek: Callable[[str | Path, ReadOptions], Header]
    read: Callable[[str | Path, int | None, ReadOptions], np.ndarray]
    peek_labels: Callable[[str | Path, ReadOptions], Header]
    read_labels: Callable[[str | Path, int | None, ReadOptions], np.ndarray]
    columns: Callable[[str | Path], tuple[str, ...]] | None = None  # all of a table
    feature_columns: (
        Callable[[str | Path, ReadOptions], FeatureColumns | None] | None
    ) = None


def _arrays(
    peek: Callable[[str | Path], Header],
    read: Callable[[str | Path, int | None], np.ndarray],
    peek_labels: Callable[[str | Path], Header],
    read_labels: Callable[[str | Path, int | None], np.ndarray],
) -> _Format:
    """Returns a format of arrays, which have no columns to choose from."""
    return _Format(
        lambda path, _: peek(path),
        lambda path, max_bytes, _: read(path, max_bytes),
        lambda path, _: peek_labels(path),
        lambda path, max_bytes, _: read_labels(path, max_bytes),
    )


def _members(module: Any) -> _Format:
    """Returns a format of several arrays in a file, each with a name."""
    names = ("features", "features", "labels", "labels")
    readers = (module.peek, module.read) * 2
    return _arrays(*map(functools.partial, readers, names))


def _tables(module: Any) -> _Format:
    return _Format(*(getattr(module, field) for field in _Format._fields))


_IDX = _arrays(idx.peek, idx.read, idx.peek, idx.read)
_FORMATS = {
    ".npy": _arrays(npy.peek, npy.read, npy.peek, npy.read),
    ".npz": _members(npz),
    ".parquet": _tables(tables),
    ".bin": _arrays(cifar.peek, cifar.read_images, cifar.peek, cifar.read_labels),
}


def read_features(
    path: str | Path, *, max_bytes: int | None = None, options: ReadOptions = _NONE
) -> np.ndarray:
    """Returns the features of a file, once all of them have been looked at.

    Args:
        path: The file, of any of the formats above.
        max_bytes: Most memory that they may take; what the machine has if None.
        options: Which columns are features.

    Returns:
        ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``, in the file's dtype.

    Raises:
        ValueError: The file is missing, damaged, too long, too large, or of another
            format; or holds NaN or infinity, with the count and the first place.
    """
    peek(path, options)
    x = door.check_features(_format(path).read(path, max_bytes, options), path)
    rest = _rest(path, x.shape, options)
    return x if rest is None else x[:, rest]


def read_labels(
    path: str | Path,
    class_names: tuple[str, ...] | None = None,
    *,
    options: ReadOptions = _NONE,
) -> Labels:
    """Returns the labels of a file as classes.

    Args:
        path: The file, of any of the formats above.
        class_names: Of the training rows, for labels of other rows; None finds them.
        options: Which column holds them, and what its values mean.

    Returns:
        Classes ``(N,)`` int32 and the names of all classes, as ``labels.from_array``
        makes them.

    Raises:
        ValueError: As ``read_features``, or as ``labels.from_array``.
    """
    found = _format(path).read_labels(path, None, options)
    return labels.from_array(found, class_names, path, options)


def peek(path: str | Path, options: ReadOptions = _NONE) -> Header:
    """Returns shape and dtype of features, from the header.

    Args:
        path: The file, of any of the formats above.
        options: As in ``read_features``.

    Raises:
        ValueError: The file is missing, the header is damaged, or what it describes
            can be no features.
    """
    shape, dtype = _format(path).peek(path, options)
    door.check_kind(shape, dtype, path)
    rest = _rest(path, shape, options)
    return (shape if rest is None else (shape[0], len(rest))), dtype


def peek_labels(path: str | Path, options: ReadOptions = _NONE) -> int:
    """Returns how many labels there are, from the header.

    Args:
        path: The file, of any of the formats above.
        options: As in ``read_labels``.

    Raises:
        ValueError: The file is missing, or the header is damaged.
    """
    (shape, _) = _format(path).peek_labels(path, options)
    if not shape:
        raise BadFileError(f"{path} holds a single number; expected one a row")
    return shape[0]


def feature_names(
    path: str | Path, options: ReadOptions = _NONE
) -> tuple[str, ...] | None:
    """Returns the names of the features, from the header, in the order of the columns.

    Args:
        path: The file, of any of the formats above.
        options: As in ``read_features``.

    Returns:
        One for each column that ``read_features`` returns; None where a file has no
        names: of arrays, lists, and a CSV without a header.

    Raises:
        ValueError: As ``peek``.
    """
    found = _feature_columns(path, options)
    return found.names if found is not None and found.named else None


def called(path: str | Path, options: ReadOptions = _NONE) -> tuple[str, ...] | None:
    """Returns what flags and messages call the features: names, or numbers from 0.

    Args:
        path: The file, of any of the formats above.
        options: As in ``read_features``.

    Returns:
        As ``feature_names``, with the number of the column in the file where it has no
        name; None of images.

    Raises:
        ValueError: As ``peek``.
    """
    found = _feature_columns(path, options)
    if found is not None:
        return found.names
    shape, _ = _format(path).peek(path, options)
    if len(shape) != 2:
        return None
    rest = _rest(path, shape, options)
    return tuple(map(str, range(shape[1]) if rest is None else rest))


def columns(path: str | Path) -> tuple[str, ...]:
    """Returns the names of all columns of a table, from the header; none of arrays.

    Args:
        path: The file, of any of the formats above.

    Raises:
        ValueError: As ``peek``.
    """
    names = _format(path).columns
    return () if names is None else names(path)


def _feature_columns(path: str | Path, options: ReadOptions) -> FeatureColumns | None:
    reader = _format(path).feature_columns
    return None if reader is None else reader(path, options)


def _rest(
    path: str | Path, shape: tuple[int, ...], options: ReadOptions
) -> list[int] | None:
    """Returns the columns of a matrix that are not dropped; None where none is."""
    if not options.drop_columns or _feature_columns(path, options) is not None:
        return None
    rest = [k for k in range(shape[1]) if str(k) not in options.drop_columns]
    if len(shape) != 2 or not rest:
        raise BadFileError(
            f"{path} has shape {shape}, drop_columns is "
            f"{', '.join(options.drop_columns)}; expected columns that are left"
        )
    return rest if len(rest) < shape[1] else None


def _format(path: str | Path) -> _Format:
    name = str(path)
    if Path(path).is_dir():
        raise BadFileError(f"{path} is a folder; expected a file")
    kind = ".npz" if ".npz:" in name else Path(path).suffix.lower()
    return _FORMATS.get(kind, _IDX)
