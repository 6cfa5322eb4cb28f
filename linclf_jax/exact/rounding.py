"""What float64 arithmetic can hide from a certificate, bounded and added to it.

Section 14 of ``docs/derivation.md`` proves the bound. The dual point is defined by the
probabilities that were computed, so that an error of a score counts in second order.
What counts in first order is relative to the residuals of equation (9): rounding in the
gradient, and means that are equal to rounding but not equal. The bounds hold for any
order of summation, and for less than 1e13 rows, or features times classes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact.objective import Primal
from linclf_jax.exact.problem import Lanes
from linclf_jax.exact.sums import Gradient

# The unit of rounding. The rest of what is computed here is rounded too, and products
# of such factors are a little more than their sum: a hundredth covers both.
UNIT = 1.01 * 2.0**-53
TINY = float(np.finfo(np.float64).tiny)  # what underflow hides
# Operations beside the sums: no number goes through more than a few dozen.
FEW = 40


@jax.jit
def slack(
    lanes: Lanes, W: jax.Array, primal: Primal, sums: Gradient
) -> tuple[jax.Array, jax.Array]:
    """Bounds what the gradient may lack, and what is added to the gap, ``(L,)`` each.

    The first is a norm; the second stands for the divergence and the bias.
    """
    sizes = _sizes(lanes, sums)
    num_classes, num_features = W.shape[1:]
    # A factor that all weights have in common is no error of any difference here; it is
    # one of the gradient, which ``penalty_error`` counts.
    relative = UNIT * (lanes.num_rows + 2 * num_classes + FEW)
    change, cost = _feasible(lanes, primal, sums, relative[:, None] * sizes.classes)
    several = jnp.sum(lanes.present, axis=1) > 1
    lost = jnp.where(several, TINY * num_classes, 0.0)
    gradient = (relative * sizes.norm + 1.5 * change) * lanes.row_norm
    gradient = gradient + lost * lanes.num_rows * lanes.largest_norm
    # Errors of scores, and of the probabilities as a tilt of those that are exact.
    size = _largest(lanes, W, primal.b, lanes.present)
    error = UNIT * (num_features + num_classes + FEW) * size
    # The last step of the bias leaves at least this factor of any probability.
    kept = jnp.maximum(1.0 - _range(lanes, primal.b_step), UNIT)
    tilt = 2.0 * (error + UNIT * (num_classes + FEW) / kept)
    divergence = _divergence(primal, tilt, sizes.doubt / kept, relative)
    bias = _bias(lanes, W, primal, sizes, kept, tilt, error, relative)
    # The scores' part of the cost is a sum over rows of scores, or of their halves.
    cost = cost + 4.0 * lanes.num_rows * error
    excess = divergence + bias + change * cost + 4.0 * lost
    return gradient, jnp.where(jnp.isnan(excess), jnp.inf, excess)


def gap(
    gradient: jax.Array,
    W: jax.Array,
    l2: jax.Array,
    gradient_error: jax.Array,
    num_rows: jax.Array,
) -> jax.Array:
    """Returns a bound of ``||gradient||^2 / (2 l2)``, ``(L,)``.

    Args:
        gradient: ``(L, C, D)`` with respect to W, as computed.
        gradient_error: ``(L,)``, norm of what the sum over rows may lack.
        num_rows: ``(L,)``, N, whose sum of weights all sample weights have as a factor.
    """
    relative = UNIT * (gradient.shape[1] * gradient.shape[2] + FEW)
    norm = _norm(gradient) * (1.0 + relative)
    norm = norm * (1.0 + UNIT * num_rows) + gradient_error
    norm = norm + penalty_error(W, l2, num_rows)
    # Twice the penalty may not be finite, and what the square lost is at most TINY.
    bound = 0.5 * ((norm**2 * (1.0 + FEW * UNIT) + TINY) / l2)
    unpenalised = (l2 == 0.0) | ~jnp.any(W, axis=(1, 2))
    exact = ~jnp.any(gradient, axis=(1, 2)) & (gradient_error == 0.0) & unpenalised
    bound = jnp.where(exact, 0.0, bound)
    # Infinity times 0 is NaN: the bound is infinite, and the lane is not invalid.
    lost = jnp.isnan(bound) & jnp.all(jnp.isfinite(W), axis=(1, 2)) & ~jnp.isnan(l2)
    return jnp.where(lost, jnp.inf, bound)


def penalty_error(W: jax.Array, l2: jax.Array, num_rows: jax.Array) -> jax.Array:
    """Returns the norm of what rounding may change in ``l2 W``, ``(L,)``.

    And that of a factor of all sample weights: the sum over rows is the gradient less
    this.
    """
    return UNIT * (num_rows + 4) * l2 * _norm(W)


def _norm(array: jax.Array) -> jax.Array:
    """Returns at least the norm of each lane, but for rounding, ``(L,)``.

    Squares below ``TINY`` are lost: all of them are added.
    """
    lost = TINY * array.shape[1] * array.shape[2]
    return jnp.sqrt(jnp.sum(array**2, axis=(1, 2)) + lost)


class _Sizes(NamedTuple):
    """How large the residuals are at most, and what rounding of them is relative to."""

    classes: jax.Array  # (L, C), mean over the rows
    norm: jax.Array  # (L,), root mean square of the rows' norms
    doubt: jax.Array  # (L,), mean probability of all classes but the likeliest target


def _sizes(lanes: Lanes, sums: Gradient) -> _Sizes:
    """Returns sizes: for hard labels those of the residuals themselves.

    Without a pass over the probabilities: no norm exceeds the sum over a row, and what
    a class has in the rows of others follows from its own and the mean residual.
    """
    classes = jnp.abs(sums.means) + 2.0 * (sums.of_top + sums.of_others)
    # What underflow hides counts, for an error of the scores may make it large.
    several = jnp.sum(lanes.present, axis=1) > 1
    hidden = jnp.where(several, TINY * sums.means.shape[1], 0.0)
    return _Sizes(
        classes=jnp.where(lanes.present, classes, 0.0),
        norm=jnp.sqrt(2.0 * (sums.squares + hidden)),
        doubt=sums.others + hidden,
    )


def _feasible(
    lanes: Lanes, primal: Primal, sums: Gradient, error: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns how much of another distribution makes the means equal, and its cost.

    The same in all rows: that of the targets, moved against the error of the means.
    """
    off = jnp.abs(sums.means) + error
    off = off / jnp.where(lanes.present, lanes.target_means, 1.0)
    share = 1.01 * jnp.max(jnp.where(lanes.present, off, 0.0), axis=1)
    # The mean divergence from the targets' means, but for the entropy, at most twice.
    cost = 0.5 * _losses(primal) + primal.alignment
    return share, 2.0 * jnp.maximum(cost, 0.0)


def _losses(primal: Primal) -> jax.Array:
    """Returns at least the sum of both losses: at the best bias, and as given."""
    return primal.best_objective + primal.objective


def _divergence(
    primal: Primal, tilt: jax.Array, doubt: jax.Array, relative: jax.Array
) -> jax.Array:
    """Returns the mean divergence of q from the exact probabilities at its bias."""
    decrement = _variance(primal.jacobian, primal.b_step) * (1.0 + relative)
    # Half of the square, and e^tilt for the variance on the way from one to the other.
    error = 0.71 * jnp.exp(0.5 * tilt) * tilt * jnp.sqrt(doubt)
    return (jnp.sqrt(decrement) + jnp.where(doubt > 0.0, error, 0.0)) ** 2


def _bias(
    lanes: Lanes,
    W: jax.Array,
    primal: Primal,
    sizes: _Sizes,
    kept: jax.Array,
    tilt: jax.Array,
    error: jax.Array,
    relative: jax.Array,
) -> jax.Array:
    """Returns what the bias as given costs: the lower of two bounds.

    One is the difference of the two losses with all their rounding. The other is of
    second order in the change: above its tangent the loss is at most as far as its
    curvature, e to the range of the change times that here, allows.
    """
    change = jnp.where(lanes.present, primal.b_change, 0.0)
    reach = _range(lanes, change)
    top = jnp.max(jnp.where(lanes.present, change, -jnp.inf), axis=1)
    change = jnp.where(lanes.present, change - (top - 0.5 * reach)[:, None], 0.0)
    curvature = _variance(primal.jacobian, change) * (1.0 + relative)
    tangent = jnp.maximum(jnp.sum(primal.b_gradient * change, axis=1), 0.0)
    hidden = relative * jnp.sum(sizes.classes * jnp.abs(change), axis=1) / kept
    hidden += jnp.exp(tilt) * tilt * jnp.sqrt(curvature * sizes.doubt / kept)
    near = tangent + hidden + 0.5 * jnp.exp(reach + 2.0 * tilt) * curvature
    near = jnp.where(reach == 0.0, 0.0, near)
    # Where a class without weight has a bias, the tangent says nothing of its cost.
    near = jnp.where(jnp.all(jnp.isfinite(primal.b_change), axis=1), near, jnp.inf)
    # Of all classes with a bias: one without weight has its part in the loss as given.
    size = _largest(lanes, W, primal.given_b, jnp.isfinite(primal.given_b))
    num_classes, num_features = W.shape[1:]
    more = UNIT * (num_features + num_classes + FEW) * size
    far = primal.b_cost + 2.0 * relative * _losses(primal) + 4.0 * (error + more)
    return jnp.fmin(near, jnp.where(jnp.isnan(far), jnp.inf, far))


def _largest(lanes: Lanes, W: jax.Array, b: jax.Array, classes: jax.Array) -> jax.Array:
    """Returns the largest score that the rounding of one may be relative to, ``(L,)``.

    Of some classes, boolean ``(L, C)``.
    """
    sizes = jnp.einsum("lcd,ld->lc", jnp.abs(W), lanes.column_sizes) + jnp.abs(b)
    return jnp.max(jnp.where(classes, sizes, 0.0), axis=1)


def _variance(jacobian: jax.Array, vector: jax.Array) -> jax.Array:
    """Returns ``v^T J v`` as a sum of terms that are not negative, ``(L,)``."""
    others = -jacobian * (1.0 - jnp.eye(jacobian.shape[1])[None])
    vector = jnp.where(jnp.isfinite(vector), vector, 0.0)
    differences = vector[:, :, None] - vector[:, None, :]
    return 0.5 * jnp.sum(others * differences**2, axis=(1, 2))


def _range(lanes: Lanes, array: jax.Array) -> jax.Array:
    """Returns the range over the classes that are present, ``(L, ...)``."""
    mask = lanes.present.reshape(lanes.present.shape + (1,) * (array.ndim - 2))
    top = jnp.max(jnp.where(mask, array, -jnp.inf), axis=1)
    return top - jnp.min(jnp.where(mask, array, jnp.inf), axis=1)
