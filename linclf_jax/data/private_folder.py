"""Folders in the user's cache that nobody else can read or write."""

import os
import stat
from pathlib import Path


def in_user_cache(name: str) -> Path:
    """Returns where the user's own copies of something are kept; makes nothing.

    Args:
        name: Of what.

    Raises:
        RuntimeError: The user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is invalid, says the specification, and to be ignored.
    base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    return base / "linclf_jax" / name


def make(folder: Path) -> None:
    """Makes a folder that only its owner can use, or closes one that others can.

    Windows has no modes: there the folder is as private as the one it lies in.

    Args:
        folder: Where; folders above it are made, too.

    Raises:
        ValueError: It is a symbolic link, no folder, or somebody else's.
        OSError: It cannot be made, closed to others or written.
    """
    if folder.is_symlink():
        raise ValueError(_refusal(folder, f"a symbolic link to {folder.readlink()}"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(_refusal(folder, "no folder"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "nt":
        found = folder.lstat()
        if found.st_uid != os.geteuid():
            raise ValueError(_refusal(folder, f"owned by user {found.st_uid}"))
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
            if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
                raise PermissionError(f"{folder} stays open to others")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")


def _refusal(folder: Path, found: str) -> str:
    return f"{folder} is {found}; expected a folder of your own"
