"""The objective and its gradient for a stack of classifiers over one batch.

Lanes stand last here: ``W (D, C, L)``, ``b (1, C, L)``. So ``x (B, D)`` meets all
matrices in one product, ``(B, D) @ (D, C L)``, whose result needs no transpose, and
every sum over classes runs over whole rows of lanes. The functions of ``losses`` and
``gradients`` under ``jax.vmap`` give the same numbers with the classes last, several
times more slowly on a CPU; the tests hold both together.

The bias has a leading axis of one: with hyper-parameters as ``(1, 1, L)`` all arrays of
a stack have one rank, and optax updates them as they are.
"""

import jax
import jax.numpy as jnp

from linclf_jax import classes, gradients, losses
from linclf_jax.params import Params, at_least_float32

CLASSES = 1  # their axis in logits (B, C, L)


def lanes_last(params: Params) -> Params:
    """Returns ``W (D, C, L)``, ``b (1, C, L)`` from ``W (L, D, C)``, ``b (L, C)``.

    Args:
        params: Classifiers, lanes in front.
    """
    return Params(jnp.moveaxis(params.W, 0, -1), params.b.T[None])


def lanes_first(params: Params) -> Params:
    """Returns ``W (L, D, C)``, ``b (L, C)`` from ``W (D, C, L)``, ``b (1, C, L)``.

    Args:
        params: Classifiers, lanes last.
    """
    return Params(jnp.moveaxis(params.W, -1, 0), params.b[0].T)


def logits(
    params: Params, x: jax.Array, *, precision: jax.lax.PrecisionLike = None
) -> jax.Array:
    """Returns the scores of all lanes, equation (1), ``(B, C, L)``.

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``, float32 or wider.
        x: Features ``(B, D)``.
        precision: Of the product.
    """
    return _product(at_least_float32(x), params.W, precision) + params.b


def mean_loss(
    scores: jax.Array, labels: jax.Array, *, loss: str, weights: jax.Array
) -> jax.Array:
    """Returns the weighted mean loss of each lane, without the penalty, ``(L,)``.

    Args:
        scores: Logits ``(B, C, L)``.
        labels: ``(B,)``, integers in ``0..C-1``.
        loss: A name in ``losses.LOSSES``.
        weights: Example weights ``(B,)``, not all zero.
    """
    values = losses.LOSSES[loss](scores, _per_lane(labels, scores), axis=CLASSES)
    share = classes.as_weights(weights, scores) / jnp.sum(weights).astype(scores.dtype)
    return jnp.sum(share[:, None] * values, axis=0)


def accuracy(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the share of right predictions of each lane, ``(L,)``.

    Args:
        scores: Logits ``(B, C, L)``; of equal ones the first class counts.
        labels: ``(B,)``, integers in ``0..C-1``.
    """
    right = jnp.argmax(scores, axis=CLASSES) == labels[:, None]
    return jnp.mean(right.astype(scores.dtype), axis=0)


def manual_gradient(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    loss: str,
    l2: jax.Array,
    weights: jax.Array,
    precision: jax.lax.PrecisionLike = None,
) -> Params:
    """Returns the gradient of each lane's objective, equations (18) and (19).

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``, float32 or wider.
        x: Features ``(B, D)``.
        labels: ``(B,)``, integers in ``0..C-1``.
        loss: A name in ``losses.LOSSES``.
        l2: ``(1, 1, L)``.
        weights: Example weights ``(B,)``, not all zero.
        precision: Of the products.

    Returns:
        ``Params`` shaped as ``params``.
    """
    scores = logits(params, x, precision=precision)
    residual = gradients.logits_gradient(
        scores, _per_lane(labels, scores), loss=loss, axis=CLASSES
    )
    share = classes.as_weights(weights, scores) / jnp.sum(weights).astype(scores.dtype)
    residual = residual * share[:, None, None]
    W = _product(at_least_float32(x).T, residual, precision) + l2 * params.W
    return Params(W, jnp.sum(residual, axis=0, keepdims=True))


def autodiff_gradient(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    loss: str,
    l2: jax.Array,
    weights: jax.Array,
    precision: jax.lax.PrecisionLike = None,
) -> Params:
    """Returns what ``jax.grad`` makes of each lane's objective; as ``manual_gradient``.

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``, float32 or wider.
        x: Features ``(B, D)``.
        labels: ``(B,)``, integers in ``0..C-1``.
        loss: A name in ``losses.LOSSES``.
        l2: ``(1, 1, L)``.
        weights: Example weights ``(B,)``, not all zero.
        precision: Of the products.
    """

    def summed_objective(params: Params) -> jax.Array:
        scores = logits(params, x, precision=precision)
        penalty = 0.5 * jnp.sum(l2 * jnp.square(params.W))
        # A lane's parameters take part in its own term alone: the sum's gradient
        # with respect to them is that of the term.
        return jnp.sum(mean_loss(scores, labels, loss=loss, weights=weights)) + penalty

    return jax.grad(summed_objective)(params)


GRADIENTS = {"manual": manual_gradient, "autodiff": autodiff_gradient}


def _product(
    x: jax.Array, stack: jax.Array, precision: jax.lax.PrecisionLike
) -> jax.Array:
    """Returns ``x (M, K)`` times ``stack (K, C, L)``, ``(M, C, L)``, as one product."""
    _, num_classes, lanes = stack.shape
    flat = stack.reshape(-1, num_classes * lanes)
    return jnp.matmul(x, flat, precision=precision).reshape(-1, num_classes, lanes)


def _per_lane(labels: jax.Array, scores: jax.Array) -> jax.Array:
    """Returns the labels once for each lane, ``(B, L)``."""
    return jnp.broadcast_to(labels[:, None], (scores.shape[0], scores.shape[-1]))
