"""Scores of a stack of lanes: blocks of rows, and rows that count differently."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import losses
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static
from tests import tolerances

NUM_CLASSES, LANES = 3, 2
STATIC = Static(NUM_CLASSES)


def make_problem(num_rows, dtype="float64"):
    rng = np.random.default_rng(num_rows)

    def draw(*size):
        return jnp.asarray(rng.normal(size=size), dtype)

    params = Params(draw(LANES, 4, NUM_CLASSES), draw(LANES, NUM_CLASSES))
    labels = jnp.asarray(rng.integers(0, NUM_CLASSES, num_rows), jnp.int32)
    weights = jnp.asarray(rng.integers(0, 3, (num_rows, LANES)), dtype)
    return params, draw(num_rows, 4), labels, weights.at[0].set(1.0)


@functools.partial(jax.jit, static_argnames="static")
def evaluate(params, x, labels, weights, static=STATIC):
    stacked = stack.lanes_last(params)
    return evaluation.evaluate(stacked, x, labels, weights, static)


@functools.partial(jax.jit, static_argnames="static")
def by_row(params, x, labels, static=STATIC):
    return evaluation.by_row(stack.lanes_last(params), x, labels, static)


@functools.partial(jax.jit, static_argnames="loss")
def plain(params, x, labels, loss):
    """Returns loss and correctness of each row, lanes last, by the plain functions."""
    logits = jax.vmap(params_lib.logits, (0, None))(params, x)
    values = jax.vmap(losses.LOSSES[loss], (0, None))(logits, labels)
    return values.T, (jnp.argmax(logits, axis=-1) == labels[None]).T


@pytest.mark.parametrize(
    ("num_rows", "dtype", "loss"),
    [
        (1, "float64", "weston_watkins_hinge"),
        (512, "float64", "crammer_singer_hinge"),
        (513, "float64", "softmax_cross_entropy"),
        (1300, "float64", "weston_watkins_hinge"),
        (1300, "float32", "softmax_cross_entropy"),
    ],
)
def test_blocks_of_rows_give_what_all_rows_give(num_rows, dtype, loss):
    params, x, labels, weights = make_problem(num_rows, dtype)
    static = Static(NUM_CLASSES, loss=loss)
    # The reference of float32 is made in float64.
    wide = jax.tree.map(jnp.float64, (params, x))
    values, right = map(np.asarray, plain(*wide, labels, loss))
    close = tolerances.CLOSED_FORM if dtype == "float64" else {"rtol": 1e-5}
    rows = by_row(params, x, labels, static)
    np.testing.assert_allclose(rows.loss, values, **close)
    np.testing.assert_array_equal(rows.right, right)
    for own in (weights, weights[:, :1]):
        scores = evaluate(params, x, labels, own, static)
        chex.assert_shape(scores, (LANES,))
        assert scores.loss.dtype == scores.accuracy.dtype == dtype
        counts = np.asarray(own, np.float64)
        shares = counts / counts.sum(axis=0)
        np.testing.assert_allclose(scores.loss, (shares * values).sum(0), **close)
        np.testing.assert_allclose(scores.accuracy, (shares * right).sum(0), **close)


def test_smoothed_training_is_scored_on_the_labels_themselves():
    problem = make_problem(600)
    smoothed = evaluate(*problem, Static(NUM_CLASSES, smoothed=True))
    chex.assert_trees_all_equal(evaluate(*problem), smoothed)


def test_a_lane_without_rows_or_numbers_has_no_score_and_spoils_no_other():
    params, x, labels, weights = make_problem(600)
    clean = evaluate(params, x, labels, weights)
    unseen = evaluate(params, x, labels, weights.at[:, 1].set(0.0))
    broken = params._replace(W=params.W.at[1].set(jnp.nan))
    broken = evaluate(broken, x, labels, weights)
    for scores in (unseen, broken):
        assert np.isnan(scores.loss[1])
        assert scores.loss[0] == clean.loss[0]
        assert scores.accuracy[0] == clean.accuracy[0]
    assert np.isnan(unseen.accuracy[1])
