"""Arrays in NumPy's archives, ``.npz``, never by pickle.

``FILE.npz:NAME`` names one of the arrays of a file.
"""

import zipfile
from pathlib import Path

import numpy as np

from linclf_jax.data import door, members, npy
from linclf_jax.data.door import BadFileError

_EXPECTED = "an .npz that NumPy wrote"


def names(path: str | Path) -> tuple[str, ...]:
    """Returns the names of all arrays.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged.
    """
    with door.reading(path, _EXPECTED), zipfile.ZipFile(path) as archive:
        return tuple(_names(archive))


def peek(wanted: str, path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of an array of an ``.npz``.

    Args:
        wanted: The array to take, where there are several and none is named.
        path: The file, perhaps with a name.

    Raises:
        BadFileError: There is no such array, or it is damaged.
    """
    place, name = members.split(path)
    with door.reading(place, _EXPECTED), zipfile.ZipFile(place) as archive:
        member = _member(archive, name, wanted, place)
        with archive.open(member) as stream:
            found = npy.header(stream, path)
        npy.check_end(found, member.file_size, path)
        return found.shape, found.dtype


def read(wanted: str, path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns an array of an ``.npz``, whose checksum must be right.

    Args:
        wanted: As in ``peek``.
        path: As in ``peek``.
        max_bytes: Most that it may take; what the machine has if None.

    Raises:
        BadFileError: As ``peek``, or the array takes more or is cut short.
    """
    place, name = members.split(path)
    with door.reading(place, _EXPECTED), zipfile.ZipFile(place) as archive:
        member = _member(archive, name, wanted, place)
        with archive.open(member) as stream:
            found = npy.header(stream, path)
            npy.check_end(found, member.file_size, path)
            size = door.check_size(
                found.shape,
                found.dtype,
                path,
                max_bytes=max_bytes,
                deflated=min(member.compress_size, place.stat().st_size),
            )
            content = door.read_exactly(stream, size, path)
    array = np.frombuffer(content, found.dtype)
    order = "F" if found.fortran else "C"
    return npy.native(array.reshape(found.shape, order=order))


def _names(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {m.filename.removesuffix(".npy"): m for m in archive.infolist()}


def _member(
    archive: zipfile.ZipFile, name: str | None, wanted: str, path: Path
) -> zipfile.ZipInfo:
    known = _names(archive)
    name = members.pick(known, name, wanted, path)
    found = known[name]
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadFileError(f"{path}: {name} is compressed by {found.compress_type}")
    return found
