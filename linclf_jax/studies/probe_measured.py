"""The one measurement of a probe's classifiers on data that chose nothing.

The test split of a feature set is opened here, once, when every choice is made.
"""

import statistics
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import comparison
from linclf_jax import params as params_lib
from linclf_jax.data import preprocessing
from linclf_jax.data.datasets import Split
from linclf_jax.data.duplicates import Duplicates
from linclf_jax.params import Params
from linclf_jax.runs import formats
from linclf_jax.selection import ranking
from linclf_jax.studies import evaluation, last_step, leakage, probe_sources
from linclf_jax.studies.probe_problem import Fit, Found, Problem
from linclf_jax.studies.probe_sources import FeatureSet
from linclf_jax.training.settings import Static

Json = dict[str, Any]
# Of a classifier on the test split, in the order of the table.
SCORES = (
    *("accuracy", "top5_accuracy", "mean_per_class_recall", "nll"),
    *("calibration_error", "calibration_error_scaled"),
)
SETTINGS = ("l2", "C", "learning_rate")
HELD_OUT = ("loss", "accuracy", "loss_calibrated")  # by ``ranking.CRITERIA``


class Best(NamedTuple):
    """Which entry did best on held-out rows."""

    place: int
    ties: tuple[int, ...]  # other entries with exactly its score, the next one first


class Tested(NamedTuple):
    """What the classifiers of a feature set do on its test split."""

    split: Split
    data: Json  # what selected.json says of the split
    runs: list[Json]  # of each fit
    right: list[np.ndarray]  # (M,) boolean of each fit


def measure(
    features: FeatureSet, found: Found, rows: list[Json], folder: Path
) -> Tested:
    """Opens the test split of a set, once, and measures its classifiers.

    Args:
        features: The set.
        found: Its classifiers, all of them chosen.
        rows: Its rows of results.
        folder: The run folder.
    """
    # The test split is touched here and nowhere else.
    split, data = last_step.opened(features.dataset.test, folder, features.name)
    x = jnp.asarray(preprocessing.apply(features.scaling, split.x))
    labels = jnp.asarray(split.labels)
    duplicates = leakage.in_test(features.dataset, split)
    runs = [
        _run(features, fit, rows[fit.place], x, labels, duplicates)
        for fit in found.fits
    ]
    right = [
        np.asarray(params_lib.predict(arrays(fit), x, precision="highest") == labels)
        for fit in found.fits
    ]
    return Tested(split, data, runs, right)


def _run(
    features: FeatureSet,
    fit: Fit,
    row: Json,
    x: jax.Array,
    labels: jax.Array,
    duplicates: Duplicates,
) -> Json:
    temperature = None
    if fit.logits is not None and fit.labels is not None:
        temperature = evaluation.temperature(fit.logits, fit.labels)
    return {
        "seed": row["seed"],
        **{name: row.get(name) for name in SETTINGS},
        "trial": row["trial"],
        "reason": fit.reason,
        "ties": fit.ties,
        "validation": fit.validation,
        "temperature": temperature,
        "test": evaluation.measure(
            arrays(fit),
            x,
            labels,
            Static(num_classes=features.num_classes),
            temperature=temperature,
            duplicates=duplicates,
        ),
    }


def arrays(fit: Fit) -> Params:
    """Returns the parameters of a classifier on the device.

    Args:
        fit: The classifier.
    """
    return Params(*map(jnp.asarray, fit.params))


def check_labels(tested: Mapping[str, Tested]) -> None:
    """Refuses sets whose test rows are not the same.

    Args:
        tested: By name of the set.

    Raises:
        ValueError: Their labels differ.
    """
    (first, one), *others = tested.items()
    for name, other in others:
        probe_sources.check_same(first, one.split.labels, name, other.split.labels)


def entries(
    problem: Problem, features: FeatureSet, found: Found, tested: Tested
) -> Iterator[Json]:
    """Yields what the table says of one set, for each number of shots.

    Args:
        problem: The protocol is used.
        features: The set.
        found: Its classifiers.
        tested: What they do.
    """
    shots = problem.protocol.shots or (None,)
    count = len(found.fits) // len(shots)
    for place, number in enumerate(shots):
        runs = tested.runs[place * count : (place + 1) * count]
        suffix = "" if number is None else f"-{number}shots"
        yield {
            "features": features.name,
            "shots": number,
            "model": f"{features.name}{suffix}.safetensors",
            "num_rows": found.fits[place * count].num_rows,
            "num_features": features.x.shape[1],
            "validation": {
                "held_out": runs[0]["validation"]["held_out"],
                **_spreads([run["validation"] for run in runs], HELD_OUT),
                "duplicates": features.duplicates._asdict(),
            },
            "test": _spreads([run["test"] for run in runs], SCORES),
            "runs": runs,
        }


def _spreads(of: list[Json], names: tuple[str, ...]) -> Json:
    """Returns mean and spread over seeds; None of what has no meaning."""
    plain = [formats.plain({name: one[name] for name in names}) for one in of]
    return {
        name: None
        if any(one[name] is None for one in plain)
        else ranking.spread(plain, name)._asdict()
        for name in names
    }


def comparisons(tested: Mapping[str, Tested]) -> list[Json]:
    """Returns the paired test of each pair of sets, adjusted for their number.

    Args:
        tested: By name of the set, each with a single classifier.
    """
    found = [
        {
            "first": first,
            "second": second,
            **comparison.mcnemar(one.right[0], other.right[0])._asdict(),
        }
        for (first, one), (second, other) in combinations(tested.items(), 2)
    ]
    adjusted = comparison.holm([pair["p_value"] for pair in found]) if found else []
    return [
        {**pair, "adjusted": value} for pair, value in zip(found, adjusted, strict=True)
    ]


def best(described: list[Json], by: str) -> Best:
    """Returns the entry that did best on held-out rows, and those that tie with it.

    Those of which nothing was held out come last, and tie with one another. Ties are
    broken as ``ranking.ranking`` says, by the mean penalty over seeds.

    Args:
        described: All entries.
        by: A name in ``ranking.CRITERIA``.
    """

    def mean(entry: Json, name: str) -> float:
        found = entry["validation"][name]
        return np.inf if found is None else found["mean"]

    name, sign = by.removeprefix("val_"), ranking.CRITERIA[by]
    costs = [sign * mean(entry, name) for entry in described]
    first, *others = ranking.ranking(
        costs,  # what is not finite, -inf too, comes last
        [mean(entry, "loss") for entry in described],
        [statistics.fmean(r["l2"] or 0.0 for r in e["runs"]) for e in described],
    )
    return Best(first, tuple(i for i in others if costs[i] == costs[first]))
