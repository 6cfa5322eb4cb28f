"""One setting chosen for each combination of what ``--table`` names, each tested.

All choices come first, by validation data; the test split is for what they chose. Which
combination is the best, validation data says too: the one of the sweep's own choice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.scheduler.jobs import Rows
from linclf_jax.selection.choose import Choice


class Decision(NamedTuple):
    """A chosen setting, by folds with the classifier trained again on all rows."""

    choice: Choice
    refit: Any | None  # a ``refit.Chosen``


class Cell(NamedTuple):
    """A combination of values, and what was decided on among its lanes."""

    values: Mapping[str, Any]  # by column
    decision: Decision | None
    failure: str | None  # why there is none


def decide(
    rows: Rows,
    columns: Sequence[str],
    decide_on: Callable[[Rows], Decision],
    first: Decision,
) -> list[Cell]:
    """Returns a cell for each combination, in the order in which they appear.

    Args:
        rows: One per lane.
        columns: Of the rows; none make no cell.
        decide_on: Decides among lanes, or raises ValueError where none can be used.
        first: What was decided on among all lanes; its cell has no other.
    """
    groups: dict[tuple, Rows] = {}
    for row in rows if columns else ():
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    home = tuple(first.choice.rows[0][name] for name in columns)
    cells = []
    for key, group in groups.items():
        values = dict(zip(columns, key, strict=True))
        try:
            decision = first if key == home else decide_on(group)
            cells.append(Cell(values, decision, None))
        except ValueError as error:
            cells.append(Cell(values, None, str(error)))
    return cells


def describe(
    cells: Sequence[Cell], measure: Callable[[Decision], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns what ``table.json`` says of each cell.

    Args:
        cells: From ``decide``.
        measure: Returns what ``selected.json`` would say of a decision; called once for
            each.
    """
    return [_describe(cell, measure) for cell in cells]


def _describe(
    cell: Cell, measure: Callable[[Decision], Mapping[str, Any]]
) -> dict[str, Any]:
    known = {"values": cell.values, "failure": cell.failure}
    if cell.decision is None:
        return known
    lanes = [row["trial"] for row in cell.decision.choice.rows]
    return {**known, "lanes": lanes, **measure(cell.decision)}
