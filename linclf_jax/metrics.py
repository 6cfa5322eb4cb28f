"""What a person wants to know of a classifier: pure functions of logits and labels.

``logits (N, C)`` and probabilities ``probs (N, C)``, whose rows sum to one, are
floating, ``labels (N,)`` integers; ``weights (N,)`` are not negative and not all zero,
and None weighs all alike. Everything works under ``jit`` and ``vmap`` and computes in
at least float32. Ties go to the first class, as in ``params.predict``.

A row with a NaN among its logits counts as wrong, so that a diverged run can not look
good by the accident of ``argmax``. A row whose label is out of range counts as wrong
too, and makes the negative log-likelihood NaN; validate labels before. Shapes that
would broadcast, such as labels ``(N, 1)``, are refused with a ``ValueError``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import losses, params, weighting


class Reliability(NamedTuple):
    """Confidence against accuracy, in equal bins of confidence over (0, 1]."""

    count: jax.Array  # (bins,) int32
    confidence: jax.Array  # (bins,) mean of the largest probability, NaN where empty
    accuracy: jax.Array  # (bins,) share of right predictions, NaN where empty


def accuracy(
    logits: jax.Array, labels: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Returns the weighted share of examples whose largest logit is the label's.

    >>> print(accuracy(jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 0])))
    0.5
    """
    _require_rows(logits, labels)
    right = jnp.argmax(logits, axis=-1) == labels
    return _share(right, logits, weights)


def top_k_accuracy(logits: jax.Array, labels: jax.Array, *, k: int) -> jax.Array:
    """Returns the share of examples whose label is among the k largest logits.

    Of equal logits the class that comes first ranks higher, as in ``argmax`` and
    ``jax.lax.top_k``; k = 1 is ``accuracy``, and k is at most C.
    """
    _require_rows(logits, labels)
    num_classes = logits.shape[-1]
    if not 1 <= k <= num_classes:
        raise ValueError(f"found k = {k}, expected 1..{num_classes}")
    # uint8 can not hold a number of classes above 255, which it is compared with.
    chosen = labels.astype(jnp.promote_types(labels.dtype, jnp.int32))[:, None]
    at_label = jnp.take_along_axis(logits, chosen, axis=-1)
    earlier = jnp.arange(num_classes)[None, :] < chosen
    ahead = (logits > at_label) | ((logits == at_label) & earlier)
    # At a label out of range is NaN, or another class, and nothing need be ahead of it.
    known = (chosen >= 0) & (chosen < num_classes)
    right = known[:, 0] & (jnp.sum(ahead, axis=-1) < k)
    return _share(right, logits)


def negative_log_likelihood(
    logits: jax.Array, labels: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Returns the mean softmax cross-entropy in nats, without any penalty."""
    _require_rows(logits, labels)
    scores = weighting.mask(params.at_least_float32(logits), weights)
    labels = weighting.mask_labels(labels, weights, scores)
    values = losses.softmax_cross_entropy(scores, labels)
    return losses.weighted_mean(values, weights)


def confusion_matrix(
    labels: jax.Array, predictions: jax.Array, num_classes: int
) -> jax.Array:
    """Counts the examples of each true class by the class that was predicted.

    ``(C, C)`` int32: rows are true classes, columns predicted ones, of ``predictions
    (N,)``. An example with a class out of range is not counted. ``num_classes`` is
    static.

    >>> print(confusion_matrix(jnp.array([0, 0, 1]), jnp.array([0, 1, 1]), 2))
    [[1 1]
     [0 1]]
    """
    if labels.ndim != 1 or predictions.shape != labels.shape:
        raise ValueError(
            f"labels have shape {labels.shape} and predictions {predictions.shape}; "
            "expected (N,) and the same"
        )
    empty = jnp.zeros((num_classes, num_classes), jnp.int32)
    counted = empty.at[labels, predictions]
    return counted.add(1, mode="drop", wrap_negative_indices=False)


def per_class_recall(confusion: jax.Array) -> jax.Array:
    """Returns the share of each true class that was predicted right, ``(C,)``.

    Of counts as from ``confusion_matrix``; NaN for a class without examples.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion has shape {confusion.shape}; expected (C, C)")
    totals = jnp.sum(confusion, axis=-1)
    recall = jnp.diagonal(confusion) / jnp.maximum(totals, 1)
    return jnp.where(totals > 0, recall, jnp.nan)


def mean_per_class_recall(confusion: jax.Array) -> jax.Array:
    """Returns the mean of ``per_class_recall`` over the classes that have examples.

    Also called balanced accuracy: every class counts alike, however rare it is. NaN
    where no class has examples.

    >>> print(mean_per_class_recall(jnp.array([[9, 0], [1, 0]])))
    0.5
    """
    return jnp.nanmean(per_class_recall(confusion))


def reliability(probs: jax.Array, labels: jax.Array, *, bins: int = 15) -> Reliability:
    """Returns how often predictions of each confidence are right.

    Bin m of M holds the confidences in ``((m - 1) / M, m / M]``, as in Guo et al.,
    "On Calibration of Modern Neural Networks" (2017). NaN probabilities land in the
    first bin and make its confidence NaN.
    """
    _require_rows(probs, labels, name="probs")
    if bins < 1:
        raise ValueError(f"found {bins} bins, expected at least 1")
    probs = params.at_least_float32(probs)
    confidence = jnp.max(probs, axis=-1)
    edges = (jnp.arange(1, bins) / bins).astype(probs.dtype)
    index = jnp.sum(confidence[:, None] > edges[None, :], axis=-1)
    # Masked sums and not a scatter: the same bits on every run, on a GPU too.
    inside = index[:, None] == jnp.arange(bins)[None, :]
    count = jnp.sum(inside, axis=0, dtype=jnp.int32)
    right = jnp.argmax(probs, axis=-1) == labels

    def mean(values: jax.Array) -> jax.Array:
        total = jnp.sum(jnp.where(inside, values[:, None], 0), axis=0)
        return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)

    return Reliability(count, mean(confidence), mean(right.astype(probs.dtype)))


def expected_calibration_error(
    probs: jax.Array, labels: jax.Array, *, bins: int = 15
) -> jax.Array:
    """Returns ``sum_m (n_m / N) |accuracy_m - confidence_m|`` over the bins m.

    Guo et al. (2017), equation (3). A sum over bins: its value depends on their number,
    and it is biased upwards where a bin holds few examples. From 0 to 1; NaN if any row
    of the probabilities holds a NaN.
    """
    table = reliability(probs, labels, bins=bins)
    gaps = table.count * jnp.abs(table.accuracy - table.confidence)
    return jnp.sum(jnp.where(table.count > 0, gaps, 0)) / labels.shape[0]


def wilson_interval(share: ArrayLike, count: ArrayLike) -> tuple[Any, Any]:
    """Returns Wilson's 95 % interval for a share out of a count (Wilson, 1927).

    Unlike the normal approximation it stays within [0, 1], and is wider than 0 where
    all or none are right. Concrete numbers or arrays; the ends are at most and at least
    ``share``.

    >>> low, high = wilson_interval(1.0, 30)
    >>> print(f"{low:.3f} {high:.3f}")
    0.886 1.000
    """
    share, count = np.asarray(share), np.asarray(count)
    z = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
    shrunk = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / shrunk
    half = z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / shrunk
    # Rounding must not move an end past the share where that is 0 or 1.
    return np.clip(middle - half, 0.0, share), np.clip(middle + half, share, 1.0)


def _require_rows(scores: jax.Array, labels: jax.Array, name: str = "logits") -> None:
    if scores.ndim != 2:
        raise ValueError(f"{name} have shape {scores.shape}; expected (N, C)")
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f"labels have shape {labels.shape}; expected {scores.shape[:1]}, one per "
            f"row of {name}"
        )


def _share(
    right: jax.Array, logits: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    right = right & ~jnp.any(jnp.isnan(logits), axis=-1)
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return losses.weighted_mean(right.astype(dtype), weights)
