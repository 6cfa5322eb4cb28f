"""Arrays with names in one file: ``.safetensors``, HDF5 and what PyTorch saved."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors

from linclf_jax.data import checks, formats
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.formats import Array, Format

_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": jnp.bfloat16,
    "F32": "<f4",
    "F64": "<f8",
}
_TENSORS = "a tensor, or a dictionary of them, that PyTorch saved"


def _safetensor(path: Path, name: str | None, default: str) -> Array:
    """Returns a tensor of a ``.safetensors``, memory-mapped."""
    entries, start = _safetensors_header(path)
    name = formats.pick(entries, name, default, path)
    entry = entries[name]
    if entry["dtype"] not in _DTYPES:
        raise BadFileError(
            f"{path}: {name} is of {entry['dtype']}; expected one of "
            f"{', '.join(_DTYPES)}"
        )
    dtype, shape = jnp.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    offset = start + entry["data_offsets"][0]

    def read() -> np.ndarray:
        return np.asarray(np.memmap(path, dtype, "r", offset, shape))

    return Array(shape, dtype, read, mapped=True)


def _safetensors_names(path: Path) -> tuple[str, ...]:
    return tuple(_safetensors_header(path)[0])


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Returns what the header declares of each tensor, and its length in bytes."""
    with path.open("rb") as stream:  # its error for a missing file is the shorter one
        # Compares offsets with shapes, with each other and with the end of the file.
        with safetensors.safe_open(path, framework="np") as opened:
            names = {*opened.keys()}
        size = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(size))
    entries.pop("__metadata__", None)
    if {*entries} != names:
        raise BadFileError(
            f"{path} names a tensor twice; expected {SAFETENSORS.expected}"
        )
    return entries, 8 + size


def _hdf5_dataset(path: Path, name: str | None, default: str) -> Array:
    """Returns a dataset of an HDF5 file; ``GROUP/NAME`` names one in a group."""
    with _open_hdf5(path) as file:
        dataset = None if name is None else _dataset(file, name)
        if dataset is None:
            name = _pick_dataset(file, name, default, path)
            dataset = file[name]
        shape, dtype = dataset.shape, dataset.dtype.newbyteorder("=")
        if dataset.external or dataset.is_virtual:
            raise BadFileError(
                f"{path}: {name} lies in other files; expected it in this"
            )

    def read() -> np.ndarray:
        import h5py

        with _open_hdf5(path) as file:
            dataset = file[name]
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return np.asarray(dataset.asstr()[()], dtype=str)
            return np.asarray(dataset[()])

    return Array(shape, dtype, read)


def _hdf5_names(path: Path) -> tuple[str, ...]:
    with _open_hdf5(path) as file:
        return tuple(_ungrouped(file))


def _open_hdf5(path: Path) -> Any:
    h5py = checks.library("h5py", "h5py", "'linclf_jax[hdf5]'", path)
    return h5py.File(path, "r")


def _pick_dataset(file: Any, name: str | None, default: str, path: Path) -> str:
    names = _ungrouped(file)
    if not names:
        every: list[str] = []
        file.visit(every.append)
        grouped = [item for item in every if _dataset(file, item) is not None]
        if grouped:
            raise BadFileError(
                f"{path} holds {', '.join(grouped)}, all in groups; expected a name "
                f"after it, {path}:{grouped[0]}"
            )
    return formats.pick(names, name, default, path)


def _ungrouped(file: Any) -> list[str]:
    """Returns the names of the datasets that are in no group."""
    return [name for name in file if _dataset(file, name) is not None]


def _dataset(file: Any, name: str) -> Any:
    """Returns a dataset by its name; None if it is none, or lies in another file."""
    import h5py

    item = file
    for part in name.strip("/").split("/"):
        if not isinstance(item, h5py.Group) or part not in item:
            return None
        if isinstance(item.get(part, getlink=True), h5py.ExternalLink):
            return None
        item = item[part]
    return item if isinstance(item, h5py.Dataset) else None


def _torch_tensor(path: Path, name: str | None, default: str) -> Array:
    """Returns a tensor that PyTorch saved; texts or numbers in a list are one too.

    That of a file of PyTorch 1.6 or newer is memory-mapped.
    """
    content = _torch_load(path)
    if isinstance(content, Mapping):
        content = content[formats.pick(content, name, default, path)]
    elif name is not None:
        raise BadFileError(f"{path} holds a single tensor; expected one {name}")
    array = _torch_numbers(content)
    return Array(array.shape, array.dtype, lambda: array)


def _torch_names(path: Path) -> tuple[str, ...]:
    content = _torch_load(path)
    return tuple(content) if isinstance(content, Mapping) else ()


def _torch_load(path: Path) -> Any:
    """Returns what a file holds, by PyTorch's reader that runs no code of it."""
    remedy = "torch, or save the tensors as .safetensors"
    torch = checks.library("torch", "PyTorch", remedy, path)
    mapped = zipfile.is_zipfile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:  # whose advice is to run the file's code
        raise BadFileError(
            f"{path} is damaged, or holds more than weights_only=True reads: tensors, "
            f"texts and numbers; expected {_TENSORS}"
        ) from error


def _torch_numbers(content: Any) -> np.ndarray:
    import torch  # pyright: ignore[reportMissingImports]

    if not isinstance(content, torch.Tensor):
        return np.array(content)
    tensor = content.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


SAFETENSORS = Format("a .safetensors file", _safetensor, _safetensors_names)
HDF5 = Format("an HDF5 file", _hdf5_dataset, _hdf5_names)
TORCH = Format(_TENSORS, _torch_tensor, _torch_names)
