"""The rows of a sweep as arrays over learning rate and l2, one grid for each optimizer.

Nothing here draws; ``heatmap`` does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import results


class Panel(NamedTuple):
    """The part of a grid that one optimizer ran; R values of l2, K learning rates."""

    optimizer: str
    learning_rates: np.ndarray  # (K,) ascending
    l2s: np.ndarray  # (R,) ascending
    accuracy: np.ndarray  # (R, K) NaN where no lane finished
    diverged: np.ndarray  # (R, K) share of the cell's lanes; NaN where none ran


def arrange(rows: Sequence[results.Row]) -> list[Panel]:
    """Sorts the rows of a sweep into one grid for each optimizer.

    Args:
        rows: rows of ``results.jsonl``.

    Returns:
        Panels in the order in which the optimizers first appear.
    """
    optimizers = dict.fromkeys(row["optimizer"] for row in rows)
    return [_panel(o, [r for r in rows if r["optimizer"] == o]) for o in optimizers]


def _panel(optimizer: str, rows: Sequence[results.Row]) -> Panel:
    rates = np.unique([row["learning_rate"] for row in rows])
    l2s = np.unique([row["l2"] for row in rows])
    cells: dict[tuple[int, int], list[results.Row]] = {}
    for row in rows:
        cells.setdefault(position(rates, l2s, row), []).append(row)
    accuracy = np.full((l2s.size, rates.size), np.nan)
    diverged = np.full((l2s.size, rates.size), np.nan)
    for cell, members in cells.items():
        accuracy[cell] = cell_accuracy(members)
        diverged[cell] = np.mean([row["status"] != "ok" for row in members])
    return Panel(optimizer, rates, l2s, accuracy, diverged)


def position(rates: np.ndarray, l2s: np.ndarray, row: results.Row) -> tuple[int, int]:
    """Row and column of a lane in arrays over ``l2s`` (R,) and ``rates`` (K,).

    Args:
        rates: (K,) ascending.
        l2s: (R,) ascending.
        row: of ``results.jsonl``, its values among them.
    """
    down, across = (
        np.searchsorted(l2s, row["l2"]),
        rates.searchsorted(row["learning_rate"]),
    )
    return int(down), int(across)


def cell_accuracy(rows: Sequence[results.Row]) -> float:
    """The validation accuracy that one cell shows.

    Lanes that differ in seed or fold alone are averaged, for their differences are
    noise; of lanes that differ in another setting (momentum, say) the best average
    counts, for a user would pick it.

    Args:
        rows: the rows of one optimizer, learning rate and l2.

    Returns:
        Accuracy, or NaN if no lane finished.
    """
    repeats: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["status"] == "ok" and row["val_accuracy"] is not None:
            key = tuple(results.settings(row).values())
            repeats.setdefault(key, []).append(row["val_accuracy"])
    return max((float(np.mean(v)) for v in repeats.values()), default=float("nan"))
