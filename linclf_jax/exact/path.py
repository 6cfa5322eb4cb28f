"""Regularisation paths, followed from the strongest penalty to the weakest.

Each solution starts from those before it. What the next one needs is the ``PathState``
that every point carries: a path that goes on from a stored state gives the same bits as
one that was never interrupted.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import (
    certificate,
    compaction,
    line_search,
    newton,
    rounding,
    status,
)
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact.certificate import Dual, Iterate
from linclf_jax.exact.objective import Primal
from linclf_jax.exact.problem import Problem, Solver
from linclf_jax.exact.status import Info
from linclf_jax.params import Params

# Solutions that a start is extrapolated from. A path is smooth in the logarithm of l2:
# a parabola through three solutions saves most of the Newton steps; four bring nothing.
MAX_SOLUTIONS = 3


class Solution(NamedTuple):
    """The optimum of all lanes at one penalty, as the solver holds it."""

    l2: float
    params: Params  # float64 W (L, C, D), b (L, C)


class PathState(NamedTuple):
    """What a path needs to go on after a penalty."""

    solutions: tuple[Solution, ...]  # 1 to MAX_SOLUTIONS, the last one at the penalty
    primal: Primal  # of the last solution
    dual: Dual  # of the same


class Point(NamedTuple):
    """The solutions of all lanes at one penalty.

    The state refers to arrays ``(L, C, N)`` of the solver: whoever collects points and
    does not mean to go on from them drops it, ``point._replace(state=None)``.
    """

    l2: float
    params: Params  # W (L, D, C), b (L, C), in the dtype of x
    info: Info
    state: PathState | None


class Path(NamedTuple):
    """Solutions along a path; NumPy arrays, in the order of the penalties given."""

    l2: np.ndarray  # (K,) float64
    params: Params  # W (K, L, D, C), b (K, L, C)
    info: Info  # (K, L) each


def path(x: ArrayLike, labels: ArrayLike, l2s: ArrayLike, **options: Any) -> Path:
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
    x: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
    state: PathState | None = None,
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
        state: Of a point of the same path, after which to go on: only the penalties
            below that point's are visited, with the same bits as without a stop.

    Returns:
        Yields K points, or those that are left. The arguments are checked at once,
        before the first.

    Raises:
        ValueError: As ``newton.solve``, or a penalty comes twice, or the state is one
            of a problem of another shape.
    """
    ordered = np.sort(problem_lib.checked_l2(l2s))[::-1]
    if np.isnan(ordered).any():
        raise ValueError("l2s holds nan; expected finite numbers, at least 0")
    if len(np.unique(ordered)) < len(ordered):
        raise ValueError("l2s holds a value twice; expected each once")
    newton.check_limits(tol, max_newton)
    shape = () if weights is None else np.shape(weights)
    lanes = shape[0] if len(shape) == 2 else 1
    with jax.enable_x64(True):
        problem = problem_lib.prepare(
            x, labels, num_lanes=lanes, weights=weights, num_classes=num_classes
        )
    if state is not None:
        _check_state(state, problem)
        ordered = ordered[ordered < state.solutions[-1].l2]
    return _points(newton.prepare(problem, x, tol, max_newton), ordered, state)


def _check_state(state: PathState, problem: Problem) -> None:
    num_lanes, num_classes = problem.present.shape
    num_rows, num_features = problem.x.shape
    expected = (num_lanes, num_classes, num_features, num_rows)
    W_shape = np.shape(state.solutions[-1].params.W)
    actual = (*W_shape, np.shape(state.primal.probs)[-1])
    if actual != expected:
        raise ValueError(
            f"state is of a path with (lanes, classes, features, rows) {actual}; "
            f"expected {expected}, those of x, labels and weights"
        )


def state_arrays(state: PathState) -> dict[str, np.ndarray]:
    """Returns a state as named arrays, which a file can hold."""
    arrays = {
        "l2": np.array([solution.l2 for solution in state.solutions]),
        "W": np.stack([solution.params.W for solution in state.solutions]),
        "b": np.stack([solution.params.b for solution in state.solutions]),
    }
    for prefix, values in (("primal", state.primal), ("dual", state.dual)):
        for name, array in values._asdict().items():
            arrays[f"{prefix}_{name}"] = np.asarray(array)
    return arrays


def state_from_arrays(arrays: Mapping[str, np.ndarray]) -> PathState:
    """Returns the state that ``state_arrays`` was given, bit for bit."""

    def restored(kind, prefix: str):
        names = kind._fields
        return kind(*(jnp.asarray(arrays[f"{prefix}_{name}"]) for name in names))

    with jax.enable_x64(True):
        solutions = tuple(
            Solution(float(l2), Params(jnp.asarray(W), jnp.asarray(b)))
            for l2, W, b in zip(arrays["l2"], arrays["W"], arrays["b"], strict=True)
        )
        return PathState(solutions, restored(Primal, "primal"), restored(Dual, "dual"))


def _points(
    solver: Solver, l2s: np.ndarray, state: PathState | None
) -> Iterator[Point]:
    for l2 in map(float, l2s):
        # Entered anew for each point: between two of them the caller's code runs.
        with jax.enable_x64(True):
            of_lanes = np.full(len(solver.problem.sample_weights), l2)
            iterate = _start(solver, state, of_lanes)
            progress = status.begin(len(of_lanes))
            iterate = newton.minimize(solver, iterate, of_lanes, progress)
            info = status.info(iterate, progress)
            params = newton.returned(solver, iterate.params)
            earlier = () if state is None else state.solutions
            solutions = (*earlier, Solution(l2, iterate.params))[-MAX_SOLUTIONS:]
            state = PathState(solutions, iterate.primal, iterate.dual)
        yield Point(l2, params, info, state)


def _start(solver: Solver, state: PathState | None, l2: np.ndarray) -> Iterate:
    """Returns the extrapolation, or the last solution in lanes where that is better."""
    problem = solver.problem
    if state is None:
        return newton.evaluate(solver, newton.origin(solver), l2)
    solutions = state.solutions
    factors = _lagrange(solutions, l2[0])
    params = _combined([each.params for each in solutions], factors, solver.dtype)
    # With factors of either sign, biases of minus infinity add up to NaN.
    params = params._replace(b=jnp.where(problem.present, params.b, -jnp.inf))
    guess = newton.evaluate(solver, params, l2)
    last = Iterate(solutions[-1].params, state.primal, state.dual)
    last = _repenalised(problem, last, solutions[-1].l2, jnp.asarray(l2))
    return _better(guess, last)


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


@functools.partial(jax.jit, static_argnames="dtype")
def _combined(params: Sequence[Params], factors: jax.Array, dtype: np.dtype) -> Params:
    def combine(*arrays: jax.Array) -> jax.Array:
        total = jnp.einsum("k...,k->...", jnp.stack(arrays), factors)
        return line_search.rounded(total, dtype)

    return jax.tree.map(combine, *params)


@jax.jit
def _repenalised(
    problem: Problem, iterate: Iterate, before: float, l2: jax.Array
) -> Iterate:
    """Returns objective, gradient and gap with another penalty, without a product."""
    params, primal, dual = iterate
    num_rows = len(problem.x)
    squares = jnp.sum(params.W**2, axis=(1, 2))
    more = 0.5 * (l2 - before) * squares
    gradient = dual.gradient + (l2 - before)[:, None, None] * params.W
    error = rounding.penalty_error(params.W, before + l2, num_rows)
    error = dual.gradient_error + error
    primal = primal._replace(
        best_objective=primal.best_objective + more, objective=primal.objective + more
    )
    gap = certificate.bound(
        gradient, params.W, l2, error, dual.excess, primal.objective, num_rows
    )
    dual = dual._replace(gradient=gradient, gradient_error=error, gap=gap)
    return Iterate(params, primal, dual)


@jax.jit
def _better(guess: Iterate, last: Iterate) -> Iterate:
    chosen = guess.primal.objective <= last.primal.objective
    return compaction.select(chosen, guess, last)
