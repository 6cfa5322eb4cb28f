"""Regularisation paths for callers from Python: all solutions at once."""

from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import continuation
from linclf_jax.exact.status import Info
from linclf_jax.params import Params


class Path(NamedTuple):
    """Solutions along a path; NumPy arrays, in the order of the penalties given."""

    l2: np.ndarray  # (K,) float64
    params: Params  # W (K, L, D, C), b (K, L, C)
    info: Info  # (K, L) each


def path(
    x: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
) -> Path:
    """Solves all lanes at all penalties; see ``continuation.follow``.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers from 0, or soft targets ``(N, C)``.
        l2s: ``(K,)``, at least 0, none twice, in any order.
        weights: ``(L, N)`` for L lanes; ``(N,)`` or None for one.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps of a lane at one penalty.

    Returns:
        The solutions; of each of K L fits the gap says how far it may be off.

    Raises:
        ValueError: As ``continuation.follow``; nothing has been compiled.

    >>> x, labels = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> solved = path(x, labels, [0.01, 1.0])
    >>> solved.params.W.shape, solved.info.status.ravel().tolist()
    ((2, 1, 1, 2), ['converged', 'converged'])
    """
    points = continuation.follow(
        x,
        labels,
        l2s,
        weights=weights,
        num_classes=num_classes,
        tol=tol,
        max_newton=max_newton,
    )
    solved = [(jax.tree.map(np.asarray, p.params), p.info) for p in points]
    # Solved from the largest penalty on; returned in the order of ``l2s``.
    index = np.argsort(np.argsort(-np.asarray(l2s, np.float64)))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves)[index], *solved)
    return Path(np.asarray(l2s, np.float64), *stacked)
