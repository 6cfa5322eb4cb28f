"""Datasets of HDF5 files, ``.h5``, that lie in the file itself."""

from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.data import door, members, npy
from linclf_jax.data.door import BadFileError

_EXPECTED = "an HDF5 file"


def names(path: str | Path) -> tuple[str, ...]:
    """Returns the names of the datasets that are in no group.

    Args:
        path: The file.

    Raises:
        BadFileError: It is missing or damaged; h5py is not installed.
    """
    with door.reading(path, _EXPECTED), _open(path) as file:
        return tuple(_names(file))


def peek(wanted: str, path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of a dataset.

    Args:
        wanted: The dataset to take, where there are several and none is named.
        path: The file, perhaps with a name, ``GROUP/NAME`` of one in a group.

    Raises:
        BadFileError: There is no such dataset, it lies in another file, or the file is
            missing or damaged; h5py is not installed.
    """
    file, name = members.split(path)
    with door.reading(file, _EXPECTED), _open(file) as opened:
        found = _dataset(opened, name, wanted, file)
        return found.shape, found.dtype.newbyteorder("=")


def read(wanted: str, path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns a dataset.

    Args:
        wanted: As in ``peek``.
        path: As in ``peek``.
        max_bytes: Most that it may take; what the machine has if None.

    Raises:
        BadFileError: As ``peek``, or the dataset takes more.
    """
    file, name = members.split(path)
    with door.reading(file, _EXPECTED), _open(file) as opened:
        import h5py

        found = _dataset(opened, name, wanted, file)
        door.check_size(found.shape, found.dtype, path, max_bytes=max_bytes)
        if h5py.check_string_dtype(found.dtype) is not None:
            return np.asarray(found.asstr()[()], dtype=str)
        return npy.native(np.asarray(found[()]))


def _open(path: str | Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise BadFileError(
            f"{path} takes h5py, which is not installed: pip install 'linclf_jax[hdf5]'"
        ) from error
    Path(path).stat()  # says that it is missing in fewer words
    return h5py.File(path, "r")


def _names(file: Any) -> list[str]:
    import h5py

    return [name for name in file if isinstance(_own(file, name), h5py.Dataset)]


def _nested(file: Any) -> list[str]:
    """Returns the datasets in groups, GROUP/NAME."""
    import h5py

    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(name)

    file.visititems(visit)
    return found


def _own(file: Any, name: str) -> Any:
    """Returns what a name stands for if it lies in this file, None else."""
    import h5py

    found = file
    for part in name.strip("/").split("/"):
        if not isinstance(found, h5py.Group) or part not in found:
            return None
        if isinstance(found.get(part, getlink=True), h5py.ExternalLink):
            return None
        found = found[part]
    return found


def _dataset(file: Any, name: str | None, wanted: str, path: Path) -> Any:
    import h5py

    if name is None or not isinstance(_own(file, name), h5py.Dataset):
        names = _names(file)
        nested = [] if names else _nested(file)
        if nested:
            raise BadFileError(
                f"{path} holds {', '.join(nested)}, all in groups; expected a name "
                f"after it, {path}:{nested[0]}"
            )
        name = members.pick(names, name, wanted, path)
    found = _own(file, name)
    if found.external or found.is_virtual:
        raise BadFileError(f"{path}: {name} lies in other files; expected it in this")
    return found
