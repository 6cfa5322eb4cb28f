"""Principal axes of the features, in which the Hessian is almost diagonal.

The Hessian of the softmax cross-entropy is a mean of ``J_i (x) x_i x_i^T`` over rows,
with the C x C softmax Jacobians ``J_i``. Taken apart into the mean Jacobian and a mean
second moment, it would be diagonal between the eigenvectors of the one and those of the
other. The eigenvectors of the features' covariance serve for all lanes, penalties and
steps: they are computed once, and the preconditioner costs nothing but a division.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FLOOR = 1e-12  # of the largest curvature, where there is no penalty
# Deviations further apart are uneven: in float64 the covariance of such columns keeps
# no digit of the smaller ones.
UNEVEN = 1e6
NOISE = 1e-14  # of the deviation along an axis that it could have: rounding
BLOCK = 1e3  # how far apart uneven axes may be that are rotated among each other


class Axes(NamedTuple):
    """Features in the basis of their principal axes, for the inner products."""

    mean: jax.Array  # (D,) float64
    spread: jax.Array  # () float64, mean squared distance of a row from the mean
    basis: jax.Array  # (D, R) float64, orthonormal; R is the smaller of N and D
    # (R,) float64, powers of two near the deviations along the axes. Float32 holds
    # features divided by them, whatever their unit, and no other bit is changed.
    scale: jax.Array
    varies: jax.Array  # (R,) boolean, whether rows differ along the axis
    uneven: jax.Array  # () boolean, whether deviations are further apart than UNEVEN
    # (R,) float64, mean square along each axis if the columns were uncorrelated.
    uncorrelated: jax.Array
    # (N, R) float32, or float64 once widened; centred, rotated and scaled
    x: jax.Array
    # The same with the rows last. XLA copies a transposed operand before each product
    # on CPU: with both layouts a product of 10,000 x 784 takes 0.6 of the time.
    xt: jax.Array  # (R, N)


class Preconditioner(NamedTuple):
    """The inverse of an approximate Hessian, diagonal between two bases."""

    classes: jax.Array  # (L, C, C), the columns are eigenvectors of the mean Jacobian
    curvature: jax.Array  # (L, C, R)


def principal(x: jax.Array) -> Axes:
    """Returns the axes; with more columns than rows, in the space of the rows."""
    # A power of two, so that squares stay in range and nothing is rounded.
    unit = _power(jnp.max(jnp.abs(x)))
    mean, deviations = _moments(x / unit)
    varied = np.asarray(deviations)[np.asarray(deviations) > 0.0]
    uneven = varied.size > 0 and varied.max() > UNEVEN * varied.min()
    if uneven:
        basis = jnp.asarray(_graded(np.asarray(x / unit - mean[None]), varied.size))
    else:
        basis = _basis(x / unit - mean[None])
    return _scaled(x, unit, mean, deviations, basis, jnp.asarray(uneven))


def _power(size: jax.Array) -> jax.Array:
    """Returns a power of two near the size, 1 for 0."""
    exponent = jnp.floor(jnp.log2(jnp.where(size > 0.0, size, 1.0)))
    return jnp.exp2(exponent)


@jax.jit
def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation, 0 where it is rounding, ``(D,)``."""
    mean = jnp.mean(x, axis=0)
    deviations = jnp.sqrt(jnp.mean((x - mean[None]) ** 2, axis=0))
    noise = len(x) * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)
    return mean, jnp.where(deviations > noise, deviations, 0.0)


@jax.jit
def _basis(centred: jax.Array) -> jax.Array:
    """Returns eigenvectors of the covariance, ``(D, R)``."""
    basis = None
    if centred.shape[0] < centred.shape[1]:
        basis, triangular = jnp.linalg.qr(centred.T)
        centred = triangular.T
    _, rotation = jnp.linalg.eigh(centred.T @ centred)
    return rotation if basis is None else basis @ rotation


def _graded(centred: np.ndarray, varied: int) -> np.ndarray:
    """Returns nearly the same for uneven columns, accurate in every entry, ``(D, R)``.

    Two factorisations of the columns in the order of their size take the part of the
    larger ones out of the smaller; among axes of like size eigenvectors do the rest.
    """
    order = np.argsort(-np.square(centred).mean(axis=0), kind="stable")
    _, triangular = np.linalg.qr(centred[:, order])
    basis, rest = np.linalg.qr(triangular.T)
    sizes = np.abs(np.diag(rest))
    start = 0
    while start < min(varied, len(sizes)):
        small = sizes[start:] * BLOCK < sizes[start]
        stop = start + (int(np.argmax(small)) if small.any() else len(small))
        stop = max(stop, start + 1)
        block = rest[start:stop] / (sizes[start] or 1.0)
        _, rotation = np.linalg.eigh(block @ block.T)
        basis[:, start:stop] = basis[:, start:stop] @ rotation
        start = stop
    return basis[np.argsort(order)]


@jax.jit
def _scaled(
    x: jax.Array,
    unit: jax.Array,
    mean: jax.Array,
    deviations: jax.Array,
    basis: jax.Array,
    uneven: jax.Array,
) -> Axes:
    centred = x / unit - mean[None]
    rotated = centred @ basis
    squares = jnp.mean(rotated**2, axis=0)
    uncorrelated = deviations**2 @ basis**2
    # Along an axis on which no rows differ there is rounding alone, and a step could
    # follow that far.
    largest = jnp.where(uneven, uncorrelated, jnp.max(squares))
    varies = squares > NOISE**2 * largest
    scale = jnp.where(varies, _power(jnp.sqrt(squares)), 1.0)
    narrow = (rotated / scale[None]).astype(jnp.float32)
    return Axes(
        mean=mean * unit,
        spread=jnp.mean(jnp.sum(centred**2, axis=1)) * unit**2,
        basis=basis,
        scale=scale * unit,
        uneven=uneven,
        varies=varies,
        uncorrelated=uncorrelated * unit**2,
        x=narrow,
        xt=narrow.T,
    )


@jax.jit
def widened(axes: Axes, x: jax.Array) -> Axes:
    """Returns the axes with float64 features, where float32 is too coarse."""
    rotated = (x - axes.mean[None]) @ axes.basis / axes.scale[None]
    return axes._replace(x=rotated, xt=rotated.T)


def make_preconditioner(
    axes: Axes,
    sample_weights: jax.Array,
    probs: jax.Array,
    jacobian: jax.Array,
    l2: jax.Array,
) -> Preconditioner:
    """Returns the preconditioner at some parameters.

    Args:
        sample_weights: ``(L, N)``, normalised.
        jacobian: ``(L, C, C)``, the mean softmax Jacobian.
    """
    uncertainty = jnp.sum(probs * (1.0 - probs), axis=1) * sample_weights
    # Rows count as they do for the curvature of an average lane.
    rows = jnp.mean(uncertainty / jnp.sum(uncertainty, axis=1, keepdims=True), axis=0)
    moments = jnp.sum(axes.xt**2 * rows.astype(axes.xt.dtype)[None], axis=1)
    values, vectors = jnp.linalg.eigh(jacobian)
    values = jnp.maximum(values, 0.0)
    moments = (moments.astype(values.dtype) * axes.scale**2)[None, None]
    curvature = values[:, :, None] * moments + l2[:, None, None]
    largest = jnp.max(curvature, axis=(1, 2), keepdims=True)
    # Uneven axes have a floor each: the largest curvature says nothing of the others.
    for_axis = jnp.max(values, axis=1)[:, None, None] * axes.uncorrelated[None, None]
    floor = jnp.where(axes.uneven & (for_axis > 0.0), for_axis, largest)
    return Preconditioner(vectors, jnp.maximum(curvature, FLOOR * floor))


def precondition(preconditioner: Preconditioner, vector: jax.Array) -> jax.Array:
    """Applies the inverse to ``(L, C, R)`` vectors."""
    turned = jnp.einsum("lck,lcr->lkr", preconditioner.classes, vector)
    return jnp.einsum(
        "lck,lkr->lcr", preconditioner.classes, turned / preconditioner.curvature
    )
