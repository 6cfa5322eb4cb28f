"""Passes over the rows: the objective with its gradient, its curvature, and products.

What a chunk gives is computed in the dtype of the columns, and added up in float64. One
pass with both products takes 2.2 times as long as one product of the whole (8,000 x
768, two lanes of 100 classes).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import compaction, row_terms
from linclf_jax.exact import rows as rows_lib
from linclf_jax.exact.rows import Block

HIGHEST = jax.lax.Precision.HIGHEST


class System(NamedTuple):
    """The objective of some lanes."""

    blocks: Sequence[Block]  # of columns
    present: jax.Array  # (L, C) boolean, classes that have weight
    l2: jax.Array  # (L,) float64, of the rows of A
    column: jax.Array  # (P,) float64: the penalty is l2 / 2 times these times A^2
    unit: jax.Array  # () of rounding in the passes

    @property
    def penalty(self) -> jax.Array:
        """The curvature that the penalty has, ``(L, 1, P)``."""
        return self.l2[:, None, None] * self.column[None, None]

    def take(self, lanes: np.ndarray) -> "System":
        """Returns the system of some lanes."""
        blocks = rows_lib.mapped(self.blocks, lambda each: rows_lib.take(each, lanes))
        present, l2 = compaction.take((self.present, self.l2), lanes)
        return self._replace(blocks=blocks, present=present, l2=l2)


class Iterate(NamedTuple):
    """Parameters of all lanes, and what a pass over the rows says of them."""

    A: jax.Array  # (L, C, P) float64, one row for two classes; 0 where one is absent
    objective: jax.Array  # (L,) float64
    gradient: jax.Array  # (L, C, P) float64


class Probs(NamedTuple):
    """Probabilities of all rows, kept from a pass or computed again when needed.

    Those of two classes are as ``row_terms`` has them.
    """

    A: jax.Array  # (L, C, P) float64, of which they are
    kept: tuple[jax.Array, ...] | None  # of each block, (K, L, C, M)

    def of(self, system: System, number: int, block: Block) -> jax.Array:
        """Returns those of a block, by the program that computed them first."""
        if self.kept is not None:
            return self.kept[number]
        return _forward(block, system.present, self.A, rows_lib.zeros(len(self.A)))[1]

    def take(self, lanes: np.ndarray) -> "Probs":
        """Returns those of some lanes."""
        if np.array_equal(lanes, np.arange(len(self.A))):
            return self
        kept = None if self.kept is None else rows_lib.taken(self.kept, lanes)
        return Probs(compaction.take(self.A, lanes), kept)

    def put(self, lanes: np.ndarray, part: "Probs") -> "Probs":
        """Returns these with some lanes replaced."""
        if np.array_equal(lanes, np.arange(len(self.A))):
            return part
        kept = self.kept
        if kept is not None:
            kept = rows_lib.replaced(kept, lanes, part.kept)
        return Probs(compaction.put(self.A, lanes, part.A), kept)


def evaluate(system: System, A: jax.Array, *, keep: bool) -> tuple[Iterate, Probs]:
    """Evaluates objective and gradient; ``keep`` keeps the probabilities."""
    loss, gradient, kept = rows_lib.zeros(len(A)), rows_lib.zeros(A.shape), []
    for block in system.blocks:
        loss, probs = _forward(block, system.present, A, loss)
        gradient = _add_gradient(block, probs, gradient)
        if keep:
            kept.append(probs)
    iterate = _with_penalty(system.l2, system.column, A, loss, gradient)
    return iterate, Probs(A, tuple(kept) if keep else None)


@jax.jit
def _with_penalty(
    l2: jax.Array, column: jax.Array, A: jax.Array, loss: jax.Array, gradient: jax.Array
) -> Iterate:
    pull = l2[:, None, None] * column[None, None] * A
    objective = loss + 0.5 * jnp.sum(pull * A, axis=(1, 2))
    return Iterate(A, objective, gradient + pull)


@jax.jit
def _forward(
    block: Block, present: jax.Array, A: jax.Array, loss: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the loss ``(L,)`` with that of a block, and its probabilities."""
    num_chunks, size, _ = block.x.shape
    kept = jnp.zeros((num_chunks, *A.shape[:2], size), block.x.dtype)

    def add(chunk: Block, number: jax.Array, carry: Any) -> Any:
        loss, kept = carry
        losses, probs = row_terms.losses(chunk, present, _scores(chunk, A))
        weights = chunk.sample_weights
        # A row without weight may have an infinite loss, if its class is absent.
        weighted = jnp.where(weights > 0.0, weights * losses, weights)
        loss = loss + jnp.sum(weighted.astype(jnp.float64), axis=1)
        return loss, kept.at[number].set(probs)

    return rows_lib.add_up(block, (loss, kept), add)


@jax.jit
def _add_gradient(block: Block, kept: jax.Array, gradient: jax.Array) -> jax.Array:
    def add(chunk: Block, number: jax.Array, gradient: jax.Array) -> jax.Array:
        residual = row_terms.residuals(chunk, kept[number])
        return gradient + _backward(chunk, residual * chunk.sample_weights[:, None])

    return rows_lib.add_up(block, gradient, add)


def _scores(chunk: Block, A: jax.Array) -> jax.Array:
    """Returns ``(L, C, M)``. Both products read the rows of a chunk as they lie."""
    lanes, classes, columns = A.shape
    flat = A.reshape(lanes * classes, columns).astype(chunk.x.dtype)
    over_columns = (((1,), (1,)), ((), ()))
    scores = jax.lax.dot_general(flat, chunk.x, over_columns, precision=HIGHEST)
    return scores.reshape(lanes, classes, -1)


def _backward(chunk: Block, values: jax.Array) -> jax.Array:
    """Returns the sum over rows of values ``(L, C, M)`` times columns, float64."""
    lanes, classes, size = values.shape
    flat = values.reshape(lanes * classes, size)
    product = jnp.matmul(flat, chunk.x, precision=HIGHEST)
    return product.reshape(lanes, classes, -1).astype(jnp.float64)


def hessian_product(system: System, probs: Probs, vector: jax.Array) -> jax.Array:
    """Returns the Hessian times ``(L, C, P)`` vectors, float64."""
    product = system.penalty * vector
    for number, block in enumerate(system.blocks):
        own = probs.of(system, number, block)
        product = _add_product(block, own, vector, product)
    return product


@jax.jit
def _add_product(
    block: Block, kept: jax.Array, vector: jax.Array, product: jax.Array
) -> jax.Array:
    def add(chunk: Block, number: jax.Array, product: jax.Array) -> jax.Array:
        change = row_terms.changes(chunk, kept[number], _scores(chunk, vector))
        return product + _backward(chunk, change * chunk.sample_weights[:, None])

    return rows_lib.add_up(block, product, add)


class Moments(NamedTuple):
    """Sums over the rows that the curvature is approximated by; float64."""

    jacobian: jax.Array  # (L, C, C), sum_i s_i (diag(p_i) - p_i p_i^T)
    weight: jax.Array  # (L,), sum of h_i, the trace of that
    first: jax.Array  # (L, P), sum_i h_i x_i
    second: jax.Array  # (L, P), sum_i h_i x_i^2


def moments(system: System, probs: Probs) -> Moments:
    """Returns the moments of the columns by their weight in the Hessian."""
    lanes, classes, columns = probs.A.shape
    sums = Moments(
        rows_lib.zeros((lanes, classes, classes)),
        rows_lib.zeros(lanes),
        *rows_lib.zeros((2, lanes, columns)),
    )
    for number, block in enumerate(system.blocks):
        sums = _add_moments(block, probs.of(system, number, block), sums)
    return sums


@jax.jit
def _add_moments(block: Block, kept: jax.Array, sums: Moments) -> Moments:
    classes = kept.shape[2]
    identity = jnp.eye(classes)[None]

    def add(chunk: Block, number: jax.Array, sums: Moments) -> Moments:
        probs = jnp.abs(kept[number])
        weighted = probs * chunk.sample_weights[:, None]
        curvature = jnp.sum(weighted * (1.0 - probs), axis=1)
        if classes == 1:
            jacobian = jnp.sum(curvature, axis=1)[:, None, None]
        else:
            products = jnp.einsum("lcm,lkm->lck", weighted, probs, precision=HIGHEST)
            # From the other classes' entries: 1 - p_j would be 0 once p_j rounds to 1.
            # In float64, so that a shift of all classes has no curvature.
            products = products.astype(jnp.float64) * (1.0 - identity)
            jacobian = jnp.sum(products, axis=2)[:, :, None] * identity - products
        parts = Moments(
            jacobian,
            jnp.sum(curvature, axis=1),
            jnp.matmul(curvature, chunk.x, precision=HIGHEST),
            jnp.matmul(curvature, chunk.x**2, precision=HIGHEST),
        )
        return Moments(
            *(s + p.astype(jnp.float64) for s, p in zip(sums, parts, strict=True))
        )

    return rows_lib.add_up(block, sums, add)


def smallest_margins(system: System, A: jax.Array) -> np.ndarray:
    """Returns by how much every row with weight scores its class above all others.

    ``(L,)``, the least of all rows; minus infinity for soft targets.
    """
    margins = np.full(len(A), np.inf)
    for block in system.blocks:
        if block.targets is not None:
            return np.full(len(A), -np.inf)
        margins = _margins(block, system.present, A, margins)
    return np.asarray(margins)


@jax.jit
def _margins(
    block: Block, present: jax.Array, A: jax.Array, margins: jax.Array
) -> jax.Array:
    def add(chunk: Block, number: jax.Array, margins: jax.Array) -> jax.Array:
        del number
        scores = _scores(chunk, A)
        if scores.shape[1] == 1:
            signed = jnp.where(chunk.labels[:, None] == 1, scores, -scores)
            margin = jnp.where(row_terms.both_present(present), signed, jnp.inf)[:, 0]
        else:
            scores = jnp.where(present[:, :, None], scores, -jnp.inf)
            classes = jnp.arange(scores.shape[1])[None, :, None]
            own = chunk.labels[:, None] == classes
            first = jnp.max(jnp.where(own, scores, -jnp.inf), axis=1)
            margin = first - jnp.max(jnp.where(own, -jnp.inf, scores), axis=1)
        margin = jnp.where(chunk.sample_weights > 0.0, margin, jnp.inf)
        return jnp.minimum(margins, jnp.min(margin, axis=1).astype(margins.dtype))

    return rows_lib.add_up(block, margins, add)
