"""Learning curves: of all trials, a few by name, and of the selection in each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.figures import canvas, style

MOST_ENDED = 5  # trials that ended early, of either kind, that are drawn
FEWEST_FOR_BAND = 10
LOST: dict[str, Any] = {"color": style.DIVERGED, "marker": "x", "linewidth": 1.0}
RETIRED: dict[str, Any] = {"color": style.RETIRED, "marker": "v", "linewidth": 1.0}


class GroupCurve(NamedTuple):
    """How the selection of one group was trained."""

    panel: str
    line: str  # what it is called in its panel
    accuracy: np.ndarray  # (E,), on validation rows; NaN after its end
    epoch: int | None  # that was kept, from 1; None for the last


@style.style()
def of_trials(
    history: Mapping[str, np.ndarray],
    named: Mapping[str, int],
    diverged: Sequence[int],
    retired: Sequence[int] = (),
) -> canvas.Figure:
    """Validation loss and accuracy by epoch.

    Args:
        history: ``trial`` (L,); ``train_loss``, ``val_loss`` and ``val_accuracy``,
            (L, E) each, NaN after the end of a trial.
        named: trials to draw in colour, by what they are, at most two, most important
            first: {"chosen": 712, "median": 33}.
        diverged: every trial that diverged; a handful of them is drawn.
        retired: every trial that was taken out early; a handful of them is drawn.
    """
    row = {int(trial): i for i, trial in enumerate(history["trial"])}
    lost, early = ([row[trial] for trial in trials] for trials in (diverged, retired))
    rows = {f"{what}: trial {trial}": row[trial] for what, trial in named.items()}
    floor = canvas.error_floor(history["val_accuracy"])
    errors = canvas.error_rates(history["val_accuracy"], floor)
    figure, (left, right) = canvas.subplots(9.6, 3.9, 1, 2)
    low, high = _draw_trials(left, history["val_loss"], lost, early, rows)
    for label, i in list(rows.items())[:1]:
        training = history["train_loss"][i]
        look = {"color": style.CHOSEN, "linestyle": ":", "zorder": 3}
        _line(left, training, label=f"{label}, training loss", **look)
        # Two decades of overfitting are enough to see it.
        low = min(low, max(float(np.nanmin(training)), low / 100))
    canvas.log_axis(left, low, high)
    left.set_title("validation loss")
    canvas.accuracy_axis(right, *_draw_trials(right, errors, lost, early, rows))
    right.set_title("validation accuracy")
    canvas.legend(figure, of=[left])
    return figure


def _draw_trials(
    axis: canvas.Axes,
    values: np.ndarray,
    lost: Sequence[int],
    early: Sequence[int],
    named: Mapping[str, int],
) -> tuple[float, float]:
    """Draws one metric (L, E) of all trials; returns the range worth seeing."""
    finished = np.delete(values, [*lost, *early], axis=0)
    everyone = finished if finished.size else values
    colours = style.CHOSEN, style.TYPICAL
    for (label, i), colour in zip(named.items(), colours, strict=False):
        _line(axis, values[i], color=colour, linewidth=1.8, zorder=4, label=label)
    if len(finished) >= FEWEST_FOR_BAND:
        known = np.isfinite(finished).any(0)  # one cut short may have run for longer
        everyone = np.nanpercentile(finished[:, known], (10, 90), axis=0)
        label = f"middle 80 % of the {len(finished)} trials that finished"
        epochs = np.arange(1, values.shape[1] + 1)[known]
        axis.fill_between(epochs, *everyone, color=style.BAND, linewidth=0, label=label)
    low, high = canvas.worth_seeing(everyone, values[list(named.values())])
    # Of a run in training, too, where the retired of a rung may be about to train on.
    _ended_lines(axis, values[lost], high, "diverged", LOST)
    _ended_lines(axis, values[early], high, "were not trained to the end", RETIRED)
    canvas.epoch_axis(axis)
    return low, high


def _ended_lines(
    axis: canvas.Axes, values: np.ndarray, high: float, what: str, look: dict[str, Any]
) -> None:
    """A handful of trials, from short-lived to long-lived, marked where they end."""
    lived = np.isfinite(values).sum(1)
    order = [int(i) for i in np.argsort(lived, kind="stable") if lived[i]]
    if not order:
        return
    picks = np.unique(np.linspace(0, len(order) - 1, MOST_ENDED).round().astype(int))
    label = f"{len(picks)} of {len(values)} trials that {what}"
    for i in (order[pick] for pick in picks):
        last = int(np.flatnonzero(np.isfinite(values[i]))[-1])
        # A trial that leaves the picture ends at its edge.
        drawn = [*values[i][:last], min(values[i][last], high)]
        axis.plot(
            range(1, last + 2), drawn, label=label, markevery=[last], zorder=2, **look
        )


def _line(axis: canvas.Axes, values: np.ndarray, **look: Any) -> None:
    canvas.lines(axis, np.arange(1, values.size + 1), values, **look)


@style.style()
def of_groups(curves: Sequence[GroupCurve]) -> canvas.Figure:
    """Validation accuracy by epoch of each group's selection; at least one."""
    names = list(dict.fromkeys(curve.panel for curve in curves))
    figure, axes = canvas.panels(len(names), 3.9, 2.3, sharex=True, sharey=True)
    panels = dict(zip(names, axes, strict=True))
    floor = canvas.error_floor(np.concatenate([curve.accuracy for curve in curves]))
    errors = [canvas.error_rates(curve.accuracy, floor) for curve in curves]
    looks = style.series_by_name(curve.line for curve in curves)
    for curve, values in zip(curves, errors, strict=True):
        axis, look = panels[curve.panel], looks[curve.line]
        _line(axis, values, linewidth=1.4, label=curve.line, **look)
        if curve.epoch:
            kept = values[curve.epoch - 1]
            axis.plot(curve.epoch, kept, marker="o", color=look["color"])
    everything = np.concatenate(errors)
    for name, axis in panels.items():
        canvas.epoch_axis(axis)
        canvas.accuracy_axis(axis, *canvas.worth_seeing(everything, everything))
        axis.set_title(name)
    axes[0].set_ylabel("validation accuracy")
    canvas.legend(figure)
    return figure
