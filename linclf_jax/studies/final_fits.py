"""The classifiers of exact selections: those that are tested.

Where the fits that are compared do not see all rows of their resampling, the one that
is tested is fitted to all of them after the selection, from the mean of the others.
Otherwise it is there.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from linclf_jax.config.parts import ExactConfig
from linclf_jax.exact import newton
from linclf_jax.params import Params
from linclf_jax.runs.store import Batch, Store
from linclf_jax.selection import held_out, ranking
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.resampling import WeightedFit
from linclf_jax.studies import certification, exact_problem, exact_results
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import Classifier

_NAME = "final"  # of the batch


def make(
    problem: Problem, selections: Sequence[Selection], limits: ExactConfig, store: Store
) -> list[Classifier | Failure]:
    """Returns the classifiers of one feature set, those to be solved all together.

    The selections are of some of its resamplings, in their order. A failure is a
    resampling of which the fit is not usable.
    """
    new = [s for s in selections if problem.is_refitted(problem.group_of(s))]
    solved = iter(_refitted(problem, new, limits, store) if new else [])
    return [
        next(solved)
        if problem.is_refitted(problem.group_of(selection))
        else _kept(problem, selection, store)
        for selection in selections
    ]


def _kept(problem: Problem, selection: Selection, store: Store) -> Classifier:
    """Returns the last fit of its resampling at a penalty of the path."""
    batch = _on_path(problem, selection, store)
    fit = problem.fits[problem.lanes(problem.group_of(selection))[-1]]
    params = Params(*(batch.arrays[name][-1] for name in Params._fields))
    temperature = float(batch.arrays["temperature"])
    row = batch.rows[-1]
    return exact_problem.classifier(problem, selection, fit, params, row, temperature)


def _on_path(problem: Problem, selection: Selection, store: Store) -> Batch:
    index = problem.index_of(selection.setting["l2"])
    return certification.load(problem, store, problem.group_of(selection), index)


def _refitted(
    problem: Problem, selections: Sequence[Selection], limits: ExactConfig, store: Store
) -> list[Classifier | Failure]:
    groups = [problem.group_of(each) for each in selections]
    first = [problem.fits[problem.compared(group)[0]] for group in groups]
    fits = [
        resampling_lib.final_fit(group, problem.resamplings[group])
        if group in problem.compared_groups
        else fit  # at the one penalty that is given
        for group, fit in zip(groups, first, strict=True)
    ]
    l2s = np.array([selection.setting["l2"] for selection in selections], np.float64)
    if problem.unit == "C":  # a weaker l2 of more rows
        before, after = ([f.train.sum() for f in each] for each in (first, fits))
        l2s *= np.array(before) / after
    on_path = [
        _on_path(problem, selection, store).arrays if fit.is_final else None
        for selection, fit in zip(selections, fits, strict=True)
    ]
    batch = _solved(problem, fits, l2s, _start(problem, on_path), limits, store)
    outcomes: list[Classifier | Failure] = []
    for i, selection in enumerate(selections):
        row, known = batch.rows[i], on_path[i]
        if not ranking.is_usable(row):
            reason = (
                f"a fit of the chosen penalty, l2 {row['l2']:g}, ended as "
                f"{row['status']}; expected it to converge: allow more steps"
            )
            outcomes.append(Failure(selection.group, reason))
            continue
        params = Params(*(batch.arrays[name][i] for name in Params._fields))
        temperature = np.nan if known is None else float(known["temperature"])
        outcomes.append(
            exact_problem.classifier(
                problem, selection, fits[i], params, row, temperature, is_new=True
            )
        )
    return outcomes


def _start(problem: Problem, on_path: Sequence[dict[str, np.ndarray] | None]) -> Params:
    """Returns the means of the fits at each penalty of the path, 0 of another."""
    shape = problem.x.shape[1], problem.inputs.num_classes
    W, b = np.zeros((len(on_path), *shape)), np.zeros((len(on_path), shape[1]))
    for i, arrays in enumerate(on_path):
        if arrays is not None:
            W[i] = arrays["W"].mean(axis=0)
            # Minus infinity where a fold had no row of a class.
            known = np.isfinite(arrays["b"])
            total = np.sum(arrays["b"], axis=0, where=known)
            b[i] = total / np.maximum(known.sum(axis=0), 1)
    return Params(jnp.asarray(W), jnp.asarray(b))


def _solved(
    problem: Problem,
    fits: Sequence[WeightedFit],
    l2s: np.ndarray,
    start: Params,
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
        init=start,
        num_classes=problem.inputs.num_classes,
        tol=limits.tol,
        max_newton=limits.max_newton_steps,
    )
    train = held_out.train_scores(
        params, info.objective, l2s, problem.x, problem.labels, train_rows
    )
    first = problem.first_trial + problem.num_trials
    trials = range(first, first + len(fits))
    rows = exact_results.make_rows(problem, fits, trials, l2s, train, info, {})
    arrays = {"W": np.asarray(params.W), "b": np.asarray(params.b)}
    batch = Batch(rows, {**arrays, "groups": groups, "l2s": l2s})
    store.save_batch(problem.batch_name(_NAME), batch, apart=True)
    return batch
