"""What ``selected.json`` says: selections, their classifiers, what these do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from linclf_jax import metrics
from linclf_jax.params import Params
from linclf_jax.runs import formats, schema
from linclf_jax.runs.model import Model
from linclf_jax.runs.schema import Entry, Validation
from linclf_jax.selection import bias, choose, ranking
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.selection.ranking import Row
from linclf_jax.studies.study import Classifier, FitResults, Inputs, Key, Study
from linclf_jax.studies.testing import Evaluation


class Tested(NamedTuple):
    """A selection, its classifier, and what that does on the test rows."""

    selection: Selection
    classifier: Classifier
    inputs: Inputs
    evaluation: Evaluation


def key(selection: Selection) -> Key:
    """Returns which inputs a selection is of.

    Args:
        selection: Of one group.
    """
    return selection.setting["features"], selection.setting["preprocessing"]


def make(study: Study, results: FitResults, tested: Tested) -> Entry:
    """Returns the entry of one group.

    Args:
        study: Of any kind.
        results: What came of all trials.
        tested: Its selection.
    """
    selection, classifier = tested.selection, tested.classifier
    return formats.plain(
        {
            "group": selection.group,
            "failure": None,
            "trial": classifier.trial,
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
            "selection_bias": selection_bias(study, results, selection.group),
            "refit": classifier.refit,
            "num_rows": classifier.num_rows,
            "num_features": np.shape(classifier.params.W)[0],
            "temperature": classifier.temperature,
            "test": tested.evaluation.scores,
        }
    )


def failed(failure: Failure) -> Any:
    """Returns the entry of a group in which no setting is usable.

    Args:
        failure: Of the group.
    """
    return {"group": formats.plain(failure.group), "failure": failure.reason}


def stored_model(tested: Tested) -> Model:
    """Returns a classifier with all that a prediction needs.

    Args:
        tested: Of one group.
    """
    inputs = tested.inputs
    return Model(
        Params(*map(jnp.asarray, tested.classifier.params)),
        inputs.scaling,
        inputs.dataset.class_names,
        inputs.features,
        inputs.dataset.image_shape,
        inputs.dataset.feature_names,
    )


def certificates(rows: Sequence[Row], config: Any) -> dict[str, Any] | None:
    """Returns what the gaps of all exact fits come to; None of trials that train.

    Args:
        rows: All of the run.
        config: Of the study.
    """
    gaps = [row["relative_gap"] for row in rows if "relative_gap" in row]
    if not gaps:
        return None
    known = [gap for gap in gaps if gap is not None]
    worst = max(known) if len(known) == len(gaps) else None
    return {"fits": len(gaps), "worst_relative_gap": worst, "tol": config.exact.tol}


def _rules(results: FitResults, selection: Selection) -> dict[str, dict[str, Any]]:
    """Returns what each rule would take, with its scores."""
    rows = {row["trial"]: row for row in results.rows}
    described = {}
    for rule, trial in selection.rules.items():
        setting = _setting(results.rows, rows[trial], selection.group)
        compared = [row for row in setting if ranking.is_compared(row)]
        described[rule] = {
            "trial": trial,
            "l2": rows[trial]["l2"],
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


def _setting(rows: Sequence[Row], first: Row, group: Mapping[str, Any]) -> list[Row]:
    """Returns the trials of one setting in a group."""
    same = ranking.settings(first)
    return [
        row
        for row in rows
        if all(row[name] == value for name, value in group.items())
        and ranking.settings(row) == same
    ]


def _validation(results: FitResults, tested: Tested) -> Validation:
    """Returns how the setting did on rows that its fits did not see."""
    selection, classifier = tested.selection, tested.classifier
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


def selection_bias(
    study: Study, results: FitResults, group: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Returns how much the best score of a group owes to having been chosen.

    Args:
        study: Its metric is used.
        results: What came of all trials.
        group: Values by column; none are all trials.
    """
    own = [
        row
        for row in results.rows
        if all(row[name] == value for name, value in group.items())
    ]
    settings = ranking.rank_settings(own, metric=study.metric)
    first = {setting[0]["trial"] for setting in settings}
    for scores in results.held_out:
        index = [i for i, trial in enumerate(scores.trials) if trial in first]
        if index:
            return bias.of_best(_only(scores, index), metric=study.metric)
    return None


def _only(scores: HeldOut, index: Sequence[int]) -> HeldOut:
    if len(index) == len(scores.trials):
        return scores
    own, calibrated = list(index), scores.calibrated
    return HeldOut(
        tuple(scores.trials[i] for i in index),
        scores.loss[own],
        scores.correct[own],
        None if calibrated is None else calibrated[own],
    )
