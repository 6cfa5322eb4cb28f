"""Learning curves: of all trials, a few by name, and of the selection in each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax.figures import axes as canvas
from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ENDED = 5  # trials that ended early, of either kind, that are drawn
FEWEST_FOR_BAND = 10
# Of a run in training, too, where the retired of a rung may be about to train on.
LOST, RETIRED = "diverged", "were not trained to the end"
COLOURS = {LOST: style.DIVERGED, RETIRED: style.RETIRED}
MARKS = {LOST: "x", RETIRED: "v"}
# Okabe and Ito's, in an order in which neighbours differ in lightness, too.
GROUP_COLOURS = (style.TYPICAL, style.CHOSEN, *style.COLOURS[1:])
GROUP_DASHES = ("-", "--", ":")


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
) -> Figure:
    """Validation loss and accuracy by epoch.

    Args:
        history: ``trial`` (L,); ``train_loss``, ``val_loss`` and ``val_accuracy``,
            (L, E) each, NaN after the end of a trial.
        named: trials to draw in colour, by what they are, at most two, most important
            first: {"chosen": 712, "median": 33}.
        diverged: every trial that diverged; a handful of them is drawn.
        retired: every trial that was taken out early; a handful of them is drawn.
    """
    from matplotlib.figure import Figure

    row = {int(trial): i for i, trial in enumerate(history["trial"])}
    ends = {
        LOST: [row[trial] for trial in diverged],
        RETIRED: [row[trial] for trial in retired],
    }
    rows = {f"{what}: trial {trial}": row[trial] for what, trial in named.items()}
    floor = canvas.error_floor(history["val_accuracy"])
    errors = canvas.error_rates(history["val_accuracy"], floor)
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    low, high = _draw_trials(left, history["val_loss"], ends, rows)
    for label, i in list(rows.items())[:1]:
        training = history["train_loss"][i]
        look = {"color": style.CHOSEN, "linestyle": ":", "zorder": 3}
        _line(left, training, label=f"{label}, training loss", **look)
        # Two decades of overfitting are enough to see it.
        low = min(low, max(float(np.nanmin(training)), low / 100))
    canvas.loss_axis(left, low, high)
    left.set_title("validation loss")
    canvas.accuracy_axis(right, *_draw_trials(right, errors, ends, rows))
    right.set_title("validation accuracy")
    canvas.legend(figure, left.get_legend_handles_labels()[0], columns=3)
    return figure


def _draw_trials(
    axis: Axes,
    values: np.ndarray,
    ends: Mapping[str, Sequence[int]],
    named: Mapping[str, int],
) -> tuple[float, float]:
    """Draws one metric (L, E) of all trials; returns the range worth seeing."""
    early = [i for rows in ends.values() for i in rows]
    finished = np.delete(values, early, axis=0)
    everyone = finished if finished.size else values
    low, high = canvas.worth_seeing(everyone, values[list(named.values())])
    colours = style.CHOSEN, style.TYPICAL
    for (label, i), colour in zip(named.items(), colours, strict=False):
        _line(axis, values[i], color=colour, linewidth=1.8, zorder=4, label=label)
    if len(finished) >= FEWEST_FOR_BAND:
        known = np.isfinite(finished).any(0)  # one cut short may have run for longer
        band = np.nanpercentile(finished[:, known], (10, 90), axis=0)
        label = f"middle 80 % of the {len(finished)} trials that finished"
        epochs = np.arange(1, values.shape[1] + 1)[known]
        axis.fill_between(epochs, *band, color=style.BAND, linewidth=0, label=label)
    for label, rows in ends.items():
        _ended_lines(axis, values[rows], high, label)
    canvas.epoch_axis(axis)
    return low, high


def _ended_lines(axis: Axes, values: np.ndarray, high: float, label: str) -> None:
    """A handful of trials, from short-lived to long-lived, marked where they end."""
    lived = np.isfinite(values).sum(1)
    order = [int(i) for i in np.argsort(lived, kind="stable") if lived[i]]
    if not order:
        return
    picks = np.unique(np.linspace(0, len(order) - 1, MOST_ENDED).round().astype(int))
    look: dict[str, Any] = {"color": COLOURS[label], "linewidth": 1.0, "zorder": 2}
    mark = MARKS[label]
    for i in (order[pick] for pick in picks):
        last = np.flatnonzero(np.isfinite(values[i]))[-1]
        _line(axis, values[i], **look)
        # A trial that leaves the picture ends at its edge.
        axis.plot(last + 1, min(values[i][last], high), marker=mark, **look)
    label = f"{len(picks)} of {len(values)} trials that {label}"
    axis.plot([], [], label=label, marker=mark, **look)


def _line(axis: Axes, values: np.ndarray, **look: Any) -> None:
    epochs = np.arange(1, values.size + 1)
    axis.plot(epochs, values, marker=canvas.dot_of_one(values), **look)


@style.style()
def of_groups(curves: Sequence[GroupCurve]) -> Figure:
    """Validation accuracy by epoch of each group's selection.

    Args:
        curves: of each group that has a selection, at least one.
    """
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(curve.panel for curve in curves))
    figure, axes = canvas.panels(len(names), 3.9, 2.3, sharex=True, sharey=True)
    panels = dict(zip(names, axes, strict=True))
    floor = canvas.error_floor(np.concatenate([curve.accuracy for curve in curves]))
    errors = [canvas.error_rates(curve.accuracy, floor) for curve in curves]
    looks = _looks(curves)
    for curve, values in zip(curves, errors, strict=True):
        axis, look = panels[curve.panel], looks[curve.line]
        _line(axis, values, linewidth=1.4, **look)
        if curve.epoch:
            kept = values[curve.epoch - 1]
            axis.plot(curve.epoch, kept, marker="o", color=look["color"])
    everything = np.concatenate(errors)
    for name, axis in panels.items():
        canvas.epoch_axis(axis)
        canvas.accuracy_axis(axis, *canvas.worth_seeing(everything, everything))
        axis.set_title(name)
    axes[0].set_ylabel("validation accuracy")
    handles = [
        Line2D([], [], label=name, linewidth=1.4, **look)
        for name, look in looks.items()
    ]
    canvas.legend(figure, handles, columns=3)
    return figure


def _looks(curves: Sequence[GroupCurve]) -> dict[str, dict[str, Any]]:
    looks = {}
    for number, name in enumerate(dict.fromkeys(curve.line for curve in curves)):
        dashes, colour = divmod(number, len(GROUP_COLOURS))
        looks[name] = {
            "color": GROUP_COLOURS[colour],
            "linestyle": GROUP_DASHES[dashes % len(GROUP_DASHES)],
        }
    return looks
