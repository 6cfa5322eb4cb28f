"""Tensors in ``.safetensors``, memory-mapped; bfloat16 is one of their dtypes."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors

from linclf_jax.data import door, members, npy
from linclf_jax.data.door import BadFileError

_EXPECTED = "a .safetensors file"
_DTYPES = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4"},
    **{"I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4"},
    **{"F64": "<f8", "BF16": jnp.dtype(jnp.bfloat16)},
}


def names(path: str | Path) -> tuple[str, ...]:
    """Returns the names of all tensors.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged.
    """
    with door.reading(path, _EXPECTED):
        return tuple(_header(Path(path))[0])


def peek(wanted: str, path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of a tensor.

    Args:
        wanted: The tensor to take, where there are several and none is named.
        path: The file, perhaps with a name.

    Raises:
        BadFileError: There is no such tensor, or the file is missing or damaged.
    """
    shape, dtype, _ = _tensor(wanted, path)
    return shape, dtype


def read(wanted: str, path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns a tensor, memory-mapped.

    Args:
        wanted: As in ``peek``.
        path: As in ``peek``.
        max_bytes: Most that it may take; what the machine has if None.

    Raises:
        BadFileError: As ``peek``, or the tensor takes more.
    """
    shape, dtype, start = _tensor(wanted, path)
    door.check_size(shape, dtype, path, max_bytes=max_bytes)
    file, _ = members.split(path)
    with door.reading(path, _EXPECTED):
        array = np.memmap(file, dtype, mode="r", offset=start, shape=shape)
        return npy.native(np.asarray(array))


def _tensor(wanted: str, path: str | Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Returns shape and dtype of a tensor, and how many bytes come before it."""
    file, name = members.split(path)
    with door.reading(file, _EXPECTED):
        entries, start = _header(file)
        name = members.pick(entries, name, wanted, file)
        entry = entries[name]
        if entry["dtype"] not in _DTYPES:
            raise BadFileError(
                f"{file}: {name} is of {entry['dtype']}; expected one of "
                f"{', '.join(_DTYPES)}"
            )
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        return tuple(entry["shape"]), dtype, start + entry["data_offsets"][0]


def _header(file: Path) -> tuple[dict, int]:
    """Returns what the header says of each tensor, and how long it is."""
    with file.open("rb") as stream:  # says that it is missing in fewer words
        # Compares offsets with shapes, with each other and with the end of the file.
        with safetensors.safe_open(file, framework="np") as opened:
            known = {*opened.keys()}
        size = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(size))
    entries.pop("__metadata__", None)
    if {*entries} != known:
        raise BadFileError(f"{file} names a tensor twice; expected {_EXPECTED}")
    return entries, 8 + size
