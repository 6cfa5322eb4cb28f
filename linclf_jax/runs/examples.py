"""Test rows that a person may want to see: confused classes, surest and least sure.

They are few, picked once, after the test, and kept in the run directory, so that its
page can be drawn again without the data.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy import special

from linclf_jax.data import stored_rows
from linclf_jax.data.datasets import Split
from linclf_jax.data.stored_rows import Features
from linclf_jax.runs import directory

FILE = "examples.npz"
CONFUSED, SUREST, LEAST_SURE = "confused", "surest", "least_sure"
GROUPS = (CONFUSED, SUREST, LEAST_SURE)
MOST_PAIRS = 6
EACH = 8  # rows of a pair of classes, at most
ENDS = 16  # rows that are surest, and that are least sure, at most
LARGEST = 96  # pixels a side: of a larger image every second or third is kept
BLOCK = 4096  # rows whose scores are float64 at a time


class Examples(NamedTuple):
    """Rows of a test split, group by group, in the order in which they are shown."""

    group: np.ndarray  # (M,) of GROUPS
    index: np.ndarray  # (M,) int64, row numbers in the source
    labels: np.ndarray  # (M,) int32
    predictions: np.ndarray  # (M,) int32
    certainty: np.ndarray  # (M,) float32: the prediction's probability, or its margin
    alike: np.ndarray  # (M,) int32, test rows of that label with that prediction
    images: np.ndarray  # (M, H, W) or (M, H, W, 3) uint8; (M, 0) if rows are no images
    calibrated: np.ndarray  # () bool: certainty is a probability


def collect(
    logits: jax.Array | np.ndarray,
    split: Split,
    *,
    image_shape: Sequence[int] | None,
    calibrated: bool,
) -> Examples:
    """Picks the rows and renders their images.

    The most confused pairs of classes come first, the most frequent pair ahead, and of
    each the errors that were surest. Certainty orders rows by the log-odds of the
    prediction, which tell probabilities apart that are all rounded to 1; of a loss
    that makes none of the classes rows are ordered by margin. Ties go to the earlier
    row. A row without a finite highest score, of which nothing is certain, is left out.

    Args:
        logits: (N, C), floating, of the rows of the split.
        split: raw, as it came.
        image_shape: (H, W) or (H, W, 3) if the columns are pixels.
        calibrated: whether the softmax of the logits means probabilities.
    """
    scores = np.asarray(logits)
    usable = np.flatnonzero(np.isfinite(scores.max(axis=1)))
    scores, labels = scores[usable], split.labels[usable]
    predictions = scores.argmax(axis=1)
    counts = np.zeros((scores.shape[1],) * 2, np.int32)
    np.add.at(counts, (labels, predictions), 1)
    blocks = (scores[i : i + BLOCK] for i in range(0, max(1, len(scores)), BLOCK))
    sure = np.concatenate([certainty(block, calibrated) for block in blocks])
    picks = _pick(labels, predictions, sure, counts)
    rows = np.concatenate(picks)
    return Examples(
        group=np.repeat(GROUPS, [len(each) for each in picks]),
        index=split.index[usable[rows]],
        labels=labels[rows].astype(np.int32),
        predictions=predictions[rows].astype(np.int32),
        certainty=(special.expit(sure) if calibrated else sure)[rows].astype("f4"),
        alike=counts[labels[rows], predictions[rows]],
        images=render(split.x, usable[rows], image_shape),
        calibrated=np.array(calibrated),
    )


def certainty(scores: np.ndarray, calibrated: bool) -> np.ndarray:
    """The log-odds of each prediction, or the margin of its score over the next, (N,).

    The odds are p / (1 - p) without forming 1 - p.

    Args:
        scores: (N, C), floating, the largest of each row finite.
        calibrated: whether the softmax of the scores means probabilities.

    >>> certainty(np.array([[800.0, 0.0, -np.inf]]), calibrated=True).tolist()
    [800.0]
    >>> certainty(np.array([[1.0, 3.5, 2.0]]), calibrated=False).tolist()
    [1.5]
    """
    others, rows = scores.astype(np.float64), np.arange(len(scores))
    highest = scores.argmax(axis=1)
    top = others[rows, highest]
    others[rows, highest] = -np.inf
    rest = special.logsumexp(others, axis=1) if calibrated else others.max(axis=1)
    return top - rest


def _pick(
    labels: np.ndarray, predictions: np.ndarray, sure: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of each group."""
    order = np.argsort(-sure, kind="stable")
    kinds = np.stack([labels, predictions], axis=1)[order]
    confused = [
        order[(kinds == pair).all(axis=1)][:EACH]
        for pair in most_frequent_errors(counts, MOST_PAIRS)
    ]
    ends = min(ENDS, len(order) // 2)
    least = np.argsort(sure, kind="stable")[:ends]
    return np.concatenate([order[:0], *confused]), order[:ends], least


def most_frequent_errors(counts: np.ndarray, most: int = 5) -> list[tuple[int, int]]:
    """The largest counts off the diagonal, as (true, predicted); ties in row order.

    ``counts`` are ``(C, C)``, true classes down.

    >>> most_frequent_errors(np.array([[9, 1, 0], [4, 9, 0], [0, 1, 9]]), most=2)
    [(1, 0), (0, 1)]
    """
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = (divmod(int(i), len(counts)) for i in order)
    return [(true, predicted) for true, predicted in pairs if errors[true, predicted]]


def render(
    x: Features, rows: np.ndarray, image_shape: Sequence[int] | None
) -> np.ndarray:
    """Rows as images that a screen can show, uint8.

    Bytes stay as they are. Other numbers are stretched from the smallest to the largest
    of all of ``x``, by one scale for all images, so that these compare.

    Args:
        x: (N, D), real numbers of any dtype.
        rows: (M,) indices of it.
        image_shape: (H, W) or (H, W, 3), with product D; None if rows are no images.

    Returns:
        (M, H, W) or (M, H, W, 3), large sides thinned out to ``LARGEST``; (M, 0)
        without a shape.
    """
    if image_shape is None:
        return np.zeros((len(rows), 0), np.uint8)
    step = -(-max(image_shape[:2]) // LARGEST)
    images = x[rows].reshape(-1, *image_shape)[:, ::step, ::step]
    if images.dtype == np.uint8:
        return images
    extents = [(block.min(), block.max()) for block in stored_rows.blocks(x)]
    low, high = float(np.min(extents)), float(np.max(extents))
    share = (images.astype(np.float64) - low) / (high - low or 1.0)
    return np.round(255 * share).astype(np.uint8)


def write(path: Path, examples: Examples) -> None:
    """Writes ``examples.npz`` into a run directory."""
    directory.write(path / FILE, examples._asdict())


def read(path: Path) -> Examples | None:
    """Reads ``examples.npz`` of a run directory, where it is there.

    Raises:
        ValueError: it is damaged, or holds other arrays.
    """
    file = path / FILE
    if not file.exists():
        return None
    arrays = directory.read(file)
    if set(arrays) != set(Examples._fields):
        raise ValueError(
            f"{file}: found arrays {sorted(arrays)}, expected "
            f"{sorted(Examples._fields)}"
        )
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len({*lengths.values()}) != 1:
        raise ValueError(f"{file}: found lengths {lengths}, expected all the same")
    return Examples(**arrays)
