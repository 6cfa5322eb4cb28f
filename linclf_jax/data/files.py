"""Readers of data files, which check all that a file says of itself."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

# The third byte of an IDX file: the type of its numbers, most significant byte first.
_IDX_TYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP = b"\x1f\x8b"


def read_idx(path: str | Path) -> np.ndarray:
    """Returns the array of an IDX file, the format of MNIST and its relatives.

    Args:
        path: The file, as it is or compressed by gzip, whatever it is called.

    Returns:
        An array of the shape and type that the file says, in the machine's byte order.

    Raises:
        ValueError: The file is missing, damaged, cut short or too long, or is no IDX
            file.
    """
    try:
        content = Path(path).read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: {error}; expected an IDX file") from error
    return _parse_idx(content, str(path))


def _parse_idx(content: bytes, name: str) -> np.ndarray:
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        raise ValueError(
            f"{name} begins with the bytes {magic.hex(' ')}; expected those of an IDX "
            "file, 00 00, a type of 08 to 0e, a number of dimensions"
        )
    start = 4 + 4 * magic[3]
    if len(content) < start:
        raise ValueError(f"{name} ends within its header, after {len(content)} bytes")
    shape = struct.unpack(f">{magic[3]}I", content[4:start])
    dtype = _IDX_TYPES[magic[2]]
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"{name} holds {len(content)} bytes; expected {expected}, for {dtype.name} "
            f"of shape {shape}"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))
