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
    stored_rows,
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
    return DataFile(path, options).read_features()


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
    values = DataFile(path, options).read_label_values()
    return labels.from_array(values, class_names, path, options)


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file, of which headers are read once, as far as they are asked for."""

    path: str | Path
    options: ReadOptions = _DEFAULT

    def read_features(self) -> np.ndarray:
        """Returns the features; see ``read_features``."""
        x = formats.load(self._features, self.path, self._format.expected)
        checks.check_finite(stored_rows.stored(x), self.path, self.feature_names)
        return x if self._kept is None else x[:, self._kept]

    def read_label_values(self) -> np.ndarray:
        """Returns the labels as they are in the file."""
        return formats.load(self._labels, self.path, self._format.expected)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the features."""
        shape = self._features.shape
        return shape if self._kept is None else (shape[0], len(self._kept))

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return self._labels.shape[0]

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the features; None of arrays, lists, a CSV without a header."""
        named = self._table is not None and self._table.columns.named
        return self._feature_columns if named else None

    @property
    def names_or_numbers(self) -> tuple[str, ...] | None:
        """How flags and messages refer to the features; None of images.

        A column without a name has its number in the file, from 0.
        """
        if self._feature_columns is not None:
            return self._feature_columns
        shape = self._features.shape
        if len(shape) != 2:
            return None
        return tuple(map(str, range(shape[1]) if self._kept is None else self._kept))

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all columns of a table; none of arrays."""
        return () if self._table is None else self._table.columns.names

    @property
    def droppable(self) -> tuple[str, ...]:
        """What ``drop_columns`` may hold: all columns, by name or number."""
        names, dropped = self.column_names, self.options.drop_columns
        dropped = tuple(name for name in dropped if name in names)
        others = DataFile(self.path, self.options._replace(drop_columns=dropped))
        if others.feature_names is not None:
            return names
        return (*names, *(others.names_or_numbers or ()))

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the arrays in a file that has several; none of others."""
        names = self._format.names
        with self._reading():
            return () if names is None else names(formats.split(self.path)[0])

    @functools.cached_property
    def _format(self) -> Format:
        return _format(formats.split(self.path)[0])

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return checks.reading(formats.split(self.path)[0], self._format.expected)

    @functools.cached_property
    def _table(self) -> Table | None:
        with self._reading():
            table = self._format.table
            return None if table is None else table(Path(self.path), self.options)

    @functools.cached_property
    def _feature_columns(self) -> tuple[str, ...] | None:
        """The columns that are features; None of an array, and of lists."""
        if self._table is None:
            return None
        names = columns.features(self._table.columns, self.options, self.path)
        is_list = len(names) == 1 and names[0] in self._table.columns.lists
        return None if is_list else names

    @functools.cached_property
    def _features(self) -> Array:
        with self._reading():
            if self._table is None:
                array = self._array("features")
            else:
                names = columns.features(self._table.columns, self.options, self.path)
                array = self._table.features(names)
        formats.check_features(array, self.path)
        return array

    @functools.cached_property
    def _labels(self) -> Array:
        with self._reading():
            if self._table is None:
                array = self._array("labels")
            else:
                name = columns.label(self._table.columns, self.options, self.path)
                array = self._table.labels(name)
        if not array.shape:
            raise BadFileError(f"{self.path} holds a single number; expected one a row")
        return array

    def _array(self, default: str) -> Array:
        assert self._format.array is not None  # or it has a table
        return self._format.array(*formats.split(self.path), default)

    @functools.cached_property
    def _kept(self) -> list[int] | None:
        """The columns of an array that are not dropped; None where none is."""
        if not self.options.drop_columns or self._feature_columns is not None:
            return None
        shape, dropped = self._features.shape, self.options.drop_columns
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
