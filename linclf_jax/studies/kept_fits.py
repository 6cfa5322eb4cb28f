"""Fits of a path or a probe as files: kept from when they end until the run is sealed.

What comes after them, the test file and the page, may fail; then the same command finds
them here. JSON and ``.npz`` give every number back with all its bits.
"""

import typing
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.params import Params
from linclf_jax.runs import checkpoint, formats
from linclf_jax.runs.checkpoint import Piece
from linclf_jax.selection.cross_validation import CrossValidation
from linclf_jax.studies import folders
from linclf_jax.studies.probe_problem import Fit, Found

PATH = "path"
_PARTS: dict[str, Any] = {
    name: kind
    for name, kind in typing.get_type_hints(CrossValidation).items()
    if issubclass(kind, tuple)
}
_ARRAYS = ("logits", "labels")  # of a ``Fit``, beside its parameters


def load_path(folder: Path) -> CrossValidation | None:
    """Returns the fits of a path that ended before, or None.

    Args:
        folder: The run folder.
    """
    piece = checkpoint.load_piece(folder, PATH, folders.tell, apart=True)
    if piece is None:
        return None
    values: dict[str, Any] = dict(piece.arrays)
    for part, kind in _PARTS.items():
        values[part] = kind(**{f: values.pop(f"{part}.{f}") for f in kind._fields})
    return CrossValidation(**values)


def save_path(folder: Path, found: CrossValidation) -> None:
    """Keeps the fits of a path.

    Args:
        folder: The run folder.
        found: NumPy arrays.
    """
    values = found._asdict()
    for part in _PARTS:
        parts = values.pop(part)._asdict()
        values |= {f"{part}.{field}": array for field, array in parts.items()}
    checkpoint.save_piece(folder, PATH, Piece([], values), apart=True)


def load_probe(folder: Path, number: int) -> Found | None:
    """Returns the fits of a feature set that ended before, or None.

    Args:
        folder: The run folder.
        number: Of the set.
    """
    piece = checkpoint.load_piece(folder, _name(number), folders.tell, apart=True)
    return None if piece is None else _decoded(piece)


def save_probe(folder: Path, number: int, found: Found) -> Found:
    """Keeps the fits of a feature set; returns them as they will be read.

    Args:
        folder: The run folder.
        number: Of the set.
        found: What came of it.
    """
    piece = _encoded(found)
    checkpoint.save_piece(folder, _name(number), piece, apart=True)
    return _decoded(piece)


def _name(number: int) -> str:
    return f"set-{number:03d}"


def _encoded(found: Found) -> Piece:
    arrays = {f"history.{name}": array for name, array in found.history.items()}
    fits = []
    for number, fit in enumerate(found.fits):
        values = fit._asdict()
        own = {**values.pop("params")._asdict(), **{n: values.pop(n) for n in _ARRAYS}}
        arrays |= {
            f"fit-{number}.{name}": np.asarray(array)
            for name, array in own.items()
            if array is not None
        }
        fits.append(values)
    return Piece([formats.plain({"rows": found.rows, "fits": fits})], arrays)


def _decoded(piece: Piece) -> Found:
    (told,) = piece.rows
    fits = []
    for number, values in enumerate(told["fits"]):
        own = _group(piece.arrays, f"fit-{number}.")
        fits.append(
            Fit(
                params=Params(own["W"], own["b"]),
                **{name: own.get(name) for name in _ARRAYS},
                **{**values, "warnings": tuple(values["warnings"])},
            )
        )
    return Found(told["rows"], _group(piece.arrays, "history."), tuple(fits))


def _group(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
