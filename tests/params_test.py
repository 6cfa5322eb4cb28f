"""The classifier: where it starts, what it scores and what it predicts."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from linclf_jax import params
from linclf_jax.params import Params
from tests import problems, tolerances

NAMES = ("logits", "predict", "predict_proba")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_init_is_uniform_in_the_scale_with_a_zero_bias(dtype):
    p = params.init(jax.random.key(0), 100, 40, scale=0.5, dtype=dtype)
    chex.assert_shape(p, [(100, 40), (40,)])
    chex.assert_type(p, dtype)
    np.testing.assert_array_equal(p.b, np.zeros(40))
    W = np.asarray(p.W, "float64")
    assert -0.5 <= W.min() < -0.49
    assert 0.49 < W.max() <= 0.5
    # Five standard errors of the mean and of the mean square of 4000 draws.
    np.testing.assert_allclose(W.mean(), 0, atol=5 * 0.5 / np.sqrt(3 * 4000))
    np.testing.assert_allclose((W**2).mean(), 0.25 / 3, rtol=5 * 0.9 / np.sqrt(4000))


def test_init_depends_on_the_key_alone_and_takes_a_traced_scale():
    first, again = (params.init(jax.random.key(7), 5, 3) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = params.init(jax.random.key(8), 5, 3)
    assert np.abs(np.asarray(first.W) - np.asarray(other.W)).max() > 0
    assert np.abs(np.asarray(first.W)).max() <= 1e-3
    chex.assert_type(first, "float32")
    scaled = jax.vmap(lambda s: params.init(jax.random.key(7), 5, 3, scale=s))
    W = jax.jit(scaled)(np.array([0.0, 1e-3])).W
    np.testing.assert_array_equal(W, np.stack([np.zeros((5, 3)), first.W]))


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    # By name: the repr of a function, with its address, would be part of the test's.
    @parameterized.parameters(*NAMES)
    def test_lanes_share_a_batch(self, name):
        function = getattr(params, name)
        p, x, _, _ = problems.problem()
        stack = jax.tree.map(lambda a: np.stack([a, -2 * a]), p)
        actual = self.variant(jax.vmap(function, in_axes=(0, None)))(stack, x)
        for lane in range(2):
            one = function(Params(stack.W[lane], stack.b[lane]), x)
            np.testing.assert_allclose(actual[lane], one, **tolerances.CLOSED_FORM)


@pytest.mark.parametrize("shape", problems.SHAPES)
def test_logits_are_a_sum_over_the_features(shape):
    (W, b), x, _, _ = jax.tree.map(np.asarray, problems.problem(shape))
    expected = [
        [sum(row[d] * W[d, j] for d in range(shape[1])) + b[j] for j in range(shape[2])]
        for row in x
    ]
    actual = jax.jit(params.logits)(Params(W, b), x)
    np.testing.assert_allclose(actual, expected, **tolerances.CLOSED_FORM)


@pytest.mark.parametrize(
    ("of_params", "of_x", "expected"),
    [
        (jnp.float16, np.float16, "float32"),
        (jnp.bfloat16, np.uint8, "float32"),
        (np.float32, np.int64, "float32"),
        (np.float32, np.float64, "float64"),
        (np.float64, np.float32, "float64"),
    ],
)
def test_logits_are_at_least_float32(of_params, of_x, expected):
    """Narrower ones would overflow in the product."""
    p = Params(np.full((300, 1), 2.0, of_params), np.zeros(1, of_params))
    actual = jax.jit(params.logits)(p, np.full((1, 300), 255, of_x))
    chex.assert_type(actual, expected)
    np.testing.assert_array_equal(actual, [[300 * 510.0]])


def test_predictions_are_the_largest_logit_and_ties_go_to_the_first():
    p = Params(np.eye(3), np.zeros(3))
    x = np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-3.0, -2, -2]])
    actual = jax.jit(params.predict)(p, x)
    np.testing.assert_array_equal(actual, [1, 0, 0, 1])
    chex.assert_type(actual, "int32")


def test_probabilities_are_the_softmax_of_the_logits():
    probs_of = jax.jit(params.predict_proba)
    p, x = Params(np.zeros((2, 3)), np.log([1.0, 2.0, 5.0])), np.ones((1, 2))
    actual = probs_of(p, x)
    np.testing.assert_allclose(actual, [[0.125, 0.25, 0.625]], rtol=1e-15)
    shifted = probs_of(p._replace(b=p.b + 1e8), x)
    np.testing.assert_allclose(shifted, actual, rtol=1e-7)  # 1e8 rounds the logits
    np.testing.assert_allclose(shifted.sum(), 1.0, rtol=1e-15)
    infinite = probs_of(p._replace(b=np.array([0.0, np.inf, 1.0])), x)
    np.testing.assert_array_equal(infinite, [[0.0, 1.0, 0.0]])


@pytest.mark.parametrize("precision", ["highest", "high", None])
def test_precision_reaches_the_product(precision):
    p, x, _, _ = problems.problem(dtype="float32")
    expected = {f"Precision.{precision.upper()}" * 2 if precision else ""}
    for name in NAMES:
        call = functools.partial(getattr(params, name), precision=precision)
        assert problems.product_precisions(call, p, x) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("W", "b", "x", "message"),
    [
        # As many lanes as rows, which would add the bias of lane l to row l.
        ((3, 2, 4), (3, 4), (3, 2), r"W has shape \(3, 2, 4\) and b \(3, 4\).*vmap"),
        ((3, 2, 4), (3, 4), (5, 2), r"expected \(D, C\) and \(C,\), of one classifier"),
        ((3, 2, 4), (2, 4), (3, 2), r"W has shape \(3, 2, 4\) and b \(2, 4\).*vmap"),
        ((2, 4), (1, 4), (3, 2), r"W has shape \(2, 4\) and b \(1, 4\)"),
        ((2, 4), (1,), (3, 2), r"b \(1,\)"),
        ((2, 4), (4,), (5, 3, 2), r"x has shape \(5, 3, 2\); expected \(N, 2\).*vmap"),
        ((2, 4), (4,), (2,), r"x has shape \(2,\)"),
        ((2, 4), (4,), (3, 4), r"x has shape \(3, 4\); expected \(N, 2\)"),
    ],
)
def test_what_is_not_one_classifier_and_one_batch_is_refused(name, W, b, x, message):
    with pytest.raises(ValueError, match=message):
        getattr(params, name)(Params(np.ones(W), np.ones(b)), np.ones(x))
