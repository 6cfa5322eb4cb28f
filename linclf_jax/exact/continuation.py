"""A regularisation path followed from the strongest penalty to the weakest."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import (
    certificate,
    lanewise,
    newton,
    newton_step,
    rounding,
    verdicts,
)
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact.newton import Solver
from linclf_jax.exact.newton_step import Iterate
from linclf_jax.exact.problem import Problem
from linclf_jax.exact.verdicts import Info
from linclf_jax.params import Params

# Solutions that a start is extrapolated from. A path is smooth in the logarithm of l2:
# a parabola through three solutions saves most of the Newton steps; four bring nothing.
REMEMBERED = 3


class Point(NamedTuple):
    """The solutions of all lanes at one penalty."""

    l2: float
    params: Params  # W (L, D, C), b (L, C), in the dtype of x
    info: Info


class Memory(NamedTuple):
    """A solution that later starts are extrapolated from."""

    l2: float
    params: Params  # float64 W (L, C, D), b (L, C)


def follow(
    x: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
) -> Iterator[Point]:
    """Solves all lanes at one penalty after the other, each started from those before.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers from 0, or soft targets ``(N, C)``.
        l2s: ``(K,)``, at least 0, none twice; visited from the largest.
        weights: ``(L, N)`` for L lanes; ``(N,)`` or None for one.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps of a lane at one penalty.

    Returns:
        Yields K points. The arguments are checked at once, before the first.

    Raises:
        ValueError: As ``newton.solve``, or a penalty comes twice.
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
    dtype = problem_lib.result_type(x)
    with jax.enable_x64(True):
        solver = newton.prepare(problem, dtype)
    return _points(solver, ordered, tol, max_newton)


def _points(
    solver: Solver, l2s: np.ndarray, tol: float, max_newton: int
) -> Iterator[Point]:
    memories: list[Memory] = []
    iterate = None
    for l2 in map(float, l2s):
        # Entered anew for each point: between two of them the caller's code runs.
        with jax.enable_x64(True):
            every = np.full(len(solver.problem.shares), l2)
            iterate = _start(solver, memories, iterate, every)
            progress = verdicts.begin(len(every))
            iterate = newton.minimize(
                solver, iterate, every, progress, tol=tol, max_newton=max_newton
            )
            info = verdicts.info(iterate, progress)
            params = newton.returned(solver, iterate.params)
            memories = [*memories, Memory(l2, iterate.params)][-REMEMBERED:]
        yield Point(l2, params, info)


def _start(
    solver: Solver,
    memories: Sequence[Memory],
    previous: Iterate | None,
    l2: np.ndarray,
) -> Iterate:
    """Returns an extrapolation, or the last solution where that is better."""
    problem = solver.problem
    if previous is None:
        return newton_step.evaluate(problem, newton.origin(solver), jnp.asarray(l2))
    factors = _lagrange(memories, l2[0])
    params = _combined([memory.params for memory in memories], factors, solver.dtype)
    # Three minus infinities do not add up to one.
    params = params._replace(b=jnp.where(problem.present, params.b, -jnp.inf))
    guess = newton_step.evaluate(problem, params, jnp.asarray(l2))
    return _better(
        guess, _repenalised(problem, previous, memories[-1].l2, jnp.asarray(l2))
    )


def _lagrange(memories: Sequence[Memory], l2: float) -> np.ndarray:
    """Returns the factors of the polynomial in log l2 through the solutions."""
    if l2 == 0.0:
        return np.eye(len(memories))[-1]
    at = np.log([memory.l2 for memory in memories])
    others = [np.delete(at, i) for i in range(len(at))]
    return np.array(
        [
            np.prod((np.log(l2) - rest) / (own - rest))
            for own, rest in zip(at, others, strict=True)
        ]
    )


@functools.partial(jax.jit, static_argnames="dtype")
def _combined(params: Sequence[Params], factors: jax.Array, dtype: np.dtype) -> Params:
    def combine(*arrays: jax.Array) -> jax.Array:
        total = jnp.einsum("k...,k->...", jnp.stack(arrays), factors)
        return newton_step.rounded(total, dtype)

    return jax.tree.map(combine, *params)


@jax.jit
def _repenalised(
    problem: Problem, iterate: Iterate, before: float, l2: jax.Array
) -> Iterate:
    """Returns what both passes would say with another penalty; no product is needed."""
    params, ahead, back = iterate
    num_rows = len(problem.x)
    squares = jnp.sum(params.W**2, axis=(1, 2))
    more = 0.5 * (l2 - before) * squares
    gradient = back.gradient + (l2 - before)[:, None, None] * params.W
    missing = back.missing + rounding.penalty_error(params.W, before + l2, num_rows)
    ahead = ahead._replace(best=ahead.best + more, objective=ahead.objective + more)
    gap = certificate.bound(
        gradient, params.W, l2, missing, back.excess, ahead.objective, num_rows
    )
    back = back._replace(gradient=gradient, missing=missing, gap=gap)
    return Iterate(params, ahead, back)


@jax.jit
def _better(guess: Iterate, last: Iterate) -> Iterate:
    chosen = guess.ahead.objective <= last.ahead.objective
    return lanewise.select(chosen, guess, last)
