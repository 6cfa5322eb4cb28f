"""Rows and logits that must not spread in a stack: weight 0, infinity, other shapes."""

import functools
import itertools

import chex
import jax
import numpy as np
import pytest

from linclf_jax import losses
from linclf_jax.params import Params
from linclf_jax.training import evaluation, fused, stack
from linclf_jax.training.settings import Static
from tests.tolerances import CLOSED_FORM

INF = np.inf
every_loss = pytest.mark.parametrize("loss", losses.LOSSES)
# What the last two of seven rows hold, of weight 0: features, and the last one's label.
CONTENTS = {
    "infinity": (np.inf, 2),
    "an overflow": (1e308, 1),
    "a class too many": (0.5, 3),
    "NaN and padding": (np.nan, -1),
}


def problem(lowest, content=None):
    """Two lanes of three classes; in the first the bias may rule the third one out."""
    rng = np.random.default_rng(7)
    x, W = rng.normal(size=(7, 4)), 3 * rng.normal(size=(4, 3))
    labels, b = np.array([0, 1, 1, 0, 1, 2, 2]), np.array([0.3, 0.1, lowest])
    if content is not None:
        x[5:], labels[6] = CONTENTS[content]
    two = Params(np.stack([W, -W]), np.stack([b, b[::-1]]))
    weights = np.array([[1.0, 0.5, 2.0, 1.0, 3.0, 0.0, 0.0]]).T
    return stack.lanes_last(two), x, labels, weights


@every_loss
def test_a_row_of_weight_0_is_left_out_of_all_lanes_or_of_some(loss):
    static = Static(3, loss=loss)
    evaluate = jax.jit(functools.partial(evaluation.evaluate, static=static))
    for lowest, content in itertools.product((-0.5, -INF), CONTENTS):
        expected = evaluate(*problem(lowest))
        params, x, labels, weights = problem(lowest, content)
        scores = evaluate(params, x, labels, weights)
        assert np.isfinite(scores.loss[0]), content
        chex.assert_trees_all_close(scores, expected, **CLOSED_FORM)
        # The second lane counts the odd rows; the first has the numbers it had.
        own = np.concatenate([weights, np.ones((7, 1))], axis=1)
        mixed = evaluate(params, x, labels, own)
        np.testing.assert_allclose(mixed.loss[0], expected.loss[0], **CLOSED_FORM)
        if "NaN" in content:
            assert np.isnan(mixed.loss[1])


@every_loss
@pytest.mark.parametrize("name", stack.GRADIENTS)
def test_a_stack_leaves_it_out_of_all_lanes_or_of_some(loss, name):
    @jax.jit
    def gradient(params, x, labels, weights):
        batch = stack.Batch(x, labels, stack.normalised(weights))
        objective = stack.Objective(loss, np.full((1, 1, 2), 0.1))
        return stack.GRADIENTS[name](params, batch, objective)

    for lowest, content in itertools.product((-0.5, -INF), CONTENTS):
        expected = gradient(*problem(lowest))
        params, x, labels, weights = problem(lowest, content)
        actual = gradient(params, x, labels, weights)
        assert np.isfinite(actual[0][0]), content
        chex.assert_trees_all_close(actual, expected, **CLOSED_FORM)
        # The second lane counts the odd rows; the first has the numbers it had.
        own = np.concatenate([weights, np.ones((7, 1))], axis=1)
        mean_loss, slope = gradient(params, x, labels, own)
        np.testing.assert_allclose(mean_loss[0], expected[0][0], **CLOSED_FORM)
        for array, other in zip(slope, expected[1], strict=True):
            np.testing.assert_allclose(array[..., 0], other[..., 0], **CLOSED_FORM)
        if "NaN" in content:
            assert np.isnan(mean_loss[1])
            assert np.isnan(slope.W[..., 1]).any(axis=-1).all()


def test_a_row_that_two_blocks_hold_counts_its_infinite_loss_once():
    """The last block begins early, and there the row weighs 0."""
    rows = evaluation.BLOCK + 3
    params = stack.lanes_last(Params(np.zeros((1, 1, 2)), np.array([[0.0, -INF]])))
    labels = np.where(np.arange(rows) == 10, 1, 0)
    actual = jax.jit(evaluation.evaluate, static_argnums=4)(
        params, np.ones((rows, 1)), labels, np.ones((rows, 1)), Static(2)
    )
    np.testing.assert_array_equal(actual.loss, [INF])


@every_loss
def test_evaluation_has_the_limits_of_infinite_logits(loss):
    bias = np.array([[INF, 0.0, 1.0], [0.0, INF, INF], [0.0, 1.0, 2.0]])
    lanes = stack.lanes_last(Params(np.zeros((3, 2, 3)), bias))
    x, labels, static = np.ones((4, 2)), np.array([0, 1, 2, 3]), Static(3, loss=loss)
    actual = jax.jit(evaluation.by_row, static_argnums=3)(lanes, x, labels, static).loss
    for lane in range(3):
        expected = losses.LOSSES[loss](np.tile(bias[lane], (4, 1)), labels)
        np.testing.assert_allclose(actual[:, lane], expected, rtol=1e-12)
    score = jax.jit(evaluation.evaluate, static_argnums=4)
    assert np.isnan(score(lanes, x, labels, np.ones((4, 1)), static).loss).all()
    counted = np.array([[1.0], [0.0], [0.0], [0.0]])
    if loss != "sigmoid_cross_entropy":  # whose other labels have losses of their own
        assert score(lanes, x, labels, counted, static).loss[0] == 0
    assert score(lanes, x, labels, np.roll(counted, 1), static).loss[0] == INF


# Three of everything, so that nothing fails by itself.
ONES, LABELS, STATIC = np.ones((3, 3)), np.array([0, 1, 2]), Static(3)
FIRST = Params(np.ones((3, 3, 3)), np.zeros((3, 3)))
LAST = Params(np.ones((3, 3, 3)), np.zeros((1, 3, 3)))


def gradient_of(params, labels, shares):
    batch = stack.Batch(ONES, labels, shares)
    objective = stack.Objective("softmax_cross_entropy", np.ones((1, 1, 3)))
    return stack.manual_gradient(params, batch, objective)


COLUMN, SIX = np.ones((3, 1)), np.tile(LABELS, 2)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (stack.logits, (FIRST, ONES), "lanes in front go through lanes_last"),
        (gradient_of, (FIRST, LABELS, COLUMN), "lanes in front go through lanes_last"),
        (gradient_of, (LAST, LABELS[:1], COLUMN), "labels have shape"),
        (gradient_of, (LAST, LABELS, np.ones((1, 3))), "shape"),
        (stack.normalised, (np.ones(3),), r"weights have shape \(3,\)"),
        (stack.accuracy, (LAST.W, LABELS[:1]), r"labels have shape \(1,\)"),
        *(
            (
                function,
                (LAST.W, LABELS, np.ones((1, 3))),
                r"weights \(1, 3\); expected \(3,\), and \(3, 1\) or \(3, 3\)",
            )
            for function in fused.FUSED.values()
        ),
        (
            evaluation.evaluate,
            (LAST, ONES, LABELS, np.ones(3), STATIC),
            r"weights have shape \(3,\); expected \(3, 1\) or \(3, L\)",
        ),
        # A slice of six labels that starts at a row of three is none of theirs.
        (
            evaluation.evaluate,
            (LAST, ONES, SIX, COLUMN, STATIC),
            r"labels have shape \(6,\); expected \(3,\)",
        ),
        (evaluation.by_row, (LAST, ONES, SIX, STATIC), r"labels have shape \(6,\)"),
    ],
)
def test_a_shape_that_is_not_meant_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
