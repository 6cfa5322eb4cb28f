"""What a reader of one file format provides: ``Format``, and the arrays in a file.

``FILE.npz:NAME`` names one array of a file that has several, and likewise for the other
endings of ``ARCHIVES``.
"""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import checks
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import FeatureColumns, ReadOptions

ARCHIVES = (".npz", ".safetensors", ".h5", ".hdf5", ".pt", ".pth")


class Array(NamedTuple):
    """An array in a file, of which the header has been read and the numbers have not.

    ``read`` is called once the size has been checked. What it returns may be
    memory-mapped and of another byte order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    compressed: int | None = None  # its bytes in the file, if it is compressed


class Format(NamedTuple):
    """How the files of a format are read.

    The functions take a path, perhaps with the name of an array after it. They may
    raise anything at a damaged file: ``call`` and ``load`` turn it into a message.
    """

    expected: str  # what a file of the format is, for messages
    features: Callable[[str | Path, ReadOptions], Array]
    labels: Callable[[str | Path, ReadOptions], Array]
    # The names of all arrays, of an archive.
    members: Callable[[Path], tuple[str, ...]] | None = None
    # The names of all columns, and those of the features, of a table. None of a table
    # whose features are one column of lists.
    columns: Callable[[str | Path, ReadOptions], tuple[str, ...]] | None = None
    feature_columns: (
        Callable[[str | Path, ReadOptions], FeatureColumns | None] | None
    ) = None


def of_array(expected: str, array: Callable[[str | Path], Array]) -> Format:
    """Returns a format of files that hold one array, be it features or labels.

    Args:
        expected: What a file is, for messages.
        array: Reads the header.
    """
    return Format(expected, lambda path, _: array(path), lambda path, _: array(path))


def of_archive(
    expected: str,
    array: Callable[[str | Path, str], Array],
    members: Callable[[Path], tuple[str, ...]],
) -> Format:
    """Returns a format of files that hold several arrays, each with a name.

    Args:
        expected: What a file is, for messages.
        array: Reads the header of the array that ``pick`` picks; the name is of the one
            that is taken by default.
        members: Reads the names of all arrays.
    """
    return Format(
        expected,
        lambda path, _: array(path, "features"),
        lambda path, _: array(path, "labels"),
        members,
    )


def load(
    array: Array, path: str | Path, expected: str, max_bytes: int | None = None
) -> np.ndarray:
    """Reads the numbers of an array, in the machine's byte order.

    Args:
        array: Of the file.
        path: The file, perhaps with a name.
        expected: What the file is, for messages.
        max_bytes: Limit of the memory; None for all that the machine has.

    Raises:
        BadFileError: The array takes more, or the file is damaged.
    """
    checks.check_size(
        array.shape,
        array.dtype,
        path,
        max_bytes=max_bytes,
        compressed=array.compressed,
    )
    with checks.reading(split(path)[0], expected):
        numbers = array.read()
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def check_end(array: Array, start: int, size: int, path: str | Path) -> None:
    """Refuses a file that does not end where its only array does.

    Args:
        array: As the header declares.
        start: Bytes of the header.
        size: Bytes of the file.
        path: The file, for messages.

    Raises:
        BadFileError: There are more or fewer bytes than declared.
    """
    end = start + math.prod(array.shape) * array.dtype.itemsize
    if size != end or min(array.shape, default=1) < 0:
        raise BadFileError(
            f"{path} holds {size} bytes; expected {end}, for {array.dtype.name} of "
            f"shape {array.shape}"
        )


def split(path: str | Path) -> tuple[Path, str | None]:
    """Returns the path of a file, and the name of an array that follows it.

    Args:
        path: The file, perhaps with a name.

    >>> split("x.npz:a")[1], split("x.npz")[1], split("a:b.npy")[1]
    ('a', None, None)
    """
    before, colon, name = str(path).rpartition(":")
    named = colon and before.lower().endswith(ARCHIVES)
    return (Path(before), name) if named else (Path(path), None)


def pick(
    names: Collection[str], name: str | None, default: str, path: str | Path
) -> str:
    """Returns the array to read: the named one, the only one, or the default.

    Args:
        names: Of all arrays of the file.
        name: What follows the path, if anything does.
        default: Which is taken of several.
        path: The file, for messages.

    Raises:
        BadFileError: There is no such array.
    """
    if name is None:
        name = next(iter(names)) if len(names) == 1 else default
    if name not in names:
        raise BadFileError(
            f"{path} holds {', '.join(names) or 'nothing'}; expected {name}, or a name "
            f"after it, {path}:NAME"
        )
    return name
