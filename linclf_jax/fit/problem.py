"""What the exact solver minimises: one table of rows, weighed anew in every lane.

``sum_i s_i ce_i + (l2 / 2) ||W||^2`` with the shares ``s_i = w_i / sum w``. Arrays are
float64, and classes come before rows, so that reductions over the few classes run along
the many rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import validation
from linclf_jax.params import Params


class Problem(NamedTuple):
    """Rows with their targets, and what they weigh in each lane."""

    x: jax.Array  # (N, D) float64
    targets: jax.Array  # (C, N) float64, columns sum to 1
    shares: jax.Array  # (L, N) float64, rows sum to 1
    present: jax.Array  # (L, C) boolean, classes that have a share


def prepare(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    num_lanes: int,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
) -> Problem:
    """Checks the data at the door and lays it out; call it with 64-bit types enabled.

    Args:
        x: Features ``(N, D)``, finite.
        labels: ``(N,)`` integers, or soft targets ``(N, C)`` whose rows sum to 1.
        num_lanes: L.
        weights: ``(N,)`` or ``(L, N)``, not negative; None weighs all alike. A lane
            whose weights are not finite keeps NaN shares, and ends by itself.
        num_classes: C; the largest label plus one if None.

    Raises:
        ValueError: Anything else was found.
    """
    validation.validate_features(x)
    x = np.asarray(x, np.float64)
    targets = _targets(labels, len(x), num_classes)
    shares = _shares(weights, num_lanes, len(x))
    # Written so that a lane of NaN has all classes.
    present = ~(shares @ targets <= 0.0)
    return Problem(*map(jnp.asarray, (x, targets.T, shares, present)))


def take(problem: Problem, lanes: np.ndarray) -> Problem:
    """Returns the problem of some of its lanes.

    Args:
        problem: Of L lanes.
        lanes: Which, ``(A,)`` integers; a lane may come twice.
    """
    return problem._replace(
        shares=problem.shares[lanes], present=problem.present[lanes]
    )


def result_type(x: ArrayLike) -> np.dtype:
    """Returns the dtype of the parameters: that of ``x``, in at least float32.

    Args:
        x: Features; float64 counts only where the process has 64-bit types on.

    Raises:
        ValueError: They are no finite numbers ``(N, D)``.
    """
    validation.validate_features(x)
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


def _targets(labels: ArrayLike, num_rows: int, num_classes: int | None) -> np.ndarray:
    """Returns ``(N, C)`` float64 targets of hard labels or soft ones."""
    array = np.asarray(labels)
    if array.ndim != 2:
        top = int(array.max()) + 1 if array.size and array.dtype.kind in "iu" else 1
        count = max(top, 1) if num_classes is None else num_classes
        validation.validate_labels(labels, count)
        _require_length(array, num_rows)
        targets = np.zeros((num_rows, count))
        targets[np.arange(num_rows), array] = 1.0
        return targets
    _require_length(array, num_rows)
    targets = np.asarray(array, np.float64)
    if num_classes is not None and targets.shape[1] != num_classes:
        raise ValueError(
            f"labels has {targets.shape[1]} columns; expected {num_classes} classes"
        )
    sums = targets.sum(axis=1)
    with np.errstate(invalid="ignore"):
        good = (targets >= 0).all(axis=1) & (np.abs(sums - 1.0) <= 1e-6)
    bad = np.flatnonzero(~good)
    if bad.size:
        raise ValueError(
            f"labels: {bad.size} of {num_rows} rows are no distribution, first row "
            f"{bad[0]} with sum {sums[bad[0]]}; expected entries at least 0 that sum "
            "to 1"
        )
    return targets / sums[:, None]


def _require_length(labels: np.ndarray, num_rows: int) -> None:
    if len(labels) != num_rows:
        raise ValueError(f"x has {num_rows} rows but labels has {len(labels)} entries")


def _shares(weights: ArrayLike | None, num_lanes: int, num_rows: int) -> np.ndarray:
    """Returns ``w_i / sum w`` of each lane, ``(L, N)``."""
    if weights is None:
        return np.full((num_lanes, num_rows), 1.0 / num_rows)
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
    finite = np.isfinite(array).all(axis=1, keepdims=True)
    array = np.where(finite, array, np.nan)
    array = array / array.max(axis=1, keepdims=True)  # a sum of large ones overflows
    return array / array.sum(axis=1, keepdims=True)
