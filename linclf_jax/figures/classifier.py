"""Figures of the chosen classifier: confusion matrix, weight templates, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import metrics
from linclf_jax.figures import canvas, style

MOST_CLASSES_WITH_COUNTS = 26
MOST_TEMPLATES = 100
DIVERGING = "RdBu_r"


class Diagram(NamedTuple):
    """Whether confidences are right, of one classifier."""

    title: str
    # edges (K + 1,); count, confidence and accuracy (K,), the last two None if empty
    bins: Mapping[str, Any]


@style.style()
def confusion(
    counts: np.ndarray, recall: Sequence[float | None], class_names: Sequence[str]
) -> canvas.Figure:
    """How often each class was taken for each other one.

    Only the errors are coloured: the diagonal, which is larger by far, is grey.

    Args:
        counts: (C, C) integers, true classes down, predicted classes across.
        recall: (C,) share of each true class that was recognised, None without rows.
        class_names: (C,).
    """
    size = len(class_names)
    written = size <= MOST_CLASSES_WITH_COUNTS
    side = min(8.0, max(1.6, 0.42 * size)) if written else 6.5
    names = [style.short_name(name) for name in class_names]
    margin = 0.9 + 0.07 * max(map(len, names))
    figure, (axis,) = canvas.subplots(side + margin + 0.7, side + margin)
    is_right = np.eye(size, dtype=bool)
    errors = np.where(is_right, 0, counts)
    # Scaled to five at least, so that a lone mistake is not painted as a disaster.
    most = 1.15 * max(5, errors.max())
    shades = np.where(errors > 0, errors, np.nan)
    image = axis.imshow(shades, "Oranges", vmin=0, vmax=most)
    axis.imshow(np.where(is_right, 1.0, np.nan), "Greys", vmin=0, vmax=6)
    if written:
        _write_counts(axis, counts, errors > 0.55 * most)
        _write_recall(axis, recall)
    else:
        figure.colorbar(image, label="test rows taken for another class", shrink=0.7)
    labels = style.thinned(names, MOST_CLASSES_WITH_COUNTS)
    is_long = max(map(len, labels)) > 3
    axis.set_xticks(range(size), labels, rotation=90 if is_long else 0)
    axis.set_yticks(range(size), labels)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.set_xlabel("predicted class", labelpad=6)
    axis.set_ylabel("true class")
    axis.tick_params(length=0)
    axis.spines[:].set(visible=True, color="#cccccc")
    return figure


def _write_counts(axis: canvas.Axes, counts: np.ndarray, is_dark: np.ndarray) -> None:
    for (true, predicted), count in np.ndenumerate(counts):
        colour = "white" if is_dark[true, predicted] else style.INK
        text, colour = (str(count), colour) if count else ("·", "#b0b0b0")
        axis.text(predicted, true, text, color=colour, ha="center", va="center")


def _write_recall(axis: canvas.Axes, recall: Sequence[float | None]) -> None:
    right = len(recall) - 0.3
    axis.text(right, -0.6, "recall", color=style.MUTED, ha="left", va="bottom")
    for true, share in enumerate(recall):
        text = "none" if share is None else f"{share:.3f}"
        axis.text(right, true, text, color=style.MUTED, ha="left", va="center")


@style.style()
def templates(
    W: np.ndarray, class_names: Sequence[str], image_shape: Sequence[int]
) -> canvas.Figure:
    """The weights of each class, laid out as the image that they are multiplied with.

    The scale is symmetric about zero and the same for all classes.

    Args:
        W: (D, C) weights.
        class_names: (C,) names; the first hundred are drawn.
        image_shape: (height, width) or (height, width, 3), with product D.

    Raises:
        ValueError: the shape does not hold D values.
    """
    if W.shape[0] != np.prod(image_shape):
        raise ValueError(
            f"image_shape {tuple(image_shape)} holds {np.prod(image_shape)} values, "
            f"expected {W.shape[0]}, the rows of W"
        )
    shown = min(W.shape[1], MOST_TEMPLATES)
    across = min(shown, 5 if shown <= 15 else 10)
    down = -(-shown // across)
    column = 8.6 / across if across > 3 else 2.0  # inches; other lengths are in columns
    tall = 0.9 * image_shape[0] / image_shape[1]
    row = tall + 0.22
    figure, (axis,) = canvas.subplots(column * across + 1.0, column * row * down)
    limit = float(np.abs(W).max()) or 1.0
    is_colour = len(image_shape) == 3
    for i in range(shown):
        left, top = i % across, i // across * row
        image = W[:, i].reshape(image_shape)
        shades = 0.5 + 0.5 * image / limit if is_colour else image
        look = {
            "vmin": -limit,
            "vmax": limit,
            "extent": (left, left + 0.9, top + tall, top),
        }
        drawn = axis.imshow(shades, DIVERGING, **look)
        name = style.short_name(class_names[i], 16 if across <= 5 else 9)
        axis.text(left, top - 0.03, name, ha="left", va="bottom")
    axis.set(xlim=(-0.02, across - 0.08), ylim=(down * row - 0.2, -0.2))
    axis.set_axis_off()
    if not is_colour:
        figure.colorbar(drawn, label="weight", shrink=0.8, aspect=25)
    return figure


@style.style()
def reliability(*diagrams: Diagram) -> canvas.Figure:
    """Accuracy over confidence in bins, with the number of rows in each bin below.

    The diagrams are of the same rows, side by side: as trained, and perhaps after
    temperature scaling.
    """
    count = len(diagrams)
    width = 4.8 if count == 1 else 4.6 * count
    shared: dict[str, Any] = {"sharex": True, "sharey": "row", "height_ratios": (3, 1)}
    figure, axes = canvas.subplots(width, 5.2, 2, count, **shared)
    tops, bottoms = axes[:count], axes[count:]
    for top, bottom, diagram in zip(tops, bottoms, diagrams, strict=True):
        _accuracy_points(top, diagram.bins)
        top.set_title(diagram.title)
        _count_bars(bottom, *(np.asarray(diagram.bins[k]) for k in ("edges", "count")))
    most = max(1, *(max(diagram.bins["count"]) for diagram in diagrams))
    tops[0].set_ylabel("accuracy in the bin")
    bottoms[0].set(ylabel="test rows", ylim=(0, most * 1.18))
    return figure


def _accuracy_points(axis: canvas.Axes, bins: Mapping[str, Any]) -> None:
    used = np.flatnonzero(bins["count"])
    count = np.asarray(bins["count"])[used]
    confidence = np.asarray(bins["confidence"], float)[used]
    accuracy = np.asarray(bins["accuracy"], float)[used]
    low, high = metrics.wilson_interval(accuracy, count)
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    axis.vlines(confidence, low, high, color=style.CHOSEN, linewidth=1, alpha=0.6)
    axis.plot(confidence, accuracy, "o", color=style.CHOSEN, markersize=5)
    axis.set(ylim=(-0.02, 1.02), xlim=(0, 1))


def _count_bars(axis: canvas.Axes, edges: np.ndarray, count: np.ndarray) -> None:
    width = np.diff(edges) * 0.92
    bars = axis.bar(edges[:-1], count, width=width, align="edge", color="#b9b9b9")
    if count.size <= 20:
        labels = [str(n) if n else "" for n in count]
        axis.bar_label(bars, labels, fontsize=7, color=style.MUTED, padding=1)
        axis.set_yticks([])  # the bars carry their numbers
    axis.set_xlabel("confidence of the prediction")
