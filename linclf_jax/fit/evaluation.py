"""Loss and accuracy of a stack of lanes over many rows, a block of rows at a time.

The logits of all rows and lanes together would need more memory than training does.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax.fit import fused, stack
from linclf_jax.fit.settings import Static
from linclf_jax.params import Params

BLOCK = 512  # rows; a result's last bits depend on it


class Scores(NamedTuple):
    """How lanes do on some rows."""

    loss: jax.Array  # (L,), weighted mean, without the penalty and label smoothing
    accuracy: jax.Array  # (L,), weighted share of right predictions


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
        labels: ``(M,)``, integers in ``0..C-1``.
        weights: ``(M, 1)``, or ``(M, L)`` where lanes look at different rows.
        static: Loss and precision are used.

    Returns:
        NaN for a lane whose weights are all 0.
    """
    num_rows = x.shape[0]
    size = min(num_rows, BLOCK)

    def add_block(number: jax.Array, sums: Scores) -> Scores:
        # The last block starts early enough to be whole; what it repeats weighs 0.
        start = jnp.minimum(number * size, num_rows - size)
        new = start + jnp.arange(size) >= number * size
        x_block, labels_block, weights_block = (
            jax.lax.dynamic_slice_in_dim(array, start, size)
            for array in (x, labels, weights)
        )
        scores = stack.logits(params, x_block, precision=static.precision)
        values, _ = fused.FUSED[static.loss](scores, labels_block, weights_block)
        counted = jnp.where(new[:, None], weights_block, 0.0)
        right = stack.accuracy(scores, labels_block)
        return Scores(
            sums.loss + jnp.sum(counted * values, axis=0),
            sums.accuracy + jnp.sum(counted * right, axis=0),
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

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``.
        x: Features ``(M, D)``.
        labels: ``(M,)``, integers in ``0..C-1``.
        static: Loss and precision are used.
    """
    num_rows = x.shape[0]
    size = min(num_rows, BLOCK)
    blocks = -(-num_rows // size)

    def one_block(number: jax.Array) -> RowScores:
        start = jnp.minimum(number * size, num_rows - size)
        x_block, labels_block = (
            jax.lax.dynamic_slice_in_dim(array, start, size) for array in (x, labels)
        )
        scores = stack.logits(params, x_block, precision=static.precision)
        share = jnp.ones((size, 1), scores.dtype)
        values, _ = fused.FUSED[static.loss](scores, labels_block, share)
        return RowScores(values, stack.accuracy(scores, labels_block) > 0)

    found = jax.lax.map(one_block, jnp.arange(blocks))
    # The last block starts early enough to be whole: its first rows are there already.
    repeated = blocks * size - num_rows
    whole, lanes = (blocks - 1) * size, params.W.shape[-1]
    return RowScores(
        *(
            jnp.concatenate([array[:-1].reshape(whole, lanes), array[-1, repeated:]])
            for array in found
        )
    )
