"""The table of a run that chose for several combinations: features x loss, say.

What ``table.json`` holds as lines for reading, for a terminal and for the page, and the
page's section around them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from linclf_jax.reports import answer, markup, warning_text
from linclf_jax.runs import record
from linclf_jax.selection import ranking

Cell = Mapping[str, Any]  # of ``table.json``
BEST_EPOCHS = (
    "Each lane kept its best epoch, and each validation accuracy is that of the best "
    "of many lanes: it flatters itself on both accounts, as the test accuracy does not."
)


def lines(cells: Sequence[Cell], rows: Sequence[ranking.Row]) -> list[dict[str, Any]]:
    """Returns a line for each cell: its values, its choice, and what came of it.

    Args:
        cells: of ``table.json``.
        rows: one per lane.

    Returns:
        Mappings with the same names; what a cell without a choice lacks is None.
    """
    differing = ranking.varying(rows)
    values = list(cells[0]["values"])
    own = [n for n in differing if n not in (*values, *ranking.REPEATS)]
    return [_line(cell, own) for cell in cells]


def _line(cell: Cell, own: Sequence[str]) -> dict[str, Any]:
    found = dict(cell["values"])
    if cell["failure"] is not None:
        names = (*own, "epoch", "val_accuracy", "test_accuracy")
        return found | dict.fromkeys(names)
    validation, test = cell["validation"], cell["test"]
    return {
        **found,
        **{name: cell["row"][name] for name in own},
        "epoch": cell["row"]["epoch"],
        "val_accuracy": _with_interval(validation),
        "test_accuracy": _with_interval(test),
    }


def _with_interval(measured: Mapping[str, Any]) -> str:
    low, high = measured["accuracy_interval"]
    return f"{measured['accuracy']:.4f} ({low:.3f} to {high:.3f})"


def remarks(cells: Sequence[Cell]) -> list[str]:
    """Returns what must be said of single cells: no choice, or an edge of the grid.

    Args:
        cells: of ``table.json``.
    """
    return [
        f"{', '.join(map(str, cell['values'].values()))}: {text}"
        for cell in cells
        for text in _remarks(cell)
    ]


def _remarks(cell: Cell) -> list[str]:
    return [cell["failure"]] if cell["failure"] else warning_text.warnings(cell)


def cells(run: record.Record, png: bytes) -> str:
    """The table, and how the choices of its cells were trained.

    Args:
        run: a run folder with a table.
        png: the figure.
    """
    found = lines(run.table, run.rows)
    names, columns = list(run.table[0]["values"]), list(found[0])
    found_remarks = remarks(run.table)
    best = run.config["flags"].get("keep") == "best"
    repeated = run.repeats is not None
    return markup.section(
        "cells",
        f"The choices by {' and '.join(names)}",
        markup.table(
            [_head(name) for name in columns],
            [[answer.rounded(line[name]) for name in columns] for line in found],
            words=[_head(name) for name in names],
            marked=_chosen(run),
        ),
        markup.paragraph(
            f"Each row is {_rule(run)} for its {' and '.join(names)};",
            "the marked one was chosen so among all, whatever the test says.",
            "In brackets are 95 % intervals. All choices came first; then each was",
            "tested, once.",
            markup.when(best, BEST_EPOCHS),
            kind="note",
        ),
        markup.when(found_remarks, markup.bullets(found_remarks)),
        markup.picture(
            png,
            alt="Validation accuracy by epoch of each row's choice.",
            caption=(
                "Validation accuracy of each row's choice by epoch, drawn on the",
                "logarithm of the error rate.",
                markup.when(repeated, "Curves are means over the repeats of a choice."),
                markup.when(best and not repeated, "A dot is the epoch that was kept."),
            ),
        ),
    )


def _rule(run: record.Record) -> str:
    """What was taken of each cell's settings, in plain text."""
    measure = answer.METRICS[run.selected_by]
    if run.choice.get("choice") == "one_standard_error":
        return f"the strongest l2 within one standard error of the best {measure}"
    return f"the setting with the best {measure}"


def _chosen(run: record.Record) -> int | None:
    """Which cell holds the run's own choice."""
    own = [cell.get("row") == run.choice["row"] for cell in run.table]
    return own.index(True) if True in own else None


def _head(name: str) -> str:
    heads = {**answer.METRICS, "test_accuracy": "test accuracy"}
    return heads.get(name, name.replace("_", " "))
