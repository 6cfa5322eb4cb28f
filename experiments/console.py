"""How rows of results look in a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linclf_jax import results
from linclf_jax.results import Row
from linclf_jax.runs import report_answer


def summary(
    experiment: str,
    folder: Path,
    rows: Sequence[Row],
    selected: Mapping[str, Any],
) -> str:
    """Returns what a training script prints when it has finished.

    Args:
        experiment: Name of the script, for the command that replays the run.
        folder: The run folder.
        rows: One per lane.
        selected: As in ``selected.json``.
    """
    row, by, tied = selected["row"], selected["selected_by"], selected["ties"]
    chosen = ", ".join(f"{k} {v}" for k, v in results.settings(row).items())
    ranked = results.rank(rows, by=by)[:10]
    columns = ["lane", *results.varying(rows), *results.SCORES]
    title = f"The {len(ranked)} best lanes by {by}"
    best = [title, table(ranked, columns), ""] if len(ranked) > 1 else []
    lines = [
        *best,
        f"Chosen: lane {selected['lane']}, {selected['reason']}",
        f"  {chosen}, seed {row['seed']}",
        f"  validation  accuracy {row['val_accuracy']:.4f}, loss {row['val_loss']:.4f}",
        f"  test        {test_line(selected['test'])}",
        *([f"  tied with   {report_answer.ties(tied)}"] if tied else []),
        *(f"Warning: {warning}" for warning in selected["warnings"]),
        "",
        f"Run folder  {folder}",
        f"Report      {folder / 'report.html'}",
        f"Replay      {' '.join(report_answer.replay(experiment, folder))}",
    ]
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Returns the columns of the rows, aligned, with a header."""
    body = [[number(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *body, strict=True)]
    lines = [
        "  "
        + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (columns, *body)
    ]
    return "\n".join(lines)


def test_line(test: Mapping[str, Any]) -> str:
    """Returns what the chosen lane does on the test split, and how sure that is."""
    low, high = test["accuracy_interval"]
    return (
        f"accuracy {test['accuracy']:.4f} (95 % interval {low:.3f} to {high:.3f}), "
        f"loss {float(test['loss']):.4f}; {test['size']} rows, measured once, after "
        "the choice"
    )


def number(value: Any) -> str:
    """Returns a cell: four significant digits, a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
