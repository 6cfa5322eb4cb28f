"""Every first derivative by hand, against autodiff."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from linclf_jax import curvature, gradients, losses, params
from linclf_jax.params import Params
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
every_loss = pytest.mark.parametrize("name", NAMES)
# Compiled once for each loss and shape: operation by operation takes far longer.
logits_gradient = jax.jit(gradients.logits_gradient, static_argnames="loss")
objective_gradient = jax.jit(gradients.objective_gradient, static_argnames="loss")
inputs_gradient = jax.jit(gradients.inputs_gradient, static_argnames="loss")
norms_of = jax.jit(gradients.per_example_gradient_norms, static_argnames="loss")


@functools.partial(jax.jit, static_argnames="loss")
def autodiff(logits, labels, *, loss):
    return jax.grad(lambda s: losses.LOSSES[loss](s, labels).sum())(logits)


@functools.partial(jax.jit, static_argnames="loss")
def objective_autodiff(p, x, labels, *, loss, l2, weights=None):
    """Returns autodiff's gradients with respect to the parameters and to ``x``."""

    def value(p, x):
        return losses.objective(p, x, labels, loss=loss, l2=l2, weights=weights)

    return jax.grad(value, argnums=(0, 1))(p, x)


def assert_close(found, expected, **tolerance):
    """Compares every coordinate of two trees, dtype and shape included."""
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, e, **tolerance), found, expected
    )


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*NAMES)
    def test_logits_gradient_is_autodiff_of_the_loss(self, name):
        logits, labels = problems.scores(20, 5)
        by_hand = self.variant(functools.partial(gradients.logits_gradient, loss=name))
        expected = autodiff(logits, labels, loss=name)
        assert_close(by_hand(logits, labels), expected, **tolerances.CLOSED_FORM)


@every_loss
def test_rows_sum_to_zero(name):
    logits, labels = problems.scores(20, 5)
    gradient = logits_gradient(logits, labels, loss=name)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)
    assert (np.abs(gradient).max(axis=1) > 0).any()


@every_loss
def test_label_out_of_range_spoils_the_whole_gradient(name):
    p, x, labels, weights = problems.problem()
    labels = labels.at[2].set(4)
    found = objective_gradient(p, x, labels, loss=name, l2=0.1, weights=weights)
    assert all(np.isnan(leaf).all() for leaf in found)
    in_x = inputs_gradient(p, x, labels, loss=name)
    np.testing.assert_array_equal(np.isnan(in_x).all(axis=1), np.arange(7) == 2)


@every_loss
@pytest.mark.parametrize("shape", problems.SHAPES)
def test_objective_gradients_are_autodiffs(name, shape):
    for scale in (1.0, 1e-6, 0.0):
        p, x, labels, weights = problems.problem(shape, scale=scale)
        in_params, in_x = objective_autodiff(
            p, x, labels, loss=name, l2=0.3, weights=weights
        )
        found = objective_gradient(p, x, labels, loss=name, l2=0.3, weights=weights)
        assert_close(found, in_params, **tolerances.CLOSED_FORM)
        found = inputs_gradient(p, x, labels, loss=name, weights=weights)
        assert_close(found, in_x, **tolerances.CLOSED_FORM)


@every_loss
def test_class_sums_vanish_without_a_penalty(name):
    p, x, labels, weights = problems.problem()
    found = objective_gradient(p, x, labels, loss=name, l2=0.0, weights=weights)
    np.testing.assert_allclose(found.W.sum(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(found.b.sum(), 0, atol=1e-14)
    shifted = objective_gradient(
        p._replace(b=p.b + 3.0), x, labels, loss=name, l2=0.0, weights=weights
    )
    assert_close(shifted, found, rtol=1e-12, atol=1e-13)  # the shift rounds b


@every_loss
def test_float32_gradient_is_float64_rounded(name):
    wide = problems.problem((50, 8, 5))
    p, x, labels, weights = jax.tree.map(
        lambda a: a.astype("float32") if a.dtype == "float64" else a, wide
    )
    found = objective_gradient(p, x, labels, loss=name, l2=0.1, weights=weights)
    p, x, weights = jax.tree.map(lambda a: a.astype("float64"), (p, x, weights))
    exact = objective_gradient(p, x, labels, loss=name, l2=0.1, weights=weights)
    for ours, true in zip(found, exact, strict=True):
        chex.assert_type(ours, "float32")
        np.testing.assert_allclose(ours, true, **tolerances.rounded("float32", 8))


def test_gradient_of_the_inputs_has_their_dtype():
    p, x, labels, _ = problems.problem()
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        found = inputs_gradient(p, x.astype(dtype), labels, loss=NAMES[0])
        chex.assert_type(found, dtype)


@every_loss
def test_norms_are_those_of_each_rows_own_gradient(name):
    p, x, labels, _ = problems.problem((4, 4, 4))

    @jax.jit
    @jax.vmap
    def each(row, label):
        def loss(p):
            return losses.LOSSES[name](params.logits(p, row[None]), label[None])[0]

        return jax.tree.map(jnp.linalg.norm, jax.grad(loss)(p))

    norms = norms_of(p, x, labels, loss=name)
    assert_close(norms, each(x, labels), **tolerances.CLOSED_FORM)


def test_norms_keep_what_their_squares_would_lose():
    p = Params(50.0 * jnp.eye(2, dtype="float32"), jnp.zeros(2, "float32"))
    x = jnp.array([[1.0, 0.0], [1e25, 1e25]], "float32")
    norms = norms_of(p, x, jnp.array([0, 0]), loss=NAMES[0])
    np.testing.assert_allclose(norms.b[0], 2**0.5 * 1.9287498e-22, rtol=1e-6)
    np.testing.assert_allclose(norms.W, [norms.b[0], 1e25], rtol=1e-6)


@every_loss
def test_manual_gradient_in_every_mode(name):
    logits, labels = problems.scores(20, 5)
    manual, plain = gradients.with_manual_gradient(name), losses.LOSSES[name]
    tangent, cotangent = logits * 0.3 + 1.0, jnp.arange(20.0)

    @functools.partial(jax.jit, static_argnums=0)
    def everything(loss):
        value, push = jax.jvp(lambda s: loss(s, labels), (logits,), (tangent,))
        _, pull = jax.vjp(lambda s: loss(s, labels=labels), logits)
        rows = jax.vmap(jax.grad(lambda s, y: loss(s[None], y[None])[0]))
        return value, push, pull(cotangent), rows(logits, labels)

    assert_close(everything(manual), everything(plain), **tolerances.CLOSED_FORM)
    chex.assert_trees_all_equal(jax.jit(manual)(logits, labels), everything(plain)[0])


def test_manual_gradient_is_the_one_written_by_hand():
    logits, labels = jnp.array([[50.0, 0.0]], "float32"), jnp.array([0])

    def gradient(loss):
        return jax.jit(jax.grad(lambda s: loss(s, labels).sum()))(logits)[0]

    manual = gradient(gradients.with_manual_gradient(NAMES[0]))
    np.testing.assert_allclose(manual, [-1.92875e-22, 1.92875e-22], rtol=1e-6)
    assert gradient(losses.softmax_cross_entropy)[0] == 0  # what autodiff makes of it


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_manual_gradient_keeps_the_dtype(dtype):
    logits, labels = problems.scores(20, 5, dtype=dtype)
    loss = gradients.with_manual_gradient(NAMES[0])
    value, gradient = jax.jit(
        jax.value_and_grad(lambda s: loss(s, labels).sum(dtype=dtype))
    )(logits)
    chex.assert_type([value, gradient], dtype)
    expected = logits_gradient(logits, labels, loss=NAMES[0])
    chex.assert_trees_all_equal(gradient, expected)


@every_loss
def test_second_derivative_of_the_manual_gradient(name):
    logits, labels = problems.scores(20, 5)
    logits = logits.at[0].set(3.0)  # a row of ties
    loss = gradients.with_manual_gradient(name)
    hessians = jax.jit(jax.vmap(jax.hessian(lambda s, y: loss(s[None], y[None])[0])))
    expected = jnp.zeros((20, 5, 5))
    if name == "softmax_cross_entropy":
        expected = curvature.softmax_jacobian(logits)
    assert_close(hessians(logits, labels), expected, **tolerances.CLOSED_FORM)
