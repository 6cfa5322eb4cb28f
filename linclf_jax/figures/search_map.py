"""The map of a search: validation accuracy over learning rate and l2.

A panel is of one optimizer. A grid is drawn as a heat map, a random sample as a scatter
of points; colours follow the logarithm of the error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linclf_jax.figures import canvas, search_grid, style
from linclf_jax.figures.search_grid import Panel, Setting

MOST_COLUMNS_WITH_TEXT = 8
COLOURS = "viridis_r"  # bright is good; perceptually even, safe for the colour-blind
# Light enough for the dark points and the crosses, dark enough for the bright points.
GROUND = "#e9e9ec"
OUTLINE = ("white", 4.5, None), (style.CHOSEN, 2.2, "chosen")  # colour, width, label
CROSS = {"marker": "x", "markersize": 4, "markeredgewidth": 0.9, "linestyle": "none"}
TRIANGLE = {"marker": "v", "markersize": 4, "markeredgewidth": 0, "linestyle": "none"}
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": "none",
    "linestyle": "none",
}
GREY = "#a0a0a0"  # of the points that diverged
HATCHED = {"facecolor": "#e4e4e4", "edgecolor": "#a8a8a8", "hatch": "////"}
SOME_DIVERGED = "some trials of the cell diverged"
NOT_TO_THE_END = "not trained to the end: the accuracy by then"


@style.style()
def draw(
    settings: Sequence[Setting], chosen: tuple[str, float, float] | None = None
) -> canvas.Figure:
    """A heat map of a grid, a scatter of a sample.

    ``chosen`` is the optimizer, the learning rate and the l2 to mark, if any.
    """
    from matplotlib.colors import LogNorm

    is_scattered = search_grid.is_scattered(settings)
    panels = (search_grid.points if is_scattered else search_grid.cells)(settings)
    figure, axes = canvas.panels(len(panels), *_size(panels, is_scattered))
    accuracy = np.concatenate([panel.accuracy.ravel() for panel in panels])
    floor = canvas.error_floor(accuracy)
    norm = LogNorm(*error_range(canvas.error_rates(accuracy, floor)), clip=True)
    noun, draw_panel, mark = (
        ("point", _draw_points, _mark_point)
        if is_scattered
        else ("cell", _draw_cells, _mark_cell)
    )
    for axis, panel in zip(axes, panels, strict=True):
        if chosen and chosen[0] == panel.optimizer:
            mark(axis, panel, *chosen[1:])
        draw_panel(axis, panel, canvas.error_rates(panel.accuracy, floor), norm)
        axis.set_title(f"{panel.optimizer}: {_best(panel, noun)}")
        axis.set(xlabel="learning rate", ylabel="l2")
        axis.tick_params(length=2)
    if np.isfinite(accuracy).any():
        _colour_bar(axes, norm, lowest=float(np.nanmin(accuracy)))
    canvas.legend(figure)
    return figure


def _size(panels: Sequence[Panel], is_scattered: bool) -> tuple[float, float]:
    if is_scattered:
        return canvas.WIDTH, canvas.HEIGHT
    across = max(panel.learning_rates.size for panel in panels)
    down = max(panel.l2s.size for panel in panels)
    return min(canvas.WIDTH, 0.5 * across), min(canvas.HEIGHT, 0.7 + 0.3 * down)


def error_range(errors: np.ndarray) -> tuple[float, float]:
    """The error rates at the two ends of the shared colour scale.

    They are the smallest of ``errors``, with NaN, and ten times it, or 0.3 if that is
    more, or the largest if that is less: a decade at the top tells 0.97 from 0.98, and
    what lies below is merely bad.
    """
    known = errors[np.isfinite(errors)]
    if not known.size:
        return 0.01, 1.0
    lowest = float(known.min())
    highest = min(float(known.max()), max(10 * lowest, 0.3))
    return lowest, max(highest, 1.25 * lowest)


def _best(panel: Panel, noun: str) -> str:
    """The best accuracy in words; what was retired is never the best."""
    best = panel.accuracy[np.isfinite(panel.accuracy) & ~panel.retired]
    if best.size:
        return f"best {noun} {best.max():.4f}"
    return "no trial finished" if panel.retired.any() else "every trial diverged"


def _colour_bar(axes: Sequence[canvas.Axes], norm: Any, lowest: float) -> None:
    """Says beside the panels which accuracy a colour is."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter

    bar = axes[0].figure.colorbar(
        ScalarMappable(norm, COLOURS),
        ax=axes,
        label="validation accuracy",
        aspect=30,
        extendfrac=0.03,
        extend="max" if 1 - lowest > 1.001 * norm.vmax else "neither",
        ticks=canvas.log_locator(norm.vmin, norm.vmax),
        format=FuncFormatter(canvas.accuracy_label),
    )
    bar.ax.invert_yaxis()  # high accuracy on top
    bar.ax.minorticks_off()
    bar.ax.set_frame_on(False)


def _draw_cells(axis: canvas.Axes, panel: Panel, errors: np.ndarray, norm: Any) -> None:
    axis.imshow(errors, COLOURS, norm=norm, aspect="auto", origin="lower")
    # The dark half of the map is the half with the large errors.
    ink = np.where(norm(errors) > 0.45, "white", "black")
    some = (panel.diverged > 0) & (panel.diverged < 1)
    for cell in np.argwhere(panel.diverged == 1):
        _frame(axis, cell, label="diverged", linewidth=0, **HATCHED)
    _corner_marks(axis, some, 0.37, ink, SOME_DIVERGED, CROSS)
    _corner_marks(axis, panel.retired, -0.38, ink, NOT_TO_THE_END, TRIANGLE)
    for cell in np.argwhere(np.isnan(panel.diverged)):
        look = {"edgecolor": "#bbbbbb", "linewidth": 0.7, "zorder": 0.5}
        _frame(axis, cell, label="no trial", facecolor="none", **look)
    if errors.shape[1] <= MOST_COLUMNS_WITH_TEXT:
        _write_accuracies(axis, panel.accuracy, ink)
    rates = [style.short_number(value) for value in panel.learning_rates]
    l2s = [style.short_number(value) for value in panel.l2s]
    axis.set_xticks(range(len(rates)), style.thinned(rates, 6))
    axis.set_yticks(range(len(l2s)), style.thinned(l2s, 8))
    if len(l2s) > 1 and panel.l2s[0] == 0:
        axis.axhline(0.5, color="white", linewidth=3)  # zero is off the log scale
    axis.spines[:].set_visible(False)


def _mark_cell(axis: canvas.Axes, panel: Panel, rate: float, l2: float) -> None:
    cell = panel.l2s.searchsorted(l2), panel.learning_rates.searchsorted(rate)
    for colour, width, label in OUTLINE:
        look = {"edgecolor": colour, "linewidth": width, "zorder": 3, "label": label}
        _frame(axis, cell, fill=False, clip_on=False, **look)


def _frame(axis: canvas.Axes, cell: Any, **look: Any) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((cell[1] - 0.5, cell[0] - 0.5), 1, 1, **look))


def _corner_marks(
    axis: canvas.Axes,
    which: np.ndarray,
    offset: float,
    ink: np.ndarray,
    label: str,
    look: dict[str, Any],
) -> None:
    """Marks cells in a corner, in their ink; the legend has the mark in black."""
    for down, across in np.argwhere(which):
        colour = ink[down, across]
        axis.plot(across + offset, down + 0.34, color=colour, **look)
    if which.any():
        axis.plot([], [], color="black", label=label, **look)


def _write_accuracies(axis: canvas.Axes, accuracy: np.ndarray, ink: np.ndarray) -> None:
    for (down, across), value in np.ndenumerate(accuracy):
        if np.isfinite(value):
            look = {"fontsize": 7.5, "color": ink[down, across]}
            text = f"{value:.3f}"
            axis.text(across, down, text, ha="center", va="center", **look)


def _draw_points(
    axis: canvas.Axes, panel: Panel, errors: np.ndarray, norm: Any
) -> None:
    """Crosses, then the retired, then those that finished, the best of each last."""
    rates, l2s, lost = panel.learning_rates, panel.l2s, panel.diverged > 0
    axis.set_facecolor(GROUND)
    canvas.value_axis(axis, rates)
    canvas.value_axis(axis, l2s, vertical=True)
    if lost.any():
        axis.plot(rates[lost], l2s[lost], color=GREY, label="diverged", **CROSS)
    order = np.argsort(-errors, kind="stable")
    order = order[np.isfinite(errors[order])]
    early, finished = order[panel.retired[order]], order[~panel.retired[order]]
    look: dict[str, Any] = {"norm": norm, "cmap": COLOURS, "linewidths": 0}
    if early.size:
        marks = {"marker": "v", "s": 10, "label": NOT_TO_THE_END}
        axis.scatter(rates[early], l2s[early], c=errors[early], **look, **marks)
    axis.scatter(rates[finished], l2s[finished], c=errors[finished], s=18, **look)


def _mark_point(axis: canvas.Axes, panel: Panel, rate: float, l2: float) -> None:
    del panel
    for colour, width, label in OUTLINE:
        look = {"markeredgecolor": colour, "markeredgewidth": width, "zorder": 7}
        axis.plot(rate, l2, label=label, clip_on=False, **RING, **look)
