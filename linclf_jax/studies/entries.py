"""What ``selected.json`` says: selections, their classifiers, what these do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from linclf_jax import metrics
from linclf_jax.exact import status
from linclf_jax.params import Params
from linclf_jax.runs import formats, schema
from linclf_jax.runs.model import Model
from linclf_jax.runs.schema import Entry, Validation
from linclf_jax.selection import bias, choose, ranking
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.selection.ranking import Row
from linclf_jax.studies.study import Classifier, FitResults, Inputs
from linclf_jax.studies.testing import Evaluation


class Tested(NamedTuple):
    """A classifier, and what it does on the test rows."""

    classifier: Classifier
    inputs: Inputs
    evaluation: Evaluation

    @property
    def group(self) -> Mapping[str, Any]:
        """The values of the columns that make the group of its selection."""
        return self.classifier.selection.group


def make(tested: Tested | Failure, results: FitResults, metric: str) -> Entry:
    """Returns the entry of one group."""
    if isinstance(tested, Failure):
        return formats.plain({"group": tested.group, "failure": tested.reason})
    classifier = tested.classifier
    selection = classifier.selection
    return formats.plain(
        {
            "group": selection.group,
            "failure": None,
            "trial": classifier.row["trial"],
            "trials": [row["trial"] for row in selection.rows],
            "row": classifier.row,
            "model": schema.file_name(selection.group),
            "reason": selection.reason,
            "best": selection.best,
            "standard_error": selection.standard_error,
            "ties": selection.ties,
            "warnings": selection.warnings,
            "rules": _rules(results, selection),
            "repeats": {k: s._asdict() for k, s in selection.repeats.items()},
            "validation": _validation(results, tested),
            "selection_bias": selection_bias(results, selection.group, metric),
            "refit": classifier.refit,
            "num_rows": classifier.num_rows,
            "num_features": np.shape(classifier.params.W)[0],
            "temperature": classifier.temperature,
            "test": tested.evaluation.scores,
        }
    )


def stored_model(tested: Tested) -> Model:
    """Returns a classifier with all that a prediction needs."""
    inputs = tested.inputs
    return Model(
        Params(*map(jnp.asarray, tested.classifier.params)),
        inputs.scaling,
        inputs.dataset.class_names,
        inputs.features,
        inputs.dataset.image_shape,
        inputs.dataset.feature_names,
    )


def certificates(
    rows: Sequence[Row], results: FitResults, config: Any
) -> dict[str, Any] | None:
    """Returns what is certified of all exact fits; None of trials that train."""
    fits = [row for row in rows if "relative_gap" in row]
    if not fits:
        return None
    known = [r["relative_gap"] for r in fits if r["status"] != status.NOT_CERTIFIED]
    worst = None if None in known else max(known, default=None)
    return {
        "fits": len(fits),
        "certified": len(known),
        "worst_relative_gap": worst,
        "tol": config.exact.tol,
        "penalties_left_out": results.left_out,
    }


def selection_bias(
    results: FitResults, group: Mapping[str, Any], metric: str
) -> dict[str, Any] | None:
    """Returns how much the best score of a group owes to having been chosen.

    An empty group is all trials.
    """
    own = _rows_of(results.rows, group)
    first = {s[0]["trial"] for s in ranking.rank_settings(own, metric=metric)}
    for scores in results.held_out:
        index = [i for i, trial in enumerate(scores.trials) if trial in first]
        if not index:
            continue
        if len(index) < len(scores.trials):
            calibrated = scores.calibrated
            scores = HeldOut(
                tuple(scores.trials[i] for i in index),
                scores.loss[index],
                scores.correct[index],
                None if calibrated is None else calibrated[index],
            )
        return bias.of_best(scores, metric=metric)
    return None


def _rows_of(rows: Sequence[Row], group: Mapping[str, Any]) -> list[Row]:
    return [row for row in rows if all(row[k] == v for k, v in group.items())]


def _rules(results: FitResults, selection: Selection) -> dict[str, dict[str, Any]]:
    """Returns what each rule would take, with its scores."""
    rows = _rows_of(results.rows, selection.group)
    by_trial = {row["trial"]: row for row in rows}
    described = {}
    for rule, trial in selection.rules.items():
        same = ranking.settings(by_trial[trial])
        setting = [row for row in rows if ranking.settings(row) == same]
        compared = [row for row in setting if ranking.is_compared(row)]
        described[rule] = {
            "trial": trial,
            "l2": by_trial[trial]["l2"],
            "C": setting[-1]["C"],  # of the fit to all rows, where there is one
            "standard_error": choose.standard_error(
                compared, "val_loss", results.standard_errors
            ),
            **{
                name: ranking.spread(compared, name).mean
                for name in ranking.METRICS
                if all(row.get(name) is not None for row in compared)
            },
        }
    return described


def _validation(results: FitResults, tested: Tested) -> Validation:
    """Returns how the setting did on rows that its fits did not see."""
    classifier, selection = tested.classifier, tested.classifier.selection
    duplicates = tested.inputs.duplicates._asdict()
    if classifier.resampling is None:
        return {**dict.fromkeys(Validation.__annotations__), "duplicates": duplicates}  # pyright: ignore
    means = {name: spread.mean for name, spread in selection.repeats.items()}
    accuracy, size = means["val_accuracy"], classifier.num_held_out
    return {
        "resampling": classifier.resampling,
        "size": size,
        "val_loss": means["val_loss"],
        "standard_error": choose.standard_error(
            selection.rows, "val_loss", results.standard_errors
        ),
        "val_accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, size),
        "val_loss_calibrated": means.get("val_loss_calibrated"),
        "duplicates": duplicates,
    }
