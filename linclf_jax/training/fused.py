"""Losses and their residuals for a stack of lanes, computed together in few passes.

``losses`` and ``gradients`` hold the same formulas one by one; there each takes maxima,
exponentials and sums of its own. A training step needs the loss and the gradient of the
same logits ``(B, C, L)``, and what it may cost beside the matrix products is a few
passes over them: here the maximum is taken once, the exponentials once, and everything
that is one number per row and lane is computed on ``(B, L)``. The tests hold both
together; ``docs/performance.md`` has the figures.
"""

from collections.abc import Callable
from types import MappingProxyType

import jax
import jax.numpy as jnp

from linclf_jax import classes, gradients, losses
from linclf_jax.training.settings import SMOOTHED_LOSS

CLASSES = 1  # their axis in logits (B, C, L)
FusedLoss = Callable[..., tuple[jax.Array, jax.Array]]


def softmax_cross_entropy(
    scores: jax.Array,
    labels: jax.Array,
    scale: jax.Array,
    smoothing: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the loss, equation (4), and ``scale`` times its gradient, (8) and (9).

    With m the largest logit of a row, ``e_j = exp(s_j - m)`` and O the sum of ``e_j``
    over the classes other than the label y,

      loss = (m - s_y) + log1p(O + (e_y - 1)),    p_j = e_j / (O + e_y).

    Where y has the largest logit, ``e_y - 1`` and ``m - s_y`` are 0 and the loss is
    ``log1p(O)``, accurate down to 1e-30; where it has not, the loss is at least
    ``log 2`` and nothing cancels. The gradient of class y is ``-O / (O + e_y)``.

    Args:
        scores: Logits ``(B, C, L)``, float32 or wider.
        labels: ``(B,)``, integers in ``0..C-1``; another one makes its loss NaN.
        scale: ``(B, 1)`` or ``(B, L)``, what each row's gradient is multiplied by.
        smoothing: ``(L,)``, a in the targets ``(1 - a) one_hot + a / C``; None is 0
            everywhere.

    Returns:
        Losses ``(B, L)``, without ``scale``, and residuals ``(B, C, L)``. A row
        with a logit of plus infinity is NaN: a lane of such logits stops.
    """
    require_shapes(scores.shape, labels, scale)
    num_classes = scores.shape[CLASSES]
    iota = jax.lax.broadcasted_iota(jnp.int32, scores.shape, CLASSES)
    true_class = iota == labels[:, None, None]
    top = jnp.max(scores, axis=CLASSES)
    # A gather and no masked sum: it reads one row of lanes where the sum reads all. It
    # would count a negative label from the last class, and gives NaN beyond that class.
    index = jnp.where(labels < 0, num_classes, labels)[:, None, None]
    true_score = jnp.take_along_axis(scores, index, axis=CLASSES)[:, 0]
    # Without the true class, whose residual is made of the others' sum.
    exps = jnp.where(true_class, 0.0, jnp.exp(scores - top[:, None]))
    others = jnp.sum(exps, axis=CLASSES)
    true_exp = jnp.exp(true_score - top)
    values = (top - true_score) + jnp.log1p(others + (true_exp - 1.0))
    # Scaled here, on (B, L): the pass over (B, C, L) has one product left.
    inverse = scale / (others + true_exp)
    of_true, of_others = -others * inverse, 0.0
    if smoothing is not None:
        smoothed = smoothing[None, :]
        # Divided first: a sum of logits of 3e38 is not finite, their mean is.
        mean_shift = jnp.sum((scores - top[:, None]) / num_classes, axis=CLASSES)
        values = values + smoothed * ((true_score - top) - mean_shift)
        of_others = (scale * (smoothed / num_classes))[:, None]
        of_true = of_true + scale * (smoothed * (1.0 - 1.0 / num_classes))
    rest = exps * inverse[:, None] - of_others
    return values, jnp.where(true_class, of_true[:, None], rest)


def sigmoid_cross_entropy(
    scores: jax.Array,
    labels: jax.Array,
    scale: jax.Array,
    smoothing: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the loss, equation (36), and ``scale`` times its gradient, (37).

    Both are made of ``e = exp(-|s|)``: where s is above 0 the gradient is
    ``((1 - t) - t e) / (1 + e)``, else ``((1 - t) e - t) / (1 + e)``.

    Arguments and results are those of ``softmax_cross_entropy``, without a smoothing;
    ``labels`` may be targets ``(B, C)``, the same in all lanes. Infinite logits have
    the limits of ``losses``.
    """
    refuse_smoothing("sigmoid_cross_entropy", smoothing)
    require_shapes(scores.shape, labels, scale, targets=True)
    targets, known = classes.binary_targets(labels, scores[..., 0])
    targets, known = targets[..., None], known[..., None]
    size, is_above = jnp.abs(scores), scores > 0
    exps = jnp.exp(-size)
    against = jnp.where(is_above, 1.0 - targets, targets)
    bounded = jnp.where((against == 0) & jnp.isinf(size), 0.0, size)
    terms = against * bounded + jnp.log1p(exps)
    values = jnp.sum(jnp.where(known, terms, 0.0), axis=CLASSES)
    residual = jnp.where(
        is_above, (1.0 - targets) - targets * exps, (1.0 - targets) * exps - targets
    )
    residual = residual / (1.0 + exps) * scale[:, None]
    return values, jnp.where(known, residual, 0.0)


def _unfused(loss: str) -> FusedLoss:
    """Returns a hinge in the form above; XLA computes the margins of both once."""

    def loss_and_residual(
        scores: jax.Array,
        labels: jax.Array,
        scale: jax.Array,
        smoothing: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        refuse_smoothing(loss, smoothing)
        per_lane = labels_per_lane(scores, labels, scale)
        values = losses.LOSSES[loss](scores, per_lane, axis=CLASSES)
        residual = gradients.logits_gradient(scores, per_lane, loss=loss, axis=CLASSES)
        return values, residual * scale[:, None]

    return loss_and_residual


def refuse_smoothing(loss: str, smoothing: jax.Array | None) -> None:
    """Refuses smoothed labels of a loss that has none."""
    if smoothing is not None and loss != SMOOTHED_LOSS:
        raise ValueError(f"{loss} has no label smoothing")


def labels_per_lane(
    scores: jax.Array, labels: jax.Array, scale: jax.Array
) -> jax.Array:
    """Returns labels as the functions of ``losses`` take them.

    ``(B, L)``, or ``(B, C, L)`` of targets ``(B, C)``.
    """
    require_shapes(scores.shape, labels, scale, targets=True)
    return jnp.broadcast_to(labels[..., None], (*labels.shape, scores.shape[-1]))


def require_shapes(
    shape: tuple[int, ...],
    labels: jax.Array,
    scale: jax.Array,
    *,
    targets: bool = False,
) -> None:
    """Refuses labels or a scale of one row, which would be broadcast to all rows.

    With ``targets`` labels may be ``(B, C)`` too.
    """
    rows, num_classes, lanes = shape
    of_rows = {(rows,), (rows, num_classes)} if targets else {(rows,)}
    if labels.shape not in of_rows or scale.shape not in {(rows, 1), (rows, lanes)}:
        raise ValueError(
            f"labels have shape {labels.shape} and weights {scale.shape}; expected "
            f"({rows},), and ({rows}, 1) or ({rows}, {lanes}), for logits of shape "
            f"{shape}"
        )


FUSED: MappingProxyType[str, FusedLoss] = MappingProxyType(
    {
        "softmax_cross_entropy": softmax_cross_entropy,
        "weston_watkins_hinge": _unfused("weston_watkins_hinge"),
        "crammer_singer_hinge": _unfused("crammer_singer_hinge"),
        "sigmoid_cross_entropy": sigmoid_cross_entropy,
    }
)
