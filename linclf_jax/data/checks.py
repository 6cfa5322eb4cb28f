"""Reading with care: streams of known length, finite numbers, errors with a path.

Libraries raise exceptions of many kinds at a damaged file. Here all of them become
``BadFileError``, a ``ValueError`` whose message begins with the path.
"""

import contextlib
import gzip
import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from linclf_jax import validation
from linclf_jax.data.stored_rows import Features

Stream = IO[bytes] | gzip.GzipFile
_GZIP = b"\x1f\x8b"
_CHUNK = 2**24  # bytes that are read at once


class BadFileError(ValueError):
    """A file is missing, damaged, too large, or of another format than its name."""


@contextlib.contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Turns all that a library raises while it reads a file into ``BadFileError``."""
    try:
        yield
    except BadFileError:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            reason = error.strerror or error
        else:
            reason = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        raise BadFileError(f"{path}: {reason}; expected {expected}") from error


def open_stream(path: str | Path) -> Stream:
    """Opens a file for reading, through gzip if it is compressed, whatever its name."""
    with Path(path).open("rb") as stream:
        compressed = stream.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if compressed else Path(path).open("rb")


def read_exactly(stream: Stream, size: int, path: str | Path) -> bytearray:
    """Returns the rest of a stream, which must be ``size`` bytes: no more are read."""
    content = bytearray()
    while block := stream.read(min(_CHUNK, size - len(content) + 1)):
        content += block
        if len(content) > size:
            raise BadFileError(f"{path} goes on after {size} bytes; expected its end")
    if len(content) < size:
        raise BadFileError(f"{path} ends after {len(content)} bytes; expected {size}")
    return content


def library(module: str, name: str, remedy: str, path: Path) -> Any:
    """Returns the module that reads a file; refuses that either is missing."""
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise BadFileError(
            f"{path} takes {name}, which is not installed: pip install {remedy}"
        ) from error
    path.stat()  # its error for a missing file is shorter than a library's
    return imported


def first_repeated(items: Sequence[str]) -> str | None:
    """Returns the first of the items that is there more than once."""
    counts = Counter(items)
    return next((item for item in items if counts[item] > 1), None)


def check_finite(
    x: Features, path: str | Path, names: Sequence[str] | None = None
) -> None:
    """Refuses NaN or infinity, with the count and the first row and column.

    Args:
        x: ``(N, D)``, ``(N, H, W)`` or ``(N, H, W, 3)``; a block of rows is read at a
            time.
        path: The file, for messages.
        names: Of the columns, for messages.
    """
    if x.dtype.kind in "iu":
        return
    bad = validation.nonfinite(x)
    if bad is None:
        return
    row, *place = bad.first
    column = int(np.ravel_multi_index(place, x.shape[1:]))
    feature = "" if names is None else f", of the feature {names[column]!r}"
    raise BadFileError(
        f"{path}: {bad.count} of {x.size} numbers are not finite, the first, in row "
        f"{row}, column {column}, is {bad.value}{feature}; expected finite ones"
    )
