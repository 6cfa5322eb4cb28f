"""The objective at given weights and the best bias for them, in float64.

The best bias is a small convex problem of C numbers in each lane. Every evaluation of
it is one pass over the rows, which keeps nothing of their size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import compaction
from linclf_jax.exact import sums as sums_lib
from linclf_jax.exact.problem import Lanes, Problem
from linclf_jax.exact.sums import Sums
from linclf_jax.params import Params

BIAS_ACCURACY = 1e-12  # of the data term: the decrement at the best bias
LARGEST_CHANGE = 0.45  # of a bias in q alone, so that no entry of q is negative
LONGEST_STEP = 4.0  # of Newton's, in a bias
TINY = 1e-300  # a mean probability that is not 0
MAX_EVALUATIONS = 200  # of the data term on the way to the best bias


class Primal(NamedTuple):
    """The objective at given weights, and the best bias for them."""

    b: jax.Array  # (L, C), the best bias; minus infinity where a class is absent
    best_objective: jax.Array  # (L,) with the best bias
    objective: jax.Array  # (L,) with the bias as given
    given_b: jax.Array  # (L, C), the bias as given
    b_change: jax.Array  # (L, C), from the best bias to the one given
    b_cost: jax.Array  # (L,) of that change
    b_gradient: jax.Array  # (L, C), at the best bias: 0 but for what it leaves
    b_step: jax.Array  # (L, C) Newton's, from the best bias to one still better
    decrement: jax.Array  # (L,), at most this far from the optimum of the bias
    jacobian: jax.Array  # (L, C, C), the mean softmax Jacobian at the best bias
    alignment: jax.Array  # (L,), sum_i s_i <t_i - mean t, W x_i>


class DataTerm(NamedTuple):
    """The weighted mean loss at some bias, and the ways from there to the best one."""

    b: jax.Array  # (L, C)
    sums: Sums
    step: jax.Array  # (L, C), Newton's
    scaling: jax.Array  # (L, C), the step of iterative scaling
    decrement: jax.Array  # (L,) twice of what Newton's step gains by its own model


def evaluate(
    problem: Problem, params: Params, l2: jax.Array, accuracy: float
) -> Primal:
    """Evaluates the objective, and finds the best bias for ``W``, from ``b`` on.

    Args:
        params: ``W (L, C, D)``, ``b (L, C)``.
        accuracy: Of the best bias: what may be left of the objective, as a share.
    """
    W, b = params
    given = start = _data_term(problem, W, b)
    absent = ~np.asarray(problem.lanes.present)
    if np.any(np.asarray(b)[absent] > -np.inf):
        # The best bias of a class that is absent leaves it no probability.
        start = _data_term(problem, W, jnp.where(absent, -jnp.inf, b))
    best = _best(problem, W, start, accuracy)
    return _summed(W, l2, given, best)


@jax.jit
def _summed(W: jax.Array, l2: jax.Array, given: DataTerm, best: DataTerm) -> Primal:
    # Squares may leave the range, and are none without a penalty.
    penalty = jnp.where(l2 == 0.0, 0.0, 0.5 * l2 * jnp.sum(W**2, axis=(1, 2)))
    # A step that is too long would give q negative entries: then q is p.
    small = jnp.isfinite(best.decrement)[:, None]
    return Primal(
        b=best.b,
        best_objective=best.sums.loss + penalty,
        objective=given.sums.loss + penalty,
        given_b=given.b,
        # Minus infinity less itself, of a class that both rule out, would be NaN.
        b_change=jnp.where(given.b == best.b, 0.0, given.b - best.b),
        # Infinite where the bias as given rules out a class that has weight.
        b_cost=jnp.maximum(given.sums.loss - best.sums.loss, 0.0),
        b_gradient=best.sums.residual,
        b_step=jnp.where(small, best.step, 0.0),
        decrement=best.decrement,
        jacobian=best.sums.jacobian,
        alignment=best.sums.alignment,
    )


def _data_term(problem: Problem, W: jax.Array, b: jax.Array) -> DataTerm:
    """Returns the data term at a bias."""
    return _with_steps(problem.lanes, b, sums_lib.at(problem, W, b))


@jax.jit
def _with_steps(lanes: Lanes, b: jax.Array, sums: Sums) -> DataTerm:
    """Adds both steps that lower the loss."""
    residual = jnp.where(lanes.present, sums.residual, 0.0)
    matrix = regular(sums.jacobian, lanes.present)
    step = -jnp.linalg.solve(matrix, residual[:, :, None])[:, :, 0]
    # Where rounding left no step, or a long one, q would be no distribution.
    small = jnp.all(jnp.abs(step) <= LARGEST_CHANGE, axis=1)
    decrement = jnp.where(small, jnp.abs(jnp.sum(residual * step, axis=1)), jnp.inf)
    step = jnp.where(jnp.isfinite(step), step, 0.0)
    mean = lanes.target_means
    scaling = jnp.log(mean / jnp.maximum(mean + residual, TINY))
    scaling = jnp.where(lanes.present, scaling, 0.0)
    sums = sums._replace(residual=residual)
    return DataTerm(b, sums, step, scaling, decrement)


def _best(problem: Problem, W: jax.Array, start: DataTerm, accuracy: float) -> DataTerm:
    """Returns the data term at the best bias, to a decrement of a share of the loss.

    Newton's method in the C biases, and iterative scaling where that fails: where all
    rows are confident Newton's model holds nowhere. Scaling is slow, but it lowers the
    loss from anywhere.
    """
    term, failures = start, jnp.zeros(len(start.b), jnp.int32)
    for _ in range(MAX_EVALUATIONS):
        too_far = np.asarray(term.decrement) > accuracy * np.asarray(term.sums.loss)
        running = too_far & (np.asarray(failures) < 2)
        if not running.any():
            break
        moved = _data_term(problem, W, _moved(term, failures))
        term, failures = _better(moved, term, failures, jnp.asarray(running))
    return term


@jax.jit
def _moved(term: DataTerm, failures: jax.Array) -> jax.Array:
    """Returns the bias after Newton's step, or after scaling where that has failed."""
    longest = jnp.max(jnp.abs(term.step), axis=1, keepdims=True)
    newton = term.step / jnp.maximum(longest / LONGEST_STEP, 1.0)
    return term.b + jnp.where(failures[:, None] == 0, newton, term.scaling)


@jax.jit
def _better(
    moved: DataTerm, term: DataTerm, failures: jax.Array, running: jax.Array
) -> tuple[DataTerm, jax.Array]:
    """Keeps the lower loss, and counts the steps from there that have failed."""
    better = running & (moved.sums.loss < term.sums.loss)
    failures = jnp.where(better, 0, failures + running)
    return compaction.select(better, moved, term), failures


def regular(jacobian: jax.Array, present: jax.Array) -> jax.Array:
    """Fills the null space of mean Jacobians: the common shift, and absent classes.

    What is returned acts as ``jacobian (L, C, C)`` on vectors that sum to 0.
    """
    count = jnp.sum(present, axis=1)
    scale = jnp.trace(jacobian, axis1=1, axis2=2) / count
    scale = jnp.where(scale > 0.0, scale, 1.0)[:, None]
    both = present[:, :, None] & present[:, None, :]
    shift = jnp.where(both, (scale / count[:, None])[:, :, None], 0.0)
    identity = jnp.eye(present.shape[1])[None]
    absent = jnp.where(present, 0.0, scale)[:, :, None] * identity
    return jacobian + shift + absent
