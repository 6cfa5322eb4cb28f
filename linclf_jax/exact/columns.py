"""The columns that Newton's steps read: centred and scaled, in float32, beside a one.

The bias is the weight of a last column of ones, so that the parameters of a lane are
one array ``A (C, P)``, ``P = R + 1``. Columns are centred, which takes the bias apart
from the weights, and divided by powers of two near their deviations: float32 holds
them, whatever their unit, and no other bit is changed. Where that pays, columns are the
principal axes of the features, between which the Hessian is almost diagonal.

Two classes are one row of parameters, the second's less the first's, at half of the
penalty: the sum over the classes is 0 at the optimum.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import rows as rows_lib
from linclf_jax.exact.rows import Block
from linclf_jax.params import Params

# Deviations further apart are not rotated: in float64 the covariance of such columns
# keeps no digit of the smaller ones.
UNEVEN = 1e6
# Of the rows, times the root of the number of columns: what rounding leaves of rows
# along an axis on which they do not differ.
NOISE = 16 * np.finfo(np.float64).eps
SMALLEST = 2.0**-1000  # scale, which is to stay in the range of numbers


class Columns(NamedTuple):
    """How the columns of a pass come from features; float64 NumPy arrays."""

    mean: np.ndarray  # (D,)
    basis: np.ndarray | None  # (D, R) orthonormal; None for the features' own columns
    scale: np.ndarray  # (R,) powers of two; infinite where no rows differ


def measure(blocks: Sequence[Block], *, rotated: bool) -> Columns:
    """Returns the columns of some rows.

    Principal axes where ``rotated`` says so, unless the columns are uneven.
    """
    low, high, num_rows = np.inf, -np.inf, 0
    for x, _ in rows_lib.slabs(blocks):
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
        num_rows += len(x)
    # Powers of two, so that squares stay in range and nothing is rounded.
    size = np.maximum(np.abs(low), np.abs(high))
    unit = power_of_two(size)
    total = sum(np.sum(x / unit, axis=0) for x, _ in rows_lib.slabs(blocks))
    # Of rows that are all alike exactly that, so that nothing is left of them.
    mean = np.where(low == high, low / unit, total / num_rows)
    deviations = _deviations(x / unit - mean for x, _ in rows_lib.slabs(blocks)) * unit
    mean = mean * unit
    varied, basis = deviations[deviations > 0.0], None
    if rotated and varied.size and varied.max() <= UNEVEN * varied.min():
        unit = power_of_two(size.max())
        slabs = [(x - mean) / unit for x, _ in rows_lib.slabs(blocks)]
        basis = _principal(slabs)
        # From the rows along the axes: an eigenvalue has the rounding of the largest.
        deviations = _deviations(x @ basis for x in slabs)
        noise = NOISE * np.sqrt(len(mean)) * deviations.max()
        deviations = np.where(deviations > noise, deviations, 0.0) * unit
    scale = np.where(deviations > 0.0, power_of_two(deviations), np.inf)
    return Columns(mean, basis, np.maximum(scale, SMALLEST))


def power_of_two(size: np.ndarray) -> np.ndarray:
    """Returns a power of two near the size, 1 for 0."""
    return np.exp2(np.floor(np.log2(np.where(size > 0.0, size, 1.0))))


def _deviations(slabs) -> np.ndarray:
    """Returns the root mean square of each column of centred rows."""
    squares, num_rows = 0.0, 0
    for rows in slabs:
        squares = squares + np.einsum("nd,nd->d", rows, rows)
        num_rows += len(rows)
    return np.sqrt(squares / num_rows)


def _principal(slabs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns eigenvectors of the covariance of centred rows, ``(D, R)``."""
    if sum(map(len, slabs)) < slabs[0].shape[1]:
        span, triangular = np.linalg.qr(np.concatenate(slabs).T)
        return span @ np.linalg.eigh(triangular @ triangular.T)[1]
    return np.linalg.eigh(sum(rows.T @ rows for rows in slabs))[1]


def of_block(block: Block, columns: Columns, dtype: type[np.floating]) -> Block:
    """Returns a block as passes read it, all in one dtype but for the labels."""
    return _of_block(block, columns, np.dtype(dtype))


@functools.partial(jax.jit, static_argnums=2)
def _of_block(block: Block, columns: Columns, dtype: np.dtype) -> Block:
    def of_chunk(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, weights = chunk
        x = x.astype(jnp.float64) - columns.mean[None]
        if columns.basis is not None:
            x = jnp.matmul(x, columns.basis, precision=jax.lax.Precision.HIGHEST)
        x = (x / columns.scale[None]).astype(dtype)
        x = jnp.concatenate([x, jnp.ones((len(x), 1), dtype)], axis=1)
        # Zeros that fill up a chunk may be so far from the rows that numbers overflow.
        return jnp.where(jnp.any(weights != 0.0, axis=0)[:, None], x, 0.0)

    targets = None if block.targets is None else block.targets.astype(dtype)
    return block._replace(
        x=jax.lax.map(of_chunk, (block.x, block.sample_weights)),
        targets=targets,
        sample_weights=block.sample_weights.astype(dtype),
    )


def num_free(num_classes: int) -> int:
    """Returns how many rows of parameters the classes have."""
    return 1 if num_classes <= 2 else num_classes


@jax.jit
def to_params(columns: Columns, present: jax.Array, A: jax.Array) -> Params:
    """Returns ``W (L, C, D)`` and ``b (L, C)`` of the features, float64."""
    classes = present.shape[1]
    if classes == 1:
        A = jnp.zeros_like(A)
    elif classes == 2:
        A = jnp.concatenate([-0.5 * A, 0.5 * A], axis=1)
    W = A[:, :, :-1] / columns.scale[None, None]
    if columns.basis is not None:
        W = jnp.einsum("lcr,dr->lcd", W, columns.basis)
    return Params(W, A[:, :, -1] - jnp.einsum("lcd,d->lc", W, columns.mean))


@jax.jit
def from_params(columns: Columns, present: jax.Array, params: Params) -> jax.Array:
    """Returns the parameters ``A (L, C, P)`` that give the rows the same scores."""
    W, b = params.W, jnp.where(present, params.b, 0.0)
    b = b + jnp.einsum("lcd,d->lc", W, columns.mean)
    if columns.basis is not None:
        W = jnp.einsum("lcd,dr->lcr", W, columns.basis)
    scale = jnp.where(jnp.isfinite(columns.scale), columns.scale, 0.0)
    A = jnp.concatenate([W * scale[None, None], b[:, :, None]], axis=2)
    if present.shape[1] == 2:
        A = A[:, 1:] - A[:, :1]
    return centred(present, A)


def centred(present: jax.Array, A: jax.Array) -> jax.Array:
    """Takes away the mean over the classes, which changes no probability.

    The optimum has a mean of 0, and weights of 0 for classes that are absent.
    """
    if A.shape[1] == 1:
        return jnp.where(jnp.all(present, axis=1)[:, None, None], A, 0.0)
    mask = present[:, :, None]
    mean = jnp.sum(jnp.where(mask, A, 0.0), axis=1, keepdims=True)
    mean = mean / jnp.sum(mask, axis=1, keepdims=True)
    return jnp.where(mask, A - mean, 0.0)
