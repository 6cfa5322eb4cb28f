"""What settings do on each single row that is held out, and what follows from it.

Rows of results hold means. How sure a mean is, how much the best of many owes to having
been chosen, and which temperature makes a classifier calibrated, takes the rows one by
one: here they are gone through once more, before the choice, and never those of the
test. All trials are finished, and in the store.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import losses
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.runs import formats, schema
from linclf_jax.runs.store import Store
from linclf_jax.selection import ranking, row_scores
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies import testing
from linclf_jax.studies.study import Inputs, Key
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data
from linclf_jax.training.trials import Trial


def score_settings(
    store: Store,
    trials: Sequence[Trial],
    inputs: Inputs,
    data: Mapping[Key, Data],
    rows: Sequence[Row],
    *,
    width: int,
) -> HeldOut:
    """Returns how all usable settings do on each held-out row, from their batches.

    Args:
        store: With a batch of every trial.
        trials: By number.
        inputs: Of any of the trials: they are validated on the same rows.
        data: By ``inputs`` of a static choice.
        rows: Of results, one per trial.
        width: Trials that are scored by one program, at least those of a batch.
    """
    settings = _usable(rows)
    index = {row["trial"]: i for i, group in enumerate(settings) for row in group}
    compared = inputs_lib.is_held_out(inputs)
    loss, correct = np.zeros((2, len(settings), len(compared)), np.float32)
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
        static = members[0].static
        scores = _score(static, data[static.inputs], stacks, width)
        for column, trial in enumerate(members):
            setting = index[trial.trial]
            own = inputs_lib.is_held_out(inputs, trial.fold)
            seeds = len({row["seed"] for row in settings[setting]})
            for total, values in zip((loss, correct), scores, strict=True):
                total[setting, own] += values[own, column].astype(np.float32) / seeds
    if not compared.all():
        loss, correct = loss[:, compared], correct[:, compared]
    return HeldOut(tuple(group[0]["trial"] for group in settings), loss, correct, None)


def calibrate_trials(
    store: Store, rows: Sequence[Row], data: Data
) -> tuple[list[Row], HeldOut]:
    """Returns rows with their calibrated loss, and how settings do on each row.

    All trials are of the same data, with a validation split, and are scored one by one
    in float64.
    """
    x, labels = np.asarray(data.val_x), np.asarray(data.val_labels)
    every = np.ones((1, len(labels)), bool)
    scores, calibrated = {}, []
    for row in rows:
        params = jax.tree.map(lambda array: array[None], _load(store, row))
        own = row_scores.out_of_fold(params, x, labels, every)
        scores[row["trial"]] = own
        added = {"val_loss_calibrated": np.mean(own.calibrated), "shots": None}
        calibrated.append(formats.plain({**row, **added, "stage": schema.SELECTION}))
    settings = _usable(calibrated)

    def means(name: str) -> np.ndarray:
        """Over the repeats of each setting."""
        values = [
            np.mean([getattr(scores[row["trial"]], name) for row in group], axis=0)
            for group in settings
        ]
        return np.reshape(values, (len(settings), len(labels)))

    trials = tuple(group[0]["trial"] for group in settings)
    held_out = HeldOut(trials, means("loss"), means("correct"), means("calibrated"))
    return calibrated, held_out


def standard_errors(held_out: Sequence[HeldOut]) -> dict[str, dict[int, float]]:
    """Returns the standard errors of means over rows, by metric and first trial."""
    errors: dict[str, dict[int, float]] = {}
    for part in held_out:
        for metric, scores in part.by_metric.items():
            if scores is not None:
                own = errors.setdefault(metric, {})
                for trial, values in zip(part.trials, scores, strict=True):
                    own[trial] = float(row_scores.curve(values).standard_error)
    return errors


def temperature(
    store: Store, static: Static, inputs: Inputs, data: Data, repeats: Sequence[Row]
) -> float | None:
    """Returns the temperature that calibrates a chosen setting on held-out rows.

    Of several seeds the first is taken. With folds each row has the logits of the trial
    that holds it out, and their temperature serves the classifier of all rows. It is
    None where the loss makes no probabilities of the classes, and as
    ``testing.temperature``.
    """
    if static.loss not in losses.PROBABILISTIC:
        return None
    labels = np.asarray(data.val_labels)
    logits = np.zeros((len(labels), static.num_classes), np.float32)
    for row in repeats:
        if row["seed"] == repeats[0]["seed"]:
            score = functools.partial(
                params_lib.logits, _load(store, row), precision=static.precision
            )
            scores = inputs_lib.by_part(score, data.val_x)
            own = inputs_lib.is_held_out(inputs, row["fold"])
            logits[own] = np.asarray(scores)[own]
    compared = inputs_lib.is_held_out(inputs)
    return testing.temperature(logits[compared], labels[compared])


def _load(store: Store, row: Row) -> Params:
    arrays = store.load_trial(row["trial"], Params._fields)
    return Params(*(jnp.asarray(arrays[name]) for name in Params._fields))


def _usable(rows: Sequence[Row]) -> list[list[Row]]:
    """Returns the settings that can be chosen, by their first trials."""
    settings = ranking.rank_settings(rows, metric="val_loss")
    return sorted(settings, key=lambda group: group[0]["trial"])


def _score(
    static: Static, data: Data, stacks: Sequence[np.ndarray], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns loss and correctness of trials of one batch on all rows, ``(M, L)``."""
    # One width for all batches is one program: the last trial fills it up.
    index = np.minimum(np.arange(width), len(stacks[0]) - 1)
    filled = Params(*(jnp.asarray(array[index]) for array in stacks))
    same = Static(static.num_classes, loss=static.loss, precision=static.precision)
    score = functools.partial(_by_row, filled, static=same)
    scores = inputs_lib.by_part(score, data.val_x, data.val_labels)
    return np.asarray(scores.loss), np.asarray(scores.right)


@functools.partial(jax.jit, static_argnames="static")
def _by_row(
    params: Params, x: jax.Array, labels: jax.Array, static: Static
) -> evaluation.RowScores:
    return evaluation.by_row(stack.lanes_last(params), x, labels, static)
