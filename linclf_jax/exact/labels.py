"""Binary and multi-label logistic regression: every label is a lane.

The labels of a row share nothing but its features, so that each is a problem of its own
over the one ``x``, with its own bias, certificate and end. Its loss is that of two
classes whose scores are minus and plus half of its own, at twice the penalty: the same
solver solves it, in one row of parameters.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import classes, validation
from linclf_jax.exact import newton, path
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import solver as solver_lib
from linclf_jax.exact.path import PathState
from linclf_jax.exact.solver import Solver
from linclf_jax.exact.status import Info
from linclf_jax.exact.targets import Targets
from linclf_jax.params import Params


class Point(NamedTuple):
    """The solutions of all labels at one penalty."""

    l2: float
    params: Params  # W (D, K), b (K,), in the dtype of x
    info: Info  # (K,)
    state: PathState | None


class _Labels(NamedTuple):
    """The solver of all labels, and the share of the weight that each knows."""

    solver: Solver
    share: np.ndarray  # (K,)


def solve(
    x: Any,
    targets: ArrayLike,
    l2: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
    memory_budget: int | None = None,
) -> tuple[Params, Info]:
    """Minimises the sigmoid cross-entropy of every label, each with its own penalty.

    ``sum_i w_i ce_ik / sum_i w_i + (l2_k / 2) ||w_k||^2``, equation (36) of
    ``docs/derivation.md`` for one label; the sum over rows is of those whose label is
    known, and the weight that it is divided by is that of all rows.

    Args:
        x: Features ``(N, D)``; see ``newton.solve``.
        targets: ``(N, K)`` of 0, 1 or shares between; unknown is -1 of an integer dtype
            and NaN of a floating one.
        l2: ``(K,)``, or one for all, at least 0.
        weights: Sample weights ``(N,)``; None weighs all alike.
        tol: Relative gap to reach.
        max_newton: Steps of a label.
        memory_budget: Bytes; see ``newton.solve``.

    Returns:
        Parameters ``W (D, K)``, ``b (K,)`` and what is known of each label, as
        ``newton.solve``. A label that has one value in all rows has an infinite bias.

    Raises:
        ValueError: An argument is out of range or does not fit the others, or a label
            is known in no row; nothing has been compiled.
    """
    penalties = _penalties(l2, targets)
    own = _prepare(x, targets, weights, tol, max_newton, memory_budget, None)
    l2s = penalties * own.solver.penalty_factors
    params, info = newton.solve_from(own.solver, l2s, None)
    return _of_labels(own, params, info)


def follow(
    x: Any,
    targets: ArrayLike,
    l2s: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
    certified: bool = True,
    state: PathState | None = None,
    memory_budget: int | None = None,
) -> Iterator[Point]:
    """Solves all labels at one penalty after the other; see ``path.follow``.

    The arguments are those of ``solve``, with ``l2s (K,)`` penalties for all labels.
    """
    ordered = path.descending(l2s)
    rotated = None if state is None else state.rotated
    own = _prepare(
        x, targets, weights, tol, max_newton, memory_budget, rotated, len(ordered)
    )
    if state is not None:
        ordered = ordered[ordered < state.solutions[-1].l2]
    points = path.points(own.solver, ordered, state, certified=certified)
    return (
        Point(each.l2, *_of_labels(own, each.params, each.info), each.state)
        for each in points
    )


def _prepare(
    x: Any,
    targets: ArrayLike,
    weights: ArrayLike | None,
    tol: float,
    max_newton: int,
    memory_budget: int | None,
    rotated: bool | None,
    num_penalties: int = solver_lib.ONE_FIT,
) -> _Labels:
    newton.check_limits(tol, max_newton)
    x, values = validation.as_rows(x), np.asarray(targets)
    validation.validate_targets(values, values.shape[-1] if values.ndim else 0)
    if len(values) != len(x):
        raise ValueError(f"x has {len(x)} rows but targets has {len(values)}")
    given = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    validation.validate_weights(given, len(x))
    known = _known(values)
    own = np.where(known, given[:, None], 0.0).T
    share = own.sum(axis=1) / given.sum()
    empty = np.flatnonzero(share == 0.0)
    if empty.size:
        raise ValueError(
            f"targets: label {empty[0]} is known in no row that has weight; expected "
            "at least one"
        )
    with jax.enable_x64(True):
        used = problem_lib.rows_with_weight(own, x, len(own))
        problem = problem_lib.lay_out(
            x, _two_classes(values, known, used), used, own, len(own), memory_budget
        )
    solver = solver_lib.prepare(
        problem, x, tol, max_newton, num_penalties=num_penalties, rotated=rotated
    )
    return _Labels(dataclasses.replace(solver, penalty_factors=2.0 / share), share)


def _penalties(l2: ArrayLike, targets: ArrayLike) -> np.ndarray:
    count = np.shape(targets)[-1] if np.ndim(targets) else 0
    if np.shape(l2) not in {(), (count,)}:
        raise ValueError(f"l2 has shape {np.shape(l2)}; expected ({count},), or one")
    return problem_lib.checked_l2(np.broadcast_to(l2, (count,)))


def _known(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values != classes.UNKNOWN
    return ~np.isnan(values.astype(np.float64))


def _two_classes(values: np.ndarray, known: np.ndarray, used: np.ndarray) -> Targets:
    """Returns targets of each label, of classes 0 and 1; unknown ones are 0."""
    second = np.where(known, values, 0)[used].T.astype(np.float64)
    labels = (second > 0.5).astype(np.int32)
    if (second == labels).all():
        return Targets(labels, None, 2)
    return Targets(labels, np.stack([1.0 - second, second], axis=2), 2)


def _of_labels(own: _Labels, params: Params, info: Info) -> tuple[Params, Info]:
    """Returns parameters of the labels, and numbers of the objective of all rows."""
    W = jnp.asarray(params.W[:, :, 1] - params.W[:, :, 0]).T
    scaled = {
        name: getattr(info, name) * own.share
        for name in ("objective", "gap", "gradient_norm")
    }
    # The gradient of one score is half of the difference of two.
    scaled["gradient_norm"] = scaled["gradient_norm"] / np.sqrt(2.0)
    return Params(W, params.b[:, 1] - params.b[:, 0]), info._replace(**scaled)
