"""Softmax regression solved exactly, lane by lane, with a proof of how exactly.

Newton's method. Objective, gradient and certificate are float64, of the parameters in
the dtype they are returned in; the directions come from conjugate gradients whose
products are float32. Lanes that are done leave the program: the others go on in a
narrower one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import axes as axes_lib
from linclf_jax.exact import certificate, compaction, line_search, newton_step, status
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact.certificate import Iterate
from linclf_jax.exact.objective import BIAS_ACCURACY
from linclf_jax.exact.problem import Problem, Solver
from linclf_jax.exact.status import Info, Progress
from linclf_jax.params import Params

# How often a lane may go on whose convergence the tightest certificate does not
# confirm.
REVISIONS = 3
FIRST_BIAS = 1e-2  # of the data term, before the first step: the step will move it


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
            If it has weight in another lane, it does take part in the axes that all
            lanes share: far larger than the others, it may keep this lane from ``tol``,
            which the status says.
        init: Where to start, ``W (L, D, C)`` and ``b (L, C)``; W = 0 if None.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap to reach.
        max_newton: Steps of a lane.

    Returns:
        Parameters ``W (L, D, C)``, ``b (L, C)`` in the dtype of ``x``, at least
        float32, and what is known of them: ``converged`` says that ``relative_gap`` is
        at most ``tol``, ``stalled_at_precision`` that no step makes progress in this
        arithmetic, with the gap as all that is known. A class without weight in a lane
        has a bias of minus infinity there: it keeps no probability. Memory: about 24
        bytes for every entry of ``x``, and eight arrays ``(L, C, N)`` in float64.

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
    solver = prepare(problem, x, tol, max_newton)
    with jax.enable_x64(True):
        return _solve(solver, l2, init)


def _solve(solver: Solver, l2: np.ndarray, init: Params | None) -> tuple[Params, Info]:
    start = origin(solver)
    if init is not None:
        start = Params(*(line_search.rounded(array, solver.dtype) for array in init))
    iterate = evaluate(solver, start, l2)
    progress = status.begin(len(l2))
    for _ in range(REVISIONS):
        iterate = minimize(solver, iterate, l2, progress)
        # The steps find the best bias only as well as they need it. This is the
        # tighter certificate that ``certify`` gives.
        iterate = evaluate(solver, iterate.params, l2, BIAS_ACCURACY)
        if not status.reopen(iterate, progress, solver.tol):
            break
    progress.status[progress.status == ""] = status.STALLED
    return returned(solver, iterate.params), status.info(iterate, progress)


def check_limits(tol: float, max_newton: int) -> None:
    """Refuses limits that cannot be met.

    Raises:
        ValueError: ``tol`` is not above 0, or ``max_newton`` below 0.
    """
    if not 0 < tol < np.inf:
        raise ValueError(f"tol is {tol}; expected a number above 0")
    if max_newton < 0:
        raise ValueError(f"max_newton is {max_newton}; expected at least 0")


def prepare(problem: Problem, x: ArrayLike, tol: float, max_newton: int) -> Solver:
    """Computes the principal axes, once for any number of solutions.

    The parameters have the dtype of ``x``, by the process's setting of 64-bit types.
    """
    dtype = problem_lib.result_type(x)
    with jax.enable_x64(True):
        axes = axes_lib.principal(problem.x)
        mean_norm = float(jnp.sqrt(axes.spread + jnp.sum(axes.mean**2)))
    return Solver(problem, axes, mean_norm, dtype, tol, max_newton)


def origin(solver: Solver) -> Params:
    """Returns W = 0 and its best bias, the logarithms of the classes' frequencies."""
    problem = solver.problem
    shape = (*problem.present.shape, problem.x.shape[1])
    frequencies = jnp.einsum("ln,cn->lc", problem.sample_weights, problem.targets)
    b = jnp.where(problem.present, jnp.log(frequencies), -jnp.inf)
    return Params(jnp.zeros(shape), line_search.rounded(b, solver.dtype))


def evaluate(
    solver: Solver, params: Params, l2: np.ndarray, accuracy: float = FIRST_BIAS
) -> Iterate:
    """Evaluates objective, gradient and gap at some parameters."""
    return certificate.evaluate(solver.problem, params, jnp.asarray(l2), accuracy)


def returned(solver: Solver, params: Params) -> Params:
    """Returns parameters as the caller sees them, ``W (L, D, C)`` in his dtype."""
    W = jnp.swapaxes(params.W, 1, 2)
    return Params(W.astype(solver.dtype), params.b.astype(solver.dtype))


def minimize(
    solver: Solver, iterate: Iterate, l2: np.ndarray, progress: Progress
) -> Iterate:
    """Makes Newton steps until every lane is done, and counts them in ``progress``.

    Returns:
        Where the lanes ended, with a proof that holds but may be less tight than
        ``certify``'s.
    """
    is_wide = False
    while True:
        status.update(solver, iterate, l2, progress)
        running = np.flatnonzero(progress.status == "")
        if not running.size:
            return iterate
        if not is_wide and status.is_too_coarse(progress):
            axes = axes_lib.widened(solver.axes, solver.problem.x)
            solver, is_wide = solver._replace(axes=axes), True
        width = compaction.narrowest(len(l2), len(running))
        lanes = compaction.padded(running, width)
        done = newton_step.step(
            problem_lib.take(solver, lanes),
            compaction.take(iterate, lanes),
            jnp.asarray(l2[lanes]),
        )
        iterate = compaction.put(iterate, lanes, done.iterate)
        progress.steps[running] += 1
        progress.products[running] += done.products[: len(running)]
        progress.predicted[running] = done.predicted[: len(running)]
        progress.solved[running] = done.solved[: len(running)]
