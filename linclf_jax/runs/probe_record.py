"""What the run folder of a probe says, checked and put in order.

An entry is one feature set with one number of shots; its runs are its seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linclf_jax.runs import directory, record

EXPERIMENT = "probe"
REQUIRED = (
    *record.REQUIRED,
    *record.REQUIRED_ONCE_TRAINED,
    *record.REQUIRED_ONCE_CHOSEN,
    "selected.json",
)
ENTRY = ("features", "shots", "num_rows", "num_features", "validation", "test", "runs")
Entry = Mapping[str, Any]


def read(folder: Path) -> record.Record:
    """Reads the run folder of a probe that has been tested.

    Args:
        folder: a run folder with all the files in ``REQUIRED``.

    Raises:
        ValueError: a file is missing or damaged, or files do not fit each other.
    """
    record.require(folder, REQUIRED)
    run = record.Record(
        folder=folder,
        config=directory.read(folder / "config.json"),
        rows=directory.read(folder / "results.jsonl"),
        history=directory.read(folder / "history.npz"),
        selected=directory.read(folder / "selected.json"),
        weights=record.weights(folder),
        training=False,
        notes=(),
        sealed=(folder / directory.MANIFEST).exists(),
    )
    _check(run)
    return run


def entries(run: record.Record) -> Sequence[Entry]:
    """The entries, in the order of the command line.

    Args:
        run: of a probe.
    """
    return run.choice["entries"]


def chosen(run: record.Record) -> Entry:
    """The entry that did best on rows that were held out.

    Args:
        run: of a probe.
    """
    return entries(run)[run.choice["chosen"]]


def shots(entry: Entry) -> str:
    """How many rows of each class an entry is of, in plain text.

    Args:
        entry: of a probe.
    """
    count = entry["shots"]
    if count is None:
        return "all rows"
    return f"{count:,} shot{'s' if count != 1 else ''}"


def name(entry: Entry) -> str:
    """What an entry is called on the page.

    Args:
        entry: of a probe.
    """
    few = "" if entry["shots"] is None else f", {shots(entry)}"
    return f"{entry['features']}{few}"


def ties(selected: Mapping[str, Any]) -> str:
    """Which entries tie with the chosen one and why it was chosen; empty without.

    Args:
        selected: ``selected.json`` of a probe. Without ``chosen_ties``, as before they
            were recorded, nothing is known of them.
    """
    tied = selected.get("chosen_ties", [])
    if not tied:
        return ""
    found, by = selected["entries"], selected["selected_by"]
    first, *others = (found[place] for place in (selected["chosen"], *tied))
    names = ", ".join(name(entry) for entry in others)
    if first["validation"]["held_out"] is None:
        what = f"{names} and {name(first)} have no held-out rows to be compared by"
        return f"{what}; of these the strongest l2 was taken, of equal ones the first"
    rule = "the stronger l2 was taken, of equal ones the first"
    if by != "val_loss":
        rule = "the lower held-out loss was taken, of equal ones the stronger l2, "
        rule += "then the first"
    return f"{names} and {name(first)} have exactly the same {by}; of these {rule}"


def sets(run: record.Record) -> list[str]:
    """The names of the feature sets, in the order of the command line.

    Args:
        run: of a probe.
    """
    return list(dict.fromkeys(entry["features"] for entry in entries(run)))


def is_calibrated(run: record.Record) -> bool:
    """Whether settings were compared by their loss at the best temperature of each.

    Args:
        run: of a probe.
    """
    return run.selected_by == "val_loss_calibrated"


def of_chosen(run: record.Record) -> record.Record:
    """The chosen classifier as a run of its own, of which other pages speak too.

    Its test scores are those of one classifier: of several seeds, the first.

    Args:
        run: of a probe.
    """
    entry = chosen(run)
    first = entry["runs"][0]
    (row,) = (row for row in run.rows if row["trial"] == first["trial"])
    # Of the data, config.json describes the first set alone.
    is_first = entry["features"] == sets(run)[0]
    kind = "raw" if is_first else entry["features"]
    selected = {**run.choice, **first, "row": {**row, "features": kind}}
    return run._replace(selected=selected)


def _check(run: record.Record) -> None:
    """Refuses files that speak of different runs."""
    where, found = run.folder / "selected.json", entries(run)
    if not 0 <= run.choice["chosen"] < len(found):
        raise ValueError(
            f"{where}: found the choice of entry {run.choice['chosen']} of "
            f"{len(found)}, expected one of them"
        )
    for place in run.choice.get("chosen_ties", []):
        if not 0 <= place < len(found) or place == run.choice["chosen"]:
            raise ValueError(
                f"{where}: found a tie of entry {run.choice['chosen']} with entry "
                f"{place} of {len(found)}, expected another one of them"
            )
    count = len(run.config["data"]["class_names"])
    lanes = {row["trial"] for row in run.rows}
    for place, entry in enumerate(found):
        missing = [field for field in ENTRY if field not in entry]
        if missing or not entry["runs"]:
            what = f"no {', '.join(missing)}" if missing else "no runs"
            raise ValueError(f"{where}: entry {place} has {what}")
        for each in entry["runs"]:
            size = len(each["test"]["confusion"])
            if size != count:
                raise ValueError(
                    f"{where}: entry {place} has a confusion matrix of {size} classes, "
                    f"expected the {count} of config.json"
                )
            if each["trial"] not in lanes:
                raise ValueError(
                    f"{where}: entry {place} names lane {each['trial']}, which "
                    "results.jsonl does not hold"
                )
    _check_pairs(run)


def _check_pairs(run: record.Record) -> None:
    known = set(sets(run))
    for pair in run.choice["comparisons"]:
        odd = {pair["first"], pair["second"]} - known
        if odd:
            raise ValueError(
                f"{run.folder / 'selected.json'}: a comparison names {min(odd)}, "
                f"expected one of {sorted(known)}"
            )
