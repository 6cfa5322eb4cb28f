"""Peers of ``benchmarks.path``: solvers that follow a path one fit at a time.

A peer takes some rows and returns ``fit(l2, tolerance)``, which starts where the fit
before it ended, as its users would. What can be done once for all fits, such as
compiling, is done before, and nobody times it.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.problems import Problem
from linclf_jax import losses
from linclf_jax.params import Params
from linclf_jax.scheduler import memory

MAX_ITERATIONS = 100_000  # no limit in practice: a solver stops by its tolerance
PATIENCE = 20  # iterations of optax without a lower objective, the end of float32
LOSS = "softmax_cross_entropy"


class Fitted(NamedTuple):
    """One solution."""

    params: Params  # W (1, D, C), b (1, C), NumPy
    iterations: int


Fit = Callable[[float, float], Fitted]
Peer = Callable[[np.ndarray, np.ndarray], Fit]  # of features and labels


def refusal(name: str, problem: Problem) -> str | None:
    """Returns why a peer cannot take a problem, None if it can."""
    if not name.startswith("newton-cholesky"):
        return None
    unknowns = (problem.x.shape[1] + 1) * problem.num_classes
    needed = 2 * 8 * unknowns**2  # SciPy solves with a copy
    left = memory.host_available()
    if needed <= left:
        return None
    sizes = memory.format_size(needed), memory.format_size(left)
    return f"skipped: its Hessian and a copy take {sizes[0]}, {sizes[1]} is left"


def _scikit_learn(solver: str, dtype: str, x: np.ndarray, labels: np.ndarray) -> Fit:
    from sklearn import linear_model

    model: Any = linear_model.LogisticRegression(
        solver=solver, max_iter=MAX_ITERATIONS, warm_start=True
    )
    x = x.astype(dtype)

    def fit(l2: float, tolerance: float) -> Fitted:
        model.set_params(C=1.0 / (l2 * len(x)), tol=tolerance)
        # How well it converged is for the certificate to say.
        with warnings.catch_warnings(action="ignore"):
            model.fit(x, labels)
        params = Params(model.coef_.T[None], model.intercept_[None])
        return Fitted(params, int(np.max(model.n_iter_)))

    return fit


class _Search(NamedTuple):
    """What optax carries from one iteration to the next."""

    params: Params
    state: Any
    largest: jax.Array  # of the gradient's entries, absolute
    lowest: jax.Array  # objective so far
    vain: jax.Array  # iterations since then
    iterations: jax.Array


def _optax(dtype: str, x: np.ndarray, labels: np.ndarray) -> Fit:
    with jax.enable_x64(dtype == "float64"):
        data = jnp.asarray(x, dtype), jnp.asarray(labels)
        classes = int(labels.max()) + 1
        start = Params(
            jnp.zeros((x.shape[1], classes), dtype), jnp.zeros(classes, dtype)
        )
        minimise = jax.jit(_minimise).lower(start, *data, 1.0, 1.0).compile()

    def fit(l2: float, tolerance: float) -> Fitted:
        nonlocal start
        with jax.enable_x64(dtype == "float64"):
            start, iterations = minimise(start, *data, l2, tolerance)
            params = jax.tree.map(lambda array: np.asarray(array)[None], start)
        return Fitted(params, int(iterations))

    return fit


def _minimise(
    params: Params, x: jax.Array, labels: jax.Array, l2: jax.Array, tolerance: jax.Array
) -> tuple[Params, jax.Array]:
    """Minimises until no entry of the gradient exceeds the tolerance."""
    solver = optax.lbfgs()
    objective = functools.partial(
        losses.objective, x=x, labels=labels, loss=LOSS, l2=l2, precision="highest"
    )
    value_and_gradient = optax.value_and_grad_from_state(objective)

    def proceed(search: _Search) -> jax.Array:
        unfinished = (search.largest > tolerance) & (search.vain < PATIENCE)
        return unfinished & (search.iterations < MAX_ITERATIONS)

    def step(search: _Search) -> _Search:
        params, state = search.params, search.state
        value, gradient = value_and_gradient(params, state=state)
        updates, state = solver.update(
            *(gradient, state, params),
            value=value,
            grad=gradient,
            value_fn=objective,
        )
        # The line search has left the gradient at the new parameters.
        largest = optax.tree.norm(optax.tree.get(state, "grad"), ord=jnp.inf)
        vain = jnp.where(value < search.lowest, 0, search.vain + 1)
        lowest = jnp.minimum(value, search.lowest)
        params = jax.tree.map(jnp.add, params, updates)
        return _Search(params, state, largest, lowest, vain, search.iterations + 1)

    infinite = jnp.asarray(jnp.inf, x.dtype)
    none = jnp.zeros((), int)
    first = _Search(params, solver.init(params), infinite, infinite, none, none)
    last = jax.lax.while_loop(proceed, step, first)
    return last.params, last.iterations


# By solver and the type that it computes in. The likely fastest stand first: they limit
# those after them.
PEERS: dict[str, Peer] = {
    "newton-cg:float64": functools.partial(_scikit_learn, "newton-cg", "float64"),
    "lbfgs:float64": functools.partial(_scikit_learn, "lbfgs", "float64"),
    "newton-cholesky:float64": functools.partial(
        _scikit_learn, "newton-cholesky", "float64"
    ),
    "newton-cg:float32": functools.partial(_scikit_learn, "newton-cg", "float32"),
    "lbfgs:float32": functools.partial(_scikit_learn, "lbfgs", "float32"),
    "optax-lbfgs:float64": functools.partial(_optax, "float64"),
    "optax-lbfgs:float32": functools.partial(_optax, "float32"),
}
