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
is missing, damaged or of another format. ``ReadOptions`` say which columns are features
and which holds the labels.
"""

import contextlib
import dataclasses
import functools
from pathlib import Path

import numpy as np

from linclf_jax.data import (
    archives,
    checks,
    cifar,
    columns,
    delimited,
    formats,
    idx,
    labels,
    numpy_files,
    parquet,
)
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.formats import Array, Format, Table
from linclf_jax.data.labels import Labels

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
ENDINGS = tuple(_FORMATS)
KINDS = (
    ".npy, .npz, .safetensors, .parquet, .csv, .tsv, .h5, .hdf5, .pt, .pth, .bin of "
    "CIFAR, or IDX, compressed by gzip or not"
)
read_idx = idx.read
read_cifar = cifar.read
_DEFAULT = ReadOptions()


def read_features(path: str | Path, *, options: ReadOptions = _DEFAULT) -> np.ndarray:
    """Returns the features of a file, once all of them have been checked.

    They are ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``, in the file's
    dtype. NaN and infinity are refused with the count and the first row and column.
    """
    file = _File(path, options)
    x = formats.load(file.features, path, file.format.expected)
    checks.check_finite(x, path, file.feature_names)
    return x if file.kept is None else x[:, file.kept]


def read_labels(
    path: str | Path,
    class_names: tuple[str, ...] | None = None,
    *,
    options: ReadOptions = _DEFAULT,
) -> Labels:
    """Returns the labels of a file as classes ``(N,)``, and the names of all classes.

    Args:
        path: The file, of any of the formats.
        class_names: Of the training rows, for labels of other rows; None takes the
            classes from the file.
        options: Which column holds them, and what its values mean.

    Raises:
        ValueError: The file is bad, or as ``labels.from_array``.
    """
    if class_names is not None and options.class_names is None:
        options = options._replace(label_texts=not labels.are_integers(class_names))
    file = _File(path, options)
    values = formats.load(file.labels, path, file.format.expected)
    return labels.from_array(values, class_names, path, options)


def peek(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the features, from the header."""
    file = _File(path, options)
    shape = file.features.shape
    kept = shape if file.kept is None else (shape[0], len(file.kept))
    return kept, file.features.dtype


def peek_labels(path: str | Path, options: ReadOptions = _DEFAULT) -> int:
    """Returns the number of labels, from the header."""
    return _File(path, options).labels.shape[0]


def feature_names(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[str, ...] | None:
    """Returns the names of the features, from the header, in the order of the columns.

    One is for each column that ``read_features`` returns; None where a file has no
    names: of arrays, lists, and a CSV without a header.
    """
    return _File(path, options).feature_names


def names_or_numbers(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[str, ...] | None:
    """Returns how flags and messages refer to the features; None of images.

    As ``feature_names``, with the number of the column in the file, from 0, where it
    has no name.
    """
    file = _File(path, options)
    if file.feature_columns is not None:
        return file.feature_columns
    shape = file.features.shape
    if len(shape) != 2:
        return None
    return tuple(map(str, range(shape[1]) if file.kept is None else file.kept))


def column_names(path: str | Path, options: ReadOptions = _DEFAULT) -> tuple[str, ...]:
    """Returns the names of all columns of a table, from the header; none of arrays."""
    table = _File(path, options).table
    return () if table is None else table.columns.names


def droppable(path: str | Path, options: ReadOptions = _DEFAULT) -> tuple[str, ...]:
    """Returns what ``drop_columns`` may hold: all columns, by name or number."""
    names = column_names(path, options)
    dropped = tuple(name for name in options.drop_columns if name in names)
    others = options._replace(drop_columns=dropped)
    if feature_names(path, others) is not None:
        return names
    return (*names, *(names_or_numbers(path, others) or ()))


def members(path: str | Path) -> tuple[str, ...]:
    """Returns the names of the arrays in a file that has several; none of others."""
    file = _File(path)
    if file.format.names is None:
        return ()
    with file.reading():
        return file.format.names(formats.split(path)[0])


@dataclasses.dataclass(frozen=True)
class _File:
    """A file, of which headers are read as far as they are asked for."""

    path: str | Path
    options: ReadOptions = _DEFAULT

    @functools.cached_property
    def format(self) -> Format:
        return _format(formats.split(self.path)[0])

    def reading(self) -> contextlib.AbstractContextManager[None]:
        return checks.reading(formats.split(self.path)[0], self.format.expected)

    @functools.cached_property
    def table(self) -> Table | None:
        if self.format.table is None:
            return None
        with self.reading():
            return self.format.table(Path(self.path), self.options)

    @functools.cached_property
    def chosen(self) -> tuple[str, ...]:
        """The columns of a table that are features, or the one of lists."""
        assert self.table is not None
        return columns.features(self.table.columns, self.options, self.path)

    @property
    def feature_columns(self) -> tuple[str, ...] | None:
        """The columns that are features; None of an array, and of lists."""
        if self.table is None:
            return None
        is_list = len(self.chosen) == 1 and self.chosen[0] in self.table.columns.lists
        return None if is_list else self.chosen

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        named = self.table is not None and self.table.columns.named
        return self.feature_columns if named else None

    @functools.cached_property
    def features(self) -> Array:
        with self.reading():
            if self.table is None:
                array = self._array("features")
            else:
                array = self.table.features(self.chosen)
        formats.check_features(array, self.path)
        return array

    @functools.cached_property
    def labels(self) -> Array:
        with self.reading():
            if self.table is None:
                array = self._array("labels")
            else:
                name = columns.label(self.table.columns, self.options, self.path)
                array = self.table.labels(name)
        if not array.shape:
            raise BadFileError(f"{self.path} holds a single number; expected one a row")
        return array

    def _array(self, default: str) -> Array:
        assert self.format.array is not None  # or it has a table
        return self.format.array(*formats.split(self.path), default)

    @functools.cached_property
    def kept(self) -> list[int] | None:
        """The columns of an array that are not dropped; None where none is."""
        if not self.options.drop_columns or self.feature_columns is not None:
            return None
        shape, dropped = self.features.shape, self.options.drop_columns
        kept = [k for k in range(shape[1]) if str(k) not in dropped]
        if len(shape) != 2 or not kept:
            raise BadFileError(
                f"{self.path} has shape {shape}, drop_columns is {', '.join(dropped)}; "
                "expected columns that are left"
            )
        return kept if len(kept) < shape[1] else None


def _format(file: Path) -> Format:
    """Returns the format of a file, by its name, or IDX by its first bytes."""
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
