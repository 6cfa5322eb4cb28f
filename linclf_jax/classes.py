"""Labels and weights against the arrays they belong to: masks, picks, shapes.

Shapes are static, so a label or weight array of another shape is refused here, while a
function is traced, before it could spread over a matrix by broadcasting.
"""

import jax
import jax.numpy as jnp


def as_weights(weights: jax.Array, like: jax.Array) -> jax.Array:
    """Returns example weights in the dtype of what they weigh.

    Args:
        weights: ``(N,)``; integers and booleans too.
        like: ``(N, ...)``, floating.

    Raises:
        ValueError: The weights have another shape; ``(N, 1)`` would broadcast.
    """
    _require_shape("weights", weights, like.shape[:1])
    return weights.astype(like.dtype)


def mask(labels: jax.Array, like: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns where the class of an entry of ``like`` is the label, boolean.

    Args:
        labels: ``(...)``, integers; a row whose label is out of range is all False.
        like: ``(..., C)``.
        axis: Of the classes.
    """
    classes = jax.lax.broadcasted_iota(jnp.int32, like.shape, axis % like.ndim)
    return jnp.expand_dims(_index(labels, like, axis), axis) == classes


def at_label(values: jax.Array, labels: jax.Array, *, axis: int) -> jax.Array:
    """Returns the values at the labels, NaN where a label is out of range.

    Args:
        values: ``(..., C)``, floating.
        labels: ``(...)``, integers.
        axis: Of the classes in ``values``; the result does not have it.
    """
    chosen = mask(labels, values, axis=axis)
    valid = jnp.any(chosen, axis=axis, keepdims=True)
    # A factor on the whole row, so that the derivative is NaN too, and not plausible.
    picked = pick(values, chosen | ~valid, axis=axis)
    factor = jnp.where(valid, 1.0, jnp.nan).astype(values.dtype)
    return jnp.squeeze(picked * factor, axis)


def pick(values: jax.Array, mask: jax.Array, *, axis: int) -> jax.Array:
    """Returns the one value of each row that ``mask`` names, keeping its axis.

    A masked sum and no gather: it fuses with what stands around it.

    Args:
        values: ``(..., C)``, floating.
        mask: Of the shape of ``values``.
        axis: Of the classes.
    """
    return jnp.sum(jnp.where(mask, values, 0.0), axis=axis, keepdims=True)


def _index(labels: jax.Array, like: jax.Array, axis: int) -> jax.Array:
    """Returns integer labels in int32 or wider: uint8 can not count to class 256."""
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}; expected integers")
    axis = axis % like.ndim
    _require_shape("labels", labels, like.shape[:axis] + like.shape[axis + 1 :])
    return labels.astype(jnp.result_type(labels, jnp.int32))


def _require_shape(name: str, array: jax.Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(
            f"{name} have shape {array.shape}; expected {shape}, one per example"
        )
