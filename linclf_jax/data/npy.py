"""Arrays that NumPy wrote, ``.npy``, never by pickle.

NumPy writes bfloat16 as two bytes without a meaning, ``V2``. No other kind of number
is written so, and it is read as bfloat16.
"""

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy_format

from linclf_jax.data import door
from linclf_jax.data.door import BadFileError

_VERSIONS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}
_EXPECTED = "an array that NumPy wrote"


class Header(NamedTuple):
    """What stands before the numbers of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int  # bytes before the numbers

    @property
    def end(self) -> int:
        """How many bytes there are in all."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def peek(path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of an ``.npy``, whose length must be right.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged, or holds objects.
    """
    found = _header_of_file(path)
    return found.shape, found.dtype


def read(path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns the array of an ``.npy``, memory-mapped; texts are read.

    Args:
        path: The file.
        max_bytes: Most that it may take; what the machine has if None.

    Raises:
        BadFileError: As ``peek``, or the array takes more.
    """
    found = _header_of_file(path)
    door.check_size(found.shape, found.dtype, path, max_bytes=max_bytes)
    with door.reading(path, _EXPECTED):
        array = np.memmap(
            path,
            found.dtype,
            mode="r",
            offset=found.start,
            shape=found.shape,
            order="F" if found.fortran else "C",
        )
        return native(np.asarray(array))


def _header_of_file(path: str | Path) -> Header:
    with door.reading(path, _EXPECTED), Path(path).open("rb") as stream:
        found = header(stream, path)
        check_end(found, stream.seek(0, 2), path)
        return found


def header(stream: door.Stream, path: str | Path) -> Header:
    """Returns what stands before the numbers, and leaves the stream behind it.

    Args:
        stream: Open for reading, at its beginning.
        path: The file, for messages.

    Raises:
        BadFileError: It holds objects, or is of another version.
        Exception: What NumPy raises at damage.
    """
    version = npy_format.read_magic(stream)
    if version not in _VERSIONS:  # the third is for records with names
        raise BadFileError(f"{path} has version {version}; expected (1, 0) or (2, 0)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old headers, which are read
        shape, fortran, dtype = _VERSIONS[version](stream)
    return Header(shape, _meaning(dtype, path), fortran, stream.tell())


def _meaning(dtype: np.dtype, path: str | Path) -> np.dtype:
    if dtype.hasobject:
        raise BadFileError(
            f"{path} holds Python objects, which are not read, since they may run "
            "code; expected numbers or texts"
        )
    plain_pair = dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None
    return jnp.dtype(jnp.bfloat16) if plain_pair else dtype


def check_end(found: Header, size: int, path: str | Path) -> None:
    """Refuses an array whose numbers do not end where the file does.

    Args:
        found: What stands before them.
        size: How many bytes there are in all.
        path: The file, for messages.

    Raises:
        BadFileError: There are more or fewer.
    """
    if size != found.end or min(found.shape, default=1) < 0:
        raise BadFileError(
            f"{path} holds {size} bytes; expected {found.end}, for {found.dtype.name} "
            f"of shape {found.shape}"
        )


def native(array: np.ndarray) -> np.ndarray:
    """Returns an array in the machine's byte order, the same one if it is in it.

    Args:
        array: Of any shape and dtype.
    """
    return array.astype(array.dtype.newbyteorder("="), copy=False)
