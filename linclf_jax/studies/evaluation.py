"""The one measurement of a chosen classifier on data that chose nothing.

What it is measured with, a temperature, is fitted on validation rows before.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import calibration as calibration_lib
from linclf_jax import losses, metrics, params
from linclf_jax.data import duplicates as duplicates_lib
from linclf_jax.data.duplicates import Duplicates
from linclf_jax.params import Params
from linclf_jax.training.settings import Static

TOP = 5  # top-5 accuracy, of more classes than these


def measure(
    chosen: Params,
    x: jax.Array,
    labels: jax.Array,
    static: Static,
    *,
    temperature: float | None = None,
    duplicates: Duplicates | None = None,
) -> dict[str, Any]:
    """Returns what the chosen classifier does on the test split.

    Args:
        chosen: ``W (D, C)`` and ``b (C,)``.
        x: Scaled features ``(N, D)``.
        labels: ``(N,)``.
        static: The lane's choices. Calibration is measured where the loss is
            cross-entropy: a hinge makes no probabilities.
        temperature: Fitted on validation rows, what logits are divided by for the
            scores that are called scaled. Those are None without one, or where it is
            the bound of the fit and no optimum: a thousand times too sure is no
            calibration.
        duplicates: Which rows chose or trained the classifier too; none if None.

    Returns:
        Scores, None where one has no meaning: the five best of five classes or fewer,
        probabilities of a hinge.
    """
    bounds = (calibration_lib.COLDEST, calibration_lib.HOTTEST)
    scale = None if temperature in bounds else temperature
    found = _measure(chosen, x, labels, scale, static)
    right = np.asarray(found.pop("right"))
    accuracy = np.count_nonzero(right) / len(labels)
    return {
        "size": len(labels),
        "accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, len(labels)),
        **found,
        "temperature": temperature,
        "duplicates": _without(right, duplicates),
    }


def _without(right: np.ndarray, duplicates: Duplicates | None) -> dict[str, Any]:
    """Returns how many rows are duplicates, and the accuracy on the others."""
    if duplicates is None or not duplicates.rows.any():
        return {"rows": 0, "another_label": 0, "without": None}
    rows, another_label, _ = duplicates_lib.counts(duplicates)
    others, without = right[~duplicates.rows], None
    if len(others):
        accuracy = np.count_nonzero(others) / len(others)
        interval = metrics.wilson_interval(accuracy, len(others))
        without = {
            "size": len(others),
            "accuracy": accuracy,
            "accuracy_interval": interval,
        }
    return {"rows": rows, "another_label": another_label, "without": without}


@functools.partial(jax.jit, static_argnames="static")
def _measure(
    chosen: Params,
    x: jax.Array,
    labels: jax.Array,
    temperature: float | None,
    static: Static,
) -> dict[str, Any]:
    """One program: called one by one, its parts would compile for two seconds."""
    scores = params.logits(chosen, x, precision=static.precision)
    predictions = jnp.argmax(scores, axis=-1)
    confusion = metrics.confusion_matrix(labels, predictions, static.num_classes)
    calibrated = static.loss == "softmax_cross_entropy"
    plain = scaled = _NO_PROBABILITIES
    if calibrated:
        plain = probabilities(scores, labels)
    if calibrated and temperature is not None:
        scaled = probabilities(scores / temperature, labels)
    top = static.num_classes > TOP
    return {
        "right": predictions == labels,
        "loss": jnp.mean(losses.LOSSES[static.loss](scores, labels)),
        "top5_accuracy": metrics.top_k_accuracy(scores, labels, k=TOP) if top else None,
        "mean_per_class_recall": metrics.mean_per_class_recall(confusion),
        "per_class_recall": metrics.per_class_recall(confusion),
        "confusion": confusion,
        **plain,
        **{f"{name}_scaled": value for name, value in scaled.items()},
    }


_NO_PROBABILITIES = {"nll": None, "calibration_error": None, "reliability": None}


def probabilities(scores: jax.Array, labels: jax.Array) -> dict[str, Any]:
    """Returns the mean log-loss, calibration error, and confidence against accuracy.

    Args:
        scores: Logits ``(N, C)``.
        labels: ``(N,)``.
    """
    probs = jax.nn.softmax(scores, axis=-1)
    bins = metrics.reliability(probs, labels)
    edges = np.linspace(0.0, 1.0, len(bins.count) + 1)
    return {
        "nll": metrics.negative_log_likelihood(scores, labels),
        "calibration_error": metrics.expected_calibration_error(probs, labels),
        "reliability": {"edges": edges, **bins._asdict()},
    }


def temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Returns what to divide logits by, fitted on rows that trained nothing.

    Args:
        logits: ``(M, C)``.
        labels: ``(M,)``.

    Returns:
        None where a label has no finite logit, so that no temperature can help.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    if not np.isfinite(own).all():
        return None
    return calibration_lib.fit_temperature(logits, labels)
