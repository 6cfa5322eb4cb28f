"""Figures of the chosen classifier: confusion matrix, weight templates, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linclf_jax import metrics
from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES_WITH_COUNTS = 26
MOST_TEMPLATES = 100
DIVERGING = "RdBu_r"

Box = tuple[float, float, float, float]  # left, right, bottom, top


class Diagram(NamedTuple):
    """Whether confidences are right, of one classifier."""

    title: str
    # edges (K + 1,); count, confidence and accuracy (K,), the last two None if empty
    bins: Mapping[str, Any]


@style.style()
def confusion(
    counts: np.ndarray, recall: Sequence[float | None], class_names: Sequence[str]
) -> Figure:
    """How often each class was taken for each other one.

    Only the errors are coloured: the diagonal, which is larger by far, is grey.

    Args:
        counts: (C, C) integers, true classes down, predicted classes across.
        recall: (C,) share of each true class that was recognised, None without rows.
        class_names: (C,) names.
    """
    from matplotlib.figure import Figure

    size = len(class_names)
    written = size <= MOST_CLASSES_WITH_COUNTS
    side = min(8.0, max(1.6, 0.42 * size)) if written else 6.5
    names = [style.short_name(name) for name in class_names]
    margin = 0.9 + 0.07 * max(map(len, names))
    figure = Figure(figsize=(side + margin + 0.7, side + margin), layout="constrained")
    axis = figure.subplots()
    errors = np.where(np.eye(size, dtype=bool), 0, counts)
    # Scaled to five at least, so that a lone mistake is not painted as a disaster.
    most = 1.15 * max(5, errors.max())
    shades = np.where(errors > 0, errors, np.nan)
    image = axis.imshow(shades, "Oranges", vmin=0, vmax=most)
    axis.imshow(np.where(np.eye(size), 1.0, np.nan), "Greys", vmin=0, vmax=6)
    if written:
        _write_counts(axis, counts, errors / most)
        _write_recall(axis, recall)
    else:
        figure.colorbar(image, label="test rows taken for another class", shrink=0.7)
    labels = style.thinned(names, MOST_CLASSES_WITH_COUNTS)
    long = max(map(len, labels)) > 3
    axis.set_xticks(range(size), labels, rotation=90 if long else 0)
    axis.set_yticks(range(size), labels)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#cccccc")
    return figure


def _write_counts(axis: Axes, counts: np.ndarray, shade: np.ndarray) -> None:
    for (true, predicted), count in np.ndenumerate(counts):
        strong = shade[true, predicted] > 0.55
        axis.text(
            predicted,
            true,
            str(count) if count else "·",
            color="#b0b0b0" if not count else "white" if strong else style.INK,
            **style.CENTRED,
        )


def _write_recall(axis: Axes, recall: Sequence[float | None]) -> None:
    right = len(recall) - 0.3
    axis.text(right, -0.6, "recall", color="#555555", ha="left", va="bottom")
    for true, share in enumerate(recall):
        text = "none" if share is None else f"{share:.3f}"
        axis.text(right, true, text, color="#555555", ha="left", va="center")


@style.style()
def templates(
    W: np.ndarray, class_names: Sequence[str], image_shape: Sequence[int]
) -> Figure:
    """The weights of each class, laid out as the image that they are multiplied with.

    Args:
        W: (D, C) weights.
        class_names: (C,) names; the first hundred are drawn.
        image_shape: (height, width) or (height, width, 3), with product D.

    Raises:
        ValueError: the shape does not hold D values.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    if W.shape[0] != np.prod(image_shape):
        raise ValueError(
            f"image_shape {tuple(image_shape)} holds {np.prod(image_shape)} values, "
            f"expected {W.shape[0]}, the rows of W"
        )
    shown = min(W.shape[1], MOST_TEMPLATES)
    across = min(shown, 5 if shown <= 15 else 10)
    tall = 0.9 * image_shape[0] / image_shape[1]
    down = -(-shown // across) * (tall + 0.22)  # in units of one column
    column = 8.6 / across if across > 3 else 2.0
    size = (column * across + 1.0, column * down)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    limit = float(np.abs(W).max()) or 1.0
    for i in range(shown):
        left, top = i % across, (i // across) * (tall + 0.22)
        image = W[:, i].reshape(image_shape)
        _template(axis, image, limit, (left, left + 0.9, top + tall, top))
        name = style.short_name(class_names[i], 16 if across <= 5 else 9)
        axis.text(left, top - 0.03, name, ha="left", va="bottom")
    axis.set(xlim=(-0.02, across - 0.08), ylim=(down - 0.2, -0.2))
    axis.set_axis_off()
    if len(image_shape) == 2:
        scale = ScalarMappable(Normalize(-limit, limit), DIVERGING)
        figure.colorbar(scale, ax=axis, label="weight", shrink=0.8, aspect=25)
    return figure


def _template(axis: Axes, image: np.ndarray, limit: float, box: Box) -> None:
    """One class; the scale is symmetric about zero and the same for all of them."""
    if image.ndim == 3:
        image = 0.5 + 0.5 * image / limit
    axis.imshow(image, DIVERGING, vmin=-limit, vmax=limit, extent=box)


@style.style()
def reliability(*diagrams: Diagram) -> Figure:
    """Accuracy over confidence in bins, with the number of rows in each bin below.

    Args:
        diagrams: of the same rows, side by side: as trained, and perhaps after
            temperature scaling.
    """
    from matplotlib.figure import Figure

    count = len(diagrams)
    size = (4.8 if count == 1 else 4.6 * count, 5.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        2, count, squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1)
    )
    most = max(1, *(max(diagram.bins["count"]) for diagram in diagrams))
    for (top, bottom), diagram in zip(axes.T, diagrams, strict=True):
        _accuracy_points(top, diagram.bins)
        top.set_title(diagram.title)
        _count_bars(bottom, *(np.asarray(diagram.bins[k]) for k in ("edges", "count")))
    axes[0, 0].set_ylabel("accuracy in the bin")
    axes[1, 0].set_ylabel("test rows")
    axes[1, 0].set_ylim(0, most * 1.18)
    return figure


def _accuracy_points(axis: Axes, bins: Mapping[str, Any]) -> None:
    used = np.flatnonzero(bins["count"])
    count = np.asarray(bins["count"])[used]
    confidence = np.asarray(bins["confidence"], float)[used]
    accuracy = np.asarray(bins["accuracy"], float)[used]
    low, high = metrics.wilson_interval(accuracy, count)
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    axis.vlines(confidence, low, high, color=style.CHOSEN, linewidth=1, alpha=0.6)
    axis.plot(confidence, accuracy, "o", color=style.CHOSEN, markersize=5)
    axis.set(ylim=(-0.02, 1.02), xlim=(0, 1))


def _count_bars(axis: Axes, edges: np.ndarray, count: np.ndarray) -> None:
    bars = axis.bar(
        edges[:-1], count, width=np.diff(edges) * 0.92, align="edge", color="#b9b9b9"
    )
    if count.size <= 20:
        labels = [str(n) if n else "" for n in count]
        axis.bar_label(bars, labels, fontsize=7, color="#555555", padding=1)
        axis.set_yticks([])  # the bars carry their numbers
    axis.set_xlabel("confidence of the prediction")
