"""What each row of a chunk gives: losses, probabilities and residuals.

Of two classes there is one score, the second's less the first's, and one probability,
that of the less likely class, whose digits are those of the curvature.
"""

import jax
import jax.numpy as jnp

from linclf_jax.exact.rows import Block


def terms(
    chunk: Block, present: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns losses ``(L, M)``, probabilities and residuals ``(L, C, M)``."""
    if scores.shape[1] == 1:
        return _sigmoid_terms(chunk, present, scores)
    scores, largest, exponentials, total = _exponentials(present, scores)
    # Without the largest, which is 1: a confident row keeps the digits of its loss.
    others = jnp.sum(jnp.where(exponentials < 1.0, exponentials, 0.0), axis=1)
    others = jnp.where(total < 2.0, others, total - 1.0)  # several are the largest
    of_classes = exponentials * (1.0 / total)[:, None]
    if chunk.targets is None:
        shape = (len(scores), 1, scores.shape[2])
        labels = jnp.broadcast_to(chunk.labels[:, None], shape)
        behind = largest - jnp.take_along_axis(scores, labels, axis=1)[:, 0]
        residual = of_classes
    else:
        used, below = chunk.targets > 0.0, largest[:, None] - scores
        behind = jnp.sum(jnp.where(used, chunk.targets * below, 0.0), axis=1)
        residual = of_classes - chunk.targets
    return jnp.log1p(others) + behind, of_classes, with_top(chunk, residual)


def _exponentials(
    present: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns scores, the largest ``(L, M)``, exponentials below it and their sum."""
    scores = jnp.where(present[:, :, None], scores, -jnp.inf)
    largest = jnp.max(scores, axis=1)
    exponentials = jnp.exp(scores - largest[:, None])
    return scores, largest, exponentials, jnp.sum(exponentials, axis=1)


def _sigmoid_terms(
    chunk: Block, present: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the terms of two classes, by the score of the second less the first."""
    second = chunk.labels[:, None].astype(scores.dtype)
    if chunk.targets is not None:
        second = chunk.targets[:, 1:]
    smaller, larger = _sigmoids(scores)
    is_positive = scores > 0.0
    # By its sign: each term is small where the row is right.
    size = jnp.abs(scores)
    behind = jnp.where(is_positive, (1.0 - second) * size, second * size)
    losses = jnp.log1p(jnp.exp(-size)) + behind
    of_second = jnp.where(is_positive, larger, smaller)
    of_first = jnp.where(is_positive, smaller, larger)
    residual = (1.0 - second) * of_second - second * of_first
    both = several(present)
    return (
        jnp.where(both[:, :, 0], losses[:, 0], 0.0),
        jnp.where(both, smaller, 0.0),
        jnp.where(both, residual, 0.0),
    )


def _sigmoids(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the probability of the less likely of two classes, and of the other."""
    exponential = jnp.exp(-jnp.abs(scores))
    return exponential / (1.0 + exponential), 1.0 / (1.0 + exponential)


def several(present: jax.Array) -> jax.Array:
    """Returns which lanes have both of two classes, ``(L, 1, 1)``."""
    return (jnp.all(present, axis=1) & (present.shape[1] == 2))[:, None, None]


def with_top(chunk: Block, others: jax.Array) -> jax.Array:
    """Puts minus the sum of the others where the class of each row is."""
    classes = jnp.arange(others.shape[1])[None, :, None]
    top = chunk.labels[:, None] == classes
    others = jnp.where(top, 0.0, others)
    return jnp.where(top, -jnp.sum(others, axis=1, keepdims=True), others)


def probs(present: jax.Array, scores: jax.Array) -> jax.Array:
    """Returns the probabilities alone, ``(L, C, M)``."""
    if scores.shape[1] == 1:
        return jnp.where(several(present), _sigmoids(scores)[0], 0.0)
    _, _, exponentials, total = _exponentials(present, scores)
    return exponentials * (1.0 / total)[:, None]
