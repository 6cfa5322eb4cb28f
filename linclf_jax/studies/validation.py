"""What settings do on each single row that is held out, and what follows from it.

Rows of results hold means. How sure a mean is, how much the best of many owes to having
been chosen, and which temperature makes a classifier calibrated, takes the rows one by
one: here they are gone through once more, before the choice, and never those of the
test.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import calibration
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.runs.store import Store
from linclf_jax.selection import ranking, row_scores
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.selection.ranking import Row
from linclf_jax.selection.row_scores import RowScores
from linclf_jax.studies import training_data
from linclf_jax.studies.study import Inputs
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data
from linclf_jax.training.trials import Trial


def score_settings(
    store: Store,
    trials: Sequence[Trial],
    inputs: Inputs,
    data: Mapping[tuple[str, str], Data],
    rows: Sequence[Row],
    *,
    width: int,
) -> HeldOut:
    """Returns how all usable settings do on each held-out row, from their batches.

    Args:
        store: All trials are finished.
        trials: By number.
        inputs: Of any of the trials: they are validated on the same rows.
        data: By ``inputs`` of a static choice.
        rows: Of results, one per trial.
        width: Trials that are scored by one program, at least those of a batch.
    """
    settings = _usable(rows)
    index = {row["trial"]: at for at, group in enumerate(settings) for row in group}
    size = len(training_data.is_held_out(inputs))
    loss, correct = np.zeros((2, len(settings), size), np.float32)
    for batch in store.batches(Params._fields):
        # A trial that halving let train on is in earlier batches too, as retired; one
        # of which a repeat is not usable cannot be chosen.
        kept = [
            i
            for i, row in enumerate(batch.rows)
            if row["status"] == "ok" and row["trial"] in index
        ]
        if not kept:
            continue
        members = [trials[batch.rows[i]["trial"]] for i in kept]
        stacks = [batch.arrays[name][kept] for name in Params._fields]
        scores = _score(members[0].static, data, stacks, width)
        for column, trial in enumerate(members):
            at = index[trial.trial]
            own = training_data.is_held_out(inputs, trial.fold)
            seeds = len({row["seed"] for row in settings[at]})
            for total, values in zip((loss, correct), scores, strict=True):
                total[at, own] += values[own, column].astype(np.float32) / seeds
    compared = training_data.is_held_out(inputs)
    if not compared.all():
        loss, correct = loss[:, compared], correct[:, compared]
    return HeldOut(tuple(group[0]["trial"] for group in settings), loss, correct, None)


def score_trials(
    store: Store, trials: Sequence[Trial], data: Data
) -> dict[int, RowScores]:
    """Returns how each trial does on each validation row, in float64, calibrated too.

    Args:
        store: All trials are finished.
        trials: Of the same data, without folds.
        data: With a validation split.
    """
    x, labels = np.asarray(data.val_x), np.asarray(data.val_labels)
    every = np.ones((1, len(labels)), bool)
    scores = {}
    for trial in trials:
        arrays = store.load_trial(trial.trial, Params._fields)
        alone = Params(*(jnp.asarray(arrays[name][None]) for name in Params._fields))
        scores[trial.trial] = row_scores.out_of_fold(alone, x, labels, every)
    return scores


def settings_of_trials(scores: Mapping[int, RowScores], rows: Sequence[Row]) -> HeldOut:
    """Returns how all usable settings do on each row, means over their repeats.

    Args:
        scores: By trial.
        rows: Of results, one per trial.
    """
    settings, size = _usable(rows), len(scores[rows[0]["trial"]].loss)

    def means(name: str) -> np.ndarray:
        values = [
            np.mean([getattr(scores[row["trial"]], name) for row in group], axis=0)
            for group in settings
        ]
        return np.reshape(values, (len(settings), size))

    trials = tuple(group[0]["trial"] for group in settings)
    return HeldOut(trials, means("loss"), means("correct"), means("calibrated"))


def standard_errors(held_out: HeldOut) -> dict[str, dict[int, float]]:
    """Returns the standard error of each setting's mean over the rows.

    Args:
        held_out: All settings.

    Returns:
        By metric, then by the first trial of the setting.
    """
    by_metric = {
        "val_loss": held_out.loss,
        "val_accuracy": held_out.correct,
        "val_loss_calibrated": held_out.calibrated,
    }
    return {
        metric: dict(zip(held_out.trials, _standard_errors(scores), strict=True))
        for metric, scores in by_metric.items()
        if scores is not None
    }


def temperature(
    store: Store,
    trials: Sequence[Trial],
    inputs: Inputs,
    data: Data,
    repeats: Sequence[Row],
) -> float | None:
    """Returns the temperature that calibrates a chosen setting on held-out rows.

    Of several seeds the first is taken. With folds each row has the logits of the trial
    that holds it out, and their temperature serves the classifier of all rows.

    Args:
        store: All trials are finished.
        trials: By number.
        inputs: Of the setting.
        data: Of the setting.
        repeats: Rows of the setting, the first trial first.

    Returns:
        None for a hinge, which makes no probabilities, and where a label has no finite
        logit, so that no temperature can help.
    """
    first = trials[repeats[0]["trial"]]
    if first.static.loss != "softmax_cross_entropy":
        return None
    labels = np.asarray(data.val_labels)
    logits = np.zeros((len(labels), first.static.num_classes), np.float32)
    for row in repeats:
        if row["seed"] == first.seed:
            arrays = store.load_trial(row["trial"], Params._fields)
            params = Params(*(jnp.asarray(arrays[name]) for name in Params._fields))
            scores = params_lib.logits(
                params, data.val_x, precision=first.static.precision
            )
            own = training_data.is_held_out(inputs, row["fold"])
            logits[own] = np.asarray(scores)[own]
    compared = training_data.is_held_out(inputs)
    logits, labels = logits[compared], labels[compared]
    if not np.isfinite(np.take_along_axis(logits, labels[:, None], axis=1)).all():
        return None
    return calibration.fit_temperature(logits, labels)


def _usable(rows: Sequence[Row]) -> list[list[Row]]:
    """Returns the settings that can be chosen, by their first trials."""
    settings = ranking.rank_settings(rows, metric="val_loss")
    return sorted(settings, key=lambda group: group[0]["trial"])


def _standard_errors(scores: np.ndarray) -> Iterator[float]:
    for row in scores:
        with np.errstate(invalid="ignore"):  # a loss may be infinite
            deviation = float(np.std(row, ddof=1, dtype=np.float64))
        yield deviation / np.sqrt(len(row))


def _score(
    static: Static,
    data: Mapping[tuple[str, str], Data],
    stacks: Sequence[np.ndarray],
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns loss and correctness of trials of one batch on all rows, ``(M, L)``."""
    # One width for all batches is one program.
    missing = width - len(stacks[0])
    filled = Params(
        *(
            jnp.asarray(np.concatenate([array, *[array[-1:]] * missing]))
            for array in stacks
        )
    )
    same = Static(static.num_classes, loss=static.loss, precision=static.precision)
    rows = data[static.inputs]
    scores = _by_row(filled, rows.val_x, rows.val_labels, same)
    return np.asarray(scores.loss), np.asarray(scores.right)


@functools.partial(jax.jit, static_argnames="static")
def _by_row(
    params: Params, x: jax.Array, labels: jax.Array, static: Static
) -> evaluation.RowScores:
    return evaluation.by_row(stack.lanes_last(params), x, labels, static)
