"""Sums over the rows in float64, which certificates are made of.

Nothing of the size of the rows is kept: every pass computes the scores again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax.exact import rows as rows_lib
from linclf_jax.exact.problem import Problem
from linclf_jax.exact.rows import Block

HIGHEST = jax.lax.Precision.HIGHEST


class Sums(NamedTuple):
    """Weighted sums over the rows at some bias."""

    loss: jax.Array  # (L,)
    residual: jax.Array  # (L, C), the gradient with respect to b
    jacobian: jax.Array  # (L, C, C), softmax Jacobians
    alignment: jax.Array  # (L,), sum_i s_i <t_i - mean t, W x_i>


class Gradient(NamedTuple):
    """Weighted sums over the rows with q, the probabilities at the best bias.

    After Newton's step of the bias to first order. The others are what rounding is
    relative to: ``o_i`` is the sum of ``q_ij - t_ij`` but for the likeliest target.
    """

    W: jax.Array  # (L, C, D), the gradient of the data term
    means: jax.Array  # (L, C), of the residuals, which are 0 but for rounding
    of_top: jax.Array  # (L, C), the o_i of the rows of a class
    of_others: jax.Array  # (L, C), of targets that are not the likeliest
    others: jax.Array  # (L,), of o_i
    squares: jax.Array  # (L,), of the sizes that o_i stands for


def at(problem: Problem, W: jax.Array, b: jax.Array) -> Sums:
    """Returns the sums at ``W (L, C, D)`` and ``b (L, C)``."""
    lanes, classes = b.shape
    sums = Sums(
        rows_lib.zeros(lanes),
        rows_lib.zeros((lanes, classes)),
        rows_lib.zeros((lanes, classes, classes)),
        rows_lib.zeros(lanes),
    )
    for block in problem.blocks:
        sums = _add_sums(block, problem.lanes.target_means, W, b, sums)
    return sums


@jax.jit
def _add_sums(
    block: Block, target_means: jax.Array, W: jax.Array, b: jax.Array, sums: Sums
) -> Sums:
    identity = jnp.eye(b.shape[1])[None]

    def add(chunk: Block, number: jax.Array, sums: Sums) -> Sums:
        del number
        weights, products = chunk.sample_weights, _products(chunk, W)
        losses, probs = _losses_and_probs(chunk, products, b)
        # A row without weight may have an infinite loss, if its class is absent.
        weighted = jnp.where(weights > 0.0, weights * losses, weights)
        residual = _residuals(chunk, probs)[0] * weights[:, None]
        of_rows = jnp.einsum("lcm,lkm->lck", probs * weights[:, None], probs)
        # From the other classes' entries: 1 - p_j would be 0 once p_j rounds to 1.
        of_rows = of_rows * (1.0 - identity)
        aligned = _of_target(chunk, products) - jnp.einsum(
            "lcm,lc->lm", products, target_means
        )
        return Sums(
            sums.loss + jnp.sum(weighted, axis=1),
            sums.residual + jnp.sum(residual, axis=2),
            sums.jacobian + jnp.sum(of_rows, axis=2)[:, :, None] * identity - of_rows,
            sums.alignment + jnp.sum(weights * aligned, axis=1),
        )

    return rows_lib.add_up(block, sums, add)


def gradient(problem: Problem, W: jax.Array, b: jax.Array, step: jax.Array) -> Gradient:
    """Evaluates the gradient with respect to W after a step of the bias from ``b``."""
    lanes, classes = b.shape
    sums = Gradient(
        rows_lib.zeros(W.shape),
        *rows_lib.zeros((3, lanes, classes)),
        *rows_lib.zeros((2, lanes)),
    )
    for block in problem.blocks:
        sums = _add_gradient(block, W, b, step, sums)
    return sums


@jax.jit
def _add_gradient(
    block: Block, W: jax.Array, b: jax.Array, step: jax.Array, sums: Gradient
) -> Gradient:
    def add(chunk: Block, number: jax.Array, sums: Gradient) -> Gradient:
        del number
        weights = chunk.sample_weights
        residual, others = _residuals(chunk, dual_point(chunk, W, b, step))
        residual = residual * weights[:, None]
        size, of_others = others, jnp.zeros_like(b)
        top = _is_top_target(chunk, b.shape[1])
        if chunk.targets is not None:
            rest = jnp.where(top, 0.0, chunk.targets)
            size = others + 2.0 * jnp.sum(rest, axis=1)
            of_others = jnp.sum(weights[:, None] * rest, axis=2)
        weighted = weights * size
        flat = residual.reshape(-1, residual.shape[2])
        product = jnp.matmul(flat, chunk.x.astype(flat.dtype), precision=HIGHEST)
        parts = Gradient(
            product.reshape(W.shape),
            jnp.sum(residual, axis=2),
            jnp.sum(jnp.where(top, weighted[:, None], 0.0), axis=2),
            of_others,
            jnp.sum(weighted, axis=1),
            jnp.sum(weighted * size, axis=1),
        )
        return jax.tree.map(jnp.add, sums, parts)

    return rows_lib.add_up(block, sums, add)


def dual_point(chunk: Block, W: jax.Array, b: jax.Array, step: jax.Array) -> jax.Array:
    """Returns q, the probabilities after the step to first order, ``(L, C, M)``."""
    probs = _losses_and_probs(chunk, _products(chunk, W), b)[1]
    mean = jnp.einsum("lcm,lc->lm", probs, step)
    return probs * (1.0 + step[:, :, None] - mean[:, None])


def _products(chunk: Block, W: jax.Array) -> jax.Array:
    """Returns the scores without the bias, ``(L, C, M)``."""
    lanes, classes, features = W.shape
    flat = W.reshape(lanes * classes, features)
    x = chunk.x.astype(flat.dtype)
    scores = jax.lax.dot_general(flat, x, (((1,), (1,)), ((), ())), precision=HIGHEST)
    return scores.reshape(lanes, classes, -1)


def _of_target(chunk: Block, values: jax.Array) -> jax.Array:
    """Returns the mean of values ``(L, C, M)`` by each row's targets, ``(L, M)``."""
    if chunk.targets is not None:
        return jnp.sum(jnp.where(chunk.targets > 0.0, chunk.targets * values, 0), 1)
    labels = jnp.broadcast_to(chunk.labels[:, None], (len(values), 1, values.shape[2]))
    return jnp.take_along_axis(values, labels, axis=1)[:, 0]


def _losses_and_probs(
    chunk: Block, products: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the losses ``(L, M)`` and probabilities ``(L, C, M)``."""
    logits = products + b[:, :, None]
    top = jnp.max(logits, axis=1)
    exponentials = jnp.exp(logits - top[:, None])
    total = jnp.sum(exponentials, axis=1)
    # Without the largest, which is 1: a confident row keeps the digits of its loss.
    others = jnp.sum(jnp.where(exponentials < 1.0, exponentials, 0.0), axis=1)
    others = jnp.where(total < 2.0, others, total - 1.0)  # several are the largest
    # Against the largest score, so that a shift of all scores costs no digit and no
    # loss is below 0: infinite where the bias rules out a class of the target.
    losses = jnp.log1p(others) + _of_target(chunk, top[:, None] - logits)
    return losses, exponentials / total[:, None]


def _residuals(chunk: Block, probs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns ``q_i - t_i`` of each row, equations (8) and (9), ``(L, C, M)``.

    And the sum over all classes but the likeliest target, ``(L, M)``.

    The entry of the likeliest target is minus the sum of the others: next to a target
    of 1 the difference has an absolute error of 1e-16, and the sum a relative one.
    """
    others = probs if chunk.targets is None else probs - chunk.targets
    top_target = _is_top_target(chunk, probs.shape[1])
    others = jnp.where(top_target, 0.0, others)
    total = jnp.sum(others, axis=1)
    return jnp.where(top_target, -total[:, None], others), total


def _is_top_target(chunk: Block, num_classes: int) -> jax.Array:
    """Returns which class is the likeliest target of a row, ``(1 or L, C, M)``."""
    return chunk.labels[:, None] == jnp.arange(num_classes)[None, :, None]
