"""Data files: features, labels and names of columns, with all checks of the files.

================  ==================================================================
ending            what is read
================  ==================================================================
``.npy``          an array, memory-mapped
``.npz``          its array ``features`` or ``labels``, or its only one, or that which
                  ``FILE.npz:NAME`` names
``.safetensors``  a tensor, likewise, memory-mapped
``.h5, .hdf5``    a dataset, likewise
``.pt, .pth``     a tensor, likewise, or a single one
``.parquet``      a column a feature, or one of lists or tensors; the column of labels
``.csv, .tsv``    a column a feature; the column of labels
``.bin``          CIFAR-10 or CIFAR-100
none, ``.gz``     IDX, as it is or compressed by gzip, which may be called anything
================  ==================================================================

Features are integers, float16, bfloat16, float32 or float64, and keep their dtype.
Nothing is unpickled, but for Python batches of CIFAR by a reader of arrays alone, and
by PyTorch with weights_only. Every function refuses, by ``BadFileError``, a file that
is missing, damaged or of another format.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from linclf_jax.data import (
    archives,
    checks,
    cifar,
    delimited,
    formats,
    idx,
    labels,
    numpy_files,
    parquet,
)
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.formats import Array, Format
from linclf_jax.data.labels import Labels

_T = TypeVar("_T")
_FORMATS = {
    ".npy": numpy_files.NPY,
    ".npz": numpy_files.NPZ,
    ".parquet": parquet.FORMAT,
    ".safetensors": archives.SAFETENSORS,
    ".h5": archives.HDF5,
    ".hdf5": archives.HDF5,
    ".pt": archives.TORCH,
    ".pth": archives.TORCH,
    ".csv": delimited.FORMAT,
    ".tsv": delimited.FORMAT,
    ".bin": cifar.BINARY,
}
KINDS = (
    ".npy, .npz, .safetensors, .parquet, .csv, .tsv, .h5, .hdf5, .pt, .pth, .bin of "
    "CIFAR, or IDX, compressed by gzip or not"
)
read_idx = idx.read
read_cifar = cifar.read
_DEFAULT = ReadOptions()


def read_features(
    path: str | Path, *, max_bytes: int | None = None, options: ReadOptions = _DEFAULT
) -> np.ndarray:
    """Returns the features of a file, once all of them have been checked.

    Args:
        path: The file, of any of the formats.
        max_bytes: Limit of the memory; None for all that the machine has.
        options: Which columns are features.

    Returns:
        ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``, in the file's dtype.

    Raises:
        ValueError: The file is bad or too large; or holds NaN or infinity, with the
            count and the first row and column.
    """
    array, kept = _features(path, options)
    x = formats.load(array, path, _format(path).expected, max_bytes)
    checks.check_finite(x, path, feature_names(path, options))
    return x if kept is None else x[:, kept]


def read_labels(
    path: str | Path,
    class_names: tuple[str, ...] | None = None,
    *,
    options: ReadOptions = _DEFAULT,
) -> Labels:
    """Returns the labels of a file as classes.

    Args:
        path: The file, of any of the formats.
        class_names: Of the training rows, for labels of other rows; None takes the
            classes from the file.
        options: Which column holds them, and what its values mean.

    Returns:
        Classes ``(N,)`` int32 and the names of all classes, as ``labels.from_array``
        makes them.

    Raises:
        ValueError: The file is bad, or as ``labels.from_array``.
    """
    if class_names is not None and options.class_names is None:
        options = options._replace(label_texts=not labels.are_integers(class_names))
    array = _call(path, _format(path).labels, options)
    values = formats.load(array, path, _format(path).expected)
    return labels.from_array(values, class_names, path, options)


def peek(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the features, from the header.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Raises:
        ValueError: The file is bad, or its header describes no features.
    """
    array, kept = _features(path, options)
    shape = array.shape if kept is None else (array.shape[0], len(kept))
    return shape, array.dtype


def peek_labels(path: str | Path, options: ReadOptions = _DEFAULT) -> int:
    """Returns how many labels there are, from the header.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_labels``.
    """
    shape = _call(path, _format(path).labels, options).shape
    if not shape:
        raise BadFileError(f"{path} holds a single number; expected one a row")
    return shape[0]


def feature_names(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[str, ...] | None:
    """Returns the names of the features, from the header, in the order of the columns.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Returns:
        One for each column that ``read_features`` returns; None where a file has no
        names: of arrays, lists, and a CSV without a header.
    """
    columns = _feature_columns(path, options)
    return columns.names if columns is not None and columns.named else None


def names_or_numbers(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[str, ...] | None:
    """Returns how flags and messages refer to the features: names, or numbers from 0.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Returns:
        As ``feature_names``, with the number of the column in the file where it has no
        name; None of images.
    """
    columns = _feature_columns(path, options)
    if columns is not None:
        return columns.names
    shape = _call(path, _format(path).features, options).shape
    if len(shape) != 2:
        return None
    kept = _kept(path, shape, options)
    return tuple(map(str, range(shape[1]) if kept is None else kept))


def columns(path: str | Path, options: ReadOptions = _DEFAULT) -> tuple[str, ...]:
    """Returns the names of all columns of a table, from the header; none of arrays.

    Args:
        path: The file, of any of the formats.
        options: Which names training had.
    """
    names = _format(path).columns
    return () if names is None else _call(path, names, options)


def droppable(path: str | Path, options: ReadOptions = _DEFAULT) -> tuple[str, ...]:
    """Returns what ``drop_columns`` may hold: all columns, by name or number.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.
    """
    names = columns(path, options)
    dropped = tuple(name for name in options.drop_columns if name in names)
    others = options._replace(drop_columns=dropped)
    if feature_names(path, others) is not None:
        return names
    return (*names, *(names_or_numbers(path, others) or ()))


def members(path: str | Path) -> tuple[str, ...]:
    """Returns the names of the arrays in a file that has several; none of others.

    Args:
        path: The file, of any of the formats.
    """
    names = _format(path).members
    return () if names is None else _call(path, lambda file, _: names(Path(file)))


def _call(
    path: str | Path,
    reader: Callable[[str | Path, ReadOptions], _T],
    options: ReadOptions = _DEFAULT,
) -> _T:
    with checks.reading(formats.split(path)[0], _format(path).expected):
        return reader(path, options)


def _features(path: str | Path, options: ReadOptions) -> tuple[Array, list[int] | None]:
    """Returns the features of a file, and the columns that are kept; None for all."""
    array = _call(path, _format(path).features, options)
    checks.check_features(array.shape, array.dtype, path)
    return array, _kept(path, array.shape, options)


def _feature_columns(path: str | Path, options: ReadOptions) -> FeatureColumns | None:
    reader = _format(path).feature_columns
    return None if reader is None else _call(path, reader, options)


def _kept(
    path: str | Path, shape: tuple[int, ...], options: ReadOptions
) -> list[int] | None:
    """Returns the columns of a matrix that are not dropped; None where none is."""
    if not options.drop_columns or _feature_columns(path, options) is not None:
        return None
    kept = [k for k in range(shape[1]) if str(k) not in options.drop_columns]
    if len(shape) != 2 or not kept:
        raise BadFileError(
            f"{path} has shape {shape}, drop_columns is "
            f"{', '.join(options.drop_columns)}; expected columns that are left"
        )
    return kept if len(kept) < shape[1] else None


def _format(path: str | Path) -> Format:
    """Returns the format of a file, by its name, or IDX by its first bytes."""
    file, _ = formats.split(path)
    if file.is_dir():
        raise BadFileError(f"{file} is a folder; expected a file")
    ending = file.suffix.lower()
    if ending in _FORMATS:
        return _FORMATS[ending]
    # Names of IDX files end in anything; those of .csv.gz say what else they are.
    inner = Path(file.stem).suffix.lower() if ending == ".gz" else ending
    usual = inner in ("", ".gz", ".idx") or inner.endswith("-ubyte")
    missing = not file.exists()
    if usual or (not missing and idx.is_idx(file)):
        return idx.FORMAT
    raise BadFileError(
        f"{file} {'is missing, and ' if missing else ''}ends in "
        f"{''.join(file.suffixes[-2:])}, which is not read; expected {KINDS}"
    )
