"""The data of training, its state from step to step, and the statuses of lanes.

A run that diverges raises nothing: it gets a status and is frozen.

A lane ends with the parameters of its last epoch, or of its best: the first epoch with
the lowest validation loss, whatever metric trials are compared by later, for a loss
varies less by chance than an accuracy, which goes in steps of one row. That is the best
of many evaluations of the same rows: the validation scores of a lane that keeps its
best epoch are biased, the more so the more epochs there are, and only rows that chose
nothing say how good it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from linclf_jax.params import Params

OK, NONFINITE_LOSS, EXPLODED = 0, 1, 2
REASONS = {NONFINITE_LOSS: "nonfinite_loss", EXPLODED: "exploded"}
# A mean loss beyond a million belongs to no classifier that will come back.
EXPLODED_ABOVE = 1e6
NO_FOLD = -1  # of a lane that holds no fold out


class Data(NamedTuple):
    """Training and validation rows; never those of the test split.

    With ``folds``, a lane trains on all rows but those of the fold that it holds out,
    and is validated on these; ``val_x`` are then the same rows as ``x``.
    """

    x: jax.Array  # (N, D)
    labels: jax.Array  # (N,), or targets (N, C)
    val_x: jax.Array  # (M, D)
    val_labels: jax.Array  # (M,), or targets (M, C)
    folds: jax.Array | None = None  # (N,), the fold of each row, from 0
    val_folds: jax.Array | None = None  # (M,)


class Curves(NamedTuple):
    """Learning curves of a stack; NaN from the epoch in which a lane diverged."""

    train_loss: jax.Array  # (E, L), mean minibatch loss during the epoch
    val_loss: jax.Array  # (E, L), at the end of the epoch
    val_accuracy: jax.Array  # (E, L), at the end of the epoch


class Best(NamedTuple):
    """The best parameters at the end of an epoch, by validation loss."""

    params: Params  # W (D, C, L), b (1, C, L)
    loss: jax.Array  # (L,), infinite before the first epoch
    epoch: jax.Array  # (L,), int32, from 1; 0 before the first


class State(NamedTuple):
    """What one step returns for the next, lanes last."""

    params: Params  # W (D, C, L), b (1, C, L)
    optimizer_state: optax.OptState
    status: jax.Array  # (L,), int32: OK, NONFINITE_LOSS or EXPLODED
    steps: jax.Array  # (L,), int32: updates made; fewer than all if a run diverged
    epoch_loss: jax.Array  # (L,), sum over the rows of this epoch so far
    curves: Curves
    best: Best | None = None  # None where the last epoch is kept


class History(NamedTuple):
    """Of one run. Curves are NaN from the epoch in which it diverged."""

    train_loss: jax.Array  # (E,)
    val_loss: jax.Array  # (E,)
    val_accuracy: jax.Array  # (E,)
    status: jax.Array  # (), int32
    steps: jax.Array  # (), int32


def diagnosed(status: jax.Array, loss: jax.Array) -> jax.Array:
    """Returns statuses, int32 ``(L,)``, after mean losses: the first failure stays."""
    diagnosis = jnp.select(
        [~jnp.isfinite(loss), loss > EXPLODED_ABOVE],
        [jnp.int32(NONFINITE_LOSS), jnp.int32(EXPLODED)],
        jnp.int32(OK),
    )
    return jnp.where(status == OK, diagnosis, status)


def no_best(params: Params) -> Best:
    """Returns the best before the first epoch."""
    lanes = params.W.shape[-1]
    worst = jnp.full(lanes, jnp.inf, params.W.dtype)
    return Best(params, worst, jnp.zeros(lanes, jnp.int32))


def with_best(state: State, epoch: jax.Array, loss: jax.Array) -> State:
    """Returns the state with the current parameters where they are the best so far.

    Args:
        state: At the end of an epoch, its status that of the lanes by then.
        epoch: From 0.
        loss: ``(L,)``, on the validation rows.
    """
    if state.best is None:
        return state
    better = (state.status == OK) & (loss < state.best.loss)
    params = jax.tree.map(
        lambda new, old: jnp.where(better[None, None, :], new, old),
        state.params,
        state.best.params,
    )
    loss = jnp.where(better, loss, state.best.loss)
    epoch = jnp.where(better, epoch + 1, state.best.epoch).astype(jnp.int32)
    return state._replace(best=Best(params, loss, epoch))


def final_params(state: State) -> Params:
    """Returns what the lanes end with, ``W (D, C, L)`` and ``b (1, C, L)``."""
    return state.params if state.best is None else state.best.params


def final_epochs(state: State) -> np.ndarray:
    """Returns the epoch, from 1, that each lane's parameters are of, integers ``(L,)``.

    Where the last is kept, it is the last that ended well; 0 where none did.
    """
    if state.best is None:
        return np.sum(np.isfinite(state.curves.val_loss), axis=0)
    return np.asarray(state.best.epoch)


def gather(parts: Sequence[tuple[State, Sequence[int]]], width: int) -> State:
    """Returns one stack made of lanes of several stacks: how survivors move together.

    Args:
        parts: States of one static choice after the same step, as NumPy arrays, and
            the lanes to take of each.
        width: L of the result, filled up with copies of the last lane taken.

    Returns:
        The lanes in the order of ``parts``, each with the bits it had.
    """

    def join(*leaves: np.ndarray) -> np.ndarray:
        if leaves[0].ndim == 0:  # a step count, the same in all parts
            return leaves[0]
        taken = [
            leaf[..., list(lanes)]
            for leaf, (_, lanes) in zip(leaves, parts, strict=True)
        ]
        joined = np.concatenate(taken, axis=-1)
        return joined[..., np.minimum(np.arange(width), joined.shape[-1] - 1)]

    return jax.tree.map(join, *(state for state, _ in parts))
