"""One run: what it sees, what it computes, and how it ends when it diverges."""

import dataclasses
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linclf_jax import losses
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import optimizers, states
from linclf_jax.training import program as training
from linclf_jax.training import step as step_lib
from linclf_jax.training.settings import Hparams, Static
from tests.training.small import (
    HPARAMS,
    NO_FOLDS,
    lanes_of,
    make_data,
    run_of,
    stacked_program,
    train,
    train_stack,
)

STATIC = Static(num_classes=3, optimizer="momentum", batch_size=8, epochs=5)
THREE = lanes_of(*[HPARAMS] * 3)  # alike
NO_STEP = HPARAMS._replace(learning_rate=1e-300)  # the parameters stay


@pytest.mark.parametrize(("num_rows", "batch"), [(21, 8), (16, 8), (5, 5), (7, 1)])
def test_an_epoch_holds_every_row_once(num_rows, batch):
    rows, weights = step_lib.draw_minibatches(jax.random.key(0), num_rows, batch)
    assert rows.shape == weights.shape == (-(-num_rows // batch), batch)
    assert sorted(rows[weights == 1].tolist()) == list(range(num_rows))
    assert float(jnp.sum(weights)) == num_rows


def test_every_epoch_has_an_order_of_its_own():
    keys = jax.random.split(jax.random.key(0), 2)
    first, second = (step_lib.draw_minibatches(key, 50, 10)[0] for key in keys)
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
    start, _ = train(whole, NO_STEP, data)
    gradient = jax.grad(losses.objective)(
        start, data.x, data.labels, loss="softmax_cross_entropy", l2=0.01
    )
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, start, gradient)
    chex.assert_trees_all_close(params, expected, rtol=1e-12)

    poisoned = data._replace(x=data.x.at[0].multiply(1e3))
    rows, weights = jnp.array([4, 5, 0, 0]), jnp.array([1.0, 1.0, 0.0, 0.0])
    lanes = lanes_of(HPARAMS)
    hparams = Hparams(*(value[None, None] for value in lanes))
    state = training.begin(STATIC, jax.random.key(0), lanes, data)
    results = [
        jax.jit(step_lib.make_step(STATIC, hparams, NO_FOLDS[:1], rows_of))(
            state, jnp.full((1, 1, 1), 0.1), rows, weights
        )
        for rows_of in (data, poisoned)
    ]
    chex.assert_trees_all_equal(*results)


@pytest.mark.parametrize(
    ("loss", "optimizer", "smoothed"),
    [
        *((loss, "momentum", False) for loss in losses.LOSSES),
        ("softmax_cross_entropy", "momentum", True),
        ("softmax_cross_entropy", "adam", True),
    ],
)
def test_hand_written_gradient_and_autodiff_give_the_same_trajectory(
    loss, optimizer, smoothed
):
    static = Static(3, loss, optimizer, batch_size=8, epochs=10, smoothed=smoothed)
    lanes = lanes_of(
        *(HPARAMS._replace(label_smoothing=share) for share in (0.05, 0.2, 0.6))
    )
    by_hand, by_autodiff, plain = (
        train_stack(dataclasses.replace(static, **change), lanes, make_data())
        for change in ({}, {"gradient": "autodiff"}, {"smoothed": False})
    )
    chex.assert_trees_all_close(by_hand, by_autodiff, rtol=1e-10, atol=1e-12)
    unsmoothed = np.allclose(by_hand.params.W, plain.params.W, rtol=1e-3)
    assert unsmoothed != smoothed


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
    params, history = train(STATIC, NO_STEP, data)
    expected = losses.objective(
        params, data.x, data.labels, loss="softmax_cross_entropy", l2=0.0
    )
    np.testing.assert_allclose(history.train_loss, float(expected), rtol=1e-12)


def test_seed_changes_the_run_and_nothing_else_does():
    first, again, other = (train(STATIC, seed=seed) for seed in (1, 1, 2))
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
        label_smoothing=jnp.zeros(3),
    )
    stacked = train_stack(static, lanes, make_data())
    for lane in range(3):
        params, history = train(static, Hparams(*(value[lane] for value in lanes)))
        chex.assert_trees_all_close(
            run_of(stacked, lane),
            (*params, *history[:3]),
            rtol=1e-9,
            atol=1e-12,
        )


def test_a_run_that_explodes_stops_and_says_when():
    static = Static(3, loss="weston_watkins_hinge", batch_size=8, epochs=5)
    params, history = train(static, Hparams(1e30))
    assert int(history.status) == states.EXPLODED
    assert int(history.steps) == 1  # the second batch showed it
    assert np.all(np.isnan(history.val_loss))
    assert np.all(np.isfinite(params.W))  # kept as they were, not poisoned further


def test_a_loss_that_is_not_finite_stops_the_run_at_once():
    data = make_data()
    data = data._replace(x=data.x.at[3, 1].set(jnp.nan))
    static = Static(3, batch_size=21, epochs=3)
    params, history = train(static, HPARAMS, data)
    start, _ = train(static, NO_STEP, make_data())
    assert int(history.status) == states.NONFINITE_LOSS
    assert int(history.steps) == 0
    chex.assert_trees_all_close(params, start, rtol=1e-12, atol=1e-290)


def test_a_last_update_that_breaks_the_parameters_is_seen():
    data = make_data(num_rows=8)
    static = Static(3, loss="weston_watkins_hinge", batch_size=8, epochs=1)
    _, history = train(static, Hparams(1e300), data)
    assert int(history.status) == states.EXPLODED
    _, history = train(static, Hparams(1e308, init_scale=1.0), data)
    assert int(history.status) != states.OK


def test_a_smoothed_step_is_the_gradient_of_the_smoothed_objective():
    data, hparams = make_data(), HPARAMS._replace(label_smoothing=0.3)
    static = Static(3, "softmax_cross_entropy", "sgd", "constant", 21, 1, smoothed=True)
    start, _ = train(static, hparams._replace(learning_rate=1e-300), data)
    params, history = train(static, hparams, data)

    def mean_loss(params):
        targets = losses.smooth_labels(data.labels, 3, 0.3)
        scores = params_lib.logits(params, data.x)
        return losses.softmax_cross_entropy_with_targets(scores, targets).mean()

    value, gradient = jax.value_and_grad(mean_loss)(start)
    np.testing.assert_allclose(history.train_loss[0], value, rtol=1e-12)
    W = start.W - 0.1 * (gradient.W + 0.01 * start.W)
    chex.assert_trees_all_close(
        params, Params(W, start.b - 0.1 * gradient.b), rtol=1e-12
    )


@pytest.mark.parametrize("optimizer", ["momentum", "adamw", "lars"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "weston_watkins_hinge"])
def test_a_lane_trains_as_if_the_rows_of_its_fold_did_not_exist(optimizer, loss):
    data = make_data(folds=True)
    static = Static(3, loss, optimizer, batch_size=21, epochs=6)
    fold = jnp.array([1, states.NO_FOLD, 0])
    state = train_stack(static, THREE, data, fold)
    train_scores, val_scores = training.score(static, state.params, fold, data)
    for lane, held_out in enumerate(fold.tolist()):
        trained = np.asarray(data.folds) != held_out
        scored = ~trained if held_out != states.NO_FOLD else trained
        less = states.Data(
            data.x[trained], data.labels[trained], data.x[scored], data.labels[scored]
        )
        alone = dataclasses.replace(static, batch_size=int(trained.sum()))
        params, history = train(alone, HPARAMS, less)
        chex.assert_trees_all_close(
            run_of(state, lane),
            (*params, *history[:3]),
            rtol=1e-9,
            atol=1e-12,
        )
        np.testing.assert_allclose(val_scores.loss[lane], history.val_loss[-1])
        np.testing.assert_allclose(val_scores.accuracy[lane], history.val_accuracy[-1])
        expected = losses.objective(params, less.x, less.labels, loss=loss, l2=0.0)
        np.testing.assert_allclose(train_scores.loss[lane], expected, rtol=1e-9)


def test_rows_that_are_held_out_may_hold_anything():
    """In minibatches too, where the order of the rows is that of all of them."""
    data = make_data(folds=True)
    held_out = data.folds == 1
    other = data._replace(
        x=jnp.where(held_out[:, None], 7.0, data.x),
        labels=jnp.where(held_out, 2, data.labels),
    )
    fold = jnp.array([1, 0, states.NO_FOLD])
    unchanged, changed = (train_stack(STATIC, THREE, d, fold) for d in (data, other))
    for lane, same in enumerate((True, False, False)):
        W, other_W = (s.params.W[..., lane] for s in (unchanged, changed))
        assert np.array_equal(W, other_W) == same
    curves = (state.curves.train_loss[:, 0] for state in (unchanged, changed))
    chex.assert_trees_all_equal(*curves)


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
def test_a_minibatch_without_a_row_that_counts_leaves_no_nan(optimizer):
    static = Static(3, optimizer=optimizer, batch_size=1, epochs=2)
    data, fold = make_data(6, folds=True), jnp.array([0, 1, 2])
    state = train_stack(static, THREE, data, fold)
    for leaf in jax.tree.leaves(state):
        assert np.all(np.isfinite(leaf))
    assert state.steps.tolist() == [12, 12, 12]
    assert state.status.tolist() == [states.OK] * 3


LANES = lanes_of(*(HPARAMS._replace(learning_rate=rate) for rate in (0.01, 0.3, 1e9)))


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "lars"])
def test_a_run_cut_anywhere_is_the_whole_run_bit_for_bit(optimizer):
    static = Static(3, "weston_watkins_hinge", optimizer, batch_size=8, epochs=3)
    data, advance = make_data(folds=True), stacked_program(static)
    fold = jnp.array([1, states.NO_FOLD, 0])
    last = training.num_steps(21, static)
    assert last == 9
    begun = advance(None, LANES, fold, data, 0, 0)
    whole = advance(begun, LANES, fold, data, 0, last)
    for cuts in (*((cut,) for cut in range(last + 1)), range(last), (2, 2, 3, 3, 7)):
        state, first = begun, 0
        for stop in (*cuts, last):
            state = advance(state, LANES, fold, data, first, stop)
            first = stop
        chex.assert_trees_all_equal(state, whole)
    # Steps that were made already are not made again.
    for first, stop in ((9, 9), (9, 4), (9, 0)):
        again = advance(whole, LANES, fold, data, first, stop)
        chex.assert_trees_all_equal(again, whole)


def test_the_cosine_is_taken_of_steps_and_not_of_weights():
    """A schedule inside the optax chain is fused into the update of every weight."""
    static = Static(3, optimizer="momentum", schedule="cosine", batch_size=8, epochs=3)
    data, lanes = make_data(), lanes_of(*[HPARAMS] * 32)
    fold = jnp.full(32, states.NO_FOLD)
    state = jax.eval_shape(
        lambda: training.begin(static, jax.random.key(0), lanes, data)
    )
    lowered = stacked_program(static).lower(state, lanes, fold, data, 0, 9)
    steps, weights = 3 * 32, 4 * 3 * 32  # an epoch's for all lanes; W
    assert 0 < per_cosine(lowered) <= steps

    rates = jnp.full((1, 1, 32), 0.1)
    inside = optax.sgd(lambda count: rates * (1 + jnp.cos(count / (10 + rates))))
    lowered = jax.jit(inside.update).lower(state.params, inside.init(state.params))
    assert per_cosine(lowered) == weights


def per_cosine(lowered):
    """Returns the largest number of values that a program takes a cosine for.

    A fused computation is evaluated anew for each value that it returns.
    """
    largest = 0
    for block in re.split(r"\n\n", lowered.compile().as_text()):
        lines = [line for line in block.splitlines() if " cosine(" in line]
        if lines and "fused" in block.splitlines()[0]:
            lines = block.splitlines()[1:]
        for dims in re.findall(r" = f\d+\[([\d,]*)\]", "\n".join(lines)):
            largest = max(largest, math.prod(map(int, filter(None, dims.split(",")))))
    return largest
