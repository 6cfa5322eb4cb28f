"""The one evaluation of chosen classifiers on rows that chose nothing.

What a classifier is evaluated with, a temperature, is fitted on held-out rows before.
"""

import functools
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import calibration, comparison, losses, metrics, params
from linclf_jax.data import datasets
from linclf_jax.data import duplicates as duplicates_lib
from linclf_jax.data.datasets import Split
from linclf_jax.data.duplicates import Duplicates
from linclf_jax.params import Params
from linclf_jax.runs import schema
from linclf_jax.runs.schema import Entry
from linclf_jax.selection import ranking
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies.study import Classifier, Inputs

TOP = 5  # top-5 accuracy, of more classes than these


class Evaluation(NamedTuple):
    """What a classifier does on the test rows."""

    scores: dict[str, Any]  # ``test`` of an entry of selected.json
    correct: np.ndarray  # (M,) boolean


def describe(split: Split) -> dict[str, Any]:
    """Returns what ``selected.json`` says of test rows."""
    return {
        "sha256": datasets.split_fingerprint(split),
        "rows": len(split.labels),
        "opened": "after the choice",
    }


def evaluate(classifier: Classifier, inputs: Inputs, test: Split) -> Evaluation:
    """Returns what a classifier does on the test rows, which are as they came.

    Scores are None where they have no meaning: the five best of five classes or fewer,
    probabilities of a loss that makes none of the classes. Scores that are called
    scaled are of logits divided by the temperature; they are None without one, or where
    it is the bound of the fit and no optimum: a thousand times too sure is no
    calibration.
    """
    x = inputs_lib.scaled(inputs, test)
    params_on_device = Params(*map(jnp.asarray, classifier.params))
    bounds = (calibration.COLDEST, calibration.HOTTEST)
    rest = (
        jnp.asarray(test.labels),
        None if classifier.temperature in bounds else classifier.temperature,
        inputs.num_classes,
        classifier.loss,
    )
    if isinstance(x, np.ndarray):
        x, precision = jnp.asarray(x), classifier.precision
        scores = _evaluate(params_on_device, x, precision, *rest)
    else:
        score = functools.partial(
            params.logits, params_on_device, precision=classifier.precision
        )
        scores = _evaluate_logits(jnp.asarray(inputs_lib.by_part(score, x)), *rest)
    correct = np.asarray(scores.pop("correct"))
    # Whichever rows a classifier was fitted to: the others chose it.
    parts = (inputs.dataset.train, inputs.dataset.validation)
    duplicates = duplicates_lib.between(
        [(part.x, part.labels) for part in parts], test.x, test.labels
    )
    return Evaluation(
        {
            **_accuracy(correct),
            **scores,
            "temperature": classifier.temperature,
            "duplicates": _without(correct, duplicates),
        },
        correct,
    )


def temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Returns what to divide logits ``(M, C)`` by, fitted on rows that trained nothing.

    None where a label ``(M,)`` has no finite logit: no temperature can help.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    if not np.isfinite(own).all():
        return None
    return calibration.fit_temperature(logits, labels)


def compare(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Returns the paired test of each two feature sets, adjusted for their number."""
    pairs = [
        {
            "first": first,
            "second": second,
            **comparison.mcnemar(one.correct, other.correct)._asdict(),
        }
        for (first, one), (second, other) in combinations(evaluations.items(), 2)
    ]
    adjusted = comparison.holm([pair["p_value"] for pair in pairs]) if pairs else []
    return [
        {**pair, "adjusted": value} for pair, value in zip(pairs, adjusted, strict=True)
    ]


def choose_entry(entries: Sequence[Entry], metric: str) -> tuple[int, list[int]]:
    """Returns the entry that did best on held-out rows, and those that tie with it.

    Entries that differ in their seed alone count by their mean, and stand for their
    first seed. Those of which nothing was held out come last, and tie with one another.
    Ties are broken as ``ranking.ranking`` says, by the mean penalty. At least one entry
    is no failure.
    """
    averages, sign = schema.across_seeds(entries), ranking.METRICS[metric]

    def mean(average: schema.Average, name: str) -> float:
        spread = average.validation(name)
        return np.inf if spread is None else spread.mean

    # Values of different losses do not compare, not even to break a tie.
    one_loss = len({a.entries[0]["row"].get("loss") for a in averages}) == 1
    costs = [sign * mean(average, metric) for average in averages]
    best, *others = ranking.ranking(
        costs,  # what is not finite, -inf too, comes last
        [mean(average, "val_loss") if one_loss else 0.0 for average in averages],
        [_mean_penalty(average) for average in averages],
    )
    ties = [averages[i].indices[0] for i in others if costs[i] == costs[best]]
    return averages[best].indices[0], ties


def _mean_penalty(average: schema.Average) -> float:
    return statistics.fmean(entry["row"]["l2"] or 0.0 for entry in average.entries)


def _accuracy(correct: np.ndarray) -> dict[str, Any]:
    accuracy = np.count_nonzero(correct) / len(correct)
    return {
        "size": len(correct),
        "accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, len(correct)),
    }


def _without(correct: np.ndarray, duplicates: Duplicates) -> dict[str, Any]:
    """Returns how many rows are duplicates, and the accuracy on the others."""
    rows, another_label, _ = duplicates_lib.counts(duplicates)
    if not rows:
        return {"rows": 0, "another_label": 0, "without": None}
    others = correct[~duplicates.rows]
    without = _accuracy(others) if len(others) else None
    return {"rows": rows, "another_label": another_label, "without": without}


@functools.partial(jax.jit, static_argnames=("precision", "num_classes", "loss"))
def _evaluate(
    classifier: Params,
    x: jax.Array,
    precision: str,
    labels: jax.Array,
    temperature: float | None,
    num_classes: int,
    loss: str,
) -> dict[str, Any]:
    """One program: called one by one, its parts would compile for two seconds."""
    logits = params.logits(classifier, x, precision=precision)
    return _evaluate_logits(logits, labels, temperature, num_classes, loss)


@functools.partial(jax.jit, static_argnames=("num_classes", "loss"))
def _evaluate_logits(
    logits: jax.Array,
    labels: jax.Array,
    temperature: float | None,
    num_classes: int,
    loss: str,
) -> dict[str, Any]:
    predictions = jnp.argmax(logits, axis=-1)
    confusion = metrics.confusion_matrix(labels, predictions, num_classes)
    plain: dict[str, Any] = dict.fromkeys(("nll", "calibration_error", "reliability"))
    scaled = plain
    if loss in losses.PROBABILISTIC:
        plain = _probabilities(logits, labels)
        if temperature is not None:
            scaled = _probabilities(logits / temperature, labels)
    top = num_classes > TOP
    return {
        "correct": predictions == labels,
        "loss": jnp.mean(losses.LOSSES[loss](logits, labels)),
        "top5_accuracy": metrics.top_k_accuracy(logits, labels, k=TOP) if top else None,
        "mean_per_class_recall": metrics.mean_per_class_recall(confusion),
        "per_class_recall": metrics.per_class_recall(confusion),
        "confusion": confusion,
        **plain,
        **{f"{name}_scaled": value for name, value in scaled.items()},
    }


def _probabilities(logits: jax.Array, labels: jax.Array) -> dict[str, Any]:
    """Returns the mean log-loss, calibration error, and confidence against accuracy."""
    probs = jax.nn.softmax(logits, axis=-1)
    bins = metrics.reliability(probs, labels)
    edges = np.linspace(0.0, 1.0, len(bins.count) + 1)
    return {
        "nll": metrics.negative_log_likelihood(logits, labels),
        "calibration_error": metrics.expected_calibration_error(probs, labels),
        "reliability": {"edges": edges, **bins._asdict()},
    }
