"""Principal axes of the features, in which the Hessian is almost diagonal.

The Hessian of the softmax cross-entropy is a mean of ``J_i (x) x_i x_i^T`` over rows,
with the C x C softmax Jacobians ``J_i``. Taken apart into the mean Jacobian and a mean
second moment, it would be diagonal between the eigenvectors of the one and those of the
other. The eigenvectors of the features' covariance serve for all lanes, penalties and
steps: they are found once, and the preconditioner costs nothing but a division.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

FLOOR = 1e-12  # of the largest curvature, where there is no penalty


class Axes(NamedTuple):
    """Features in the basis of their principal axes, for the inner products."""

    mean: jax.Array  # (D,) float64
    spread: jax.Array  # () float64, mean squared distance of a row from the mean
    basis: jax.Array  # (D, R) float64, orthonormal; R is the smaller of N and D
    x: jax.Array  # (N, R) float32, or float64 once widened; centred and rotated
    # The same with the rows last. XLA copies a transposed operand before each product
    # on CPU: with both layouts a product of 10,000 x 784 takes 0.6 of the time.
    xt: jax.Array  # (R, N)


class Preconditioner(NamedTuple):
    """The inverse of an approximate Hessian, diagonal between two bases."""

    classes: jax.Array  # (L, C, C), the columns are eigenvectors of the mean Jacobian
    curvature: jax.Array  # (L, C, R)


@jax.jit
def principal(x: jax.Array) -> Axes:
    """Finds the axes; with more columns than rows, in the space of the rows.

    Args:
        x: ``(N, D)`` float64.
    """
    mean = jnp.mean(x, axis=0)
    centred = x - mean[None]
    basis = None
    if x.shape[0] < x.shape[1]:
        basis, triangular = jnp.linalg.qr(centred.T)
        centred = triangular.T
    _, rotation = jnp.linalg.eigh(centred.T @ centred)
    basis = rotation if basis is None else basis @ rotation
    rotated = (centred @ rotation).astype(jnp.float32)
    spread = jnp.mean(jnp.sum(centred**2, axis=1))
    return Axes(mean, spread, basis, rotated, rotated.T)


@jax.jit
def widened(axes: Axes, x: jax.Array) -> Axes:
    """Returns the axes with float64 features, for directions that float32 cannot see.

    Args:
        axes: Of the features.
        x: ``(N, D)`` float64.
    """
    rotated = (x - axes.mean[None]) @ axes.basis
    return axes._replace(x=rotated, xt=rotated.T)


def make_preconditioner(
    axes: Axes,
    shares: jax.Array,
    probs: jax.Array,
    jacobian: jax.Array,
    l2: jax.Array,
) -> Preconditioner:
    """Returns the preconditioner at some parameters.

    Args:
        axes: Of the features.
        shares: ``(L, N)`` float64.
        probs: ``(L, C, N)`` float64.
        jacobian: ``(L, C, C)`` float64, the mean softmax Jacobian.
        l2: ``(L,)`` float64.
    """
    uncertainty = jnp.sum(probs * (1.0 - probs), axis=1) * shares
    # Rows count as they do for the curvature of an average lane.
    rows = jnp.mean(uncertainty / jnp.sum(uncertainty, axis=1, keepdims=True), axis=0)
    moments = jnp.sum(axes.xt**2 * rows.astype(axes.xt.dtype)[None], axis=1)
    values, vectors = jnp.linalg.eigh(jacobian)
    values = jnp.maximum(values, 0.0)
    moments = moments.astype(values.dtype)[None, None]
    curvature = values[:, :, None] * moments + l2[:, None, None]
    largest = jnp.max(curvature, axis=(1, 2), keepdims=True)
    return Preconditioner(vectors, jnp.maximum(curvature, FLOOR * largest))


def precondition(preconditioner: Preconditioner, vector: jax.Array) -> jax.Array:
    """Applies the inverse.

    Args:
        preconditioner: Of L lanes.
        vector: ``(L, C, R)``.
    """
    turned = jnp.einsum("lck,lcr->lkr", preconditioner.classes, vector)
    return jnp.einsum(
        "lck,lkr->lcr", preconditioner.classes, turned / preconditioner.curvature
    )
