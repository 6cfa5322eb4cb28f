"""What a run folder says: its files read together, and checked against each other.

The report is made from this and from nothing else, so that it can be drawn again from
the folder alone, years later, without the training code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.runs import checkpoint, directory
from linclf_jax.selection import ranking

REQUIRED = ("config.json", "flags.txt")
REQUIRED_ONCE_TRAINED = ("results.jsonl",)
REQUIRED_ONCE_CHOSEN = ("history.npz", "selected.safetensors")
CURVES = ("train_loss", "val_loss", "val_accuracy")
TABLE = "table.json"  # of runs that choose for several combinations, see ``--table``


class Record(NamedTuple):
    """A run folder in memory."""

    folder: Path
    config: Mapping[str, Any]
    rows: Sequence[ranking.Row]
    history: Mapping[str, np.ndarray] | None  # None while the run is unfinished
    selected: Mapping[str, Any] | None  # None when no lane has been chosen
    weights: np.ndarray | None  # (D, C), W of the chosen classifier
    training: bool  # rows and curves are of finished pieces, more lanes may come
    notes: Sequence[str]  # what could not be read of an unfinished run
    sealed: bool  # the run is finished, whether or not a lane has been chosen
    table: Sequence[Mapping[str, Any]] = ()  # cells of table.json, each with a choice

    @property
    def selected_by(self) -> str:
        """The metric that orders the lanes: the choice's own, or the flag's."""
        if self.selected is not None:
            return self.selected["selected_by"]
        return self.config["flags"].get("select_by", "val_loss")

    @property
    def shard(self) -> tuple[int, int] | None:
        """Of a finished shard, which chooses nothing: its index, and of how many."""
        count = self.config["flags"].get("num_shards", 1)
        is_shard = self.sealed and self.selected is None and count > 1
        return (self.config["flags"]["shard_index"], count) if is_shard else None

    @property
    def ranked(self) -> list[ranking.Row]:
        """The lanes that ended well, best first."""
        return ranking.rank(self.rows, by=self.selected_by)

    @property
    def differing(self) -> list[str]:
        """In what lanes differ; in ``C`` too, where penalties were given so."""
        flags = self.config["flags"]
        # The folds of one setting have a C each.
        given = flags.get("C") is not None and not flags.get("folds")
        return ranking.varying(self.rows, also=("C",) if given else ())

    @property
    def choice(self) -> Mapping[str, Any]:
        """``selected.json``, for those who know that it is there."""
        if self.selected is None:
            raise ValueError(f"{self.folder}: no lane has been chosen")
        return self.selected

    @property
    def repeats(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Mean and spread of the chosen setting, where it was trained repeatedly."""
        repeats = (self.selected or {}).get("repeats")
        several = repeats and repeats[self.selected_by]["count"] > 1
        return repeats if several else None

    @property
    def chosen_rows(self) -> list[ranking.Row]:
        """The good lanes of the chosen setting, the chosen lane first."""
        if self.selected is None:
            return []
        lane, setting = self.selected["lane"], ranking.settings(self.selected["row"])
        good = [row for row in self.rows if row["status"] == "ok"]
        same = [row for row in good if ranking.settings(row) == setting]
        return sorted(same, key=lambda row: row["lane"] != lane)


def experiment(folder: Path) -> str | None:
    """The script that made a run folder; None of any other folder.

    Args:
        folder: any.

    Raises:
        ValueError: its ``config.json`` is damaged.
    """
    config = folder / directory.CONFIG
    return directory.read_json(config).get("experiment") if config.is_file() else None


def read(folder: Path) -> Record:
    """Reads a run folder, finished or not.

    Where there is no ``results.jsonl`` yet, rows and curves are those of the finished
    pieces, and the curves of lanes with fewer epochs than others end in NaN.

    Args:
        folder: a run folder with at least ``config.json`` and ``flags.txt``;
            ``selected.json`` may be missing, but where it is there the rows, the
            history and the chosen classifier must be there too.

    Raises:
        ValueError: a file is missing or damaged, or files do not fit each other, or an
            unfinished run has not finished a piece yet.
    """
    chosen = (folder / "selected.json").exists()
    sealed = (folder / directory.MANIFEST).exists()
    trained = chosen or sealed or (folder / "results.jsonl").exists()
    require(
        folder,
        REQUIRED
        + (REQUIRED_ONCE_TRAINED if trained else ())
        + (REQUIRED_ONCE_CHOSEN if chosen else ()),
    )
    notes: list[str] = []
    rows, history = _whole(folder) if trained else _pieces(folder, notes)
    record = Record(
        folder=folder,
        config=directory.read_json(folder / "config.json"),
        rows=rows,
        history=history,
        selected=directory.read_json(folder / "selected.json") if chosen else None,
        weights=weights(folder) if chosen else None,
        training=not trained,
        notes=notes,
        sealed=sealed,
        table=_table(folder) if chosen else (),
    )
    _check(record)
    return record


def _table(folder: Path) -> Sequence[Mapping[str, Any]]:
    path = folder / TABLE
    return directory.read_json(path)["cells"] if path.exists() else ()


def _whole(folder: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray] | None]:
    history = folder / "history.npz"
    curves = directory.read_arrays(history) if history.exists() else None
    return directory.read_rows(folder / "results.jsonl"), curves


def _pieces(
    folder: Path, notes: list[str]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Rows and curves of the finished pieces; ``notes`` is told of damaged ones."""
    pieces = list(checkpoint.each(folder, ("lane", *CURVES), notes.append))
    if not pieces:
        raise ValueError(
            f"{folder} is unfinished: it has no results.jsonl and no finished piece yet"
            + "".join(f"; {note}" for note in notes)
        )
    return checkpoint.merged_rows(pieces), merged_curves(p.arrays for p in pieces)


def merged_curves(
    pieces: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """The curves of several pieces as one history, in the order of the lanes.

    Args:
        pieces: ``lane`` (L,) and the ``CURVES`` (L, E) of each, from the earliest to
            the latest, which has the last word on a lane. E may differ.

    Returns:
        ``lane`` (L,) and ``CURVES`` (L, E), E the largest; shorter curves end
        in NaN.
    """
    latest = {
        int(lane): (arrays, index)
        for arrays in pieces
        for index, lane in enumerate(arrays["lane"])
    }
    history = {"lane": np.array(sorted(latest))}
    for name in CURVES:
        curves = [latest[lane][0][name][latest[lane][1]] for lane in sorted(latest)]
        shape = len(curves), max(map(len, curves))
        history[name] = np.full(shape, np.nan, np.result_type(*curves))
        for row, curve in zip(history[name], curves, strict=True):
            row[: len(curve)] = curve
    return history


def require(folder: Path, names: Sequence[str]) -> None:
    """Refuses a folder that lacks files.

    Args:
        folder: a run folder.
        names: of the files that must be there.

    Raises:
        ValueError: some are missing, with their names and what is there instead.
    """
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
        where = "the finished pieces" if record.training else "history.npz"
        odd = sorted(set(lanes) ^ set(record.history["lane"].tolist()))[:5]
        raise ValueError(
            f"{record.folder}: found curves of {len(record.history['lane'])} lanes in "
            f"{where}, expected those of the {len(lanes)} lanes of the rows; either "
            f"lacks lanes {odd}"
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
    # A classifier that was trained again on all rows is no lane of the sweep.
    if record.selected["lane"] not in (*lanes, None):
        raise ValueError(
            f"{record.folder / 'selected.json'} chose lane {record.selected['lane']}, "
            f"which results.jsonl does not hold"
        )


def weights(folder: Path) -> np.ndarray:
    """Returns W ``(D, C)`` of the chosen classifier.

    Args:
        folder: a run folder with a choice.

    Raises:
        ValueError: ``selected.safetensors`` is damaged, or holds no W.
    """
    tensors = directory.read_tensors(folder / "selected.safetensors")
    if "W" not in tensors:
        raise ValueError(
            f"{folder / 'selected.safetensors'}: expected a tensor W (D, C), found "
            f"{sorted(tensors)}"
        )
    return np.asarray(tensors["W"])
