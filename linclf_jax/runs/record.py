"""What a run folder says: its files read together, and checked against each other.

The report is made from this and from nothing else, so that it can be drawn again from
the folder alone, years later, without the training code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import results
from linclf_jax.runs import directory

REQUIRED = ("config.json", "results.jsonl", "flags.txt")
REQUIRED_ONCE_CHOSEN = ("history.npz", "selected.safetensors")


class Record(NamedTuple):
    """A run folder in memory."""

    folder: Path
    config: Mapping[str, Any]
    rows: Sequence[results.Row]
    history: Mapping[str, np.ndarray] | None  # None while the run is unfinished
    selected: Mapping[str, Any] | None  # None when no lane has been chosen
    weights: np.ndarray | None  # (D, C), W of the chosen lane

    @property
    def selected_by(self) -> str:
        """The metric that orders the lanes: the choice's own, or the flag's."""
        if self.selected is not None:
            return self.selected["selected_by"]
        return self.config["flags"].get("select_by", "val_loss")

    @property
    def ranked(self) -> list[results.Row]:
        """The lanes that ended well, best first."""
        return results.rank(self.rows, by=self.selected_by)

    @property
    def choice(self) -> Mapping[str, Any]:
        """``selected.json``, for those who know that it is there."""
        if self.selected is None:
            raise ValueError(f"{self.folder}: no lane has been chosen")
        return self.selected


def read(folder: Path) -> Record:
    """Reads a run folder, finished or not.

    Args:
        folder: a run folder with at least ``config.json``, ``results.jsonl`` and
            ``flags.txt``; ``selected.json`` may be missing, but where it is there the
            history and the chosen classifier must be there too.

    Raises:
        ValueError: a file is missing or damaged, or files do not fit each other.
    """
    chosen = (folder / "selected.json").exists()
    _require(folder, REQUIRED + (REQUIRED_ONCE_CHOSEN if chosen else ()))
    history = folder / "history.npz"
    record = Record(
        folder=folder,
        config=directory.read_json(folder / "config.json"),
        rows=directory.read_rows(folder / "results.jsonl"),
        history=directory.read_arrays(history) if history.exists() else None,
        selected=directory.read_json(folder / "selected.json") if chosen else None,
        weights=_weights(folder) if chosen else None,
    )
    _check(record)
    return record


def _require(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        found = sorted(path.name for path in folder.glob("*")) or "nothing"
        raise ValueError(
            f"{folder} is not a complete run folder: {', '.join(missing)} missing, "
            f"found {found}"
        )


def _check(record: Record) -> None:
    """Refuses files that speak of different runs."""
    lanes = sorted(row["lane"] for row in record.rows)
    if record.history is not None and sorted(record.history["lane"]) != lanes:
        raise ValueError(
            f"{record.folder / 'history.npz'} holds {len(record.history['lane'])} "
            f"lanes, expected the {len(lanes)} lanes of results.jsonl"
        )
    if record.selected is None:
        return
    names = record.config["data"]["class_names"]
    confusion = record.selected["test"]["confusion"]
    if len(confusion) != len(names):
        raise ValueError(
            f"{record.folder / 'selected.json'} has a confusion matrix of "
            f"{len(confusion)} classes, expected the {len(names)} of config.json"
        )
    if record.selected["lane"] not in lanes:
        raise ValueError(
            f"{record.folder / 'selected.json'} chose lane {record.selected['lane']}, "
            f"which results.jsonl does not hold"
        )


def _weights(folder: Path) -> np.ndarray:
    tensors = directory.read_tensors(folder / "selected.safetensors")
    if "W" not in tensors:
        raise ValueError(
            f"{folder / 'selected.safetensors'}: expected a tensor W (D, C), found "
            f"{sorted(tensors)}"
        )
    return np.asarray(tensors["W"])
