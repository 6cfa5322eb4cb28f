"""Figures that compare scores: each with its interval, or over the number of shots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LENGTH = 46  # of a name beside the axis, at most
ROW = 0.32  # inches
HOLLOW: dict[str, Any] = {
    "marker": "D",
    "markersize": 5,
    "markerfacecolor": "none",
    "color": "#777777",
    "linestyle": "none",
    "zorder": 3,
}


class Estimate(NamedTuple):
    """A number, and how far from it the truth may be."""

    name: str
    value: float
    low: float
    high: float
    note: str  # the numbers in words, at the right
    marked: bool  # in the colour of the choice
    other: float | None = None  # a second number of the same thing, as a hollow mark


class ShotCurve(NamedTuple):
    """A score over the number of shots, of one feature set."""

    name: str
    shots: Sequence[int]  # (K,), rising
    mean: Sequence[float]  # (K,) over seeds
    sd: Sequence[float]  # (K,), 0 of a single seed
    scores: Sequence[Sequence[float]]  # (K,) times the score of each seed


@style.style()
def forest(
    estimates: Sequence[Estimate],
    *,
    label: str,
    other: str = "",
    reference: float | None = None,
) -> Figure:
    """Numbers with their intervals, one below the other, in the order given.

    Args:
        estimates: at least one.
        label: what the axis has.
        other: what the hollow marks are.
        reference: where a vertical line says that nothing is different.
    """
    from matplotlib.figure import Figure

    count = len(estimates)
    figure = Figure(figsize=(9.2, ROW * count + 0.85), layout="constrained")
    axis = figure.subplots()
    if reference is not None:
        axis.axvline(reference, color="#999999", linewidth=0.8, linestyle="--")
    for height, each in enumerate(estimates):
        _draw_estimate(axis, height, each)
    names = [style.short_name(each.name, LENGTH) for each in estimates]
    axis.set_yticks(range(count), names)
    axis.set_ylim(count - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label)
    canvas.rule(axis, "x")
    if any(each.other is not None for each in estimates):
        axis.plot([], [], label=other, **HOLLOW)
        figure.legend(loc="outside lower right")
    return figure


def _draw_estimate(axis: Axes, height: int, each: Estimate) -> None:
    colour = style.CHOSEN if each.marked else style.TYPICAL
    axis.hlines(height, each.low, each.high, color=colour, linewidth=1.6)
    axis.plot(each.value, height, "o", color=colour, markersize=6, zorder=4)
    if each.other is not None:
        axis.plot(each.other, height, **HOLLOW)
    beside = {"xycoords": axis.get_yaxis_transform(), "va": "center", "fontsize": 8}
    axis.annotate(each.note, (1.02, height), annotation_clip=False, **beside)


@style.style()
def shots(curves: Sequence[ShotCurve], *, label: str) -> Figure:
    """A score over the number of shots: every seed a dot, their mean a line.

    Args:
        curves: of the feature sets, at least one.
        label: what the vertical axis has.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.3), layout="constrained")
    axis = figure.subplots()
    for number, curve in enumerate(curves):
        _draw_shots(axis, curve, style.series(number))
    counts = sorted({count for curve in curves for count in curve.shots})
    axis.set_xscale("log")
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.set_xticks([], minor=True)
    axis.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)
    axis.set_xlabel("training rows of each class")
    axis.set_title(label)
    canvas.rule(axis)
    if len(curves) > 1:
        figure.legend(loc="outside right upper")
    return figure


def _draw_shots(axis: Axes, curve: ShotCurve, look: dict[str, Any]) -> None:
    mean, sd = np.asarray(curve.mean), np.asarray(curve.sd)
    shots, colour = np.asarray(curve.shots), look["color"]
    band = {"color": colour, "alpha": 0.15, "linewidth": 0}
    axis.fill_between(shots, mean - sd, mean + sd, **band)
    for count, scores in zip(curve.shots, curve.scores, strict=True):
        at = np.full(len(scores), count)
        axis.plot(at, scores, ".", color=colour, markersize=4, alpha=0.7)
    name = style.short_name(curve.name, 28)
    axis.plot(shots, mean, marker="o", markersize=5, linewidth=1.6, label=name, **look)
