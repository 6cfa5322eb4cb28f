"""Figures of a regularisation path: held-out scores, coefficients, the solver's work.

Every function takes arrays and returns a figure; none of them knows a file. Penalties
are on a logarithmic axis, the strongest at the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import learning_curves
from linclf_jax.figures import style as figures
from linclf_jax.runs.path_record import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = figures.MOST_SERIES
THIN: dict[str, Any] = {"color": "#a9a9a9", "linewidth": 0.7, "zorder": 2}
BOLD: dict[str, Any] = {"color": figures.TYPICAL, "linewidth": 1.8, "zorder": 4}
CROSS: dict[str, Any] = {"color": figures.INK, "zorder": 5, "linestyle": "none"}

# The penalties to mark, by what they are, the chosen one first.
Marks = Mapping[str, float]


@figures.style()
def held_out(
    l2s: np.ndarray,
    loss: Curve,
    accuracy: Curve,
    marks: Marks,
    *,
    calibrated: bool = False,
) -> Figure:
    """Loss and accuracy on rows that were held out, with the choices.

    Args:
        l2s: (K,) penalties.
        loss: over the penalties.
        accuracy: over the penalties; no panel where nothing of it is known.
        marks: the penalties to mark, by what they are, the chosen one first.
        calibrated: whether the loss is that at the best temperature of each penalty.
    """
    from matplotlib.figure import Figure

    known = bool(np.isfinite(accuracy.mean).any())
    figure = Figure(figsize=(9.6 if known else 5.6, 4.1), layout="constrained")
    left, *right = figure.subplots(1, 1 + known, squeeze=False)[0]
    _draw_curve(left, l2s, loss)
    learning_curves.loss_axis(left, *_range(loss))
    scaled = ", calibrated" if calibrated else ""
    left.set_title(f"log-loss on held-out rows{scaled}")
    l2_axis(left, l2s, marks)
    for axis in right:
        _draw_accuracy(axis, l2s, accuracy)
        l2_axis(axis, l2s, marks)
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower left", ncols=3 if known else 2)
    return figure


def _draw_accuracy(axis: Axes, l2s: np.ndarray, accuracy: Curve) -> None:
    values = accuracy.folds if accuracy.folds.size else accuracy.mean
    floor = figures.error_floor(values)
    errors = Curve(
        figures.error_rates(accuracy.mean, floor),
        accuracy.standard_error,
        figures.error_rates(accuracy.folds, floor),
    )
    _draw_curve(axis, l2s, errors)
    learning_curves.accuracy_axis(axis, *_range(errors))
    axis.set_title("accuracy on held-out rows")


def _range(curve: Curve) -> tuple[float, float]:
    """What a logarithmic axis should span: the mean with its band, and most folds."""
    low, high = (curve.mean + sign * curve.standard_error for sign in (-1, 1))
    # A band that reaches down to zero has no end there.
    named = np.stack([curve.mean, np.maximum(low, curve.mean / 3), high])
    values = curve.folds if curve.folds.size else curve.mean
    return learning_curves.worth_seeing(values, named)


def _draw_curve(axis: Axes, l2s: np.ndarray, curve: Curve) -> None:
    """The folds, thin, and their mean with a band of one standard error each way."""
    at = positions(l2s)
    _lines(axis, at, curve.folds, f"{curve.folds.shape[1]} folds", **THIN)
    low, high = (curve.mean + sign * curve.standard_error for sign in (-1, 1))
    low = np.maximum(low, 1e-12)  # of a logarithmic axis
    label = "± one standard error"
    if np.isfinite(curve.standard_error).any():
        axis.fill_between(
            at, low, high, color=learning_curves.BAND, linewidth=0, label=label
        )
    mean = "mean over folds" if curve.folds.size else "mean over rows"
    _lines(axis, at, curve.mean[:, None], mean, **BOLD)


@figures.style()
def norms(
    l2s: np.ndarray, coefficients: np.ndarray, names: Sequence[str], marks: Marks
) -> Figure:
    """The norm of each class's weights.

    Args:
        l2s: (K,) penalties.
        coefficients: (K, D, C) weights.
        names: (C,) of the classes; of many, the largest at the choice are named.
        marks: the penalties to mark, by what they are, the chosen one first.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.1), layout="constrained")
    axis = figure.subplots()
    sizes = np.linalg.norm(coefficients, axis=1)  # (K, C)
    place = np.flatnonzero(l2s == next(iter(marks.values())))[0]
    named = np.sort(np.argsort(-sizes[place], kind="stable")[:MOST_NAMED])
    others = np.delete(sizes, named, axis=1)
    _lines(axis, positions(l2s), others, f"{others.shape[1]} other classes", **THIN)
    _named_lines(axis, l2s, sizes[:, named], np.array(names)[named].tolist())
    l2_axis(axis, l2s, marks)
    axis.set_title("norm of the weights of a class")
    axis.set_ylim(bottom=0)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


@figures.style()
def coefficients(
    l2s: np.ndarray, values: np.ndarray, names: Sequence[str], marks: Marks
) -> Figure:
    """The weight of each feature, one panel for each class.

    Args:
        l2s: (K,) penalties.
        values: (K, D, C) weights, D at most ``MOST_NAMED``.
        names: (C,) of the classes; of two only the second is drawn, for the weights of
            the first are its weights with the other sign.
        marks: the penalties to mark, by what they are, the chosen one first.
    """
    shown = range(len(names)) if len(names) != 2 else (1,)
    figure, axes = canvas.make(len(shown))
    limit = 1.05 * np.abs(values).max() or 1.0
    features = [f"feature {i}" for i in range(values.shape[1])]
    for axis, i in zip(axes, shown, strict=True):
        axis.axhline(0, color="#999999", linewidth=0.7)
        _named_lines(axis, l2s, values[:, :, i], features)
        l2_axis(axis, l2s, marks)
        axis.set_title(f"weights of {figures.short_name(names[i])}")
        axis.set_ylim(-limit, limit)
    handles = axes[0].get_legend_handles_labels()
    columns = 4 if len(shown) > 1 else 2
    figure.legend(*handles, loc="outside lower left", ncols=columns)
    return figure


@figures.style()
def work(
    l2s: np.ndarray,
    history: Mapping[str, np.ndarray],
    converged: np.ndarray,
    tol: float,
    marks: Marks,
) -> Figure:
    """Newton steps, products and relative gap of each fit.

    Args:
        l2s: (K,) penalties.
        history: ``newton_steps``, ``products`` and ``relative_gap``, (K, F + 1) each,
            the fit to all rows last.
        converged: (K, F + 1) bool.
        tol: the relative gap that was asked for.
        marks: the penalties to mark, by what they are, the chosen one first.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    gaps = _finite(history["relative_gap"], tol)
    values = (history["newton_steps"], history["products"], gaps)
    titles = ("Newton steps", "products with the Hessian", "relative gap")
    for axis, each, title in zip(axes, values, titles, strict=True):
        at = positions(l2s)
        _lines(axis, at, each[:, :-1], f"{each.shape[1] - 1} folds", **THIN)
        _lines(axis, at, each[:, -1:], "the fit to all rows", **BOLD)
        l2_axis(axis, l2s, marks, most=5)
        axis.set_title(title)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_ylim(bottom=0)
    _gap_axis(axes[2], l2s, gaps, converged, tol)
    handles = axes[2].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower left", ncols=3)
    return figure


def _finite(gaps: np.ndarray, tol: float) -> np.ndarray:
    """Gaps fit for a logarithmic axis: zeros and the unbounded at its ends."""
    usable = gaps[np.isfinite(gaps) & (gaps > 0)]
    low, high = min([tol, *usable.tolist()]), max([tol, *usable.tolist()])
    bounded = np.where(np.isnan(gaps), np.inf, gaps)
    return np.clip(bounded, low, high if np.isfinite(bounded).all() else 10 * high)


def _gap_axis(
    axis: Axes, l2s: np.ndarray, gaps: np.ndarray, converged: np.ndarray, tol: float
) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    at = np.broadcast_to(positions(l2s)[:, None], gaps.shape)[~converged]
    if at.size:
        label = "ended before the tolerance"
        axis.plot(at, gaps[~converged], marker="x", markersize=5, label=label, **CROSS)
    look: dict[str, Any] = {"color": figures.INK, "linewidth": 1.0, "linestyle": ":"}
    axis.axhline(tol, label=f"tolerance {figures.short_number(tol)}", **look)
    axis.set_ylim(gaps.min() / 2, max(gaps.max(), tol) * 2)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator())
    axis.yaxis.set_major_formatter(lambda y, _: figures.short_number(y))
    axis.yaxis.set_minor_locator(NullLocator())


def _lines(
    axis: Axes, at: np.ndarray, values: np.ndarray, label: str, **look: Any
) -> None:
    """A line for each column of ``values``; one entry in the legend for all."""
    marker = "o" if len(at) == 1 else None  # one penalty is a point, not a line
    for i, column in enumerate(values.T):
        name = label if i == 0 else None
        axis.plot(at, column, marker=marker, markersize=4, label=name, **look)


def _named_lines(
    axis: Axes, l2s: np.ndarray, values: np.ndarray, names: Sequence[str]
) -> None:
    for i, name in enumerate(names):
        look = {**figures.series(i), "linewidth": 1.5}
        short = figures.short_name(name)
        _lines(axis, positions(l2s), values[:, i : i + 1], short, **look)


def positions(l2s: np.ndarray) -> np.ndarray:
    """Where penalties are on a logarithmic axis: 0 a little below the smallest.

    Args:
        l2s: (K,) penalties, none twice.

    >>> positions(np.array([1.0, 0.1, 0.0])).round(3).tolist()
    [1.0, 0.1, 0.046]
    """
    return np.where(l2s > 0, l2s, _ends(l2s)[0] / _margin(l2s) ** 3)


def _ends(l2s: np.ndarray) -> tuple[float, float]:
    positive = l2s[l2s > 0]
    return (positive.min(), positive.max()) if positive.size else (1.0, 1.0)


def _margin(l2s: np.ndarray) -> float:
    low, high = _ends(l2s)
    return max((high / low) ** 0.05, 1.3)


def l2_axis(
    axis: Axes, l2s: np.ndarray, marks: Marks, most: int = figures.MOST_TICKS
) -> None:
    """Makes the horizontal axis one of penalties, on their logarithm.

    Args:
        axis: of a panel.
        l2s: (K,) penalties, none twice.
        marks: the penalties to mark, by what they are, at most two.
        most: labels, at most.
    """
    at, margin = positions(l2s), _margin(l2s)
    ticks = figures.log_ticks(l2s[l2s > 0]) if (l2s > 0).any() else []
    labels = figures.thinned([figures.short_number(tick) for tick in ticks], most)
    if (l2s == 0).any():
        if ticks:  # that zero is off the scale
            gap = _ends(l2s)[0] / margin**1.5
            axis.axvline(gap, color="white", linewidth=4, zorder=6)
        ticks, labels = [*ticks, float(at.min())], [*labels, "0"]
    looks = ("-", figures.CHOSEN), ("--", figures.INK)
    for (label, l2), (style, colour) in zip(marks.items(), looks, strict=False):
        place = float(at[l2s == l2][0])
        look = {"color": colour, "linestyle": style, "linewidth": 1.2, "zorder": 3}
        axis.axvline(place, label=label, **look)
    axis.set_xscale("log")
    axis.set_xlim(at.min() / margin, at.max() * margin)
    axis.set_xticks(ticks, labels)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("l2")
    axis.grid(axis="y", color="#eeeeee", linewidth=0.7)
    axis.set_axisbelow(True)
