"""The objective and its gradient for a stack of classifiers over one batch.

Lanes stand last here: ``W (D, C, L)``, ``b (1, C, L)``. So ``x (B, D)`` meets all
matrices in one product, ``(B, D) @ (D, C L)``, whose result needs no transpose, and
every sum over classes runs over whole rows of lanes. The functions of ``losses`` and
``gradients`` under ``jax.vmap`` give the same numbers with the classes last, several
times more slowly on a CPU; the tests hold both together.

The bias has a leading axis of one: with hyper-parameters as ``(1, 1, L)`` all arrays of
a stack have one rank, and optax updates them as they are.

A row of weight 0 in a lane takes no part in it, whatever is in the row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax import classes, losses
from linclf_jax.params import Params, at_least_float32
from linclf_jax.training import fused
from linclf_jax.training.fused import CLASSES


class Batch(NamedTuple):
    """Some rows, and what they weigh: the same in all lanes, or not."""

    x: jax.Array  # (B, D)
    labels: jax.Array  # (B,), integers in 0..C-1, or targets (B, C) of separate labels
    sample_weights: jax.Array  # (B, 1) or (B, L), see ``normalised``


class Objective(NamedTuple):
    """What the lanes minimise, and how precisely its products are computed."""

    loss: str  # a name in ``losses.LOSSES``
    l2: jax.Array  # (1, 1, L)
    smoothing: jax.Array | None = None  # (L,), of the labels of softmax cross-entropy
    precision: jax.lax.PrecisionLike = None
    # Whether rows of weight 0 may hold anything. Training does without: its rows are
    # finite, their labels classes.
    mask: bool = True


def normalised(weights: jax.Array) -> jax.Array:
    """Returns weights ``(B, 1)`` or ``(B, L)`` divided by their sum over the rows.

    They are 0 where all of them are 0.
    """
    if weights.ndim != 2:
        raise ValueError(
            f"weights have shape {weights.shape}; expected (B, 1) or (B, L)"
        )
    total = jnp.sum(weights, axis=0, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def lanes_last(params: Params) -> Params:
    """Returns ``W (D, C, L)``, ``b (1, C, L)`` from ``W (L, D, C)``, ``b (L, C)``."""
    return Params(jnp.moveaxis(params.W, 0, -1), params.b.T[None])


def logits(
    params: Params, x: jax.Array, *, precision: jax.lax.PrecisionLike = None
) -> jax.Array:
    """Returns the scores of all lanes, equation (1), ``(B, C, L)``.

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``, float32 or wider.
        x: Features ``(B, D)``.
        precision: Of the product.
    """
    W, b = params.W.shape, params.b.shape
    if len(W) != 3 or b != (1, *W[1:]) or x.shape[1:] != W[:1]:
        raise ValueError(
            f"W has shape {W}, b {b} and x {x.shape}; expected (D, C, L), (1, C, L) "
            "and (B, D): lanes in front go through lanes_last"
        )
    return _product(at_least_float32(x), params.W, precision) + params.b


def accuracy(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns 1 where a lane's prediction is right and 0 where it is not, ``(B, L)``.

    Of equal logits the first class counts. Of targets ``(B, C)`` all that are known
    must be predicted: those above 1/2 by a logit above 0, the others by none. A row of
    which nothing is known is right.
    """
    if labels.shape == scores.shape[:2]:
        targets, known = classes.binary_targets(labels, scores[..., 0])
        holds = (targets > 0.5)[..., None]
        agrees = jnp.where(holds, scores > 0, scores <= 0)  # a NaN does with neither
        agrees |= ~known[..., None]
        return jnp.all(agrees, axis=CLASSES).astype(scores.dtype)
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f"labels have shape {labels.shape}; expected {scores.shape[:1]}, one per "
            "row of logits"
        )
    right = jnp.argmax(scores, axis=CLASSES) == labels[:, None]
    return right.astype(scores.dtype)


def manual_gradient(
    params: Params, batch: Batch, objective: Objective
) -> tuple[jax.Array, Params]:
    """Returns each lane's mean loss and objective's gradient, equations (18) and (19).

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``, float32 or wider.
        batch: Rows in common.
        objective: One for each lane.

    Returns:
        The mean loss ``(L,)``, without the penalty, and the gradient, shaped as
        ``params``.
    """
    loss, l2, smoothing, precision, mask = objective
    batch = _masked(batch, params.W.shape) if mask else batch
    scores = logits(params, batch.x, precision=precision)
    weights = batch.sample_weights.astype(scores.dtype)
    if mask:
        scores = _finite_where_ignored(scores, weights)
    values, residual = fused.FUSED[loss](scores, batch.labels, weights, smoothing)
    if mask:
        values = _finite_where_ignored(values, weights)
    W = _product(at_least_float32(batch.x).T, residual, precision) + l2 * params.W
    b = jnp.sum(residual, axis=0, keepdims=True)
    return jnp.sum(weights * values, axis=0), Params(W, b)


def autodiff_gradient(
    params: Params, batch: Batch, objective: Objective
) -> tuple[jax.Array, Params]:
    """Returns what ``manual_gradient`` does, made by ``jax.grad`` of the objective."""
    loss, l2, smoothing, precision, mask = objective
    fused.refuse_smoothing(loss, smoothing)
    batch = _masked(batch, params.W.shape) if mask else batch

    def summed_objective(params: Params) -> tuple[jax.Array, jax.Array]:
        scores = logits(params, batch.x, precision=precision)
        weights = batch.sample_weights.astype(scores.dtype)
        if mask:
            scores = _finite_where_ignored(scores, weights)
        per_lane = fused.labels_per_lane(scores, batch.labels, weights)
        values = losses.LOSSES[loss](scores, per_lane, axis=CLASSES)
        if smoothing is not None:
            log_probs = losses.log_softmax(scores, axis=CLASSES)
            uniform = 0.0 - jnp.mean(log_probs, axis=CLASSES)
            values = (1.0 - smoothing[None]) * values + smoothing[None] * uniform
        if mask:
            values = _finite_where_ignored(values, weights)
        mean_loss = jnp.sum(weights * values, axis=0)
        penalty = 0.5 * jnp.sum(l2 * jnp.square(params.W))
        # A lane's parameters take part in its own term alone: the sum's gradient
        # with respect to them is that of the term.
        return jnp.sum(mean_loss) + penalty, mean_loss

    gradient, mean_loss = jax.grad(summed_objective, has_aux=True)(params)
    return mean_loss, gradient


GRADIENTS = {"manual": manual_gradient, "autodiff": autodiff_gradient}


def _masked(batch: Batch, shape: tuple[int, ...]) -> Batch:
    """Returns the batch without entries that, multiplied by a weight of 0, are not 0.

    What is no class or target is replaced by 0, and so are infinity and NaN where the
    row has weight 0 in some lane. Lanes in which the row has weight get a weight of NaN
    for it, and so a loss and a gradient of NaN.
    """
    _, num_classes, lanes = shape
    fused.require_shapes(
        (len(batch.x), num_classes, lanes),
        batch.labels,
        batch.sample_weights,
        targets=True,
    )
    ignored = batch.sample_weights == 0
    infinite = jnp.any(ignored, axis=1, keepdims=True) & ~jnp.isfinite(batch.x)
    outside = classes.outside(batch.labels, jnp.zeros((len(batch.x), num_classes)))
    of_rows = outside.reshape(len(outside), -1)
    replaced = jnp.any(infinite, axis=1) | jnp.any(of_rows, axis=1)
    return Batch(
        jnp.where(infinite, 0, batch.x),
        jnp.where(outside, 0, batch.labels),
        jnp.where(replaced[:, None] & ~ignored, jnp.nan, batch.sample_weights),
    )


def _finite_where_ignored(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns values ``(B, L)`` or ``(B, C, L)``, 0 for infinity or NaN of weight 0."""
    ignored = weights == 0 if values.ndim == weights.ndim else (weights == 0)[:, None]
    return jnp.where(ignored & ~jnp.isfinite(values), 0.0, values)


def _product(
    x: jax.Array, stack: jax.Array, precision: jax.lax.PrecisionLike
) -> jax.Array:
    """Returns ``x (M, K)`` times ``stack (K, C, L)``, ``(M, C, L)``, as one product."""
    _, num_classes, lanes = stack.shape
    flat = stack.reshape(-1, num_classes * lanes)
    return jnp.matmul(x, flat, precision=precision).reshape(-1, num_classes, lanes)
