"""Loss and accuracy of a stack of lanes over many rows, a block of rows at a time.

The logits of all rows and lanes together would need more memory than training does.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax.params import Params
from linclf_jax.training import fused, stack
from linclf_jax.training.settings import Static

BLOCK = 512  # rows; a result's last bits depend on it


class Scores(NamedTuple):
    """How lanes do on some rows."""

    loss: jax.Array  # (L,), weighted mean, without the penalty and label smoothing
    accuracy: jax.Array  # (L,), weighted share of rows that are right, by ``stack``


class RowScores(NamedTuple):
    """How lanes do on each row."""

    loss: jax.Array  # (M, L), without the penalty and label smoothing
    right: jax.Array  # (M, L), boolean


def evaluate(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    static: Static,
) -> Scores:
    """Returns each lane's mean loss and accuracy over the rows.

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``.
        x: Features ``(M, D)``.
        labels: ``(M,)``, integers in ``0..C-1``, or targets ``(M, C)``.
        weights: ``(M, 1)``, or ``(M, L)`` where lanes have different rows. A row of
            weight 0 takes no part, whatever is in it.
        static: Loss and precision are used.

    Returns:
        NaN for a lane whose weights are all 0.
    """
    _require_rows(x, labels)
    num_rows = x.shape[0]
    if weights.ndim != 2 or weights.shape[0] != num_rows:
        raise ValueError(
            f"weights have shape {weights.shape}; expected ({num_rows}, 1) or "
            f"({num_rows}, L), one per row of x"
        )
    size = min(num_rows, BLOCK)

    def add_block(number: jax.Array, sums: Scores) -> Scores:
        # The last block starts early enough to be whole; what it repeats weighs 0.
        start = jnp.minimum(number * size, num_rows - size)
        is_new = start + jnp.arange(size) >= number * size
        block = jax.lax.dynamic_slice_in_dim(weights, start, size)
        block = jnp.where(is_new[:, None], block, 0.0)
        values, right = _score_rows(params, x, labels, start, size, static)
        # Multiplied by 0, an infinite loss would be NaN.
        values = jnp.where(block != 0, values, 0.0)
        return Scores(
            sums.loss + jnp.sum(block * values, axis=0),
            sums.accuracy + jnp.sum(block * right, axis=0),
        )

    zeros = jnp.zeros(params.W.shape[-1], params.W.dtype)
    blocks = -(-num_rows // size)
    sums = jax.lax.fori_loop(0, blocks, add_block, Scores(zeros, zeros))
    total = jnp.sum(weights, axis=0)
    return Scores(sums.loss / total, sums.accuracy / total)


def by_row(
    params: Params, x: jax.Array, labels: jax.Array, static: Static
) -> RowScores:
    """Returns each lane's loss on every row, and whether it is right.

    The arguments are those of ``evaluate``.
    """
    _require_rows(x, labels)
    num_rows = x.shape[0]
    size = min(num_rows, BLOCK)
    blocks = -(-num_rows // size)

    def one_block(number: jax.Array) -> RowScores:
        start = jnp.minimum(number * size, num_rows - size)
        values, right = _score_rows(params, x, labels, start, size, static)
        return RowScores(values, right > 0)

    scores = jax.lax.map(one_block, jnp.arange(blocks))
    # The last block starts early enough to be whole: its first rows are repeated.
    repeated = blocks * size - num_rows
    whole, lanes = (blocks - 1) * size, params.W.shape[-1]
    return RowScores(
        *(
            jnp.concatenate([array[:-1].reshape(whole, lanes), array[-1, repeated:]])
            for array in scores
        )
    )


def _score_rows(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    start: jax.Array,
    size: int,
    static: Static,
) -> tuple[jax.Array, jax.Array]:
    """Returns losses and accuracies of ``size`` rows from ``start`` on, ``(B, L)``."""
    x, labels = (jax.lax.dynamic_slice_in_dim(a, start, size) for a in (x, labels))
    scores = stack.logits(params, x, precision=static.precision)
    ones = jnp.ones((size, 1), scores.dtype)
    values, _ = fused.FUSED[static.loss](scores, labels, ones)
    if static.loss == "softmax_cross_entropy":
        # The logits are computed again in the rare branch: kept for it, they would not
        # stay in the processor's cache.
        values = jax.lax.cond(
            jnp.any(jnp.isnan(values)),
            lambda: _with_limits(
                values, stack.logits(params, x, precision=static.precision), labels
            ),
            lambda: values,
        )
    return values, stack.accuracy(scores, labels)


def _with_limits(values: jax.Array, scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns losses with the limits of ``losses`` where logits are plus infinity.

    It is 0 where the label's logit alone is infinite, and infinite where another's
    alone is. Several in a row leave NaN.
    """
    iota = jax.lax.broadcasted_iota(jnp.int32, scores.shape, fused.CLASSES)
    true_class = iota == labels[:, None, None]
    infinite = jnp.isposinf(scores)
    right = jnp.any(infinite & true_class, axis=fused.CLASSES)
    valid = jnp.any(true_class, axis=fused.CLASSES)
    valid &= ~jnp.any(jnp.isnan(scores), axis=fused.CLASSES)
    one = valid & (jnp.sum(infinite, axis=fused.CLASSES) == 1)
    return jnp.where(one, jnp.where(right, 0.0, jnp.inf), values)


def _require_rows(x: jax.Array, labels: jax.Array) -> None:
    """Refuses labels of other rows: a slice that starts too late is moved back."""
    if labels.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"labels have shape {labels.shape}; expected {x.shape[:1]}, one per row "
            "of x"
        )
