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

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import objective as objective_lib
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import rounding
from linclf_jax.exact import sums as sums_lib
from linclf_jax.exact.objective import BIAS_ACCURACY, Primal
from linclf_jax.exact.problem import Lanes, Problem
from linclf_jax.exact.sums import Gradient
from linclf_jax.params import Params


class Certificate(NamedTuple):
    """What is proved of each lane; float64 NumPy arrays."""

    objective: np.ndarray  # (L,) of the parameters as given
    gap: np.ndarray  # (L,) it is at most this far above the optimum
    gradient_norm: np.ndarray  # (L,) of W, with the best bias


class Dual(NamedTuple):
    """The gradient at the best bias, and the gap that it proves."""

    gradient: jax.Array  # (L, C, D) with respect to W
    gradient_error: jax.Array  # (L,) norm of what rounding may hide of it
    excess: jax.Array  # (L,) what the bias and rounding add to the gap
    gap: jax.Array  # (L,) of the parameters as given


class Iterate(NamedTuple):
    """Parameters of all lanes, with their objective and its gradient."""

    params: Params  # W (L, C, D), b (L, C): float64, with values of the result's dtype
    primal: Primal
    dual: Dual


def certify(
    params: Params,
    x: ArrayLike,
    labels: ArrayLike,
    l2: ArrayLike,
    weights: ArrayLike | None = None,
) -> Certificate:
    """Proves how far parameters are from the optimum, whatever they come from.

    In float64 whether or not the process has 64-bit types on.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``, floating. A bias of minus infinity is
            allowed for classes that have no weight.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers or soft targets ``(N, C)``.
        l2: ``(L,)``.
        weights: ``(N,)``, ``(L, N)`` or None.

    Raises:
        ValueError: An argument has another shape or holds impossible values.
    """
    l2 = problem_lib.checked_l2(l2)
    with jax.enable_x64(True):
        problem, params = problem_lib.prepare_with(params, x, labels, l2, weights)
        return summary(evaluate(problem, params, jnp.asarray(l2), BIAS_ACCURACY))


def summary(iterate: Iterate) -> Certificate:
    """Returns the certificate of an iterate."""
    return Certificate(*map(np.asarray, _summary(iterate.primal, iterate.dual)))


@jax.jit
def _summary(primal: Primal, dual: Dual) -> tuple[jax.Array, ...]:
    norm = jnp.sqrt(jnp.sum(dual.gradient**2, axis=(1, 2)))
    return primal.objective, dual.gap, norm


def evaluate(
    problem: Problem, params: Params, l2: jax.Array, accuracy: float
) -> Iterate:
    """Evaluates objective, gradient and gap; accuracy is that of the best bias."""
    primal = objective_lib.evaluate(problem, params, l2, accuracy)
    return Iterate(params, primal, evaluate_dual(problem, params.W, primal, l2))


def evaluate_dual(
    problem: Problem, W: jax.Array, primal: Primal, l2: jax.Array
) -> Dual:
    """Evaluates the gradient with respect to W at the best bias, and the gap."""
    sums = sums_lib.gradient(problem, W, primal.b, primal.b_step)
    return _dual(problem.lanes, W, primal, l2, sums)


@jax.jit
def _dual(
    lanes: Lanes, W: jax.Array, primal: Primal, l2: jax.Array, sums: Gradient
) -> Dual:
    gradient = sums.W + l2[:, None, None] * W
    error, excess = rounding.slack(lanes, W, primal, sums)
    gap = bound(gradient, W, l2, error, excess, primal.objective, lanes.num_rows)
    return Dual(gradient, error, excess, gap)


@jax.jit
def bound(
    gradient: jax.Array,
    W: jax.Array,
    l2: jax.Array,
    gradient_error: jax.Array,
    excess: jax.Array,
    objective: jax.Array,
    num_rows: jax.Array,
) -> jax.Array:
    """Returns the gap, ``(L,)``; NaN for parameters whose objective is NaN.

    The other arguments are fields of ``Dual`` and ``Primal``.
    """
    total = rounding.gap(gradient, W, l2, gradient_error, num_rows) + excess
    total = total * (1.0 + rounding.FEW * rounding.UNIT)
    return jnp.where(jnp.isnan(objective), jnp.nan, total)
