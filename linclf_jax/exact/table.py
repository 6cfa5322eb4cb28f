"""The rows as Newton's steps read them: centred and scaled, in float32, beside a one.

The bias is the weight of a last column of ones, so that the parameters of a lane are
one array ``A (C, P)``, ``P = R + 1``. Columns are centred, which takes the bias apart
from the weights, and divided by powers of two near their deviations: float32 holds
them, whatever their unit, and no other bit is changed. Where that pays, columns are the
principal axes of the features, between which the Hessian is almost diagonal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact.problem import Problem
from linclf_jax.params import Params

# Deviations further apart are not rotated: in float64 the covariance of such columns
# keeps no digit of the smaller ones.
UNEVEN = 1e6
NOISE = 1e-14  # of the largest deviation: an axis on which no rows differ


class Columns(NamedTuple):
    """How the columns of a table come from features; float64 NumPy arrays."""

    mean: np.ndarray  # (D,)
    basis: np.ndarray | None  # (D, R) orthonormal; None for the features' own columns
    scale: np.ndarray  # (R,) powers of two; infinite where no rows differ


class Table(NamedTuple):
    """Rows, targets and weights, in the dtype of the passes over them."""

    x: jax.Array  # (N, P); the last column is 1
    # The same with the rows last. XLA copies a transposed operand before each product
    # on CPU: with both layouts a product of 10,000 x 784 takes 0.6 of the time.
    xt: jax.Array  # (P, N)
    top_target: jax.Array  # (N,) int32, the first class of the largest target
    targets: jax.Array | None  # (C, N); None where each row has one class
    penalised: jax.Array  # (P,) float64: the penalty is l2 / 2 times these times A^2


def columns(x: np.ndarray, *, rotated: bool) -> Columns:
    """Returns how the columns of a table come from features ``(N, D)`` float64.

    Principal axes where ``rotated`` says so, unless the columns are uneven.
    """
    # A power of two, so that squares stay in range and nothing is rounded.
    unit = _power(np.abs(x).max())
    scaled = x / unit
    mean, largest = scaled.mean(axis=0), np.abs(scaled).max(axis=0)
    centred = scaled - mean
    deviations = np.sqrt(np.einsum("nd,nd->d", centred, centred) / len(x))
    noise = len(x) * np.finfo(np.float64).eps * largest
    deviations = np.where(deviations > noise, deviations, 0.0)
    varied = deviations[deviations > 0.0]
    basis = None
    if rotated and varied.size and varied.max() <= UNEVEN * varied.min():
        basis, deviations = _principal(centred)
    scale = np.where(deviations > 0.0, _power(deviations), np.inf)
    return Columns(mean * unit, basis, scale * unit)


def _power(size: np.ndarray) -> np.ndarray:
    """Returns a power of two near the size, 1 for 0."""
    return np.exp2(np.floor(np.log2(np.where(size > 0.0, size, 1.0))))


def _principal(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns eigenvectors of the covariance, ``(D, R)``, and deviations along them."""
    num_rows = len(centred)
    basis = None
    if num_rows < centred.shape[1]:
        basis, triangular = np.linalg.qr(centred.T)
        centred = triangular.T
    squares, rotation = np.linalg.eigh(centred.T @ centred)
    deviations = np.sqrt(np.maximum(squares, 0.0) / num_rows)
    deviations = np.where(deviations > NOISE * deviations[-1], deviations, 0.0)
    return rotation if basis is None else basis @ rotation, deviations


def make(problem: Problem, columns: Columns, dtype: type[np.floating]) -> Table:
    """Returns the table of a problem in a dtype, float32 or float64."""
    targets = np.asarray(problem.targets)
    is_hard = ((targets == 0.0) | (targets == 1.0)).all()
    x = np.asarray(problem.x) - columns.mean
    if columns.basis is not None:
        x = x @ columns.basis
    x = np.hstack([x / columns.scale, np.ones((len(x), 1))]).astype(dtype)
    return Table(
        x=jnp.asarray(x),
        xt=jnp.asarray(np.ascontiguousarray(x.T)),
        top_target=jnp.asarray(targets.argmax(axis=0).astype(np.int32)),
        targets=None if is_hard else jnp.asarray(targets.astype(dtype)),
        penalised=jnp.asarray(np.append(columns.scale**-2.0, 0.0)),
    )


@jax.jit
def to_params(columns: Columns, A: jax.Array) -> Params:
    """Returns ``W (L, C, D)`` and ``b (L, C)`` of the features, float64."""
    W = A[:, :, :-1] / columns.scale[None, None]
    if columns.basis is not None:
        W = jnp.einsum("lcr,dr->lcd", W, columns.basis)
    return Params(W, A[:, :, -1] - jnp.einsum("lcd,d->lc", W, columns.mean))


@jax.jit
def from_params(columns: Columns, params: Params) -> jax.Array:
    """Returns the parameters ``A (L, C, P)`` that give the rows the same scores."""
    W, b = params
    b = b + jnp.einsum("lcd,d->lc", W, columns.mean)
    if columns.basis is not None:
        W = jnp.einsum("lcd,dr->lcr", W, columns.basis)
    scale = jnp.where(jnp.isfinite(columns.scale), columns.scale, 0.0)
    return jnp.concatenate([W * scale[None, None], b[:, :, None]], axis=2)


@jax.jit
def centred(present: jax.Array, A: jax.Array) -> jax.Array:
    """Takes away the mean over the classes, which changes no probability.

    The optimum has a mean of 0, and weights of 0 for classes that are absent.
    """
    mask = present[:, :, None]
    mean = jnp.sum(jnp.where(mask, A, 0.0), axis=1, keepdims=True)
    mean = mean / jnp.sum(mask, axis=1, keepdims=True)
    return jnp.where(mask, A - mean, 0.0)
