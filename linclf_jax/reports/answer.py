"""The top of a page: which classifier to use, how good it is, how to get it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.reports import text, trials
from linclf_jax.runs import schema
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Average, Entry, Selected
from linclf_jax.selection import ranking


class Number(NamedTuple):
    """A number that is read at a glance."""

    name: str
    value: str
    note: str  # what to know of it


class Answer(NamedTuple):
    """All above the sections, as plain text."""

    kicker: str
    headline: str
    why: Sequence[str]  # paragraphs
    replay: Sequence[str]  # words of a shell command
    numbers: Sequence[Number] = ()
    warnings: Sequence[str] = ()
    settings: Mapping[str, Any] | None = None  # of the chosen classifier


def make(record: Record) -> Answer:
    """What a record answers, finished or not."""
    values = {
        "study": record.config["experiment"],
        "data": record.config["data"],
        "exact": record.is_exact,
        "counts": trials.count(record),
        "metric": record.metric,
    }
    command = replay(values["study"], record.directory)
    if record.selected is None:
        words = text.blocks("unfinished", values | _state(record))
        why, notes = [words["why"]], tuple(record.notes)
        return Answer(words["kicker"], words["headline"], why, command, warnings=notes)
    average = chosen_average(record.selected)
    values |= _values(record, record.selected, average)
    words = text.blocks("chosen", values)
    return Answer(
        words["kicker"],
        words["headline"],
        [words[name] for name in ("why", "certificate") if words[name]],
        command,
        _numbers(average, words),
        warnings(record.selected),
        _settings(average.entries[0]["row"]),
    )


def _state(record: Record) -> dict[str, Any]:
    """What the words of a study speak of that has chosen nothing."""
    rates = [row["learning_rate"] for row in record.rows if "learning_rate" in row]
    return {
        "shard": record.shard,
        "sealed": record.sealed,
        "first": next(iter(record.ranked), None),
        "smallest_rate": min(rates, default=None),
    }


def _values(record: Record, selected: Selected, average: Average) -> dict[str, Any]:
    """What the words of an answer speak of."""
    entry = average.entries[0]
    candidates, what = _candidates(record, entry)
    ends = trials.ends(record.rows)
    ends.pop(trials.NOT_CERTIFIED, None)
    is_repeated = not record.is_exact and len(entry["trials"]) > 1
    return {
        "entry": entry,
        "validation": entry["validation"],
        "name": schema.name(average.group),
        "groups": _count_groups(selected),
        "draws": len(average.entries),
        "accuracy": average.test("accuracy"),
        "scaled": average.test("calibration_error_scaled"),
        "compared": _compared(record, selected),
        "repeats": entry["repeats"]["val_accuracy"] if is_repeated else None,
        "folds": len({row.get("fold") for row in record.rows} - {None}),
        "candidates": candidates,
        "what": what,
        "group_ties": ties(selected),
        "protocol": selected["protocol"],
        "certificates": selected["certificates"],
        "converged": ends.pop(trials.CONVERGED, 0),
        "other_ends": ends,
    }


def _numbers(average: Average, words: Mapping[str, str]) -> list[Number]:
    """The numbers that are known, each with what its block says of it."""
    known = (
        ("test accuracy", average.test("accuracy"), "test_accuracy"),
        (
            words["validation_name"],
            average.validation("val_accuracy"),
            "validation_accuracy",
        ),
        ("test loss", average.test("loss"), "test_loss"),
        ("calibration error", average.test("calibration_error"), "calibration_error"),
    )
    return [
        Number(name, text.score(spread.mean), words[block])
        for name, spread, block in known
        if spread
    ]


def _count_groups(selected: Selected) -> int:
    failed = sum(bool(entry.get("failure")) for entry in selected["entries"])
    return len(schema.across_seeds(selected["entries"])) + failed


def _compared(record: Record, selected: Selected) -> list[Any]:
    """The chosen one's values of what trials compare, but for what is said anyway."""
    names = {"features", "preprocessing", "loss"} & {*record.differing}
    row = selected["entries"][selected["chosen"]]["row"]
    return [row[name] for name in sorted(names.difference(selected["select_per"]))]


def _candidates(record: Record, entry: Entry) -> tuple[int, str]:
    """How many the held-out rows served to choose among, and what these are."""
    if entry["validation"]["resampling"] is None:
        return 0, "trials"
    group = entry["group"].items()
    rows = [row for row in record.rows if all(row.get(k) == v for k, v in group)]
    rows = [row for row in rows if ranking.is_compared(row)]
    if record.is_exact:
        return len({row["l2"] for row in rows}), "penalties"
    # At every rung of halving the validation rows chose among those retired there.
    known = [row for row in rows if row["status"] in (ranking.OK, ranking.RETIRED)]
    if len(entry["trials"]) > 1:
        return len(trials.by_setting(known)), "settings"
    return len(known), "trials"


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    extra = {name: row.get(name) for name in ("C", "shots", "seed", "fold")}
    known = ranking.settings(row) | extra
    return {name: value for name, value in known.items() if value is not None}


def chosen_average(selected: Selected) -> Average:
    """The chosen entry, with those that differ from it in their draw alone."""
    averages = schema.across_seeds(selected["entries"])
    return next(each for each in averages if selected["chosen"] in each.indices)


def warnings(selected: Selected) -> list[str]:
    """What to know before trusting the chosen classifier."""
    return [*selected["warnings"], *_remarks(chosen_average(selected))]


def remarks(selected: Selected) -> list[str]:
    """What to know of the groups, each by its name; empty where there is one."""
    if _count_groups(selected) == 1:
        return []
    failures = [
        f"{schema.name(entry['group'])}: {entry['failure']}"
        for entry in selected["entries"]
        if entry.get("failure")
    ]
    known = [
        f"{schema.name(average.group)}: {sentence}"
        for average in schema.across_seeds(selected["entries"])
        for sentence in _remarks(average)
    ]
    return failures + known


def _remarks(average: Average) -> Iterator[str]:
    for entry in average.entries:
        draw = f"draw {entry['group']['seed']}: " if len(average.entries) > 1 else ""
        yield from (f"{draw}{warning}" for warning in entry["warnings"])
    # How many test rows were trained on, too, and the accuracy without them.
    tests = [entry["test"] for entry in average.entries]
    same = tests[0].get("duplicates")
    if same and same["rows"]:
        without = same["without"]
        if without:
            rest = [test["duplicates"]["without"]["accuracy"] for test in tests]
            without = {**without, "accuracy": float(np.mean(rest))}
        size = tests[0]["size"]
        yield text.words("duplicates", same, size, without, len(tests))


def ties(selected: Selected) -> str:
    """Which groups tie with the chosen one and why it was chosen; empty without."""
    if not selected["chosen_ties"]:
        return ""
    entries = selected["entries"]
    chosen = entries[selected["chosen"]]
    others = [schema.name(entries[index]["group"]) for index in selected["chosen_ties"]]
    compared = chosen["validation"]["resampling"] is not None
    name = schema.name(chosen["group"])
    return text.words("group_ties", name, others, selected["metric"], compared)


def selection_bias(entry: Entry) -> str:
    """How much the best score owes to having been chosen; empty where unknown.

    >>> selection_bias({"selection_bias": {"settings": 45, "accuracy": 0.00312}})
    'the best of 45 settings is expected to look 0.0031 better in accuracy than it is'
    >>> selection_bias({"selection_bias": None})
    ''
    """
    bias = entry["selection_bias"]
    return text.words("selection_bias", bias) if bias else ""


def accuracy_interval(entry: Entry) -> str:
    """How sure a held-out accuracy is; empty where that is unknown.

    >>> accuracy_interval({"validation": {"accuracy_interval": [0.25, 0.5]}})
    '95 % interval 0.2500 to 0.5000'
    """
    ends = entry["validation"]["accuracy_interval"]
    return text.words("interval", ends) if ends else ""


def replay(study: str, directory: Path) -> list[str]:
    """The command that runs the flags of a run directory again, beside it.

    The words are quoted for a shell; joined by spaces they are the command.

    >>> print(*replay("sweep", Path("my runs/one"))[2:])
    experiments.sweep --flagfile='my runs/one/flags.txt' --out_dir='my runs/one-replay'
    """
    flags = shlex.quote(str(directory / "flags.txt"))
    target = shlex.quote(f"{directory}-replay")
    script = f"experiments.{study}"
    return ["python", "-m", script, f"--flagfile={flags}", f"--out_dir={target}"]
