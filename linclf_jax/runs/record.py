"""What a run directory says: its files read together, and checked against each other.

The page is made from this and from nothing else, so that it can be drawn again from
the directory alone, years later, without the code that fitted anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.runs import checkpoint, directory, schema, store
from linclf_jax.runs.schema import Entry, Selected
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row


class Record(NamedTuple):
    """A run directory in memory."""

    directory: Path
    config: Mapping[str, Any]
    rows: Sequence[Row]
    history: Mapping[str, np.ndarray] | None  # None while there are no curves
    selected: Selected | None  # None where no setting has been chosen
    weights: np.ndarray | None  # (D, C), W of the chosen classifier
    fitting: bool  # rows are of finished batches, more trials may come
    notes: Sequence[str]  # what could not be read of an unfinished run
    sealed: bool  # the run is finished, whether or not a setting has been chosen

    @property
    def metric(self) -> str:
        """What orders the trials: the selection's own metric, or the flag's."""
        if self.selected is not None:
            return self.selected["metric"]
        return self.config["flags"].get("metric") or "val_loss"

    @property
    def shard(self) -> tuple[int, int] | None:
        """Of a finished shard, which selects nothing: its index, and of how many."""
        count = self.config["flags"].get("num_shards", 1)
        is_shard = self.sealed and self.selected is None and count > 1
        return (self.config["flags"]["shard_index"], count) if is_shard else None

    @property
    def chosen(self) -> Entry | None:
        """The entry whose classifier is in ``selected.safetensors``."""
        if self.selected is None:
            return None
        return self.selected["entries"][self.selected["chosen"]]

    @property
    def tested(self) -> list[Entry]:
        """The entries that have a classifier."""
        entries = [] if self.selected is None else self.selected["entries"]
        return [entry for entry in entries if not entry.get("failure")]

    @property
    def is_exact(self) -> bool:
        """Whether the trials are solved, and not trained."""
        return bool(self.rows) and "relative_gap" in self.rows[0]

    @property
    def keeps_best(self) -> bool:
        """Whether trials that are trained keep their best epoch, and not the last."""
        return self.config["flags"].get("keep") == "best"

    @property
    def ranked(self) -> list[Row]:
        """The usable trials that were compared, best first."""
        return ranking.rank(self.rows, metric=self.metric)

    @property
    def differing(self) -> list[str]:
        """In what trials differ; in ``C`` too, where penalties were given so."""
        flags = self.config["flags"]
        # The folds of one setting have a C each.
        by_inverse = flags.get("C") is not None and not flags.get("folds")
        return ranking.varying(self.rows, also=("C",) if by_inverse else ())


def read(path: Path) -> Record:
    """Reads a run directory, finished or not.

    Where there is no ``results.jsonl`` yet, rows and curves are those of the finished
    batches. ``selected.json`` may be missing, but where it is there the rows, the
    history and the chosen classifier must be there too.

    Raises:
        ValueError: A file is missing or damaged, or files do not fit each other, or an
            unfinished run has not finished a batch yet.
    """
    selected = (path / schema.SELECTED).exists()
    sealed = (path / directory.MANIFEST).exists()
    fitted = selected or sealed or (path / schema.RESULTS).exists()
    _require(path, directory.CONFIG, "flags.txt")
    if fitted:
        _require(path, schema.RESULTS)
    if selected:
        _require(path, schema.HISTORY, schema.MODEL)
    notes: list[str] = []
    rows, history = _whole(path) if fitted else _unfinished(path, notes)
    record = Record(
        directory=path,
        config=directory.read(path / directory.CONFIG),
        rows=rows,
        history=history,
        selected=directory.read(path / schema.SELECTED) if selected else None,
        weights=_weights(path) if selected else None,
        fitting=not fitted,
        notes=notes,
        sealed=sealed,
    )
    for fault in _faults(record):
        raise ValueError(f"{path}: {fault}")
    return record


def _require(path: Path, *names: str) -> None:
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        there = sorted(file.name for file in path.glob("*")) or "nothing"
        raise ValueError(
            f"{path} is not a complete run directory: {', '.join(missing)} missing, "
            f"found {there}"
        )


def _whole(path: Path) -> tuple[list[Row], Mapping[str, np.ndarray] | None]:
    history = path / schema.HISTORY
    arrays = directory.read(history) if history.exists() else None
    return directory.read(path / schema.RESULTS), arrays


def _unfinished(
    path: Path, notes: list[str]
) -> tuple[list[Row], Mapping[str, np.ndarray] | None]:
    """Returns rows and curves of the finished batches, and notes the damaged ones."""
    disk = checkpoint.DiskStore(path, report=notes.append)
    rows, history = store.merged(disk.batches(("trial", *schema.CURVES)))
    if not rows:
        raise ValueError(
            f"{path} is unfinished: it has no {schema.RESULTS} and no finished batch "
            "yet" + "".join(f"; {note}" for note in notes)
        )
    return [*rows], history


def _weights(path: Path) -> np.ndarray:
    tensors, _ = directory.read(path / schema.MODEL)
    if "W" not in tensors:
        raise ValueError(
            f"{path / schema.MODEL}: expected a tensor W (D, C), found "
            f"{sorted(tensors)}"
        )
    return np.asarray(tensors["W"])


def _faults(record: Record) -> Iterator[str]:
    """Yields where files speak of different runs, or as another version did."""
    if any("trial" not in row for row in record.rows):
        version = record.config.get("environment", {}).get("linclf_jax", "another")
        yield (
            f"{schema.RESULTS} has rows without a column trial: it was written by "
            f"version {version} of linclf_jax, which reads it"
        )
    trials = {row["trial"] for row in record.rows}
    if record.history is not None and "trial" in record.history:
        known = record.history["trial"].tolist()
        if odd := sorted(trials ^ {*known})[:5]:
            where = "the finished batches" if record.fitting else schema.HISTORY
            yield (
                f"found curves of {len(known)} trials in {where}, expected those of "
                f"the {len(trials)} trials of the rows; either lacks trials {odd}"
            )
    if record.selected is not None:
        yield from _selection_faults(record.selected)
        for index, entry in enumerate(record.selected["entries"]):
            if not entry.get("failure"):
                faults = _entry_faults(record, index, entry, trials)
                yield from (f"{schema.SELECTED}: entry {index} {f}" for f in faults)


def _selection_faults(selected: Selected) -> Iterator[str]:
    entries = selected["entries"]
    for index in (selected["chosen"], *selected["chosen_ties"]):
        if not 0 <= index < len(entries) or entries[index].get("failure"):
            yield (
                f"{schema.SELECTED}: found the choice of entry {index} of "
                f"{len(entries)}, expected one that has a classifier"
            )
    names = {entry["group"].get("features") for entry in entries}
    for pair in selected["comparisons"]:
        if odd := {pair["first"], pair["second"]} - names:
            yield (
                f"{schema.SELECTED}: a comparison names {min(odd)}, expected one of "
                f"{sorted(map(str, names))}"
            )


def _entry_faults(
    record: Record, index: int, entry: Entry, trials: set[int]
) -> Iterator[str]:
    required = {"row", "trial", "trials", "reason", "validation", "test"}
    if missing := sorted(required - set(entry)):
        yield f"has no {', '.join(missing)}"
    size, count = (
        len(names)
        for names in (entry["test"]["confusion"], record.config["data"]["class_names"])
    )
    if size != count:
        yield (
            f"has a confusion matrix of {size} classes, expected the {count} of "
            f"{directory.CONFIG}"
        )
    # A classifier that was fitted again on all rows is no trial of the run.
    if odd := {entry["trial"], *entry["trials"]} - trials - {None}:
        yield f"names trial {min(odd)}, which {schema.RESULTS} does not hold"
    history = record.history
    if history is None or "trial" in history:
        return
    shapes = {name: np.shape(history.get(f"{index}.{name}", 0)) for name in schema.PATH}
    expected = shapes["l2s"]
    for name, shape in shapes.items():
        if shape != expected or not shape:
            yield (
                f"has {name} of shape {shape} in {schema.HISTORY}, expected "
                f"{expected or '(K,)'}"
            )
