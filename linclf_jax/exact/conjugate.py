"""Newton's system solved by preconditioned conjugate gradients, all lanes at once.

The products with the features are float32, or float64 where that is too coarse; the
rest is float64. An inexact direction costs steps and nothing else, because gradient and
certificate are float64. The bias is eliminated from the system: it has no penalty, and
its optimum follows from W.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax.exact import axes as axes_lib
from linclf_jax.exact.axes import Axes, Preconditioner

MAX_PRODUCTS = 1000  # with the Hessian, for one direction
# Of what a step can gain, that the residual may still stand for where axes are uneven:
# the norm of the residual, which the gap is made of, shows the largest axes alone.
ENERGY_SHARE = 1e-2


class System(NamedTuple):
    """Newton's system of each lane, at some parameters."""

    probs: jax.Array  # (L, C, N), in the dtype of the axes
    top_class: jax.Array | None  # (L, N), of the largest; None in float32
    sample_weights: jax.Array  # (L, N), normalised, in the dtype of the axes
    inverse_jacobian: jax.Array  # (L, C, C) float64, of the mean softmax Jacobian
    l2: jax.Array  # (L,) float64
    preconditioner: Preconditioner
    target: jax.Array  # (L,) squared norm of the residual to reach


class State(NamedTuple):
    """Conjugate gradients under way; all but the count is ``(L, C, R)`` or ``(L,)``."""

    direction: jax.Array  # the solution so far
    shift: jax.Array  # (L, C), of the bias that belongs to it
    residual: jax.Array
    search: jax.Array
    inner: jax.Array  # (L,) residual . preconditioned residual
    energy: jax.Array  # (L,) that ``inner`` is to reach, infinite where it need not
    products: jax.Array  # (L,) with the Hessian so far
    live: jax.Array  # (L,) boolean


def begin(axes: Axes, system: System, gradient: jax.Array) -> State:
    """Returns the state before the first product; the right-hand side is ``-gradient``.

    The gradient is ``(L, C, R)``.
    """
    residual = -gradient
    search = axes_lib.precondition(system.preconditioner, residual)
    inner = _dot(residual, search)
    energy = jnp.where(axes.uneven, ENERGY_SHARE * inner, jnp.inf)
    state = State(
        direction=jnp.zeros_like(gradient),
        shift=jnp.zeros(gradient.shape[:2]),
        residual=residual,
        search=search,
        inner=inner,
        energy=energy,
        products=jnp.zeros(len(inner), jnp.int64),
        live=jnp.ones(len(inner), bool),
    )
    return state._replace(live=~is_solved(system, state) & (inner > 0.0))


def proceed(axes: Axes, system: System, state: State, fewest: int) -> State:
    """Iterates until at most ``fewest`` lanes are live: they need a smaller program."""
    return jax.lax.while_loop(
        lambda state: jnp.sum(state.live) > fewest,
        lambda state: _step(axes, system, state),
        state,
    )


def is_solved(system: System, state: State) -> jax.Array:
    """Returns which lanes have reached their target, and not just stopped, ``(L,)``."""
    small = _dot(state.residual, state.residual) <= system.target
    return small & (state.inner <= state.energy)


def _step(axes: Axes, system: System, state: State) -> State:
    product, shift = _hessian_product(axes, system, state.search)
    curvature = _dot(state.search, product)
    # Rounding can take the curvature of a flat direction below zero.
    usable = state.live & (curvature > 0.0)
    size = jnp.where(usable, state.inner / curvature, 0.0)[:, None, None]
    residual = state.residual - size * product
    solved = axes_lib.precondition(system.preconditioner, residual)
    inner = _dot(residual, solved)
    ratio = jnp.where(usable, inner / state.inner, 0.0)[:, None, None]
    products = state.products + state.live
    live = usable & (inner > 0.0) & (products < MAX_PRODUCTS)
    state = State(
        direction=state.direction + size * state.search,
        shift=state.shift + size[:, :, 0] * shift,
        residual=residual,
        search=solved + ratio * state.search,
        inner=inner,
        energy=state.energy,
        products=products,
        live=live,
    )
    return state._replace(live=live & ~is_solved(system, state))


def _hessian_product(
    axes: Axes, system: System, vector: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the Hessian times ``(L, C, R)`` vectors, and the bias for each."""
    lanes, classes, rank = vector.shape
    scaled = vector * axes.scale[None, None]
    flat = scaled.reshape(lanes * classes, rank).astype(axes.x.dtype)
    highest = jax.lax.Precision.HIGHEST
    logits = jnp.matmul(flat, axes.xt, precision=highest).reshape(system.probs.shape)
    residual = _jacobian_product(system, logits)
    total = jnp.sum(residual, axis=2)
    shift = -jnp.einsum("lck,lk->lc", system.inverse_jacobian, total)
    logits = logits + shift[:, :, None].astype(axes.x.dtype)
    residual = _jacobian_product(system, logits).reshape(lanes * classes, -1)
    product = jnp.matmul(residual, axes.x, precision=highest).reshape(vector.shape)
    product = product.astype(vector.dtype) * axes.scale[None, None]
    return product + system.l2[:, None, None] * vector, shift


def _jacobian_product(system: System, logits: jax.Array) -> jax.Array:
    """Returns ``s_i J_i u_i`` of each row, equation (7), ``(L, C, N)``."""
    mean = jnp.sum(system.probs * logits, axis=1, keepdims=True)
    product = system.sample_weights[:, None] * system.probs * (logits - mean)
    if system.top_class is None:
        return product
    # Where a row is confident, u_j of the top class equals its mean but for rounding,
    # and minus the sum of the others is exact.
    classes = jnp.arange(product.shape[1])[None, :, None]
    top_class = system.top_class[:, None] == classes
    others = jnp.where(top_class, 0.0, product)
    return jnp.where(top_class, -jnp.sum(others, axis=1, keepdims=True), others)


def _dot(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.sum(left * right, axis=(1, 2))
