"""The one measurement of a chosen classifier on data that chose nothing."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import losses, metrics, params
from linclf_jax.fit.settings import Static
from linclf_jax.params import Params


def measure(
    chosen: Params, x: jax.Array, labels: jax.Array, static: Static
) -> dict[str, Any]:
    """Returns what the chosen classifier does on the test split.

    Args:
        chosen: ``W (D, C)`` and ``b (C,)``.
        x: Scaled features ``(N, D)``.
        labels: ``(N,)``.
        static: The lane's choices. Calibration is measured where the loss is
            cross-entropy: a hinge makes no probabilities.
    """
    found = _measure(chosen, x, labels, static)
    accuracy = int(found.pop("right")) / len(labels)
    return {
        "size": len(labels),
        "accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, len(labels)),
        **found,
    }


@functools.partial(jax.jit, static_argnames="static")
def _measure(
    chosen: Params, x: jax.Array, labels: jax.Array, static: Static
) -> dict[str, Any]:
    """One program: called one by one, its parts would compile for two seconds."""
    scores = params.logits(chosen, x, precision=static.precision)
    predictions = jnp.argmax(scores, axis=-1)
    confusion = metrics.confusion_matrix(labels, predictions, static.num_classes)
    calibrated = static.loss == "softmax_cross_entropy"
    return {
        "right": jnp.sum(predictions == labels),
        "loss": jnp.mean(losses.LOSSES[static.loss](scores, labels)),
        "per_class_recall": metrics.per_class_recall(confusion),
        "confusion": confusion,
        **(calibration(scores, labels) if calibrated else _NO_CALIBRATION),
    }


_NO_CALIBRATION = {"calibration_error": None, "reliability": None}


def calibration(scores: jax.Array, labels: jax.Array) -> dict[str, Any]:
    """Returns the calibration error, and confidence against accuracy in equal bins.

    Args:
        scores: Logits ``(N, C)``.
        labels: ``(N,)``.
    """
    probs = jax.nn.softmax(scores, axis=-1)
    bins = metrics.reliability(probs, labels)
    edges = np.linspace(0.0, 1.0, len(bins.count) + 1)
    return {
        "calibration_error": metrics.expected_calibration_error(probs, labels),
        "reliability": {"edges": edges, **bins._asdict()},
    }
