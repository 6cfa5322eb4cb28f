"""The stack, lanes last, against the plain functions mapped over lanes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import gradients, losses, metrics
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import stack

SHAPES = [(5, 4, 3, 2), (3, 3, 3, 3), (7, 1, 2, 5), (1, 6, 4, 1)]  # N, D, C, L
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
SMOOTHED = "smoothed"  # softmax cross-entropy with smoothed labels


def make_problem(shape, dtype, seed=0):
    num_rows, num_features, num_classes, lanes = shape
    rng = np.random.default_rng(seed)

    def draw(*size):
        return jnp.asarray(rng.normal(size=size), dtype)

    params = Params(draw(lanes, num_features, num_classes), draw(lanes, num_classes))
    x = draw(num_rows, num_features)
    labels = jnp.asarray(rng.integers(0, num_classes, num_rows), jnp.int32)
    weights = jnp.asarray(rng.integers(1, 4, num_rows), dtype)
    l2 = jnp.abs(draw(lanes))
    return params, x, labels, weights, l2


def plain(loss, params, x, labels, weights, l2, smoothing):
    """Returns the mean loss of one classifier, and the objective's gradient."""
    if loss != SMOOTHED:
        options = {"loss": loss, "weights": weights}
        return (
            losses.objective(params, x, labels, l2=0.0, **options),
            gradients.objective_gradient(params, x, labels, l2=l2, **options),
        )

    def mean_loss(params):
        targets = losses.smooth_labels(labels, len(params.b), smoothing)
        values = losses.softmax_cross_entropy_with_targets(
            params_lib.logits(params, x), targets
        )
        return losses.weighted_mean(values, weights)

    value, gradient = jax.value_and_grad(mean_loss)(params)
    return value, gradient._replace(W=gradient.W + l2 * params.W)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", [*losses.LOSSES, SMOOTHED])
def test_the_stack_is_the_plain_functions_mapped(loss, shape, dtype):
    params, x, labels, weights, l2 = make_problem(shape, dtype)
    smoothing = jnp.linspace(0.0, 0.8, shape[-1]).astype(dtype)
    value, gradient = jax.vmap(
        lambda p, l2, smoothing: plain(loss, p, x, labels, weights, l2, smoothing)
    )(params, l2, smoothing)
    batch = stack.Batch(x, labels, stack.normalised(weights[:, None]))
    options = {"loss": loss, "l2": l2[None, None]}
    if loss == SMOOTHED:
        options |= {"loss": "softmax_cross_entropy", "smoothing": smoothing}
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for gradient_of in stack.GRADIENTS.values():
        mean_loss, by_stack = gradient_of(stack.lanes_last(params), batch, **options)
        assert mean_loss.dtype == by_stack.W.dtype == by_stack.b.dtype == dtype
        chex.assert_trees_all_close(mean_loss, value, **close)
        chex.assert_trees_all_close(stack.lanes_first(by_stack), gradient, **close)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_and_accuracy_are_the_plain_ones_mapped(shape, dtype):
    params, x, labels, _, _ = make_problem(shape, dtype)
    expected = jax.vmap(lambda p: params_lib.logits(p, x))(params)
    accuracy = jax.vmap(lambda s: metrics.accuracy(s, labels))(expected)
    scores = stack.logits(stack.lanes_last(params), x)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    chex.assert_trees_all_close(jnp.moveaxis(scores, -1, 0), expected, **close)
    right = stack.accuracy(scores, labels)
    assert right.dtype == dtype
    chex.assert_trees_all_equal(jnp.mean(right, axis=0), accuracy)


@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("gradient", stack.GRADIENTS)
def test_lanes_may_have_different_rows(gradient, loss):
    params, x, labels, _, l2 = make_problem((6, 4, 3, 2), "float64")
    weights = jnp.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 2], [0, 3]], x.dtype)
    batch = stack.Batch(x, labels, stack.normalised(weights))
    values, gradients_ = stack.GRADIENTS[gradient](
        stack.lanes_last(params), batch, loss=loss, l2=l2[None, None]
    )
    gradients_ = stack.lanes_first(gradients_)
    for lane in range(2):
        one, alone = (
            jax.tree.map(lambda leaf, lane=lane: leaf[lane], tree)
            for tree in (params, gradients_)
        )
        rows = weights[:, lane] > 0
        value, expected = plain(
            loss, one, x[rows], labels[rows], weights[rows, lane], l2[lane], None
        )
        np.testing.assert_allclose(values[lane], value, rtol=1e-12)
        chex.assert_trees_all_close(alone, expected, rtol=1e-12, atol=1e-12)


def test_normalised_weights_sum_to_one_or_are_zero():
    weights = stack.normalised(jnp.array([[1.0, 0.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(weights, [[0.25, 0.0], [0.75, 0.0]])


def test_lanes_first_undoes_lanes_last():
    params, *_ = make_problem((5, 4, 3, 2), "float32")
    last = stack.lanes_last(params)
    chex.assert_shape(last.W, (4, 3, 2))
    chex.assert_shape(last.b, (1, 3, 2))
    np.testing.assert_array_equal(last.W[:, :, 1], params.W[1])
    np.testing.assert_array_equal(last.b[0, :, 1], params.b[1])
    chex.assert_trees_all_equal(stack.lanes_first(last), params)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_classes_on_any_axis_give_the_same_loss_and_gradient(loss):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(6, 4, 5)))
    labels = jnp.asarray(rng.integers(0, 5, (6, 4)), jnp.int32)
    value = losses.LOSSES[loss](logits, labels)
    gradient = gradients.logits_gradient(logits, labels, loss=loss)
    for axis in (0, 1, -3, -2):
        moved = jnp.moveaxis(logits, -1, axis)
        chex.assert_trees_all_close(
            losses.LOSSES[loss](moved, labels, axis=axis), value, rtol=1e-14
        )
        moved = gradients.logits_gradient(moved, labels, loss=loss, axis=axis)
        chex.assert_trees_all_close(
            moved, jnp.moveaxis(gradient, -1, axis), rtol=1e-14, atol=1e-16
        )
