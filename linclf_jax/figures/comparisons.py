"""Figures that compare scores: each with its interval, or over the number of shots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.figures import canvas, style

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
) -> canvas.Figure:
    """Numbers with their intervals, one below the other, in the order given.

    ``label`` says what the axis has and ``other`` what the hollow marks are; at
    ``reference`` a vertical line says that nothing is different.
    """
    count = len(estimates)
    figure, (axis,) = canvas.subplots(9.2, ROW * count + 0.85)
    if reference is not None:
        axis.axvline(reference, color="#999999", linewidth=0.8, linestyle="--")
    for height, each in enumerate(estimates):
        _draw_estimate(axis, height, each, other)
    names = [style.short_name(each.name, LENGTH) for each in estimates]
    axis.set_yticks(range(count), names)
    axis.set_ylim(count - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label)
    canvas.rule(axis, "x")
    canvas.legend(figure, where="outside lower right")
    return figure


def _draw_estimate(axis: canvas.Axes, height: int, each: Estimate, other: str) -> None:
    colour = style.CHOSEN if each.marked else style.TYPICAL
    axis.hlines(height, each.low, each.high, color=colour, linewidth=1.6)
    axis.plot(each.value, height, "o", color=colour, markersize=6, zorder=4)
    if each.other is not None:
        axis.plot(each.other, height, label=other, **HOLLOW)
    beside = {"xycoords": axis.get_yaxis_transform(), "va": "center", "fontsize": 8}
    axis.annotate(each.note, (1.02, height), annotation_clip=False, **beside)


@style.style()
def shots(curves: Sequence[ShotCurve], *, label: str) -> canvas.Figure:
    """A score over the number of shots: every seed a dot, their mean a line."""
    figure, (axis,) = canvas.subplots(7.6, 4.3)
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
        canvas.legend(figure, where="outside right upper")
    return figure


def _draw_shots(axis: canvas.Axes, curve: ShotCurve, look: dict[str, Any]) -> None:
    mean, sd, colour = np.asarray(curve.mean), np.asarray(curve.sd), look["color"]
    band = {"color": colour, "alpha": 0.15, "linewidth": 0}
    axis.fill_between(curve.shots, mean - sd, mean + sd, **band)
    for count, scores in zip(curve.shots, curve.scores, strict=True):
        at = np.full(len(scores), count)
        axis.plot(at, scores, ".", color=colour, markersize=4, alpha=0.7)
    look = {"marker": "o", "markersize": 5, "linewidth": 1.6, **look}
    axis.plot(curve.shots, mean, label=style.short_name(curve.name, 28), **look)
