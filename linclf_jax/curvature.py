"""Second derivatives of the softmax cross-entropy objective, by hand.

The targets cancel in the second derivative, equation (21): the curvature depends on
the probabilities alone. ``labels`` is an argument all the same, so that every function
of the objective is called alike; arguments are those of ``losses.objective``.
"""

import jax
import jax.numpy as jnp

from linclf_jax import classes, weighting
from linclf_jax import params as params_lib
from linclf_jax.params import Params


def softmax_jacobian(logits: jax.Array) -> jax.Array:
    """Returns ``dp_j / ds_k = p_j (delta_jk - p_k)``, equation (7).

    It is also the Hessian of the cross-entropy with respect to the logits, (21). The
    diagonal is ``p_j`` times the sum of the other probabilities: ``1 - p_j`` would be 0
    once ``p_j`` rounds to 1.

    Returns:
        ``(N, C, C)``, symmetric, of the dtype of ``logits``; rows sum to 0.
    """
    probs = _softmax(logits)
    products = probs[..., :, None] * probs[..., None, :]
    identity = jnp.eye(probs.shape[-1], dtype=probs.dtype)
    identity = jnp.broadcast_to(identity, products.shape)
    products = products * (1.0 - identity)
    diagonal = jnp.sum(products, axis=-1, keepdims=True) * identity
    return (diagonal - products).astype(logits.dtype)


def logits_hessian_vector_product(logits: jax.Array, tangent: jax.Array) -> jax.Array:
    """Returns ``p * (u - p.u)`` for each row, the Jacobian (7) times ``u``.

    A constant added to u changes nothing, so u is measured from its entry at the most
    likely class: there ``u - p.u`` no longer subtracts two nearly equal numbers.

    Returns:
        ``(N, C)``, in at least float32; each row sums to 0.
    """
    classes.require_same_shape("tangent", tangent, "logits", logits)
    probs = _softmax(logits)
    top = jnp.argmax(probs, axis=-1, keepdims=True)
    tangent = params_lib.at_least_float32(tangent)
    tangent = tangent - jnp.take_along_axis(tangent, top, axis=-1)
    return probs * (tangent - jnp.sum(probs * tangent, axis=-1, keepdims=True))


def hessian_vector_product(
    params: Params,
    tangent: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    l2: float | jax.Array,
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> Params:
    """Returns the Hessian of the objective times ``tangent``, equation (23).

    The objective is ``losses.objective`` with softmax cross-entropy. Two products with
    ``x`` and one with its transpose; the Hessian is never formed. Tangent and result
    are shaped as ``params``.
    """
    del labels
    classes.require_scalar("l2", l2)
    rows = weighting.rows(params, x, weights, precision=precision)
    along = weighting.rows(tangent, x, weights, precision=precision)
    product = logits_hessian_vector_product(rows.logits, along.logits)
    product = product * weighting.shares(weights, product)[:, None]
    W = jnp.matmul(rows.features.T, product, precision=precision)
    W = W + l2 * tangent.W.astype(W.dtype)
    b = jnp.sum(product, axis=0)
    return Params(W.astype(params.W.dtype), b.astype(params.b.dtype))


def hessian(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    l2: float | jax.Array,
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Returns the full Hessian of the objective, equation (22), for small problems.

    Returns:
        ``(D C + C, D C + C)``, symmetric, of the dtype of W, in the order of
        ``jax.flatten_util.ravel_pytree(params)``: W row by row, then b.
    """
    del labels
    classes.require_scalar("l2", l2)
    features, scores = weighting.rows(params, x, weights, precision=precision)
    num_rows, num_features = features.shape
    # The bias is the weight of a feature that is always one.
    ones = jnp.ones((num_rows, 1), features.dtype)
    features = jnp.concatenate([features, ones], axis=1)
    jacobian = softmax_jacobian(scores)
    share = weighting.shares(weights, jacobian)
    blocks = jnp.einsum(
        "n,nd,ne,nkl->dkel", share, features, features, jacobian, precision=precision
    )
    size = features.shape[1] * jacobian.shape[-1]
    penalised = jnp.arange(size) < num_features * jacobian.shape[-1]
    penalty = jnp.diag(jnp.where(penalised, l2, 0.0).astype(blocks.dtype))
    return (blocks.reshape(size, size) + penalty).astype(params.W.dtype)


def _softmax(logits: jax.Array) -> jax.Array:
    """Returns the probabilities, ``(..., C)``, in at least float32."""
    scores = params_lib.at_least_float32(logits)
    return jax.nn.softmax(classes.with_limits(scores), axis=-1)
