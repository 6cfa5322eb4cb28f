"""What a reader of one file format provides: ``Format``, with ``Array`` or ``Table``.

A reader reads headers. What it returns says what the file holds, and has functions that
read the numbers. It may raise anything at a damaged file: ``checks.reading`` turns it
into a message.
"""

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import checks
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import Columns, ReadOptions

# Of files with several arrays; ``FILE.npz:NAME`` names one of them.
ARCHIVES = (".npz", ".safetensors", ".h5", ".hdf5", ".pt", ".pth")
# DEFLATE expands a byte to at most so many: a file that declares more is wrong.
_EXPANSION = 1032


class Array(NamedTuple):
    """An array in a file, of which the header has been read and the numbers have not.

    ``read`` is called once the size has been checked. What it returns may be
    memory-mapped and of another byte order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    compressed: int | None = None  # its bytes in the file, if it is compressed
    mapped: bool = False  # whether ``read`` maps the file, and allocates nothing


class Table(NamedTuple):
    """A table in a file, of which the names of the columns have been read."""

    columns: Columns
    features: Callable[[tuple[str, ...]], Array]  # of columns, or of one of lists
    labels: Callable[[str], Array]  # of a column


class Format(NamedTuple):
    """How the files of a format are read: as arrays or as a table."""

    expected: str  # what a file of the format is, for messages
    # Of the path, the name of an array that follows it, if one does, and the name of
    # the one that is taken by default, "features" or "labels".
    array: Callable[[Path, str | None, str], Array] | None = None
    names: Callable[[Path], tuple[str, ...]] | None = None  # of an archive's arrays
    table: Callable[[Path, ReadOptions], Table] | None = None


def load(array: Array, path: str | Path, expected: str) -> np.ndarray:
    """Reads the numbers of an array, in the machine's byte order.

    Before any of it is allocated it refuses an array that is empty, takes more than the
    memory, or more bytes than its compressed ones can expand to.
    """
    size = math.prod(array.shape) * array.dtype.itemsize
    declared = (
        f"{path} declares {array.dtype.name} of shape {array.shape}, {size} bytes"
    )
    if size <= 0:
        raise BadFileError(
            f"{path} declares shape {array.shape}; expected at least one number"
        )
    if size > memory() and not array.mapped:
        raise BadFileError(f"{declared}; expected at most {memory()}, the memory")
    if array.compressed is not None and size > _EXPANSION * (array.compressed + 1):
        raise BadFileError(
            f"{declared}; it has {array.compressed}, which cannot hold so many"
        )
    with checks.reading(split(path)[0], expected):
        numbers = array.read()
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def memory() -> int:
    """Returns the machine's bytes of memory, 2^40 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**40


def check_features(array: Array, path: str | Path) -> None:
    """Refuses an array that cannot be features, by its header."""
    shape, dtype = array.shape, array.dtype
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[3] != 3):
        raise BadFileError(
            f"{path} has shape {shape}; expected (N, D), (N, H, W) or (N, H, W, 3)"
        )
    if 0 in shape:
        raise BadFileError(
            f"{path} declares shape {shape}; expected at least one number"
        )
    is_number = dtype.kind in "iuf" and dtype.itemsize <= 8
    if not is_number and dtype.name != "bfloat16":
        raise BadFileError(
            f"{path} has dtype {dtype}; expected integers, float16, bfloat16, float32 "
            "or float64"
        )


def check_end(array: Array, start: int, size: int, path: str | Path) -> None:
    """Refuses a file of ``size`` bytes whose array, after ``start``, ends elsewhere."""
    end = start + math.prod(array.shape) * array.dtype.itemsize
    if size != end or min(array.shape, default=1) < 0:
        raise BadFileError(
            f"{path} holds {size} bytes; expected {end}, for {array.dtype.name} of "
            f"shape {array.shape}"
        )


def split(path: str | Path) -> tuple[Path, str | None]:
    """Returns the path of a file, and the name of an array that follows it.

    >>> split("x.npz:a")[1], split("x.npz")[1], split("a:b.npy")[1]
    ('a', None, None)
    """
    before, colon, name = str(path).rpartition(":")
    named = colon and before.lower().endswith(ARCHIVES)
    return (Path(before), name) if named else (Path(path), None)


def pick(names: Collection[str], name: str | None, default: str, path: Path) -> str:
    """Returns the array of an archive to read: the named, only or default one."""
    if name is None:
        name = next(iter(names)) if len(names) == 1 else default
    if name not in names:
        raise BadFileError(
            f"{path} holds {', '.join(names) or 'nothing'}; expected {name}, or a name "
            f"after it, {path}:NAME"
        )
    return name
