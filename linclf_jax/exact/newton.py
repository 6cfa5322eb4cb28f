"""Softmax regression solved exactly, lane by lane, with a proof of how exactly.

Newton's method. Objective, gradient and certificate are float64, of the parameters in
the dtype they are returned in; the directions come from conjugate gradients whose
products are float32. Lanes that are done leave the program: the others go on in a
narrower one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import axes as axes_lib
from linclf_jax.exact import certificate, compaction, line_search, newton_step, status
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact.axes import Axes
from linclf_jax.exact.line_search import Iterate
from linclf_jax.exact.problem import Problem
from linclf_jax.exact.status import Info, Progress
from linclf_jax.params import Params

# How often a lane may go on whose convergence the tightest certificate does not
# confirm.
REVISIONS = 3


class Solver(NamedTuple):
    """What is the same in all steps of all lanes."""

    problem: Problem
    axes: Axes
    dtype: np.dtype  # of the parameters


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
    dtype = problem_lib.result_type(x)
    with jax.enable_x64(True):
        if init is not None:
            lanes, classes = problem.present.shape
            shape = (lanes, problem.x.shape[1], classes)
            init = problem_lib.checked_params(init, shape)
        solver = prepare(problem, dtype)
        start = origin(solver)
        if init is not None:
            start = Params(*(line_search.rounded(array, dtype) for array in init))
        iterate = newton_step.evaluate(problem, start, jnp.asarray(l2))
        progress = status.begin(len(l2))
        for _ in range(REVISIONS):
            iterate = minimize(
                solver, iterate, l2, progress, tol=tol, max_newton=max_newton
            )
            # The steps find the best bias only as well as they need it. This is the
            # tighter certificate that ``certify`` gives.
            iterate = newton_step.evaluate(
                problem, iterate.params, jnp.asarray(l2), certificate.BIAS_ACCURACY
            )
            if not status.reopen(iterate, progress, tol):
                break
        progress.status[progress.status == ""] = status.STALLED
        return returned(solver, iterate.params), status.info(iterate, progress)


def duality_gap(
    params: Params,
    x: ArrayLike,
    labels: ArrayLike,
    l2: ArrayLike,
    weights: ArrayLike | None = None,
) -> np.ndarray:
    """Returns how far the objective can be above its minimum, float64 ``(L,)``.

    See ``certificate`` for the proof.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``, from wherever.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers or soft targets ``(N, C)``.
        l2: ``(L,)``.
        weights: ``(N,)``, ``(L, N)`` or None.
    """
    return certificate.certify(params, x, labels, l2, weights).gap


def check_limits(tol: float, max_newton: int) -> None:
    """Refuses limits that cannot be met.

    Args:
        tol: Relative gap, above 0.
        max_newton: Steps, at least 0.

    Raises:
        ValueError: One is out of range.
    """
    if not 0 < tol < np.inf:
        raise ValueError(f"tol is {tol}; expected a number above 0")
    if max_newton < 0:
        raise ValueError(f"max_newton is {max_newton}; expected at least 0")


def prepare(problem: Problem, dtype: np.dtype) -> Solver:
    """Computes the principal axes, once for any number of solutions.

    Args:
        problem: Of L lanes.
        dtype: Of the parameters.
    """
    return Solver(problem, axes_lib.principal(problem.x), dtype)


def origin(solver: Solver) -> Params:
    """Returns W = 0 and its best bias, the logarithms of the classes' frequencies.

    Args:
        solver: Of L lanes.
    """
    problem = solver.problem
    shape = (*problem.present.shape, problem.x.shape[1])
    frequencies = jnp.einsum("ln,cn->lc", problem.sample_weights, problem.targets)
    b = jnp.where(problem.present, jnp.log(frequencies), -jnp.inf)
    return Params(jnp.zeros(shape), line_search.rounded(b, solver.dtype))


def returned(solver: Solver, params: Params) -> Params:
    """Returns parameters as the caller sees them.

    Args:
        solver: Of L lanes.
        params: float64 ``W (L, C, D)`` and ``b (L, C)``.
    """
    W = jnp.swapaxes(params.W, 1, 2)
    return Params(W.astype(solver.dtype), params.b.astype(solver.dtype))


def minimize(
    solver: Solver,
    iterate: Iterate,
    l2: np.ndarray,
    progress: Progress,
    *,
    tol: float,
    max_newton: int,
) -> Iterate:
    """Makes Newton steps until every lane is done.

    Args:
        solver: Of L lanes.
        iterate: Where they start.
        l2: ``(L,)`` float64.
        progress: How they came there; changed in place.
        tol: Relative gap to reach.
        max_newton: Steps of a lane.

    Returns:
        Where the lanes ended, with a proof that holds but may be less tight than
        ``certify``'s.
    """
    axes, is_wide = solver.axes, False
    mean_norm = float(jnp.sqrt(axes.spread + jnp.sum(axes.mean**2)))
    while True:
        status.update(solver.problem, iterate, l2, progress, tol, max_newton, mean_norm)
        running = np.flatnonzero(progress.status == "")
        if not running.size:
            break
        if not is_wide and status.is_too_coarse(progress):
            axes, is_wide = axes_lib.widened(axes, solver.problem.x), True
        lanes = compaction.padded(running, _width(len(l2), len(running)))
        done = newton_step.step(
            problem_lib.take(solver.problem, lanes),
            axes,
            compaction.take(iterate, lanes),
            jnp.asarray(l2[lanes]),
            tol,
            solver.dtype,
        )
        iterate = compaction.put(iterate, lanes, done.iterate)
        progress.steps[running] += 1
        progress.products[running] += done.products[: len(running)]
        progress.predicted[running] = done.predicted[: len(running)]
        progress.solved[running] = done.solved[: len(running)]
    return iterate


def _width(num_lanes: int, running: int) -> int:
    """Returns the width of the narrowest program that holds the running lanes."""
    width = max(num_lanes, compaction.FEWEST)
    while compaction.narrower(width) >= running:
        width = compaction.narrower(width)
    return width
