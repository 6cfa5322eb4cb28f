"""Softmax regression solved exactly, lane by lane, with a proof of how exactly.

Newton's method, whose passes over the rows are float32, or float64 in lanes for which
that is too coarse. What is returned is proved in float64 by its certificate, and a lane
whose proof falls short goes on.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import certificate, compaction, descent, passes, status
from linclf_jax.exact import columns as columns_lib
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import solver as solver_lib
from linclf_jax.exact.certificate import Certificate
from linclf_jax.exact.solver import Solver
from linclf_jax.exact.status import Info
from linclf_jax.params import Params


def solve(
    x: Any,
    labels: ArrayLike,
    l2: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    init: Params | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
    memory_budget: int | None = None,
) -> tuple[Params, Info]:
    """Minimises ``sum_i w_i ce_i / sum_i w_i + (l2 / 2) ||W||^2`` in every lane.

    Args:
        x: Features ``(N, D)``: an array, or a memory map or the like, of which a block
            of rows is read at a time, in every pass.
        labels: ``(N,)`` integers from 0, or soft targets ``(N, C)``.
        l2: ``(L,)``, at least 0. There is no certificate at 0: the gap is infinite,
            and a lane ends as ``optimum_without_bound`` when Newton's model promises
            no more than ``tol``. Where hyperplanes separate some classes and not all,
            the minimum is approached and W grows.
        weights: Sample weights ``(N,)`` or ``(L, N)``; None weighs all alike. A row of
            weight 0 in a lane takes no part in its objective, gradient and certificate,
            but in the scaling of columns if it has weight in another: far larger than
            the others, it may keep the lane from ``tol``, which the status says.
        init: Where to start, ``W (L, D, C)`` and ``b (L, C)``; W = 0 if None. A lane
            that is good enough there keeps it.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap to reach.
        max_newton: Steps of a lane.
        memory_budget: Bytes beside what is in use. To stay below it, rows are read and
            probabilities computed again in every pass. All budgets give the same bits
            where all rows have weight; without one, columns may be principal axes.

    Returns:
        Parameters ``W (L, D, C)``, ``b (L, C)`` in the dtype of ``x``, at least
        float32, and what is known of them: ``converged`` says that ``relative_gap`` is
        at most ``tol``, ``stalled_at_precision`` that no step makes progress in this
        arithmetic. A class without weight in a lane has a bias of minus infinity.

    Raises:
        ValueError: An argument is out of range or does not fit the others; nothing has
            been compiled.
    """
    l2 = problem_lib.checked_l2(l2)
    check_limits(tol, max_newton)
    with jax.enable_x64(True):
        problem = problem_lib.prepare(
            x,
            labels,
            num_lanes=len(l2),
            weights=weights,
            num_classes=num_classes,
            memory_budget=memory_budget,
        )
        if init is not None:
            init = problem_lib.checked_params(init, problem)
    solver = solver_lib.prepare(problem, x, tol, max_newton)
    return solve_from(solver, l2, init)


def solve_from(
    solver: Solver, l2: np.ndarray, init: Params | None
) -> tuple[Params, Info]:
    """Solves all lanes; see ``solve``. ``init`` is as ``checked_params`` returns it."""
    with jax.enable_x64(True):
        start = descent.Start(solver_lib.origin(solver))
        if init is not None:
            start = _better(solver, start.A, init, l2)
        _, params, info = finish(solver, start, l2, init)
    return params, info


def _better(
    solver: Solver, origin: jax.Array, init: Params, l2: np.ndarray
) -> descent.Start:
    """Returns the start that is given, or W = 0 in lanes where that is better.

    Where confident rows are wrong Newton's model sees no curvature to go by.
    """
    lanes = solver.problem.lanes
    A = columns_lib.from_params(solver.columns, lanes.present, init)
    system = solver.system(np.arange(len(l2)), l2, wide=False)
    evaluated = passes.evaluate(system, A, keep=solver.problem.layout.keep)
    means = np.asarray(lanes.target_means)
    entropy = -np.sum(means * np.log(np.where(means > 0.0, means, 1.0)), axis=1)
    better = np.asarray(evaluated[0].objective) <= entropy
    if better.all():
        return descent.Start(A, evaluated)
    return descent.Start(jnp.where(better[:, None, None], A, origin))


def check_limits(tol: float, max_newton: int) -> None:
    """Refuses limits that cannot be met.

    Raises:
        ValueError: ``tol`` is not above 0, or ``max_newton`` below 0.
    """
    if not 0 < tol < np.inf:
        raise ValueError(f"tol is {tol}; expected a number above 0")
    if max_newton < 0:
        raise ValueError(f"max_newton is {max_newton}; expected at least 0")


def finish(
    solver: Solver,
    start: descent.Start,
    l2: np.ndarray,
    init: Params | None = None,
    *,
    certified: bool = True,
) -> tuple[descent.Position, Params, Info]:
    """Solves all lanes from some parameters, and proves it.

    Args:
        solver: Of the lanes.
        start: Where they start.
        l2: ``(L,)``.
        init: The parameters there, which a lane keeps if they prove to be good enough.
        certified: Without, the tolerance is met by an estimate and nothing is proved.

    Returns:
        Where the lanes ended, their parameters as the caller sees them, and what is
        known of them.
    """
    lanes = solver.problem.lanes
    progress = status.begin(l2, _is_valid(solver, init))
    given, kept = None, np.zeros(len(l2), bool)
    if init is not None:
        rounded: Params = _returned(lanes.present, init, dtype=solver.dtype)
        status.accept(_proof(solver, rounded, l2), progress, solver.tol)
        given = rounded
        kept = (progress.status == status.CONVERGED) | (solver.max_newton == 0)
    position = descent.Position(start.A, np.full(len(l2), np.nan))
    while True:
        position = descent.minimize(solver, position, l2, progress, start)
        params = columns_lib.to_params(solver.columns, lanes.present, position.A)
        params = _returned(lanes.present, params, dtype=solver.dtype)
        if given is not None:
            params = compaction.select(jnp.asarray(~kept), params, given)
        if not certified:
            return position, params, status.without_proof(position.objective, progress)
        proof = _proof(solver, params, l2)
        if not status.reopen(proof, progress, solver.tol):
            return position, params, status.info(proof, progress)
        start = descent.Start(position.A)


def _is_valid(solver: Solver, init: Params | None) -> np.ndarray:
    """Returns which lanes have no NaN in their weights, or in their start."""
    means = np.asarray(solver.problem.lanes.target_means)
    unknown = np.isnan(means).any(axis=1)
    if init is not None:
        of_start = np.isnan(init.b) | np.isnan(init.W).any(axis=2)
        unknown |= (of_start & np.asarray(solver.problem.lanes.present)).any(axis=1)
    return np.logical_not(unknown)


@functools.partial(jax.jit, static_argnames="dtype")
def _returned(present: jax.Array, params: Params, *, dtype: np.dtype) -> Params:
    """Returns ``W (L, D, C)`` and ``b (L, C)`` in the dtype of the result."""
    W, b = jnp.swapaxes(params.W, 1, 2), jnp.where(present, params.b, -jnp.inf)
    return Params(W.astype(dtype), b.astype(dtype))


@jax.jit
def _exactly(params: Params) -> Params:
    """Returns what was rounded for the result in float64, ``W (L, C, D)``."""
    W, b = (array.astype(jnp.float64) for array in params)
    return Params(jnp.swapaxes(W, 1, 2), b)


def _proof(solver: Solver, params: Params, l2: np.ndarray) -> Certificate:
    """Returns the certificate of what would be returned."""
    iterate = certificate.evaluate(
        solver.problem, _exactly(params), jnp.asarray(l2), solver.bias_accuracy
    )
    return certificate.summary(iterate)
