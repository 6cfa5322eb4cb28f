"""What each row of a chunk gives: losses, probabilities, residuals and their changes.

Of two classes there is one score, the second's less the first's, and one probability,
that of the less likely class, whose digits are those of the curvature; it has the sign
of the score.
"""

import jax
import jax.numpy as jnp

from linclf_jax.exact.rows import Block

HIGHEST = jax.lax.Precision.HIGHEST


def losses(
    chunk: Block, present: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns losses ``(L, M)`` and probabilities ``(L, C, M)``."""
    if scores.shape[1] == 1:
        return _of_two_classes(chunk, present, scores)
    scores = jnp.where(present[:, :, None], scores, -jnp.inf)
    largest = jnp.max(scores, axis=1)
    exponentials = jnp.exp(scores - largest[:, None])
    total = jnp.sum(exponentials, axis=1)
    # Without the largest, which is 1: a confident row keeps the digits of its loss.
    others = jnp.sum(jnp.where(exponentials < 1.0, exponentials, 0.0), axis=1)
    others = jnp.where(total < 2.0, others, total - 1.0)  # several are the largest
    if chunk.targets is None:
        behind = largest - _of_label(chunk, scores)
    else:
        used, below = chunk.targets > 0.0, largest[:, None] - scores
        behind = jnp.sum(jnp.where(used, chunk.targets * below, 0.0), axis=1)
    return jnp.log1p(others) + behind, exponentials * (1.0 / total)[:, None]


def _of_two_classes(
    chunk: Block, present: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array]:
    is_second, second, size = scores > 0.0, _second(chunk, scores), jnp.abs(scores)
    # By the sign: each term is small where the row is right.
    behind = jnp.where(is_second, (1.0 - second) * size, second * size)
    exponential = jnp.exp(-size)
    # Never 0: that is the mark of an absent class, and has no sign.
    tiny = jnp.finfo(scores.dtype).tiny
    smaller = jnp.maximum(exponential / (1.0 + exponential), tiny)
    both = both_present(present)
    of_rows = jnp.where(both[:, 0], (jnp.log1p(exponential) + behind)[:, 0], 0.0)
    return of_rows, jnp.where(both, jnp.where(is_second, smaller, -smaller), 0.0)


def _second(chunk: Block, like: jax.Array) -> jax.Array:
    """Returns the target of the second of two classes, ``(1 or L, 1, M)``."""
    if chunk.targets is not None:
        return chunk.targets[:, 1:]
    return chunk.labels[:, None].astype(like.dtype)


def both_present(present: jax.Array) -> jax.Array:
    """Returns which lanes have both of two classes, ``(L, 1, 1)``."""
    return (jnp.all(present, axis=1) & (present.shape[1] == 2))[:, None, None]


def residuals(chunk: Block, probs: jax.Array) -> jax.Array:
    """Returns ``p_i - t_i``, equations (8) and (9), ``(L, C, M)``."""
    if probs.shape[1] > 1:
        others = probs if chunk.targets is None else probs - chunk.targets
        return _with_top(chunk, others)
    smaller, second = jnp.abs(probs), _second(chunk, probs)
    of_second = jnp.where(probs > 0.0, 1.0 - smaller, smaller)
    of_first = jnp.where(probs > 0.0, smaller, 1.0 - smaller)
    residual = (1.0 - second) * of_second - second * of_first
    # Where a class is absent nothing is left of either.
    return jnp.where(probs == 0.0, 0.0, residual)


def changes(chunk: Block, probs: jax.Array, scores: jax.Array) -> jax.Array:
    """Returns by how much residuals change with the scores, ``(L, C, M)``."""
    if probs.shape[1] == 1:
        smaller = jnp.abs(probs)
        return smaller * (1.0 - smaller) * scores
    # From the score of the class of the row: where it is confident that is the mean of
    # all, but for rounding.
    scores = scores - _of_label(chunk, scores)[:, None]
    # As a product: XLA would compute a sum again for each entry that it is part of.
    mean = jnp.einsum("lcm,lcm->lm", probs, scores, precision=HIGHEST)
    return probs * (scores - mean[:, None])


def _of_label(chunk: Block, values: jax.Array) -> jax.Array:
    """Returns the value of the class of each row, ``(L, M)``."""
    shape = (len(values), 1, values.shape[2])
    labels = jnp.broadcast_to(chunk.labels[:, None], shape)
    return jnp.take_along_axis(values, labels, axis=1)[:, 0]


def _with_top(chunk: Block, others: jax.Array) -> jax.Array:
    """Puts minus the sum of the others where the class of each row is."""
    classes = jnp.arange(others.shape[1])[None, :, None]
    top = chunk.labels[:, None] == classes
    others = jnp.where(top, 0.0, others)
    return jnp.where(top, -jnp.sum(others, axis=1, keepdims=True), others)
