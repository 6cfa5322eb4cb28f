"""The logits of each row by the classifier one Newton step away, without that row.

Equations (29) and (30) of ``docs/derivation.md``: the Hessian of all rows is factorised
once, and that without a row differs from it by low rank.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import linalg

from linclf_jax import curvature
from linclf_jax import losses as losses_lib


class Rows(NamedTuple):
    """All rows that have weight in some lane, in float64."""

    x: jax.Array  # (N, D)
    targets: jax.Array  # (N, C)
    sample_weights: jax.Array  # (L, N), normalised
    present: jax.Array  # (L, C) boolean, classes that have weight


class Lane(NamedTuple):
    """A classifier, and what its rows weigh."""

    W: jax.Array  # (C, D)
    b: jax.Array  # (C,), minus infinity for a class that is absent
    l2: jax.Array  # ()
    sample_weights: jax.Array  # (N,), normalised
    present: jax.Array  # (C,) boolean


def row_space(x: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Returns the rows in a basis of what they span around their mean, and a one.

    The bias is not penalised, so that it takes up the mean; directions in which no row
    has a component change no score. Constant and duplicate columns disappear.

    Returns:
        ``(N, R + 1)``, R at most the smaller of N - 1 and D; 0 in rows without weight.
    """
    rows = x[used]
    left, sizes, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    kept = sizes > sizes[0] * max(rows.shape) * np.finfo(np.float64).eps
    features = np.zeros((len(x), int(kept.sum()) + 1))
    features[used] = np.concatenate(
        [left[:, kept] * sizes[kept], np.ones((len(rows), 1))], axis=1
    )
    return features


@jax.jit
def predict(
    problem: Rows, features: jax.Array, lane: Lane
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns loss, correctness and logits of rows, by the classifier without each."""
    targets = problem.targets
    logits = _logits_without(problem, features, lane)
    losses = losses_lib.softmax_cross_entropy_with_targets(logits, targets)
    correct = jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1)
    # The step of the only row of a class is finite, but without that row the bias of
    # the class has no finite optimum.
    members = (targets > 0.0) & (lane.sample_weights > 0.0)[:, None]
    alone = jnp.any(members & (jnp.sum(members, axis=0) == 1)[None], axis=1)
    losses = jnp.where(alone & ~jnp.isnan(losses), jnp.inf, losses)
    return losses, correct & ~alone & ~jnp.isnan(losses), logits


def _logits_without(problem: Rows, features: jax.Array, lane: Lane) -> jax.Array:
    """Returns the logits of each row after the step without it, (30), ``(N, C)``."""
    logits = problem.x @ lane.W.T + lane.b[None]
    if len(lane.b) == 1:
        return logits  # a single class is always right, and has no contrasts
    basis = _contrasts(lane.present)
    probs = jax.nn.softmax(logits)
    residual = _residual(problem.targets, probs) @ basis
    jacobian = curvature.softmax_jacobian(logits)
    jacobian = jnp.einsum("ck,ncj,jl->nkl", basis, jacobian, basis)
    inverse = _inverse_hessian(features, lane, jacobian, basis)
    leverages = _leverages(features, inverse) * lane.sample_weights[:, None, None]
    moved = jnp.einsum("njk,nk->nj", leverages, residual)
    matrix = jnp.eye(basis.shape[1])[None] - leverages @ jacobian
    change = jnp.linalg.solve(matrix, moved[:, :, None])[:, :, 0]
    return logits + change @ basis.T


def _residual(targets: jax.Array, probs: jax.Array) -> jax.Array:
    """Returns ``p_i - t_i``, equations (8) and (9), ``(N, C)``."""
    classes = jnp.arange(targets.shape[1])[None]
    top = classes == jnp.argmax(targets, axis=1)[:, None]
    others = jnp.where(top, 0.0, probs - targets)
    return jnp.where(top, -jnp.sum(others, axis=1, keepdims=True), others)


def _contrasts(present: jax.Array) -> jax.Array:
    """Returns an orthonormal basis of scores without common shift, ``(C, C - 1)``.

    The shift is that of the classes that are present. It is one column of a Householder
    reflection, whose others are orthogonal to it; those of absent classes are units.
    """
    shift = present / jnp.sqrt(jnp.sum(present))
    first = jnp.argmax(present)
    normal = shift.at[first].add(1.0)
    reflection = 2.0 * jnp.outer(normal, normal) / jnp.sum(normal**2)
    others = (first + jnp.arange(1, len(present))) % len(present)
    return (jnp.eye(len(present)) - reflection)[:, others]


def _inverse_hessian(
    features: jax.Array, lane: Lane, jacobian: jax.Array, basis: jax.Array
) -> jax.Array:
    """Returns the inverse in the bases of classes and rows, ``(K, R + 1, K, R + 1)``.

    Written out, because every row needs all of it: N triangular solutions with K
    columns each would take N / R times as long.
    """
    num_classes, size = basis.shape[1], features.shape[1]
    penalty = jnp.diag(lane.l2 * (jnp.arange(size) < size - 1))
    # An absent class has no curvature: any will do that makes the Hessian regular, for
    # nothing else depends on it.
    absent = basis.T @ (basis * ~lane.present[:, None])

    def block(pair: jax.Array) -> jax.Array:
        j, k = pair
        weighted = features * (lane.sample_weights * jacobian[:, j, k])[:, None]
        moments = weighted.T @ features
        return moments + (j == k) * penalty + absent[j, k] * jnp.eye(size)

    # The factorisation reads the lower triangle alone.
    j, k = np.tril_indices(num_classes)
    blocks = jax.lax.map(block, (j, k))
    hessian = jnp.zeros((num_classes, size, num_classes, size))
    hessian = hessian.at[j, :, k, :].set(blocks)
    hessian = hessian.reshape(num_classes * size, num_classes * size)
    factor = jnp.linalg.cholesky(hessian, symmetrize_input=False)
    inverse = linalg.cho_solve((factor, True), jnp.eye(num_classes * size))
    return inverse.reshape(num_classes, size, num_classes, size)


def _leverages(features: jax.Array, inverse: jax.Array) -> jax.Array:
    """Returns ``X_i^T H^-1 X_i`` of every row, (29), as products of matrices."""

    def form(pair: jax.Array) -> jax.Array:
        j, k = pair
        return jnp.sum((features @ inverse[j, :, k, :]) * features, axis=1)

    num_classes = len(inverse)
    j, k = np.tril_indices(num_classes)
    forms = jax.lax.map(form, (j, k)).T
    leverages = jnp.zeros((len(features), num_classes, num_classes))
    return leverages.at[:, j, k].set(forms).at[:, k, j].set(forms)
