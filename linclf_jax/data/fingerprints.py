"""A fingerprint of arrays, which is the same on every machine."""

import hashlib
from collections.abc import Mapping

import numpy as np

_BLOCK = 2**24  # bytes that are hashed at once


def sha256(*parts: Mapping[str, np.ndarray]) -> str:
    """Returns a SHA-256 of name, dtype, shape and bytes of every array.

    Args:
        *parts: Arrays of any shape and dtype by their names, one part after another.

    Returns:
        64 hexadecimal digits, of bytes in row-major, little-endian order everywhere.
    """
    digest = hashlib.sha256()
    for part in parts:
        for name, array in part.items():
            _add(digest, name, array)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, array: np.ndarray) -> None:
    kind = array.dtype.newbyteorder("<")
    # bfloat16 calls itself a void of two bytes, which it shares with others.
    text = kind.str if kind.kind != "V" else kind.name
    digest.update(f"{name} {text} {array.shape}\n".encode())
    rows = max(_BLOCK // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        digest.update(block.astype(kind, order="C", copy=False).tobytes())
