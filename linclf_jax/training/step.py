"""One update of every lane: minibatch, gradient, optimizer, and which lanes stop."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from linclf_jax.training import optimizers, stack, states
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import Data, State, diagnose


def make_step(
    static: Static, hparams: Hparams, fold: jax.Array, data: Data
) -> Callable[[State, jax.Array, jax.Array, jax.Array], State]:
    """Returns ``step(state, rate, rows, weights) -> state``: one update of every lane.

    Args:
        static: Loss, gradient, optimizer and precision are used.
        hparams: Arrays ``(1, 1, L)``.
        fold: ``(L,)``, the fold that each lane holds out, or ``states.NO_FOLD``.
        data: The training rows are used.
    """
    gradient_of = stack.GRADIENTS[static.gradient]
    smoothing = jnp.asarray(hparams.label_smoothing)[0, 0] if static.smoothed else None

    def step(
        state: State, rate: jax.Array, rows: jax.Array, weights: jax.Array
    ) -> State:
        optimizer = optimizers.make_stacked(static.optimizer, hparams, rate)
        x, labels, weights = data.x[rows], data.labels[rows], weights[:, None]
        if data.folds is not None:
            weights = weights * train_mask(fold, data.folds[rows])
        loss, gradient = gradient_of(
            state.params,
            stack.Batch(x, labels, stack.normalised(weights)),
            loss=static.loss,
            l2=jnp.asarray(hparams.l2),
            smoothing=smoothing,
            precision=static.precision,
            mask=False,
        )
        status = jnp.where(state.status == states.OK, diagnose(loss), state.status)
        alive = status == states.OK
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.params
        )
        params = jax.tree.map(
            lambda old, update: jnp.where(alive[None, None, :], old + update, old),
            state.params,
            updates,
        )
        return state._replace(
            params=params,
            optimizer_state=optimizer_state,
            status=status,
            steps=state.steps + alive.astype(jnp.int32),
            epoch_loss=state.epoch_loss
            + loss * jnp.sum(weights, axis=0).astype(loss.dtype),
        )

    return step


def draw_minibatches(
    key: jax.Array, num_rows: int, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """Returns one epoch's rows and weights, both ``(S, B)``, in a new random order.

    Every row occurs once. When B does not divide N, the last batch is filled up with
    rows of weight 0, so that all steps have one shape and no example is dropped.

    Args:
        key: Used once.
        num_rows: N.
        batch_size: B, at most N.
    """
    steps = -(-num_rows // batch_size)
    padding = (0, steps * batch_size - num_rows)
    order = jnp.pad(jax.random.permutation(key, num_rows), padding)
    weights = jnp.pad(jnp.ones(num_rows), padding)
    return order.reshape(steps, -1), weights.reshape(steps, -1)


def train_mask(fold: jax.Array, row_folds: jax.Array) -> jax.Array:
    """Returns which rows each lane trains on, boolean ``(rows, L)``.

    Args:
        fold: ``(L,)``, the fold that each lane holds out.
        row_folds: The fold of each row.
    """
    return row_folds[:, None] != fold[None, :]
