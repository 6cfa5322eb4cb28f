"""One contract for every optimizer, and the schedules."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linclf_jax import losses
from linclf_jax.params import Params
from linclf_jax.training import optimizers, program, settings, states
from linclf_jax.training.settings import Hparams, Static
from tests import reference_solver
from tests.training import small

W_ONLY = Params(W=True, b=False)
# Of three lanes, all of them different.
LANES = Hparams(
    learning_rate=np.array([0.02, 0.01, 0.05]),
    l2=np.array([0.01, 0.0, 0.1]),
    momentum=np.array([0.8, 0.0, 0.9]),
    b1=np.array([0.85, 0.5, 0.0]),
    b2=np.array([0.95, 0.99, 0.999]),
    weight_decay=np.array([0.03, 0.1, 0.0]),
    warmup=np.array([0.13, 0.3, 0.9]),
    init_scale=np.array([1e-3, 0.1, 1.0]),
    label_smoothing=np.zeros(3),
)


def plain_optax(name, h, lr):
    """The optimizer as somebody would write it by hand."""
    moments, decay = (h.b1, h.b2), {"weight_decay": h.weight_decay, "mask": W_ONLY}
    return {
        "sgd": lambda: optax.sgd(lr),
        "momentum": lambda: optax.sgd(lr, h.momentum),
        "nesterov": lambda: optax.sgd(lr, h.momentum, nesterov=True),
        "adam": lambda: optax.adam(lr, *moments),
        "adamw": lambda: optax.adamw(lr, *moments, **decay),
        "lion": lambda: optax.lion(lr, *moments, **decay),
        "rmsprop": lambda: optax.rmsprop(lr, h.b2),
        "lars": lambda: optax.lars(lr, trust_ratio_mask=W_ONLY, momentum=h.momentum),
    }[name]()


def plain_schedule(name, h, num_steps):
    """Learning rates of all steps, from the schedules' description, one at a time."""
    warmup = h.warmup * num_steps

    def rate(step):
        rise = min(1.0, (step + 1) / warmup)
        progress = max(0.0, (step - warmup) / (num_steps - warmup))
        fall = {
            "constant": 1.0,
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1 + np.cos(np.pi * progress)),
        }[name]
        return h.learning_rate * rise * fall

    return np.array([rate(step) for step in range(num_steps)])


@jax.jit
def minibatches(data):
    """Rows and labels of the hundred steps of twenty epochs, and the first weights."""
    init_key, order_key = jax.random.split(jax.random.key(0))
    keys = jax.vmap(lambda epoch: jax.random.fold_in(order_key, epoch))(jnp.arange(20))
    orders = jax.vmap(lambda key: jax.random.permutation(key, 40))(keys).reshape(100, 8)
    first = jax.random.uniform(init_key, (4, 3), minval=-1.0)
    return (data.x[orders], data.labels[orders]), first


@functools.partial(jax.jit, static_argnums=0)
def plain_run(name, hparams, rates, batches, W):
    """Returns what a loop over minibatches makes of optax and ``jax.grad``."""
    optimizer = plain_optax(name, hparams, lambda step: rates[step])

    def step(carry, batch):
        params, state = carry
        gradient = jax.grad(losses.objective)(
            params, *batch, loss="softmax_cross_entropy", l2=hparams.l2
        )
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = Params(hparams.init_scale * W, jnp.zeros(3))
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), batches)
    return params


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_lane_of_a_stack_follows_plain_optax(name):
    # Each optimizer with one schedule; the schedules have tests of their own.
    number = list(optimizers.OPTIMIZERS).index(name)
    schedule = settings.SCHEDULES[number % len(settings.SCHEDULES)]
    data = small.make_data(40)
    static = Static(3, optimizer=name, schedule=schedule, batch_size=8, epochs=20)
    state = small.train_stack(static, LANES, data)
    assert state.steps.tolist() == [100] * 3
    batches, first = minibatches(data)
    for lane in range(3):
        hparams = Hparams(*(float(column[lane]) for column in LANES))
        rates = plain_schedule(schedule, hparams, 100)
        expected = plain_run(name, hparams, rates, batches, first)
        run = small.run_of(state, lane)[:2]
        chex.assert_trees_all_close(run, tuple(expected), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_program_keeps_the_dtype_and_depends_on_no_value(name, dtype):
    """It is traced without any: one program serves all hyper-parameters."""
    static, data = Static(3, optimizer=name, batch_size=8), small.make_data(dtype=dtype)
    values = Hparams(*[jax.ShapeDtypeStruct((), float)] * len(Hparams._fields))
    train = program.make_train(static)
    params, history = jax.eval_shape(train, jax.random.key(0), values, data)
    assert {array.dtype for array in (*params, *history[:3])} == {np.dtype(dtype)}


def test_training_reaches_the_optimum_of_a_convex_problem():
    data = small.make_data(40)
    static = Static(3, optimizer="momentum", batch_size=40, epochs=400)
    params, history = small.train(static, Hparams(0.2, l2=0.1), data)
    objective = losses.objective(params, data.x, data.labels, loss=static.loss, l2=0.1)
    best = reference_solver.solve(np.asarray(data.x), data.labels, 0.1).objective
    assert -1e-13 < float(objective - best) < 1e-9
    assert int(history.status) == states.OK


@pytest.mark.parametrize(
    ("name", "middle", "end"), [("constant", 2, 2), ("cosine", 1, 0), ("linear", 1, 0)]
)
def test_schedule_rises_and_falls_as_it_says(name, middle, end):
    rate = optimizers.make_schedule(name, Hparams(2.0, warmup=0.2), 100)
    values = np.asarray(jax.vmap(rate)(jnp.arange(101)))
    np.testing.assert_allclose(values[:20], 2.0 * np.arange(1, 21) / 20, rtol=1e-12)
    np.testing.assert_allclose(values[20], 2.0)
    assert np.all(np.diff(values[20:]) <= 0)
    np.testing.assert_allclose(values[[60, 100]], [middle, end], atol=1e-12)
    at_once = optimizers.make_schedule(name, Hparams(2.0), 10)
    np.testing.assert_allclose(at_once(jnp.asarray(0)), 2.0)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_weight_decay_leaves_the_bias_alone(name):
    optimizer = optimizers.OPTIMIZERS[name].build(Hparams(weight_decay=0.5), 0.1)
    params = Params(jnp.ones((2, 3)), jnp.ones(3))
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    np.testing.assert_allclose(updates.W, -0.05)
    np.testing.assert_allclose(updates.b, 0.0)
