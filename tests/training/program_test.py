"""Runs and stacks: what they see and compute, and how they end when they diverge."""

import dataclasses
import functools
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linclf_jax import losses
from linclf_jax.params import Params
from linclf_jax.training import program, row_order, states
from linclf_jax.training.program import Lanes
from linclf_jax.training.settings import Hparams, Static
from tests import problems
from tests.training import small
from tests.training.small import FOLDS, HPARAMS, make_data, train, train_stack

HINGE = "weston_watkins_hinge"
STATIC = Static(num_classes=3, optimizer="momentum", batch_size=8, epochs=5)
ALIKE = small.lanes_of(*[HPARAMS] * 3)
NO_STEP = HPARAMS._replace(learning_rate=1e-300)  # the parameters stay
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@functools.partial(jax.jit, static_argnames="loss")
def mean_loss(params, x, labels, loss):
    return losses.objective(params, x, labels, loss=loss, l2=0.0)


@pytest.mark.parametrize(("num_rows", "batch"), [(21, 8), (5, 5), (7, 1)])
def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(num_rows, batch):
    draws = []
    for key in jax.random.split(jax.random.key(0), 2):
        minibatches = row_order.draw_minibatches(key, num_rows, batch)
        rows, weights = map(np.asarray, minibatches)
        assert rows.shape == weights.shape == (-(-num_rows // batch), batch)
        assert sorted(rows[weights == 1].tolist()) == list(range(num_rows))
        assert weights.sum() == num_rows
        draws.append(rows.tolist())
    assert draws[0] != draws[1]
    if batch == 8:  # not the same minibatches in another order, either
        assert {*map(frozenset, draws[0])} != {*map(frozenset, draws[1])}


def test_rows_that_fill_up_the_last_minibatch_take_no_part():
    data = make_data(num_rows=9)  # in batches of 8, of which 7 rows repeat row 0
    static = Static(3, optimizer="sgd", batch_size=8, epochs=1, schedule="constant")
    params, history = train(static, HPARAMS, data)
    expected, _ = train(static, NO_STEP, data)
    _, order_key = jax.random.split(jax.random.key(0))
    order = jax.random.permutation(jax.random.fold_in(order_key, 0), 9)
    seen = []
    for rows in (order[:8], order[8:]):
        batch = data.x[rows], data.labels[rows], static.loss
        value, gradient = jax.value_and_grad(mean_loss)(expected, *batch)
        seen += [value] * len(rows)
        W = expected.W - 0.1 * (gradient.W + 0.01 * expected.W)
        expected = Params(W, expected.b - 0.1 * gradient.b)
    chex.assert_trees_all_close(params, expected, rtol=1e-12)
    np.testing.assert_allclose(history.train_loss[0], np.mean(seen), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "smoothed"), [(HINGE, False), ("softmax_cross_entropy", True)]
)
def test_hand_written_gradient_and_autodiff_give_the_same_trajectory(loss, smoothed):
    static = Static(3, loss, batch_size=8, epochs=10, smoothed=smoothed)
    lanes = small.lanes_of(
        *(HPARAMS._replace(label_smoothing=share) for share in (0.05, 0.2, 0.6))
    )
    by_hand, by_autodiff = (
        train_stack(dataclasses.replace(static, **change), lanes, make_data())
        for change in ({}, {"gradient": "autodiff"})
    )
    chex.assert_trees_all_close(by_hand, by_autodiff, rtol=1e-10, atol=1e-12)
    # Label smoothing tells the lanes apart where it takes part, and else does not.
    apart = not np.allclose(by_hand.params.W[..., 0], by_hand.params.W[..., 2], 1e-3)
    assert apart == smoothed


def test_a_run_that_explodes_stops_and_says_when():
    static = Static(3, loss=HINGE, batch_size=8, epochs=1)
    params, history = train(static, Hparams(1e30))
    assert int(history.status) == states.EXPLODED
    assert int(history.steps) == 1  # the second batch showed it
    assert np.all(np.isnan(history.val_loss))
    assert np.all(np.isfinite(params.W))  # kept as they were, not poisoned further
    # A last update is seen by its validation loss alone.
    last, data = dataclasses.replace(static, batch_size=21), make_data()
    assert int(train(last, Hparams(1e300), data)[1].status) == states.EXPLODED
    wide = Hparams(1e308, init_scale=1.0)
    assert int(train(last, wide, data)[1].status) != states.OK


def test_a_loss_that_is_not_finite_stops_the_run_at_once():
    data = make_data()
    data = data._replace(x=data.x.at[3, 1].set(jnp.nan))
    static = Static(3, batch_size=21, epochs=1)
    params, history = train(static, HPARAMS, data)
    start, _ = train(static, NO_STEP, make_data())
    assert int(history.status) == states.NONFINITE_LOSS
    assert int(history.steps) == 0
    chex.assert_trees_all_close(params, start, rtol=1e-12, atol=1e-290)


def test_a_lane_trains_as_if_the_rows_of_its_fold_did_not_exist():
    data = make_data(folds=True)
    static = Static(3, HINGE, "lars", batch_size=21, epochs=6)
    state = train_stack(static, ALIKE, data, FOLDS)
    score = jax.jit(program.score, static_argnums=0)
    lanes = Lanes(jax.random.key(0), ALIKE, FOLDS)
    train_scores, val_scores = score(static, lanes, data, state.params)
    for lane, held_out in enumerate(FOLDS.tolist()):
        trained = np.asarray(data.folds) != held_out
        scored = ~trained if held_out != states.NO_FOLD else trained
        less = states.Data(
            data.x[trained], data.labels[trained], data.x[scored], data.labels[scored]
        )
        alone = dataclasses.replace(static, batch_size=int(trained.sum()))
        params, history = train(alone, HPARAMS, less)
        expected = (*params, *history[:3])
        chex.assert_trees_all_close(small.run_of(state, lane), expected, **CLOSE)
        np.testing.assert_allclose(val_scores.loss[lane], history.val_loss[-1])
        np.testing.assert_allclose(val_scores.accuracy[lane], history.val_accuracy[-1])
        expected = mean_loss(params, less.x, less.labels, HINGE)
        np.testing.assert_allclose(train_scores.loss[lane], expected, rtol=1e-9)


def test_rows_that_are_held_out_may_hold_anything():
    """In minibatches too, where the order of the rows is that of all of them."""
    data = make_data(folds=True)
    held_out = data.folds == 1
    other = data._replace(
        x=jnp.where(held_out[:, None], 7.0, data.x),
        labels=jnp.where(held_out, 2, data.labels),
    )
    unchanged, changed = (train_stack(STATIC, ALIKE, d, FOLDS) for d in (data, other))
    for lane, same in enumerate((True, False, False)):
        W, other_W = (s.params.W[..., lane] for s in (unchanged, changed))
        assert np.array_equal(W, other_W) == same
    curves = (state.curves.train_loss[:, 0] for state in (unchanged, changed))
    chex.assert_trees_all_equal(*curves)


@pytest.mark.parametrize("optimizer", ["lars", "rmsprop"])
def test_a_minibatch_without_a_row_that_counts_leaves_no_nan(optimizer):
    static = Static(3, optimizer=optimizer, batch_size=1, epochs=2)
    data, fold = make_data(6, folds=True), jnp.array([0, 1, 2])
    state = train_stack(static, ALIKE, data, fold)
    for leaf in jax.tree.leaves(state):
        assert np.all(np.isfinite(leaf))
    assert state.steps.tolist() == [12, 12, 12]
    assert state.status.tolist() == [states.OK] * 3


@pytest.mark.parametrize("optimizer", ["adam", "lars"])
def test_a_run_cut_anywhere_is_the_whole_run_bit_for_bit(optimizer):
    static = Static(3, HINGE, optimizer, batch_size=8, epochs=3)
    data, lanes = make_data(folds=True), small.of_rates(0.01, 0.3, 1e9)

    def advance(state, first, last):
        return small.stacked_program(static)(state, lanes, FOLDS, data, first, last)

    last = program.num_steps(21, static)
    assert last == 9
    begun = advance(None, 0, 0)
    whole = advance(begun, 0, last)
    for cuts in (*((cut,) for cut in range(last + 1)), range(last), (2, 2, 3, 3, 7)):
        state, first = begun, 0
        for stop in (*cuts, last):
            state = advance(state, first, stop)
            first = stop
        chex.assert_trees_all_equal(state, whole)
    # Steps that were made already are not made again.
    for first, stop in ((9, 9), (9, 4), (9, 0)):
        chex.assert_trees_all_equal(advance(whole, first, stop), whole)


def advance_three_steps(static, width=small.WIDTH):
    """Returns a function of hyper-parameters and data, to be traced."""

    def run(hparams, data):
        lanes = Lanes(jax.random.key(0), hparams, jnp.full(width, states.NO_FOLD))
        state = program.begin(static, lanes, data)
        return program.advance(static, lanes, data, state, 0, 3)

    return run


def test_every_product_has_the_precision_asked_for():
    lanes, seen = small.lanes_of(*[HPARAMS] * small.WIDTH), {}
    for precision in ("default", "highest"):
        run = advance_three_steps(Static(3, batch_size=8, precision=precision))
        (seen[precision],) = problems.product_precisions(run, lanes, make_data())
    assert seen["highest"] == "Precision.HIGHEST" * 2
    assert seen["default"] != seen["highest"]


def test_the_product_with_x_is_one_matrix_product():
    """No operand of a product holds x once per lane."""
    lanes = small.lanes_of(*[HPARAMS] * small.WIDTH)
    traced = jax.make_jaxpr(advance_three_steps(STATIC))(lanes, make_data())
    shapes = [
        [variable.aval.shape for variable in equation.invars]
        for equation in _equations(traced.jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    batch = (STATIC.batch_size, 4)
    shared = [s for s in shapes if batch in s or batch[::-1] in s]
    # Scores, of which loss and residual are made together, and the gradient.
    assert len(shared) == 2, shapes
    per_lane = {(small.WIDTH, *batch), (small.WIDTH, *batch[::-1])}
    assert not [s for s in shapes if per_lane & {*s}]


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def test_the_cosine_is_taken_of_steps_and_not_of_weights():
    """A schedule inside the optax chain is fused into the update of every weight."""
    static = Static(3, optimizer="momentum", schedule="cosine", batch_size=8, epochs=3)
    lanes = small.lanes_of(*[HPARAMS] * 32)
    run = advance_three_steps(static, width=32)
    lowered = jax.jit(run).lower(lanes, make_data())
    steps, weights = 3 * 32, 4 * 3 * 32  # an epoch's for all lanes; W
    assert 0 < per_cosine(lowered) <= steps

    rates = jnp.full((1, 1, 32), 0.1)
    params = Params(jnp.ones((4, 3, 32)), jnp.ones((1, 3, 32)))
    inside = optax.sgd(lambda count: rates * (1 + jnp.cos(count / (10 + rates))))
    lowered = jax.jit(inside.update).lower(params, inside.init(params))
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
