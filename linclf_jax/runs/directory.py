"""The run directory: locked, opened once, written file by file, sealed and verified.

Files are written by ``disk.write_bytes``: whoever reads has the old one or the new
one, and an ``OSError`` such as a full disk names the file and leaves the old one.
``config.json`` makes a folder a run directory, ``manifest.json`` a finished one.

The lock is advisory (``flock`` on the folder itself): it leaves no file behind, a
killed process cannot keep it, and reading needs none. Windows, and network file systems
that lock no folder, go without.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from linclf_jax.runs import configuration, disk, formats

CONFIG = "config.json"
MANIFEST = "manifest.json"
TEMPORARY = ".*.tmp"  # the names of files that somebody is writing: never sealed


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[Path]:
    """Keeps a run directory, which is made if need be, for one writer.

    Raises:
        ValueError: Another writer has it, or it is a file.
    """
    path = _made(path)
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


def _made(path: str | Path) -> Path:
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a run directory or nothing")
    path.mkdir(parents=True, exist_ok=True)
    return path


def open_run(path: str | Path, config: Mapping[str, Any]) -> Path:
    """Makes a run directory, or takes up an unfinished one of the same configuration.

    A directory that is taken up keeps its ``config.json``, environment included, but
    for what ``configuration.UNOPENED`` names of the data.

    Args:
        path: The folder; it and its parents are made where they are missing.
        config: The sections of ``configuration.SECTIONS``; flags that change no result,
            such as ``out_dir``, do not belong there.

    Raises:
        ValueError: The folder was made by another configuration (with all
            differences), is complete, or holds files but no ``config.json``.
    """
    config, path = formats.plain(config, "config"), _made(path)
    # Of writers that were killed, here or in a folder below.
    leftovers = [*path.glob(TEMPORARY), *path.glob(f"*/{TEMPORARY}")]
    found = sorted({item.name for item in path.iterdir()} - {x.name for x in leftovers})
    there = _check_resumable(path, found, config) if found else None
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)  # its writer may live, and be done by now
    if there is None:
        write(path / CONFIG, config)
    elif there["data"] != config["data"]:
        write(path / CONFIG, {**there, "data": config["data"]})
    return path


def _check_resumable(
    path: Path, found: list[str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the configuration that a folder was made with, if it can go on."""
    if CONFIG not in found:
        raise ValueError(
            f"{path} is no run directory: found {', '.join(found[:5])} and no "
            f"{CONFIG}, expected a new or empty folder, or one made by the same command"
        )
    there = read(path / CONFIG)
    differences = configuration.differences(there, config)
    if differences:
        raise ValueError(
            f"{path} was made by another configuration, it differs in "
            f"{len(differences)}: {'; '.join(differences)}"
        )
    if MANIFEST in found:
        raise ValueError(
            f"{path} is complete: it holds the results of this very configuration; "
            "name another folder to run it again"
        )
    return there


def seal(
    path: str | Path,
    names: Iterable[str] | None = None,
    *,
    without: Collection[str] = (),
) -> None:
    """Marks a run as finished: writes size and SHA-256 of every file in its folder.

    Args:
        path: The run directory; files in folders below it are included.
        names: Files of a sealed folder that were made again: their entries alone are
            renewed, so that damage to any other file still shows.
        without: Files and folders in it to leave out: they come and go.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "notes.txt", "done")
    ...     seal(folder)
    ...     verify(folder)
    ['notes.txt']
    """
    path = Path(path)
    sealed = {} if names is None else _sealed(path)
    if names is None:
        found = (x.relative_to(path) for x in path.rglob("*") if not x.match(TEMPORARY))
        names = [x.as_posix() for x in found if x.parts[0] not in {MANIFEST, *without}]
    sealed |= {name: m for name in names if (m := _measure(path / name))}
    write(path / MANIFEST, {"files": dict(sorted(sealed.items()))})


def verify(path: str | Path, besides: Collection[str] = ()) -> list[str]:
    """Compares the files of a finished run with its manifest.

    Args:
        path: The run directory.
        besides: Files that need not be as they were sealed.

    Returns:
        The names of the sealed files; those that came later are not read.

    Raises:
        ValueError: Files or the manifest are missing or changed, with all their names.
    """
    path = Path(path)
    sealed, wrong = _sealed(path), []
    for name, expected in sealed.items():
        found = expected if name in besides else _measure(path / name)
        if found != expected:
            wrong.append(f"{name} {'has changed' if found else 'is missing'}")
    if wrong:
        raise ValueError(f"{path} is not as it was sealed: {', '.join(wrong)}")
    return list(sealed)


def _sealed(path: Path) -> dict[str, Any]:
    if not (path / MANIFEST).is_file():
        raise ValueError(f"{path} has no {MANIFEST}: the run is not finished")
    manifest = read(path / MANIFEST)
    sealed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(sealed, dict):
        raise ValueError(f"{path / MANIFEST}: found no list of files, it is damaged")
    return sealed


def _measure(path: Path) -> dict[str, Any] | None:
    """Size and SHA-256; None of a folder, or of a file that is gone since listed."""
    if path.is_file():
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}
    return None


def write(path: str | Path, value: Any) -> None:
    """Writes a file whole, in the format of its suffix; equal values, equal bytes.

    Args:
        path: Where; its folder exists.
        value: Bytes as they are; for ``.json`` and ``.jsonl`` what ``formats.plain``
            takes, for ``.npz`` arrays by name, for ``.safetensors`` tensors by name and
            texts by name; for any other suffix text, written in UTF-8.
    """
    if not isinstance(value, bytes):
        value = _ENCODERS.get(Path(path).suffix, str.encode)(value)
    disk.write_bytes(path, value)


def read(path: str | Path) -> Any:
    """Returns what ``write`` wrote, by the suffix; never unpickles.

    Raises:
        ValueError: It is damaged; with the path, and the line in JSON.
    """
    path = Path(path)
    try:
        return _DECODERS.get(path.suffix, bytes.decode)(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


_ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    ".json": formats.encode_json,
    ".jsonl": formats.encode_rows,
    ".npz": formats.encode_arrays,
    ".safetensors": lambda value: formats.encode_tensors(*value),
}
_DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    ".json": formats.decode_json,
    ".jsonl": formats.decode_rows,
    ".npz": formats.decode_arrays,
    ".safetensors": formats.decode_tensors,
}
