"""Softmax regression solved exactly, lane by lane, with a proof of how exactly.

Newton's method, whose passes over the rows are float32, or float64 where that is too
coarse. What is returned is proved in float64 by its certificate, and a lane whose proof
falls short goes on. Lanes that are done leave the program: the others go on in a
narrower one.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import (
    certificate,
    compaction,
    conjugate,
    newton_step,
    passes,
    status,
)
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import table as table_lib
from linclf_jax.exact.certificate import Certificate
from linclf_jax.exact.passes import Iterate, Lanes
from linclf_jax.exact.problem import Problem
from linclf_jax.exact.status import Info, Progress
from linclf_jax.exact.table import Columns, Table
from linclf_jax.params import Params

# Principal axes save about this many products at each penalty of a path; a single fit
# makes as many as some penalties. Eigenvectors take many operations, at a low speed.
SAVED_PRODUCTS = 10
ONE_FIT = 4
EIGENVECTORS = 40


class Solver(NamedTuple):
    """What is the same in all steps of all lanes, at any penalty."""

    problem: Problem
    columns: Columns
    table: Table
    dtype: np.dtype  # of the result's parameters
    tol: float  # relative gap that the lanes are to reach
    max_newton: int  # steps of a lane

    @property
    def is_wide(self) -> bool:
        """Whether passes are float64."""
        return self.table.x.dtype == np.float64

    def lanes(self, l2: np.ndarray) -> Lanes:
        """Returns what is the lanes' own, in the dtype of the passes."""
        weights = np.asarray(self.problem.sample_weights, self.table.x.dtype)
        return Lanes(jnp.asarray(weights), self.problem.present, jnp.asarray(l2))


def solve(
    x: ArrayLike,
    labels: ArrayLike,
    l2: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    init: Params | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
) -> tuple[Params, Info]:
    """Minimises ``sum_i w_i ce_i / sum_i w_i + (l2 / 2) ||W||^2`` in every lane.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers from 0, or soft targets ``(N, C)``.
        l2: ``(L,)``, at least 0. There is no certificate at 0: the gap is infinite,
            and a lane ends as ``optimum_without_bound`` when Newton's model promises
            no more than ``tol``. Where hyperplanes separate some classes and not all,
            the minimum is approached and W grows.
        weights: Sample weights ``(N,)`` or ``(L, N)``; None weighs all alike. A row of
            weight 0 in a lane takes no part in its objective, gradient and certificate.
            If it has weight in another lane, it does take part in the scaling of the
            columns that all lanes share: far larger than the others, it may keep this
            lane from ``tol``, which the status says.
        init: Where to start, ``W (L, D, C)`` and ``b (L, C)``; W = 0 if None. A lane
            that is good enough there keeps it.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap to reach.
        max_newton: Steps of a lane.

    Returns:
        Parameters ``W (L, D, C)``, ``b (L, C)`` in the dtype of ``x``, at least
        float32, and what is known of them: ``converged`` says that ``relative_gap`` is
        at most ``tol``, ``stalled_at_precision`` that no step makes progress in this
        arithmetic, with the gap as all that is known. A class without weight in a lane
        has a bias of minus infinity there: it keeps no probability. Memory: about 24
        bytes for every entry of ``x``, and of arrays ``(L, C, N)`` six in float32 or
        four in float64.

    Raises:
        ValueError: An argument is out of range or does not fit the others; nothing has
            been compiled.
    """
    l2 = problem_lib.checked_l2(l2)
    check_limits(tol, max_newton)
    with jax.enable_x64(True):
        problem = problem_lib.prepare(
            x, labels, num_lanes=len(l2), weights=weights, num_classes=num_classes
        )
        if init is not None:
            init = problem_lib.checked_params(init, problem)
    return solve_from(prepare(problem, x, tol, max_newton), l2, init)


def solve_from(
    solver: Solver, l2: np.ndarray, init: Params | None
) -> tuple[Params, Info]:
    """Solves all lanes; see ``solve``. ``init`` is as ``checked_params`` returns it."""
    with jax.enable_x64(True):
        start = origin(solver) if init is None else from_params(solver, init)
        iterate = passes.evaluate(solver.table, solver.lanes(l2), start)
        _, _, params, info = finish(solver, iterate, l2, init)
    return params, info


def check_limits(tol: float, max_newton: int) -> None:
    """Refuses limits that cannot be met.

    Raises:
        ValueError: ``tol`` is not above 0, or ``max_newton`` below 0.
    """
    if not 0 < tol < np.inf:
        raise ValueError(f"tol is {tol}; expected a number above 0")
    if max_newton < 0:
        raise ValueError(f"max_newton is {max_newton}; expected at least 0")


def prepare(
    problem: Problem,
    x: ArrayLike,
    tol: float,
    max_newton: int,
    num_penalties: int = ONE_FIT,
) -> Solver:
    """Lays out the rows, once for any number of solutions.

    The parameters have the dtype of ``x``, by the process's setting of 64-bit types.
    """
    dtype = problem_lib.result_type(x)
    with jax.enable_x64(True):
        rotated = _axes_pay(problem, num_penalties)
        columns = table_lib.columns(np.asarray(problem.x), rotated=rotated)
        table = table_lib.make(problem, columns, np.float32)
    return Solver(problem, columns, table, dtype, tol, max_newton)


def _axes_pay(problem: Problem, num_penalties: int) -> bool:
    """Returns whether principal axes save more operations than they cost."""
    (lanes, classes), (rows, features) = problem.present.shape, problem.x.shape
    rank = min(rows, features)
    axes = 4 * rows * features * rank + EIGENVECTORS * rank**3
    product = 4 * rows * features * classes * lanes
    return axes < SAVED_PRODUCTS * num_penalties * product


def widened(solver: Solver) -> Solver:
    """Returns the solver with float64 passes."""
    table = table_lib.make(solver.problem, solver.columns, np.float64)
    return solver._replace(table=table)


def origin(solver: Solver) -> jax.Array:
    """Returns W = 0 and its best bias, the logarithms of the classes' frequencies."""
    problem = solver.problem
    weights, targets = map(np.asarray, (problem.sample_weights, problem.targets))
    frequencies = np.where(problem.present, weights @ targets.T, 1.0)
    A = np.zeros((*frequencies.shape, solver.table.x.shape[1]))
    A[:, :, -1] = np.log(frequencies)
    return table_lib.centred(problem.present, jnp.asarray(A))


def from_params(solver: Solver, params: Params) -> jax.Array:
    """Returns a start from ``W (L, C, D)``, ``b (L, C)``."""
    present = solver.problem.present
    b = jnp.where(present, params.b, 0.0)
    return table_lib.centred(
        present, table_lib.from_params(solver.columns, params._replace(b=b))
    )


def finish(
    solver: Solver,
    iterate: Iterate,
    l2: np.ndarray,
    init: Params | None = None,
    *,
    accuracy: float = certificate.BIAS_ACCURACY,
    certified: bool = True,
) -> tuple[Solver, Iterate, Params, Info]:
    """Solves all lanes from some iterate, and proves it.

    Args:
        solver: Of the lanes.
        iterate: Where they start.
        l2: ``(L,)``.
        init: The parameters there, which a lane keeps if they prove to be good enough.
        accuracy: Of the best bias in the certificate, as a share of the data term.
        certified: Without, the tolerance is met by an estimate and nothing is proved.

    Returns:
        The solver, wide if that was needed, where the lanes ended, their parameters as
        the caller sees them, and what is known of them.
    """
    progress = status.begin(len(l2))
    present = solver.problem.present
    if init is not None:
        given: Params = _returned(present, init, dtype=solver.dtype)
        status.accept(_proof(solver, given, l2, accuracy), progress, solver.tol)
    while True:
        solver, iterate = minimize(solver, iterate, l2, progress)
        params = table_lib.to_params(solver.columns, iterate.A)
        params = _returned(present, params, dtype=solver.dtype)
        if init is not None:
            moved = jnp.asarray(progress.steps > 0)
            params = compaction.select(moved, params, given)
        if not certified:
            info = status.without_proof(np.asarray(iterate.objective), progress)
            return solver, iterate, params, info
        proof = _proof(solver, params, l2, accuracy)
        if not status.reopen(proof, progress, solver.tol):
            return solver, iterate, params, status.info(proof, progress)


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


def _proof(
    solver: Solver, params: Params, l2: np.ndarray, accuracy: float
) -> Certificate:
    """Returns the certificate of what would be returned."""
    exact = _exactly(params)
    return certificate.summary(
        certificate.evaluate(solver.problem, exact, jnp.asarray(l2), accuracy)
    )


def minimize(
    solver: Solver, iterate: Iterate, l2: np.ndarray, progress: Progress
) -> tuple[Solver, Iterate]:
    """Makes Newton steps until every lane is done, and counts them in ``progress``."""
    lanes = solver.lanes(l2)
    inverse = conjugate.make_preconditioner(solver.table, lanes, iterate.probs)
    is_fresh = True
    while True:
        left = conjugate.distance(solver.table, lanes, inverse, iterate.gradient)
        status.update(solver, iterate, np.asarray(left), l2, progress)
        running = np.flatnonzero(progress.status == "")
        if not running.size:
            return solver, iterate
        if status.is_too_coarse(progress) and not solver.is_wide:
            status.restart(progress)
            solver = widened(solver)
            iterate = passes.evaluate(solver.table, solver.lanes(l2), iterate.A)
            return minimize(solver, iterate, l2, progress)
        chosen = compaction.padded(running, compaction.narrowest(len(l2), len(running)))
        own, start = compaction.take((lanes, iterate), chosen)
        if not is_fresh:
            again = conjugate.make_preconditioner(solver.table, own, start.probs)
            inverse = compaction.put(inverse, chosen, again)
        step = newton_step.step(
            solver.table,
            own,
            start,
            compaction.take(inverse, chosen),
            progress.aim[chosen] * solver.tol,
        )
        iterate, is_fresh = compaction.put(iterate, chosen, step.iterate), False
        progress.steps[running] += 1
        progress.products[running] += np.asarray(step.products)[: len(running)]
        progress.predicted[running] = np.asarray(step.predicted)[: len(running)]
