"""A row of weight 0 takes no part in anything, whatever it holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import curvature, gradients, losses, metrics
from linclf_jax.params import Params
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static
from tests.tolerances import CLOSED_FORM

LOSS = "softmax_cross_entropy"
every_loss = pytest.mark.parametrize("loss", losses.LOSSES)
# What the last two of seven rows hold: features, and a label.
CONTENTS = {
    "nothing odd": (0.5, 1),
    "NaN": (np.nan, 1),
    "infinity": (np.inf, 2),
    "an overflow": (1e308, 1),
    "padding": (0.0, -1),
    "a class too many": (0.5, 3),
    "NaN and padding": (np.nan, -1),
}
every_content = pytest.mark.parametrize("content", CONTENTS)
# Where the parameters rule a class out, a row of that class has an infinite loss.
every_bias = pytest.mark.parametrize("lowest", [-0.5, -np.inf])


def problem(content, lowest=-0.5):
    """Seven rows of four features in three classes, the last two of weight 0."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(7, 4))
    labels = np.array([0, 1, 1, 0, 1, 2, 2])
    value, label = CONTENTS[content]
    x[5:] = value
    labels[6] = label
    params = Params(
        jnp.asarray(rng.normal(size=(4, 3)) * 3), jnp.array([0.3, 0.1, lowest])
    )
    weights = jnp.array([1.0, 0.5, 2.0, 1.0, 3.0, 0.0, 0.0])
    return params, jnp.asarray(x), jnp.asarray(labels), weights


@functools.partial(jax.jit, static_argnames="loss")
def first_derivatives(params, x, labels, weights, loss):
    """Returns the value, its gradient by autodiff, and those written by hand."""
    kwargs = {"loss": loss, "l2": 0.1, "weights": weights}
    value, slopes = jax.value_and_grad(losses.objective, argnums=(0, 1))(
        params, x, labels, **kwargs
    )
    by_hand = gradients.objective_gradient(params, x, labels, **kwargs)
    inputs = gradients.inputs_gradient(params, x, labels, loss=loss, weights=weights)
    return value, slopes[0], by_hand, (slopes[1], inputs)


@jax.jit
def second_derivatives(params, x, labels, weights):
    """Returns the Hessian, and four ways to its product with ones."""
    kwargs = {"l2": 0.1, "weights": weights}
    loss, ones = "softmax_cross_entropy", jax.tree.map(jnp.ones_like, params)

    def automatic(params):
        return jax.grad(losses.objective)(params, x, labels, loss=loss, **kwargs)

    def by_hand(params):
        return gradients.objective_gradient(params, x, labels, loss=loss, **kwargs)

    return (
        curvature.hessian(params, x, labels, **kwargs),
        curvature.hessian_vector_product(params, ones, x, labels, **kwargs),
        jax.jvp(automatic, (params,), (ones,))[1],
        jax.jvp(by_hand, (params,), (ones,))[1],
        jax.vjp(automatic, params)[1](ones)[0],
    )


def with_and_without(function, content, lowest, **options):
    """Returns ``function`` of all rows, and of those of positive weight alone."""
    params, x, labels, weights = problem(content, lowest)
    return function(params, x, labels, weights, **options), function(
        params, x[:5], labels[:5], weights[:5], **options
    )


def assert_same(found, expected):
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, **CLOSED_FORM)


@every_bias
@every_content
@every_loss
def test_value_and_gradients_are_those_of_the_other_rows(loss, content, lowest):
    found, expected = with_and_without(first_derivatives, content, lowest, loss=loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert_same(found[:3], expected[:3])
    for of_all, of_others in zip(found[3], expected[3], strict=True):
        np.testing.assert_array_equal(of_all[5:], 0.0)
        np.testing.assert_allclose(of_all[:5], of_others, **CLOSED_FORM)


@every_bias
@every_content
def test_second_derivatives_are_those_of_the_other_rows(content, lowest):
    found, expected = with_and_without(second_derivatives, content, lowest)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert_same(found, expected)
    for product in found[2:]:
        assert_same(product, found[1])


@every_loss
def test_the_loss_by_hand_is_clean_under_a_weighted_mean(loss):
    """As an objective of one's own is written, with jax.grad through it, twice."""
    manual = gradients.with_manual_gradient(loss)
    scores = jnp.array([[0.5, -0.2, 1.0], [0.0, -jnp.inf, 1.0]])
    labels, weights = jnp.array([2, 1]), jnp.array([2.0, 0.0])

    def mean(scores):
        return losses.weighted_mean(manual(scores, labels), weights)

    value, slope = jax.value_and_grad(mean)(scores)
    assert np.isfinite(value)
    np.testing.assert_array_equal(slope[1], 0.0)
    again = jax.grad(lambda s: (jax.grad(mean)(s) ** 2).sum())(scores)
    assert np.isfinite(again).all()


@every_content
def test_metrics_leave_it_out(content):
    _, x, labels, weights = problem(content)
    logits = x[:, :3]
    for metric in (metrics.negative_log_likelihood, metrics.accuracy):
        found = metric(logits, labels, weights)
        np.testing.assert_allclose(
            found, metric(logits[:5], labels[:5], weights[:5]), **CLOSED_FORM
        )
    slope = jax.grad(metrics.negative_log_likelihood)(logits, labels, weights)
    np.testing.assert_array_equal(slope[5:], 0.0)


@every_loss
def test_the_derivative_in_the_weight_of_a_row_that_may_count_is_kept(loss):
    """What a row would add is asked at weight 0, and masking must not answer it."""
    params, x, labels, weights = problem("nothing odd")

    def objective(weights):
        return losses.objective(params, x, labels, loss=loss, l2=0.0, weights=weights)

    values = losses.LOSSES[loss](x @ params.W + params.b[None], labels)
    expected = (values - objective(weights)) / weights.sum()
    np.testing.assert_allclose(jax.grad(objective)(weights), expected, **CLOSED_FORM)
    assert np.abs(expected[5:]).min() > 0


@pytest.mark.parametrize(("content", "row"), [("NaN", 5), ("padding", 6)])
@every_loss
def test_a_row_that_counts_is_not_masked(loss, content, row):
    params, x, labels, weights = problem(content)
    counted = weights.at[row].set(0.1)
    kwargs = {"loss": loss, "l2": 0.0, "weights": counted}
    assert np.isnan(losses.objective(params, x, labels, **kwargs))
    gradient = gradients.objective_gradient(params, x, labels, **kwargs)
    assert np.isnan(gradient.b).any()
    assert np.isnan(losses.objective(params, x, labels, loss=loss, l2=0.0))


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float16])
def test_weights_are_masks_and_counts_too(dtype):
    params, x, labels, weights = problem("NaN and padding")
    weights = jnp.asarray(weights).astype(dtype)
    found, expected = (
        losses.objective(
            params, x[:n], labels[:n], loss=LOSS, l2=0.0, weights=weights[:n]
        )
        for n in (7, 5)
    )
    np.testing.assert_allclose(found, expected, **CLOSED_FORM)


def lanes(content, lowest=-0.5):
    params, x, labels, weights = problem(content, lowest)
    two = Params(
        jnp.stack([params.W, -params.W]), jnp.stack([params.b, params.b[::-1]])
    )
    return stack.lanes_last(two), x, labels, weights


def one_lane(params, lane):
    return Params(params.W[..., lane], params.b[0, :, lane])


@functools.partial(jax.jit, static_argnames="static")
def evaluate(params, x, labels, weights, static):
    return evaluation.evaluate(params, x, labels, weights, static)


@pytest.mark.parametrize(
    "content", ["an overflow", "a class too many", "NaN and padding"]
)
@every_loss
def test_evaluation_leaves_it_out_of_all_lanes_or_of_some(loss, content):
    params, x, labels, weights = lanes(content)
    static = Static(3, loss=loss)
    found = evaluate(params, x, labels, weights[:, None], static)
    kept = evaluate(params, x[:5], labels[:5], weights[:5, None], static)
    assert_same(found, kept)
    # The second lane counts the odd rows; the first has the numbers it had.
    own = jnp.stack([weights, jnp.ones_like(weights)], axis=1)
    mixed = evaluate(params, x, labels, own, static)
    np.testing.assert_allclose(mixed.loss[0], kept.loss[0], **CLOSED_FORM)
    np.testing.assert_allclose(mixed.accuracy[0], kept.accuracy[0], **CLOSED_FORM)
    if content != "an overflow":
        assert np.isnan(mixed.loss[1])


def test_a_row_that_two_blocks_hold_counts_its_infinite_loss_once():
    """The last block begins early, and there the row weighs 0."""
    rows = evaluation.BLOCK + 3
    params = stack.lanes_last(
        Params(jnp.zeros((1, 1, 2)), jnp.array([[0.0, -jnp.inf]]))
    )
    labels = jnp.zeros(rows, int).at[10].set(1)
    found = evaluation.evaluate(
        params, jnp.ones((rows, 1)), labels, jnp.ones((rows, 1)), Static(2)
    )
    np.testing.assert_array_equal(found.loss, [np.inf])


STACKED = {
    name: jax.jit(function, static_argnames="loss")
    for name, function in stack.GRADIENTS.items()
}


@every_bias
@pytest.mark.parametrize("per_lane", [False, True])
@pytest.mark.parametrize("name", STACKED)
@pytest.mark.parametrize("content", ["infinity", "an overflow", "NaN and padding"])
@every_loss
def test_a_stack_leaves_it_out_of_all_lanes_or_of_some(
    loss, content, name, per_lane, lowest
):
    params, x, labels, weights = lanes(content, lowest)
    own = weights[:, None]
    if per_lane:
        own = jnp.stack([weights, jnp.ones_like(weights)], axis=1)
    loss_of, gradient = STACKED[name](
        params,
        stack.Batch(x, labels, stack.normalised(own)),
        loss=loss,
        l2=jnp.full((1, 1, 2), 0.1),
    )
    first = one_lane(params, 0)
    expected = losses.objective(
        first, x[:5], labels[:5], loss=loss, l2=0.0, weights=weights[:5]
    )
    slope = gradients.objective_gradient(
        first, x[:5], labels[:5], loss=loss, l2=0.1, weights=weights[:5]
    )
    np.testing.assert_allclose(loss_of[0], expected, **CLOSED_FORM)
    assert_same(one_lane(gradient, 0), slope)
    if per_lane and "NaN" in content:
        assert np.isnan(loss_of[1])
        assert np.isnan(gradient.W[..., 1]).any(axis=-1).all()
