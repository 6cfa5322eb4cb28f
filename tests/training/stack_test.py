"""The stack, lanes last, against the plain functions mapped over lanes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import gradients, losses, metrics
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import stack

# N, D, C, L: all different, where a transpose shows, and one row or one lane.
SHAPES = [
    ((5, 4, 3, 2), "float64"),
    ((3, 3, 3, 3), "float32"),
    ((1, 6, 4, 1), "float64"),
]
CLOSE = {
    "float64": {"rtol": 1e-12, "atol": 1e-12},
    "float32": {"rtol": 1e-5, "atol": 1e-5},
}
SMOOTHED = "smoothed"  # softmax cross-entropy with smoothed labels


def make_problem(shape, dtype):
    num_rows, num_features, num_classes, lanes = shape
    rng = np.random.default_rng(0)

    def draw(*size):
        return jnp.asarray(rng.normal(size=size), dtype)

    params = Params(draw(lanes, num_features, num_classes), draw(lanes, num_classes))
    x = draw(num_rows, num_features)
    labels = jnp.asarray(rng.integers(0, num_classes, num_rows), jnp.int32)
    # In the last lane of several, the first row takes no part.
    weights = jnp.asarray(rng.integers(1, 4, (num_rows, lanes)), dtype)
    weights = weights.at[0, 1:].multiply(np.arange(lanes - 1, dtype=dtype)[::-1])
    return params, x, labels, weights, jnp.abs(draw(lanes))


@functools.partial(jax.jit, static_argnames="loss")
@functools.partial(jax.vmap, in_axes=(None, 0, None, None, -1, 0, 0))
def plain(loss, params, x, labels, weights, l2, smoothing):
    """Returns the mean loss of each lane, and the objective's gradient."""
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


@functools.partial(jax.jit, static_argnames=("name", "loss"))
def stacked(name, loss, params, x, labels, weights, l2, smoothing):
    """Returns the same by the stack, lanes last."""
    batch = stack.Batch(x, labels, stack.normalised(weights))
    objective = stack.Objective(loss, l2[None, None])
    if loss == SMOOTHED:
        objective = stack.Objective("softmax_cross_entropy", l2[None, None], smoothing)
    return stack.GRADIENTS[name](stack.lanes_last(params), batch, objective)


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
@pytest.mark.parametrize("loss", [*losses.LOSSES, SMOOTHED])
def test_the_stack_is_the_plain_functions_mapped(loss, shape, dtype):
    params, x, labels, weights, l2 = make_problem(shape, dtype)
    smoothing = jnp.linspace(0.0, 0.8, shape[-1]).astype(dtype)
    others = l2, smoothing
    value, gradient = plain(loss, params, x, labels, weights, *others)
    for name in stack.GRADIENTS:
        mean_loss, by_stack = stacked(name, loss, params, x, labels, weights, *others)
        assert mean_loss.dtype == by_stack.W.dtype == by_stack.b.dtype == dtype
        chex.assert_trees_all_close(mean_loss, value, **CLOSE[dtype])
        expected = stack.lanes_last(gradient)
        chex.assert_trees_all_close(by_stack, expected, **CLOSE[dtype])


@pytest.mark.parametrize("name", stack.GRADIENTS)
def test_weights_of_all_lanes_are_those_of_each(name):
    params, x, labels, weights, l2 = make_problem((5, 4, 3, 2), "float64")
    shared = weights[:, :1]
    arguments = name, "softmax_cross_entropy", params, x, labels
    once = stacked(*arguments, shared, l2, l2)
    each = stacked(*arguments, jnp.tile(shared, (1, 2)), l2, l2)
    chex.assert_trees_all_close(once, each, **CLOSE["float64"])


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
def test_logits_and_accuracy_are_the_plain_ones_mapped(shape, dtype):
    params, x, labels, _, _ = make_problem(shape, dtype)

    @jax.jit
    def both(params):
        expected = jax.vmap(lambda p: params_lib.logits(p, x))(params)
        accuracy = jax.vmap(lambda s: metrics.accuracy(s, labels))(expected)
        scores = stack.logits(stack.lanes_last(params), x)
        right = stack.accuracy(scores, labels)
        return (expected, accuracy), (scores, right)

    (expected, accuracy), (scores, right) = jax.device_get(both(params))
    np.testing.assert_allclose(np.moveaxis(scores, -1, 0), expected, **CLOSE[dtype])
    assert right.dtype == dtype
    np.testing.assert_array_equal(right.mean(axis=0), accuracy.astype(dtype))


@pytest.mark.parametrize("name", stack.GRADIENTS)
def test_only_a_softmax_has_smoothed_labels(name):
    params, x, labels, weights, l2 = make_problem((5, 4, 3, 2), "float64")
    batch = stack.Batch(x, labels, stack.normalised(weights))
    for loss in {*losses.LOSSES} - {"softmax_cross_entropy"}:
        objective = stack.Objective(loss, l2[None, None], jnp.zeros(2))
        with pytest.raises(ValueError, match=f"{loss} has no label smoothing"):
            stack.GRADIENTS[name](stack.lanes_last(params), batch, objective)


def test_normalised_weights_sum_to_one_or_are_zero():
    weights = stack.normalised(jnp.array([[1.0, 0.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(weights, [[0.25, 0.0], [0.75, 0.0]])


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_classes_on_any_axis_give_the_same_loss_and_gradient(loss):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(6, 4, 5)))
    labels = jnp.asarray(rng.integers(0, 5, (6, 4)), jnp.int32)

    def along(axis):
        moved = jnp.moveaxis(logits, -1, axis)
        gradient = gradients.logits_gradient(moved, labels, loss=loss, axis=axis)
        value = losses.LOSSES[loss](moved, labels, axis=axis)
        return value, jnp.moveaxis(gradient, axis, -1)

    expected, *others = jax.jit(lambda: [along(axis) for axis in (-1, 0, -2)])()
    for other in others:
        chex.assert_trees_all_close(other, expected, rtol=1e-14, atol=1e-16)
