"""Example weights: a row of weight 0 takes no part, whatever is in it.

Multiplying by 0 does not leave a row out: 0 times infinity is NaN, in the value and in
every derivative. So what such a row holds is replaced before it is used: its features
before the product with W, its logits and its label before the loss.

Only what is no number or no class is replaced. A row that might count keeps what it
holds, so that the derivative with respect to its weight is right at a weight of 0 too.

``weights`` are ``(N,)``, or None, where every row counts alike; another shape is a
``ValueError``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax import classes
from linclf_jax import params as params_lib
from linclf_jax.params import Params


class Rows(NamedTuple):
    """Rows as an objective uses them, in at least float32."""

    features: jax.Array  # (N, D), finite in the rows of weight 0
    logits: jax.Array  # (N, C), finite in the rows of weight 0


def rows(
    params: Params,
    x: jax.Array,
    weights: jax.Array | None,
    *,
    precision: jax.lax.PrecisionLike = None,
) -> Rows:
    """Returns features and logits, equation (1), both masked."""
    features = mask(params_lib.at_least_float32(x), weights)
    scores = params_lib.logits(params, features, precision=precision)
    return Rows(features, mask(scores, weights))


def mask(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Returns values ``(N, ...)``, 0 for what is not finite in rows of weight 0."""
    if weights is None:
        return values
    ignored = classes.as_weights(weights, values) == 0
    ignored = ignored.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(ignored & ~jnp.isfinite(values), 0.0, values)


def mask_labels(
    labels: jax.Array, weights: jax.Array | None, like: jax.Array
) -> jax.Array:
    """Returns labels, with class 0 for what is no class in rows of weight 0.

    Of targets ``(N, C)``, with 0 for what is none. ``like (N, C)`` says how many
    classes there are.
    """
    if weights is None:
        return labels
    outside = classes.outside(labels, like)
    ignored = classes.as_weights(weights, like) == 0
    ignored = ignored.reshape(-1, *[1] * (outside.ndim - 1))
    return jnp.where(ignored & outside, 0, labels)


def shares(weights: jax.Array | None, like: jax.Array) -> jax.Array:
    """Returns ``w_i / sum w``, ``(N,)``, in the dtype of ``like (N, ...)``."""
    if weights is None:
        return jnp.full(like.shape[0], 1.0 / like.shape[0], like.dtype)
    weights = classes.as_weights(weights, like)
    return weights / jnp.sum(weights)
