"""Finished pieces of a run, kept in its folder until the whole is written.

A piece is a pytree of arrays. It lies in ``pieces/NUMBER.npz``, written whole; the
format's own checksums show a damaged one.
"""

from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from linclf_jax.runs import directory

_FOLDER = "pieces"
Piece = TypeVar("Piece")


def save(run: Path, number: int, piece: Any) -> None:
    """Writes a finished piece; from the moment this returns it is durable.

    Args:
        run: The run folder.
        number: Of the piece.
        piece: A pytree of arrays.
    """
    (run / _FOLDER).mkdir(exist_ok=True)
    leaves = {
        name: np.asarray(leaf) for name, leaf in zip(*_named_leaves(piece), strict=True)
    }
    directory.write_arrays(_path(run, number), leaves)


def load(run: Path, number: int, like: Piece) -> Piece | None:
    """Returns a finished piece as NumPy arrays, or None if it is not there.

    Args:
        run: The run folder.
        number: Of the piece.
        like: A pytree of the same structure; its leaves have shapes and dtypes.

    Raises:
        ValueError: The file is damaged, or holds other arrays than expected.
    """
    path = _path(run, number)
    if not path.exists():
        return None
    arrays = directory.read_arrays(path)
    names, leaves = _named_leaves(like)
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    expected = {
        name: (leaf.shape, leaf.dtype) for name, leaf in zip(names, leaves, strict=True)
    }
    wrong = {n for n in {*found, *expected} if found.get(n) != expected.get(n)}
    if wrong:
        name = min(wrong)
        raise ValueError(
            f"{path}: {len(wrong)} arrays are not as expected, the first is {name}: "
            f"found {found.get(name)}, expected {expected.get(name)}"
        )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[n] for n in names])


def clear(run: Path) -> None:
    """Removes all pieces, once what they held has been written elsewhere.

    Args:
        run: The run folder.
    """
    folder = run / _FOLDER
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def _path(run: Path, number: int) -> Path:
    return run / _FOLDER / f"{number:06d}.npz"


def _named_leaves(tree: Any) -> tuple[list[str], list[Any]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths
    ]
    return names, [leaf for _, leaf in paths]
