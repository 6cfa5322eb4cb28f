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


class Sums(NamedTuple):
    """What is known of scores after some of the rows."""

    loss: jax.Array  # (L,), weighted
    accuracy: jax.Array  # (L,), weighted
    weight: jax.Array  # (L,)


class Span(NamedTuple):
    """Rows that are read together; the first of them may have been read before."""

    start: int
    stop: int
    repeated: int


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
    return mean(add(no_rows(params), params, x, labels, weights, static))


def no_rows(params: Params) -> Sums:
    """Returns the sums before the first row."""
    return Sums(*[jnp.zeros(params.W.shape[-1], params.W.dtype)] * 3)


def mean(sums: Sums, num_rows: int | None = None) -> Scores:
    """Returns the scores over all rows that were added.

    ``num_rows`` are these where all of them weigh 1: a compiler divides otherwise by a
    number that it knows.
    """
    weight = sums.weight
    if num_rows is not None:
        weight = jnp.full_like(weight, num_rows)
    return Scores(sums.loss / weight, sums.accuracy / weight)


def add(
    sums: Sums,
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    static: Static,
    num_rows: jax.Array | int | None = None,
) -> Sums:
    """Returns the sums after more rows, see ``evaluate``.

    Where all rows come as ``spans`` say, the bits are those of one call: rows that a
    span repeats have weight 0, and so have those after the first ``num_rows``, at
    least ``BLOCK``, which fill it up.
    """
    _require_rows(x, labels)
    if weights.ndim != 2 or weights.shape[0] != len(labels):
        raise ValueError(
            f"weights have shape {weights.shape}; expected ({len(labels)}, 1) or "
            f"({len(labels)}, L), one per row of x"
        )
    size = min(len(labels), BLOCK)
    num_rows = len(labels) if num_rows is None else num_rows

    def add_block(number: jax.Array, sums: Sums) -> Sums:
        # The last block starts early enough to be whole; what it repeats weighs 0.
        start = jnp.minimum(number * size, num_rows - size)
        is_new = start + jnp.arange(size) >= number * size
        block = jax.lax.dynamic_slice_in_dim(weights, start, size)
        block = jnp.where(is_new[:, None], block, 0.0)
        values, right = _score_rows(params, x, labels, start, size, static)
        # Multiplied by 0, an infinite loss would be NaN.
        values = jnp.where(block != 0, values, 0.0)
        return sums._replace(
            loss=sums.loss + jnp.sum(block * values, axis=0),
            accuracy=sums.accuracy + jnp.sum(block * right, axis=0),
        )

    sums = jax.lax.fori_loop(0, -(-num_rows // size), add_block, sums)
    return sums._replace(weight=sums.weight + jnp.sum(weights, axis=0))


def spans(num_rows: int, most: int) -> list[Span]:
    """Returns spans of about ``most`` rows in which rows are scored as all at once.

    They hold the same blocks: the last, where it would be short, begins earlier.

    >>> spans(1300, 1024)
    [Span(start=0, stop=1024, repeated=0), Span(start=788, stop=1300, repeated=236)]
    """
    # A loop over a single block is no loop to a compiler, and has other bits.
    step, parts = max(most // BLOCK, 2) * BLOCK, []
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        first = min(start, max(stop - BLOCK, 0))
        parts.append(Span(first, stop, start - first))
    return parts


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
