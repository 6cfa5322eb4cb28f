"""Second derivatives of the objectives of both cross-entropies, by hand.

The targets cancel in the second derivative, equations (21) and (38): the curvature
depends on the probabilities alone, and with sigmoids on which labels are known.
Arguments are those of ``losses.objective``; hinges have no curvature.
"""

from collections.abc import Callable
from types import MappingProxyType

import jax
import jax.numpy as jnp

from linclf_jax import classes, gradients, losses, weighting
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


def sigmoid_curvature(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns ``sigma(s_k) sigma(-s_k)``, equation (38); 0 where a label is unknown.

    The diagonal of the Hessian with respect to the logits ``(N, K)``, which has no
    other entries. Labels are those of ``losses.sigmoid_cross_entropy``.
    """
    scores = params_lib.at_least_float32(logits)
    known = classes.binary_targets(labels, scores).known
    holds, fails = gradients.sigmoids(scores)
    return jnp.where(known, holds * fails, 0.0).astype(logits.dtype)


def _diagonal(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the Hessian of the sigmoid's loss by the logits, ``(N, K, K)``."""
    curvature = sigmoid_curvature(logits, labels)
    return curvature[..., None] * jnp.eye(logits.shape[-1], dtype=logits.dtype)[None]


# The Hessian of each loss by the logits, ``(N, C, C)``, and its product with a tangent.
LOGITS_HESSIANS: MappingProxyType[str, Callable[..., jax.Array]] = MappingProxyType(
    {
        "softmax_cross_entropy": lambda logits, _: softmax_jacobian(logits),
        "sigmoid_cross_entropy": _diagonal,
    }
)
_PRODUCTS: MappingProxyType[str, Callable[..., jax.Array]] = MappingProxyType(
    {
        "softmax_cross_entropy": (
            lambda logits, _, tangent: logits_hessian_vector_product(logits, tangent)
        ),
        "sigmoid_cross_entropy": (
            lambda logits, labels, tangent: sigmoid_curvature(logits, labels) * tangent
        ),
    }
)


def hessian_vector_product(
    params: Params,
    tangent: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    l2: float | jax.Array,
    loss: str = "softmax_cross_entropy",
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> Params:
    """Returns the Hessian of the objective times ``tangent``, equation (23).

    Two products with ``x`` and one with its transpose; the Hessian is never formed.
    Tangent and result are shaped as ``params``.
    """
    _require_curved(loss)
    classes.require_scalar("l2", l2)
    rows = weighting.rows(params, x, weights, precision=precision)
    along = weighting.rows(tangent, x, weights, precision=precision)
    product = _PRODUCTS[loss](rows.logits, labels, along.logits)
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
    loss: str = "softmax_cross_entropy",
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Returns the full Hessian of the objective, equation (22), for small problems.

    Returns:
        ``(D C + C, D C + C)``, symmetric, of the dtype of W, in the order of
        ``jax.flatten_util.ravel_pytree(params)``: W row by row, then b.
    """
    _require_curved(loss)
    classes.require_scalar("l2", l2)
    features, scores = weighting.rows(params, x, weights, precision=precision)
    num_rows, num_features = features.shape
    # The bias is the weight of a feature that is always one.
    ones = jnp.ones((num_rows, 1), features.dtype)
    features = jnp.concatenate([features, ones], axis=1)
    jacobian = LOGITS_HESSIANS[loss](scores, labels)
    share = weighting.shares(weights, jacobian)
    blocks = jnp.einsum(
        "n,nd,ne,nkl->dkel", share, features, features, jacobian, precision=precision
    )
    size = features.shape[1] * jacobian.shape[-1]
    penalised = jnp.arange(size) < num_features * jacobian.shape[-1]
    penalty = jnp.diag(jnp.where(penalised, l2, 0.0).astype(blocks.dtype))
    return (blocks.reshape(size, size) + penalty).astype(params.W.dtype)


def _require_curved(loss: str) -> None:
    if losses.known(loss) not in LOGITS_HESSIANS:
        raise ValueError(
            f"loss is {loss!r}, which has no curvature; expected one of "
            f"{list(LOGITS_HESSIANS)}"
        )


def _softmax(logits: jax.Array) -> jax.Array:
    """Returns the probabilities, ``(..., C)``, in at least float32."""
    scores = params_lib.at_least_float32(logits)
    return jax.nn.softmax(classes.with_limits(scores), axis=-1)
