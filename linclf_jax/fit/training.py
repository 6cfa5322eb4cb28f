"""A run, as a pure function: minibatches, gradient, optimizer, in one ``lax.scan``.

``make_train(static)`` returns ``train(key, hparams, data)`` for one run with scalar
hyper-parameters; ``make_stacked_train`` for a stack of them, whose lanes share key,
data and so minibatches. One run is a stack of one. Neither is jitted: ``jit`` goes on
from outside, once.

``vmap`` of one run gives the same numbers several times more slowly: a scan moves the
mapped axis of what it carries to the front, and ``stack`` says why lanes stand last.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from linclf_jax import params as params_lib
from linclf_jax.fit import optimizers, stack
from linclf_jax.fit.settings import Hparams, Static
from linclf_jax.params import Params

OK, NONFINITE_LOSS, EXPLODED = 0, 1, 2
REASONS = {NONFINITE_LOSS: "nonfinite_loss", EXPLODED: "exploded"}
# A mean loss beyond a million belongs to no classifier that will come back.
EXPLODED_ABOVE = 1e6


class Data(NamedTuple):
    """What a run may see: never the test split."""

    x: jax.Array  # (N, D)
    labels: jax.Array  # (N,)
    val_x: jax.Array  # (M, D)
    val_labels: jax.Array  # (M,)


class History(NamedTuple):
    """How a run went. Curves are NaN from the epoch in which the run diverged."""

    train_loss: jax.Array  # (E,), mean minibatch loss during the epoch
    val_loss: jax.Array  # (E,), at the end of the epoch
    val_accuracy: jax.Array  # (E,), at the end of the epoch
    status: jax.Array  # (), int32: OK, NONFINITE_LOSS or EXPLODED
    steps: jax.Array  # (), int32: updates made; fewer than all if the run diverged


class State(NamedTuple):
    """What one step hands to the next, lanes last."""

    params: Params  # W (D, C, L), b (1, C, L)
    optimizer_state: optax.OptState
    status: jax.Array  # (L,), int32
    steps: jax.Array  # (L,), int32


Train = Callable[[jax.Array, Hparams, Data], tuple[Params, History]]


def num_steps(num_rows: int, static: Static) -> int:
    """Returns the steps of a whole run; the last batch of an epoch may be short.

    Args:
        num_rows: N, of the training split.
        static: Batch size and epochs are used.
    """
    return static.epochs * -(-num_rows // static.batch_size)


def make_train(static: Static) -> Train:
    """Returns ``train(key, hparams, data) -> (Params, History)`` for these choices.

    A run whose minibatch loss is not finite, or above ``EXPLODED_ABOVE``, keeps the
    parameters it had and changes no more; its status and step count say so.

    Args:
        static: What is compiled in; see ``settings.validate_static``.

    Returns:
        A pure function of a key (``jax.random.key``), scalar ``Hparams`` and ``Data``.
    """
    stacked_train = make_stacked_train(static)

    def train(key: jax.Array, hparams: Hparams, data: Data) -> tuple[Params, History]:
        stack_of_one = Hparams(*(jnp.reshape(value, 1) for value in hparams))
        result = stacked_train(key, stack_of_one, data)
        return jax.tree.map(lambda leaf: leaf[0], result)

    return train


def make_stacked_train(static: Static) -> Train:
    """Returns ``train`` for a stack of runs that share their key and their minibatches.

    Args:
        static: What is compiled in; see ``settings.validate_static``.

    Returns:
        A pure function of a key, ``Hparams`` of arrays ``(L,)`` and ``Data``; its
        results have the lanes in front.
    """

    def train(key: jax.Array, hparams: Hparams, data: Data) -> tuple[Params, History]:
        data = Data(*map(jnp.asarray, data))
        num_rows = data.x.shape[0]
        dtype = params_lib.at_least_float32(data.x).dtype
        hparams = Hparams(*(jnp.asarray(h, dtype)[None, None, :] for h in hparams))
        init_key, order_key = jax.random.split(key)
        optimizer = optimizers.make_stacked(
            static.optimizer, static.schedule, hparams, num_steps(num_rows, static)
        )
        step = make_step(static, optimizer, hparams, data)

        def epoch(state: State, number: jax.Array) -> tuple[State, tuple]:
            epoch_key = jax.random.fold_in(order_key, number)
            minibatches = draw_minibatches(epoch_key, num_rows, static.batch_size)
            state, summed_losses = jax.lax.scan(step, state, minibatches)
            val_loss, val_accuracy = evaluate(
                state.params, data.val_x, data.val_labels, static
            )
            # The last update of an epoch meets no further minibatch that would show it.
            status = jnp.where(state.status == OK, diagnose(val_loss), state.status)
            train_loss = jnp.sum(summed_losses, axis=0) / num_rows
            curves = tuple(
                jnp.where(status == OK, value, jnp.nan)
                for value in (train_loss, val_loss, val_accuracy)
            )
            return state._replace(status=status), curves

        params = initial_params(init_key, hparams, data, static)
        zeros = jnp.zeros(params.W.shape[-1], jnp.int32)
        state = State(params, optimizer.init(params), status=zeros, steps=zeros)
        epochs = jnp.arange(static.epochs, dtype=jnp.uint32)
        state, curves = jax.lax.scan(epoch, state, epochs)
        history = History(
            *(curve.T for curve in curves), status=state.status, steps=state.steps
        )
        return stack.lanes_first(state.params), history

    return train


def initial_params(
    key: jax.Array, hparams: Hparams, data: Data, static: Static
) -> Params:
    """Returns the start of each lane: the same draw, scaled by its ``init_scale``.

    Args:
        key: Used once.
        hparams: Arrays ``(1, 1, L)``.
        data: Its features give D and the dtype.
        static: The number of classes is used.

    Returns:
        ``W (D, C, L)`` and ``b (1, C, L)``.
    """
    scale = jnp.asarray(hparams.init_scale)
    unit = params_lib.init(
        key, data.x.shape[1], static.num_classes, scale=1.0, dtype=scale.dtype
    )
    W = unit.W[:, :, None] * scale
    return Params(W, jnp.zeros_like(W[:1]))


def make_step(
    static: Static,
    optimizer: optax.GradientTransformation,
    hparams: Hparams,
    data: Data,
) -> Callable[[State, tuple[jax.Array, jax.Array]], tuple[State, jax.Array]]:
    """Returns ``step(state, (rows, weights)) -> (state, summed losses)`` for a scan.

    Args:
        static: Loss, gradient and precision are used.
        optimizer: An optax chain.
        hparams: Arrays ``(1, 1, L)``; ``l2`` is used.
        data: The training rows are used.
    """
    gradient_of = stack.GRADIENTS[static.gradient]

    def step(
        state: State, minibatch: tuple[jax.Array, jax.Array]
    ) -> tuple[State, jax.Array]:
        rows, weights = minibatch
        x, labels = data.x[rows], data.labels[rows]
        scores = stack.logits(state.params, x, precision=static.precision)
        loss = stack.mean_loss(scores, labels, loss=static.loss, weights=weights)
        gradient = gradient_of(
            state.params,
            x,
            labels,
            loss=static.loss,
            l2=jnp.asarray(hparams.l2),
            weights=weights,
            precision=static.precision,
        )
        status = jnp.where(state.status == OK, diagnose(loss), state.status)
        alive = status == OK
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.params
        )
        params = jax.tree.map(
            lambda old, update: jnp.where(alive[None, None, :], old + update, old),
            state.params,
            updates,
        )
        steps = state.steps + alive.astype(jnp.int32)
        summed = loss * jnp.sum(weights).astype(loss.dtype)
        return State(params, optimizer_state, status, steps), summed

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


def diagnose(loss: jax.Array) -> jax.Array:
    """Returns the status that a loss amounts to, int32 of the shape of ``loss``.

    Args:
        loss: Mean losses, ``(L,)``.
    """
    return jnp.select(
        [~jnp.isfinite(loss), loss > EXPLODED_ABOVE],
        [jnp.int32(NONFINITE_LOSS), jnp.int32(EXPLODED)],
        jnp.int32(OK),
    )


def evaluate(
    params: Params, x: jax.Array, labels: jax.Array, static: Static
) -> tuple[jax.Array, jax.Array]:
    """Returns each lane's mean loss, without the penalty, and accuracy: ``(L,)`` each.

    Args:
        params: ``W (D, C, L)`` and ``b (1, C, L)``.
        x: Features ``(N, D)``.
        labels: ``(N,)``.
        static: Loss and precision are used.
    """
    scores = stack.logits(params, x, precision=static.precision)
    ones = jnp.ones(len(labels), scores.dtype)
    loss = stack.mean_loss(scores, labels, loss=static.loss, weights=ones)
    return loss, stack.accuracy(scores, labels)
