"""What a run has done so far: its finished pieces, and states of unfinished ones.

A *piece* is a group of lanes that were trained together. Once finished it lies in
``pieces/NAME.npz``, rows and arrays in one file, whole or absent. While it is trained,
``pieces/NAME.state-STEP.npz`` holds what its training goes on from; two of them are
kept, for the case that one is damaged.

Damage shows by the checksums of the format. A damaged file is set aside as
``*.damaged`` and reported, and what it held is computed again: no run ends by it.
"""

import contextlib
import errno
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from linclf_jax.runs import directory, disk, formats

FOLDER = "pieces"
_ROWS = "rows"  # the array that holds the rows, as the bytes of JSON lines
_KEPT = 2  # states of a piece
_APART = ".apart"

Report = Callable[[str], None]  # takes one sentence for a person


class Piece(NamedTuple):
    """Finished lanes: their rows of results, and arrays with lanes in front."""

    rows: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]


class Store(Protocol):
    """Where finished trials and the states of unfinished ones are kept."""

    def save_piece(self, name: str, piece: Piece, *, apart: bool = False) -> None:
        """Keeps a finished piece; from the moment this returns it is durable."""
        ...

    def load_piece(self, name: str, *, apart: bool = False) -> Piece | None:
        """Returns a finished piece, or None if it is not there or was damaged."""
        ...

    def pieces(self, names: Iterable[str]) -> Iterator[Piece]:
        """Yields the finished pieces that are not apart, with some of their arrays."""
        ...

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns what the latest finished piece that holds a trial has of it."""
        ...

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Keeps what an unfinished piece goes on from."""
        ...

    def load_state(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Returns the step and the tree of the newest state, or None."""
        ...

    def drop_states(self, name: str) -> None:
        """Removes the states of a piece, once it is finished."""
        ...

    def clear(self) -> None:
        """Removes all pieces and states."""
        ...


def save_piece(run: Path, name: str, piece: Piece, *, apart: bool = False) -> None:
    """Writes a finished piece; from the moment this returns it is durable.

    Args:
        run: The run folder.
        name: Of the piece: letters, digits, ``-`` and ``_``. Of two pieces that hold a
            lane, the one whose name sorts later is the later one.
        piece: None of its arrays is called ``rows``.
        apart: Of no numbered lanes: only ``load_piece`` sees it.
    """
    if _ROWS in piece.arrays:
        raise ValueError(f"piece {name} has an array {_ROWS!r}, a name that is taken")
    rows = np.frombuffer(formats.encode_rows(piece.rows), np.uint8)
    path = _path(run, f"{name}{_APART * apart}", name)
    _make_folder(run)
    directory.write(path, {**piece.arrays, _ROWS: rows})


def load_piece(
    run: Path, name: str, report: Report, *, apart: bool = False
) -> Piece | None:
    """Returns a finished piece, or None if it is not there or was damaged.

    Args:
        run: The run folder.
        name: Of the piece.
        report: Is told of a damaged file, which is set aside.
        apart: As in ``save_piece``.
    """
    path = _path(run, f"{name}{_APART * apart}", name)
    try:
        return _piece(directory.read(path))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        _set_aside(path, error, "it is trained again", report)
        return None


def load_lane(run: Path, lane: int, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns what the latest finished piece that holds a lane has of it.

    Args:
        run: The run folder.
        lane: Its number.
        names: The arrays to take from; each result has no axis of lanes.

    Raises:
        ValueError: No piece holds the lane, or the one that does is damaged.
    """
    for path in reversed(_pieces(run)):
        rows = _read(path, ()).rows
        places = [i for i, row in enumerate(rows) if row["trial"] == lane]
        if places:
            arrays = _read(path, names).arrays
            return {name: arrays[name][places[0]] for name in names}
    raise ValueError(f"{run / FOLDER}: found no piece that holds lane {lane}")


def each(run: Path, names: Iterable[str], report: Report) -> Iterator[Piece]:
    """Yields the finished pieces in the order of their names; changes nothing on disk.

    Args:
        run: The run folder; another process may be writing it.
        names: The arrays to read; the others, which may be large, are not touched.
        report: Is told of each damaged file, which is left out.
    """
    for path in _pieces(run):
        try:
            yield _read(path, names)
        except FileNotFoundError:  # the run has just ended, and cleared its pieces
            continue
        except (ValueError, OSError) as error:
            _check_damage(error)
            report(f"{_sentence(path, error)}; it is left out here")


def rows(run: Path, report: Report) -> list[dict[str, Any]]:
    """Returns the rows of all finished pieces in the order of their lanes.

    Args:
        run: The run folder.
        report: As in ``each``.
    """
    return merged_rows(each(run, (), report))


def merged_rows(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """Returns the rows of pieces in the order of their lanes.

    Args:
        pieces: From the earliest to the latest, which has the last word on a lane.
    """
    latest = {row["trial"]: row for piece in pieces for row in piece.rows}
    return [latest[lane] for lane in sorted(latest)]


def save_state(run: Path, name: str, step: int, tree: Any) -> None:
    """Writes a state of an unfinished piece, then drops all but the newest two.

    Args:
        run: The run folder.
        name: Of the piece.
        step: The updates made so far, more than at the last save.
        tree: A pytree of arrays, without typed keys.
    """
    path = _path(run, f"{name}.state-{step}", name)
    _make_folder(run)
    leaves = zip(*_named_leaves(tree), strict=True)
    directory.write(path, {key: np.asarray(leaf) for key, leaf in leaves})
    for _, old in _states(run, name)[:-_KEPT]:
        old.unlink()


def load_state(
    run: Path, name: str, like: Any, report: Report
) -> tuple[int, Any] | None:
    """Returns the step and the tree of the newest state that is whole, or None.

    Args:
        run: The run folder.
        name: Of the piece.
        like: A pytree of the same structure; its leaves have shapes and dtypes.
        report: Is told of damaged files, which are set aside, and of files that hold
            other arrays than ``like``, which are treated alike.
    """
    found, damaged = None, []
    for step, path in reversed(_states(run, name)):
        try:
            found = step, _unflatten(directory.read(path), like)
            break
        except (ValueError, OSError) as error:
            damaged.append((path, error))
    start = "the start" if found is None else f"step {found[0]}"
    for path, error in damaged:
        _set_aside(path, error, f"going on from {start}", report)
    return found


def drop_states(run: Path, name: str) -> None:
    """Removes the states of a piece, once it is finished.

    Args:
        run: The run folder.
        name: Of the piece.
    """
    for _, path in _states(run, name):
        path.unlink()


def clear(run: Path) -> None:
    """Removes all pieces and states, once what they held has been written elsewhere.

    Args:
        run: The run folder.
    """
    folder = run / FOLDER
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def tidy(run: Path) -> None:
    """Removes what a sealed run was killed before it had removed; see ``clear``.

    Args:
        run: The run folder, sealed or not; pieces that were sealed with it are kept.
    """
    if not (run / directory.MANIFEST).is_file() or not (run / FOLDER).is_dir():
        return
    # What does not look like a sealed run may be somebody else's: nothing is removed.
    with contextlib.suppress(ValueError):
        if not any(name.startswith(f"{FOLDER}/") for name in directory.verify(run)):
            clear(run)


def _path(run: Path, stem: str, name: str | None = None) -> Path:
    name = stem if name is None else name
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"found piece name {name!r}, expected letters, digits, - or _")
    return run / FOLDER / f"{stem}.npz"


def _make_folder(run: Path) -> None:
    if not (run / FOLDER).exists():
        (run / FOLDER).mkdir(exist_ok=True)
        disk.sync_folder(run)  # or a power cut takes the folder with its files


def _states(run: Path, name: str) -> list[tuple[int, Path]]:
    """Returns the states of a piece by their steps, the newest last."""
    pattern = re.compile(r".*\.state-(\d+)\.npz")
    paths = (run / FOLDER).glob(f"{name}.state-*.npz")
    return sorted((int(m[1]), p) for p in paths if (m := pattern.fullmatch(p.name)))


def _pieces(run: Path) -> list[Path]:
    """Returns the files of the finished pieces in the order of their names."""
    paths = (p for p in (run / FOLDER).glob("*.npz") if "." not in p.stem)
    return sorted(paths, key=lambda path: path.stem)


def _read(path: Path, names: Iterable[str]) -> Piece:
    """Reads some arrays of a piece; the others, which may be large, stay untouched."""
    with path.open("rb") as file:
        return _piece(formats.decode_some_arrays(file, (*names, _ROWS)))


def _piece(arrays: dict[str, np.ndarray]) -> Piece:
    if _ROWS not in arrays:
        raise ValueError(f"found arrays {sorted(arrays)}, expected {_ROWS} too")
    return Piece(formats.decode_rows(arrays.pop(_ROWS).tobytes()), arrays)


def _unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """Returns the arrays as a pytree like ``like``; ValueError if they do not fit."""
    names, leaves = _named_leaves(like)
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    expected = {
        name: (leaf.shape, leaf.dtype) for name, leaf in zip(names, leaves, strict=True)
    }
    wrong = {n for n in {*found, *expected} if found.get(n) != expected.get(n)}
    if wrong:
        name = min(wrong)
        raise ValueError(
            f"{len(wrong)} arrays are not as expected, the first is {name}: found "
            f"{found.get(name)}, expected {expected.get(name)}"
        )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[n] for n in names])


def _named_leaves(tree: Any) -> tuple[Sequence[str], Sequence[Any]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths
    ]
    return names, [leaf for _, leaf in paths]


def _set_aside(path: Path, error: Exception, consequence: str, report: Report) -> None:
    _check_damage(error)
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    report(f"{_sentence(path, error)}; set aside as {aside.name}, {consequence}")


def _check_damage(error: Exception) -> None:
    """Passes on what is no damage, such as a file that may not be read."""
    if isinstance(error, OSError) and error.errno != errno.EIO:
        raise error


def _sentence(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"
