"""A store in a run directory, from which the same command goes on after any end.

A finished batch lies in ``pieces/NAME.npz``, rows and arrays in one file, whole or
absent. While it is in the making, ``pieces/NAME.state-STEP.npz`` holds what it goes on
from; two of them are kept, for the case that one is damaged.

Damage shows by the checksums of the format. A damaged file is set aside as
``*.damaged`` with a warning, and what it held is computed again: no run ends by it.
"""

import contextlib
import errno
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.runs import directory, disk, formats, store
from linclf_jax.runs.store import Batch, Store

FOLDER = "pieces"
_ROWS = "rows"  # the array that holds the rows, as the bytes of JSON lines
_KEPT = 2  # states of a batch
_APART = ".apart"
_logger = logging.getLogger(__name__)


class DiskStore(Store):
    """Keeps batches and states as files of a run directory."""

    def __init__(self, run: Path, *, sealed: bool = False) -> None:
        """Reads and writes nothing yet.

        Args:
            run: The run directory.
            sealed: Whether the run is finished, and only read: then a damaged piece is
                an error, and stays where it is.
        """
        self._run, self._folder, self._sealed = run, run / FOLDER, sealed

    def __str__(self) -> str:
        return str(self._folder)

    def save_batch(self, name: str, batch: Batch, *, apart: bool = False) -> None:
        """Writes the file of a batch; durable from the moment this returns."""
        if _ROWS in batch.arrays:
            raise ValueError(
                f"batch {name} has an array {_ROWS!r}, a name that is taken"
            )
        rows = np.frombuffer(formats.encode_rows(batch.rows), np.uint8)
        self._write(self._path(name, _APART * apart), {**batch.arrays, _ROWS: rows})

    def load_batch(self, name: str, *, apart: bool = False) -> Batch | None:
        """Reads a batch; a damaged file is set aside, with a warning."""
        path = self._path(name, _APART * apart)
        try:
            return _batch(formats.decode_arrays(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            if self._sealed:
                raise ValueError(_sentence(path, error)) from error
            _set_aside(path, error, "it is trained again")
            return None

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Reads the batches that are not apart; warns of damaged ones, moves none."""
        yield from each(self._run, names, _logger.warning)

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Reads what the latest batch that holds a trial has of it."""
        for path in reversed(_finished(self._folder)):
            index = store.index_of(trial, _read(path, ()))
            if index is not None:
                arrays = _read(path, names).arrays
                return {name: array[index] for name, array in arrays.items()}
        raise ValueError(f"{self._folder}: found no batch that holds trial {trial}")

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Writes a state, then drops all but the newest two."""
        leaves = store.flatten(tree)
        path = self._path(name, f".state-{step}")
        self._write(path, {key: np.asarray(leaf) for key, leaf in leaves.items()})
        for _, old in self._states(name)[:-_KEPT]:
            old.unlink()

    def load_state(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Reads the newest state that is whole; sets damaged files aside."""
        state, damaged = None, []
        for step, path in reversed(self._states(name)):
            try:
                arrays = formats.decode_arrays(path.read_bytes())
                state = step, store.unflatten(arrays, like)
                break
            except (ValueError, OSError) as error:
                damaged.append((path, error))
        start = "the start" if state is None else f"step {state[0]}"
        for path, error in damaged:
            _set_aside(path, error, f"going on from {start}")
        return state

    def drop_states(self, name: str) -> None:
        """Removes the files of the states of a batch."""
        for _, path in self._states(name):
            path.unlink()

    def clear(self) -> None:
        """Removes the folder of batches with all that is in it."""
        if self._folder.exists():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()

    def _path(self, name: str, suffix: str) -> Path:
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(
                f"found batch name {name!r}, expected letters, digits, - or _"
            )
        return self._folder / f"{name}{suffix}.npz"

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        if not self._folder.exists():
            self._folder.mkdir(exist_ok=True)
            disk.sync_folder(self._run)  # or a power cut takes it with its files
        disk.write_bytes(path, formats.encode_arrays(arrays))

    def _states(self, name: str) -> list[tuple[int, Path]]:
        """Returns the states of a batch by their steps, the newest last."""
        pattern = re.compile(r".*\.state-(\d+)\.npz")
        paths = self._folder.glob(f"{name}.state-*.npz")
        return sorted((int(m[1]), p) for p in paths if (m := pattern.fullmatch(p.name)))


def each(
    run: Path, names: Iterable[str], report: Callable[[str], object]
) -> Iterator[Batch]:
    """Yields the finished batches in the order of their names; changes nothing on disk.

    Args:
        run: The run directory; another process may be writing it.
        names: The arrays to read, where a batch has them; the others, which may be
            large, are not touched.
        report: Takes a sentence about each damaged file, which is left out.
    """
    names = tuple(names)
    for path in _finished(run / FOLDER):
        try:
            yield _read(path, (), names)
        except FileNotFoundError:  # the run has just ended, and cleared its batches
            continue
        except (ValueError, OSError) as error:
            _check_damage(error)
            report(f"{_sentence(path, error)}; it is left out here")


def tidy(run: Path) -> None:
    """Removes what a sealed run was killed before it had removed.

    Args:
        run: The run directory, sealed or not; batches sealed with it are kept.
    """
    if not (run / directory.MANIFEST).is_file() or not (run / FOLDER).is_dir():
        return
    # What does not look like a sealed run may be somebody else's: nothing is removed.
    with contextlib.suppress(ValueError):
        if not any(name.startswith(f"{FOLDER}/") for name in directory.verify(run)):
            DiskStore(run).clear()


def _finished(folder: Path) -> list[Path]:
    """Returns the files of the finished batches in the order of their names."""
    paths = (path for path in folder.glob("*.npz") if "." not in path.stem)
    return sorted(paths, key=lambda path: path.stem)


def _read(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> Batch:
    """Reads some arrays of a batch; the others, which may be large, stay untouched."""
    try:
        with path.open("rb") as file:
            arrays = formats.decode_some_arrays(file, (*names, _ROWS), optional)
            return _batch(arrays)
    except ValueError as error:
        raise ValueError(_sentence(path, error)) from error


def _batch(arrays: dict[str, np.ndarray]) -> Batch:
    if _ROWS not in arrays:
        raise ValueError(f"found arrays {sorted(arrays)}, expected {_ROWS} too")
    return Batch(formats.decode_rows(arrays.pop(_ROWS).tobytes()), arrays)


def _set_aside(path: Path, error: Exception, consequence: str) -> None:
    _check_damage(error)
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    sentence = _sentence(path, error)
    _logger.warning("%s; set aside as %s, %s", sentence, aside.name, consequence)


def _check_damage(error: Exception) -> None:
    """Passes on what is no damage, such as a file that may not be read."""
    if isinstance(error, OSError) and error.errno != errno.EIO:
        raise error


def _sentence(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"
