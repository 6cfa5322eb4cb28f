"""A logit of plus infinity is the limit of one that grows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import curvature, gradients, losses, params
from linclf_jax.params import Params
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static

INF, NAN = np.inf, np.nan
every_loss = pytest.mark.parametrize("loss", losses.LOSSES)
# Logits, label, loss and gradient; both hinges are 0 and infinite alike.
ONE = [
    ([INF, 0.0, 1.0], 0, 0.0, [0.0, 0.0, 0.0]),
    ([0.0, INF, 1.0], 1, 0.0, [0.0, 0.0, 0.0]),
    ([INF, -INF, 6e4], 0, 0.0, [0.0, 0.0, 0.0]),
    ([INF], 0, 0.0, [0.0]),
    ([INF, 0.0, 1e-3], 1, INF, [1.0, -1.0, 0.0]),
]


@pytest.mark.parametrize(("logits", "label", "value", "gradient"), ONE)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_infinity_takes_all_of_the_probability(
    logits, label, value, gradient, dtype
):
    scores, labels = jnp.asarray(logits, dtype)[None], jnp.array([label])
    loss = losses.softmax_cross_entropy
    np.testing.assert_array_equal(loss(scores, labels), [value])
    manual = gradients.with_manual_gradient("softmax_cross_entropy")
    for function in (loss, manual):
        slope = jax.grad(lambda s, f=function: f(s, labels).sum())(scores)
        np.testing.assert_array_equal(slope, [gradient])
    by_hand = gradients.softmax_cross_entropy(scores, labels)
    np.testing.assert_array_equal(by_hand, [gradient])
    targets = jnp.eye(len(logits), dtype=dtype)[labels]
    soft = losses.softmax_cross_entropy_with_targets(scores, targets)
    np.testing.assert_array_equal(soft, [value])
    np.testing.assert_array_equal(
        gradients.softmax_cross_entropy_with_targets(scores, targets), [gradient]
    )


@every_loss
@pytest.mark.parametrize(("logits", "label", "value", "gradient"), ONE)
def test_values_and_gradients_agree_for_every_loss(
    loss, logits, label, value, gradient
):
    scores, labels = jnp.asarray(logits)[None], jnp.array([label])
    np.testing.assert_array_equal(losses.LOSSES[loss](scores, labels), [value])
    automatic = jax.grad(lambda s: losses.LOSSES[loss](s, labels).sum())(scores)
    by_hand = gradients.logits_gradient(scores, labels, loss=loss)
    np.testing.assert_array_equal(automatic, by_hand)
    np.testing.assert_array_equal(np.sign(by_hand[0, label]), gradient[label])


def test_curvature_is_zero_and_probabilities_are_one_and_zero():
    scores = jnp.array([[0.0, INF, 1.0]])
    np.testing.assert_array_equal(
        curvature.softmax_jacobian(scores), np.zeros((1, 3, 3))
    )
    tangent = jnp.array([[1.0, 2.0, 3.0]])
    product = curvature.logits_hessian_vector_product(scores, tangent)
    np.testing.assert_array_equal(product, np.zeros((1, 3)))
    for loss in (
        losses.softmax_cross_entropy,
        gradients.with_manual_gradient("softmax_cross_entropy"),
    ):
        hessian = jax.hessian(lambda s, f=loss: f(s[None], jnp.array([0]))[0])(
            scores[0]
        )
        np.testing.assert_array_equal(hessian, np.zeros((3, 3)))
    p = Params(jnp.zeros((2, 3)), scores[0])
    probs = params.predict_proba(p, jnp.ones((1, 2)))
    np.testing.assert_array_equal(probs, [[0.0, 1.0, 0.0]])


def test_smoothed_targets_that_share_with_a_finite_logit_cost_infinity():
    targets = losses.smooth_labels(jnp.array([0]), 2, 0.1)
    scores = jnp.array([[INF, 0.0]])
    found = losses.softmax_cross_entropy_with_targets(scores, targets)
    np.testing.assert_array_equal(found, [INF])


@every_loss
def test_two_infinities_are_nan_for_the_limit_depends_on_how_they_grow(loss):
    scores = jnp.array([[INF, INF, 0.0]] * 3)
    labels = jnp.array([0, 1, 2])
    values = losses.LOSSES[loss](scores, labels)
    of_finite = NAN if loss == "softmax_cross_entropy" else INF
    np.testing.assert_array_equal(values, [NAN, NAN, of_finite])
    slopes = jax.grad(lambda s: losses.LOSSES[loss](s, labels).sum())(scores)
    assert np.isnan(slopes[:2]).all()
    assert np.isnan(gradients.logits_gradient(scores, labels, loss=loss)[:2]).all()


def test_log_probabilities_of_one_and_of_two_infinities():
    scores = jnp.array([[INF, 0.0, -INF], [INF, INF, 0.0], [INF, NAN, 0.0]])
    expected = [[0.0, -INF, -INF], [NAN, NAN, NAN], [NAN, NAN, NAN]]
    np.testing.assert_array_equal(losses.log_softmax(scores), expected)


def test_a_nan_beside_an_infinity_stays_one():
    scores, labels = jnp.array([[INF, NAN]]), jnp.array([0])
    assert np.isnan(gradients.softmax_cross_entropy(scores, labels)).all()
    assert np.isnan(curvature.softmax_jacobian(scores)).all()


@every_loss
def test_evaluation_has_the_same_limits(loss):
    bias = jnp.array([[INF, 0.0, 1.0], [0.0, INF, INF], [0.0, 1.0, 2.0]])
    lanes = stack.lanes_last(Params(jnp.zeros((3, 2, 3)), bias))
    x, labels, static = jnp.ones((4, 2)), jnp.array([0, 1, 2, 3]), Static(3, loss=loss)
    found = evaluation.by_row(lanes, x, labels, static).loss
    for lane in range(3):
        logits = jnp.broadcast_to(bias[lane], (4, 3))
        expected = losses.LOSSES[loss](logits, labels)
        np.testing.assert_allclose(found[:, lane], expected, rtol=1e-12)
        mean = evaluation.evaluate(lanes, x, labels, jnp.ones((4, 1)), static).loss
        assert np.isnan(mean).all()  # the label 3 is no class
    counted = jnp.array([[1.0], [0.0], [0.0], [0.0]])
    right = evaluation.evaluate(lanes, x, labels, counted, static).loss
    assert right[0] == 0
    wrong = evaluation.evaluate(lanes, x, labels, jnp.roll(counted, 1), static).loss
    assert wrong[0] == INF
