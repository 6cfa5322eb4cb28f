"""The run folder: opened once, written file by file, sealed and verified.

A file is written under a temporary name in its own folder, flushed to the disk and
renamed, so that whoever looks sees the old file or the new one, after a power cut too.
An ``OSError`` such as a full disk passes through as it is and leaves the old file.

``config.json`` makes a folder a run folder, ``manifest.json`` a finished one.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.runs import configuration, formats

CONFIG = "config.json"
MANIFEST = "manifest.json"


def open_run(path: str | Path, config: Mapping[str, Any]) -> Path:
    """Makes a run folder, or takes up an unfinished one of the same configuration.

    The same configuration means equal experiment, flags and data, and an environment
    that computes the same; a resumed folder keeps the ``config.json``, environment
    included, that it was made with.

    Args:
        path: The folder; it and its parents are made where they are missing.
        config: The sections of ``configuration.SECTIONS``; flags that change no result,
            such as ``out_dir``, do not belong there.

    Returns:
        The folder.

    Raises:
        ValueError: The folder was made by another configuration (with all
            differences), is complete, or holds files but no ``config.json``.
    """
    path, config = Path(path), configuration.checked(config)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a run folder or nothing")
    path.mkdir(parents=True, exist_ok=True)
    leftovers = list(path.glob(".*.tmp"))  # of writers that were killed
    found = sorted({item.name for item in path.iterdir()} - {x.name for x in leftovers})
    if found:
        _check_resumable(path, found, config)
    for leftover in leftovers:
        leftover.unlink()
    if not found:
        write_json(path / CONFIG, config)
    return path


def _check_resumable(path: Path, found: list[str], config: dict[str, Any]) -> None:
    if CONFIG not in found:
        raise ValueError(
            f"{path} is no run folder: found {', '.join(found[:5])} and no {CONFIG}, "
            "expected a new or empty folder, or one made by the same command"
        )
    differences = configuration.differences(read_json(path / CONFIG), config)
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


def seal(path: str | Path) -> None:
    """Marks a run as finished: writes size and SHA-256 of every file in its folder.

    Args:
        path: The run folder; files in folders below it are included.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "notes.txt", "done")
    ...     seal(folder)
    ...     verify(folder)
    ['notes.txt']
    """
    path = Path(path)
    names = sorted(
        item.relative_to(path).as_posix()
        for item in path.rglob("*")
        if item.is_file() and item != path / MANIFEST
    )
    write_json(
        path / MANIFEST, {"files": {name: _measure(path / name) for name in names}}
    )


def verify(path: str | Path) -> list[str]:
    """Compares the files of a finished run with its manifest.

    Args:
        path: The run folder.

    Returns:
        The names of the files, all as they were sealed. Files that came later are none
        of the manifest's business.

    Raises:
        ValueError: Files are missing or changed (with all their names), or the
            manifest itself is missing or damaged.
    """
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise ValueError(f"{path} has no {MANIFEST}: the run is not finished")
    manifest = read_json(path / MANIFEST)
    sealed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(sealed, dict):
        raise ValueError(f"{path / MANIFEST}: found no list of files, it is damaged")
    wrong = []
    for name, expected in sealed.items():
        if not (path / name).is_file():
            wrong.append(f"{name} is missing")
        elif _measure(path / name) != expected:
            wrong.append(f"{name} has changed")
    if wrong:
        raise ValueError(f"{path} is not as it was sealed: {', '.join(wrong)}")
    return list(sealed)


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a file whole: temporary name, flush, rename, flush of the folder.

    Args:
        path: Where; its folder exists.
        data: All of the file.

    Raises:
        OSError: As the system says it; an older file at ``path`` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename last a power cut, where the system can."""
    if os.name == "nt":  # a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems
            raise
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Writes text in UTF-8, whole.

    Args:
        path: Where; its folder exists.
        text: All of the file.
    """
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Writes strict JSON, whole: NaN and infinities are null, keys keep their order.

    Args:
        path: Where; its folder exists.
        value: See ``formats.plain``.
    """
    write_bytes(path, formats.encode_json(value))


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one strict JSON object a line, whole.

    Args:
        path: Where; its folder exists.
        rows: See ``formats.plain``.
    """
    write_bytes(path, formats.encode_rows(rows))


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an ``.npz``, whole; the same arrays give the same bytes.

    Args:
        path: Where; its folder exists.
        arrays: By their names; see ``formats.encode_arrays``.
    """
    write_bytes(path, formats.encode_arrays(arrays))


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a ``.safetensors``, whole; the same values give the same bytes.

    Args:
        path: Where; its folder exists.
        tensors: By their names.
        metadata: Texts by their names.
    """
    write_bytes(path, formats.encode_tensors(tensors, metadata or {}))


def read_json(path: str | Path) -> Any:
    """Reads strict JSON; ValueError with path, line and column if damaged.

    Args:
        path: The file.
    """
    return _read(path, formats.decode_json)


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Reads one JSON object a line; ValueError with path and line if damaged.

    Args:
        path: The file.
    """
    return _read(path, formats.decode_rows)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Reads an ``.npz``, never unpickling; ValueError with the path if damaged.

    Args:
        path: The file.
    """
    return _read(path, formats.decode_arrays)


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a ``.safetensors``; ValueError with the path if damaged.

    Args:
        path: The file.
    """
    return _read(path, formats.decode_tensors)[0]


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the metadata of a ``.safetensors``; ValueError with the path if damaged.

    Args:
        path: The file.
    """
    return _read(path, formats.decode_tensors)[1]


def _read(path: str | Path, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
