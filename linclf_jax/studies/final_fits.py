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
from linclf_jax.config.exact import ExactConfig
from linclf_jax.exact import leave_one_out, newton
from linclf_jax.params import Params
from linclf_jax.runs.store import Batch, Store
from linclf_jax.selection import held_out, ranking
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.selection.resampling import WeightedFit
from linclf_jax.studies import exact_problem, exact_results, testing
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import Classifier


def solve(
    problem: Problem, selections: Sequence[Selection], limits: ExactConfig, store: Store
) -> list[Classifier | Failure]:
    """Solves what was selected for one feature set, all draws of shots together.

    Args:
        problem: Of the feature set.
        selections: For some of its resamplings, in their order.
        limits: When a fit ends.
        store: The fits are kept in it.

    Returns:
        A failure where a fit of a resampling is not usable.
    """
    if not selections:
        return []
    groups = [_group(problem, selection) for selection in selections]
    fits = [exact_problem.tested_fits(problem, group) for group in groups]
    flat = [fit for own in fits for fit in own]
    l2s = np.concatenate(
        [
            _penalties(problem, selection, own)
            for selection, own in zip(selections, fits, strict=True)
        ]
    )
    batch = store.load_batch(problem.final_name, apart=True)
    # An earlier attempt may have selected otherwise, on another machine.
    if batch is None or _kinds(batch.rows) != _wanted(problem, flat, l2s):
        batch = _solved(problem, flat, l2s, limits)
        store.save_batch(problem.final_name, batch, apart=True)
    params = Params(*(jnp.asarray(batch.arrays[name]) for name in Params._fields))
    outcomes: list[Classifier | Failure] = []
    end = 0
    for selection, group, own in zip(selections, groups, fits, strict=True):
        end += len(own)
        index = slice(end - len(own), end)
        rows = batch.rows[index]
        failed = [row for row in rows if not ranking.is_usable(row)]
        if failed:
            outcomes.append(Failure(selection.group, _reason(failed[0])))
            continue
        stack = Params(params.W[index], params.b[index])
        outcomes.append(_classifier(problem, group, own, stack, l2s[index], rows))
    return outcomes


def _reason(row: Row) -> str:
    return (
        f"a fit of the chosen penalty, l2 {row['l2']:g}, ended as {row['status']}; "
        "expected it to converge: allow more steps"
    )


def _kinds(rows: Sequence[Row]) -> list[tuple]:
    return [(row["shots"], row["seed"], row["fold"], row["l2"]) for row in rows]


def _wanted(
    problem: Problem, fits: Sequence[WeightedFit], l2s: np.ndarray
) -> list[tuple]:
    """Returns ``_kinds`` of the rows that fits will have."""
    draws = [problem.resamplings[fit.group] for fit in fits]
    return [
        (draw.shots, draw.seed, fit.fold, l2)
        for draw, fit, l2 in zip(draws, fits, l2s.tolist(), strict=True)
    ]


def _group(problem: Problem, selection: Selection) -> int:
    """Returns the index of the resampling that a selection was made by."""
    first = selection.group
    return next(
        index
        for index, resampling in enumerate(problem.resamplings)
        if (resampling.shots, resampling.seed) == (first["shots"], first["seed"])
    )


def _penalties(
    problem: Problem, selection: Selection, fits: Sequence[WeightedFit]
) -> np.ndarray:
    """Returns the penalty of each fit: the same C is a weaker l2 of more rows."""
    l2 = selection.setting["l2"]
    compared = fits[0].train.sum()
    return np.array(
        [
            l2 * (compared / fit.train.sum())
            if fit.is_final and problem.unit == "C"
            else l2
            for fit in fits
        ],
        np.float64,
    )


def _solved(
    problem: Problem, fits: Sequence[WeightedFit], l2s: np.ndarray, limits: ExactConfig
) -> Batch:
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
    return Batch(rows, {"W": np.asarray(params.W), "b": np.asarray(params.b)})


def _classifier(
    problem: Problem,
    group: int,
    fits: Sequence[WeightedFit],
    params: Params,
    l2s: np.ndarray,
    rows: Sequence[dict],
) -> Classifier:
    resampling, row = problem.resamplings[group], rows[-1]
    logits, labels = _held_out_logits(problem, group, params, l2s)
    return Classifier(
        params=jax.tree.map(lambda array: array[-1], params),
        row=row,
        trial=row["trial"],
        refit=fits[-1].is_final,
        num_rows=int(fits[-1].train.sum()),
        temperature=None if logits is None else testing.temperature(logits, labels),
        resampling=resampling.kind,
        num_held_out=int(resampling.compared.sum()) if resampling.kind else 0,
        new_rows=tuple(rows),
    )


def _held_out_logits(
    problem: Problem, group: int, params: Params, l2s: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns the logits ``(M, C)`` of rows from fits that did not see them."""
    resampling = problem.resamplings[group]
    if resampling.kind is None:
        return None, problem.labels[:0]
    if resampling.kind == resampling_lib.LEAVE_ONE_OUT:
        x, labels = problem.x[resampling.rows], problem.labels[resampling.rows]
        return leave_one_out.approximate(params, x, labels, l2s).logits[0], labels
    logits, labels = [], []
    for index, rows in enumerate(resampling.held_out):
        own = jax.tree.map(lambda array, i=index: jnp.asarray(array[i]), params)
        x = jnp.asarray(problem.x[rows])
        logits.append(np.asarray(params_lib.logits(own, x, precision="highest")))
        labels.append(problem.labels[rows])
    return np.concatenate(logits), np.concatenate(labels)
