"""What a run directory says: its files read together, and checked against each other.

The page is made from this and from nothing else, so that it can be drawn again from
the directory alone, years later, without the code that fitted anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.runs import checkpoint, directory, schema, store
from linclf_jax.runs.schema import Entry, Selected
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

REQUIRED = ("config.json", "flags.txt")
REQUIRED_ONCE_FITTED = (schema.RESULTS,)
REQUIRED_ONCE_SELECTED = (schema.HISTORY, schema.MODEL)


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


def study(path: Path) -> str | None:
    """Returns the script that made a run directory; None of any other directory.

    Args:
        path: Any directory.

    Raises:
        ValueError: Its ``config.json`` is damaged.
    """
    config = path / directory.CONFIG
    return directory.read(config).get("experiment") if config.is_file() else None


def read(path: Path) -> Record:
    """Reads a run directory, finished or not.

    Where there is no ``results.jsonl`` yet, rows and curves are those of the finished
    batches, and the curves of trials with fewer epochs than others end in NaN.

    Args:
        path: A run directory with at least ``config.json`` and ``flags.txt``;
            ``selected.json`` may be missing, but where it is there the rows, the
            history and the chosen classifier must be there too.

    Raises:
        ValueError: A file is missing or damaged, or files do not fit each other, or an
            unfinished run has not finished a batch yet.
    """
    has_selected = (path / schema.SELECTED).exists()
    sealed = (path / directory.MANIFEST).exists()
    fitted = has_selected or sealed or (path / schema.RESULTS).exists()
    require(
        path,
        REQUIRED
        + (REQUIRED_ONCE_FITTED if fitted else ())
        + (REQUIRED_ONCE_SELECTED if has_selected else ()),
    )
    notes: list[str] = []
    rows, history = _whole(path) if fitted else _batches(path, notes)
    record = Record(
        directory=path,
        config=directory.read(path / "config.json"),
        rows=rows,
        history=history,
        selected=directory.read(path / schema.SELECTED) if has_selected else None,
        weights=_weights(path) if has_selected else None,
        fitting=not fitted,
        notes=notes,
        sealed=sealed,
    )
    _check(record)
    return record


def require(path: Path, names: Sequence[str]) -> None:
    """Refuses a directory that lacks files.

    Args:
        path: A run directory.
        names: Of the files that must be there.

    Raises:
        ValueError: Some are missing, with their names and what is there instead.
    """
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        there = sorted(file.name for file in path.glob("*")) or "nothing"
        raise ValueError(
            f"{path} is not a complete run directory: {', '.join(missing)} missing, "
            f"found {there}"
        )


def merged_curves(
    batches: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Returns the curves of several batches as one history, in the order of the trials.

    Args:
        batches: ``trial (L,)`` and the ``CURVES (L, E)`` of each, from the earliest to
            the latest, which has the last word on a trial. E may differ.

    Returns:
        ``trial (L,)`` and ``CURVES (L, E)``, E the largest; shorter curves end in NaN.
    """
    latest = {
        int(trial): (arrays, index)
        for arrays in batches
        for index, trial in enumerate(arrays["trial"])
    }
    history = {"trial": np.array(sorted(latest))}
    for name in schema.CURVES:
        curves = [latest[trial][0][name][latest[trial][1]] for trial in sorted(latest)]
        shape = len(curves), max(map(len, curves))
        history[name] = np.full(shape, np.nan, np.result_type(*curves))
        for row, curve in zip(history[name], curves, strict=True):
            row[: len(curve)] = curve
    return history


def _whole(path: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray] | None]:
    history = path / schema.HISTORY
    arrays = directory.read(history) if history.exists() else None
    return directory.read(path / schema.RESULTS), arrays


def _batches(
    path: Path, notes: list[str]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray] | None]:
    """Returns rows and curves of the finished batches, and notes the damaged ones."""
    batches = list(checkpoint.each(path, ("trial", *schema.CURVES), notes.append))
    if not batches:
        raise ValueError(
            f"{path} is unfinished: it has no {schema.RESULTS} and no finished batch "
            "yet" + "".join(f"; {note}" for note in notes)
        )
    curves = [batch.arrays for batch in batches if "trial" in batch.arrays]
    rows = store.merged_rows(batches)
    return rows, merged_curves(curves) if curves else None


def _weights(path: Path) -> np.ndarray:
    tensors, _ = directory.read(path / schema.MODEL)
    if "W" not in tensors:
        raise ValueError(
            f"{path / schema.MODEL}: expected a tensor W (D, C), found "
            f"{sorted(tensors)}"
        )
    return np.asarray(tensors["W"])


def _check(record: Record) -> None:
    """Refuses files that speak of different runs, or as another version did."""
    if any("trial" not in row for row in record.rows):
        version = record.config.get("environment", {}).get("linclf_jax", "another")
        raise ValueError(
            f"{record.directory / schema.RESULTS} has rows without a column trial: it "
            f"was written by version {version} of linclf_jax, which reads it"
        )
    trials = sorted(row["trial"] for row in record.rows)
    if record.history is not None and "trial" in record.history:
        known = record.history["trial"].tolist()
        if sorted(known) != trials:
            where = "the finished batches" if record.fitting else schema.HISTORY
            odd = sorted(set(trials) ^ set(known))[:5]
            raise ValueError(
                f"{record.directory}: found curves of {len(known)} trials in {where}, "
                f"expected those of the {len(trials)} trials of the rows; either lacks "
                f"trials {odd}"
            )
    if record.selected is not None:
        _check_selected(record, record.selected, {*trials})


def _check_selected(record: Record, selected: Selected, trials: set[int]) -> None:
    where, entries = record.directory / schema.SELECTED, selected["entries"]
    for index in (selected["chosen"], *selected["chosen_ties"]):
        if not 0 <= index < len(entries) or entries[index].get("failure"):
            raise ValueError(
                f"{where}: found the choice of entry {index} of {len(entries)}, "
                "expected one that has a classifier"
            )
    count = len(record.config["data"]["class_names"])
    for index, entry in enumerate(entries):
        if entry.get("failure"):
            continue
        _check_entry(f"{where}: entry {index}", entry, count, trials)
        if record.history is not None and "trial" not in record.history:
            _check_path(record, index, record.history)
    names = {entry["group"].get("features") for entry in entries}
    for pair in selected["comparisons"]:
        if odd := {pair["first"], pair["second"]} - names:
            raise ValueError(
                f"{where}: a comparison names {min(odd)}, expected one of "
                f"{sorted(map(str, names))}"
            )


def _check_entry(where: str, entry: Entry, count: int, trials: set[int]) -> None:
    missing = sorted(
        {"row", "trial", "trials", "reason", "validation", "test"} - set(entry)
    )
    if missing:
        raise ValueError(f"{where} has no {', '.join(missing)}")
    size = len(entry["test"]["confusion"])
    if size != count:
        raise ValueError(
            f"{where} has a confusion matrix of {size} classes, expected the {count} "
            "of config.json"
        )
    # A classifier that was fitted again on all rows is no trial of the run.
    if odd := {entry["trial"], *entry["trials"]} - trials - {None}:
        raise ValueError(
            f"{where} names trial {min(odd)}, which {schema.RESULTS} does not hold"
        )


def _check_path(record: Record, index: int, history: Mapping[str, np.ndarray]) -> None:
    where = f"{record.directory / schema.HISTORY}: entry {index}"
    nothing = np.empty(())
    shapes = {
        name: history.get(f"{index}.{name}", nothing).shape for name in schema.PATH
    }
    size = shapes["l2s"]
    if odd := {
        name: shape for name, shape in shapes.items() if shape != size or not size
    }:
        name, shape = next(iter(odd.items()))
        raise ValueError(
            f"{where} has {name} of shape {shape}, expected {size or '(K,)'}"
        )
