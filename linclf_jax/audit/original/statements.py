"""What a statement of the original derivation is, and the terms to compute it from.

Each statement is computed three times on an ``Example``: as printed; as corrected, by
the equations of ``docs/derivation.md``; and with no derivation at all, by ``jax.grad``
or ``jax.jacobian`` of the forward formulas below or, where a value is stated, by the
formula itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Example(NamedTuple):
    """One random problem; N = C, so that a bias by sample is of a legal shape."""

    W: jax.Array  # (D, C)
    b: jax.Array  # (C,)
    x: jax.Array  # (N, D)
    labels: jax.Array  # (N,)


Value = Callable[[Example], jax.Array]


class Statement(NamedTuple):
    """One line of the original, and three functions that give the same array or not."""

    name: str
    section: str
    printed: str
    corrected: str
    holds: bool  # what a run is expected to find
    as_printed: Value
    as_corrected: Value
    reference: Value


# The forward formulas, as one reads them. Autodiff differentiates nothing else.
def scores(e: Example) -> jax.Array:
    """Returns equation (1), ``(N, C)``."""
    return e.x @ e.W + e.b[None, :]


def probs(e: Example) -> jax.Array:
    """Returns equation (3), ``(N, C)``."""
    s = scores(e)
    # The shift cancels in the quotient: it has no derivative.
    shifted = jnp.exp(s - jax.lax.stop_gradient(s.max(axis=1, keepdims=True)))
    return shifted / shifted.sum(axis=1, keepdims=True)


def loss(e: Example) -> jax.Array:
    """Returns equation (4) for the labels, ``(N,)``."""
    return -at_label(e, jax.nn.log_softmax(scores(e), axis=1))


def true_prob(e: Example) -> jax.Array:
    """Returns ``p_{i, y_i}``, ``(N,)``."""
    return at_label(e, probs(e))


def at_label(e: Example, values: jax.Array) -> jax.Array:
    """Returns ``values[i, y_i]``, ``(N,)``."""
    return jnp.take_along_axis(values, e.labels[:, None], axis=1)[:, 0]


def autodiff(f: Value, wrt: str) -> Value:
    """Returns the Jacobian of ``f`` by one field of the example; its axes come last."""

    def jacobian(e: Example) -> jax.Array:
        return jax.jacobian(lambda value: f(e._replace(**{wrt: value})))(
            getattr(e, wrt)
        )

    return jacobian


# The original's symbols.
def targets(e: Example) -> jax.Array:
    """Returns t, equation (2): the original's ``delta_ij``, ``(N, C)``."""
    return (e.labels[:, None] == jnp.arange(e.b.size)[None, :]).astype(e.x.dtype)


def exps(e: Example) -> jax.Array:
    """Returns ``e^{s_ij}``, without a shift, ``(N, C)``."""
    return jnp.exp(scores(e))


def exp_sum(e: Example) -> jax.Array:
    """Returns ``sum_k e^{s_ik}``, ``(N, 1)``."""
    return exps(e).sum(axis=1, keepdims=True)


def printed_probs(e: Example) -> jax.Array:
    """Returns the original's ``P_ij``, ``(N, C)``."""
    return exps(e) / exp_sum(e)


# Index bookkeeping.
def kronecker(e: Example) -> jax.Array:
    """Returns ``delta_jk``, ``(C, C)``."""
    return jnp.eye(e.b.size, dtype=e.x.dtype)


def outer(e: Example, values: jax.Array) -> jax.Array:
    """Returns ``x_id values_ij``: column j of an array like W, ``(N, D, C)``."""
    return e.x[:, :, None] * values[:, None, :]


def in_column(e: Example, values: jax.Array) -> jax.Array:
    """Returns ``values_ij delta_jk``: something in column j alone, ``(N, C, C)``."""
    return values[:, :, None] * kronecker(e)[None]


def with_x(e: Example, values: jax.Array) -> jax.Array:
    """Returns ``x_id values_ijk``, indexed i, j, d, k: ``(N, C, D, C)``."""
    return jnp.einsum("id,ijk->ijdk", e.x, values)


def for_each_d(e: Example, values: jax.Array) -> jax.Array:
    """Repeats ``values_ijk`` for each d, with no x: ``(N, C, D, C)``."""
    return jnp.einsum("id,ijk->ijdk", jnp.ones_like(e.x), values)


def matching_column(values: jax.Array) -> jax.Array:
    """Picks k = j from i, j, ..., k: each class by its own column, ``(N, ..., C)``."""
    return jnp.diagonal(values, axis1=1, axis2=-1)


def by_class(e: Example) -> jax.Array:
    """Returns ``delta_jk`` for each i, ``(N, C, C)``: equation (11)."""
    return in_column(e, jnp.ones_like(scores(e)))


def depends(jacobian: jax.Array) -> jax.Array:
    """Returns 1 where ``s_ij`` moves with any coordinate at all, else 0, ``(N, C)``."""
    coordinates = tuple(range(2, jacobian.ndim))
    return (jacobian != 0).any(axis=coordinates).astype(jacobian.dtype)


# The corrected steps, equations (6) to (8).
def softmax_jacobian(e: Example) -> jax.Array:
    """Returns ``p_ij (delta_jk - p_ik)``, equation (7), ``(N, C, C)``."""
    p = probs(e)
    return p[:, :, None] * (kronecker(e)[None] - p[:, None, :])


def residual(e: Example) -> jax.Array:
    """Returns equation (8), the sum over j of (6) times (7), ``(N, C)``."""
    slope = -targets(e) / probs(e)
    return jnp.einsum("ij,ijk->ik", slope, softmax_jacobian(e))


def true_slope(e: Example) -> jax.Array:
    """Returns row ``y_i`` of (7), ``p_{i,y_i} (t_ij - p_ij)``, ``(N, C)``."""
    return true_prob(e)[:, None] * (targets(e) - probs(e))


def true_factor(e: Example) -> jax.Array:
    """Returns ``-1 / p_{i,y_i}``, equation (6), the same for every j, ``(N, C)``."""
    return jnp.broadcast_to(-1 / true_prob(e)[:, None], scores(e).shape)


def true_product(e: Example) -> jax.Array:
    """Returns (6) times row ``y_i`` of (7), ``p_ij - t_ij`` not yet cancelled."""
    return true_factor(e) * true_slope(e)


# Printed steps that serve more than one line. The mistakes of the last two cancel.
def diagonal_chain(e: Example) -> jax.Array:
    """Returns (6) times the diagonal of (7) alone: ``-t_ij (1 - p_ij)``, ``(N, C)``."""
    return -targets(e) / probs(e) * matching_column(softmax_jacobian(e))


def log_loss_of_j(e: Example) -> jax.Array:
    """Returns ``-ln P_ij`` with its index j left free, ``(N, C)``."""
    return -jnp.log(printed_probs(e))


def printed_slope(e: Example) -> jax.Array:
    """Returns ``P_ij (delta_ij - P_ij)``, line S5g without x, ``(N, C)``."""
    return printed_probs(e) * (targets(e) - printed_probs(e))


def printed_factor(e: Example) -> jax.Array:
    """Returns ``-1 / P_ij``, the first factor of S5i, ``(N, C)``."""
    return -1 / printed_probs(e)
