"""The table of a probe in a terminal, and the sentences around it."""

from collections.abc import Iterator
from typing import Any

from linclf_jax.cli import console
from linclf_jax.reports import answer, warning_text
from linclf_jax.runs import probe_record
from linclf_jax.studies.probe_measured import SETTINGS
from linclf_jax.studies.probe_outcome import Outcome

Json = dict[str, Any]
# Columns of the table, by their names in selected.json.
COLUMNS = {
    "accuracy": "top-1",
    "top5_accuracy": "top-5",
    "mean_per_class_recall": "recall",
    "nll": "nll",
    "calibration_error": "ece",
    "calibration_error_scaled": "ece scaled",
}


def summary(outcome: Outcome) -> str:
    """Returns what is printed at the end.

    Args:
        outcome: Of a finished probe.
    """
    folder, rows, selected, seconds = outcome
    lines = [_line(entry) for entry in selected["entries"]]
    best = selected["entries"][selected["chosen"]]
    return "\n".join(
        [
            f"Test split, measured once, after all choices; protocol "
            f"{selected['protocol']['name']}",
            console.table(lines, list(lines[0])),
            *_pairs(selected),
            *_optimism(selected),
            "",
            f"{len(rows)} fits in {seconds:.1f} s; {_judged(best)}: "
            f"{probe_record.name(best)}",
            *_ties(selected),
            *(f"Changed: {sentence}" for sentence in selected["protocol"]["changed"]),
            *(f"Warning: {text}" for text in warning_text.warnings(selected)),
            "",
            f"Run folder  {folder}",
            f"Report      {folder / 'report.html'}",
            f"Replay      {' '.join(answer.replay('probe', folder))}",
        ]
    )


def _line(entry: Json) -> Json:
    runs = entry["runs"]
    if len(runs) == 1:
        low, high = runs[0]["test"]["accuracy_interval"]
        sure = f"{low:.3f} to {high:.3f}"
    else:
        sure = f"sd {entry['test']['accuracy']['sd']:.3f} of {len(runs)}"
    return {
        "features": entry["features"],
        "shots": entry["shots"],
        **{title: _mean(entry["test"][name]) for name, title in COLUMNS.items()},
        "95 % or spread": sure,
        **{name: _range([run[name] for run in runs]) for name in SETTINGS},
    }


def _mean(score: Json | None) -> float | None:
    return None if score is None else float(score["mean"])


def _range(values: list[float | None]) -> Any:
    """Returns a setting, or the least and the most of several."""
    known = sorted({value for value in values if value is not None})
    if len(known) > 1:
        return f"{console.number(known[0])} to {console.number(known[-1])}"
    return known[0] if known else None


def _judged(entry: Json) -> str:
    compared = entry["validation"]["held_out"] is not None
    return "best on held-out rows" if compared else "chosen without held-out rows"


def _ties(selected: Json) -> Iterator[str]:
    """Yields how one of several that are equally good was chosen."""
    sentence = probe_record.ties(selected)
    if sentence:
        yield f"Tie: {sentence}"


def _optimism(selected: Json) -> Iterator[str]:
    """Yields what the choice makes of the scores that it was made by."""
    known = [
        (entry["features"], entry["runs"][0]["validation"])
        for entry in selected["entries"]
        if entry["runs"][0]["validation"]["optimism"] is not None
    ]
    if known:
        yield ""
        yield "Top-1 on held-out rows, and what the choice is expected to add to it"
    for name, found in known:
        yield (
            f"  {name}  {found['accuracy']:.4f} of {found['size']} rows, "
            f"{found['optimism']['accuracy']:+.4f}"
        )


def _pairs(selected: Json) -> Iterator[str]:
    """Yields the paired tests, if there are several feature sets."""
    if not selected["comparisons"]:
        return
    columns = ["first", "second", "difference", "low", "high", "p_value", "adjusted"]
    yield ""
    yield (
        "Differences in top-1 on the same rows: 95 % intervals, McNemar's exact test, "
        "adjusted by Holm"
    )
    yield console.table(selected["comparisons"], columns)
