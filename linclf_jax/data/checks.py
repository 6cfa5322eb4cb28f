"""Checks of data files: their size, their numbers, and whether they are damaged.

Libraries raise exceptions of many kinds at a damaged file. Here all of them become
``BadFileError``, a ``ValueError`` whose message begins with the path.
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
_BLOCK = 2**22  # entries that are checked at once
_CHUNK = 2**24  # bytes that are read at once
# DEFLATE expands a byte to at most so many: a file that declares more is wrong.
_EXPANSION = 1032


class BadFileError(ValueError):
    """A file is missing, damaged, too large, or of another format than its name."""


@contextlib.contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Turns all that a library raises while it reads a file into ``BadFileError``.

    Args:
        path: The file.
        expected: What it should be, for the message.
    """
    try:
        yield
    except BadFileError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise BadFileError(f"{path}: {reason}; expected {expected}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        raise BadFileError(f"{path}: {reason}; expected {expected}") from error


def open_stream(path: str | Path) -> Stream:
    """Opens a file for reading, through gzip if it is compressed by that.

    Args:
        path: The file, whatever its name ends in.
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
    compressed: int | None = None,
) -> int:
    """Returns the bytes of an array, and refuses too many before they are allocated.

    Args:
        shape: As the header declares.
        dtype: As the header declares.
        path: The file, for messages.
        max_bytes: Limit of the memory; None for all that the machine has.
        compressed: Bytes of the array in the file, if it is compressed.

    Raises:
        BadFileError: The array is empty, exceeds the limit, or has more bytes than its
            compressed ones can expand to.
    """
    size = math.prod(shape) * dtype.itemsize
    declared = f"{path} declares {dtype.name} of shape {shape}, {size} bytes"
    if size <= 0:
        raise BadFileError(
            f"{path} declares shape {shape}; expected at least one number"
        )
    limit = memory() if max_bytes is None else max_bytes
    if size > limit:
        raise BadFileError(f"{declared}; expected at most {limit}, the memory budget")
    if compressed is not None and size > _EXPANSION * (compressed + 1):
        raise BadFileError(
            f"{declared}; it has {compressed}, which cannot hold so many"
        )
    return size


def read_exactly(stream: Stream, size: int, path: str | Path) -> bytearray:
    """Returns the rest of a stream, which must have exactly ``size`` bytes.

    Args:
        stream: Open for reading.
        size: The number of bytes; one more is the most that is ever read.
        path: The file, for messages.

    Raises:
        BadFileError: There are fewer or more.
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
    """Returns the machine's bytes of memory, 2^40 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**40


def check_finite(
    x: np.ndarray, path: str | Path, names: Sequence[str] | None = None
) -> None:
    """Refuses features with NaN or infinity; checks a block of rows at a time.

    Args:
        x: ``(N, D)``, ``(N, H, W)`` or ``(N, H, W, 3)``.
        path: The file, for messages.
        names: Of the columns, for messages.

    Raises:
        BadFileError: With the count and the first such row and column.
    """
    if x.dtype.kind in "iu":
        return
    rows = max(_BLOCK // max(math.prod(x.shape[1:]), 1), 1)
    count, first = 0, None
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        with np.errstate(invalid="ignore"):  # bfloat16 warns of signalling NaN
            bad = ~np.isfinite(block).reshape(len(block), -1)
        count += int(np.count_nonzero(bad))
        if first is None and bad.any():
            row, column = (int(index) for index in np.argwhere(bad)[0])
            value = np.reshape(block[row], -1)[column]
            first = f"row {start + row}, column {column}, is {value}"
            if names is not None:
                first += f", of the feature {names[column]!r}"
    if first is not None:
        raise BadFileError(
            f"{path}: {count} of {x.size} numbers are not finite, the first, in "
            f"{first}; expected finite ones"
        )


def check_features(shape: tuple[int, ...], dtype: np.dtype, path: str | Path) -> None:
    """Refuses an array that cannot be features, by its header.

    Args:
        shape: Must be ``(N, D)``, ``(N, H, W)`` or ``(N, H, W, 3)``.
        dtype: Must be of integers or floating numbers of at most 8 bytes.
        path: The file, for messages.

    Raises:
        BadFileError: Shape or dtype is another.
    """
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
