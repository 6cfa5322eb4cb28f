"""The exact fits after a selection: those that are tested.

Fits that were compared on folds or a validation split are solved once more at the
selected penalty, for the logits that they give to rows they did not see. The classifier
that is tested is fitted to all rows of its resampling.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import params as params_lib
from linclf_jax.config.parts import ExactConfig
from linclf_jax.exact import leave_one_out, newton
from linclf_jax.params import Params
from linclf_jax.runs.store import Batch, Store
from linclf_jax.selection import held_out, ranking
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.selection.resampling import LEAVE_ONE_OUT, Resampling, WeightedFit
from linclf_jax.studies import exact_problem, exact_results, testing
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import Classifier

_NAME = "final"  # of the batch


def solve(
    problem: Problem, selections: Sequence[Selection], limits: ExactConfig, store: Store
) -> list[Classifier | Failure]:
    """Solves what was selected for one feature set, all draws of shots together.

    The selections are of some of its resamplings, in their order. A failure is a
    resampling of which a fit is not usable.
    """
    if not selections:
        return []
    fits_of = [problem.tested_fits(problem.group_of(each)) for each in selections]
    l2s = [
        _penalties(problem, selection.setting["l2"], own)
        for selection, own in zip(selections, fits_of, strict=True)
    ]
    fits = [fit for own in fits_of for fit in own]
    batch = _solved(problem, fits, np.concatenate(l2s), limits, store)
    params = Params(*(jnp.asarray(batch.arrays[name]) for name in Params._fields))
    outcomes, end = [], 0
    for selection, own in zip(selections, fits_of, strict=True):
        end += len(own)
        index = slice(end - len(own), end)
        stack, rows = Params(params.W[index], params.b[index]), batch.rows[index]
        outcomes.append(_outcome(problem, selection, own[-1], stack, rows))
    return outcomes


def _penalties(problem: Problem, l2: float, fits: Sequence[WeightedFit]) -> np.ndarray:
    """Returns the penalty of each fit: the same C is a weaker l2 of more rows."""
    l2s = np.full(len(fits), l2, np.float64)
    if problem.unit == "C" and fits[-1].is_final:
        l2s[-1] = l2 * (fits[0].train.sum() / fits[-1].train.sum())
    return l2s


def _solved(
    problem: Problem,
    fits: Sequence[WeightedFit],
    l2s: np.ndarray,
    limits: ExactConfig,
    store: Store,
) -> Batch:
    """Returns rows and parameters of fits, from the store if they are there."""
    groups = np.array([fit.group for fit in fits])
    batch = store.load_batch(problem.batch_name(_NAME), apart=True)
    # An earlier attempt may have selected otherwise, on another machine.
    if batch is not None and (
        np.array_equal(batch.arrays["groups"], groups)
        and np.array_equal(batch.arrays["l2s"], l2s)
    ):
        return batch
    train_rows = np.stack([fit.train for fit in fits])
    params, info = newton.solve(
        problem.x,
        problem.labels,
        l2s,
        weights=train_rows.astype(np.float64),
        num_classes=problem.inputs.num_classes,
        tol=limits.tol,
        max_newton=limits.max_newton_steps,
    )
    train = held_out.train_scores(
        params, info.objective, l2s, problem.x, problem.labels, train_rows
    )
    first = problem.first_trial + problem.num_trials
    rows = exact_results.make_rows(problem, fits, first, l2s, train, info)
    arrays = {"W": np.asarray(params.W), "b": np.asarray(params.b)}
    batch = Batch(rows, {**arrays, "groups": groups, "l2s": l2s})
    store.save_batch(problem.batch_name(_NAME), batch, apart=True)
    return batch


def _outcome(
    problem: Problem,
    selection: Selection,
    tested: WeightedFit,
    params: Params,
    rows: Sequence[Row],
) -> Classifier | Failure:
    for row in rows:
        if not ranking.is_usable(row):
            return Failure(
                selection.group,
                f"a fit of the chosen penalty, l2 {row['l2']:g}, ended as "
                f"{row['status']}; expected it to converge: allow more steps",
            )
    resampling, temperature = problem.resamplings[tested.group], None
    if resampling.kind is not None:
        l2s = np.array([row["l2"] for row in rows], np.float64)
        logits, labels = _held_out_logits(problem, resampling, params, l2s)
        temperature = testing.temperature(logits, labels)
    last = jax.tree.map(lambda array: array[-1], params)
    return exact_problem.classifier(problem, selection, tested, last, rows, temperature)


def _held_out_logits(
    problem: Problem, resampling: Resampling, params: Params, l2s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits ``(M, C)`` of rows from fits that did not see them, and labels."""
    if resampling.kind == LEAVE_ONE_OUT:
        x, labels = problem.x[resampling.rows], problem.labels[resampling.rows]
        return leave_one_out.approximate(params, x, labels, l2s).logits[0], labels
    logits, labels = [], []
    for index, rows in enumerate(resampling.held_out):
        own = jax.tree.map(lambda array, i=index: jnp.asarray(array[i]), params)
        x = jnp.asarray(problem.x[rows])
        logits.append(np.asarray(params_lib.logits(own, x, precision="highest")))
        labels.append(problem.labels[rows])
    return np.concatenate(logits), np.concatenate(labels)
