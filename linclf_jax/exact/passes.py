"""Passes over the rows: the objective with its gradient, its curvature, and products.

Everything of the size of the rows is in the dtype of the table. Sums over rows that the
steps add to, compare and solve with are float64.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax.exact.table import Table

HIGHEST = jax.lax.Precision.HIGHEST


class Lanes(NamedTuple):
    """What is a lane's own, at any parameters."""

    sample_weights: jax.Array  # (L, N) in the dtype of the table, normalised
    present: jax.Array  # (L, C) boolean, classes that have weight
    l2: jax.Array  # (L,) float64


class Iterate(NamedTuple):
    """Parameters of all lanes, and what a pass over the rows says of them."""

    A: jax.Array  # (L, C, P) float64; 0 for classes that are absent
    objective: jax.Array  # (L,) float64
    gradient: jax.Array  # (L, C, P) float64
    probs: jax.Array  # (L, C, N)


def evaluate(table: Table, lanes: Lanes, A: jax.Array) -> Iterate:
    """Evaluates objective and gradient.

    Three programs: in one, XLA computes the exponentials again for each of their uses.
    """
    scores, largest, exponentials = _scores(table, lanes, A)
    loss, probs = _losses(table, lanes, scores, largest, exponentials)
    return _gradient(table, lanes, A, loss, probs)


@jax.jit
def _scores(
    table: Table, lanes: Lanes, A: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns scores ``(L, C, N)``, the largest ``(L, N)``, and exponentials below."""
    scores = _times(A, table.xt)
    scores = jnp.where(lanes.present[:, :, None], scores, -jnp.inf)
    largest = jnp.max(scores, axis=1)
    return scores, largest, jnp.exp(scores - largest[:, None])


@jax.jit
def _losses(
    table: Table,
    lanes: Lanes,
    scores: jax.Array,
    largest: jax.Array,
    exponentials: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the weighted mean loss ``(L,)`` and probabilities ``(L, C, N)``."""
    weights, total = lanes.sample_weights, jnp.sum(exponentials, axis=1)
    # Without the largest, which is 1: a confident row keeps the digits of its loss.
    others = jnp.sum(jnp.where(exponentials < 1.0, exponentials, 0.0), axis=1)
    others = jnp.where(total < 2.0, others, total - 1.0)  # several are the largest
    if table.targets is None:
        index = jnp.broadcast_to(table.top_target, (len(scores), 1, len(table.x)))
        behind = largest - jnp.take_along_axis(scores, index, axis=1)[:, 0]
    else:
        below = largest[:, None] - scores
        used = table.targets[None] > 0.0
        behind = jnp.sum(jnp.where(used, table.targets[None] * below, 0.0), axis=1)
    losses = jnp.log1p(others) + behind
    # A row without weight may have an infinite loss, if its class is absent.
    weighted = jnp.where(weights > 0.0, weights * losses, weights)
    loss = jnp.sum(weighted.astype(jnp.float64), axis=1)
    return loss, exponentials * (1.0 / total)[:, None]


@jax.jit
def _gradient(
    table: Table, lanes: Lanes, A: jax.Array, loss: jax.Array, probs: jax.Array
) -> Iterate:
    top = _is_class(table.top_target[None], probs)
    others = probs if table.targets is None else probs - table.targets[None]
    residual = _with_top(jnp.where(top, 0.0, others), top)
    residual = residual * lanes.sample_weights[:, None]
    penalty = lanes.l2[:, None, None] * table.penalised[None, None] * A
    gradient = _times(residual, table.x).astype(A.dtype) + penalty
    objective = loss + 0.5 * jnp.sum(penalty * A, axis=(1, 2))
    return Iterate(A, objective, gradient, probs)


def hessian_product(
    table: Table, lanes: Lanes, probs: jax.Array, vector: jax.Array
) -> jax.Array:
    """Returns the Hessian times ``(L, C, P)`` vectors, float64."""
    scores = _times(vector, table.xt)
    mean = jnp.sum(probs * scores, axis=1, keepdims=True)
    change = lanes.sample_weights[:, None] * probs * (scores - mean)
    # Where a row is confident the score of its class is their mean, but for rounding.
    top = _is_class(table.top_target[None], probs)
    change = _with_top(jnp.where(top, 0.0, change), top)
    product = _times(change, table.x).astype(vector.dtype)
    penalty = lanes.l2[:, None, None] * table.penalised[None, None]
    return product + penalty * vector


def mean_jacobian(lanes: Lanes, probs: jax.Array) -> jax.Array:
    """Returns ``sum_i s_i (diag(p_i) - p_i p_i^T)``, ``(L, C, C)`` float64."""
    weighted = probs * lanes.sample_weights[:, None]
    products = jnp.einsum("lcn,lkn->lck", weighted, probs, precision=HIGHEST)
    # From the other classes' entries: 1 - p_j would be 0 once p_j rounds to 1.
    identity = jnp.eye(probs.shape[1])[None]
    products = products.astype(jnp.float64) * (1.0 - identity)
    return jnp.sum(products, axis=2)[:, :, None] * identity - products


def _times(left: jax.Array, right: jax.Array) -> jax.Array:
    """Returns ``(L, C, A)`` times ``(A, B)``, in the dtype of the latter."""
    lanes, classes, _ = left.shape
    flat = left.reshape(lanes * classes, -1).astype(right.dtype)
    return jnp.matmul(flat, right, precision=HIGHEST).reshape(lanes, classes, -1)


def _is_class(index: jax.Array, probs: jax.Array) -> jax.Array:
    return index[:, None] == jnp.arange(probs.shape[1])[None, :, None]


def _with_top(others: jax.Array, top: jax.Array) -> jax.Array:
    """Fills in the entry that is minus the sum of the others, which is 0 in them."""
    return jnp.where(top, -jnp.sum(others, axis=1, keepdims=True), others)
