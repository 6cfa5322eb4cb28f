"""The training program of one batch of trials, as pure functions.

``make_train(static)`` returns ``train(key, hparams, data)`` for one run with scalar
hyper-parameters; ``begin`` and ``advance`` are what it is made of, for a stack of lanes
that share key, data and so minibatches. A run may stop after any step and go on from
its ``State``, with the same bits: the order of an epoch depends on its number alone.
Nothing here is jitted: the caller jits, once.

``vmap`` of one run gives the same numbers several times more slowly: it moves the
lanes to the front of what a loop carries, and ``stack`` says why they stand last.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import evaluation, optimizers, row_order, stack, states
from linclf_jax.training.evaluation import Scores
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import NO_FOLD, OK, Curves, Data, History, State

Train = Callable[[jax.Array, Hparams, Data], tuple[Params, History]]
# Of a state, the learning rates (1, 1, L), the rows (B,) and their weights (B,).
Step = Callable[[State, jax.Array, jax.Array, jax.Array], State]
# Of a state and a range of steps, the number of the epoch that they are of, rows and
# weights of its minibatches ``(S, B)``, and the step of the epoch that the first is of.
Steps = Callable[..., State]


class Lanes(NamedTuple):
    """What two stacks of runs of the same static choice differ in."""

    key: jax.Array  # of the first weights and the order of the rows, in all lanes
    hparams: Hparams  # arrays (L,)
    fold: jax.Array  # (L,), the fold that each holds out, or NO_FOLD


def steps_per_epoch(num_rows: int, static: Static) -> int:
    """Returns the minibatches of an epoch; the last one may be short."""
    return -(-num_rows // static.batch_size)


def num_steps(num_rows: int, static: Static) -> int:
    """Returns the steps of a whole run."""
    return static.epochs * steps_per_epoch(num_rows, static)


def make_train(static: Static) -> Train:
    """Returns ``train(key, hparams, data) -> (Params, History)`` for these choices.

    A run whose minibatch loss is not finite, or above ``states.EXPLODED_ABOVE``, keeps
    the parameters that it had and is frozen; its status and step count say so.

    Returns:
        A pure function of a key (``jax.random.key``), scalar ``Hparams`` and ``Data``.
    """

    def train(key: jax.Array, hparams: Hparams, data: Data) -> tuple[Params, History]:
        data = jax.tree.map(jnp.asarray, data)
        one = Hparams(*(jnp.reshape(value, 1) for value in hparams))
        lanes = Lanes(key, one, jnp.full(1, NO_FOLD))
        last = num_steps(data.x.shape[0], static)
        state = advance(static, lanes, data, begin(static, lanes, data), 0, last)
        curves = (curve[:, 0] for curve in state.curves)
        W, b = states.final_params(state)
        params = Params(W[..., 0], b[0, :, 0])
        return params, History(*curves, status=state.status[0], steps=state.steps[0])

    return train


def begin(static: Static, lanes: Lanes, data: Data) -> State:
    """Returns a stack of runs before their first step; of the data the shapes count."""
    hparams, dtype = _rank_of_stack(lanes.hparams, data)
    init_key, _ = jax.random.split(lanes.key)
    unit = params_lib.init(
        init_key, data.x.shape[1], static.num_classes, scale=1.0, dtype=dtype
    )
    # The same draw for every lane, scaled by its init_scale.
    W = unit.W[:, :, None] * hparams.init_scale
    params = Params(W, jnp.zeros_like(W[:1]))
    width = W.shape[-1]
    zeros = jnp.zeros(width, jnp.int32)
    curve = jnp.full((static.epochs, width), jnp.nan, dtype)
    optimizer = optimizers.make_stacked(
        static.optimizer, hparams, jnp.asarray(hparams.learning_rate)
    )
    return State(
        params,
        optimizer.init(params),
        status=zeros,
        steps=zeros,
        epoch_loss=jnp.zeros(width, dtype),
        curves=Curves(curve, curve, curve),
        best=states.no_best(params) if static.keep == "best" else None,
    )


def advance(
    static: Static,
    lanes: Lanes,
    data: Data,
    state: State,
    first: int | jax.Array,
    last: int | jax.Array,
) -> State:
    """Returns the runs after step ``last - 1``, given them before step ``first``.

    Args:
        static: What is compiled in.
        lanes: What the runs began with, as ``data``.
        data: Training and validation rows.
        state: From ``begin``, with ``first`` 0, or from an earlier ``advance``.
        first: The step to make first, from 0; may be traced.
        last: One past the step to make last, at most ``num_steps``; may be traced.
    """
    num_rows = data.x.shape[0]
    per_epoch = steps_per_epoch(num_rows, static)
    take_steps = make_steps(static, lanes, data, num_rows)

    def close(number: jax.Array, state: State) -> State:
        held_out = validation_weights(
            lanes.fold, data.val_folds, len(data.val_labels), state.params.W.dtype
        )
        scores = evaluation.evaluate(
            state.params, data.val_x, data.val_labels, held_out, static
        )
        count = num_trained(lanes.fold, data.folds, num_rows)
        return close_epoch(state, number, scores, count)

    def epoch(number: jax.Array, state: State) -> State:
        batches = row_order.of_epoch(static, lanes.key, number, num_rows)
        start = jnp.maximum(first - number * per_epoch, 0)
        stop = jnp.minimum(last - number * per_epoch, per_epoch)
        state = take_steps(state, start, stop, number, *batches)
        finished = stop == per_epoch
        return jax.lax.cond(finished, close, lambda _, state: state, number, state)

    return jax.lax.fori_loop(first // per_epoch, -(-last // per_epoch), epoch, state)


def make_steps(static: Static, lanes: Lanes, data: Data, num_rows: int) -> Steps:
    """Returns what takes steps of one epoch.

    Args:
        static: What is compiled in.
        lanes: What the runs began with.
        data: Where the rows of minibatches are.
        num_rows: N of the training rows, of which ``data`` may hold some.
    """
    hparams, _ = _rank_of_stack(lanes.hparams, data)
    step = _make_step(static, hparams, lanes.fold, data)
    last, per_epoch = num_steps(num_rows, static), steps_per_epoch(num_rows, static)
    schedule = optimizers.make_schedule(static.schedule, hparams, last)

    def take_steps(
        state: State,
        start: jax.Array,
        stop: jax.Array,
        number: jax.Array,
        rows: jax.Array,
        weights: jax.Array,
        offset: int | jax.Array = 0,
    ) -> State:
        steps = number * per_epoch + jnp.arange(per_epoch)
        rates = jax.vmap(schedule)(steps)  # (S, 1, 1, L)
        return jax.lax.fori_loop(
            start,
            stop,
            lambda t, state: step(
                state, rates[t], rows[t - offset], weights[t - offset]
            ),
            state,
        )

    return take_steps


def score(
    static: Static, lanes: Lanes, data: Data, params: Params
) -> tuple[Scores, Scores]:
    """Returns the lanes' scores on their training rows and on their validation rows."""
    dtype = params.W.dtype
    trained = training_weights(lanes.fold, data.folds, len(data.labels), dtype)
    held_out = validation_weights(
        lanes.fold, data.val_folds, len(data.val_labels), dtype
    )
    return (
        evaluation.evaluate(params, data.x, data.labels, trained, static),
        evaluation.evaluate(params, data.val_x, data.val_labels, held_out, static),
    )


def _make_step(static: Static, hparams: Hparams, fold: jax.Array, data: Data) -> Step:
    """Returns one update of every lane; ``hparams`` are ``(1, 1, L)``."""
    gradient_of = stack.GRADIENTS[static.gradient]
    objective = stack.Objective(
        static.loss,
        jnp.asarray(hparams.l2),
        jnp.asarray(hparams.label_smoothing)[0, 0] if static.smoothed else None,
        static.precision,
        mask=False,
    )

    def step(
        state: State, rate: jax.Array, rows: jax.Array, weights: jax.Array
    ) -> State:
        optimizer = optimizers.make_stacked(static.optimizer, hparams, rate)
        x, labels, weights = data.x[rows], data.labels[rows], weights[:, None]
        if data.folds is not None:
            weights = weights * _train_mask(fold, data.folds[rows])
        batch = stack.Batch(x, labels, stack.normalised(weights))
        loss, gradient = gradient_of(state.params, batch, objective)
        status = states.diagnosed(state.status, loss)
        alive = status == OK
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.params
        )
        params = jax.tree.map(
            lambda old, update: jnp.where(alive[None, None, :], old + update, old),
            state.params,
            updates,
        )
        seen = jnp.sum(weights, axis=0).astype(loss.dtype)
        return state._replace(
            params=params,
            optimizer_state=optimizer_state,
            status=status,
            steps=state.steps + alive.astype(jnp.int32),
            epoch_loss=state.epoch_loss + loss * seen,
        )

    return step


def close_epoch(
    state: State, number: jax.Array, scores: Scores, num_trained: int | jax.Array
) -> State:
    """Fills an epoch's entry of the curves, at its end, with validation scores."""
    # Divergence shows in the next minibatch, and after the last one of an epoch only in
    # the validation loss.
    status = states.diagnosed(state.status, scores.loss)
    values = (state.epoch_loss / num_trained, *scores)
    curves = (
        curve.at[number].set(jnp.where(status == OK, value, jnp.nan))
        for curve, value in zip(state.curves, values, strict=True)
    )
    state = state._replace(
        status=status,
        epoch_loss=jnp.zeros_like(state.epoch_loss),
        curves=Curves(*curves),
    )
    return states.with_best(state, number, scores.loss)


def num_trained(
    fold: jax.Array, folds: jax.Array | None, num_rows: int
) -> int | jax.Array:
    """Returns how many rows each lane trains on: one number, or ``(L,)``."""
    return num_rows if folds is None else jnp.sum(_train_mask(fold, folds), 0)


def _train_mask(fold: jax.Array, row_folds: jax.Array) -> jax.Array:
    """Returns which rows each lane trains on, boolean ``(rows, L)``."""
    return row_folds[:, None] != fold[None, :]


def training_weights(
    fold: jax.Array, folds: jax.Array | None, num_rows: int, dtype: jnp.dtype
) -> jax.Array:
    """Returns the weight of each training row, ``(N, 1)`` or ``(N, L)``."""
    if folds is None:
        return jnp.ones((num_rows, 1), dtype)
    return _train_mask(fold, folds).astype(dtype)


def validation_weights(
    fold: jax.Array, folds: jax.Array | None, num_rows: int, dtype: jnp.dtype
) -> jax.Array:
    """Returns the weight of each validation row, ``(M, 1)`` or ``(M, L)``."""
    if folds is None:
        return jnp.ones((num_rows, 1), dtype)
    # A lane that holds no fold out is scored on all rows.
    held_out = ~_train_mask(fold, folds)
    return (held_out | (fold == NO_FOLD)[None, :]).astype(dtype)


def _rank_of_stack(hparams: Hparams, data: Data) -> tuple[Hparams, jnp.dtype]:
    """Returns hyper-parameters as ``(1, 1, L)``, in the dtype of the parameters."""
    dtype = params_lib.at_least_float32(data.x).dtype
    return Hparams(*(jnp.asarray(h, dtype)[None, None, :] for h in hparams)), dtype
