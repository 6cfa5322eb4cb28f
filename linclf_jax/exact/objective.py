"""The objective at given weights, and the best bias for them.

The best bias is a small convex problem of C numbers in each lane.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import compaction
from linclf_jax.exact.problem import Problem

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
    probs: jax.Array  # (L, C, N), q: those of the best bias after that step
    jacobian: jax.Array  # (L, C, C), the mean softmax Jacobian at the best bias


class DataTerm(NamedTuple):
    """The weighted mean loss at some bias, and the ways from there to the best one."""

    b: jax.Array  # (L, C)
    loss: jax.Array  # (L,)
    residual: jax.Array  # (L, C), its gradient with respect to b
    step: jax.Array  # (L, C), Newton's
    scaling: jax.Array  # (L, C), the step of iterative scaling
    decrement: jax.Array  # (L,) twice of what Newton's step gains by its own model
    probs: jax.Array  # (L, C, N)
    jacobian: jax.Array  # (L, C, C), the weighted mean of the softmax Jacobians


def evaluate(
    problem: Problem,
    W: jax.Array,
    b: jax.Array,
    l2: jax.Array,
    accuracy: float | jax.Array = BIAS_ACCURACY,
) -> Primal:
    """Evaluates the objective, and finds the best bias for ``W``, from ``b`` on.

    Args:
        accuracy: Of the best bias: what may be left of the objective, as a share.
    """
    products = _products(problem, W)
    given = start = _data_term(problem, products, b)
    absent = ~np.asarray(problem.present)
    if np.any(np.asarray(b)[absent] > -np.inf):
        # The best bias of a class that is absent leaves it no probability.
        start = _data_term(problem, products, jnp.where(absent, -jnp.inf, b))
    best = _best(problem, products, start, accuracy)
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
        probs=_corrected(best),
        jacobian=best.jacobian,
    )


def _data_term(problem: Problem, products: jax.Array, b: jax.Array) -> DataTerm:
    """Returns the data term at a bias, given ``x @ W`` as ``(L, C, N)``.

    Two programs, and others for what comes before and after: in one, XLA computes the
    probabilities again for each of their uses, which takes twice the time.
    """
    return _with_steps(problem, b, *_loss_and_probs(problem, products, b))


@jax.jit
def _loss_and_probs(
    problem: Problem, products: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the loss ``(L,)``, its gradient ``(L, C)`` and probs ``(L, C, N)``."""
    weights, targets = problem.sample_weights, problem.targets
    logits = products + b[:, :, None]
    top = jnp.max(logits, axis=1)
    exponentials = jnp.exp(logits - top[:, None])
    total = jnp.sum(exponentials, axis=1)
    # Without the largest, which is 1: a confident row keeps the digits of its loss.
    others = jnp.sum(jnp.where(exponentials < 1.0, exponentials, 0.0), axis=1)
    others = jnp.where(total < 2.0, others, total - 1.0)  # several are the largest
    # Against the largest score, so that a shift of all scores costs no digit and no
    # loss is below 0. Minus infinity times a target of 0 would be NaN.
    finite = jnp.isfinite(b)[:, :, None] & (targets > 0.0)[None]
    behind = jnp.where(finite, targets[None] * (top[:, None] - logits), 0.0)
    behind = jnp.sum(behind, axis=1)
    ruled_out = jnp.where(jnp.isfinite(b), 0.0, 1.0) @ targets > 0.0
    losses = jnp.log1p(others) + jnp.where(ruled_out, jnp.inf, behind)
    # A row without weight may have an infinite loss, if its class is absent.
    weighted = jnp.where(weights > 0.0, weights * losses, weights)
    probs = exponentials / total[:, None]
    residual = jnp.einsum("lcn,ln->lc", residuals(problem, probs)[0], weights)
    residual = jnp.where(problem.present, residual, 0.0)
    return jnp.sum(weighted, axis=1), residual, probs


def residuals(problem: Problem, probs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns ``q_i - t_i`` of each row, equations (8) and (9), ``(L, C, N)``.

    And the sum over all classes but the likeliest target, ``(L, N)``.

    The entry of the likeliest target is minus the sum of the others: next to a target
    of 1 the difference has an absolute error of 1e-16, and the sum a relative one.
    """
    top_target = problem.top_target[None]
    others = jnp.where(top_target, 0.0, probs - problem.targets[None])
    total = jnp.sum(others, axis=1)
    return jnp.where(top_target, -total[:, None], others), total


@jax.jit
def _with_steps(
    problem: Problem,
    b: jax.Array,
    loss: jax.Array,
    residual: jax.Array,
    probs: jax.Array,
) -> DataTerm:
    """Adds both steps that lower the loss."""
    jacobian = _mean_jacobian(problem, probs)
    matrix = regular(jacobian, problem.present)
    step = -jnp.linalg.solve(matrix, residual[:, :, None])[:, :, 0]
    # Where rounding left no step, or a long one, q would be no distribution.
    small = jnp.all(jnp.abs(step) <= LARGEST_CHANGE, axis=1)
    decrement = jnp.where(small, jnp.abs(jnp.sum(residual * step, axis=1)), jnp.inf)
    step = jnp.where(jnp.isfinite(step), step, 0.0)
    mean = jnp.einsum("ln,cn->lc", problem.sample_weights, problem.targets)
    scaling = jnp.log(mean / jnp.maximum(mean + residual, TINY))
    scaling = jnp.where(problem.present, scaling, 0.0)
    return DataTerm(b, loss, residual, step, scaling, decrement, probs, jacobian)


def _best(
    problem: Problem, products: jax.Array, start: DataTerm, accuracy: float | jax.Array
) -> DataTerm:
    """Returns the data term at the best bias, to a decrement of a share of the loss.

    Newton's method in the C biases, and iterative scaling where that fails: where all
    rows are confident Newton's model holds nowhere. Scaling is slow, but it lowers the
    loss from anywhere.
    """
    term, failures = start, jnp.zeros(len(start.b), jnp.int32)
    for _ in range(MAX_EVALUATIONS):
        too_far = np.asarray(term.decrement) > (
            np.asarray(accuracy) * np.asarray(term.loss)
        )
        running = too_far & (np.asarray(failures) < 2)
        if not running.any():
            break
        moved = _data_term(problem, products, _moved(term, failures))
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
    better = running & (moved.loss < term.loss)
    failures = jnp.where(better, 0, failures + running)
    return compaction.select(better, moved, term), failures


def _corrected(term: DataTerm) -> jax.Array:
    """Returns the probabilities after Newton's step to first order, ``(L, C, N)``."""
    step = term.step[:, :, None]
    # As a product: the sum, fused with what follows, took seven times longer.
    mean = jnp.einsum("lcn,lc->ln", term.probs, term.step)
    return term.probs * (1.0 + step - mean[:, None])


def _mean_jacobian(problem: Problem, probs: jax.Array) -> jax.Array:
    """Returns ``sum_i s_i (diag(p_i) - p_i p_i^T)``, equation (7), ``(L, C, C)``."""
    weighted = probs * problem.sample_weights[:, None]
    products = jnp.einsum("lcn,lkn->lck", weighted, probs)
    # From the other classes' entries: 1 - p_j would be 0 once p_j rounds to 1.
    identity = jnp.eye(probs.shape[1])[None]
    products = products * (1.0 - identity)
    diagonal = jnp.sum(products, axis=2)[:, :, None] * identity
    return diagonal - products


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
