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

from linclf_jax.data import formats
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.formats import Array

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


def _safetensor(path: str | Path, default: str) -> Array:
    """Returns a tensor of a ``.safetensors``, memory-mapped."""
    file, name = formats.split(path)
    entries, start = _safetensors_header(file)
    name = formats.pick(entries, name, default, file)
    entry = entries[name]
    if entry["dtype"] not in _DTYPES:
        raise BadFileError(
            f"{file}: {name} is of {entry['dtype']}; expected one of "
            f"{', '.join(_DTYPES)}"
        )
    dtype, shape = jnp.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    offset = start + entry["data_offsets"][0]

    def read() -> np.ndarray:
        return np.asarray(np.memmap(file, dtype, "r", offset, shape))

    return Array(shape, dtype, read)


def _safetensors_names(file: Path) -> tuple[str, ...]:
    return tuple(_safetensors_header(file)[0])


def _safetensors_header(file: Path) -> tuple[dict[str, Any], int]:
    """Returns what the header declares of each tensor, and its length in bytes."""
    with file.open("rb") as stream:  # its error for a missing file is the shorter one
        # Compares offsets with shapes, with each other and with the end of the file.
        with safetensors.safe_open(file, framework="np") as opened:
            names = {*opened.keys()}
        size = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(size))
    entries.pop("__metadata__", None)
    if {*entries} != names:
        raise BadFileError(
            f"{file} names a tensor twice; expected {SAFETENSORS.expected}"
        )
    return entries, 8 + size


def _hdf5_dataset(path: str | Path, default: str) -> Array:
    """Returns a dataset of an HDF5 file; ``GROUP/NAME`` names one in a group."""
    file, name = formats.split(path)
    with _open_hdf5(file) as opened:
        name, dataset = _pick_dataset(opened, name, default, file)
        shape, dtype = dataset.shape, dataset.dtype.newbyteorder("=")

    def read() -> np.ndarray:
        import h5py

        with _open_hdf5(file) as opened:
            dataset = opened[name]
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return np.asarray(dataset.asstr()[()], dtype=str)
            return np.asarray(dataset[()])

    return Array(shape, dtype, read)


def _hdf5_names(file: Path) -> tuple[str, ...]:
    with _open_hdf5(file) as opened:
        return tuple(_ungrouped(opened))


def _open_hdf5(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise BadFileError(
            f"{path} takes h5py, which is not installed: pip install 'linclf_jax[hdf5]'"
        ) from error
    path.stat()  # its error for a missing file is the shorter one
    return h5py.File(path, "r")


def _pick_dataset(
    file: Any, name: str | None, default: str, path: Path
) -> tuple[str, Any]:
    import h5py

    if name is None or not isinstance(_item(file, name), h5py.Dataset):
        names = _ungrouped(file)
        grouped = [] if names else _grouped(file)
        if grouped:
            raise BadFileError(
                f"{path} holds {', '.join(grouped)}, all in groups; expected a name "
                f"after it, {path}:{grouped[0]}"
            )
        name = formats.pick(names, name, default, path)
    dataset = _item(file, name)
    if dataset.external or dataset.is_virtual:
        raise BadFileError(f"{path}: {name} lies in other files; expected it in this")
    return name, dataset


def _ungrouped(file: Any) -> list[str]:
    """Returns the names of the datasets that are in no group."""
    import h5py

    return [name for name in file if isinstance(_item(file, name), h5py.Dataset)]


def _grouped(file: Any) -> list[str]:
    """Returns the names of the datasets in groups, ``GROUP/NAME``."""
    import h5py

    names: list[str] = []
    file.visit(names.append)
    return [name for name in names if isinstance(file[name], h5py.Dataset)]


def _item(file: Any, name: str) -> Any:
    """Returns what a name refers to; None if that lies in another file, or nowhere."""
    import h5py

    item = file
    for part in name.strip("/").split("/"):
        if not isinstance(item, h5py.Group) or part not in item:
            return None
        if isinstance(item.get(part, getlink=True), h5py.ExternalLink):
            return None
        item = item[part]
    return item


def _torch_tensor(path: str | Path, default: str) -> Array:
    """Returns a tensor that PyTorch saved; texts or numbers in a list are one too.

    That of a file of PyTorch 1.6 or newer is memory-mapped.
    """
    file, name = formats.split(path)
    content = _torch_load(file)
    if isinstance(content, Mapping):
        content = content[formats.pick(content, name, default, file)]
    elif name is not None:
        raise BadFileError(f"{file} holds a single tensor; expected one {name}")
    array = _torch_numbers(content)
    return Array(array.shape, array.dtype, lambda: array)


def _torch_names(file: Path) -> tuple[str, ...]:
    content = _torch_load(file)
    return tuple(content) if isinstance(content, Mapping) else ()


def _torch_load(file: Path) -> Any:
    """Returns what a file holds, by PyTorch's reader that runs no code of it."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadFileError(
            f"{file} takes PyTorch, which is not installed: pip install torch, or save "
            "the tensors as .safetensors"
        ) from error
    with file.open("rb") as stream:  # its error for a missing file is the shorter one
        mapped = zipfile.is_zipfile(stream)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:  # whose advice is to run the file's code
        raise BadFileError(
            f"{file} is damaged, or holds more than weights_only=True reads: tensors, "
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


SAFETENSORS = formats.of_archive("a .safetensors file", _safetensor, _safetensors_names)
HDF5 = formats.of_archive("an HDF5 file", _hdf5_dataset, _hdf5_names)
TORCH = formats.of_archive(_TENSORS, _torch_tensor, _torch_names)
