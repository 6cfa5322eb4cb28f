"""How rows of results look in a terminal."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from linclf_jax.reports import answer, group_table, validation_text, warning_text
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row


def summary(
    experiment: str,
    folder: Path,
    rows: Sequence[Row],
    selected: Mapping[str, Any] | None,
    cells: Sequence[Mapping[str, Any]] = (),
    *,
    also: Collection[str] = (),
) -> str:
    """Returns what a training script prints when it has finished.

    Args:
        experiment: Name of the script, for the command that replays the run.
        folder: The run folder.
        rows: One per lane.
        selected: As in ``selected.json``; None of a shard.
        cells: Those of ``table.json``, if there is one.
        also: Columns to show beside the settings in which lanes differ.
    """
    if selected is None:
        return "\n".join(
            [
                f"{len(rows)} lanes are trained; the choice is made among those of all "
                "shards, by",
                f"  python -m experiments.merge {folder} ... --out_dir=...",
            ]
        )
    by = selected["selected_by"]
    ranked = ranking.rank_settings(rows, by=by)[:10]
    varied = ranking.varying(rows, also)
    best = _ranking(ranked, by, varied) if len(rows) > 1 else []
    lines = [
        *(_of_cells(cells, rows) if cells else best),
        *([""] if best else []),
        *_answer(selected),
        *(f"Warning: {text}" for text in warning_text.warnings(selected)),
        "",
        f"Run folder  {folder}",
        f"Report      {folder / 'report.html'}",
        f"Replay      {' '.join(answer.replay(experiment, folder))}",
    ]
    return "\n".join(lines)


def _of_cells(found: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[str]:
    """The choice of each cell, with what it does on validation and test rows."""
    lines = group_table.lines(found, rows)
    names = " and ".join(found[0]["values"])
    remarks = [f"  {remark}" for remark in group_table.remarks(found)]
    title = f"The choices by {names}, each tested once after all of them"
    return [title, table(lines, list(lines[0])), *remarks]


def _ranking(
    ranked: Sequence[Sequence[Row]], by: str, varying: Sequence[str]
) -> list[str]:
    """The best settings, each with the means over its repeats."""
    repeats = len(ranked[0])
    if repeats == 1:
        columns = ["trial", *varying, *ranking.SCORES]
        title = f"The {len(ranked)} best lanes by {by}"
        return [title, table([group[0] for group in ranked], columns)]
    columns = [name for name in varying if name not in ranking.REPEATS]
    means = [
        {
            **group[0],
            **{name: ranking.spread(group, name).mean for name in ranking.SCORES},
        }
        for group in ranked
    ]
    title = f"The {len(ranked)} best settings by {by}, means over {repeats} repeats"
    return [title, table(means, ["trial", *columns, *ranking.SCORES])]


def _answer(selected: Mapping[str, Any]) -> list[str]:
    """What was chosen, how well it did, and how that was measured."""
    row, tied, by = selected["row"], selected["ties"], selected["selected_by"]
    settings = ", ".join(f"{k} {number(v)}" for k, v in ranking.settings(row).items())
    who = f"lane {selected['trial']}"
    repeats = selected["repeats"]
    count = repeats["val_loss"]["count"]
    validation = ", ".join(
        f"{name.removeprefix('val_')} {s['mean']:.4f}"
        + (f" (standard deviation {s['sd']:.4f})" if count > 1 else "")
        for name, s in sorted(repeats.items())
    )
    if count > 1:
        validation += f", means over {count} repeats"
    validation += f"; accuracy's {validation_text.interval(selected)}"
    flattery = validation_text.flattery(selected)
    if selected["refit"]:
        who = "a setting, trained again on all rows but the test's"
    return [
        f"Chosen: {who}; {selected['reason']}",
        f"  {settings}, seed {row['seed']}",
        f"  validation  {validation}",
        *([f"  optimism    {flattery}"] if flattery else []),
        f"  test        {test_line(selected['test'])}",
        *([f"  tied        for the best {by}: {answer.ties(tied)}"] if tied else []),
    ]


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
