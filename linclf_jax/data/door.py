"""What every file is asked at the door: its size, its numbers, its damage.

Libraries meet a damaged file with exceptions of many kinds. Whoever reads one here gets
``BadFileError``, a ``ValueError`` that begins with the path.
"""

import contextlib
import gzip
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

Stream = IO[bytes] | gzip.GzipFile
_GZIP = b"\x1f\x8b"
_BLOCK = 2**22  # entries that are looked at together
_CHUNK = 2**24  # bytes that are read together
# What DEFLATE can make of a byte, at most: a file that says more of itself lies.
_EXPANSION = 1032


class BadFileError(ValueError):
    """A file is missing, damaged, too large, or not what its name says."""


@contextlib.contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Turns whatever a library raises at a file into ``BadFileError``.

    Args:
        path: The file.
        expected: What it should be.

    Raises:
        BadFileError: Anything was raised.
    """
    try:
        yield
    except BadFileError:
        raise
    except OSError as error:
        found = error.strerror or error
        raise BadFileError(f"{path}: {found}; expected {expected}") from error
    except Exception as error:
        found = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        raise BadFileError(f"{path}: {found}; expected {expected}") from error


def opened(path: str | Path) -> Stream:
    """Returns the stream of a file as it was before gzip, if that compressed it.

    Args:
        path: The file.
    """
    with Path(path).open("rb") as stream:
        compressed = stream.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if compressed else Path(path).open("rb")


def check_size(
    shape: tuple[int, ...],
    dtype: np.dtype,
    path: str | Path,
    *,
    max_bytes: int | None = None,
    deflated: int | None = None,
) -> int:
    """Returns the bytes of an array that a file declares, before they are allocated.

    Args:
        shape: As the file says.
        dtype: As the file says.
        path: The file.
        max_bytes: Most memory that it may take; what the machine has if None.
        deflated: How many compressed bytes there are, of an array that is compressed.

    Raises:
        BadFileError: It holds nothing, takes more, or cannot be in so few bytes.
    """
    size = math.prod(shape) * dtype.itemsize
    said = f"{path} declares {dtype.name} of shape {shape}, {size} bytes"
    if size <= 0:
        raise BadFileError(
            f"{path} declares shape {shape}; expected at least one number"
        )
    limit = memory() if max_bytes is None else max_bytes
    if size > limit:
        raise BadFileError(f"{said}; expected at most {limit}, the memory budget")
    if deflated is not None and size > _EXPANSION * (deflated + 1):
        raise BadFileError(f"{said}; it has {deflated}, which cannot hold so many")
    return size


def read_exactly(stream: Stream, size: int, path: str | Path) -> bytearray:
    """Returns the bytes that are left of a stream, of which there must be so many.

    Args:
        stream: Open for reading.
        size: How many bytes; no more are ever held.
        path: The file, for messages.

    Raises:
        BadFileError: There are fewer, or more.
    """
    content = bytearray()
    while block := stream.read(min(_CHUNK, size - len(content) + 1)):
        content += block
        if len(content) > size:
            raise BadFileError(f"{path} goes on after {size} bytes; expected its end")
    if len(content) < size:
        raise BadFileError(f"{path} ends after {len(content)} bytes; expected {size}")
    return content


def memory() -> int:
    """Returns the bytes of memory that the machine has, 2^40 where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**40


def check_features(
    x: np.ndarray, path: str | Path, names: Sequence[str] | None = None
) -> np.ndarray:
    """Returns features if they are rows, or images, of finite numbers.

    They are gone through once, a block of rows at a time.

    Args:
        x: ``(N, D)``, ``(N, H, W)`` or ``(N, H, W, 3)``.
        path: The file.
        names: Of the columns, for the message.

    Raises:
        BadFileError: Another shape or dtype, or NaN or infinity in some row.
    """
    check_kind(x.shape, x.dtype, path)
    if x.dtype.kind in "iu":
        return x
    rows = max(_BLOCK // max(math.prod(x.shape[1:]), 1), 1)
    count, first = 0, None
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        with np.errstate(invalid="ignore"):  # bfloat16 warns of signalling NaN
            bad = ~np.isfinite(block).reshape(len(block), -1)
        count += int(np.count_nonzero(bad))
        if first is None and bad.any():
            row, column = (int(place) for place in np.argwhere(bad)[0])
            value = np.reshape(block[row], -1)[column]
            first = f"row {start + row}, column {column}, is {value}"
            if names is not None:
                first += f", of the feature {names[column]!r}"
    if first is not None:
        raise BadFileError(
            f"{path}: {count} of {x.size} numbers are not finite, the first, in "
            f"{first}; expected finite ones"
        )
    return x


def check_kind(shape: tuple[int, ...], dtype: np.dtype, path: str | Path) -> None:
    """Refuses what can be no features, from what a header says.

    Args:
        shape: Of the array.
        dtype: Of the array.
        path: The file.

    Raises:
        BadFileError: It is no ``(N, D)``, ``(N, H, W)`` or ``(N, H, W, 3)``, or not of
            integers or floating numbers of at most 8 bytes.
    """
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[3] != 3):
        raise BadFileError(
            f"{path} has shape {shape}; expected (N, D), (N, H, W) or (N, H, W, 3)"
        )
    if 0 in shape:
        raise BadFileError(
            f"{path} declares shape {shape}; expected at least one number"
        )
    numbers = dtype.kind in "iuf" and dtype.itemsize <= 8
    if not numbers and dtype.name != "bfloat16":
        raise BadFileError(
            f"{path} has dtype {dtype}; expected integers, float16, bfloat16, float32 "
            "or float64"
        )
