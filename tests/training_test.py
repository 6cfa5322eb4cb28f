"""One run: what it sees, what it computes, and how it ends when it diverges."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import losses
from linclf_jax.fit import optimizers, stack, training
from linclf_jax.fit.settings import Hparams, Static

STATIC = Static(num_classes=3, optimizer="momentum", batch_size=8, epochs=5)
HPARAMS = Hparams(learning_rate=0.1, l2=0.01)


def make_data(num_rows=21, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows + 10, 4)).astype(dtype)
    labels = rng.integers(0, 3, num_rows + 10).astype(np.int32)
    cut = num_rows
    return training.Data(
        *map(jnp.asarray, (x[:cut], labels[:cut], x[cut:], labels[cut:]))
    )


@functools.cache
def program(static):
    return jax.jit(training.make_train(static))


def train(static=STATIC, hparams=HPARAMS, data=None, seed=0):
    data = make_data() if data is None else data
    return program(static)(jax.random.key(seed), hparams, data)


@pytest.mark.parametrize(("num_rows", "batch"), [(21, 8), (16, 8), (5, 5), (7, 1)])
def test_an_epoch_holds_every_row_once(num_rows, batch):
    rows, weights = training.draw_minibatches(jax.random.key(0), num_rows, batch)
    assert rows.shape == weights.shape == (-(-num_rows // batch), batch)
    assert sorted(rows[weights == 1].tolist()) == list(range(num_rows))
    assert float(jnp.sum(weights)) == num_rows


def test_every_epoch_has_an_order_of_its_own():
    keys = jax.random.split(jax.random.key(0), 2)
    first, second = (training.draw_minibatches(key, 50, 10)[0] for key in keys)
    assert not np.array_equal(first, second)
    # Not the same minibatches in another order, either.
    assert {frozenset(b.tolist()) for b in first} != {
        frozenset(b.tolist()) for b in second
    }


def test_rows_of_weight_zero_take_no_part():
    """The last batch is short: what fills it up must not change the run."""
    data = make_data(num_rows=21)
    # Rows are filled up with row 0; a full-batch run must not count it twice.
    whole = Static(3, optimizer="sgd", batch_size=21, epochs=1, schedule="constant")
    params, _ = train(whole, HPARAMS, data)
    start, _ = train(whole, HPARAMS._replace(learning_rate=1e-300), data)
    gradient = jax.grad(losses.objective)(
        start, data.x, data.labels, loss="softmax_cross_entropy", l2=0.01
    )
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, start, gradient)
    chex.assert_trees_all_close(params, expected, rtol=1e-12)

    poisoned = data._replace(x=data.x.at[0].multiply(1e3))
    rows, weights = jnp.array([4, 5, 0, 0]), jnp.array([1.0, 1.0, 0.0, 0.0])
    hparams = Hparams(*(jnp.full((1, 1, 1), value) for value in HPARAMS))
    optimizer = optimizers.make_stacked("sgd", "constant", hparams, 1)
    params = stack.lanes_last(jax.tree.map(lambda leaf: leaf[None], start))
    zeros = jnp.zeros(1, jnp.int32)
    state = training.State(params, optimizer.init(params), zeros, zeros)
    results = [
        jax.jit(training.make_step(STATIC, optimizer, hparams, rows_of))(
            state, (rows, weights)
        )
        for rows_of in (data, poisoned)
    ]
    chex.assert_trees_all_equal(*results)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_hand_written_gradient_and_autodiff_give_the_same_trajectory(loss):
    manual, by_hand = train(Static(3, loss=loss, batch_size=8, epochs=20))
    auto, by_autodiff = train(
        Static(3, loss=loss, batch_size=8, epochs=20, gradient="autodiff")
    )
    chex.assert_trees_all_close(manual, auto, rtol=1e-10, atol=1e-12)
    chex.assert_trees_all_close(by_hand, by_autodiff, rtol=1e-10, atol=1e-12)


def test_training_lowers_the_loss_and_history_is_what_happened():
    data = make_data()
    params, history = train(Static(3, batch_size=8, epochs=40), HPARAMS, data)
    assert history.train_loss.shape == history.val_loss.shape == (40,)
    assert float(history.train_loss[-1]) < 0.8 * float(history.train_loss[0])
    scores = data.val_x @ params.W + params.b[None, :]
    expected = losses.softmax_cross_entropy(scores, data.val_labels).mean()
    np.testing.assert_allclose(history.val_loss[-1], expected, rtol=1e-12)
    right = jnp.mean(jnp.argmax(scores, axis=1) == data.val_labels)
    np.testing.assert_allclose(history.val_accuracy[-1], right)
    assert int(history.steps) == training.num_steps(21, STATIC) // 5 * 40


def test_train_loss_is_the_mean_over_the_rows_of_the_epoch():
    """With a learning rate of almost 0 the parameters stay, and the mean is known."""
    data = make_data(num_rows=21)
    params, history = train(STATIC, HPARAMS._replace(learning_rate=1e-300), data)
    expected = losses.objective(
        params, data.x, data.labels, loss="softmax_cross_entropy", l2=0.0
    )
    np.testing.assert_allclose(history.train_loss, float(expected), rtol=1e-12)


def test_seed_changes_the_run_and_nothing_else_does():
    first, again, other = train(seed=1), train(seed=1), train(seed=2)
    chex.assert_trees_all_equal(first, again)
    assert not np.allclose(first[0].W, other[0].W, rtol=1e-6)


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
def test_a_stack_is_a_loop_over_its_lanes(optimizer):
    static = Static(3, optimizer=optimizer, batch_size=8, epochs=3)
    lanes = Hparams(
        learning_rate=jnp.array([0.01, 0.1, 1.0]),
        l2=jnp.array([0.1, 0.0, 0.01]),
        momentum=jnp.array([0.0, 0.5, 0.9]),
        b1=jnp.array([0.9, 0.5, 0.0]),
        b2=jnp.array([0.9, 0.99, 0.999]),
        weight_decay=jnp.array([0.0, 0.1, 0.2]),
        warmup=jnp.array([0.0, 0.3, 0.9]),
        init_scale=jnp.array([0.0, 1e-3, 1.0]),
    )
    run = jax.jit(training.make_stacked_train(static))
    stacked = run(jax.random.key(0), lanes, make_data())
    for lane in range(3):
        alone = train(static, Hparams(*(value[lane] for value in lanes)))
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, lane=lane: leaf[lane], stacked),
            alone,
            rtol=1e-9,
            atol=1e-12,
        )


def test_a_run_that_explodes_stops_and_says_when():
    static = Static(3, loss="weston_watkins_hinge", batch_size=8, epochs=5)
    params, history = train(static, Hparams(1e30))
    assert int(history.status) == training.EXPLODED
    assert int(history.steps) == 1  # the second batch showed it
    assert np.all(np.isnan(history.val_loss))
    assert np.all(np.isfinite(params.W))  # kept as they were, not poisoned further


def test_a_loss_that_is_not_finite_stops_the_run_at_once():
    data = make_data()
    data = data._replace(x=data.x.at[3, 1].set(jnp.nan))
    static = Static(3, batch_size=21, epochs=3)
    params, history = train(static, HPARAMS, data)
    start, _ = train(static, HPARAMS._replace(learning_rate=1e-300), make_data())
    assert int(history.status) == training.NONFINITE_LOSS
    assert int(history.steps) == 0
    chex.assert_trees_all_close(params, start, rtol=1e-12, atol=1e-290)


def test_a_last_update_that_breaks_the_parameters_is_seen():
    data = make_data(num_rows=8)
    static = Static(3, loss="weston_watkins_hinge", batch_size=8, epochs=1)
    _, history = train(static, Hparams(1e300), data)
    assert int(history.status) == training.EXPLODED
    _, history = train(static, Hparams(1e308, init_scale=1.0), data)
    assert int(history.status) != training.OK


@pytest.mark.parametrize(
    ("loss", "status"),
    [
        (0.0, training.OK),
        (1e6, training.OK),
        (1.1e6, training.EXPLODED),
        (np.nan, training.NONFINITE_LOSS),
        (np.inf, training.NONFINITE_LOSS),
    ],
)
def test_diagnosis(loss, status):
    assert int(training.diagnose(jnp.asarray(loss))) == status
