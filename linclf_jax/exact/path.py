"""Regularisation paths, followed from the strongest penalty to the weakest.

Each solution starts from those before it. What the next one needs is the ``PathState``
that every point carries: a path that goes on from a stored state gives the same bits as
one that was never interrupted.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import columns as columns_lib
from linclf_jax.exact import newton, passes
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import solver as solver_lib
from linclf_jax.exact.descent import Start
from linclf_jax.exact.solver import Solver
from linclf_jax.exact.status import Info
from linclf_jax.params import Params

# Solutions that a start is extrapolated from. A path is smooth in the logarithm of l2:
# a parabola through three solutions saves most of the Newton steps; four bring nothing.
MAX_SOLUTIONS = 3
# Of the tolerance, that the best bias may leave in the certificate of a point: it saves
# one of two passes, and ``certificate.certify`` may prove a little more.
BIAS_SHARE = 1e-3


# Relative distance, as estimated, of points that are not certified.
COARSE = 1e-4


class Solution(NamedTuple):
    """The optimum of all lanes at one penalty, as the solver holds it."""

    l2: float
    A: jax.Array  # (L, C, P) float64, in the columns of the passes


class PathState(NamedTuple):
    """What a path needs to go on after a penalty."""

    solutions: tuple[Solution, ...]  # 1 to MAX_SOLUTIONS, the last one at the penalty
    objective: np.ndarray  # (L,) of the last
    rotated: bool  # whether the columns are principal axes


class Point(NamedTuple):
    """The solutions of all lanes at one penalty."""

    l2: float
    params: Params  # W (L, D, C), b (L, C), in the dtype of x
    info: Info
    state: PathState | None  # what a path goes on from; None where it was dropped


class Path(NamedTuple):
    """Solutions along a path; NumPy arrays, in the order of the penalties given."""

    l2: np.ndarray  # (K,) float64
    params: Params  # W (K, L, D, C), b (K, L, C)
    info: Info  # (K, L) each


def path(x: Any, labels: ArrayLike, l2s: ArrayLike, **options: Any) -> Path:
    """Solves all lanes at all penalties; arguments are those of ``follow``.

    Of each of K L fits the gap says how far it may be off.

    >>> x, labels = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> solved = path(x, labels, [0.01, 1.0])
    >>> solved.params.W.shape, solved.info.status.ravel().tolist()
    ((2, 1, 1, 2), ['converged', 'converged'])
    """
    solved = [
        (jax.tree.map(np.asarray, point.params), point.info)
        for point in follow(x, labels, l2s, **options)
    ]
    return Path(np.asarray(l2s, np.float64), *as_given(l2s, solved))


def as_given(l2s: ArrayLike, solved: Sequence[Any]) -> Any:
    """Stacks the arrays of points, largest penalty first, in the order of ``l2s``."""
    index = np.argsort(np.argsort(-np.asarray(l2s, np.float64)))
    return jax.tree.map(lambda *leaves: np.stack(leaves)[index], *solved)


def follow(
    x: Any,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
    certified: bool = True,
    state: PathState | None = None,
    memory_budget: int | None = None,
) -> Iterator[Point]:
    """Solves all lanes at one penalty after the other, each started from those before.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers from 0, or soft targets ``(N, C)``.
        l2s: ``(K,)``, at least 0, none twice, in any order.
        weights: ``(L, N)`` for L lanes; ``(N,)`` or None for one.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps of a lane at one penalty.
        certified: Without, points are near their optimum by an estimate, ``COARSE``
            of the objective, and nothing is proved: ``certify`` does that.
        state: Of a point of the same path, after which to go on: only the penalties
            below that point's are visited, with the same bits as without a stop.
        memory_budget: Bytes that may be taken beside what is in use.

    Returns:
        Yields K points, or those that are left. The arguments are checked at once,
        before the first.

    Raises:
        ValueError: As ``newton.solve``, or a penalty comes twice, or the state is one
            of a problem of another shape.
    """
    ordered = descending(l2s)
    solver = prepare(
        x,
        labels,
        len(ordered),
        weights=weights,
        num_classes=num_classes,
        tol=tol,
        max_newton=max_newton,
        rotated=None if state is None else state.rotated,
        memory_budget=memory_budget,
    )
    if state is not None:
        _check_state(state, solver)
        ordered = ordered[ordered < state.solutions[-1].l2]
    return points(solver, ordered, state, certified=certified)


def descending(l2s: ArrayLike) -> np.ndarray:
    """Returns penalties ``(K,)`` float64, the largest first, after checking them."""
    ordered = np.sort(problem_lib.checked_l2(l2s))[::-1]
    if np.isnan(ordered).any():
        raise ValueError("l2s holds nan; expected finite numbers, at least 0")
    if len(np.unique(ordered)) < len(ordered):
        raise ValueError("l2s holds a value twice; expected each once")
    return ordered


def prepare(
    x: Any,
    labels: ArrayLike,
    num_penalties: int,
    *,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
    rotated: bool | None = None,
    memory_budget: int | None = None,
) -> Solver:
    """Lays out the rows for ``points`` and ``certify``; see ``follow``.

    ``rotated`` says whether columns are principal axes: where that pays if None.
    """
    newton.check_limits(tol, max_newton)
    shape = () if weights is None else np.shape(weights)
    lanes = shape[0] if len(shape) == 2 else 1
    with jax.enable_x64(True):
        problem = problem_lib.prepare(
            x,
            labels,
            num_lanes=lanes,
            weights=weights,
            num_classes=num_classes,
            memory_budget=memory_budget,
        )
    solver = solver_lib.prepare(
        problem, x, tol, max_newton, num_penalties=num_penalties, rotated=rotated
    )
    accuracy = max(BIAS_SHARE * tol, solver.bias_accuracy)
    return dataclasses.replace(solver, bias_accuracy=accuracy)


def certify(solver: Solver, l2: ArrayLike, start: Params) -> tuple[Params, Info]:
    """Solves every lane from ``start`` at a penalty of its own, to a proved gap.

    Args:
        solver: From ``prepare``.
        l2: ``(L,)``.
        start: ``W (L, D, C)`` and ``b (L, C)``, of points that are not certified.

    Returns:
        As ``newton.solve``; the same start gives the same bits.
    """
    l2 = problem_lib.checked_l2(l2)
    with jax.enable_x64(True):
        start = problem_lib.checked_params(start, solver.problem)
    return newton.solve_from(solver, l2, start)


def _check_state(state: PathState, solver: Solver) -> None:
    lanes, _, _, classes = solver.problem.shape
    columns = len(solver.columns.scale)
    expected = (lanes, columns_lib.num_free(classes), columns)
    own = np.shape(state.solutions[-1].A)
    own = (*own[:2], own[2] - 1)
    if own != expected or state.rotated != (solver.columns.basis is not None):
        raise ValueError(
            f"state is of a path with (lanes, rows of parameters, columns) {own}; "
            f"expected {expected}, those of x, labels and weights"
        )


def state_arrays(state: PathState) -> dict[str, np.ndarray]:
    """Returns a state as named arrays, which a file can hold."""
    return {
        "l2": np.array([solution.l2 for solution in state.solutions]),
        "A": np.stack([solution.A for solution in state.solutions]),
        "objective": state.objective,
        "rotated": np.array(state.rotated),
    }


def state_from_arrays(arrays: Mapping[str, np.ndarray]) -> PathState:
    """Returns the state that ``state_arrays`` was given, bit for bit."""
    with jax.enable_x64(True):
        solutions = tuple(
            Solution(float(l2), jnp.asarray(A))
            for l2, A in zip(arrays["l2"], arrays["A"], strict=True)
        )
    return PathState(solutions, arrays["objective"], bool(arrays["rotated"]))


def points(
    solver: Solver, l2s: np.ndarray, state: PathState | None, *, certified: bool
) -> Iterator[Point]:
    """Yields the points of descending penalties; see ``follow``."""
    if not certified:
        solver = dataclasses.replace(solver, tol=max(solver.tol, COARSE))
    for l2 in map(float, l2s):
        # Entered anew for each point: between two of them the caller's code runs.
        with jax.enable_x64(True):
            of_lanes = l2 * solver.penalty_factors
            start = _start(solver, state, l2)
            last, params, info = newton.finish(
                solver, start, of_lanes, certified=certified
            )
            earlier = () if state is None else state.solutions
            solutions = (*earlier, Solution(l2, last.A))[-MAX_SOLUTIONS:]
            state = PathState(
                solutions, last.objective, solver.columns.basis is not None
            )
        yield Point(l2, params, info, state)


def _start(solver: Solver, state: PathState | None, l2: float) -> Start:
    """Returns the extrapolation, or the last solution in lanes where that is better."""
    if state is None:
        return Start(solver_lib.origin(solver))
    of_lanes = l2 * solver.penalty_factors
    system = solver.system(np.arange(len(of_lanes)), of_lanes, wide=False)
    factors = _lagrange(state.solutions, l2)
    A = jnp.stack([each.A for each in state.solutions])
    keep = solver.problem.layout.keep
    guess, probs = passes.evaluate(
        system, jnp.einsum("k...,k->...", A, factors), keep=keep
    )
    last = state.solutions[-1]
    rise = system.penalty * (1.0 - last.l2 / l2) if l2 else 0.0
    squares = np.asarray(jnp.sum(rise * last.A**2, axis=(1, 2)))
    better = np.asarray(guess.objective) <= state.objective + 0.5 * squares
    if better.all():
        return Start(guess.A, (guess, probs))
    return Start(jnp.where(better[:, None, None], guess.A, last.A))


def _lagrange(solutions: Sequence[Solution], l2: float) -> np.ndarray:
    """Returns the factors of the polynomial in log l2 through the solutions."""
    if l2 == 0.0:
        return np.eye(len(solutions))[-1]
    nodes = np.log([solution.l2 for solution in solutions])
    others = [np.delete(nodes, index) for index in range(len(nodes))]
    return np.array(
        [
            np.prod((np.log(l2) - rest) / (node - rest))
            for node, rest in zip(nodes, others, strict=True)
        ]
    )
