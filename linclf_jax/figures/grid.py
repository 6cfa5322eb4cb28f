"""The rows of a sweep as arrays over learning rate and l2, for each optimizer.

A grid has cells, a random sample has points. Nothing here draws; ``heatmap`` and
``scatter`` do.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.selection import ranking

MOST_VALUES = 40  # of an axis whose cells can be told apart


class Panel(NamedTuple):
    """The part of a grid that one optimizer ran; R values of l2, K learning rates."""

    optimizer: str
    learning_rates: np.ndarray  # (K,) ascending
    l2s: np.ndarray  # (R,) ascending
    accuracy: np.ndarray  # (R, K) NaN where no lane has one
    retired: np.ndarray  # (R, K) bool: none finished, the accuracy is a retired lane's
    diverged: np.ndarray  # (R, K) share of the cell's lanes; NaN where none ran


class Points(NamedTuple):
    """What one optimizer ran, as P points: a setting each, the mean of its repeats."""

    optimizer: str
    learning_rate: np.ndarray  # (P,)
    l2: np.ndarray  # (P,)
    accuracy: np.ndarray  # (P,) NaN where unknown or diverged
    retired: np.ndarray  # (P,) bool
    diverged: np.ndarray  # (P,) bool


def is_scattered(rows: Sequence[ranking.Row]) -> bool:
    """Whether the lanes are points rather than cells of a grid.

    They are where an axis has many values and hardly any of them is met twice: as cells
    they would be stripes, nearly all of them empty.

    Args:
        rows: rows of ``results.jsonl``.
    """
    pairs: dict[str, set[tuple[float, float]]] = {}
    for row in rows:
        pair = row["learning_rate"], row["l2"]
        pairs.setdefault(row["optimizer"], set()).add(pair)
    for found in pairs.values():
        longest = max(len(set(values)) for values in zip(*found, strict=True))
        if longest > MOST_VALUES and len(found) < 1.5 * longest:
            return True
    return False


def scatter(rows: Sequence[ranking.Row]) -> list[Points]:
    """Sorts the rows of a sweep into points, for each optimizer.

    Lanes that differ in seed or fold alone are one point. Where one of them diverged,
    the point did, and where one was retired, the point was: a mean over the others
    would flatter it.

    Args:
        rows: rows of ``results.jsonl``.

    Returns:
        Points in the order in which the optimizers first appear.
    """
    found: dict[str, dict[frozenset, list[ranking.Row]]] = {}
    for row in rows:
        setting = frozenset(ranking.settings(row).items())
        found.setdefault(row["optimizer"], {}).setdefault(setting, []).append(row)
    return [_points(name, list(groups.values())) for name, groups in found.items()]


def _points(optimizer: str, groups: Sequence[Sequence[ranking.Row]]) -> Points:
    diverged = np.array([bool(ranking.diverged(group)) for group in groups])
    retired = np.array([bool(ranking.retired(group)) for group in groups])
    scores = [[row["val_accuracy"] for row in group] for group in groups]
    means = [np.nan if None in s else math.fsum(s) / len(s) for s in scores]
    return Points(
        optimizer,
        np.array([group[0]["learning_rate"] for group in groups]),
        np.array([group[0]["l2"] for group in groups]),
        np.where(diverged, np.nan, means),
        retired & ~diverged,
        diverged,
    )


def arrange(rows: Sequence[ranking.Row]) -> list[Panel]:
    """Sorts the rows of a sweep into one grid for each optimizer.

    Args:
        rows: rows of ``results.jsonl``.

    Returns:
        Panels in the order in which the optimizers first appear.
    """
    optimizers = dict.fromkeys(row["optimizer"] for row in rows)
    return [_panel(o, [r for r in rows if r["optimizer"] == o]) for o in optimizers]


def _panel(optimizer: str, rows: Sequence[ranking.Row]) -> Panel:
    rates = np.unique([row["learning_rate"] for row in rows])
    l2s = np.unique([row["l2"] for row in rows])
    cells: dict[tuple[int, int], list[ranking.Row]] = {}
    for row in rows:
        cells.setdefault(position(rates, l2s, row), []).append(row)
    accuracy = np.full((l2s.size, rates.size), np.nan)
    diverged = np.full((l2s.size, rates.size), np.nan)
    retired = np.zeros((l2s.size, rates.size), bool)
    for cell, members in cells.items():
        accuracy[cell] = cell_accuracy(members)
        if np.isnan(accuracy[cell]):
            accuracy[cell] = cell_accuracy(members, status="retired")
            retired[cell] = np.isfinite(accuracy[cell])
        diverged[cell] = len(ranking.diverged(members)) / len(members)
    return Panel(optimizer, rates, l2s, accuracy, retired, diverged)


def position(rates: np.ndarray, l2s: np.ndarray, row: ranking.Row) -> tuple[int, int]:
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


def cell_accuracy(rows: Sequence[ranking.Row], status: str = "ok") -> float:
    """The validation accuracy that one cell shows.

    Lanes that differ in seed or fold alone are averaged, for their differences are
    noise; of lanes that differ in another setting (momentum, say) the best average
    counts, for a user would pick it.

    Args:
        rows: the rows of one optimizer, learning rate and l2.
        status: of the lanes that count.

    Returns:
        Accuracy, or NaN if no lane has that status.
    """
    repeats: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["status"] == status and row["val_accuracy"] is not None:
            key = tuple(ranking.settings(row).values())
            repeats.setdefault(key, []).append(row["val_accuracy"])
    return max((float(np.mean(v)) for v in repeats.values()), default=float("nan"))
