"""What the pictures of a whole sweep share: panels, the scale of colours, marks.

A panel is of one optimizer. ``heatmap`` draws the cells of a grid, ``scatter`` draws
points; both colour them by the logarithm of the error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

# Bright is good; perceptually even and safe for the colour-blind.
COLOURS = "viridis_r"
CROSS = {"marker": "x", "markersize": 4, "markeredgewidth": 0.9}
TRIANGLE = {"marker": "v", "markersize": 4, "markeredgewidth": 0}
RETIRED = "not trained to the end: the accuracy by then"
WIDTH, HEIGHT = 3.7, 2.2  # of the largest panel, inches


class Scale(NamedTuple):
    """From accuracies to colours, the same for all panels of a figure."""

    floor: float  # the error rate that stands for zero
    ends: tuple[float, float]  # the error rates at which the colours end
    norm: Normalize
    below: bool  # some accuracy lies below the colours

    def errors(self, accuracy: np.ndarray) -> np.ndarray:
        """Error rates that ``norm`` takes.

        Args:
            accuracy: any shape, NaN where unknown.
        """
        return style.error_rates(accuracy, self.floor)


def scale(accuracy: np.ndarray) -> Scale:
    """The scale of colours that fits the accuracies of a figure.

    Args:
        accuracy: of all panels, (P,), NaN where unknown.
    """
    from matplotlib.colors import LogNorm

    floor = style.error_floor(accuracy)
    ends = error_range(style.error_rates(accuracy, floor))
    below = bool((1 - accuracy > 1.001 * ends[1]).any())
    return Scale(floor, ends, LogNorm(*ends, clip=True), below)


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


def make(
    count: int, width: float = WIDTH, height: float = HEIGHT
) -> tuple[Figure, Sequence[Axes]]:
    """An empty figure with panels, at most two in a row.

    Args:
        count: of panels, at least one.
        width: of each panel, inches.
        height: of each panel, inches.
    """
    from matplotlib.figure import Figure

    across = min(2, count)
    down = -(-count // across)
    size = max(across * (width + 0.8) + 0.9, 5.0), down * (height + 0.7) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def label(
    axis: Axes, optimizer: str, accuracy: np.ndarray, retired: np.ndarray, what: str
) -> None:
    """Titles a panel with its best accuracy, and names its axes.

    Args:
        axis: of the panel.
        optimizer: of the panel.
        accuracy: any shape, NaN where unknown.
        retired: bool, of the same shape: these are never the best.
        what: an accuracy belongs to: "cell".
    """
    best = accuracy[np.isfinite(accuracy) & ~retired]
    if best.size:
        text = f"best {what} {best.max():.4f}"
    else:
        text = "no lane finished" if retired.any() else "every lane diverged"
    axis.set_title(f"{optimizer}: {text}")
    axis.set_xlabel("learning rate")
    axis.set_ylabel("l2")
    axis.tick_params(length=2)


def colour_bar(figure: Figure, axes: Sequence[Axes], scale: Scale) -> None:
    """Says beside the panels which accuracy a colour is.

    Args:
        figure: with panels.
        axes: of the panels.
        scale: of their colours.
    """
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(
        ScalarMappable(scale.norm, COLOURS),
        ax=axes,
        aspect=30,
        extendfrac=0.03,
        extend="max" if scale.below else "neither",
    )
    bar.ax.invert_yaxis()  # high accuracy on top
    bar.ax.minorticks_off()
    ticks, labels = style.accuracy_ticks(*scale.ends)
    bar.set_ticks(ticks, labels=labels)
    bar.set_label("validation accuracy")
    bar.ax.set_frame_on(False)


def mark(label: str, **look: Any) -> Any:
    """A mark for the legend.

    Args:
        label: what it means.
        **look: of matplotlib's Line2D.
    """
    from matplotlib.lines import Line2D

    whole: dict[str, Any] = {"color": "black", "linestyle": "none", **look}
    return Line2D([], [], label=label, **whole)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Explains the marks below the panels, if there are any.

    Args:
        figure: with panels.
        handles: artists with labels, such as ``mark`` makes.
    """
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=4)
