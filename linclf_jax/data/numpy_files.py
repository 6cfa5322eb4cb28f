"""Arrays that NumPy wrote, ``.npy`` and ``.npz``, never by pickle.

NumPy writes bfloat16 as two bytes without a meaning, ``V2``. No other kind of number
is written so, and it is read as bfloat16.
"""

import warnings
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy_format

from linclf_jax.data import checks, formats
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.formats import Array, Format

_VERSIONS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


class _Header(NamedTuple):
    """What precedes the numbers of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"]
    size: int  # bytes of the header


def _npy(path: Path, *_: object) -> Array:
    with path.open("rb") as stream:
        header = _header(stream, path)
        size = stream.seek(0, 2)

    def read() -> np.ndarray:
        array = np.memmap(
            path, header.dtype, "r", header.size, header.shape, header.order
        )
        return np.asarray(array)

    is_native = header.dtype.isnative  # else it is converted, which takes a copy
    array = Array(header.shape, header.dtype, read, mapped=is_native)
    formats.check_end(array, header.size, size, path)
    return array


def _npz(path: Path, name: str | None, default: str) -> Array:
    """Returns an array of an ``.npz``, read with its checksum."""
    with zipfile.ZipFile(path) as archive:
        members = _members(archive)
        name = formats.pick(members, name, default, path)
        where, member = f"{path}:{name}", members[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadFileError(f"{where} is compressed by {member.compress_type}")
        with archive.open(member) as stream:
            header = _header(stream, where)

    def read() -> np.ndarray:
        size = member.file_size - header.size
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            stream.read(header.size)
            content = checks.read_exactly(stream, size, where)
        numbers = np.frombuffer(content, header.dtype)
        return numbers.reshape(header.shape, order=header.order)

    compressed = min(member.compress_size, path.stat().st_size)
    array = Array(header.shape, header.dtype, read, compressed)
    formats.check_end(array, header.size, member.file_size, where)
    return array


def _names(path: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(path) as archive:
        return tuple(_members(archive))


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {m.filename.removesuffix(".npy"): m for m in archive.infolist()}


def _header(stream: checks.Stream, path: str | Path) -> _Header:
    """Reads what precedes the numbers, and leaves the stream behind it."""
    version = npy_format.read_magic(stream)
    if version not in _VERSIONS:  # the third is for records with names
        raise BadFileError(f"{path} has version {version}; expected (1, 0) or (2, 0)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old headers, which are read
        shape, fortran, dtype = _VERSIONS[version](stream)
    if dtype.hasobject:
        raise BadFileError(
            f"{path} holds Python objects, which are not read, since they may run "
            "code; expected numbers or texts"
        )
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None:
        dtype = jnp.dtype(jnp.bfloat16)
    return _Header(shape, dtype, "F" if fortran else "C", stream.tell())


NPY = Format("an array that NumPy wrote", _npy)
NPZ = Format("an .npz that NumPy wrote", _npz, _names)
