"""What the exact solver minimises: rows with their targets, and weights for every lane.

``sum_i s_i ce_i + (l2 / 2) ||W||^2`` with the normalised sample weights ``s_i = w_i /
sum_j w_j``. Rows of weight 0 in every lane are left out.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import validation
from linclf_jax.exact import memory
from linclf_jax.exact import rows as rows_lib
from linclf_jax.exact import targets as targets_lib
from linclf_jax.exact.memory import Layout
from linclf_jax.exact.rows import Block, Data
from linclf_jax.exact.targets import Targets
from linclf_jax.params import Params

TINY = float(np.finfo(np.float64).tiny)  # what underflow of a square hides


class Lanes(NamedTuple):
    """What is known of the rows of each lane without any parameters; float64."""

    target_means: jax.Array  # (L, C), sum_i s_i t_i
    present: jax.Array  # (L, C) boolean, classes with a row that has weight
    row_norm: jax.Array  # (L,) root mean square of the norms of the rows
    largest_norm: jax.Array  # (L,) of a row that has weight
    column_sizes: jax.Array  # (L, D), largest size of an entry in rows with weight
    num_rows: jax.Array  # (L,) N, the same in all lanes


class Problem(NamedTuple):
    """Rows with their targets, and what they weigh in each lane."""

    blocks: Sequence[Block]  # x as stored, targets and weights in float64
    lanes: Lanes
    layout: Layout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Lanes, rows, features and classes."""
        features = self.lanes.column_sizes.shape[1]
        num_lanes, classes = self.lanes.present.shape
        return num_lanes, int(self.lanes.num_rows[0]), features, classes


def prepare(
    x: Any,
    labels: ArrayLike,
    *,
    num_lanes: int,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    memory_budget: int | None = None,
) -> Problem:
    """Checks the data and lays it out; call it with 64-bit types enabled.

    The N of the problem are the rows that have weight in some lane.

    Args:
        x: Features ``(N, D)``, finite in every row that has weight in some lane: an
            array, or what is read by slices.
        labels: ``(N,)`` integers, or soft targets ``(N, C)`` whose rows sum to 1. Of a
            row of weight 0 they may be anything.
        weights: ``(N,)`` or ``(L, N)``, not negative; None weighs all alike. A lane
            whose weights are not finite has weights of NaN, and ends as invalid.
        num_classes: C; the largest label plus one if None.
        memory_budget: Bytes that may be taken; see ``memory.plan``.

    Raises:
        ValueError: An argument has another shape or holds impossible values.
    """
    x = validation.as_rows(x)
    used = rows_with_weight(weights, x, num_lanes)
    if x.ndim != 2 or not x.size:
        validation.validate_features(x)
    targets = targets_lib.prepare(labels, used, num_classes)
    return lay_out(x, targets, used, weights, num_lanes, memory_budget)


def lay_out(
    x: Any,
    targets: Targets,
    used: np.ndarray,
    weights: ArrayLike | None,
    num_lanes: int,
    memory_budget: int | None,
) -> Problem:
    """Returns the problem of the rows that are used, boolean ``(N,)``; see ``prepare``.

    The targets are of these rows, the weights of all.
    """
    layout = memory.plan(x, num_lanes, targets.num_classes, memory_budget)
    validation.validate_features(x if used.all() else Used(x, used))
    sample_weights = _normalised(weights, num_lanes, used)
    data = Data(x, targets.labels, targets.soft, sample_weights)
    if layout.chunks is None:
        x = np.asarray(x if used.all() else x[used])
        blocks = rows_lib.in_memory(data._replace(x=x))
    else:
        blocks = rows_lib.streamed(_filled(data, used), layout.chunks)
    return Problem(blocks, _lanes(blocks, targets, sample_weights), layout)


class Used:
    """Features with 0 in rows without weight, whose numbers stay the same."""

    def __init__(self, x: Any, used: np.ndarray):
        self.shape, self.dtype, self.ndim, self.size = x.shape, x.dtype, x.ndim, x.size
        self._x, self._used = x, used

    def __len__(self) -> int:
        return len(self._used)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.where(self._used[rows][:, None], self._x[rows], 0)


def _filled(data: Data, used: np.ndarray) -> Data:
    """Returns data of all rows; those without weight have zeros."""
    if used.all():
        return data

    def fill(array: np.ndarray, axis: int) -> np.ndarray:
        whole = np.zeros(
            (*array.shape[:axis], len(used), *array.shape[axis + 1 :]), array.dtype
        )
        whole[(slice(None),) * axis + (used,)] = array
        return whole

    targets = None if data.targets is None else fill(data.targets, 1)
    return Data(data.x, fill(data.labels, 1), targets, fill(data.sample_weights, 1))


def prepare_with(
    params: Params,
    x: Any,
    labels: ArrayLike,
    l2: np.ndarray,
    weights: ArrayLike | None,
) -> tuple[Problem, Params]:
    """Checks data together with parameters ``W (L, D, C)``, which say how many classes.

    Returns:
        The problem, and the parameters as ``W (L, C, D)`` and ``b (L, C)``, float64.

    Raises:
        ValueError: An argument has another shape or holds impossible values.
    """
    shape = np.shape(params.b)
    if len(shape) != 2:
        raise ValueError(f"b has shape {shape}; expected (L, C), lanes in front")
    problem = prepare(
        x, labels, num_lanes=len(l2), weights=weights, num_classes=shape[1]
    )
    return problem, checked_params(params, problem)


def _lanes(
    blocks: Sequence[Block], targets: Targets, sample_weights: np.ndarray
) -> Lanes:
    unknown = np.isnan(sample_weights).any(axis=1, keepdims=True)
    means = targets.means(sample_weights)
    means = np.where(unknown, np.nan, means)
    sizes, norms = np.zeros((len(sample_weights), 1)), []
    for x, weights in rows_lib.slabs(blocks):
        sizes = np.broadcast_to(sizes, (len(sizes), x.shape[1])).copy()
        size = np.abs(x)
        for lane, used in enumerate(~(weights <= 0.0)):  # all rows of a lane of NaN
            own = size if used.all() else size[used]
            np.maximum(sizes[lane], own.max(axis=0, initial=0.0), out=sizes[lane])
        # Squares of entries as they are may not be finite.
        unit = np.maximum(size.max(axis=1, keepdims=True), TINY)
        norms.append(unit[:, 0] * np.sqrt(np.sum((size / unit) ** 2, axis=1)))
    norm = np.where(sample_weights > 0.0, np.concatenate(norms), 0.0)
    largest = np.maximum(norm.max(axis=1), TINY)
    squares = np.sum(sample_weights * (norm / largest[:, None]) ** 2, axis=1)
    return Lanes(
        target_means=jnp.asarray(means),
        # Written so that a lane of NaN has all classes.
        present=jnp.asarray(~(means <= 0.0)),
        row_norm=jnp.asarray(largest * np.sqrt(squares + TINY)),
        largest_norm=jnp.asarray(norm.max(axis=1)),
        column_sizes=jnp.asarray(sizes),
        num_rows=jnp.full(len(means), sample_weights.shape[1], jnp.float64),
    )


def result_type(x: Any) -> np.dtype:
    """Returns the dtype of the parameters: that of ``x``, in at least float32.

    It is float64 only where the process has 64-bit types on.
    """
    dtype = jnp.promote_types(validation.as_rows(x).dtype, np.float32)
    return jax.dtypes.canonicalize_dtype(dtype)


def checked_l2(l2: ArrayLike) -> np.ndarray:
    """Returns penalties ``(L,)`` in float64; a lane of NaN ends as invalid.

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


def checked_params(params: Params, problem: Problem) -> Params:
    """Returns parameters ``W (L, D, C)`` and ``b (L, C)`` as the solver has them.

    Raises:
        ValueError: They have another shape.
    """
    lanes, _, features, classes = problem.shape
    for name, expected in (("W", (lanes, features, classes)), ("b", (lanes, classes))):
        actual = np.shape(getattr(params, name))
        if actual != expected:
            raise ValueError(
                f"{name} has shape {actual}; expected {expected}, for {lanes} lanes, "
                f"{features} features and {classes} classes"
            )
    W, b = (np.asarray(array, np.float64) for array in params)
    return Params(jnp.asarray(W.transpose(0, 2, 1)), jnp.asarray(b))


def rows_with_weight(
    weights: ArrayLike | None, x: np.ndarray, num_lanes: int
) -> np.ndarray:
    """Returns which rows have a weight other than 0 in some lane, boolean ``(N,)``.

    The shape of x is checked elsewhere.

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


def _normalised(
    weights: ArrayLike | None, num_lanes: int, used: np.ndarray
) -> np.ndarray:
    """Returns ``w_i / sum_j w_j`` of each lane, for the rows that are used."""
    num_rows = int(used.sum())
    if weights is None:
        return np.full((num_lanes, num_rows), 1.0 / num_rows)
    array = np.asarray(weights, np.float64)[..., used]
    array = np.broadcast_to(array, (num_lanes, num_rows))
    finite = np.isfinite(array).all(axis=1, keepdims=True)
    array = np.where(finite, array, np.nan)
    array = array / array.max(axis=1, keepdims=True)  # a sum of large ones overflows
    return array / array.sum(axis=1, keepdims=True)
