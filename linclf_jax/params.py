"""The linear classifier itself: one matrix, one bias, and what they predict.

Everywhere ``x`` is ``(N, D)``, floating or integer, and ``precision`` that of the
products, as in ``jax.lax.dot``; on recent NVIDIA chips the default multiplies float32
in TF32. A function that takes one classifier refuses a stack: map it with ``jax.vmap``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from linclf_jax import classes


class Params(NamedTuple):
    """Weights of a linear classifier, or a gradient with respect to them.

    A stack of classifiers has the lanes in front: ``W (L, D, C)``, ``b (L, C)``.
    """

    W: jax.Array  # (D, C)
    b: jax.Array  # (C,)


def init(
    key: jax.Array,
    num_features: int,
    num_classes: int,
    *,
    scale: ArrayLike = 1e-3,
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Returns small random weights and a zero bias.

    Args:
        key: A key made by ``jax.random.key``; used once.
        num_features: D.
        num_classes: C.
        scale: W is uniform in ``[-scale, scale)``; 0 gives W = 0. May be traced.
        dtype: Of both arrays.
    """
    unit = jax.random.uniform(
        key, (num_features, num_classes), dtype, minval=-1.0, maxval=1.0
    )
    return Params(unit * jnp.asarray(scale, dtype), jnp.zeros(num_classes, dtype))


def at_least_float32(array: jax.Array) -> jax.Array:
    """Casts integers and half precision to float32; wider floats stay as they are.

    Called before every product and every exponential: uint8 features overflow in a
    product, and half-precision logits lose digits that a loss cannot recover.
    """
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def logits(
    params: Params, x: jax.Array, *, precision: jax.lax.PrecisionLike = None
) -> jax.Array:
    """Returns the class scores, equation (1): ``x @ W + b``, ``(N, C)``.

    In float32 or wider, whatever the inputs.

    Raises:
        ValueError: The shapes are others: a stack is mapped, ``jax.vmap(logits,
            in_axes=(0, None))``, for its biases would be added to the rows instead.
    """
    _require_one_classifier(params, x)
    W, b, x = map(at_least_float32, (params.W, params.b, x))
    return jnp.matmul(x, W, precision=precision) + b[None, :]


def predict(
    params: Params, x: jax.Array, *, precision: jax.lax.PrecisionLike = None
) -> jax.Array:
    """Returns each row's most likely class, int32 ``(N,)``; ties go to the first."""
    scores = logits(params, x, precision=precision)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def predict_proba(
    params: Params, x: jax.Array, *, precision: jax.lax.PrecisionLike = None
) -> jax.Array:
    """Returns the softmax probabilities of each row, equation (3), ``(N, C)``."""
    scores = logits(params, x, precision=precision)
    return jax.nn.softmax(classes.with_limits(scores), axis=-1)


def _require_one_classifier(params: Params, x: jax.Array) -> None:
    W, b, rows = params.W.shape, params.b.shape, x.shape
    if len(W) != 2 or b != W[1:]:
        raise ValueError(
            f"W has shape {W} and b {b}; expected (D, C) and (C,), of one classifier: "
            "map a stack with jax.vmap"
        )
    if len(rows) != 2 or rows[1] != W[0]:
        raise ValueError(
            f"x has shape {rows}; expected (N, {W[0]}), for W has shape {W}: map "
            "several batches with jax.vmap"
        )
