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
from typing import NamedTuple

import numpy as np

from linclf_jax.data import cifar, door, idx, labels, npy, npz, tables
from linclf_jax.data.door import BadFileError
from linclf_jax.data.labels import Labels

Header = tuple[tuple[int, ...], np.dtype]  # shape and dtype
read_idx = idx.read
read_cifar = cifar.read


class _Format(NamedTuple):
    """How the files of a format are read."""

    peek: Callable[[str | Path], Header]
    read: Callable[[str | Path, int | None], np.ndarray]
    peek_labels: Callable[[str | Path], Header]
    read_labels: Callable[[str | Path, int | None], np.ndarray]


_IDX = _Format(idx.peek, idx.read, idx.peek, idx.read)
_FORMATS = {
    ".npy": _Format(npy.peek, npy.read, npy.peek, npy.read),
    ".npz": _Format(
        functools.partial(npz.peek, "features"),
        functools.partial(npz.read, "features"),
        functools.partial(npz.peek, "labels"),
        functools.partial(npz.read, "labels"),
    ),
    ".parquet": _Format(
        tables.peek, tables.read, tables.peek_labels, tables.read_labels
    ),
    ".bin": _Format(cifar.peek, cifar.read_images, cifar.peek, cifar.read_labels),
}


def read_features(path: str | Path, *, max_bytes: int | None = None) -> np.ndarray:
    """Returns the features of a file, once all of them have been looked at.

    Args:
        path: The file, of any of the formats above.
        max_bytes: Most memory that they may take; what the machine has if None.

    Returns:
        ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``, in the file's dtype.

    Raises:
        ValueError: The file is missing, damaged, too long, too large, or of another
            format; or holds NaN or infinity, with the count and the first place.
    """
    peek(path)
    return door.check_features(_format(path).read(path, max_bytes), path)


def read_labels(path: str | Path, class_names: tuple[str, ...] | None = None) -> Labels:
    """Returns the labels of a file as classes.

    Args:
        path: The file, of any of the formats above.
        class_names: Of the training rows, for labels of other rows; None finds them.

    Returns:
        Classes ``(N,)`` int32 and the names of all classes: integers are classes
        themselves, texts are mapped in sorted order.

    Raises:
        ValueError: As ``read_features``, or as ``labels.from_array``.
    """
    found = _format(path).read_labels(path, None)
    return labels.from_array(found, class_names, path)


def peek(path: str | Path) -> Header:
    """Returns shape and dtype of features, from the header.

    Args:
        path: The file, of any of the formats above.

    Raises:
        ValueError: The file is missing, the header is damaged, or what it describes
            can be no features.
    """
    shape, dtype = _format(path).peek(path)
    door.check_kind(shape, dtype, path)
    return shape, dtype


def peek_labels(path: str | Path) -> int:
    """Returns how many labels there are, from the header.

    Args:
        path: The file, of any of the formats above.

    Raises:
        ValueError: The file is missing, or the header is damaged.
    """
    (shape, _) = _format(path).peek_labels(path)
    if not shape:
        raise BadFileError(f"{path} holds a single number; expected one a row")
    return shape[0]


def _format(path: str | Path) -> _Format:
    name = str(path)
    if Path(path).is_dir():
        raise BadFileError(f"{path} is a folder; expected a file")
    kind = ".npz" if ".npz:" in name else Path(path).suffix.lower()
    return _FORMATS.get(kind, _IDX)
