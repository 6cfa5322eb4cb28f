"""How far each lane follows its Newton direction: halved until the objective falls."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import certificate, compaction, objective
from linclf_jax.exact.axes import Axes
from linclf_jax.exact.certificate import Iterate
from linclf_jax.exact.objective import Primal
from linclf_jax.exact.problem import Problem, Solver
from linclf_jax.params import Params

MAX_HALVINGS = 30
SUFFICIENT = 1e-4  # Armijo's share of the decrease that the slope promises
NOISE = 4 * np.finfo(np.float64).eps  # of an objective
BIAS_SHARE = 0.05  # of the tolerance, that the best bias may leave after a step
FINEST_BIAS = 1e-13  # of the data term; below it rounding hides what is gained


class Change(NamedTuple):
    """Where a whole step leads, in the features' own basis."""

    W: jax.Array  # (L, C, D)
    b: jax.Array  # (L, C)
    slope: jax.Array  # (L,) of the objective


def search(solver: Solver, iterate: Iterate, change: Change, l2: jax.Array) -> Iterate:
    """Halves the step of every lane whose objective would not fall as it should."""
    problem, axes, dtype = solver.problem, solver.axes, solver.dtype
    size = jnp.ones(len(l2))
    accuracy = _bias_accuracy(axes, iterate, l2, solver.tol)
    for _ in range(MAX_HALVINGS):
        params = _moved(problem, axes, iterate.params, change, size, dtype=dtype)
        primal = objective.evaluate(problem, params.W, params.b, l2, accuracy)
        moved, accepted = _accepted(problem, iterate, change, size, primal, dtype=dtype)
        if np.asarray(accepted).all():
            break
        size = jnp.where(accepted, size, 0.5 * size)
    else:
        unmoved = iterate.params.b, iterate.primal
        moved = compaction.select(accepted, moved, unmoved)
        params = compaction.select(accepted, params, iterate.params)
    b, primal = moved
    dual = certificate.evaluate_dual(problem, params.W, primal, l2)
    return Iterate(Params(params.W, b), primal, dual)


@jax.jit
def _bias_accuracy(
    axes: Axes, iterate: Iterate, l2: jax.Array, tol: float
) -> jax.Array:
    """Returns what the best bias may leave, ``(L,)``, as a share of the data term.

    It counts in the gap once as it is, and once as an error of the gradient of second
    order, which the square of the spread and a weak penalty magnify.
    """
    magnified = BIAS_SHARE * tol * l2 / (iterate.primal.objective * axes.spread)
    return jnp.maximum(jnp.minimum(BIAS_SHARE * tol, jnp.sqrt(magnified)), FINEST_BIAS)


@functools.partial(jax.jit, static_argnames="dtype")
def _moved(
    problem: Problem,
    axes: Axes,
    params: Params,
    change: Change,
    size: jax.Array,
    *,
    dtype: np.dtype,
) -> Params:
    """Returns the parameters after a part of the step."""
    W = centred(problem.present, params.W)
    if axes.basis.shape[0] > axes.basis.shape[1]:
        # The optimum has no component outside the space that the rows span.
        W = jnp.einsum("lcd,dr,er->lce", W, axes.basis, axes.basis, optimize=True)
    W = rounded(W + size[:, None, None] * change.W, dtype)
    b = params.b + size[:, None] * change.b
    return Params(W, jnp.where(problem.present, b, -jnp.inf))


@functools.partial(jax.jit, static_argnames="dtype")
def _accepted(
    problem: Problem,
    iterate: Iterate,
    change: Change,
    size: jax.Array,
    primal: Primal,
    *,
    dtype: np.dtype,
) -> tuple[tuple[jax.Array, Primal], jax.Array]:
    """Takes the best bias, and says where the objective has fallen as it should."""
    b = rounded(primal.b, dtype)
    primal = with_bias(problem, primal, b)
    before = iterate.primal.objective
    allowed = SUFFICIENT * size * change.slope + NOISE * jnp.abs(before)
    return (b, primal), primal.objective <= before + allowed


def rounded(array: jax.Array, dtype: np.dtype) -> jax.Array:
    """Returns the nearest values that a result of that dtype can hold, in float64."""
    return array.astype(dtype).astype(jnp.float64)


def with_bias(problem: Problem, primal: Primal, b: jax.Array) -> Primal:
    """Accounts for a bias that is the best one but for rounding.

    Where the bias moves by d with a range of r, no third derivative of a row's loss
    exceeds r times the second. So it lies above its tangent by at most e^r / 2 times
    d.J d (Bach, Self-concordant analysis for logistic regression, 2010).
    """
    change = jnp.where(problem.present, b - primal.b, 0.0)
    reach = jnp.max(change, axis=1) - jnp.min(change, axis=1)
    curvature = jnp.einsum("lc,lck,lk->l", change, primal.jacobian, change)
    tangent = jnp.sum(primal.b_gradient * change, axis=1)
    cost = jnp.maximum(tangent + 0.5 * jnp.exp(reach) * curvature, 0.0)
    return primal._replace(
        objective=primal.best_objective + cost,
        given_b=b,
        b_change=change,
        # Not known by a difference of losses: the certificate bounds it by the change.
        b_cost=jnp.full_like(cost, jnp.inf),
    )


def centred(present: jax.Array, array: jax.Array) -> jax.Array:
    """Takes away the mean over the classes, which changes no probability.

    The optimum has a mean of 0, and weights of 0 for classes that are absent.
    """
    mask = present[:, :, None]
    mean = jnp.sum(jnp.where(mask, array, 0.0), axis=1, keepdims=True)
    mean = mean / jnp.sum(mask, axis=1, keepdims=True)
    return jnp.where(mask, array - mean, 0.0)
