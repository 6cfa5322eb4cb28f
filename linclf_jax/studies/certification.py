"""Certifies the fits that a selection rests on, until certified fits make the choice.

In each round every resampling whose choice is not certain yet has its fits at one
penalty solved on, all side by side in the program that followed the path; their scores
are measured again, and may change the choice. What a round came to is in the store.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import path
from linclf_jax.exact.newton import Solver
from linclf_jax.params import Params
from linclf_jax.runs import schema
from linclf_jax.runs.store import Batch, Store
from linclf_jax.selection import certainty, held_out
from linclf_jax.studies import exact_results
from linclf_jax.studies.exact_problem import Problem

Penalties = dict[int, int]  # the index of one of each resampling, by that's own index
Moved = dict[str, float]  # by metric, how far a mean or an error has moved at most


def certify(
    problem: Problem,
    metric: str,
    batches: list[Batch],
    prepare: Callable[[], Solver],
    store: Store,
) -> Iterator[None]:
    """Makes round after round, and puts what each came to into the batches.

    Args:
        problem: Its path is followed.
        metric: That penalties are selected by.
        batches: Of each penalty, without parameters; changed in place.
        prepare: Returns the solver of the path.
        store: Has the batches with parameters, and the rounds of an earlier attempt.
    """
    moved: list[Moved] = [dict.fromkeys(schema.FOLDS, 0.0) for _ in problem.groups]
    latest: Penalties = {}
    for number in itertools.count():
        targets = _targets(problem, metric, batches, moved)
        if not targets:
            return
        name = _name(problem, number)
        done = store.load_batch(name)
        # An earlier attempt may have come to other scores, on another machine.
        if done is None or _penalties(done) != targets:
            at = {g: 0 for g in problem.groups} | latest | targets
            start = _params(problem, store, at)
            done = _solved(problem, batches, targets, at, start, prepare())
            store.save_batch(name, done)
        for group, change in _apply(problem, batches, done).items():
            for name, own in change.items():
                moved[group][name] = max(moved[group][name], own)
        latest |= targets
        yield


def load(problem: Problem, store: Store, group: int, index: int) -> Batch:
    """Returns rows, parameters and ``temperature ()`` of a resampling at a penalty.

    Raises:
        ValueError: The store no longer has them.
    """
    for number in itertools.count():
        batch = store.load_batch(_name(problem, number))
        if batch is None or _penalties(batch).get(group) == index:
            break
    if batch is None:
        batch, position = store.load_batch(problem.batch_name(index)), group
    else:
        position = [*_penalties(batch)].index(group)
    if batch is None:
        raise ValueError(
            f"the fits of l2 {problem.l2s[index]:g} can no longer be read; the same "
            "command solves them again"
        )
    lanes = problem.lanes(group)
    first = problem.first_trial + index * len(problem.fits)
    rows = {row["trial"]: row for row in batch.rows}
    arrays = {name: batch.arrays[name][lanes] for name in Params._fields}
    arrays["temperature"] = batch.arrays["temperature"][position]
    return Batch([rows[first + lane] for lane in lanes], arrays)


def _name(problem: Problem, number: int) -> str:
    return problem.batch_name(f"certified-{number:05d}")


def _penalties(batch: Batch) -> Penalties:
    """Returns which fits a round has certified."""
    pairs = zip(batch.arrays["groups"], batch.arrays["indices"], strict=True)
    return {int(group): int(index) for group, index in pairs}


def _targets(
    problem: Problem, metric: str, batches: list[Batch], moved: Sequence[Moved]
) -> Penalties:
    """Returns the next penalty to certify of each resampling that needs one."""
    targets = {}
    for group in problem.compared_groups:
        lanes = problem.lanes(group)
        rows = [batch.rows[lane] for batch in batches for lane in lanes]
        errors = exact_results.standard_errors(problem, batches, group)
        l2s = certainty.undecided(rows, metric, errors, moved[group])
        if l2s:
            targets[group] = problem.index_of(l2s[0])
    return targets


def _params(problem: Problem, store: Store, at: Penalties) -> Params:
    """Returns where all fits start: certified parameters, where there are some."""
    params: list = [None] * len(problem.fits)
    for group, index in at.items():
        arrays = load(problem, store, group, index).arrays
        for position, lane in enumerate(problem.lanes(group)):
            params[lane] = [arrays[name][position] for name in Params._fields]
    return Params(
        *(jnp.asarray(np.stack(arrays)) for arrays in zip(*params, strict=True))
    )


def _solved(
    problem: Problem,
    batches: list[Batch],
    targets: Penalties,
    at: Penalties,
    start: Params,
    solver: Solver,
) -> Batch:
    """Solves all fits at their penalties, and measures those that are wanted."""
    l2s = np.array([problem.l2s[at[fit.group]] for fit in problem.fits])
    params, info = path.certify(solver, l2s, start)
    scores = {}
    for group, index in targets.items():
        compared = np.array(problem.compared(group))
        scores[group] = held_out.score(
            jax.tree.map(lambda array, i=compared: array[i], params),
            problem.x,
            problem.labels,
            problem.resamplings[group],
            problem.l2s[index],
        )
    wanted = np.concatenate([problem.lanes(group) for group in targets])
    fits = [problem.fits[lane] for lane in wanted]
    own, info = jax.tree.map(lambda array: np.asarray(array)[wanted], (params, info))
    train = held_out.train_scores(
        own,
        info.objective,
        l2s[wanted],
        problem.x,
        problem.labels,
        np.stack([fit.train for fit in fits]),
    )
    first = [problem.first_trial + at[f.group] * len(problem.fits) for f in fits]
    trials = (np.array(first) + wanted).tolist()
    folds = {group: score.folds for group, score in scores.items()}
    rows = exact_results.make_rows(
        problem, fits, trials, l2s[wanted], train, info, folds
    )
    for row, fit, lane in zip(rows, fits, wanted, strict=True):
        before = batches[at[fit.group]].rows[lane]
        row["steps"] += before["steps"]
        row["products"] += before["products"]
    arrays = exact_results.group_arrays(problem, scores)
    arrays |= {"groups": np.array([*targets]), "indices": np.array([*targets.values()])}
    arrays |= {"W": np.asarray(params.W), "b": np.asarray(params.b)}
    return Batch(rows, arrays)


def _apply(problem: Problem, batches: list[Batch], done: Batch) -> Mapping[int, Moved]:
    """Puts a round into the batches of its penalties.

    Returns:
        How far it has moved mean or error of each metric, by resampling.
    """
    new = {row["trial"]: row for row in done.rows}
    moved, penalties = {}, _penalties(done)
    rows_of = exact_results.rows_of
    source, target = (rows_of(problem, own) for own in (penalties, problem.groups))
    for position, (group, index) in enumerate(penalties.items()):
        batch = batches[index]
        arrays = {name: np.array(array) for name, array in batch.arrays.items()}
        for name in ("curves", "temperature"):
            arrays[name][group] = done.arrays[name][position]
        own = done.arrays["row_scores"][:, source[group]]
        arrays["row_scores"][:, target[group]] = own
        if problem.keep_path:
            arrays["coefficients"] = np.array(done.arrays["W"][-1], np.float32)
        rows = [new.get(row["trial"], row) for row in batch.rows]
        batches[index] = Batch(rows, arrays)
        change = arrays["curves"][group] - batch.arrays["curves"][group]
        largest = np.nanmax(np.abs(change), axis=1, initial=0.0)
        moved[group] = dict(zip(schema.FOLDS, largest.tolist(), strict=True))
    return moved
