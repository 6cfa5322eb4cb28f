"""IDX files, the format of MNIST and its relatives, as they are or compressed."""

import contextlib
import gzip
import hashlib
import math
import struct
from pathlib import Path

import numpy as np

from linclf_jax.data import checks, formats
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.formats import Array, Format

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


def read(path: str | Path) -> np.ndarray:
    """Returns the array of an IDX file, whatever it is called."""
    with checks.reading(path, _EXPECTED):
        array = _array(Path(path))
    return formats.load(array, path, _EXPECTED)


def is_idx(path: Path) -> bool:
    """Returns whether a file can be read and begins as an IDX file, perhaps compressed.

    A file that is damaged within gzip is none.
    """
    with (
        contextlib.suppress(BadFileError),
        checks.reading(path, _EXPECTED),
        checks.open_stream(path) as stream,
    ):
        return _is_magic(stream.read(4))
    return False


def sha256(array: np.ndarray) -> str:
    """Returns the SHA-256 of the IDX file, not compressed, that holds a uint8 array."""
    digest = hashlib.sha256(bytes([0, 0, 0x08, array.ndim]))
    digest.update(struct.pack(f">{array.ndim}I", *array.shape))
    digest.update(np.ascontiguousarray(array, np.uint8).data)
    return digest.hexdigest()


def _array(path: Path, *_: object) -> Array:
    with checks.open_stream(path) as stream:
        magic = stream.read(4)
        if not _is_magic(magic):
            raise BadFileError(
                f"{path} begins with the bytes {magic.hex(' ')}; expected those of an "
                "IDX file, 00 00, a type of 08 to 0e, a number of dimensions"
            )
        start = 4 + 4 * magic[3]
        sizes = stream.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise BadFileError(
                f"{path} ends within its header, after {4 + len(sizes)} bytes; "
                f"expected {start}"
            )
        is_compressed = isinstance(stream, gzip.GzipFile)
    shape, dtype = struct.unpack(f">{magic[3]}I", sizes), _TYPES[magic[2]]

    def read() -> np.ndarray:
        size = dtype.itemsize * math.prod(shape)
        with checks.open_stream(path) as stream:
            stream.read(start)
            content = checks.read_exactly(stream, size, path)
        return np.frombuffer(content, dtype).reshape(shape)

    size = path.stat().st_size
    native = dtype.newbyteorder("=")
    array = Array(shape, native, read, size if is_compressed else None)
    if not is_compressed:
        formats.check_end(array, start, size, path)
    return array


def _is_magic(magic: bytes) -> bool:
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES


FORMAT = Format(_EXPECTED, _array)
