"""Rows that weigh nothing: whatever they hold, a classifier scores them as they are."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import losses
from linclf_jax.exact import targets as targets_lib
from linclf_jax.params import Params


def scores(
    params: Params, x: ArrayLike, labels: ArrayLike, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns losses, correctness and logits of some rows; call it with 64-bit types.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers or soft targets ``(N, C)``.
        rows: ``(N,)`` boolean, which rows.

    Returns:
        ``(L, N)`` float64, ``(L, N)`` boolean and ``(L, N, C)`` float64. The loss is
        NaN and the row not right where its features are not finite, its label is no
        class, or it is none of the rows.
    """
    W, b = (np.asarray(array, np.float64) for array in params)
    known = np.all(np.isfinite(np.asarray(x)), axis=1)
    features = np.where(known[:, None], x, np.nan).astype(np.float64)
    logits = features @ W + b[:, None]
    known &= rows & targets_lib.valid(labels, b.shape[1])
    values, right = np.full(logits.shape[:2], np.nan), np.zeros(logits.shape[:2], bool)
    if known.any():
        targets = targets_lib.prepare(labels, known, b.shape[1])
        own = logits[:, known]
        values[:, known] = losses.softmax_cross_entropy_with_targets(
            jnp.asarray(own), jnp.broadcast_to(targets, own.shape)
        )
        right[:, known] = own.argmax(axis=2) == targets.argmax(axis=1)
    return values, right, logits
