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

import jax
import jax.numpy as jnp

from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import evaluation, keeping, optimizers, states
from linclf_jax.training import step as step_lib
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import Curves, Data, History, State, diagnose

Train = Callable[[jax.Array, Hparams, Data], tuple[Params, History]]


def steps_per_epoch(num_rows: int, static: Static) -> int:
    """Returns the minibatches of an epoch; the last one may be short.

    Args:
        num_rows: N, of the training rows.
        static: The batch size is used.
    """
    return -(-num_rows // static.batch_size)


def num_steps(num_rows: int, static: Static) -> int:
    """Returns the steps of a whole run.

    Args:
        num_rows: N, of the training rows.
        static: Batch size and epochs are used.
    """
    return static.epochs * steps_per_epoch(num_rows, static)


def make_train(static: Static) -> Train:
    """Returns ``train(key, hparams, data) -> (Params, History)`` for these choices.

    A run whose minibatch loss is not finite, or above ``states.EXPLODED_ABOVE``, keeps
    the parameters that it had and is frozen; its status and step count say so.

    Args:
        static: What is compiled in; see ``settings.validate_static``.

    Returns:
        A pure function of a key (``jax.random.key``), scalar ``Hparams`` and ``Data``.
    """

    def train(key: jax.Array, hparams: Hparams, data: Data) -> tuple[Params, History]:
        data = jax.tree.map(jnp.asarray, data)
        lanes = Hparams(*(jnp.reshape(value, 1) for value in hparams))
        fold = jnp.full(1, states.NO_FOLD)
        state = begin(static, key, lanes, data)
        last = num_steps(data.x.shape[0], static)
        state = advance(static, state, key, lanes, fold, data, 0, last)
        curves = (curve[:, 0] for curve in state.curves)
        W, b = keeping.params(state)
        params = Params(W[..., 0], b[0, :, 0])
        return params, History(*curves, status=state.status[0], steps=state.steps[0])

    return train


def begin(static: Static, key: jax.Array, hparams: Hparams, data: Data) -> State:
    """Returns a stack of runs before their first step.

    Args:
        static: What is compiled in.
        key: Of the stack; ``advance`` takes the same one.
        hparams: Arrays ``(L,)``.
        data: Its shapes and dtypes are used.
    """
    hparams, dtype = _rank_of_stack(hparams, data)
    init_key, _ = jax.random.split(key)
    unit = params_lib.init(
        init_key, data.x.shape[1], static.num_classes, scale=1.0, dtype=dtype
    )
    # The same draw for every lane, scaled by its init_scale.
    W = unit.W[:, :, None] * hparams.init_scale
    params = Params(W, jnp.zeros_like(W[:1]))
    lanes = W.shape[-1]
    zeros = jnp.zeros(lanes, jnp.int32)
    curve = jnp.full((static.epochs, lanes), jnp.nan, dtype)
    optimizer = optimizers.make_stacked(
        static.optimizer, hparams, jnp.asarray(hparams.learning_rate)
    )
    return State(
        params,
        optimizer.init(params),
        status=zeros,
        steps=zeros,
        epoch_loss=jnp.zeros(lanes, dtype),
        curves=Curves(curve, curve, curve),
        best=keeping.begin(static, params),
    )


def advance(
    static: Static,
    state: State,
    key: jax.Array,
    hparams: Hparams,
    fold: jax.Array,
    data: Data,
    first: int | jax.Array,
    last: int | jax.Array,
) -> State:
    """Returns the runs after step ``last - 1``, given them before step ``first``.

    Args:
        static: What is compiled in.
        state: From ``begin``, with ``first`` 0, or from an earlier ``advance``.
        key: The one that the runs began with.
        hparams: Arrays ``(L,)``.
        fold: ``(L,)``, the fold that each lane holds out, or ``states.NO_FOLD``; used
            where the data has folds.
        data: Training and validation rows.
        first: The step to make first, from 0; may be traced.
        last: One past the step to make last, at most ``num_steps``; may be traced.
    """
    num_rows = data.x.shape[0]
    per_epoch = steps_per_epoch(num_rows, static)
    hparams, _ = _rank_of_stack(hparams, data)
    step = step_lib.make_step(static, hparams, fold, data)
    schedule = optimizers.make_schedule(
        static.schedule, hparams, num_steps(num_rows, static)
    )
    _, order_key = jax.random.split(key)
    held_out = _validation_weights(fold, data)
    num_trained = num_rows
    if data.folds is not None:
        num_trained = jnp.sum(step_lib.train_mask(fold, data.folds), 0)

    def close(number: jax.Array, state: State) -> State:
        scores = evaluation.evaluate(
            state.params, data.val_x, data.val_labels, held_out, static
        )
        return _close_epoch(state, number, state.epoch_loss / num_trained, scores)

    def epoch(number: jax.Array, state: State) -> State:
        epoch_key = jax.random.fold_in(order_key, number)
        rows, weights = step_lib.draw_minibatches(
            epoch_key, num_rows, static.batch_size
        )
        steps = number * per_epoch + jnp.arange(per_epoch)
        rates = jax.vmap(schedule)(steps)  # (S, 1, 1, L)
        start = jnp.maximum(first - number * per_epoch, 0)
        stop = jnp.minimum(last - number * per_epoch, per_epoch)
        state = jax.lax.fori_loop(
            start,
            stop,
            lambda t, state: step(state, rates[t], rows[t], weights[t]),
            state,
        )
        finished = stop == per_epoch
        return jax.lax.cond(finished, close, lambda _, state: state, number, state)

    return jax.lax.fori_loop(first // per_epoch, -(-last // per_epoch), epoch, state)


def _close_epoch(
    state: State, number: jax.Array, train_loss: jax.Array, scores: evaluation.Scores
) -> State:
    """Returns the state with the epoch's entry of the curves filled."""
    # Divergence shows in the next minibatch, and after the last one of an epoch only in
    # the validation loss.
    status = jnp.where(state.status == states.OK, diagnose(scores.loss), state.status)
    curves = (
        curve.at[number].set(jnp.where(status == states.OK, value, jnp.nan))
        for curve, value in zip(state.curves, (train_loss, *scores), strict=True)
    )
    state = state._replace(
        status=status,
        epoch_loss=jnp.zeros_like(state.epoch_loss),
        curves=Curves(*curves),
    )
    return keeping.close_epoch(state, number, scores.loss)


def score(
    static: Static, params: Params, fold: jax.Array, data: Data
) -> tuple[evaluation.Scores, evaluation.Scores]:
    """Returns the scores of lanes on their training rows and on their validation rows.

    Args:
        static: Loss and precision are used.
        params: ``W (D, C, L)`` and ``b (1, C, L)``.
        fold: ``(L,)``, as in ``advance``.
        data: Training and validation rows.
    """
    trained = jnp.ones((len(data.labels), 1), params.W.dtype)
    if data.folds is not None:
        trained = step_lib.train_mask(fold, data.folds).astype(params.W.dtype)
    return (
        evaluation.evaluate(params, data.x, data.labels, trained, static),
        evaluation.evaluate(
            params, data.val_x, data.val_labels, _validation_weights(fold, data), static
        ),
    )


def _rank_of_stack(hparams: Hparams, data: Data) -> tuple[Hparams, jnp.dtype]:
    """Returns hyper-parameters as ``(1, 1, L)``, in the dtype of the parameters."""
    dtype = params_lib.at_least_float32(data.x).dtype
    return Hparams(*(jnp.asarray(h, dtype)[None, None, :] for h in hparams)), dtype


def _validation_weights(fold: jax.Array, data: Data) -> jax.Array:
    """Returns the weight of each validation row, ``(M, 1)`` or ``(M, L)``."""
    dtype = params_lib.at_least_float32(data.x).dtype
    if data.val_folds is None:
        return jnp.ones((len(data.val_labels), 1), dtype)
    # A lane that holds no fold out is scored on all rows.
    held_out = ~step_lib.train_mask(fold, data.val_folds)
    return (held_out | (fold == states.NO_FOLD)[None, :]).astype(dtype)
