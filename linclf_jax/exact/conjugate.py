"""Newton's system solved by preconditioned conjugate gradients, all lanes at once.

The products with the rows are in the dtype of the columns; the rest is float64. An
inexact direction costs steps and nothing else.

The Hessian of the softmax cross-entropy is a mean of ``J_i (x) x_i x_i^T`` over rows,
with the C x C softmax Jacobians ``J_i``. The preconditioner takes it for the mean
Jacobian times the second moments of the columns, around their mean by weight in the
Hessian: diagonal between the eigenvectors of the one and the columns.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import passes
from linclf_jax.exact.passes import Moments, Probs, System

MAX_PRODUCTS = 1000  # with the Hessian, for one direction
FLOOR = 1e-12  # of the largest curvature of a column, where there is no penalty
LEAST = 1e-6  # of a column's mean square, that is left around the mean


class Preconditioner(NamedTuple):
    """The inverse of an approximate Hessian."""

    classes: jax.Array  # (L, C, C), the columns are eigenvectors of the mean Jacobian
    inverse: jax.Array  # (L, C, P), 0 where there is no curvature
    shift: jax.Array  # (L, P) mean of the columns by their weight in the Hessian


class State(NamedTuple):
    """Conjugate gradients under way; arrays are ``(L, C, P)`` or as they say."""

    direction: jax.Array  # the solution so far
    residual: jax.Array
    search: jax.Array
    inner: jax.Array  # (L,) residual . preconditioned residual
    left: jax.Array  # (L,) distance of the residual
    target: jax.Array  # (L,) what that is to reach
    products: jax.Array  # (L,) with the Hessian so far
    live: jax.Array  # (L,) boolean


def make_preconditioner(system: System, probs: Probs) -> Preconditioner:
    """Returns the preconditioner at some parameters."""
    moments = passes.moments(system, probs)
    return _preconditioner(system.l2, system.column, moments)


@jax.jit
def _preconditioner(
    l2: jax.Array, column: jax.Array, moments: Moments
) -> Preconditioner:
    jacobian, weight, first, second = moments
    values, vectors = jnp.linalg.eigh(jacobian)
    weight = jnp.where(weight == 0.0, 1.0, weight)[:, None]
    shift = (first / weight).at[:, -1].set(0.0)
    squares = second / weight
    squares = jnp.maximum(squares - shift**2, LEAST * squares)
    curvature = jnp.maximum(values, 0.0)[:, :, None] * squares[:, None]
    curvature = curvature + l2[:, None, None] * column[None, None]
    largest = jnp.max(curvature, axis=1, keepdims=True)
    bounded = curvature > FLOOR * largest
    inverse = jnp.where(bounded, 1.0 / jnp.where(bounded, curvature, 1.0), 0.0)
    return Preconditioner(vectors, inverse, shift)


def precondition(preconditioner: Preconditioner, vector: jax.Array) -> jax.Array:
    """Applies the inverse to ``(L, C, P)``."""
    classes, inverse, shift = preconditioner
    vector = vector - vector[:, :, -1:] * shift[:, None]
    turned = jnp.einsum("lck,lcp->lkp", classes, vector) * inverse
    solved = jnp.einsum("lck,lkp->lcp", classes, turned)
    back = jnp.sum(solved * shift[:, None], axis=2)
    return solved.at[:, :, -1].add(-back)


@jax.jit
def distance(
    l2: jax.Array,
    column: jax.Array,
    preconditioner: Preconditioner,
    gradient: jax.Array,
) -> jax.Array:
    """Returns how far the optimum may be, by a gradient ``(L, C, P)``, ``(L,)``.

    The duality gap at the best bias, and what the bias gains by Newton's model. Without
    a penalty the squared gradient. ``l2`` and ``column`` are those of the system.
    """
    classes, inverse, shift = preconditioner
    of_bias = gradient[:, :, -1]
    free = gradient - of_bias[:, :, None] * shift[:, None]
    # Of gradients with respect to W, which is A over the scale of the column.
    scale = jnp.where(column > 0.0, column, jnp.inf) ** -0.5
    squares = jnp.sum((free * scale[None, None]) ** 2, axis=(1, 2))
    turned = jnp.einsum("lck,lc->lk", classes, of_bias)
    gain = 0.5 * jnp.sum(turned**2 * inverse[:, :, -1], axis=1)
    unpenalised = jnp.sum(gradient**2, axis=(1, 2))
    return jnp.where(l2 > 0.0, 0.5 * (squares / l2) + gain, unpenalised)


@jax.jit
def begin(
    l2: jax.Array,
    column: jax.Array,
    preconditioner: Preconditioner,
    gradient: jax.Array,
    target: jax.Array,
) -> State:
    """Returns the state before the first product."""
    residual = -gradient
    search = precondition(preconditioner, residual)
    inner = _dot(residual, search)
    left = distance(l2, column, preconditioner, residual)
    return State(
        direction=jnp.zeros_like(residual),
        residual=residual,
        search=search,
        inner=inner,
        left=left,
        target=target,
        products=jnp.zeros(len(inner), jnp.int64),
        live=~(left <= target) & (inner > 0.0),
    )


def proceed(
    system: System,
    preconditioner: Preconditioner,
    probs: Probs,
    state: State,
    fewest: int,
) -> State:
    """Iterates until at most ``fewest`` lanes are live: they need a smaller program."""
    if isinstance(system.blocks, tuple) and probs.kept is not None:
        return _proceed(system, preconditioner, probs, state, fewest)
    while np.count_nonzero(state.live) > fewest:
        product = passes.hessian_product(system, probs, state.search)
        state = _advance(system.l2, system.column, preconditioner, state, product)
    return state


@functools.partial(jax.jit, static_argnames="fewest")
def _proceed(
    system: System,
    preconditioner: Preconditioner,
    probs: Probs,
    state: State,
    fewest: int,
) -> State:
    """Iterates in one program, where all is in memory."""

    def step(state: State) -> State:
        product = passes.hessian_product(system, probs, state.search)
        return _advance(system.l2, system.column, preconditioner, state, product)

    return jax.lax.while_loop(lambda state: jnp.sum(state.live) > fewest, step, state)


@jax.jit
def _advance(
    l2: jax.Array,
    column: jax.Array,
    preconditioner: Preconditioner,
    state: State,
    product: jax.Array,
) -> State:
    curvature = _dot(state.search, product)
    # Rounding can take the curvature of a flat direction below zero.
    usable = state.live & (curvature > 0.0)
    size = jnp.where(usable, state.inner / curvature, 0.0)[:, None, None]
    residual = state.residual - size * product
    solved = precondition(preconditioner, residual)
    inner = _dot(residual, solved)
    ratio = jnp.where(usable, inner / state.inner, 0.0)[:, None, None]
    products = state.products + state.live
    left = distance(l2, column, preconditioner, residual)
    live = usable & (inner > 0.0) & (products < MAX_PRODUCTS)
    return state._replace(
        direction=state.direction + size * state.search,
        residual=residual,
        search=solved + ratio * state.search,
        inner=inner,
        left=left,
        products=products,
        live=live & ~(left <= state.target),
    )


def _dot(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.sum(left * right, axis=(1, 2))
