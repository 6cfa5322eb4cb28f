"""Compiled programs that outlive the process: a second start compiles nothing.

A cache entry is code that will be executed. So the cache lies in a folder that nobody
but its owner can write to, and one that somebody else owns is refused.
"""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import jax

NONE = "none"
# Below JAX's default of a second, which is as long as a whole tile program compiles.
MIN_COMPILE_SECONDS = 0.05


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def enable_cache(
    folder: str | None, *, report: Callable[[str], None] = _tell
) -> Path | None:
    """Keeps compiled programs in a private folder and takes them from there.

    Args:
        folder: Where; made if it is missing, and closed to others. None for the user's
            own cache folder, or for what ``JAX_COMPILATION_CACHE_DIR`` has set up;
            ``none`` for no cache.
        report: Is told in one line when there is no cache because the default folder
            cannot be written.

    Returns:
        The folder, or None if there is no cache.

    Raises:
        ValueError: The folder is somebody else's, a symbolic link or a file, or the one
            that was named cannot be made or written.
    """
    if folder == NONE:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    named = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if folder is None and named:
        return Path(named)
    try:
        path = Path(folder) if folder else default_folder()
        make_private(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        if folder:
            raise ValueError(
                f"--compilation_cache={folder} cannot be used ({error}); expected a "
                f"folder that can be made and written, or {NONE}"
            ) from error
        report(f"no compilation cache, programs are compiled anew: {error}")
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    return path


def default_folder() -> Path:
    """Returns where the user's compiled programs are kept.

    Raises:
        RuntimeError: The user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is invalid, says the specification, and to be ignored.
    base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    return base / "linclf_jax" / "xla"


def make_private(folder: Path) -> None:
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
    return (
        f"--compilation_cache: {folder} is {found}; expected a folder of your own, "
        f"because what lies there is executed, or {NONE}"
    )
