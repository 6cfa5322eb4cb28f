"""The heat map of a sweep: validation accuracy over learning rate and l2.

``draw`` takes rows and returns a figure; it knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linclf_jax import results
from linclf_jax.runs import figures, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

MOST_COLUMNS_WITH_TEXT = 8
# Bright is good; perceptually even and safe for the colour-blind.
COLOURS = "viridis"
ALL_DIVERGED = {
    **{"facecolor": "#e4e4e4", "edgecolor": "#a8a8a8"},
    **{"hatch": "////", "linewidth": 0},
}
CROSS = {"markersize": 4, "markeredgewidth": 0.9}


def error_range(errors: np.ndarray) -> tuple[float, float]:
    """The error rates at the two ends of the shared colour scale.

    Args:
        errors: positive error rates, any shape, with NaN.

    Returns:
        The smallest error rate and ten times it, or 0.3 if that is more, or the
        largest if that is less: a decade at the top tells 0.97 from 0.98, and what
        lies below is merely bad.
    """
    known = errors[np.isfinite(errors)]
    if not known.size:
        return 0.01, 1.0
    lowest = float(known.min())
    highest = min(float(known.max()), max(10 * lowest, 0.3))
    return lowest, max(highest, 1.25 * lowest)


@figures.style()
def draw(rows: Sequence[results.Row], selected: results.Row | None) -> Figure:
    """Validation accuracy over learning rate and l2, one panel for each optimizer.

    Args:
        rows: rows of ``results.jsonl``, at least one.
        selected: the chosen row, or None.
    """
    from matplotlib.colors import LogNorm

    panels = grid.arrange(rows)
    figure, axes = _canvas(panels)
    accuracy = np.concatenate([panel.accuracy.ravel() for panel in panels])
    floor = figures.error_floor(accuracy)
    ends = error_range(figures.error_rates(accuracy, floor))
    norm = LogNorm(*ends, clip=True)
    for axis, panel in zip(axes, panels, strict=False):
        errors = figures.error_rates(panel.accuracy, floor)
        _draw_panel(axis, panel, errors, norm)
        if selected is not None and selected["optimizer"] == panel.optimizer:
            _mark(axis, grid.position(panel.learning_rates, panel.l2s, selected))
    if np.isfinite(accuracy).any():
        below = bool(np.nanmax(1 - accuracy) > 1.001 * ends[1])
        _colour_bar(figure, axes[: len(panels)], norm, ends, below=below)
    _legend(figure, panels, selected)
    return figure


def _canvas(panels: Sequence[grid.Panel]) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    across = min(2, len(panels))
    down = -(-len(panels) // across)
    width = min(3.7, 0.5 * max(panel.learning_rates.size for panel in panels))
    height = min(2.2, 0.7 + 0.3 * max(panel.l2s.size for panel in panels))
    size = max(across * (width + 0.8) + 0.9, 5.0), down * (height + 0.7) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axis in axes[len(panels) :]:
        axis.remove()
    return figure, axes


def _draw_panel(
    axis: Axes, panel: grid.Panel, errors: np.ndarray, norm: Normalize
) -> None:
    axis.imshow(errors, COLOURS + "_r", norm=norm, aspect="auto", origin="lower")
    # The dark half of the map is the half with the large errors.
    ink = np.where(norm(errors) > 0.45, "white", "black")
    _show_diverged(axis, panel, ink)
    if errors.shape[1] <= MOST_COLUMNS_WITH_TEXT:
        _write_cells(axis, panel, ink)
    best = panel.accuracy[np.isfinite(panel.accuracy)]
    title = f"best cell {best.max():.4f}" if best.size else "every lane diverged"
    axis.set_title(f"{panel.optimizer}: {title}")
    rates = [figures.short_number(v) for v in panel.learning_rates]
    l2s = [figures.short_number(v) for v in panel.l2s]
    axis.set_xticks(range(len(rates)), figures.thinned(rates, 6))
    axis.set_yticks(range(len(l2s)), figures.thinned(l2s, 8))
    if len(l2s) > 1 and panel.l2s[0] == 0:
        axis.axhline(0.5, color="white", linewidth=3)  # zero is off the log scale
    axis.tick_params(length=2)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("learning rate")
    axis.set_ylabel("l2")


def _show_diverged(axis: Axes, panel: grid.Panel, ink: np.ndarray) -> None:
    """Grey where every lane of a cell diverged, a cross where some of them did."""
    from matplotlib.patches import Rectangle

    for down, across in np.argwhere(panel.diverged > 0):
        if panel.diverged[down, across] == 1:
            corner = across - 0.5, down - 0.5
            axis.add_patch(Rectangle(corner, 1, 1, **ALL_DIVERGED))
        else:
            colour = ink[down, across]
            axis.plot(across + 0.37, down + 0.34, "x", color=colour, **CROSS)


def _write_cells(axis: Axes, panel: grid.Panel, ink: np.ndarray) -> None:
    for (down, across), accuracy in np.ndenumerate(panel.accuracy):
        if np.isfinite(accuracy):
            text, colour = f"{accuracy:.3f}", ink[down, across]
            look = figures.CENTRED | {"fontsize": 7.5, "color": colour}
            axis.text(across, down, text, **look)


def _mark(axis: Axes, cell: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    down, across = cell
    for colour, width in (("white", 4.5), (figures.CHOSEN, 2.2)):
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


def _colour_bar(
    figure: Figure,
    axes: Sequence[Axes],
    norm: Normalize,
    ends: tuple[float, float],
    *,
    below: bool,
) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(
        ScalarMappable(norm, COLOURS + "_r"),
        ax=axes,
        aspect=30,
        extendfrac=0.03,
        extend="max" if below else "neither",
    )
    bar.ax.invert_yaxis()  # high accuracy on top
    bar.ax.minorticks_off()
    ticks, labels = figures.accuracy_ticks(*ends)
    bar.set_ticks(ticks, labels=labels)
    bar.set_label("validation accuracy")
    bar.ax.set_frame_on(False)


def _legend(
    figure: Figure, panels: Sequence[grid.Panel], selected: results.Row | None
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    share = np.concatenate([panel.diverged.ravel() for panel in panels])
    handles: list[Any] = []
    if selected is not None:
        edge = {"edgecolor": figures.CHOSEN, "linewidth": 2.2}
        handles.append(Patch(facecolor="none", label="chosen", **edge))
    if (share == 1).any():
        handles.append(Patch(**ALL_DIVERGED, label="diverged"))
    if ((share > 0) & (share < 1)).any():
        label = "some lanes of the cell diverged"
        cross = {"marker": "x", "color": "black", "linestyle": "none", **CROSS}
        handles.append(Line2D([], [], label=label, **cross))
    if np.isnan(share).any():
        edge = {"edgecolor": "#bbbbbb", "linewidth": 0.7}
        handles.append(Patch(facecolor="none", label="no lane", **edge))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=4)
