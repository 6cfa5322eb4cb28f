"""The scatter of a random sweep: validation accuracy over learning rate and l2.

A grid is drawn by ``heatmap``; the lanes of a sample share no values, and are points.
``draw`` takes rows and returns a figure; it knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import grid, style
from linclf_jax.selection import ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light enough for the dark points and the crosses, dark enough for the bright points.
GROUND = "#e9e9ec"
DIVERGED = {"color": "#a0a0a0", "marker": "x", "s": 7, "linewidths": 0.6}
RETIRED = {"marker": "v", "s": 8, "linewidths": 0}
FINISHED = {"marker": "o", "s": 12, "linewidths": 0}
RING = {"marker": "o", "markersize": 9, "markerfacecolor": "none"}


@style.style()
def draw(rows: Sequence[ranking.Row], selected: ranking.Row | None) -> Figure:
    """Validation accuracy over learning rate and l2, one panel for each optimizer.

    Args:
        rows: rows of ``results.jsonl``, at least one.
        selected: the chosen row, or None.
    """
    panels = grid.scatter(rows)
    figure, axes = canvas.make(len(panels))
    accuracy = np.concatenate([panel.accuracy for panel in panels])
    scale = canvas.scale(accuracy)
    for axis, panel in zip(axes, panels, strict=True):
        heights = _l2_axis(axis, panel.l2)
        _rate_axis(axis, panel.learning_rate)
        _draw_points(axis, panel, heights, scale)
        canvas.label(axis, panel.optimizer, panel.accuracy, panel.retired, "point")
        if selected is not None and selected["optimizer"] == panel.optimizer:
            same = np.flatnonzero(panel.l2 == selected["l2"])
            _mark(axis, selected["learning_rate"], float(heights[same[0]]))
    if np.isfinite(accuracy).any():
        canvas.colour_bar(figure, axes, scale)
    canvas.legend(figure, _handles(panels, selected))
    return figure


def _draw_points(
    axis: Axes, panel: grid.Points, heights: np.ndarray, scale: canvas.Scale
) -> None:
    """Crosses, then the retired, then those that finished, the best of each last."""
    errors = scale.errors(panel.accuracy)
    lost = panel.diverged
    axis.scatter(panel.learning_rate[lost], heights[lost], **DIVERGED)
    known = np.isfinite(errors)
    for which, look in ((panel.retired, RETIRED), (~panel.retired, FINISHED)):
        shown = np.flatnonzero(known & which)
        order = shown[np.argsort(-errors[shown], kind="stable")]
        colours: dict[str, Any] = {"norm": scale.norm, "cmap": canvas.COLOURS}
        place = panel.learning_rate[order], heights[order]
        axis.scatter(*place, c=errors[order], **colours, **look)


def _rate_axis(axis: Axes, rates: np.ndarray) -> None:
    ticks = style.log_ticks(rates)
    axis.set_facecolor(GROUND)
    axis.set_xscale("log")
    axis.set_xlim(rates.min() / 1.3, rates.max() * 1.3)
    axis.set_xticks(ticks, [style.short_number(tick) for tick in ticks])
    axis.set_xticks([], minor=True)


def _l2_axis(axis: Axes, l2: np.ndarray) -> np.ndarray:
    """Scales the axis; returns the height (P,) of each point on it.

    Zero is off a logarithmic scale, and has a strip of its own below it.
    """
    positive = l2[l2 > 0]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    margin = max((high / low) ** 0.05, 1.3)
    strip = low / margin**3
    heights = np.where(l2 > 0, l2, strip)
    ticks = style.log_ticks(positive)
    labels = [style.short_number(tick) for tick in ticks]
    if positive.size < l2.size:
        ticks, labels = [strip, *ticks], ["0", *labels]
        if positive.size:
            axis.axhline(low / margin**1.5, color="white", linewidth=3, zorder=1)
    axis.set_yscale("log")
    axis.set_ylim(heights.min() / margin**1.5, heights.max() * margin)
    axis.set_yticks(ticks, labels)
    axis.set_yticks([], minor=True)
    return heights


def _mark(axis: Axes, rate: float, height: float) -> None:
    for colour, width in (("white", 4.0), (style.CHOSEN, 2.0)):
        look: dict[str, Any] = {"markeredgecolor": colour, "markeredgewidth": width}
        axis.plot(rate, height, **RING, **look, zorder=3, clip_on=False)


def _handles(panels: Sequence[grid.Points], selected: ranking.Row | None) -> list[Any]:
    """What the legend explains: the marks that are there, and no other."""
    handles: list[Any] = []
    if selected is not None:
        look = {"markeredgecolor": style.CHOSEN, "markeredgewidth": 2.0}
        handles.append(canvas.mark("chosen", **RING, **look))
    if any(panel.diverged.any() for panel in panels):
        cross = canvas.CROSS | {"color": DIVERGED["color"]}
        handles.append(canvas.mark("diverged", **cross))
    if any(panel.retired.any() for panel in panels):
        handles.append(canvas.mark(canvas.RETIRED, **canvas.TRIANGLE))
    return handles
