"""IDX files, the format of MNIST and its relatives, as they are or compressed."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from linclf_jax.data import door, npy
from linclf_jax.data.door import BadFileError

# The third byte of an IDX file: the type of its numbers, most significant byte first.
_TYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_EXPECTED = "an IDX file"


def peek(path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype, from the header.

    Args:
        path: The file, as it is or compressed by gzip, whatever it is called.

    Raises:
        BadFileError: It is missing or no IDX file, or, where it is not compressed, too
            short or too long.
    """
    with door.reading(path, _EXPECTED), door.opened(path) as stream:
        shape, dtype = _header(stream, path)
        if not isinstance(stream, gzip.GzipFile):
            _check_length(shape, dtype, path)
        return shape, dtype.newbyteorder("=")


def is_one(path: str | Path) -> bool:
    """Returns whether a file begins as an IDX file does, compressed or not.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing.
    """
    try:
        with door.reading(path, _EXPECTED), door.opened(path) as stream:
            start = stream.read(4)
    except BadFileError:
        if not Path(path).is_file():
            raise
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _TYPES


def read(path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns the array of an IDX file.

    Args:
        path: As in ``peek``.
        max_bytes: Most that it may take; what the machine has if None.

    Returns:
        An array of the shape and type that the file says, in the machine's byte order.

    Raises:
        BadFileError: It is missing, damaged, cut short or too long, or no IDX file.
    """
    with door.reading(path, _EXPECTED), door.opened(path) as stream:
        shape, dtype = _header(stream, path)
        deflated = None
        if isinstance(stream, gzip.GzipFile):
            deflated = Path(path).stat().st_size
        else:
            _check_length(shape, dtype, path)
        size = door.check_size(
            shape, dtype, path, max_bytes=max_bytes, deflated=deflated
        )
        content = door.read_exactly(stream, size, path)
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def sha256(array: np.ndarray) -> str:
    """Returns the SHA-256 of the file, not compressed, that holds bytes as they are.

    Args:
        array: uint8 of any shape.
    """
    digest = hashlib.sha256(bytes([0, 0, 0x08, array.ndim]))
    digest.update(struct.pack(f">{array.ndim}I", *array.shape))
    digest.update(np.ascontiguousarray(array, np.uint8).data)
    return digest.hexdigest()


def _header(stream: door.Stream, path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise BadFileError(
            f"{path} begins with the bytes {magic.hex(' ')}; expected those of an IDX "
            "file, 00 00, a type of 08 to 0e, a number of dimensions"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise BadFileError(
            f"{path} ends within its header, after {4 + len(sizes)} bytes; expected "
            f"{4 + 4 * magic[3]}"
        )
    return struct.unpack(f">{magic[3]}I", sizes), _TYPES[magic[2]]


def _check_length(shape: tuple[int, ...], dtype: np.dtype, path: str | Path) -> None:
    found = Path(path).stat().st_size
    header = npy.Header(shape, dtype, fortran=False, start=4 + 4 * len(shape))
    if found != header.end:
        raise BadFileError(
            f"{path} holds {found} bytes; expected {header.end}, for {dtype.name} of "
            f"shape {shape}"
        )
