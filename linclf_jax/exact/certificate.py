"""How far parameters are from the optimum, proved in float64.

The objective is convex, so dual variables bound its minimum from below. Probabilities
``q`` of each row give some, ``q - t``, if their mean is that of the targets: the bias
is not penalised. Primal minus dual objective is then

    gap = ||sum_i s_i x_i (q_i - t_i)^T + l2 W||^2 / (2 l2) + sum_i s_i KL(q_i || p_i).

With the model's own probabilities p this is ``||grad_W||^2 / (2 l2)`` and nothing else,
and p qualifies at the best bias. So the bias is moved to its optimum by Newton's
method, and what that gains is added to the gap: it belongs to the parameters as given.
The last step is made in q alone, ``q = p (1 + d - p.d)``. That makes the means equal to
rounding, and KL(q || p) is at most ``sum_j p_j (d_j - p.d)^2``, whose mean over rows is
the Newton decrement. What rounding can hide of all this is bounded in ``rounding`` and
part of the gap. Without a penalty there is no bound, and the gap is infinite.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import bias as bias_lib
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import rounding
from linclf_jax.exact.bias import DataTerm
from linclf_jax.exact.problem import Problem
from linclf_jax.params import Params

BIAS_ACCURACY = 1e-12  # of the data term: the decrement at the best bias


class Certificate(NamedTuple):
    """What is proved of each lane; float64 NumPy arrays."""

    objective: np.ndarray  # (L,) of the parameters as given
    gap: np.ndarray  # (L,) it is at most this far above the optimum
    gradient_norm: np.ndarray  # (L,) of W, with the best bias


class Primal(NamedTuple):
    """The objective at given weights, and the best bias for them."""

    b: jax.Array  # (L, C), the best bias; minus infinity where a class is absent
    best_objective: jax.Array  # (L,) with the best bias
    objective: jax.Array  # (L,) with the bias as given
    given_b: jax.Array  # (L, C), the bias as given
    b_change: jax.Array  # (L, C), from the best bias to the one given
    b_cost: jax.Array  # (L,) of that change, infinite where it is not known
    b_gradient: jax.Array  # (L, C), at the best bias: 0 but for what it leaves
    b_step: jax.Array  # (L, C) Newton's, from the best bias to one still better
    decrement: jax.Array  # (L,), at most this far from the optimum of the bias
    probs: jax.Array  # (L, C, N), q: those of the best bias after that step
    jacobian: jax.Array  # (L, C, C), the mean softmax Jacobian at the best bias


class Dual(NamedTuple):
    """The gradient at the best bias, and the gap that it proves."""

    gradient: jax.Array  # (L, C, D) with respect to W
    gradient_error: jax.Array  # (L,) norm of what rounding may hide of it
    excess: jax.Array  # (L,) what the bias and rounding add to the gap
    gap: jax.Array  # (L,) of the parameters as given


def certify(
    params: Params,
    x: ArrayLike,
    labels: ArrayLike,
    l2: ArrayLike,
    weights: ArrayLike | None = None,
) -> Certificate:
    """Proves how far parameters are from the optimum, whatever they come from.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``, floating. A bias of minus infinity is
            allowed for classes that have no weight.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers or soft targets ``(N, C)``.
        l2: ``(L,)``.
        weights: ``(N,)``, ``(L, N)`` or None.

    Returns:
        The certificate, computed in float64 whether or not the process has 64-bit
        types on. Memory: two arrays ``(L, C, N)``.

    Raises:
        ValueError: An argument has another shape or holds impossible values.
    """
    l2 = problem_lib.checked_l2(l2)
    with jax.enable_x64(True):
        lanes, _, classes = shape = _shape(params, x, l2)
        problem = problem_lib.prepare(
            x, labels, num_lanes=lanes, weights=weights, num_classes=classes
        )
        W, b = problem_lib.checked_params(params, shape)
        primal = evaluate_primal(problem, W, b, jnp.asarray(l2))
        dual = evaluate_dual(problem, W, primal, jnp.asarray(l2))
        return summary(primal, dual)


def summary(primal: Primal, dual: Dual) -> Certificate:
    """Returns the certificate, as NumPy arrays.

    Args:
        primal: At some parameters.
        dual: At the same.
    """
    return Certificate(*map(np.asarray, _summary(primal, dual)))


@jax.jit
def _summary(primal: Primal, dual: Dual) -> tuple[jax.Array, ...]:
    norm = jnp.sqrt(jnp.sum(dual.gradient**2, axis=(1, 2)))
    return primal.objective, dual.gap, norm


def evaluate_primal(
    problem: Problem,
    W: jax.Array,
    b: jax.Array,
    l2: jax.Array,
    accuracy: float | jax.Array = BIAS_ACCURACY,
) -> Primal:
    """Evaluates the objective, and finds the best bias for ``W``.

    Args:
        problem: Of L lanes.
        W: ``(L, C, D)`` float64.
        b: ``(L, C)`` float64, where the search for the best bias starts.
        l2: ``(L,)`` float64.
        accuracy: Of the best bias: what may be left of the objective, as a share.
    """
    products = _products(problem, W)
    given = start = bias_lib.evaluate(problem, products, b)
    absent = ~np.asarray(problem.present)
    if np.any(np.asarray(b)[absent] > -np.inf):
        # The best bias of a class that is absent leaves it no probability.
        start = bias_lib.evaluate(problem, products, jnp.where(absent, -jnp.inf, b))
    best = bias_lib.best(problem, products, start, accuracy)
    return _summed(W, l2, given, best)


@jax.jit
def _products(problem: Problem, W: jax.Array) -> jax.Array:
    return jnp.einsum("lcd,nd->lcn", W, problem.x, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _summed(W: jax.Array, l2: jax.Array, given: DataTerm, best: DataTerm) -> Primal:
    penalty = 0.5 * l2 * jnp.sum(W**2, axis=(1, 2))
    # A step that is too long would give q negative entries: then q is p.
    small = jnp.isfinite(best.decrement)[:, None]
    best = best._replace(step=jnp.where(small, best.step, 0.0))
    return Primal(
        b=best.b,
        best_objective=best.loss + penalty,
        objective=given.loss + penalty,
        given_b=given.b,
        # Minus infinity less itself, of a class that both rule out, would be NaN.
        b_change=jnp.where(given.b == best.b, 0.0, given.b - best.b),
        # Infinite where the bias as given rules out a class that has weight.
        b_cost=jnp.maximum(given.loss - best.loss, 0.0),
        b_gradient=best.residual,
        b_step=best.step,
        decrement=best.decrement,
        probs=bias_lib.corrected(best),
        jacobian=best.jacobian,
    )


def evaluate_dual(
    problem: Problem, W: jax.Array, primal: Primal, l2: jax.Array
) -> Dual:
    """Evaluates the gradient with respect to W at the best bias, and the gap.

    Args:
        problem: Of L lanes.
        W: ``(L, C, D)`` float64.
        primal: At ``W``.
        l2: ``(L,)`` float64.
    """
    gradient, means, others = _gradient(problem, W, primal, l2)
    point = rounding.Point(
        W=W,
        b=primal.b,
        others=others,
        means=means,
        b_step=primal.b_step,
        given_b=primal.given_b,
        b_change=primal.b_change,
        b_cost=primal.b_cost,
        losses=primal.best_objective + primal.objective,
        b_gradient=primal.b_gradient,
        jacobian=primal.jacobian,
    )
    error, excess = rounding.slack(problem, point)
    gap = bound(gradient, W, l2, error, excess, primal.objective, len(problem.x))
    return Dual(gradient, error, excess, gap)


@jax.jit
def _gradient(
    problem: Problem, W: jax.Array, primal: Primal, l2: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradient with respect to W, and what its rounding is relative to.

    That is the mean residuals ``(L, C)``, which are 0 but for rounding, and of each row
    the sum of all residuals but that of the likeliest target, ``(L, N)``.
    """
    residual, others = bias_lib.residuals(problem, primal.probs)
    residual = residual * problem.sample_weights[:, None]
    gradient = jnp.einsum(
        "lcn,nd->lcd", residual, problem.x, precision=jax.lax.Precision.HIGHEST
    )
    return gradient + l2[:, None, None] * W, jnp.sum(residual, axis=2), others


@functools.partial(jax.jit, static_argnames="num_rows")
def bound(
    gradient: jax.Array,
    W: jax.Array,
    l2: jax.Array,
    gradient_error: jax.Array,
    excess: jax.Array,
    objective: jax.Array,
    num_rows: int,
) -> jax.Array:
    """Returns the gap, ``(L,)``; NaN for parameters whose objective is NaN.

    Args:
        gradient: ``(L, C, D)`` with respect to W.
        W: ``(L, C, D)``.
        l2: ``(L,)``.
        gradient_error: ``(L,)``, norm of what rounding may hide of the gradient.
        excess: ``(L,)``, what is added.
        objective: ``(L,)``.
        num_rows: N.
    """
    total = rounding.gap(gradient, W, l2, gradient_error, num_rows) + excess
    total = total * (1.0 + rounding.FEW * rounding.UNIT)
    return jnp.where(jnp.isnan(objective), jnp.nan, total)


def _shape(params: Params, x: ArrayLike, l2: np.ndarray) -> tuple[int, int, int]:
    """Returns L, D and C that the parameters should have, C from the bias."""
    b = np.shape(params.b)
    if len(b) != 2:
        raise ValueError(f"b has shape {b}; expected (L, C), lanes in front")
    return len(l2), np.shape(x)[-1], b[1]
