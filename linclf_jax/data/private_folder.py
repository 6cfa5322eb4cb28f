"""Folders in the user's cache that nobody else can read or write."""

import os
import stat
from pathlib import Path


def in_user_cache(name: str) -> Path:
    """Returns a folder of the user's cache, not made; RuntimeError without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # By the specification a relative path is invalid, and to be ignored.
    base = base if base.is_absolute() else Path.home() / ".cache"
    return base / "linclf_jax" / name


def make(folder: Path) -> None:
    """Makes a folder that only its owner can use, or closes one that others can use.

    Windows has no modes: there the folder is as private as its parent.

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
        status = folder.lstat()
        if status.st_uid != os.geteuid():
            raise ValueError(_refusal(folder, f"owned by user {status.st_uid}"))
        if stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
            if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
                raise PermissionError(f"{folder} stays open to others")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")


def _refusal(folder: Path, what: str) -> str:
    return f"{folder} is {what}; expected a folder of your own"
