"""Labels and weights against the arrays they belong to: masks, picks, shapes, limits.

Shapes are static, so a label or weight array of another shape is refused here by a
``ValueError``, while a function is traced, before it could spread over a matrix by
broadcasting. ``like`` is an array ``(..., C)`` whose classes lie along ``axis``;
``labels (...)`` have its shape without that axis, and are integers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

UNKNOWN = -1  # an integer target that takes no part; NaN is a floating one


class BinaryTargets(NamedTuple):
    """What is said of labels that each hold or not, whatever the others do."""

    values: jax.Array  # (..., K), in [0, 1]; 0 where unknown, NaN where no target
    known: jax.Array  # (..., K), boolean


def binary_targets(
    labels: jax.Array, like: jax.Array, *, axis: int = -1
) -> BinaryTargets:
    """Returns targets in the dtype of ``like (..., K)``, which is floating.

    ``labels`` are integers without the axis of K, each against the rest, or targets of
    the shape of ``like``: 0, 1 or, floating, shares in between. There -1 of an integer
    and NaN of a floating number is unknown. Anything else is no target and becomes NaN;
    of a label out of range all of the row does.
    """
    labels = jnp.asarray(labels)
    if labels.ndim != like.ndim:
        one_hot = mask(labels, like, axis=axis)
        known = jnp.ones_like(one_hot)
        valid = jnp.any(one_hot, axis=axis, keepdims=True)
        values = one_hot.astype(like.dtype)
    else:
        _require_targets(labels, like)
        values = labels.astype(like.dtype)
        is_floating = jnp.issubdtype(labels.dtype, jnp.floating)
        known = ~jnp.isnan(values) if is_floating else values != UNKNOWN
        values = jnp.where(known, values, 0.0)
        valid = (values >= 0) & (values <= 1)
    return BinaryTargets(jnp.where(valid, values, jnp.nan), known)


def outside(labels: jax.Array, like: jax.Array) -> jax.Array:
    """Returns which labels are no class, or which targets none, of their shape.

    The classes of ``like (N, C)`` are last.
    """
    if jnp.ndim(labels) == like.ndim:
        return jnp.isnan(binary_targets(labels, like).values)
    classes = index(labels, like)
    return (classes < 0) | (classes >= like.shape[-1])


def as_weights(weights: jax.Array, like: jax.Array) -> jax.Array:
    """Returns weights ``(N,)`` in the dtype of what they weigh, ``like (N, ...)``."""
    _require_shape("weights", weights, like.shape[:1])
    return weights.astype(like.dtype)


def mask(labels: jax.Array, like: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns where the class of an entry of ``like`` is the label, boolean.

    A row whose label is out of range is all False.
    """
    classes = jax.lax.broadcasted_iota(jnp.int32, like.shape, axis % like.ndim)
    return jnp.expand_dims(index(labels, like, axis=axis), axis) == classes


def at_label(values: jax.Array, labels: jax.Array, *, axis: int) -> jax.Array:
    """Returns the values at the labels, ``(...)``; NaN if a label is out of range."""
    chosen = mask(labels, values, axis=axis)
    valid = jnp.any(chosen, axis=axis, keepdims=True)
    # A factor on the whole row, so that the derivative is NaN too, and not plausible.
    picked = pick(values, chosen | ~valid, axis=axis)
    factor = jnp.where(valid, 1.0, jnp.nan).astype(values.dtype)
    return jnp.squeeze(picked * factor, axis)


def pick(values: jax.Array, mask: jax.Array, *, axis: int) -> jax.Array:
    """Returns the one value of each row that ``mask`` names, keeping its axis.

    A masked sum and no gather: it fuses with what stands around it.
    """
    return jnp.sum(jnp.where(mask, values, 0.0), axis=axis, keepdims=True)


def with_limits(logits: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns logits whose softmax is its limit where one of a row is plus infinity.

    As that logit grows, its class takes all of the probability: it becomes 0 and the
    others minus infinity. Of several infinities the limit depends on how they grow;
    such a row keeps them, and its softmax is NaN. A row with a NaN keeps it.
    """
    infinite = jnp.isposinf(logits)
    one = jnp.sum(infinite, axis=axis, keepdims=True) == 1
    return jnp.where(one, jnp.where(infinite, 0.0, logits - jnp.inf), logits)


def index(labels: jax.Array, like: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns labels in int32 or wider: uint8 can not count to class 256.

    Raises:
        TypeError: The labels are no integers.
        ValueError: They have another shape.
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}; expected integers")
    axis = axis % like.ndim
    _require_shape("labels", labels, like.shape[:axis] + like.shape[axis + 1 :])
    return labels.astype(jnp.result_type(labels, jnp.int32))


def require_same_shape(
    name: str, array: jax.Array, other: str, like: jax.Array
) -> None:
    """Checks that an array has the shape of another: one row would meet all rows."""
    if array.shape != like.shape:
        raise ValueError(
            f"{name} have shape {array.shape}; expected {like.shape}, that of {other}"
        )


def require_scalar(name: str, value: float | jax.Array) -> None:
    """Checks that a hyper-parameter is one number: several would make a stack."""
    if jnp.shape(value) != ():
        raise ValueError(
            f"{name} has shape {jnp.shape(value)}; expected one number: map several "
            "with jax.vmap"
        )


def _require_targets(labels: jax.Array, like: jax.Array) -> None:
    if labels.shape != like.shape:
        raise ValueError(
            f"labels have shape {labels.shape}; expected integers, one per example, or "
            f"targets {like.shape}"
        )


def _require_shape(name: str, array: jax.Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(
            f"{name} have shape {array.shape}; expected {shape}, one per example"
        )
