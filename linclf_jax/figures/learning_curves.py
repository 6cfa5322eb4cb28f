"""Learning curves: a few lanes by name, the finished as a band, those that ended early.

``draw`` takes arrays and returns a figure; it knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DIVERGED = 5  # and most retired
FEWEST_FOR_BAND = 10
BAND = "#d5e4f0"
# Of a run in training, too, where the retired of a rung may be about to train on.
LOST, RETIRED = "diverged", "were not trained to the end"
COLOURS = {LOST: style.DIVERGED, RETIRED: style.RETIRED}
MARKS = {LOST: "x", RETIRED: "v"}


@style.style()
def draw(
    history: Mapping[str, np.ndarray],
    named: Mapping[str, int],
    diverged: Sequence[int],
    retired: Sequence[int] = (),
) -> Figure:
    """Validation loss and accuracy by epoch.

    Args:
        history: ``lane`` (L,); ``train_loss``, ``val_loss`` and ``val_accuracy``,
            (L, E) each, NaN after the end of a lane.
        named: lanes to draw in colour, by what they are, at most two, most important
            first: {"chosen": 712, "median": 33}.
        diverged: every lane that diverged; a handful of them is drawn.
        retired: every lane that was taken out early; a handful of them is drawn.
    """
    from matplotlib.figure import Figure

    row = {int(lane): i for i, lane in enumerate(history["trial"])}
    ends = {
        label: [row[lane] for lane in lanes]
        for label, lanes in ((LOST, diverged), (RETIRED, retired))
    }
    rows = {f"{what}: lane {lane}": row[lane] for what, lane in named.items()}
    floor = style.error_floor(history["val_accuracy"])
    errors = style.error_rates(history["val_accuracy"], floor)
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    low, high = _draw_lanes(left, history["val_loss"], ends, rows)
    for label, i in list(rows.items())[:1]:
        training = history["train_loss"][i]
        look = {"color": style.CHOSEN, "linestyle": ":", "zorder": 3}
        _line(left, training, label=f"{label}, training loss", **look)
        # Two decades of overfitting are enough to see it.
        low = min(low, max(float(np.nanmin(training)), low / 100))
    loss_axis(left, low, high)
    left.set_title("validation loss")
    accuracy_axis(right, *_draw_lanes(right, errors, ends, rows))
    right.set_title("validation accuracy")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


def _draw_lanes(
    axis: Axes,
    values: np.ndarray,
    ends: Mapping[str, Sequence[int]],
    named: Mapping[str, int],
) -> tuple[float, float]:
    """Draws one metric (L, E) of all lanes; returns the range worth seeing."""
    from matplotlib.ticker import MaxNLocator

    early = [i for rows in ends.values() for i in rows]
    finished = np.delete(values, early, axis=0)
    everyone = finished if finished.size else values
    low, high = worth_seeing(everyone, values[list(named.values())])
    for (label, i), colour in zip(
        named.items(), (style.CHOSEN, style.TYPICAL), strict=False
    ):
        _line(axis, values[i], color=colour, linewidth=1.8, zorder=4, label=label)
    if len(finished) >= FEWEST_FOR_BAND:
        known = np.isfinite(finished).any(0)  # a lane cut short may have run for longer
        band = np.nanpercentile(finished[:, known], (10, 90), axis=0)
        label = f"middle 80 % of the {len(finished)} lanes that finished"
        epochs = np.arange(1, values.shape[1] + 1)[known]
        axis.fill_between(epochs, *band, color=BAND, linewidth=0, label=label)
    for label, rows in ends.items():
        _ended_lines(axis, values[rows], high, label)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(
        MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    )
    axis.grid(axis="y", color="#eeeeee", linewidth=0.7)
    axis.set_axisbelow(True)
    return low, high


def worth_seeing(values: np.ndarray, named: np.ndarray) -> tuple[float, float]:
    """The range that a logarithmic axis should span.

    Args:
        values: (L, E) of one metric, with NaN: without the best and the worst few
            percent, a lane that nearly diverged does not flatten all others.
        named: (K, E) of the lanes that must be seen, if they stay within ten times
            that range.

    Returns:
        Two positive numbers; any, if there is nothing to see.
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


def _ended_lines(axis: Axes, values: np.ndarray, high: float, label: str) -> None:
    """A handful of lanes, from short-lived to long-lived, marked where they end."""
    lived = np.isfinite(values).sum(1)
    order = [int(i) for i in np.argsort(lived, kind="stable") if lived[i]]
    if not order:
        return
    picks = np.unique(np.linspace(0, len(order) - 1, MOST_DIVERGED).round().astype(int))
    look: dict[str, Any] = {"color": COLOURS[label], "linewidth": 1.0, "zorder": 2}
    mark = MARKS[label]
    for i in (order[pick] for pick in picks):
        last = np.flatnonzero(np.isfinite(values[i]))[-1]
        _line(axis, values[i], **look)
        # A lane that leaves the picture ends at its edge.
        axis.plot(last + 1, min(values[i][last], high), marker=mark, **look)
    label = f"{len(picks)} of {len(values)} lanes that {label}"
    axis.plot([], [], label=label, marker=mark, **look)


def _line(axis: Axes, values: np.ndarray, **look: Any) -> None:
    marker = "o" if values.size == 1 else None  # one epoch is a point, not a line
    axis.plot(np.arange(1, values.size + 1), values, marker=marker, **look)


def loss_axis(axis: Axes, low: float, high: float) -> None:
    """Makes the vertical axis one of losses, on their logarithm.

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
    """Makes the vertical axis one of accuracies, on the logarithm of the error rate.

    Args:
        axis: of a panel.
        low: the smallest error rate worth seeing, positive.
        high: the largest.
    """
    low, high = low / 1.2, min(1.0, max(high, 1.5 * low) * 1.1)
    axis.set_ylim(high, low)
    axis.set_yscale("log")
    errors, labels = style.accuracy_ticks(low, high)
    axis.set_yticks(errors, labels)
    axis.set_yticks([], minor=True)
