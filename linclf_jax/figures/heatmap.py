"""The heat map of a sweep: validation accuracy over learning rate and l2.

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

MOST_COLUMNS_WITH_TEXT = 8
ALL_DIVERGED = {
    **{"facecolor": "#e4e4e4", "edgecolor": "#a8a8a8"},
    **{"hatch": "////", "linewidth": 0},
}


@style.style()
def draw(rows: Sequence[ranking.Row], selected: ranking.Row | None) -> Figure:
    """Validation accuracy over learning rate and l2, one panel for each optimizer.

    Args:
        rows: rows of ``results.jsonl``, at least one.
        selected: the chosen row, or None.
    """
    panels = grid.arrange(rows)
    width = min(canvas.WIDTH, 0.5 * max(p.learning_rates.size for p in panels))
    height = min(canvas.HEIGHT, 0.7 + 0.3 * max(p.l2s.size for p in panels))
    figure, axes = canvas.make(len(panels), width, height)
    accuracy = np.concatenate([panel.accuracy.ravel() for panel in panels])
    scale = canvas.scale(accuracy)
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel, scale)
        if selected is not None and selected["optimizer"] == panel.optimizer:
            _mark(axis, grid.position(panel.learning_rates, panel.l2s, selected))
    if np.isfinite(accuracy).any():
        canvas.colour_bar(figure, axes, scale)
    canvas.legend(figure, _handles(panels, selected))
    return figure


def _draw_panel(axis: Axes, panel: grid.Panel, scale: canvas.Scale) -> None:
    errors = scale.errors(panel.accuracy)
    look: dict[str, Any] = {"aspect": "auto", "origin": "lower"}
    axis.imshow(errors, canvas.COLOURS, norm=scale.norm, **look)
    # The dark half of the map is the half with the large errors.
    ink = np.where(scale.norm(errors) > 0.45, "white", "black")
    _show_diverged(axis, panel, ink)
    for down, across in np.argwhere(panel.retired):
        look = {"color": ink[down, across], "linestyle": "none", **canvas.TRIANGLE}
        axis.plot(across - 0.38, down + 0.34, **look)
    if errors.shape[1] <= MOST_COLUMNS_WITH_TEXT:
        _write_cells(axis, panel, ink)
    canvas.label(axis, panel.optimizer, panel.accuracy, panel.retired, "cell")
    rates = [style.short_number(v) for v in panel.learning_rates]
    l2s = [style.short_number(v) for v in panel.l2s]
    axis.set_xticks(range(len(rates)), style.thinned(rates, 6))
    axis.set_yticks(range(len(l2s)), style.thinned(l2s, 8))
    if len(l2s) > 1 and panel.l2s[0] == 0:
        axis.axhline(0.5, color="white", linewidth=3)  # zero is off the log scale
    axis.spines[:].set_visible(False)


def _show_diverged(axis: Axes, panel: grid.Panel, ink: np.ndarray) -> None:
    """Grey where every lane of a cell diverged, a cross where some of them did."""
    from matplotlib.patches import Rectangle

    for down, across in np.argwhere(panel.diverged > 0):
        if panel.diverged[down, across] == 1:
            corner = across - 0.5, down - 0.5
            axis.add_patch(Rectangle(corner, 1, 1, **ALL_DIVERGED))
        else:
            colour = ink[down, across]
            axis.plot(across + 0.37, down + 0.34, color=colour, **canvas.CROSS)


def _write_cells(axis: Axes, panel: grid.Panel, ink: np.ndarray) -> None:
    for (down, across), accuracy in np.ndenumerate(panel.accuracy):
        if np.isfinite(accuracy):
            text, colour = f"{accuracy:.3f}", ink[down, across]
            look = style.CENTRED | {"fontsize": 7.5, "color": colour}
            axis.text(across, down, text, **look)


def _mark(axis: Axes, cell: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    down, across = cell
    for colour, width in (("white", 4.5), (style.CHOSEN, 2.2)):
        axis.add_patch(
            Rectangle(
                (across - 0.5, down - 0.5),
                1,
                1,
                fill=False,
                edgecolor=colour,
                linewidth=width,
                zorder=3,
                clip_on=False,
            )
        )


def _handles(panels: Sequence[grid.Panel], selected: ranking.Row | None) -> list[Any]:
    """What the legend explains: the marks that are there, and no other."""
    from matplotlib.patches import Patch

    share = np.concatenate([panel.diverged.ravel() for panel in panels])
    handles: list[Any] = []
    if selected is not None:
        edge = {"edgecolor": style.CHOSEN, "linewidth": 2.2}
        handles.append(Patch(facecolor="none", label="chosen", **edge))
    if (share == 1).any():
        handles.append(Patch(**ALL_DIVERGED, label="diverged"))
    if ((share > 0) & (share < 1)).any():
        label = "some lanes of the cell diverged"
        handles.append(canvas.mark(label, **canvas.CROSS))
    if any(panel.retired.any() for panel in panels):
        handles.append(canvas.mark(canvas.RETIRED, **canvas.TRIANGLE))
    if np.isnan(share).any():
        edge = {"edgecolor": "#bbbbbb", "linewidth": 0.7}
        handles.append(Patch(facecolor="none", label="no lane", **edge))
    return handles
