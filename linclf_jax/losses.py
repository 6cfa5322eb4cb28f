"""Losses, one value per example, and the objective that averages and penalises them.

Every loss takes floating ``logits (N, C)`` and integer ``labels (N,)``, and returns one
value per example, ``(N,)``, computed in at least float32, in the dtype of the logits.
``sigmoid_cross_entropy`` takes targets ``(N, C)`` too, of which some may be unknown.
``axis`` says where the classes are, should they not be last; the labels have the shape
of the logits without it. Written plainly, so that ``jax.grad`` differentiates them to
any order; ``gradients`` holds the derivatives by hand.

A label outside ``0..C-1`` gives NaN, never a plausible number; ``validation`` refuses
such labels with a message before anything is traced. A logit of plus infinity is the
limit of one that grows: the loss is 0 where it is the label's and infinite where it is
another's. Of several in a row the limit depends on which grows fastest, and the
softmax is NaN; a hinge is NaN where the label's is one of them, and else infinite.
A row of weight 0 takes no part in a mean, whatever is in it; see ``weighting``.
"""

from types import MappingProxyType
from typing import Protocol

import jax
import jax.numpy as jnp

from linclf_jax import classes, weighting
from linclf_jax import params as params_lib
from linclf_jax.params import Params


class Loss(Protocol):
    """A loss per example: ``loss(logits, labels, axis=-1)``."""

    def __call__(
        self, logits: jax.Array, labels: jax.Array, *, axis: int = -1
    ) -> jax.Array:
        """Returns one value per example."""
        ...


def log_softmax(logits: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns the log-probabilities, equation (5), accurate where they vanish.

    With k the first class of largest logit,

      log p_j = (s_j - s_k) - log1p(sum_{l != k} exp(s_l - s_k)).

    ``logsumexp`` adds the 1 of class k to terms that may be far below its last digit;
    ``log1p`` keeps them, so that a confident, right prediction has a loss of 1e-30 and
    not of 0. Common shifts cancel in the subtraction, exactly.

    Of the shape and dtype of ``logits``, ``(..., C)``. There minus infinity masks a
    class, and one of plus infinity takes all of the probability; a row with several is
    NaN.

    >>> print(f"{log_softmax(jnp.array([50.0, 0.0]))[0]:.4e}")
    -1.9287e-22
    """
    scores = params_lib.at_least_float32(logits)
    top = classes.mask(jnp.argmax(scores, axis=axis), scores, axis=axis)
    # Picked rather than jnp.max, whose derivative at a tie is split among the tied
    # classes: right once, wrong in the second derivative.
    largest = classes.pick(scores, top, axis=axis)
    # Infinity minus itself is NaN: right of a second infinity, not of the only one.
    shifted = jnp.where(top & jnp.isposinf(scores), 0.0, scores - largest)
    others = jnp.where(top, 0.0, jnp.exp(shifted))
    log_probs = shifted - jnp.log1p(jnp.sum(others, axis=axis, keepdims=True))
    return log_probs.astype(logits.dtype)


def softmax_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns ``-log p[label]``, equation (4), at least 0.

    >>> logits = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
    >>> print(f"{softmax_cross_entropy(logits, jnp.array([1]))[0]:.6f}")  # log 4
    1.386294
    """
    scores = params_lib.at_least_float32(logits)
    # 0 - v rather than -v: a loss of zero prints as 0.0, not as -0.0.
    log_probs = log_softmax(scores, axis=axis)
    return (0.0 - classes.at_label(log_probs, labels, axis=axis)).astype(logits.dtype)


def softmax_cross_entropy_with_targets(
    logits: jax.Array, targets: jax.Array
) -> jax.Array:
    """Returns ``-sum_j t_j log p_j``, equation (4), for soft targets.

    The targets are ``(N, C)`` and not negative; rows normally sum to one. A target of 0
    on a class of logit minus infinity adds 0.
    """
    classes.require_same_shape("targets", targets, "logits", logits)
    scores = params_lib.at_least_float32(logits)
    targets = targets.astype(scores.dtype)
    used = targets != 0
    # Both factors are masked: a bare 0 * inf would be NaN here or in the derivative.
    terms = jnp.where(used, targets, 0.0) * jnp.where(used, log_softmax(scores), 0.0)
    return (0.0 - jnp.sum(terms, axis=-1)).astype(logits.dtype)


def smooth_labels(
    labels: jax.Array, num_classes: int, smoothing: float | jax.Array
) -> jax.Array:
    """Returns targets ``(1 - a) one_hot + a / C`` for the smoothing ``a``.

    ``(N, C)``, in the default float dtype; NaN for a label out of range. The smoothing
    goes from 0 (one-hot) to 1 (uniform), and may be traced.
    """
    classes.require_scalar("smoothing", smoothing)
    zeros = jnp.zeros((*jnp.shape(labels), num_classes))
    one_hot = classes.mask(labels, zeros).astype(zeros.dtype)
    targets = (1.0 - smoothing) * one_hot + smoothing / num_classes
    return jnp.where(jnp.any(one_hot, axis=-1, keepdims=True), targets, jnp.nan)


def weston_watkins_hinge(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns ``sum_{j != y} max(0, s_j - s_y + 1)``, equation (24).

    The multi-class SVM loss of Weston and Watkins (1999), summed over the classes.
    """
    margins = hinge_margins(logits, labels, axis=axis)
    return jnp.sum(jax.nn.relu(margins), axis=axis).astype(logits.dtype)


def crammer_singer_hinge(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns ``max(0, max_{j != y} s_j - s_y + 1)``, equation (26).

    The multi-class SVM loss of Crammer and Singer (2001): the worst class alone.
    """
    margins = hinge_margins(logits, labels, axis=axis)
    worst = classes.at_label(margins, jnp.argmax(margins, axis=axis), axis=axis)
    return jax.nn.relu(worst).astype(logits.dtype)


def sigmoid_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns ``sum_k -t_k log sigma(s_k) - (1 - t_k) log sigma(-s_k)``, equation (36).

    The sum over the labels that are known: binary logistic regression of each label,
    all with one penalty; of one column, with targets ``labels[:, None]``, it is binary
    logistic regression itself. A row of which nothing is known has a loss of 0, and its
    weight counts as any other's.

    Each term is ``a |s| + log1p(exp(-|s|))``, with a the share of the target that the
    sign of s speaks against: no term is negative, so nothing cancels.

    Args:
        logits: ``(N, K)``, of any sign and size; of several infinities each is its own
            limit, for the labels do not compete.
        labels: Targets ``(N, K)`` of 0 and 1 or, floating, of shares in between. Minus
            one of an integer dtype, NaN of a floating one, is unknown. Or ``(N,)``,
            integers in ``0..K-1``: each class against the rest.
        axis: Of the K labels.

    >>> targets = jnp.array([[1, 0, -1]])
    >>> print(f"{sigmoid_cross_entropy(jnp.zeros((1, 3)), targets)[0]:.6f}")  # 2 log 2
    1.386294
    """
    scores = params_lib.at_least_float32(logits)
    targets, known = classes.binary_targets(labels, scores, axis=axis)
    scores = jnp.where(known, scores, 0.0)
    is_above = scores > 0
    # Picked rather than jnp.abs, whose derivative at 0 is 0: there a term has slope
    # 1/2 - t, and all logits of W = 0 are there.
    size = jnp.where(is_above, scores, -scores)
    against = jnp.where(is_above, 1.0 - targets, targets)
    # Nothing speaks against an infinity that is right, and 0 * inf would be NaN.
    bounded = jnp.where((against == 0) & jnp.isinf(size), 0.0, size)
    terms = against * bounded + jnp.log1p(jnp.exp(-size))
    return jnp.sum(jnp.where(known, terms, 0.0), axis=axis).astype(logits.dtype)


LOSSES: MappingProxyType[str, Loss] = MappingProxyType(
    {
        "softmax_cross_entropy": softmax_cross_entropy,
        "weston_watkins_hinge": weston_watkins_hinge,
        "crammer_singer_hinge": crammer_singer_hinge,
        "sigmoid_cross_entropy": sigmoid_cross_entropy,
    }
)


# Losses whose logits are logarithms of the probabilities of the classes, but for a
# constant: of them there are log-loss on test rows, a temperature and calibration. A
# sigmoid's probabilities are each of one label against its absence: those of a row need
# not sum to 1, and the softmax of its logits is nobody's probability.
PROBABILISTIC = frozenset({"softmax_cross_entropy"})


# Losses of logistic regression, whose penalty has a strength C in scikit-learn; of the
# separate one each label is a regression of its own.
SEPARATE = "sigmoid_cross_entropy"
LOGISTIC = frozenset({"softmax_cross_entropy", SEPARATE})


def known(loss: str) -> str:
    """Returns the name of a loss; raises ``ValueError`` if there is no such loss."""
    if loss not in LOSSES:
        raise ValueError(f"no loss is named {loss!r}; expected one of {list(LOSSES)}")
    return loss


def objective(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    loss: str,
    l2: float | jax.Array,
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Returns ``sum_i w_i loss_i / sum_i w_i + (l2 / 2) ||W||^2``, equation (17).

    Args:
        params: ``W (D, C)`` and ``b (C,)``; the bias is not penalised.
        x: Features ``(N, D)``.
        labels: ``(N,)``, integers in ``0..C-1``, or targets of a loss that takes them.
        loss: A name in ``LOSSES``.
        l2: Strength of the penalty, at least 0.
        weights: Example weights ``(N,)``, not all zero; None weighs all alike. A row of
            weight 0 takes no part, whatever is in it.
        precision: Of the product, as in ``jax.lax.dot``.

    Returns:
        A scalar of the dtype of ``W``.

    Raises:
        ValueError: There is no such loss, or the shapes are others.
    """
    classes.require_scalar("l2", l2)
    rows = weighting.rows(params, x, weights, precision=precision)
    labels = weighting.mask_labels(labels, weights, rows.logits)
    values = LOSSES[known(loss)](rows.logits, labels)
    penalty = 0.5 * l2 * jnp.sum(jnp.square(params.W.astype(values.dtype)))
    return (weighted_mean(values, weights) + penalty).astype(params.W.dtype)


def weighted_mean(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Returns ``sum_i w_i v_i / sum_i w_i``, a scalar, of values ``(N,)``.

    Weights ``(N,)`` are not all zero; None weighs all alike. A value of weight 0 takes
    no part, be it infinite or NaN.
    """
    if values.ndim != 1:
        raise ValueError(f"values have shape {values.shape}; expected (N,)")
    if weights is None:
        return jnp.mean(values)
    values = weighting.mask(values, weights)
    weights = classes.as_weights(weights, values)
    return jnp.sum(weights * values) / jnp.sum(weights)


def hinge_margins(logits: jax.Array, labels: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns ``s_j - s_y + 1``, and 0 for the true class, ``(N, C)``.

    In at least float32: a margin is a difference, and what is lost in it stays lost. A
    row is NaN as a whole where a logit is, or the label out of range, or two infinities
    are compared.
    """
    scores = params_lib.at_least_float32(logits)
    true_score = jnp.expand_dims(classes.at_label(scores, labels, axis=axis), axis)
    true_class = classes.mask(labels, scores, axis=axis)
    # The label's own column is a constant 0, not s_y - s_y, which is NaN for inf.
    margins = jnp.where(true_class, 0.0, scores - true_score + 1.0)
    # relu and argmax drop a NaN from the derivative; a factor carries it to all of it.
    unknown = jnp.isnan(margins) | jnp.isnan(true_score)
    unknown = jnp.any(unknown, axis=axis, keepdims=True)
    return margins * jnp.where(unknown, jnp.nan, 1.0).astype(margins.dtype)
