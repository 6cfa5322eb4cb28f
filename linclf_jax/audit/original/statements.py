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

    # The forward formulas, as one reads them. Autodiff differentiates nothing else.
    @property
    def s(self) -> jax.Array:
        """Scores, equation (1), ``(N, C)``."""
        return self.x @ self.W + self.b[None, :]

    @property
    def p(self) -> jax.Array:
        """Probabilities, equation (3), ``(N, C)``."""
        # The shift cancels in the quotient: it has no derivative.
        top = jax.lax.stop_gradient(self.s.max(axis=1, keepdims=True))
        shifted = jnp.exp(self.s - top)
        return shifted / shifted.sum(axis=1, keepdims=True)

    @property
    def loss(self) -> jax.Array:
        """Equation (4) for the labels, ``(N,)``."""
        return -self.at_label(jax.nn.log_softmax(self.s, axis=1))

    @property
    def true_p(self) -> jax.Array:
        """The probability ``p_{i, y_i}``, ``(N,)``."""
        return self.at_label(self.p)

    def at_label(self, values: jax.Array) -> jax.Array:
        """Returns ``values[i, y_i]``, ``(N,)``."""
        return jnp.take_along_axis(values, self.labels[:, None], axis=1)[:, 0]

    # The original's symbols.
    @property
    def t(self) -> jax.Array:
        """Targets, equation (2): the original's ``delta_ij``, ``(N, C)``."""
        classes = jnp.arange(self.b.size)[None, :]
        return (self.labels[:, None] == classes).astype(self.x.dtype)

    @property
    def exps(self) -> jax.Array:
        """The exponentials ``e^{s_ij}``, without a shift, ``(N, C)``."""
        return jnp.exp(self.s)

    @property
    def exp_sum(self) -> jax.Array:
        """The sum ``sum_k e^{s_ik}``, ``(N, 1)``."""
        return self.exps.sum(axis=1, keepdims=True)

    @property
    def printed_p(self) -> jax.Array:
        """The original's ``P_ij``, ``(N, C)``."""
        return self.exps / self.exp_sum

    # Index bookkeeping.
    @property
    def kronecker(self) -> jax.Array:
        """The matrix ``delta_jk``, ``(C, C)``."""
        return jnp.eye(self.b.size, dtype=self.x.dtype)

    @property
    def by_class(self) -> jax.Array:
        """The matrix ``delta_jk`` for each i, ``(N, C, C)``: equation (11)."""
        return self.in_column(jnp.ones_like(self.s))

    def outer(self, values: jax.Array) -> jax.Array:
        """Returns ``x_id values_ij``: column j of an array like W, ``(N, D, C)``."""
        return self.x[:, :, None] * values[:, None, :]

    def in_column(self, values: jax.Array) -> jax.Array:
        """Returns ``values_ij delta_jk``: nonzero in column j alone, ``(N, C, C)``."""
        return values[:, :, None] * self.kronecker[None]

    def with_x(self, values: jax.Array) -> jax.Array:
        """Returns ``x_id values_ijk``, indexed i, j, d, k: ``(N, C, D, C)``."""
        return jnp.einsum("id,ijk->ijdk", self.x, values)

    def for_each_d(self, values: jax.Array) -> jax.Array:
        """Repeats ``values_ijk`` for each d, with no x: ``(N, C, D, C)``."""
        return jnp.einsum("id,ijk->ijdk", jnp.ones_like(self.x), values)

    # The corrected steps, equations (6) to (8).
    @property
    def softmax_jacobian(self) -> jax.Array:
        """Equation (7), ``p_ij (delta_jk - p_ik)``, ``(N, C, C)``."""
        return self.p[:, :, None] * (self.kronecker[None] - self.p[:, None, :])

    @property
    def residual(self) -> jax.Array:
        """Equation (8), the sum over j of (6) times (7), ``(N, C)``."""
        return jnp.einsum("ij,ijk->ik", -self.t / self.p, self.softmax_jacobian)

    @property
    def true_slope(self) -> jax.Array:
        """Row ``y_i`` of (7), ``p_{i,y_i} (t_ij - p_ij)``, ``(N, C)``."""
        return self.true_p[:, None] * (self.t - self.p)

    @property
    def true_factor(self) -> jax.Array:
        """Equation (6), ``-1 / p_{i,y_i}``, the same for every j, ``(N, C)``."""
        return jnp.broadcast_to(-1 / self.true_p[:, None], self.s.shape)

    @property
    def true_product(self) -> jax.Array:
        """Equation (6) times row ``y_i`` of (7), ``p_ij - t_ij`` not yet cancelled."""
        return self.true_factor * self.true_slope

    # Printed steps of more than one line. The mistakes of the last two cancel.
    @property
    def diagonal_chain(self) -> jax.Array:
        """Equation (6) times the diagonal of (7) alone: ``-t_ij (1 - p_ij)``."""
        return -self.t / self.p * own_column(self.softmax_jacobian)

    @property
    def loss_of_j(self) -> jax.Array:
        """The logarithm ``-ln P_ij`` with its index j left free, ``(N, C)``."""
        return -jnp.log(self.printed_p)

    @property
    def printed_slope(self) -> jax.Array:
        """Line S5g without x, ``P_ij (delta_ij - P_ij)``, ``(N, C)``."""
        return self.printed_p * (self.t - self.printed_p)

    @property
    def printed_factor(self) -> jax.Array:
        """The first factor of S5i, ``-1 / P_ij``, ``(N, C)``."""
        return -1 / self.printed_p


Value = Callable[[Example], jax.Array]


class Statement(NamedTuple):
    """One line of the original, and three functions that give the same array or not."""

    name: str
    section: str
    printed: str
    as_printed: Value
    corrected: str
    as_corrected: Value
    reference: Value
    holds: bool = False  # what a run is expected to find


def derivative(term: str, field: str) -> Value:
    """Returns the Jacobian of a term of an example by one field; its axes come last."""

    def jacobian(e: Example) -> jax.Array:
        def of_field(value: jax.Array) -> jax.Array:
            return getattr(e._replace(**{field: value}), term)

        return jax.jacobian(of_field)(getattr(e, field))

    return jacobian


def own_column(values: jax.Array) -> jax.Array:
    """Picks k = j from i, j, ..., k: each class by its own column, ``(N, ..., C)``."""
    return jnp.diagonal(values, axis1=1, axis2=-1)


def depends(jacobian: jax.Array) -> jax.Array:
    """Returns 1 where ``s_ij`` moves with any coordinate at all, else 0, ``(N, C)``."""
    coordinates = tuple(range(2, jacobian.ndim))
    return (jacobian != 0).any(axis=coordinates).astype(jacobian.dtype)
