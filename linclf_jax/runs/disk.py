"""Writing files whole, and saying which one could not be written.

A file is written under a temporary name in its own folder, flushed to the disk and
renamed, so that whoever reads has the old file or the new one, after a power cut too.
"""

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a file whole: temporary name, flush, rename, flush of the folder.

    Raises:
        OSError: With the file; of a full disk with the bytes that it takes too. An
            older file at ``path`` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _named(error, path, len(data)) from error
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder last a power cut, where the system can."""
    if os.name == "nt":  # a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems
            raise _named(error, folder) from error
    finally:
        os.close(handle)


def _named(error: OSError, path: Path, size: int | None = None) -> OSError:
    """Returns the error with the file that it is about, which the system leaves out."""
    found = error.strerror or str(error)
    if error.errno in _FULL and size is not None:
        with contextlib.suppress(OSError):
            found += f", {shutil.disk_usage(path.parent).free:,} bytes free"
        found += f"; expected room for {size:,} bytes"
    if error.errno is None:
        return OSError(f"{path}: {found}")
    return OSError(error.errno, found, str(path))
