"""The map of a search: validation accuracy over learning rate and l2.

A panel is of one optimizer. A grid is drawn as a heat map, a random sample as a scatter
of points; colours follow the logarithm of the error rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import search_grid, style
from linclf_jax.figures.search_grid import Panel, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

MOST_COLUMNS_WITH_TEXT = 8
COLOURS = "viridis_r"  # bright is good; perceptually even, safe for the colour-blind
# Light enough for the dark points and the crosses, dark enough for the bright points.
GROUND = "#e9e9ec"
CROSS = {"marker": "x", "markersize": 4, "markeredgewidth": 0.9}
TRIANGLE = {"marker": "v", "markersize": 4, "markeredgewidth": 0}
RING = {"marker": "o", "markersize": 9, "markerfacecolor": "none"}
GREY = "#a0a0a0"  # of the points that diverged
HATCHED: dict[str, Any] = {
    "facecolor": "#e4e4e4",
    "edgecolor": "#a8a8a8",
    "hatch": "////",
    "linewidth": 0,
}


class Scale(NamedTuple):
    """From accuracies to colours, the same for all panels of a figure."""

    floor: float  # the error rate that stands for zero
    ends: tuple[float, float]  # the error rates at which the colours end
    norm: Normalize
    below: bool  # some accuracy lies below the colours


@style.style()
def draw(
    settings: Sequence[Setting], chosen: tuple[str, float, float] | None = None
) -> Figure:
    """A heat map of a grid, a scatter of a sample.

    Args:
        settings: of the whole search, at least one.
        chosen: optimizer, learning rate and l2 to mark, if any.
    """
    scattered = search_grid.is_scattered(settings)
    arrange = search_grid.points if scattered else search_grid.cells
    panels = arrange(settings)
    figure, axes = canvas.panels(len(panels), **({} if scattered else _size(panels)))
    accuracy = np.concatenate([panel.accuracy.ravel() for panel in panels])
    scale = _scale(accuracy)
    draw_panel = _draw_points if scattered else _draw_cells
    for axis, panel in zip(axes, panels, strict=True):
        marked = chosen[1:] if chosen and chosen[0] == panel.optimizer else None
        draw_panel(axis, panel, scale, marked)
        _label(axis, panel, "point" if scattered else "cell")
    if np.isfinite(accuracy).any():
        _colour_bar(figure, axes, scale)
    canvas.legend(figure, list(_handles(panels, chosen is not None, scattered)))
    return figure


def _size(panels: Sequence[Panel]) -> dict[str, float]:
    across = max(panel.learning_rates.size for panel in panels)
    down = max(panel.l2s.size for panel in panels)
    width = min(canvas.WIDTH, 0.5 * across)
    return {"width": width, "height": min(canvas.HEIGHT, 0.7 + 0.3 * down)}


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


def _scale(accuracy: np.ndarray) -> Scale:
    from matplotlib.colors import LogNorm

    floor = canvas.error_floor(accuracy)
    ends = error_range(canvas.error_rates(accuracy, floor))
    below = bool((1 - accuracy > 1.001 * ends[1]).any())
    return Scale(floor, ends, LogNorm(*ends, clip=True), below)


def _label(axis: Axes, panel: Panel, what: str) -> None:
    """Titles a panel with its best accuracy; what was retired is never the best."""
    best = panel.accuracy[np.isfinite(panel.accuracy) & ~panel.retired]
    text = "no trial finished" if panel.retired.any() else "every trial diverged"
    if best.size:
        text = f"best {what} {best.max():.4f}"
    axis.set_title(f"{panel.optimizer}: {text}")
    axis.set_xlabel("learning rate")
    axis.set_ylabel("l2")
    axis.tick_params(length=2)


def _colour_bar(figure: Figure, axes: Sequence[Axes], scale: Scale) -> None:
    """Says beside the panels which accuracy a colour is."""
    from matplotlib.cm import ScalarMappable

    colours = ScalarMappable(scale.norm, COLOURS)
    extend = "max" if scale.below else "neither"
    bar = figure.colorbar(colours, ax=axes, aspect=30, extendfrac=0.03, extend=extend)
    bar.ax.invert_yaxis()  # high accuracy on top
    bar.ax.minorticks_off()
    ticks, labels = canvas.accuracy_ticks(*scale.ends)
    bar.set_ticks(ticks, labels=labels)
    bar.set_label("validation accuracy")
    bar.ax.set_frame_on(False)


def _draw_cells(
    axis: Axes, panel: Panel, scale: Scale, marked: tuple[float, float] | None
) -> None:
    from matplotlib.patches import Rectangle

    errors = canvas.error_rates(panel.accuracy, scale.floor)
    axis.imshow(errors, COLOURS, norm=scale.norm, aspect="auto", origin="lower")
    # The dark half of the map is the half with the large errors.
    ink = np.where(scale.norm(errors) > 0.45, "white", "black")
    for down, across in np.argwhere(panel.diverged == 1):
        axis.add_patch(Rectangle((across - 0.5, down - 0.5), 1, 1, **HATCHED))
    for down, across in np.argwhere((panel.diverged > 0) & (panel.diverged < 1)):
        axis.plot(across + 0.37, down + 0.34, color=ink[down, across], **CROSS)
    for down, across in np.argwhere(panel.retired):
        axis.plot(across - 0.38, down + 0.34, color=ink[down, across], **TRIANGLE)
    if errors.shape[1] <= MOST_COLUMNS_WITH_TEXT:
        _write_cells(axis, panel.accuracy, ink)
    rates, l2s = (
        [style.short_number(value) for value in values]
        for values in (panel.learning_rates, panel.l2s)
    )
    axis.set_xticks(range(len(rates)), style.thinned(rates, 6))
    axis.set_yticks(range(len(l2s)), style.thinned(l2s, 8))
    if len(l2s) > 1 and panel.l2s[0] == 0:
        axis.axhline(0.5, color="white", linewidth=3)  # zero is off the log scale
    axis.spines[:].set_visible(False)
    if marked:
        _frame(axis, search_grid.position(panel.learning_rates, panel.l2s, *marked))


def _write_cells(axis: Axes, accuracy: np.ndarray, ink: np.ndarray) -> None:
    for (down, across), value in np.ndenumerate(accuracy):
        if np.isfinite(value):
            look = style.CENTRED | {"fontsize": 7.5, "color": ink[down, across]}
            axis.text(across, down, f"{value:.3f}", **look)


def _frame(axis: Axes, cell: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    corner = cell[1] - 0.5, cell[0] - 0.5
    for colour, width in (("white", 4.5), (style.CHOSEN, 2.2)):
        look = {"edgecolor": colour, "linewidth": width, "zorder": 3}
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, clip_on=False, **look))


def _draw_points(
    axis: Axes, panel: Panel, scale: Scale, marked: tuple[float, float] | None
) -> None:
    """Crosses, then the retired, then those that finished, the best of each last."""
    rates, heights = panel.learning_rates, canvas.positions(panel.l2s)
    _point_axes(axis, panel, heights)
    errors = canvas.error_rates(panel.accuracy, scale.floor)
    lost = panel.diverged > 0
    axis.scatter(rates[lost], heights[lost], c=GREY, marker="x", s=7, linewidths=0.6)
    looks = (panel.retired, "v", 8), (~panel.retired, "o", 12)
    for which, marker, size in looks:
        shown = np.flatnonzero(np.isfinite(errors) & which)
        order = shown[np.argsort(-errors[shown], kind="stable")]
        look = {"marker": marker, "s": size, "linewidths": 0}
        colours: dict[str, Any] = {"norm": scale.norm, "cmap": COLOURS}
        axis.scatter(rates[order], heights[order], c=errors[order], **colours, **look)
    if marked:
        rate, l2 = marked
        height = heights[np.flatnonzero(panel.l2s == l2)[0]]
        for colour, width in (("white", 4.0), (style.CHOSEN, 2.0)):
            edge = {"markeredgecolor": colour, "markeredgewidth": width, "zorder": 3}
            axis.plot(rate, height, clip_on=False, **RING, **edge)


def _point_axes(axis: Axes, panel: Panel, heights: np.ndarray) -> None:
    """Two logarithmic axes; zero, off the scale, has a strip below the others."""
    axis.set_facecolor(GROUND)
    rates = canvas.log_ticks(panel.learning_rates)
    axis.set_xscale("log")
    axis.set_xlim(panel.learning_rates.min() / 1.3, panel.learning_rates.max() * 1.3)
    axis.set_xticks(rates, [style.short_number(tick) for tick in rates])
    axis.set_xticks([], minor=True)
    positive = panel.l2s[panel.l2s > 0]
    low, _, margin = canvas.log_range(panel.l2s)
    ticks = canvas.log_ticks(positive)
    labels = [style.short_number(tick) for tick in ticks]
    if positive.size < panel.l2s.size:
        ticks, labels = [float(heights.min()), *ticks], ["0", *labels]
        if positive.size:
            axis.axhline(low / margin**1.5, color="white", linewidth=3, zorder=1)
    axis.set_yscale("log")
    axis.set_ylim(heights.min() / margin**1.5, heights.max() * margin)
    axis.set_yticks(ticks, labels)
    axis.set_yticks([], minor=True)


def _handles(panels: Sequence[Panel], chosen: bool, scattered: bool) -> Iterator[Any]:
    """What the legend explains: the marks that are there, and no other."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def mark(label: str, look: dict[str, Any], **more: Any) -> Any:
        return Line2D([], [], label=label, linestyle="none", **look, **more)

    share = np.concatenate([panel.diverged.ravel() for panel in panels])
    if chosen and scattered:
        edge = {"markeredgecolor": style.CHOSEN, "markeredgewidth": 2.0}
        yield mark("chosen", RING, **edge)
    elif chosen:
        edge = {"edgecolor": style.CHOSEN, "linewidth": 2.2}
        yield Patch(facecolor="none", label="chosen", **edge)
    if scattered and (share > 0).any():
        yield mark("diverged", CROSS, color=GREY)
    if not scattered and (share == 1).any():
        yield Patch(label="diverged", **HATCHED)
    if ((share > 0) & (share < 1)).any():
        yield mark("some trials of the cell diverged", CROSS, color="black")
    if any(panel.retired.any() for panel in panels):
        label = "not trained to the end: the accuracy by then"
        yield mark(label, TRIANGLE, color="black")
    if np.isnan(share).any():
        edge = {"edgecolor": "#bbbbbb", "linewidth": 0.7}
        yield Patch(facecolor="none", label="no trial", **edge)
