"""Panels, scales, ticks and legends that figures share.

Losses, penalties and learning rates are drawn on their logarithm, accuracies on that of
the error rate: between 0.96 and 0.98 half of the errors go away, between 0.70 and 0.72
hardly any, and on this scale each step is as long as it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

# Penalties to mark, by what they are, the selected one first.
Marks = Mapping[str, float]

WIDTH, HEIGHT = 3.7, 2.2  # of the largest panel, inches
LEGEND_ENTRY, LEGEND_LETTER = 0.6, 0.07  # line and space of a label, a letter of it
MOST_TICKS = 8
ROUNDING = 1e-6  # an error rate below this is the rounding of a float32 accuracy


def subplots(
    width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """An empty figure of that many inches, and its panels, line by line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    return figure, axes.ravel().tolist()


def panels(
    count: int, width: float = WIDTH, height: float = HEIGHT, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels of about that size, at most two in a row."""
    across = min(2, count)
    down = -(-count // across)
    size = max(across * (width + 0.8) + 0.9, 5.0), down * (height + 0.7) + 0.5
    figure, axes = subplots(*size, down, across, **shared)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def legend(
    figure: Figure, where: Any = "outside lower left", of: Sequence[Axes] = ()
) -> None:
    """Explains each label once, of all panels or of some, if there are any."""
    handles: dict[str, Any] = {}
    for axis in of or figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        columns = 1 if "right" in where else _columns([*handles], figure.get_figwidth())
        figure.legend(handles.values(), handles.keys(), loc=where, ncols=columns)


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit into so many inches, at least one."""
    for count in range(len(labels), 1, -1):
        longest = (max(map(len, column)) for column in np.array_split(labels, count))
        if sum(LEGEND_ENTRY + LEGEND_LETTER * length for length in longest) <= width:
            return count
    return 1


def lines(axis: Axes, x: np.ndarray, y: np.ndarray, **look: Any) -> None:
    """Draws a line for each column of ``y``; a dot where it would be one point."""
    axis.plot(x, y, marker="o" if len(x) == 1 else None, markersize=4, **look)


def rule(axis: Axes, which: Literal["x", "y"] = "y") -> None:
    """Draws faint lines at the ticks, behind everything else."""
    axis.grid(axis=which, color=style.GRID, linewidth=0.7)
    axis.set_axisbelow(True)


def epoch_axis(axis: Axes) -> None:
    """Makes the horizontal axis one of epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("epoch")
    locator = MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    axis.xaxis.set_major_locator(locator)
    rule(axis)


def l2_axis(axis: Axes, l2s: np.ndarray, marks: Marks, most: int = MOST_TICKS) -> None:
    """Makes the horizontal axis one of penalties."""
    value_axis(axis, l2s, most=most)
    looks = ("-", style.CHOSEN), ("--", style.INK)
    for (label, l2), (dashes, colour) in zip(marks.items(), looks, strict=False):
        look = {"color": colour, "linestyle": dashes, "linewidth": 1.2, "zorder": 3}
        axis.axvline(l2, label=label, **look)
    axis.set_xlabel("l2")
    rule(axis)


def value_axis(
    axis: Axes, values: np.ndarray, *, vertical: bool = False, most: int = MOST_TICKS
) -> None:
    """Makes one axis logarithmic, with zero beside the smallest positive value.

    The ticks are the values, none negative, or powers of ten where these are more than
    ``most``.
    """
    set_scale, set_limits, across, ticks_of = (
        (axis.set_yscale, axis.set_ylim, axis.axhline, axis.yaxis)
        if vertical
        else (axis.set_xscale, axis.set_xlim, axis.axvline, axis.xaxis)
    )
    ticks = np.unique(values[values > 0])
    low, high = (ticks[0], ticks[-1]) if ticks.size else (1.0, 1.0)
    margin = max((high / low) ** 0.05, 1.3)
    left = low / margin
    if ticks.size > most:
        ticks = log_locator(low, high, most).tick_values(low, high)
        ticks = ticks[ticks > left]
    if (values == 0).all():
        ticks, left = np.zeros(1), -low
    elif (values == 0).any():
        ticks, left = np.append(0.0, ticks), -low / 3
        # Zero is off the scale: the axis is broken before it.
        across(low / 2, color="white", linewidth=4, zorder=6)
    if left > 0:
        set_scale("log")
    else:  # linear up to the smallest positive value, which is three margins from zero
        set_scale("symlog", linthresh=low, linscale=0.9 * 3 * np.log10(margin))
    ticks_of.set_ticks(ticks, [style.short_number(tick) for tick in ticks])
    ticks_of.set_ticks([], minor=True)
    set_limits(left, high * margin)


def log_locator(low: float, high: float, most: int = MOST_TICKS) -> Locator:
    """Round numbers, as many of each power of ten as fit; evenly within a power."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    decades = np.log10(high / low)
    if decades < 0.5:
        return MaxNLocator(5, steps=[1, 2, 5, 10])
    for multiples in (1, 2, 3, 5, 7), (1, 2, 5):
        if len(multiples) * decades <= most:
            return LogLocator(subs=multiples)
    return LogLocator(numticks=most)


def log_axis(axis: Axes, low: float, high: float) -> None:
    """Makes the vertical axis logarithmic, from ``low`` above 0 to ``high``."""
    high = max(high, 4 * low)
    margin = (high / low) ** 0.06
    _log_scale(axis, low / margin, high * margin, style.short_number)


def accuracy_axis(axis: Axes, low: float, high: float) -> None:
    """Makes a vertical axis of error rates, from ``low`` above 0, one of accuracies."""
    _log_scale(axis, min(1.0, max(high, 1.5 * low) * 1.1), low / 1.2, accuracy_label)


def accuracy_label(error: float, position: int | None = None) -> str:
    """What a tick at an error rate says."""
    del position  # matplotlib's formatters are given it, too
    return f"{1.0 - error:.4g}"


def _log_scale(
    axis: Axes, bottom: float, top: float, label: Callable[[float], str]
) -> None:
    # Limits first: matplotlib warns of its own where all that is drawn is one value.
    axis.set_ylim(bottom, top)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(log_locator(min(bottom, top), max(bottom, top)))
    axis.yaxis.set_major_formatter(lambda y, _: label(y))
    axis.set_yticks([], minor=True)


def error_floor(accuracy: np.ndarray) -> float:
    """What stands for an error rate of zero: half of the smallest positive one.

    ``accuracy`` has all accuracies of a figure, any shape, NaN where unknown.
    """
    error = 1.0 - np.asarray(accuracy, np.float64)
    positive = error[error > ROUNDING]
    return float(0.5 * positive.min()) if positive.size else 0.005


def error_rates(accuracy: np.ndarray, floor: float) -> np.ndarray:
    """Error rates in float64, with ``floor`` (see ``error_floor``) in place of zero."""
    error = 1.0 - np.asarray(accuracy, np.float64)
    return np.where(error <= ROUNDING, floor, error)


def worth_seeing(values: np.ndarray, named: np.ndarray) -> tuple[float, float]:
    """The range that a logarithmic axis should span; any, if there is nothing to see.

    Of ``values``, with NaN, the best and the worst few percent are left out, lest a
    trial that nearly diverged flattens all others; ``named`` must be seen, if they stay
    within ten times that range.
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
