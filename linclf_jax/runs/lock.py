"""One writer for each run directory: a lock that ends with the process that holds it.

The lock is advisory (``flock`` on the folder itself): it leaves no file behind, a
killed process cannot keep it, and reading needs none. Windows, and network file systems
that lock no folder, go without.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[Path]:
    """Keeps a run directory for one writer until the block ends.

    Args:
        path: The folder; it and its parents are made where they are missing.

    Yields:
        The folder.

    Raises:
        ValueError: Another writer has it, or it is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a run directory or nothing")
    path.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # no folder can be opened there
        yield path
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        _lock(handle, path)
        yield path
    finally:
        os.close(handle)  # the lock goes with it


def _lock(handle: int, path: Path) -> None:
    import fcntl  # Windows has none

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"{path} is being written by another process; wait for it to end, or name "
            "another folder"
        ) from error
    except OSError:  # no locks on this file system
        return
