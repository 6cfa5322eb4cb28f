"""Held-out scores over the penalty, one panel for each feature set.

``draw`` takes arrays and returns a figure; it knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import learning_curves, regularization_path, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel(NamedTuple):
    """One feature set: how well each penalty does, in each of its choices of one."""

    title: str
    l2s: np.ndarray  # (K,), none twice
    loss: np.ndarray  # (G, K) of rows that were held out
    error: np.ndarray  # (G, K) standard errors of it, NaN where unknown
    labels: Sequence[str]  # G; choices of one label have one colour


@style.style()
def draw(panels: Sequence[Panel]) -> Figure:
    """The held-out loss, with a dot where each choice has its lowest.

    Args:
        panels: at least one.
    """
    figure, axes = canvas.make(len(panels))
    labels = list(dict.fromkeys(label for panel in panels for label in panel.labels))
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel, labels)
    if len(labels) > 1:
        handles = {
            name: handle
            for axis in axes
            for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower left", ncols=4
        )
    return figure


def _draw_panel(axis: Axes, panel: Panel, labels: Sequence[str]) -> None:
    at, seen = regularization_path.positions(panel.l2s), set()
    alone = len(panel.loss) == 1  # the bands of several would hide each other
    for label, loss, error in zip(panel.labels, panel.loss, panel.error, strict=True):
        look = {**style.series(labels.index(label)), "linewidth": 1.2, "zorder": 3}
        if alone and np.isfinite(error).any():
            low = np.maximum(loss - error, 1e-12)  # of a logarithmic axis
            band = {"color": learning_curves.BAND, "linewidth": 0}
            axis.fill_between(at, low, loss + error, **band)
        axis.plot(at, loss, label=None if label in seen else label, **look)
        seen.add(label)
        best = int(np.argmin(loss))
        mark = {"color": style.CHOSEN, "markersize": 5, "zorder": 4}
        axis.plot(at[best], loss[best], "o", **mark)
    # The band of the lowest loss is what a choice is judged by.
    bands = panel.loss - np.nan_to_num(panel.error) if alone else panel.loss
    lowest = bands.min(axis=1, keepdims=True)
    learning_curves.loss_axis(axis, *learning_curves.worth_seeing(panel.loss, lowest))
    regularization_path.l2_axis(axis, panel.l2s, {})
    axis.set_title(style.short_name(panel.title, 40))
