"""Figures over the penalty: held-out scores, coefficients, the solver's work.

Penalties ``l2s`` (K,) are on a logarithmic axis, the strongest at the right; ``marks``
are those to mark, by what they are, the selected one first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.figures import canvas, style
from linclf_jax.figures.canvas import Marks

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
) -> canvas.Figure:
    """Loss and accuracy on rows that were held out, with what the rules select.

    The loss may be ``calibrated``: that at the best temperature of each penalty. Where
    nothing is known of the accuracy it has no panel.
    """
    scaled = ", calibrated" if calibrated else ""
    shown = [(f"log-loss on held-out rows{scaled}", loss, canvas.log_axis)]
    if np.isfinite(accuracy.mean).any():
        errors = _error_rates(accuracy)
        shown.append(("accuracy on held-out rows", errors, canvas.accuracy_axis))
    figure, axes = canvas.subplots(1.6 + 4 * len(shown), 4.1, 1, len(shown))
    for axis, (title, curve, scale) in zip(axes, shown, strict=True):
        _draw_curve(axis, l2s, curve)
        scale(axis, *_range(curve))
        canvas.l2_axis(axis, l2s, marks)
        axis.set_title(title)
    canvas.legend(figure)
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


def _draw_curve(axis: canvas.Axes, l2s: np.ndarray, curve: Curve) -> None:
    """The folds, thin, and their mean with a band of one standard error each way."""
    canvas.lines(axis, l2s, curve.folds, label=f"{curve.folds.shape[1]} folds", **THIN)
    _band(axis, l2s, curve.mean, curve.standard_error)
    what = "folds" if curve.folds.size else "rows"
    canvas.lines(axis, l2s, curve.mean, label=f"mean over {what}", **BOLD)


def _band(
    axis: canvas.Axes, l2s: np.ndarray, mean: np.ndarray, error: np.ndarray
) -> None:
    if np.isfinite(error).any():
        low, high = np.maximum(mean - error, ZERO), mean + error
        look = {"color": style.BAND, "linewidth": 0, "label": "± one standard error"}
        axis.fill_between(l2s, low, high, **look)


@style.style()
def penalties(panels: Sequence[Panel]) -> canvas.Figure:
    """The held-out loss of several selections, with a dot where each is lowest."""
    figure, axes = canvas.panels(len(panels))
    looks = style.series_by_name(label for each in panels for label in each.labels)
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel, looks)
    if len(looks) > 1:
        canvas.legend(figure)
    return figure


def _draw_panel(
    axis: canvas.Axes, panel: Panel, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    bands = panel.loss
    if len(panel.loss) == 1:  # the bands of several would hide each other
        _band(axis, panel.l2s, panel.loss[0], panel.error[0])
        bands = panel.loss - np.nan_to_num(panel.error)
    for label, loss in zip(panel.labels, panel.loss, strict=True):
        look = {**looks[label], "linewidth": 1.2, "zorder": 3}
        axis.plot(panel.l2s, loss, label=label, **look)
        best = int(np.argmin(loss))
        dot = {"color": style.CHOSEN, "markersize": 5, "zorder": 4}
        axis.plot(panel.l2s[best], loss[best], "o", **dot)
    lowest = bands.min(axis=1, keepdims=True)  # what a selection is judged by
    canvas.log_axis(axis, *canvas.worth_seeing(panel.loss, lowest))
    canvas.l2_axis(axis, panel.l2s, {})
    axis.set_title(style.short_name(panel.title, 40))


@style.style()
def norms(
    l2s: np.ndarray, coefficients: np.ndarray, names: Sequence[str], marks: Marks
) -> canvas.Figure:
    """The norm of each class's weights, ``coefficients`` (K, D, C).

    Of many classes those with the largest norm at the selection are named.
    """
    figure, (axis,) = canvas.subplots(7.6, 4.1)
    sizes = np.linalg.norm(coefficients, axis=1)  # (K, C)
    selected = np.flatnonzero(l2s == next(iter(marks.values())))[0]
    named = np.sort(np.argsort(-sizes[selected], kind="stable")[:MOST_NAMED])
    others = np.delete(sizes, named, axis=1)
    canvas.lines(axis, l2s, others, label=f"{others.shape[1]} other classes", **THIN)
    _named_lines(axis, l2s, sizes[:, named], [names[int(i)] for i in named])
    canvas.l2_axis(axis, l2s, marks)
    axis.set_title("norm of the weights of a class")
    axis.set_ylim(bottom=0)
    canvas.legend(figure, where="outside right upper")
    return figure


@style.style()
def coefficients(
    l2s: np.ndarray, values: np.ndarray, names: Sequence[str], marks: Marks
) -> canvas.Figure:
    """The weight ``values`` (K, D, C) of each feature, one panel for each class.

    D is at most ``MOST_NAMED``. Of two classes only the second is drawn: the weights of
    the first are its weights with the other sign.
    """
    shown = range(len(names)) if len(names) != 2 else (1,)
    figure, axes = canvas.panels(len(shown))
    limit = 1.05 * np.abs(values).max() or 1.0
    features = [f"feature {i}" for i in range(values.shape[1])]
    for axis, i in zip(axes, shown, strict=True):
        axis.axhline(0, color="#999999", linewidth=0.7)
        _named_lines(axis, l2s, values[:, :, i], features)
        canvas.l2_axis(axis, l2s, marks)
        axis.set_title(f"weights of {style.short_name(names[i])}")
        axis.set_ylim(-limit, limit)
    canvas.legend(figure)
    return figure


def _named_lines(
    axis: canvas.Axes, l2s: np.ndarray, values: np.ndarray, names: Sequence[str]
) -> None:
    for i, name in enumerate(names):
        look = {**style.series(i), "linewidth": 1.5, "label": style.short_name(name)}
        canvas.lines(axis, l2s, values[:, i], **look)


@style.style()
def work(
    l2s: np.ndarray,
    history: Mapping[str, np.ndarray],
    converged: np.ndarray,
    tol: float,
    marks: Marks,
) -> canvas.Figure:
    """Newton steps, products and relative gap of each fit.

    ``history`` has ``newton_steps``, ``products`` and ``relative_gap``, (K, F + 1) each
    as ``converged``, the fit to all rows last; ``tol`` is the gap that was asked for.
    Of a fit that ended well and has no gap, as it is not certified, none is drawn.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas.subplots(9.6, 3.6, 1, 3)
    gaps = _drawable(history["relative_gap"], tol)
    gaps[converged & np.isnan(history["relative_gap"])] = np.nan
    values = history["newton_steps"], history["products"], gaps
    titles = "Newton steps", "products with the Hessian", "relative gap"
    for axis, each, title in zip(axes, values, titles, strict=True):
        folds, all_rows = each[:, :-1], each[:, -1]
        canvas.lines(axis, l2s, folds, label=f"{folds.shape[1]} folds", **THIN)
        canvas.lines(axis, l2s, all_rows, label="the fit to all rows", **BOLD)
        canvas.l2_axis(axis, l2s, marks, most=5)
        axis.set_title(title)
        axis.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axis.set_ylim(bottom=0)
    early, _ = np.nonzero(~converged)
    if early.size:
        look = {"marker": "x", "markersize": 5, "linestyle": "none", "zorder": 5}
        look |= {"color": style.INK, "label": "ended before the tolerance"}
        axes[2].plot(l2s[early], gaps[~converged], **look)
    look = {"color": style.INK, "linewidth": 1.0, "linestyle": ":"}
    axes[2].axhline(tol, label=f"tolerance {style.short_number(tol)}", **look)
    canvas.log_axis(axes[2], np.nanmin(gaps), max(np.nanmax(gaps), tol))
    canvas.legend(figure)
    return figure


def _drawable(gaps: np.ndarray, tol: float) -> np.ndarray:
    """Gaps fit for a logarithmic axis: zeros and the unbounded at its ends."""
    usable = np.append(tol, gaps[np.isfinite(gaps) & (gaps > 0)])
    bounded = np.where(np.isnan(gaps), np.inf, gaps)
    return np.clip(bounded, usable.min(), 10 * usable.max())
