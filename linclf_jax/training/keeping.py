"""Which epoch's classifier a lane ends with: its last, or its best on validation rows.

The best is the first epoch with the lowest validation loss, whatever metric trials are
compared by later: a loss varies less by chance than an accuracy, which goes in steps of
one row. It still is the best of many evaluations of the same rows: the validation
scores of a lane that keeps its best epoch are biased, the more so the more epochs there
are, and only rows that chose nothing say how good it is.
"""

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.params import Params
from linclf_jax.training.settings import Static
from linclf_jax.training.states import OK, Best, State


def begin(static: Static, params: Params) -> Best | None:
    """Returns the best before the first epoch; None where the last epoch is kept.

    Args:
        static: ``keep`` is used.
        params: ``W (D, C, L)`` and ``b (1, C, L)``.
    """
    if static.keep == "last":
        return None
    lanes = params.W.shape[-1]
    worst = jnp.full(lanes, jnp.inf, params.W.dtype)
    return Best(params, worst, jnp.zeros(lanes, jnp.int32))


def close_epoch(state: State, number: jax.Array, loss: jax.Array) -> State:
    """Returns the state with this epoch's parameters where they are the best so far.

    Args:
        state: At the end of an epoch, its status that of the lanes by then.
        number: Of the epoch, from 0.
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
    return state._replace(
        best=Best(
            params,
            jnp.where(better, loss, state.best.loss),
            jnp.where(better, number + 1, state.best.epoch).astype(jnp.int32),
        )
    )


def params(state: State) -> Params:
    """Returns what the lanes end with, ``W (D, C, L)`` and ``b (1, C, L)``.

    Args:
        state: After any step.
    """
    return state.params if state.best is None else state.best.params


def epochs(state: State) -> np.ndarray:
    """Returns the epoch, from 1, that each lane's parameters are of, integers ``(L,)``.

    Where the last is kept, it is the last that ended well; 0 where none did.

    Args:
        state: NumPy arrays.
    """
    if state.best is None:
        return np.sum(np.isfinite(state.curves.val_loss), axis=0)
    return np.asarray(state.best.epoch)
