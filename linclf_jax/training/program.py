"""A run, as pure functions: where it begins, and how it gets from one step to another.

``make_train(static)`` returns ``train(key, hparams, data)`` for one run with scalar
hyper-parameters; ``begin`` and ``advance`` are what it is made of, for a stack of runs
whose lanes share key, data and so minibatches. A run may stop after any step and go on
from its ``State``, with the same bits: the order of an epoch comes from its number
alone. Nothing here is jitted: ``jit`` goes on from outside, once.

``vmap`` of one run gives the same numbers several times more slowly: it moves the
lanes to the front of what a loop carries, and ``stack`` says why they stand last.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import evaluation, keeping, optimizers, stack, states
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
    the parameters it had and changes no more; its status and step count say so.

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
        kept = keeping.params(state)
        params = Params(kept.W[..., 0], kept.b[0, :, 0])
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
    step = make_step(static, hparams, fold, data)
    schedule = optimizers.make_schedule(
        static.schedule, hparams, num_steps(num_rows, static)
    )
    _, order_key = jax.random.split(key)
    held_out = _validation_weights(fold, data)
    trained = num_rows if data.folds is None else jnp.sum(_kept(fold, data.folds), 0)

    def close(number: jax.Array, state: State) -> State:
        scores = evaluation.evaluate(
            state.params, data.val_x, data.val_labels, held_out, static
        )
        return _close_epoch(state, number, state.epoch_loss / trained, scores)

    def epoch(number: jax.Array, state: State) -> State:
        epoch_key = jax.random.fold_in(order_key, number)
        rows, weights = draw_minibatches(epoch_key, num_rows, static.batch_size)
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
    """Returns the state with the epoch's place in the curves filled."""
    # The last update of an epoch meets no further minibatch that would show it.
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
    """Returns how lanes do on the rows that they train on, and on those they do not.

    Args:
        static: Loss and precision are used.
        params: ``W (D, C, L)`` and ``b (1, C, L)``.
        fold: ``(L,)``, as in ``advance``.
        data: Training and validation rows.
    """
    kept = jnp.ones((len(data.labels), 1), params.W.dtype)
    if data.folds is not None:
        kept = _kept(fold, data.folds).astype(params.W.dtype)
    return (
        evaluation.evaluate(params, data.x, data.labels, kept, static),
        evaluation.evaluate(
            params, data.val_x, data.val_labels, _validation_weights(fold, data), static
        ),
    )


def make_step(
    static: Static, hparams: Hparams, fold: jax.Array, data: Data
) -> Callable[[State, jax.Array, jax.Array, jax.Array], State]:
    """Returns ``step(state, rate, rows, weights) -> state``: one update of every lane.

    Args:
        static: Loss, gradient, optimizer and precision are used.
        hparams: Arrays ``(1, 1, L)``.
        fold: ``(L,)``, as in ``advance``.
        data: The training rows are used.
    """
    gradient_of = stack.GRADIENTS[static.gradient]
    smoothing = jnp.asarray(hparams.label_smoothing)[0, 0] if static.smoothed else None

    def step(
        state: State, rate: jax.Array, rows: jax.Array, weights: jax.Array
    ) -> State:
        optimizer = optimizers.make_stacked(static.optimizer, hparams, rate)
        x, labels, counted = data.x[rows], data.labels[rows], weights[:, None]
        if data.folds is not None:
            counted = counted * _kept(fold, data.folds[rows])
        loss, gradient = gradient_of(
            state.params,
            stack.Batch(x, labels, stack.shares(counted)),
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
            + loss * jnp.sum(counted, axis=0).astype(loss.dtype),
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


def _rank_of_stack(hparams: Hparams, data: Data) -> tuple[Hparams, jnp.dtype]:
    """Returns hyper-parameters as ``(1, 1, L)``, in the dtype of the parameters."""
    dtype = params_lib.at_least_float32(data.x).dtype
    return Hparams(*(jnp.asarray(h, dtype)[None, None, :] for h in hparams)), dtype


def _kept(fold: jax.Array, row_folds: jax.Array) -> jax.Array:
    """Returns which rows each lane trains on, boolean ``(rows, L)``."""
    return row_folds[:, None] != fold[None, :]


def _validation_weights(fold: jax.Array, data: Data) -> jax.Array:
    """Returns what each validation row counts, ``(M, 1)`` or ``(M, L)``."""
    dtype = params_lib.at_least_float32(data.x).dtype
    if data.val_folds is None:
        return jnp.ones((len(data.val_labels), 1), dtype)
    # A lane that holds nothing out has no row of its own: it is scored on all.
    own = ~_kept(fold, data.val_folds) | (fold == states.NO_FOLD)[None, :]
    return own.astype(dtype)
