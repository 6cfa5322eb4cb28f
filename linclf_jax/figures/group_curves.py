"""Learning curves of a table's cells: a panel for each value of its first column.

``draw`` takes arrays and returns a figure; it knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import learning_curves, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, in an order in which neighbours differ in lightness, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
DASHES = ("-", "--", ":")
MOST_ACROSS = 2


class Curve(NamedTuple):
    """How the choice of one cell was trained."""

    panel: str
    line: str  # what it is called in its panel
    accuracy: np.ndarray  # (E,), on validation rows; NaN after its end
    epoch: int | None  # that was kept, from 1; None for the last


@style.style()
def draw(found: Sequence[Curve]) -> Figure:
    """Validation accuracy by epoch.

    Args:
        found: of each cell that has a choice, at least one.
    """
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(curve.panel for curve in found))
    across = min(MOST_ACROSS, len(panels))
    down = -(-len(panels) // across)
    size = 4.6 * across + 0.4, 3.0 * down + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    everything = np.concatenate([curve.accuracy for curve in found])
    floor = style.error_floor(everything)
    errors = style.error_rates(everything, floor)
    seen = learning_curves.worth_seeing(errors, errors)
    looks = _looks(found)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for curve in (curve for curve in found if curve.panel == panel):
            _draw_curve(axis, curve, floor, looks[curve.line])
        learning_curves.accuracy_axis(axis, *seen)
        axis.set_title(panel)
    axes[0, 0].set_ylabel("validation accuracy")
    handles = [_line(name, look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


def _looks(found: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(curve.line for curve in found)
    return {
        name: {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        }
        for number, name in enumerate(names)
    }


def _draw_curve(axis: Axes, curve: Curve, floor: float, look: dict[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    errors = style.error_rates(curve.accuracy, floor)
    epochs = np.arange(1, errors.size + 1)
    marker = "o" if errors.size == 1 else None  # one epoch is a point, not a line
    axis.plot(epochs, errors, linewidth=1.4, marker=marker, **look)
    if curve.epoch:
        kept = curve.epoch - 1
        axis.plot(epochs[kept], errors[kept], marker="o", color=look["color"])
    axis.xaxis.set_major_locator(
        MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    )
    axis.set_xlabel("epoch")
    axis.grid(axis="y", color="#eeeeee", linewidth=0.7)
    axis.set_axisbelow(True)


def _line(name: str, look: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, linewidth=1.4, **look)
