"""The one measurement of a chosen classifier on data that chose nothing."""

from typing import Any

import jax
import numpy as np

from linclf_jax import metrics, params
from linclf_jax.fit import training
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
    loss, _ = training.evaluate(chosen, x, labels, static)
    predictions = params.predict(chosen, x, precision=static.precision)
    accuracy = int(np.sum(np.asarray(predictions == labels))) / len(labels)
    confusion = metrics.confusion_matrix(labels, predictions, static.num_classes)
    calibrated = static.loss == "softmax_cross_entropy"
    probs = params.predict_proba(chosen, x, precision=static.precision)
    error = metrics.expected_calibration_error(probs, labels) if calibrated else None
    return {
        "size": len(labels),
        "accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, len(labels)),
        "loss": loss,
        "per_class_recall": metrics.per_class_recall(confusion),
        "confusion": confusion,
        "calibration_error": error,
        "reliability": reliability(probs, labels) if calibrated else None,
    }


def reliability(probs: jax.Array, labels: jax.Array) -> dict[str, Any]:
    """Returns confidence against accuracy in equal bins, with the edges of the bins."""
    bins = metrics.reliability(probs, labels)
    return {"edges": np.linspace(0.0, 1.0, len(bins.count) + 1), **bins._asdict()}
