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


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_the_stack_is_the_plain_functions_mapped(loss, shape, dtype):
    params, x, labels, weights, l2 = make_problem(shape, dtype)

    def plain(params, l2):
        scores = params_lib.logits(params, x)
        values = losses.LOSSES[loss](scores, labels)
        gradient = gradients.objective_gradient(
            params, x, labels, loss=loss, l2=l2, weights=weights
        )
        value = losses.weighted_mean(values, weights)
        return value, metrics.accuracy(scores, labels), gradient

    value, accuracy, gradient = jax.vmap(plain)(params, l2)

    stacked = stack.lanes_last(params)
    scores = stack.logits(stacked, x)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    right = stack.accuracy(scores, labels)
    assert right.dtype == dtype
    chex.assert_trees_all_equal(jnp.mean(right, axis=0), accuracy)
    batch = stack.Batch(x, labels, stack.normalised(weights[:, None]))
    for gradient_of in stack.GRADIENTS.values():
        found, mine = gradient_of(stacked, batch, loss=loss, l2=l2[None, None])
        assert found.dtype == mine.W.dtype == mine.b.dtype == dtype
        chex.assert_trees_all_close(found, value, **close)
        chex.assert_trees_all_close(stack.lanes_first(mine), gradient, **close)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_label_smoothing_is_the_plain_loss_of_smooth_targets(shape, dtype):
    params, x, labels, weights, l2 = make_problem(shape, dtype)
    smoothing = jnp.linspace(0.0, 0.8, shape[-1]).astype(dtype)

    def plain(params, l2, smoothing):
        def mean_loss(params):
            targets = losses.smooth_labels(labels, shape[2], smoothing)
            values = losses.softmax_cross_entropy_with_targets(
                params_lib.logits(params, x), targets
            )
            return losses.weighted_mean(values, weights)

        value, gradient = jax.value_and_grad(mean_loss)(params)
        return value, gradient._replace(W=gradient.W + l2 * params.W)

    value, gradient = jax.vmap(plain)(params, l2, smoothing)
    batch = stack.Batch(x, labels, stack.normalised(weights[:, None]))
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for gradient_of in stack.GRADIENTS.values():
        found, mine = gradient_of(
            stack.lanes_last(params),
            batch,
            loss="softmax_cross_entropy",
            l2=l2[None, None],
            smoothing=smoothing,
        )
        assert found.dtype == mine.W.dtype == dtype
        chex.assert_trees_all_close(found, value, **close)
        chex.assert_trees_all_close(stack.lanes_first(mine), gradient, **close)


@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("gradient", stack.GRADIENTS)
def test_lanes_may_look_at_different_rows(gradient, loss):
    params, x, labels, _, l2 = make_problem((6, 4, 3, 2), "float64")
    weights = jnp.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 2], [0, 3]], x.dtype)
    batch = stack.Batch(x, labels, stack.normalised(weights))
    found, mine = stack.GRADIENTS[gradient](
        stack.lanes_last(params), batch, loss=loss, l2=l2[None, None]
    )
    for lane in range(2):
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], params)
        seen = weights[:, lane] > 0
        data = (x[seen], labels[seen])
        options = {"loss": loss, "weights": weights[seen, lane]}
        value = losses.objective(own, *data, l2=0.0, **options)
        expected = gradients.objective_gradient(own, *data, l2=l2[lane], **options)
        np.testing.assert_allclose(found[lane], value, rtol=1e-12)
        alone = jax.tree.map(
            lambda leaf, lane=lane: leaf[lane], stack.lanes_first(mine)
        )
        chex.assert_trees_all_close(alone, expected, rtol=1e-12, atol=1e-12)


def test_shares_sum_to_one_or_are_zero():
    shares = stack.normalised(jnp.array([[1.0, 0.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(shares, [[0.25, 0.0], [0.75, 0.0]])


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
        found = gradients.logits_gradient(moved, labels, loss=loss, axis=axis)
        chex.assert_trees_all_close(
            found, jnp.moveaxis(gradient, -1, axis), rtol=1e-14, atol=1e-16
        )
