"""Tensors that PyTorch saved, ``.pt``, read by ``torch.load(weights_only=True)``.

That runs no code of the file. The file holds a tensor, or a dictionary of tensors; a
list of texts or numbers in it is an array too.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from linclf_jax.data import door, members
from linclf_jax.data.door import BadFileError

_EXPECTED = "a tensor, or a dictionary of them, that PyTorch saved"


def names(path: str | Path) -> tuple[str, ...]:
    """Returns the names in a dictionary of tensors; none of a single tensor.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged, or holds more than tensors; PyTorch is
            not installed.
    """
    with door.reading(path, _EXPECTED):
        found = _load(Path(path))
        return tuple(found) if isinstance(found, Mapping) else ()


def peek(wanted: str, path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of a tensor.

    Args:
        wanted: The tensor to take, where there are several and none is named.
        path: The file, perhaps with a name.

    Raises:
        BadFileError: As ``names``, or there is no such tensor.
    """
    found = read(wanted, path)
    return found.shape, found.dtype


def read(wanted: str, path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns a tensor; that of a file of PyTorch 1.6 or newer is memory-mapped.

    Args:
        wanted: As in ``peek``.
        path: As in ``peek``.
        max_bytes: Most that it may take; what the machine has if None.

    Raises:
        BadFileError: As ``peek``, or the tensor takes more.
    """
    file, name = members.split(path)
    with door.reading(file, _EXPECTED):
        found = _load(file)
        if isinstance(found, Mapping):
            found = found[members.pick(found, name, wanted, file)]
        elif name is not None:
            raise BadFileError(f"{file} holds a single tensor; expected one {name}")
        array = _array(found)
        door.check_size(array.shape, array.dtype, path, max_bytes=max_bytes)
        return array


def _load(file: Path) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadFileError(
            f"{file} takes PyTorch, which is not installed: pip install torch, or save "
            "the tensors as .safetensors"
        ) from error
    with file.open("rb") as stream:  # says that it is missing in fewer words
        mapped = zipfile.is_zipfile(stream)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:  # which advises to run what the file says
        raise BadFileError(
            f"{file} is damaged, or holds more than weights_only=True reads: tensors, "
            f"texts and numbers; expected {_EXPECTED}"
        ) from error


def _array(found: Any) -> np.ndarray:
    import torch  # pyright: ignore[reportMissingImports]

    if not isinstance(found, torch.Tensor):
        return np.array(found)
    found = found.detach().resolve_conj().resolve_neg()
    if found.dtype == torch.bfloat16:
        return found.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
    return found.numpy()
