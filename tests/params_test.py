"""The classifier: where it starts, what it scores and what it predicts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from linclf_jax import params
from linclf_jax.params import Params
from tests import problems, tolerances


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
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


def test_init_depends_on_the_key_alone():
    first, again = (params.init(jax.random.key(7), 5, 3) for _ in range(2))
    chex.assert_trees_all_equal(first, again)
    other = params.init(jax.random.key(8), 5, 3)
    assert np.abs(first.W - other.W).max() > 0
    assert np.abs(first.W).max() <= 1e-3
    chex.assert_type(first, "float32")


def test_init_takes_a_traced_scale():
    scales = jnp.array([0.0, 1.0])
    lanes = jax.jit(jax.vmap(lambda s: params.init(jax.random.key(0), 5, 3, scale=s)))
    stack = lanes(scales)
    np.testing.assert_array_equal(stack.W[0], np.zeros((5, 3)))
    expected = params.init(jax.random.key(0), 5, 3, scale=1.0)
    chex.assert_trees_all_equal(Params(stack.W[1], stack.b[1]), expected)


@pytest.mark.parametrize("shape", problems.SHAPES)
def test_logits_are_a_sum_over_the_features(shape):
    (W, b), x, _, _ = problems.problem(shape)
    expected = [
        [sum(row[d] * W[d, j] for d in range(shape[1])) + b[j] for j in range(shape[2])]
        for row in np.asarray(x)
    ]
    found = params.logits(Params(W, b), x)
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    # By name: the repr of a function, with its address, would be part of the test's.
    @parameterized.parameters("logits", "predict", "predict_proba")
    def test_lanes_share_a_batch(self, name):
        function = getattr(params, name)
        p, x, _, _ = problems.problem()
        stack = jax.tree.map(lambda a: jnp.stack([a, -2 * a]), p)
        found = self.variant(jax.vmap(function, in_axes=(0, None)))(stack, x)
        for lane in range(2):
            one = function(Params(stack.W[lane], stack.b[lane]), x)
            np.testing.assert_allclose(found[lane], one, **tolerances.CLOSED_FORM)


@pytest.mark.parametrize(
    ("of_params", "of_x", "expected"),
    [
        ("float16", "float16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float32", "uint8", "float32"),
        ("float32", "int64", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
    ],
)
def test_logits_are_at_least_float32(of_params, of_x, expected):
    p = Params(jnp.full((2, 2), 0.5, of_params), jnp.zeros(2, of_params))
    found = params.logits(p, jnp.ones((1, 2), of_x))
    chex.assert_type(found, expected)
    np.testing.assert_array_equal(found, [[1.0, 1.0]])


def test_small_dtypes_do_not_overflow_in_the_product():
    p = Params(jnp.full((300, 1), 2.0, "float16"), jnp.zeros(1, "float16"))
    for dtype in ("uint8", "float16"):
        x = jnp.full((1, 300), 255, dtype)
        np.testing.assert_array_equal(params.logits(p, x), [[300 * 510.0]])


def test_predictions_are_the_largest_logit_and_ties_go_to_the_first():
    p = Params(jnp.eye(3), jnp.zeros(3))
    x = jnp.array([[0.0, 2.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-3.0, -2, -2]])
    found = params.predict(p, x)
    np.testing.assert_array_equal(found, [1, 0, 0, 1])
    chex.assert_type(found, "int32")


def test_probabilities_are_the_softmax_of_the_logits():
    p = Params(jnp.zeros((2, 3)), jnp.log(jnp.array([1.0, 2.0, 5.0])))
    found = params.predict_proba(p, jnp.ones((1, 2)))
    np.testing.assert_allclose(found, [[0.125, 0.25, 0.625]], rtol=1e-15)
    shifted = params.predict_proba(p._replace(b=p.b + 1e8), jnp.ones((1, 2)))
    np.testing.assert_allclose(shifted, found, rtol=1e-7)  # 1e8 rounds the logits
    np.testing.assert_allclose(shifted.sum(), 1.0, rtol=1e-15)


@pytest.mark.parametrize("precision", ["highest", "high", None])
def test_precision_reaches_the_product(precision):
    p, x, _, _ = problems.problem(dtype="float32")
    expected = {f"Precision.{precision.upper()}" * 2 if precision else ""}
    for function in (params.logits, params.predict, params.predict_proba):

        def call(p, x, function=function):
            return function(p, x, precision=precision)

        assert problems.product_precisions(call, p, x) == expected


@pytest.mark.parametrize("name", ["logits", "predict", "predict_proba"])
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
        getattr(params, name)(Params(jnp.ones(W), jnp.ones(b)), jnp.ones(x))
