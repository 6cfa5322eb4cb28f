"""Arrays with names in one file: which of them is meant.

``FILE.npz:NAME`` names one, and so it is with the other ``ENDINGS``.
"""

from collections.abc import Collection
from pathlib import Path

from linclf_jax.data.door import BadFileError

ENDINGS = (".npz", ".safetensors", ".h5", ".hdf5", ".pt", ".pth")


def split(path: str | Path) -> tuple[Path, str | None]:
    """Returns the path of a file, and the name of an array that stands after it.

    Args:
        path: The file, perhaps with a name.
    """
    before, colon, name = str(path).rpartition(":")
    named = colon and before.lower().endswith(ENDINGS)
    return (Path(before), name) if named else (Path(path), None)


def pick(
    names: Collection[str], name: str | None, wanted: str, path: str | Path
) -> str:
    """Returns the array that is meant: the named one, the only one, or the usual one.

    Args:
        names: Of all arrays of the file.
        name: What stands after the path, if anything does.
        wanted: What the array is usually called.
        path: The file, for messages.

    Raises:
        BadFileError: There is no such array.
    """
    if name is None:
        name = next(iter(names)) if len(names) == 1 else wanted
    if name not in names:
        raise BadFileError(
            f"{path} holds {', '.join(names) or 'nothing'}; expected {name}, or a name "
            f"after it, {path}:NAME"
        )
    return name
