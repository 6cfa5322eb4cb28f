"""Every first derivative of ``losses``, by hand.

The gradient of any loss with respect to the logits, ``residual (N, C)``, determines all
others: a product with ``x`` gives the gradient of W, a sum that of b, a product with W
that of x. ``docs/derivation.md`` derives each; the numbers are its equations.

Arguments are those of ``losses.objective``. A gradient with respect to the logits is
``(N, C)``, of their dtype; without soft targets each row sums to 0, but that of the
sigmoid, whose labels do not compete.
"""

import functools
from types import MappingProxyType

import jax
import jax.numpy as jnp

from linclf_jax import classes, losses, weighting
from linclf_jax import params as params_lib
from linclf_jax.params import Params


def softmax_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns ``p_j - t_j``, equation (8), the true class by equation (9).

    ``p_y - 1`` is 0 in floating point as soon as ``p_y`` rounds to 1; minus the sum of
    the other probabilities is the same number with all its digits.
    """
    exps = _shifted_exp(logits, axis=axis)
    true_class = classes.mask(labels, exps, axis=axis)
    others = jnp.where(true_class, 0.0, exps)
    numerator = jnp.where(true_class, -_class_sum(others, axis), exps)
    valid = jnp.any(true_class, axis=axis, keepdims=True)
    total = jnp.where(valid, _class_sum(exps, axis), jnp.nan)
    return (numerator / total).astype(logits.dtype)


def softmax_cross_entropy_with_targets(
    logits: jax.Array, targets: jax.Array
) -> jax.Array:
    """Returns ``p_j sum_k t_k - t_j``, equation (8), for soft targets.

    Computed as ``p_j sum_{k != j} t_k - t_j sum_{k != j} p_k``, in which a target of 1
    meets no ``p - 1``. The sums without one class take C^2 additions a row.
    """
    classes.require_same_shape("targets", targets, "logits", logits)
    exps = _shifted_exp(logits, axis=-1)
    targets = targets.astype(exps.dtype)
    others = 1.0 - jnp.eye(logits.shape[-1], dtype=exps.dtype)
    other_exps, other_targets = (
        jnp.matmul(values, others, precision="highest") for values in (exps, targets)
    )
    numerator = exps * other_targets - targets * other_exps
    return (numerator / _class_sum(exps, -1)).astype(logits.dtype)


def weston_watkins_hinge(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns the subgradient of equation (25): one for each class within the margin.

    At the kink, where ``s_j - s_y + 1 = 0``, class j adds 0.
    """
    margins = losses.hinge_margins(logits, labels, axis=axis)
    violated = jnp.heaviside(margins, 0.0)
    return _against_true_class(violated, labels, axis).astype(logits.dtype)


def crammer_singer_hinge(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns the subgradient of equation (27): the worst class against the true one.

    Of several worst classes the first counts; at the kink the subgradient is 0.
    """
    margins = losses.hinge_margins(logits, labels, axis=axis)
    worst = classes.mask(jnp.argmax(margins, axis=axis), margins, axis=axis)
    step = jnp.heaviside(margins, 0.0)
    violated = jnp.where(worst | jnp.isnan(step), step, 0.0)
    return _against_true_class(violated, labels, axis).astype(logits.dtype)


def sigmoid_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, axis: int = -1
) -> jax.Array:
    """Returns ``sigma(s_k) - t_k``, equation (37); 0 where a label is unknown.

    Computed as ``(1 - t_k) sigma(s_k) - t_k sigma(-s_k)``, in which a target of 1 meets
    no ``sigma - 1``. A NaN stays in its label, for the others do not depend on it.
    """
    scores = params_lib.at_least_float32(logits)
    targets, known = classes.binary_targets(labels, scores, axis=axis)
    holds, fails = sigmoids(jnp.where(known, scores, 0.0))
    residual = (1.0 - targets) * holds - targets * fails
    return jnp.where(known, residual, 0.0).astype(logits.dtype)


def sigmoids(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns ``sigma(s)`` and ``sigma(-s)``, neither as 1 minus the other."""
    is_above = scores > 0
    # Not jnp.abs, whose derivative at 0 is 0.
    less = jnp.exp(jnp.where(is_above, -scores, scores))
    likelier, other = 1.0 / (1.0 + less), less / (1.0 + less)
    return (
        jnp.where(is_above, likelier, other),
        jnp.where(is_above, other, likelier),
    )


LOGITS_GRADIENTS: MappingProxyType[str, losses.Loss] = MappingProxyType(
    {
        "softmax_cross_entropy": softmax_cross_entropy,
        "weston_watkins_hinge": weston_watkins_hinge,
        "crammer_singer_hinge": crammer_singer_hinge,
        "sigmoid_cross_entropy": sigmoid_cross_entropy,
    }
)


def logits_gradient(
    logits: jax.Array, labels: jax.Array, *, loss: str, axis: int = -1
) -> jax.Array:
    """Returns ``d loss_i / d logits_i`` of the named loss for each example."""
    return LOGITS_GRADIENTS[losses.known(loss)](logits, labels, axis=axis)


def objective_gradient(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    loss: str,
    l2: float | jax.Array,
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> Params:
    """Returns the gradient of ``losses.objective``, equations (18) and (19).

    It has the shapes and dtypes of ``params``.
    """
    classes.require_scalar("l2", l2)
    rows = weighting.rows(params, x, weights, precision=precision)
    residual = _weighted_residual(rows.logits, labels, loss=loss, weights=weights)
    W = jnp.matmul(rows.features.T, residual, precision=precision)
    W = W + l2 * params.W.astype(W.dtype)
    b = jnp.sum(residual, axis=0)
    return Params(W.astype(params.W.dtype), b.astype(params.b.dtype))


def inputs_gradient(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    loss: str,
    weights: jax.Array | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Returns the gradient of ``losses.objective`` with respect to ``x``, (20).

    ``(N, D)``, of the dtype of ``x``, floating; row i holds the factor ``w_i / sum w``.
    """
    rows = weighting.rows(params, x, weights, precision=precision)
    residual = _weighted_residual(rows.logits, labels, loss=loss, weights=weights)
    W = params_lib.at_least_float32(params.W)
    return jnp.matmul(residual, W.T, precision=precision).astype(x.dtype)


def per_example_gradient_norms(
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    *,
    loss: str,
    precision: jax.lax.PrecisionLike = None,
) -> Params:
    """Returns the norms of each example's own gradient, equation (16).

    The gradient of one example is the outer product of its features and its residual,
    so its norm is the product of theirs and no ``(N, D, C)`` array is formed. The norm
    of the whole gradient of an example is ``jnp.hypot(norms.W, norms.b)``. The penalty
    takes no part.

    Returns:
        ``Params`` with Frobenius norms as ``W (N,)`` and Euclidean ones as ``b (N,)``.
    """
    scores = params_lib.logits(params, x, precision=precision)
    residual = logits_gradient(scores, labels, loss=loss)
    features = params_lib.at_least_float32(x)
    b = _row_norms(residual)
    W = _row_norms(features) * b
    return Params(W.astype(params.W.dtype), b.astype(params.b.dtype))


def with_manual_gradient(loss: str) -> losses.Loss:
    """Returns the named loss, whose ``jax.grad`` is the gradient written here.

    Forward mode, reverse mode, ``vmap`` and ``jit`` work, and a second derivative is
    the derivative of the hand-written first one. Lost is what a rule must fix in
    advance: labels and targets take no tangent, and derivatives with
    respect to anything that the loss closes over cannot be asked for.

    >>> loss = with_manual_gradient("softmax_cross_entropy")
    >>> total = lambda logits: loss(logits, jnp.array([0])).sum()
    >>> gradient = jax.grad(total)(jnp.array([[50.0, 0.0]]))
    >>> print(f"{gradient[0, 0]:.4e} {gradient[0, 1]:.4e}")
    -1.9287e-22 1.9287e-22
    """
    value = losses.LOSSES[losses.known(loss)]

    @functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
    def rule(logits, labels, axis):
        return value(logits, labels, axis=axis)

    @rule.defjvp
    def rule_jvp(axis, primals, tangents):
        logits, labels = primals
        gradient = logits_gradient(logits, labels, loss=loss, axis=axis)
        return rule(logits, labels, axis), jnp.sum(gradient * tangents[0], axis=axis)

    def manual(logits, labels, *, axis=-1):
        return rule(logits, labels, axis)

    return manual


def _shifted_exp(logits: jax.Array, *, axis: int) -> jax.Array:
    """Returns ``exp(s_j - max_k s_k)``, the numerators of equation (3), ``(N, C)``.

    Dividing them by their sum, and not ``exp(s_j - logsumexp)``, keeps the digits that
    a large common shift would cost. In at least float32.
    """
    scores = classes.with_limits(params_lib.at_least_float32(logits), axis=axis)
    # The shift cancels in every quotient, so its derivative is zero, not merely small.
    top = jax.lax.stop_gradient(jnp.max(scores, axis=axis, keepdims=True))
    return jnp.exp(scores - top)


def _weighted_residual(
    logits: jax.Array, labels: jax.Array, *, loss: str, weights: jax.Array | None
) -> jax.Array:
    """Returns ``w_i R_i / sum w``, ``(N, C)``."""
    labels = weighting.mask_labels(labels, weights, logits)
    residual = logits_gradient(logits, labels, loss=loss)
    if weights is None:
        return residual / residual.shape[0]
    return residual * weighting.shares(weights, residual)[:, None]


def _against_true_class(violated: jax.Array, labels: jax.Array, axis: int) -> jax.Array:
    """Sets the true class to minus the sum of the ``violated`` others, ``(N, C)``."""
    true_class = classes.mask(labels, violated, axis=axis)
    return jnp.where(true_class, -_class_sum(violated, axis), violated)


def _row_norms(rows: jax.Array) -> jax.Array:
    """Returns Euclidean norms; the square of 1e-30 underflows, so scale comes out."""
    largest = jnp.max(jnp.abs(rows), axis=-1)
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.linalg.norm(rows / scale[..., None], axis=-1)


def _class_sum(values: jax.Array, axis: int) -> jax.Array:
    return jnp.sum(values, axis=axis, keepdims=True)
