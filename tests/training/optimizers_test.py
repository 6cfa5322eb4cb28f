"""One contract for every optimizer, and the schedules."""

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
from tests.training.small import make_data, train

NUM_CLASSES = 3
L2 = 0.1
# Peak learning rates at which 400 full-batch steps with cosine decay suffice.
LEARNING_RATES = {
    "sgd": 0.5,
    "momentum": 0.2,
    "nesterov": 0.2,
    "adam": 0.1,
    "adamw": 0.1,
    "lion": 0.01,
    "rmsprop": 0.03,
    "lars": 0.5,
}
# The gap to the optimal objective that each reaches. Methods whose step does not shrink
# with the gradient end at a distance set by the last, small learning rates.
GAPS = {name: 1e-9 for name in optimizers.OPTIMIZERS} | {"lion": 1e-6, "rmsprop": 1e-6}


def plain_optax(name, h, learning_rate):
    """The optimizer as somebody would write it by hand, from Python numbers."""
    mask = Params(W=True, b=False)
    return {
        "sgd": lambda: optax.sgd(learning_rate),
        "momentum": lambda: optax.sgd(learning_rate, h.momentum),
        "nesterov": lambda: optax.sgd(learning_rate, h.momentum, nesterov=True),
        "adam": lambda: optax.adam(learning_rate, h.b1, h.b2),
        "adamw": lambda: optax.adamw(
            learning_rate, h.b1, h.b2, weight_decay=h.weight_decay, mask=mask
        ),
        "lion": lambda: optax.lion(
            learning_rate, h.b1, h.b2, weight_decay=h.weight_decay, mask=mask
        ),
        "rmsprop": lambda: optax.rmsprop(learning_rate, h.b2),
        "lars": lambda: optax.lars(
            learning_rate, trust_ratio_mask=mask, momentum=h.momentum
        ),
    }[name]()


def objective(params, data, l2=L2):
    loss = {"loss": "softmax_cross_entropy", "l2": l2}
    return losses.objective(params, data.x, data.labels, **loss)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_reaches_the_optimum_of_a_convex_problem(name):
    data = make_data(40)
    epochs = 4000 if name == "lars" else 400
    static = Static(NUM_CLASSES, optimizer=name, batch_size=40, epochs=epochs)
    params, history = train(static, Hparams(LEARNING_RATES[name], l2=L2), data)
    best = reference_solver.solve(np.asarray(data.x), data.labels, L2).objective
    assert -1e-13 < float(objective(params, data) - best) < GAPS[name]
    assert int(history.status) == states.OK


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_keeps_the_dtype_and_compiles_once_for_all_values(name):
    static = Static(NUM_CLASSES, optimizer=name, batch_size=16, epochs=2)
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(program.make_train(static), n=2))
    for dtype in (np.float32, np.float64):
        data = make_data(40, dtype)
        for rate in (0.01, 0.3):
            hparams = Hparams(rate, l2=rate, momentum=0.5, b1=0.8, b2=0.9, warmup=0.1)
            params, history = run(jax.random.key(1), hparams, data)
            assert params.W.dtype == params.b.dtype == dtype
            assert history.train_loss.dtype == history.val_loss.dtype == dtype


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_follows_plain_optax_for_100_steps(name):
    # Each optimizer with one schedule; the schedules have tests of their own.
    number = list(optimizers.OPTIMIZERS).index(name)
    schedule = settings.SCHEDULES[number % len(settings.SCHEDULES)]
    data = make_data(40)
    static = Static(
        NUM_CLASSES, optimizer=name, schedule=schedule, batch_size=8, epochs=20
    )
    hparams = Hparams(0.02, 0.01, 0.8, 0.85, 0.95, weight_decay=0.03, warmup=0.13)
    params, history = train(static, hparams, data, seed=3)
    assert int(history.steps) == 100

    init_key, order_key = jax.random.split(jax.random.key(3))
    expected = Params(
        hparams.init_scale * jax.random.uniform(init_key, (4, 3), minval=-1.0),
        jnp.zeros(3),
    )
    plain = plain_optax(name, hparams, plain_schedule(schedule, hparams, 100))
    state = plain.init(expected)

    @jax.jit
    def step(expected, state, rows):
        some = data._replace(x=data.x[rows], labels=data.labels[rows])
        gradient = jax.grad(objective)(expected, some, hparams.l2)
        updates, state = plain.update(gradient, state, expected)
        return optax.apply_updates(expected, updates), state

    for epoch in range(20):
        order = jax.random.permutation(jax.random.fold_in(order_key, epoch), 40)
        for rows in order.reshape(5, 8):
            expected, state = step(expected, state, rows)
    chex.assert_trees_all_close(params, expected, rtol=1e-5, atol=1e-9)


def plain_schedule(name, h, num_steps):
    """The schedules again, from their description, one step at a time."""
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

    table = jnp.array([rate(step) for step in range(num_steps)])
    return lambda step: table[step]


@pytest.mark.parametrize("name", settings.SCHEDULES)
def test_schedule_rises_and_falls_as_it_says(name):
    rate = optimizers.make_schedule(name, Hparams(2.0, warmup=0.2), 100)
    values = np.array([rate(jnp.asarray(step)) for step in range(101)])
    np.testing.assert_allclose(values[:20], 2.0 * np.arange(1, 21) / 20, rtol=1e-12)
    np.testing.assert_allclose(values[20], 2.0)
    assert np.all(np.diff(values[20:]) <= 0)
    middle, end = {"constant": (2, 2), "cosine": (1, 0), "linear": (1, 0)}[name]
    np.testing.assert_allclose(values[[60, 100]], [middle, end], atol=1e-12)


def test_no_warm_up_starts_at_the_peak():
    rate = optimizers.make_schedule("cosine", Hparams(2.0), 10)
    np.testing.assert_allclose(rate(jnp.asarray(0)), 2.0)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_weight_decay_leaves_the_bias_alone(name):
    optimizer = optimizers.make(name, Hparams(weight_decay=0.5), 0.1)
    params = Params(jnp.ones((2, 3)), jnp.ones(3))
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    np.testing.assert_allclose(updates.W, -0.05)
    np.testing.assert_allclose(updates.b, 0.0)
