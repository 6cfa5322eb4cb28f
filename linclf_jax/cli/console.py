"""What a script prints at its end: the answer, and how sure it is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linclf_jax.reports import answer, tables, text
from linclf_jax.reports.tables import Table
from linclf_jax.runs import record as record_files
from linclf_jax.runs import schema
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Average, Entry, Selected
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Spread
from linclf_jax.studies.pipeline import StudyResult
from linclf_jax.studies.replay import Replay


def summary(result: StudyResult) -> str:
    """Returns the answer of a study, whose run directory is finished."""
    directory, selected = result.directory, result.selected
    if directory is None:
        raise ValueError("found no run directory; expected that of the study")
    if selected is None:
        count = text.count(len(result.rows), "trial")
        return (
            f"{count} of this shard are trained; a setting is selected among those of "
            "all shards, by\n"
            f"  python -m experiments.merge {directory} ... --out_dir=..."
        )
    record = record_files.read(directory)
    parts = [
        *_compared(record, selected),
        *_comparisons(selected),
        *_chosen(selected, result.seconds),
        *_cautions(selected),
        "",
        f"Run directory  {directory}",
        f"Report         {directory / 'report.html'}",
        f"Replay         {' '.join(answer.replay(result.study, directory))}",
    ]
    return "\n".join(parts)


def replayed(replay: Replay) -> str:
    """Returns both rows of a trial side by side, and how far apart they are."""
    columns = ("", "row", "again")
    rows = [
        [name, text.rounded(replay.row[name]), text.rounded(replay.again[name])]
        for name in replay.compared
    ]
    verdict = f"trial {replay.trial} has the bits of its row"
    if replay.differing:
        verdict = (
            f"trial {replay.trial} differs from its row in "
            f"{', '.join(replay.differing)}; scores by {replay.distance:.3g} at most"
        )
    notes = [f"Made elsewhere: {line}" for line in replay.environment]
    return "\n".join([table(Table(columns, rows)), *notes, verdict])


def curves(history: Mapping[str, np.ndarray]) -> str:
    """Returns the learning curve of the first trial, ten epochs of it and the last."""
    epochs = history["val_loss"].shape[1]
    shown = sorted({*range(0, epochs, max(1, epochs // 10)), epochs - 1})
    rows = [
        [str(epoch + 1), *(f"{history[name][0, epoch]:.4g}" for name in schema.CURVES)]
        for epoch in shown
    ]
    return table(Table(("epoch", *schema.CURVES), rows))


def table(shown: Table) -> str:
    """Returns a table, aligned to the right, with a header."""
    lines = [shown.columns, *shown.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True))
        for line in lines
    )


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Returns some columns of rows as such a table."""
    cells = [[text.rounded(row[name]) for name in columns] for row in rows]
    return table(Table(columns, cells))


def _compared(record: Record, selected: Selected) -> Iterator[str]:
    """Yields what the selection took its choice from."""
    if len(selected["entries"]) > 1:
        columns = " and ".join(tables.group_columns(selected))
        yield f"The settings selected by {columns}, each tested once after all of them"
        yield table(tables.scores(record, selected))
        yield from (f"  {remark}" for remark in answer.remarks(selected))
    elif record.is_exact:
        if not tables.known_rules(selected["entries"][0]):
            return
        yield "What each rule selects, with loss and accuracy on rows held out"
        yield table(tables.rules(selected))
    elif len(record.rows) > 1:
        what = "settings" if tables.is_repeated(record) else "trials"
        shown = tables.best(record)
        yield f"The {len(shown.rows)} best {what} by {record.metric}"
        yield table(shown)
    else:
        return
    yield ""


def _comparisons(selected: Selected) -> Iterator[str]:
    """Yields the paired tests, if there are several feature sets."""
    if selected["comparisons"]:
        yield (
            "Differences in accuracy on the same test rows: McNemar's exact test, "
            "adjusted by Holm"
        )
        yield table(tables.comparisons(selected))
        yield ""


def _chosen(selected: Selected, seconds: float) -> Iterator[str]:
    """Yields which classifier to use, how well it did, and how that was measured."""
    average = answer.chosen_average(selected)
    entry = average.entries[0]
    yield f"Chosen: {_who(entry)}; {entry['reason']}"
    facts = {
        "settings": _settings(entry["row"]),
        "validation": _validation(average),
        "bias": answer.selection_bias(entry),
        "test": _test(average),
        "tied": _tied(entry, selected),
        "certified": _certified(selected, seconds),
    }
    for name, fact in facts.items():
        if fact:
            yield f"  {name:<10}  {fact}"


def _who(entry: Entry) -> str:
    group = schema.name(entry["group"])
    who = f"trial {entry['trial']}"
    if entry["trial"] is None:
        who = "a setting, fitted again on all rows but the test's"
    return f"{group}, {who}" if group else who


def _settings(row: Mapping[str, Any]) -> str:
    known = {**ranking.settings(row), "C": row.get("C"), "seed": row.get("seed")}
    return ", ".join(
        f"{name} {text.rounded(value)}"
        for name, value in known.items()
        if value is not None
    )


def _validation(average: Average) -> str:
    """Accuracy and loss on rows held out, with what they vary by."""
    entry = average.entries[0]
    if entry["validation"]["resampling"] is None:
        return "no rows were held out"
    names = "val_accuracy", "val_loss"
    if len(average.entries) > 1:
        spreads = [average.validation(name) for name in names]
        return _means(spreads, f"draws of {average.group['shots']} shots")
    spreads = [ranking.Spread(**entry["repeats"][name]) for name in names]
    is_trained = "optimizer" in entry["row"]
    what = "repeats" if is_trained or entry["row"].get("shots") else "folds"
    interval = answer.accuracy_interval(entry)
    return _means(spreads, what) + (f"; accuracy's {interval}" if interval else "")


def _test(average: Average) -> str:
    test = average.entries[0]["test"]
    rows = f"{test['size']} rows, read once, after the selection"
    if len(average.entries) > 1:
        spreads = [average.test(name) for name in ("accuracy", "loss")]
        return _means(spreads, f"draws; {rows}")
    low, high = test["accuracy_interval"]
    return (
        f"accuracy {test['accuracy']:.4f} (95 % interval {low:.3f} to {high:.3f}), "
        f"loss {float(test['loss']):.4f}; {rows}"
    )


def _means(spreads: Sequence[Spread | None], what: str) -> str:
    """Accuracy and loss, with their deviations over several of what is repeated."""
    parts = []
    for name, spread in zip(("accuracy", "loss"), spreads, strict=True):
        mean, sd, count = spread or (None, None, 1)
        deviation = f" (standard deviation {text.score(sd)})" if sd is not None else ""
        parts.append(f"{name} {text.score(mean)}{deviation}")
    if count > 1:
        parts.append(f"means over {count} {what}")
    return ", ".join(parts)


def _tied(entry: Entry, selected: Selected) -> str:
    if groups := answer.ties(selected):
        return groups
    ties = entry["ties"]
    if not ties:
        return ""
    return f"for the best {selected['metric']}: {text.words('trials', ties)}"


def _certified(selected: Selected, seconds: float) -> str:
    known = selected["certificates"]
    if known is None:
        return ""
    fits, certified = known["fits"], known["certified"]
    which = f" {certified} of them certified," if certified < fits else ""
    sentence = (
        f"{fits} fits in {seconds:.1f} s,{which} the worst relative gap "
        f"{text.gap(known['worst_relative_gap'])} (asked for {known['tol']:g})"
    )
    if left_out := known["penalties_left_out"]:
        values = text.count(left_out, "value")
        why = "held-out scores had passed the best"
        sentence += f"; {values} of a weaker penalty left out: {why}"
    return sentence


def _cautions(selected: Selected) -> Iterator[str]:
    protocol = selected["protocol"]
    changed = protocol["changed"] if protocol else ()
    yield from (f"Changed: {sentence}" for sentence in changed)
    # Those of single groups stand below their table.
    is_grouped = len(selected["entries"]) > 1
    warnings = selected["warnings"] if is_grouped else answer.warnings(selected)
    yield from (f"Warning: {sentence}" for sentence in warnings)
