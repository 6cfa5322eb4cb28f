"""How rows of results look in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

OUTCOMES = ("val_loss", "val_accuracy", "train_loss", "train_accuracy")
_NOT_SETTINGS = {"lane", "fold", "status", "reason", "steps", *OUTCOMES}


def varying(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the settings of which the rows have several values, in their order.

    None, for a setting that a lane does not use, is no value.
    """
    names = [name for name in rows[0] if name not in _NOT_SETTINGS]
    return [name for name in names if len({row[name] for row in rows} - {None}) > 1]


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


def settings(row: Mapping[str, Any]) -> str:
    """Returns the settings that a lane uses, in one line, with all their digits."""
    used = {k: v for k, v in row.items() if k not in _NOT_SETTINGS and v is not None}
    return ", ".join(f"{name} {value}" for name, value in used.items())


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
