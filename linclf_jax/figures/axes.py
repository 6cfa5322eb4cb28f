"""Axes that figures share: losses, accuracies, penalties and epochs, and their ticks.

Losses and penalties are drawn on their logarithm, accuracies on that of the error
rate: between 0.96 and 0.98 half of the errors go away, between 0.70 and 0.72 hardly
any, and on this scale each step is as long as it matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Penalties to mark, by what they are, the selected one first.
Marks = Mapping[str, float]

WIDTH, HEIGHT = 3.7, 2.2  # of the largest panel, inches
MOST_TICKS = 8
EDGE = 0.1  # of a power of ten, that is still on the axis beyond the outermost point
ROUNDING = 1e-6  # an error rate below this is the rounding of a float32 accuracy
# Steps of an accuracy axis, coarse to fine: the first with enough ticks is taken.
_COARSE = "0 0.2 0.4 0.6 0.7 0.8 0.9 0.95 0.97 0.98 0.99 0.995 0.998 0.999 0.9999"
ROUND_ACCURACIES = (
    tuple(map(float, _COARSE.split())),
    *(tuple(i / count for i in range(count)) for count in (100, 200, 1000)),
)


def panels(
    count: int, width: float = WIDTH, height: float = HEIGHT, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels, at most two in a row."""
    from matplotlib.figure import Figure

    across = min(2, count)
    down = -(-count // across)
    size = max(across * (width + 0.8) + 0.9, 5.0), down * (height + 0.7) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, **shared).ravel().tolist()
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def legend(figure: Figure, handles: Sequence[Any], columns: int = 4) -> None:
    """Explains below the panels what is drawn, if there is anything to explain."""
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=columns)


def rule(axis: Axes, which: Literal["x", "y"] = "y") -> None:
    """Draws faint lines at the ticks, behind everything else."""
    axis.grid(axis=which, color=style.GRID, linewidth=0.7)
    axis.set_axisbelow(True)


def dot_of_one(values: np.ndarray) -> str | None:
    """The marker of a line: none, but a dot where the line is a single point."""
    return "o" if len(values) == 1 else None


def log_ticks(values: np.ndarray) -> list[float]:
    """Ticks of a logarithmic axis: the values where they are few, or powers of ten.

    Args:
        values: positive, any number of them.
    """
    distinct = np.unique(values)
    if distinct.size <= MOST_TICKS:
        return distinct.tolist()
    first, last = np.log10(distinct[[0, -1]])
    powers = np.arange(np.ceil(first - EDGE), np.floor(last + EDGE) + 1)
    powers = powers[:: -(-powers.size // MOST_TICKS)] if powers.size else powers
    return (10.0**powers if powers.size > 1 else distinct[[0, -1]]).tolist()


def log_range(values: np.ndarray) -> tuple[float, float, float]:
    """Ends of a logarithmic axis of non-negative values, and a margin beyond them.

    Args:
        values: any number of them; zero, which such an axis does not have, is left out.

    Returns:
        The smallest, the largest, and the factor that is the margin.
    """
    positive = values[values > 0]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    return low, high, max((high / low) ** 0.05, 1.3)


def positions(l2s: np.ndarray) -> np.ndarray:
    """Where penalties are on a logarithmic axis: 0 a little below the smallest.

    Args:
        l2s: (K,) penalties.

    >>> positions(np.array([1.0, 0.1, 0.0])).round(3).tolist()
    [1.0, 0.1, 0.046]
    """
    low, _, margin = log_range(l2s)
    return np.where(l2s > 0, l2s, low / margin**3)


def l2_axis(axis: Axes, l2s: np.ndarray, marks: Marks, most: int = MOST_TICKS) -> None:
    """Makes the horizontal axis one of penalties."""
    at, (low, _, margin) = positions(l2s), log_range(l2s)
    ticks = log_ticks(l2s[l2s > 0]) if (l2s > 0).any() else []
    labels = style.thinned([style.short_number(tick) for tick in ticks], most)
    if (l2s == 0).any():
        if ticks:  # zero is off the scale: the axis is broken before it
            axis.axvline(low / margin**1.5, color="white", linewidth=4, zorder=6)
        ticks, labels = [*ticks, float(at.min())], [*labels, "0"]
    looks = ("-", style.CHOSEN), ("--", style.INK)
    for (label, l2), (dashes, colour) in zip(marks.items(), looks, strict=False):
        look = {"color": colour, "linestyle": dashes, "linewidth": 1.2, "zorder": 3}
        axis.axvline(float(at[l2s == l2][0]), label=label, **look)
    axis.set_xscale("log")
    axis.set_xlim(at.min() / margin, at.max() * margin)
    axis.set_xticks(ticks, labels)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("l2")
    rule(axis)


def epoch_axis(axis: Axes) -> None:
    """Makes the horizontal axis one of epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("epoch")
    locator = MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    axis.xaxis.set_major_locator(locator)
    rule(axis)


def loss_axis(axis: Axes, low: float, high: float) -> None:
    """Makes the vertical axis one of losses.

    Args:
        axis: of a panel.
        low: the smallest loss worth seeing, positive.
        high: the largest.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    high = max(high, 4 * low)
    margin = (high / low) ** 0.06
    # Limits first: matplotlib warns of its own where all that is drawn is one value.
    axis.set_ylim(low / margin, high * margin)
    axis.set_yscale("log")
    if high < 300 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda y, _: style.short_number(y))
    axis.yaxis.set_minor_locator(NullLocator())


def accuracy_axis(axis: Axes, low: float, high: float) -> None:
    """Makes the vertical axis one of accuracies.

    Args:
        axis: of a panel.
        low: the smallest error rate worth seeing, positive.
        high: the largest.
    """
    low, high = low / 1.2, min(1.0, max(high, 1.5 * low) * 1.1)
    axis.set_ylim(high, low)
    axis.set_yscale("log")
    axis.set_yticks(*accuracy_ticks(low, high))
    axis.set_yticks([], minor=True)


def accuracy_ticks(lowest: float, highest: float) -> tuple[list[float], list[str]]:
    """Ticks for an axis that is the logarithm of the error rate, read as accuracy.

    Args:
        lowest: smallest error rate on the axis, positive.
        highest: largest error rate on the axis.

    Returns:
        Error rates in between, and their labels: round accuracies, thinned until each
        has a tenth of the axis to itself.
    """
    gap = np.log(highest / lowest) / 10
    errors: list[float] = []
    for accuracies in ROUND_ACCURACIES:
        errors = []
        for error in (1.0 - accuracy for accuracy in accuracies):
            inside = lowest <= error <= highest
            if inside and (not errors or np.log(errors[-1] / error) >= gap):
                errors.append(error)
        if len(errors) >= 4:
            break
    return errors, [f"{1.0 - error:.4g}" for error in errors]


def error_floor(accuracy: np.ndarray) -> float:
    """What stands for an error rate of zero on a logarithmic scale.

    Args:
        accuracy: all accuracies of a figure, any shape, NaN where unknown.

    Returns:
        Half of the smallest positive error rate, 0.005 if there is none.
    """
    error = 1.0 - np.asarray(accuracy, np.float64)
    positive = error[error > ROUNDING]
    return float(0.5 * positive.min()) if positive.size else 0.005


def error_rates(accuracy: np.ndarray, floor: float) -> np.ndarray:
    """Error rates fit for a logarithmic scale, float64 of the shape of ``accuracy``.

    Args:
        accuracy: any shape, NaN where unknown.
        floor: what to put in place of zero, see ``error_floor``.
    """
    error = 1.0 - np.asarray(accuracy, np.float64)
    return np.where(error <= ROUNDING, floor, error)


def worth_seeing(values: np.ndarray, named: np.ndarray) -> tuple[float, float]:
    """The range that a logarithmic axis should span; any, if there is nothing to see.

    Args:
        values: of one metric, any shape, with NaN: without the best and the worst few
            percent, a trial that nearly diverged does not flatten all others.
        named: those that must be seen, if they stay within ten times that range.
    """
    usable = values[np.isfinite(values) & (values > 0)]
    if not usable.size:
        return 0.1, 1.0
    low, high = np.percentile(usable, (1, 98))
    seen = named[np.isfinite(named) & (named > 0)]
    if seen.size:
        low = min(low, seen.min())
        high = max(high, min(seen.max(), 10 * high))
    return float(low), float(high)
