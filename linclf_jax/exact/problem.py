"""What the exact solver minimises: one table of rows, weighed anew in every lane.

``sum_i s_i ce_i + (l2 / 2) ||W||^2`` with the shares ``s_i = w_i / sum w``. Arrays are
float64, and classes come before rows, so that reductions over the few classes run along
the many rows. Rows that weigh nothing in any lane are not there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import validation
from linclf_jax.exact import targets as targets_lib
from linclf_jax.params import Params


class Problem(NamedTuple):
    """Rows with their targets, and what they weigh in each lane."""

    x: jax.Array  # (N, D) float64
    targets: jax.Array  # (C, N) float64, columns sum to 1
    shares: jax.Array  # (L, N) float64, rows sum to 1
    present: jax.Array  # (L, C) boolean, classes that have a share
    own: jax.Array  # (C, N) boolean, the first of the largest targets of a row
    contrasts: jax.Array  # (L, C, D), sum_i s_i (t_i - mean t) x_i^T
    norms: jax.Array  # (N,) Euclidean, of the rows of x
    largest: jax.Array  # (L, D) size of an entry in the rows that have a share


def prepare(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    num_lanes: int,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
) -> Problem:
    """Checks the data and lays it out; call it with 64-bit types enabled.

    Args:
        x: Features ``(N, D)``, finite in every row that weighs something.
        labels: ``(N,)`` integers, or soft targets ``(N, C)`` whose rows sum to 1. Of a
            row that weighs nothing they may be anything.
        num_lanes: L.
        weights: ``(N,)`` or ``(L, N)``, not negative; None weighs all alike. A lane
            whose weights are not finite keeps NaN shares, and ends by itself.
        num_classes: C; the largest label plus one if None.

    Returns:
        The problem, N of them the rows that weigh something in some lane.

    Raises:
        ValueError: An argument has another shape or holds impossible values.
    """
    x = np.asarray(x)
    counted = weighing(weights, x, num_lanes)
    # Blanked and not left out: a message names the row by its place.
    checked = x if counted.all() else np.where(counted[:, None], x, 0)
    validation.validate_features(checked)
    x = np.asarray(x[counted], np.float64)
    targets = targets_lib.prepare(labels, counted, num_classes)
    shares = _shares(weights, num_lanes, counted)
    # Written so that a lane of NaN has all classes.
    present = ~(shares @ targets <= 0.0)
    own = np.arange(targets.shape[1])[:, None] == targets.argmax(axis=1)[None]
    sizes = _contrasts(x, targets, shares), _norms(x), _largest(x, shares)
    return Problem(*map(jnp.asarray, (x, targets.T, shares, present, own, *sizes)))


def _contrasts(x: np.ndarray, targets: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns how features go with targets in each lane, ``(L, C, D)``."""
    # Centred, so that a common shift of the features costs no digit.
    return np.stack(
        [((targets - own @ targets) * own[:, None]).T @ (x - own @ x) for own in shares]
    )


def _norms(x: np.ndarray) -> np.ndarray:
    """Returns the norms of the rows, whose squares may not be finite."""
    largest = max(float(x.max()), -float(x.min())) or 1.0
    return largest * np.sqrt(np.einsum("nd,nd->n", x / largest, x / largest))


def _largest(x: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns the largest size in each column, of the rows of each lane, ``(L, D)``."""
    counted = ~(shares <= 0.0)  # all rows of a lane of NaN
    every = np.maximum(x.max(axis=0), -x.min(axis=0))
    return np.stack(
        [every if own.all() else np.abs(x[own]).max(axis=0) for own in counted]
    )


def take(problem: Problem, lanes: np.ndarray) -> Problem:
    """Returns the problem of some of its lanes.

    Args:
        problem: Of L lanes.
        lanes: Which, ``(A,)`` integers; a lane may come twice.
    """
    return problem._replace(
        shares=problem.shares[lanes],
        present=problem.present[lanes],
        contrasts=problem.contrasts[lanes],
        largest=problem.largest[lanes],
    )


def result_type(x: ArrayLike) -> np.dtype:
    """Returns the dtype of the parameters: that of ``x``, in at least float32.

    Args:
        x: Features that ``prepare`` accepts; float64 counts only where the process has
            64-bit types on.
    """
    dtype = jnp.promote_types(getattr(x, "dtype", np.asarray(x).dtype), np.float32)
    return jax.dtypes.canonicalize_dtype(dtype)


def checked_l2(l2: ArrayLike) -> np.ndarray:
    """Returns penalties in float64.

    Args:
        l2: ``(L,)``, at least 0; a lane of NaN ends by itself.

    Raises:
        ValueError: Another shape, no lane, or a penalty below 0 or infinite.
    """
    array = np.asarray(l2, np.float64) + 0.0  # minus zero would make gaps negative
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"l2 has shape {array.shape}; expected (L,), one per lane")
    bad = np.flatnonzero((array < 0) | np.isinf(array))
    if bad.size:
        raise ValueError(
            f"l2 of lane {bad[0]} is {array[bad[0]]}; expected a finite number, at "
            "least 0"
        )
    return array


def checked_params(params: Params, shape: tuple[int, int, int]) -> Params:
    """Returns parameters as float64 ``W (L, C, D)`` and ``b (L, C)``.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``.
        shape: L, D and C.

    Raises:
        ValueError: They have another shape.
    """
    lanes, features, classes = shape
    for name, expected in (("W", shape), ("b", (lanes, classes))):
        found = np.shape(getattr(params, name))
        if found != expected:
            raise ValueError(
                f"{name} has shape {found}; expected {expected}, for {lanes} lanes, "
                f"{features} features and {classes} classes"
            )
    W, b = (np.asarray(array, np.float64) for array in params)
    return Params(jnp.asarray(W.transpose(0, 2, 1)), jnp.asarray(b))


def weighing(weights: ArrayLike | None, x: np.ndarray, num_lanes: int) -> np.ndarray:
    """Returns which rows weigh something in some lane, boolean ``(N,)``.

    Args:
        weights: ``(N,)``, ``(L, N)`` or None.
        x: ``(N, D)``; its shape is checked elsewhere.
        num_lanes: L.

    Raises:
        ValueError: The weights have another shape or are impossible.
    """
    if weights is None or x.ndim != 2:
        return np.ones(len(x) if x.ndim else 0, bool)
    num_rows = len(x)
    array = np.asarray(weights, np.float64)
    if array.shape not in {(num_rows,), (num_lanes, num_rows)}:
        raise ValueError(
            f"weights has shape {array.shape}; expected ({num_rows},) or "
            f"({num_lanes}, {num_rows}), one per row of x"
        )
    array = np.broadcast_to(array, (num_lanes, num_rows))
    bad = np.argwhere(array < 0)
    if bad.size:
        lane, row = bad[0]
        raise ValueError(
            f"weights: {len(bad)} are below 0, first {array[lane, row]} of row {row} "
            f"in lane {lane}; expected numbers, at least 0"
        )
    empty = np.flatnonzero((array == 0).all(axis=1))
    if empty.size:
        raise ValueError(
            f"weights of lane {empty[0]} are all 0; expected at least one above 0"
        )
    return (array != 0).any(axis=0)


def _shares(
    weights: ArrayLike | None, num_lanes: int, counted: np.ndarray
) -> np.ndarray:
    """Returns ``w_i / sum w`` of each lane, for the rows that are counted."""
    num_rows = int(counted.sum())
    if weights is None:
        return np.full((num_lanes, num_rows), 1.0 / num_rows)
    array = np.asarray(weights, np.float64)[..., counted]
    array = np.broadcast_to(array, (num_lanes, num_rows))
    finite = np.isfinite(array).all(axis=1, keepdims=True)
    array = np.where(finite, array, np.nan)
    array = array / array.max(axis=1, keepdims=True)  # a sum of large ones overflows
    return array / array.sum(axis=1, keepdims=True)
