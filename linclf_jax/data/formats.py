"""The formats of data files, and how each is read.

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
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import (
    cifar,
    delimited,
    hdf5,
    idx,
    members,
    npy,
    npz,
    tables,
    tensors,
    torch_files,
)
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.door import BadFileError

Header = tuple[tuple[int, ...], np.dtype]  # shape and dtype
KINDS = (
    ".npy, .npz, .safetensors, .parquet, .csv, .tsv, .h5, .hdf5, .pt, .pth, .bin of "
    "CIFAR, or IDX, compressed by gzip or not"
)


class Format(NamedTuple):
    """How the files of a format are read."""

    peek: Callable[[str | Path, ReadOptions], Header]
    read: Callable[[str | Path, int | None, ReadOptions], np.ndarray]
    peek_labels: Callable[[str | Path, ReadOptions], Header]
    read_labels: Callable[[str | Path, int | None, ReadOptions], np.ndarray]
    # All of a table.
    columns: Callable[[str | Path, ReadOptions], tuple[str, ...]] | None = None
    feature_columns: (
        Callable[[str | Path, ReadOptions], FeatureColumns | None] | None
    ) = None
    members: Callable[[str | Path], tuple[str, ...]] | None = None


def _arrays(
    peek: Callable[[str | Path], Header],
    read: Callable[[str | Path, int | None], np.ndarray],
    peek_labels: Callable[[str | Path], Header],
    read_labels: Callable[[str | Path, int | None], np.ndarray],
) -> Format:
    """Returns a format of arrays, which have no columns to choose from."""
    return Format(
        lambda path, _: peek(path),
        lambda path, max_bytes, _: read(path, max_bytes),
        lambda path, _: peek_labels(path),
        lambda path, max_bytes, _: read_labels(path, max_bytes),
    )


def _members(module: Any) -> Format:
    """Returns a format of several arrays in a file, each with a name."""
    names = ("features", "features", "labels", "labels")
    readers = (module.peek, module.read) * 2
    made = _arrays(*map(functools.partial, readers, names))
    return made._replace(members=module.names)


def _tables(module: Any) -> Format:
    """Returns a format of tables, whose columns have names."""
    fields = Format._fields[:-1]
    return Format(**{field: getattr(module, field) for field in fields})


_IDX = _arrays(idx.peek, idx.read, idx.peek, idx.read)
_FORMATS = {
    ".npy": _arrays(npy.peek, npy.read, npy.peek, npy.read),
    ".npz": _members(npz),
    ".parquet": _tables(tables),
    ".safetensors": _members(tensors),
    ".h5": _members(hdf5),
    ".hdf5": _members(hdf5),
    ".pt": _members(torch_files),
    ".pth": _members(torch_files),
    ".csv": _tables(delimited),
    ".tsv": _tables(delimited),
    ".bin": _arrays(cifar.peek, cifar.read_images, cifar.peek, cifar.read_labels),
}


def of(path: str | Path) -> Format:
    """Returns how a file is read, by its name, or as IDX by its first bytes.

    Args:
        path: The file, perhaps with the name of one of its arrays.

    Raises:
        BadFileError: It is a folder, or no file of these formats.
    """
    file, _ = members.split(path)
    if file.is_dir():
        raise BadFileError(f"{file} is a folder; expected a file")
    kind = file.suffix.lower()
    if kind in _FORMATS:
        return _FORMATS[kind]
    # Names of IDX files end in anything; those of .csv.gz say what else they are.
    within = Path(file.stem).suffix.lower() if kind == ".gz" else kind
    usual = within in ("", ".gz", ".idx") or within.endswith("-ubyte")
    missing = not file.exists()
    if usual or (not missing and idx.is_one(file)):
        return _IDX
    ending = f"ends in {''.join(file.suffixes[-2:])}, which is not read"
    raise BadFileError(
        f"{file} {'is missing, and ' if missing else ''}{ending}; expected {KINDS}"
    )
