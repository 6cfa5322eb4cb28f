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
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.runs import directory, disk, formats, store
from linclf_jax.runs.store import Batch, Store

FOLDER = "pieces"
_ROWS = "rows"  # the array that holds the rows, as the bytes of JSON lines
_STATES = 2  # kept of a batch
_APART = ".apart"
_logger = logging.getLogger(__name__)


class DiskStore(Store):
    """Keeps batches and states as files of a run directory."""

    def __init__(
        self,
        run: Path,
        *,
        sealed: bool = False,
        report: Callable[[str], object] = _logger.warning,
    ) -> None:
        """Reads and writes nothing yet.

        Args:
            run: The run directory.
            sealed: Whether the run is finished, and only read: then a damaged batch is
                an error, and stays where it is.
            report: Takes a sentence about each damaged file.
        """
        self._run, self._folder = run, run / FOLDER
        self._sealed, self._report = sealed, report

    def __str__(self) -> str:
        return str(self._folder)

    def save_batch(self, name: str, batch: Batch, *, apart: bool = False) -> None:
        """Writes the file of a batch."""
        rows = np.frombuffer(formats.encode_rows(batch.rows), np.uint8)
        self._write(self._path(name, _APART * apart), {**batch.arrays, _ROWS: rows})

    def load_batch(self, name: str, *, apart: bool = False) -> Batch | None:
        """Reads a batch; a damaged file is set aside."""
        path = self._path(name, _APART * apart)
        try:
            return _read(path)
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            if self._sealed:
                raise ValueError(_damage(path, error)) from error
            self._set_aside(path, error, "it is trained again")
            return None

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Reads the results; leaves damaged files out, and where they are.

        Another process may be writing the run directory.
        """
        names = tuple(names)
        for path in self._finished():
            try:
                yield _read(path, names)
            except FileNotFoundError:  # the run has just ended, and cleared its store
                continue
            except (ValueError, OSError) as error:
                self._report(f"{_damage(path, error)}; it is left out here")

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Reads arrays of a trial, of no more than its batch."""
        for path in reversed(self._finished()):
            index = _read(path, ()).index_of(trial)
            if index is not None:
                arrays = _read(path, names).arrays
                return {name: array[index] for name, array in arrays.items()}
        raise ValueError(f"{self._folder}: found no batch that holds trial {trial}")

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Writes a state, then drops all but the newest two."""
        leaves = store.flatten(tree)
        path = self._path(name, f".state-{step}")
        self._write(path, {key: np.asarray(leaf) for key, leaf in leaves.items()})
        for _, old in self._states(name)[:-_STATES]:
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
            self._set_aside(path, error, f"going on from {start}")
        return state

    def drop_states(self, name: str) -> None:
        """Removes the files of the states of a batch."""
        for _, path in self._states(name):
            path.unlink()

    def clear(self) -> None:
        """Removes the folder with all that is in it."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}{suffix}.npz"

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        if not self._folder.exists():
            self._folder.mkdir(exist_ok=True)
            disk.sync_folder(self._run)  # or a power cut takes it with its files
        disk.write_bytes(path, formats.encode_arrays(arrays))

    def _finished(self) -> list[Path]:
        """Returns the files of the results in the order of the names of batches."""
        paths = (path for path in self._folder.glob("*.npz") if "." not in path.stem)
        return sorted(paths, key=lambda path: path.stem)

    def _states(self, name: str) -> list[tuple[int, Path]]:
        """Returns the states of a batch by their steps, the newest last."""
        paths = self._folder.glob(f"{name}.state-*.npz")
        return sorted((int(path.stem.rpartition("-")[2]), path) for path in paths)

    def _set_aside(self, path: Path, error: Exception, consequence: str) -> None:
        sentence = _damage(path, error)
        aside = path.replace(path.with_name(f"{path.name}.damaged"))
        self._report(f"{sentence}; set aside as {aside.name}, {consequence}")


def tidy(run: Path) -> None:
    """Removes what a sealed run was killed before it had removed.

    Batches that were sealed with it are kept, as in a shard.
    """
    if not (run / directory.MANIFEST).is_file() or not (run / FOLDER).is_dir():
        return
    # What does not look like a sealed run may be somebody else's: nothing is removed.
    with contextlib.suppress(ValueError):
        if not any(name.startswith(f"{FOLDER}/") for name in directory.verify(run)):
            DiskStore(run).clear()


def _read(path: Path, names: Iterable[str] | None = None) -> Batch:
    """Reads all arrays of a batch, or some: the others may be large."""
    try:
        with path.open("rb") as file:
            wanted = None if names is None else (*names, _ROWS)
            arrays = formats.decode_arrays(file, wanted)
        if _ROWS not in arrays:
            raise ValueError(f"found arrays {sorted(arrays)}, expected {_ROWS} too")
        return Batch(formats.decode_rows(arrays.pop(_ROWS).tobytes()), arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _damage(path: Path, error: Exception) -> str:
    """Says what is damaged; raises what is no damage, such as a lack of rights."""
    if isinstance(error, OSError) and error.errno != errno.EIO:
        raise error
    return str(error) if str(path) in str(error) else f"{path}: {error}"
