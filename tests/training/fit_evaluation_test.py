"""Scores of a stack of lanes: blocks of rows, and rows that count differently."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import losses, metrics
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static
from tests.tolerances import CLOSED_FORM

NUM_CLASSES, LANES = 3, 2


def make_problem(num_rows, dtype="float64"):
    rng = np.random.default_rng(num_rows)

    def draw(*size):
        return jnp.asarray(rng.normal(size=size), dtype)

    params = Params(draw(LANES, 4, NUM_CLASSES), draw(LANES, NUM_CLASSES))
    labels = jnp.asarray(rng.integers(0, NUM_CLASSES, num_rows), jnp.int32)
    weights = jnp.asarray(rng.integers(0, 3, (num_rows, LANES)), dtype)
    return params, draw(num_rows, 4), labels, weights.at[0].set(1.0)


def plain(params, x, labels, weights):
    """Returns mean loss and accuracy of one classifier."""
    logits = params_lib.logits(params, x)
    values = losses.softmax_cross_entropy(logits, labels)
    accuracy = metrics.accuracy(logits, labels, weights=weights)
    return losses.weighted_mean(values, weights), accuracy


@functools.partial(jax.jit, static_argnames="static")
def evaluate(params, x, labels, weights, static):
    stacked = stack.lanes_last(params)
    return evaluation.evaluate(stacked, x, labels, weights, static)


@pytest.mark.parametrize("num_rows", [1, 511, 512, 513, 1300])
@pytest.mark.parametrize("per_lane", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_blocks_of_rows_give_what_one_block_gives(num_rows, per_lane, dtype):
    params, x, labels, weights = make_problem(num_rows, dtype)
    if not per_lane:
        weights = weights[:, :1]
    scores = evaluate(params, x, labels, weights, Static(NUM_CLASSES))
    chex.assert_shape(scores, (LANES,))
    assert scores.loss.dtype == scores.accuracy.dtype == dtype
    # The reference of float32 is made in float64.
    wide = jax.tree.map(jnp.float64, (params, x, weights))
    expected = jax.vmap(plain, in_axes=(0, None, None, -1 if per_lane else None))(
        *wide[:2], labels, wide[2] if per_lane else wide[2][:, 0]
    )
    close = {"rtol": 1e-12 if dtype == "float64" else 1e-5}
    chex.assert_trees_all_close(
        jax.tree.map(jnp.float64, tuple(scores)), expected, **close
    )


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_the_loss_is_the_one_asked_for(loss):
    params, x, labels, weights = make_problem(20)
    scores = evaluate(params, x, labels, weights[:, :1], Static(NUM_CLASSES, loss=loss))
    one = jax.tree.map(lambda leaf: leaf[1], params)
    expected = losses.objective(
        one, x, labels, loss=loss, l2=0.0, weights=weights[:, 0]
    )
    np.testing.assert_allclose(scores.loss[1], expected, rtol=1e-12)


def test_smoothed_training_is_scored_on_the_labels_themselves():
    params, x, labels, weights = make_problem(20)
    plain, smoothed = (
        evaluate(params, x, labels, weights, Static(NUM_CLASSES, smoothed=smoothed))
        for smoothed in (False, True)
    )
    chex.assert_trees_all_equal(plain, smoothed)


def test_a_lane_that_no_row_counts_for_has_no_score():
    params, x, labels, weights = make_problem(600)
    weights = weights.at[:, 1].set(0.0)
    scores = evaluate(params, x, labels, weights, Static(NUM_CLASSES))
    for values in scores:
        np.testing.assert_array_equal(np.isnan(values), [False, True])


def test_weights_that_are_nan_for_one_lane_spoil_no_other():
    params, x, labels, weights = make_problem(600)
    clean = evaluate(params, x, labels, weights, Static(NUM_CLASSES))
    broken = params._replace(W=params.W.at[1].set(jnp.nan))
    scores = evaluate(broken, x, labels, weights, Static(NUM_CLASSES))
    assert np.isnan(scores.loss[1])
    assert scores.loss[0] == clean.loss[0]
    assert scores.accuracy[0] == clean.accuracy[0]


@pytest.mark.parametrize("num_rows", [1, 512, 1300])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_each_row_has_the_score_that_it_has_alone(num_rows, loss):
    params, x, labels, _ = make_problem(num_rows)
    static = Static(NUM_CLASSES, loss=loss)
    scores = evaluation.by_row(stack.lanes_last(params), x, labels, static)
    chex.assert_shape(scores, (num_rows, LANES))
    for lane in range(LANES):
        one = jax.tree.map(lambda leaf, lane=lane: leaf[lane], params)
        logits = params_lib.logits(one, x)
        expected = losses.LOSSES[loss](logits, labels)
        np.testing.assert_allclose(scores.loss[:, lane], expected, **CLOSED_FORM)
        right = jnp.argmax(logits, axis=1) == labels
        np.testing.assert_array_equal(scores.right[:, lane], right)
