"""Figures that compare scores: each with its interval, or over the number of shots.

Every function takes numbers and returns a figure; none of them knows a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LENGTH = 46  # of a name beside the axis, at most
ROW = 0.32  # inches
GRID = "#eeeeee"


class Estimate(NamedTuple):
    """A number, and how far from it the truth may be."""

    name: str
    value: float
    low: float
    high: float
    note: str  # the numbers in words, at the right
    marked: bool  # in the colour of the choice
    other: float | None = None  # a second number of the same thing, as a hollow mark


class Course(NamedTuple):
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
    for place, each in enumerate(estimates):
        _draw_estimate(axis, place, each)
    names = [style.short_name(each.name, LENGTH) for each in estimates]
    axis.set_yticks(range(count), names)
    axis.set_ylim(count - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label)
    axis.grid(axis="x", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    if any(each.other is not None for each in estimates):
        axis.plot([], [], label=other, **_HOLLOW)
        figure.legend(loc="outside lower right")
    return figure


_HOLLOW: dict[str, Any] = {
    **{"marker": "D", "markersize": 5, "markerfacecolor": "none"},
    **{"color": "#777777", "linestyle": "none", "zorder": 3},
}


def _draw_estimate(axis: Axes, place: int, each: Estimate) -> None:
    colour = style.CHOSEN if each.marked else style.TYPICAL
    axis.hlines(place, each.low, each.high, color=colour, linewidth=1.6)
    axis.plot(each.value, place, "o", color=colour, markersize=6, zorder=4)
    if each.other is not None:
        axis.plot(each.other, place, **_HOLLOW)
    beside = {"xycoords": axis.get_yaxis_transform(), "va": "center", "fontsize": 8}
    axis.annotate(each.note, (1.02, place), annotation_clip=False, **beside)


@style.style()
def courses(each: Sequence[Course], *, label: str) -> Figure:
    """A score over the number of shots: every seed a dot, their mean a line.

    Args:
        each: of the feature sets, at least one.
        label: what the vertical axis has.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.3), layout="constrained")
    axis = figure.subplots()
    for number, course in enumerate(each):
        _draw_course(axis, course, style.series(number))
    shots = sorted({count for course in each for count in course.shots})
    axis.set_xscale("log")
    axis.set_xticks(shots, [f"{count:,}" for count in shots])
    axis.set_xticks([], minor=True)
    axis.set_xlim(shots[0] / 1.25, shots[-1] * 1.25)
    axis.set_xlabel("training rows of each class")
    axis.set_title(label)
    axis.grid(axis="y", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    if len(each) > 1:
        figure.legend(loc="outside right upper")
    return figure


def _draw_course(axis: Axes, course: Course, look: dict[str, Any]) -> None:
    mean, sd = np.asarray(course.mean), np.asarray(course.sd)
    shots, colour = np.asarray(course.shots), look["color"]
    band = {"color": colour, "alpha": 0.15, "linewidth": 0}
    axis.fill_between(shots, mean - sd, mean + sd, **band)
    for count, scores in zip(course.shots, course.scores, strict=True):
        at = np.full(len(scores), count)
        axis.plot(at, scores, ".", color=colour, markersize=4, alpha=0.7)
    name = style.short_name(course.name, 28)
    axis.plot(shots, mean, marker="o", markersize=5, linewidth=1.6, label=name, **look)
