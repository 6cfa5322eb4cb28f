"""Figures over the penalty: held-out scores, coefficients, the solver's work.

Penalties are on a logarithmic axis, the strongest at the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import style
from linclf_jax.figures.axes import Marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = style.MOST_SERIES
THIN: dict[str, Any] = {"color": "#a9a9a9", "linewidth": 0.7, "zorder": 2}
BOLD: dict[str, Any] = {"color": style.TYPICAL, "linewidth": 1.8, "zorder": 4}
ZERO = 1e-12  # what stands for it, and for less, on a logarithmic axis


class Curve(NamedTuple):
    """A score on rows that were held out, over the path."""

    mean: np.ndarray  # (K,)
    standard_error: np.ndarray  # (K,), NaN where it is unknown
    folds: np.ndarray  # (K, F), without columns where there are no folds


class Panel(NamedTuple):
    """The held-out loss over the penalties of one feature set, a line a selection."""

    title: str
    l2s: np.ndarray  # (K,), none twice
    loss: np.ndarray  # (G, K)
    error: np.ndarray  # (G, K) standard errors of it, NaN where unknown
    labels: Sequence[str]  # (G,); lines of one label have one colour


@style.style()
def held_out(
    l2s: np.ndarray,
    loss: Curve,
    accuracy: Curve,
    marks: Marks,
    *,
    calibrated: bool = False,
) -> Figure:
    """Loss and accuracy on rows that were held out, with what the rules select.

    Args:
        l2s: (K,) penalties.
        loss: over the penalties.
        accuracy: over the penalties; no panel where nothing of it is known.
        marks: the penalties to mark.
        calibrated: whether the loss is that at the best temperature of each penalty.
    """
    from matplotlib.figure import Figure

    known = bool(np.isfinite(accuracy.mean).any())
    figure = Figure(figsize=(9.6 if known else 5.6, 4.1), layout="constrained")
    left, *right = figure.subplots(1, 1 + known, squeeze=False)[0]
    _draw_curve(left, l2s, loss)
    canvas.loss_axis(left, *_range(loss))
    scaled = ", calibrated" if calibrated else ""
    left.set_title(f"log-loss on held-out rows{scaled}")
    canvas.l2_axis(left, l2s, marks)
    for axis in right:
        errors = _error_rates(accuracy)
        _draw_curve(axis, l2s, errors)
        canvas.accuracy_axis(axis, *_range(errors))
        axis.set_title("accuracy on held-out rows")
        canvas.l2_axis(axis, l2s, marks)
    handles, _ = left.get_legend_handles_labels()
    canvas.legend(figure, handles, columns=3 if known else 2)
    return figure


def _error_rates(accuracy: Curve) -> Curve:
    floor = canvas.error_floor(_of_folds(accuracy))
    mean = canvas.error_rates(accuracy.mean, floor)
    folds = canvas.error_rates(accuracy.folds, floor)
    return Curve(mean, accuracy.standard_error, folds)


def _of_folds(curve: Curve) -> np.ndarray:
    return curve.folds if curve.folds.size else curve.mean


def _range(curve: Curve) -> tuple[float, float]:
    """What a logarithmic axis should span: the mean with its band, and most folds."""
    low, high = (curve.mean + sign * curve.standard_error for sign in (-1, 1))
    # A band that reaches down to zero has no end there.
    named = np.stack([curve.mean, np.maximum(low, curve.mean / 3), high])
    return canvas.worth_seeing(_of_folds(curve), named)


def _draw_curve(axis: Axes, l2s: np.ndarray, curve: Curve) -> None:
    """The folds, thin, and their mean with a band of one standard error each way."""
    at = canvas.positions(l2s)
    _lines(axis, at, curve.folds, f"{curve.folds.shape[1]} folds", **THIN)
    _band(axis, at, curve.mean, curve.standard_error)
    what = "folds" if curve.folds.size else "rows"
    _lines(axis, at, curve.mean[:, None], f"mean over {what}", **BOLD)


def _band(axis: Axes, at: np.ndarray, mean: np.ndarray, error: np.ndarray) -> None:
    if np.isfinite(error).any():
        low, high = np.maximum(mean - error, ZERO), mean + error
        look = {"color": style.BAND, "linewidth": 0, "label": "± one standard error"}
        axis.fill_between(at, low, high, **look)


@style.style()
def penalties(panels: Sequence[Panel]) -> Figure:
    """The held-out loss of several selections, with a dot where each is lowest.

    Args:
        panels: at least one.
    """
    figure, axes = canvas.panels(len(panels))
    labels = dict.fromkeys(label for panel in panels for label in panel.labels)
    looks = {label: style.series(number) for number, label in enumerate(labels)}
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel, looks)
    if len(looks) > 1:
        handles = {
            name: handle
            for axis in axes
            for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        canvas.legend(figure, list(handles.values()))
    return figure


def _draw_panel(
    axis: Axes, panel: Panel, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    at, bands = canvas.positions(panel.l2s), panel.loss
    if len(panel.loss) == 1:  # the bands of several would hide each other
        _band(axis, at, panel.loss[0], panel.error[0])
        bands = panel.loss - np.nan_to_num(panel.error)
    for i, (label, loss) in enumerate(zip(panel.labels, panel.loss, strict=True)):
        first = label not in panel.labels[:i]
        look = {**looks[label], "linewidth": 1.2, "zorder": 3}
        axis.plot(at, loss, label=label if first else None, **look)
        best = int(np.argmin(loss))
        dot = {"color": style.CHOSEN, "markersize": 5, "zorder": 4}
        axis.plot(at[best], loss[best], "o", **dot)
    lowest = bands.min(axis=1, keepdims=True)  # what a selection is judged by
    canvas.loss_axis(axis, *canvas.worth_seeing(panel.loss, lowest))
    canvas.l2_axis(axis, panel.l2s, {})
    axis.set_title(style.short_name(panel.title, 40))


@style.style()
def norms(
    l2s: np.ndarray, coefficients: np.ndarray, names: Sequence[str], marks: Marks
) -> Figure:
    """The norm of each class's weights.

    Args:
        l2s: (K,) penalties.
        coefficients: (K, D, C) weights.
        names: (C,) of the classes; of many, the largest at the selection are named.
        marks: the penalties to mark.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.1), layout="constrained")
    axis = figure.subplots()
    sizes = np.linalg.norm(coefficients, axis=1)  # (K, C)
    selected = np.flatnonzero(l2s == next(iter(marks.values())))[0]
    named = np.sort(np.argsort(-sizes[selected], kind="stable")[:MOST_NAMED])
    others = np.delete(sizes, named, axis=1)
    at = canvas.positions(l2s)
    _lines(axis, at, others, f"{others.shape[1]} other classes", **THIN)
    _named_lines(axis, at, sizes[:, named], [names[int(i)] for i in named])
    canvas.l2_axis(axis, l2s, marks)
    axis.set_title("norm of the weights of a class")
    axis.set_ylim(bottom=0)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


@style.style()
def coefficients(
    l2s: np.ndarray, values: np.ndarray, names: Sequence[str], marks: Marks
) -> Figure:
    """The weight of each feature, one panel for each class.

    Args:
        l2s: (K,) penalties.
        values: (K, D, C) weights, D at most ``MOST_NAMED``.
        names: (C,) of the classes; of two only the second is drawn, for the weights of
            the first are its weights with the other sign.
        marks: the penalties to mark.
    """
    shown = range(len(names)) if len(names) != 2 else (1,)
    figure, axes = canvas.panels(len(shown))
    limit = 1.05 * np.abs(values).max() or 1.0
    features = [f"feature {i}" for i in range(values.shape[1])]
    for axis, i in zip(axes, shown, strict=True):
        axis.axhline(0, color="#999999", linewidth=0.7)
        _named_lines(axis, canvas.positions(l2s), values[:, :, i], features)
        canvas.l2_axis(axis, l2s, marks)
        axis.set_title(f"weights of {style.short_name(names[i])}")
        axis.set_ylim(-limit, limit)
    handles, _ = axes[0].get_legend_handles_labels()
    canvas.legend(figure, handles, columns=4 if len(shown) > 1 else 2)
    return figure


@style.style()
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
        marks: the penalties to mark.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    axes, at = figure.subplots(1, 3), canvas.positions(l2s)
    gaps = _drawable(history["relative_gap"], tol)
    values = history["newton_steps"], history["products"], gaps
    titles = "Newton steps", "products with the Hessian", "relative gap"
    for axis, each, title in zip(axes, values, titles, strict=True):
        _lines(axis, at, each[:, :-1], f"{each.shape[1] - 1} folds", **THIN)
        _lines(axis, at, each[:, -1:], "the fit to all rows", **BOLD)
        canvas.l2_axis(axis, l2s, marks, most=5)
        axis.set_title(title)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_ylim(bottom=0)
    _gap_axis(axes[2], at, gaps, converged, tol)
    canvas.legend(figure, axes[2].get_legend_handles_labels()[0], columns=3)
    return figure


def _drawable(gaps: np.ndarray, tol: float) -> np.ndarray:
    """Gaps fit for a logarithmic axis: zeros and the unbounded at its ends."""
    usable = gaps[np.isfinite(gaps) & (gaps > 0)]
    low, high = min([tol, *usable.tolist()]), max([tol, *usable.tolist()])
    bounded = np.where(np.isnan(gaps), np.inf, gaps)
    return np.clip(bounded, low, high if np.isfinite(bounded).all() else 10 * high)


def _gap_axis(
    axis: Axes, at: np.ndarray, gaps: np.ndarray, converged: np.ndarray, tol: float
) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    early = np.broadcast_to(at[:, None], gaps.shape)[~converged]
    if early.size:
        cross = {"color": style.INK, "zorder": 5, "linestyle": "none", "marker": "x"}
        label = "ended before the tolerance"
        axis.plot(early, gaps[~converged], markersize=5, label=label, **cross)
    look = {"color": style.INK, "linewidth": 1.0, "linestyle": ":"}
    axis.axhline(tol, label=f"tolerance {style.short_number(tol)}", **look)
    axis.set_ylim(gaps.min() / 2, max(gaps.max(), tol) * 2)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator())
    axis.yaxis.set_major_formatter(lambda y, _: style.short_number(y))
    axis.yaxis.set_minor_locator(NullLocator())


def _lines(
    axis: Axes, at: np.ndarray, values: np.ndarray, label: str, **look: Any
) -> None:
    """A line for each column of ``values``; one entry in the legend for all."""
    marker = canvas.dot_of_one(at)
    for i, column in enumerate(values.T):
        name = label if i == 0 else None
        axis.plot(at, column, marker=marker, markersize=4, label=name, **look)


def _named_lines(
    axis: Axes, at: np.ndarray, values: np.ndarray, names: Sequence[str]
) -> None:
    for i, name in enumerate(names):
        look = {**style.series(i), "linewidth": 1.5}
        _lines(axis, at, values[:, i : i + 1], style.short_name(name), **look)
