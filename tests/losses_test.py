"""One contract for every loss, and the objective that averages them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import losses

every_loss = pytest.mark.parametrize("name", list(losses.LOSSES))


def draw(num_rows, num_classes, *, seed=0, dtype=jnp.float64, scale=2.0):
    """Returns random logits ``(N, C)`` and labels ``(N,)``."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(num_rows, num_classes))
    return jnp.asarray(logits, dtype), jnp.asarray(
        rng.integers(num_classes, size=num_rows), jnp.int32
    )


def value_and_autodiff(name, logits, labels):
    """Returns the losses ``(N,)`` and what autodiff takes for their gradient."""
    loss = losses.LOSSES[name]
    return loss(logits, labels), jax.grad(lambda s: loss(s, labels).sum())(logits)


@every_loss
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
@pytest.mark.parametrize("num_classes", [3, 256, 300])
def test_any_integer_dtype_serves_for_labels(name, dtype, num_classes):
    logits, labels = draw(20, num_classes)
    labels = jnp.minimum(labels, 127)
    wide = losses.LOSSES[name](logits, labels)
    narrow = losses.LOSSES[name](logits, labels.astype(dtype))
    np.testing.assert_array_equal(narrow, wide)


@every_loss
def test_numpy_labels_serve_with_x64_off(name):
    with jax.enable_x64(False):
        values = losses.LOSSES[name](jnp.eye(3, dtype=jnp.float32), np.arange(3))
    assert np.isfinite(values).all()


@every_loss
@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_labels_that_are_no_integers_are_refused(name, dtype):
    with pytest.raises(TypeError, match=f"dtype {dtype}; expected integers"):
        losses.LOSSES[name](jnp.eye(2), jnp.array([0, 1]).astype(dtype))


@every_loss
@pytest.mark.parametrize("label", [-1, 3, -3, -4, 2**31 - 1, -(2**31)])
def test_label_out_of_range_spoils_its_row_and_no_other(name, label):
    logits, labels = draw(3, 3)
    bad = labels.at[1].set(label)
    values, gradient = value_and_autodiff(name, logits, bad)
    good = value_and_autodiff(name, logits, labels)
    assert np.isnan(values[1])
    assert np.isnan(gradient[1]).all()
    for found, expected in zip((values, gradient), good, strict=True):
        np.testing.assert_array_equal(found[::2], expected[::2])


@every_loss
@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_among_the_logits_is_nan(name, label, place):
    logits = jnp.array([[3.0, 1.0, 2.0]]).at[0, place].set(jnp.nan)
    values, gradient = value_and_autodiff(name, logits, jnp.array([label]))
    assert np.isnan(values).all()
    assert np.isnan(gradient).all()


@every_loss
def test_nan_is_nan_with_one_class(name):
    values = losses.LOSSES[name](jnp.full((1, 1), jnp.nan), jnp.array([0]))
    assert np.isnan(values).all()


def test_smoothing_mixes_the_one_hot_target_with_the_uniform_one():
    targets = losses.smooth_labels(jnp.array([2, 0]), 4, 0.2)
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(targets, expected, rtol=1e-15)


def test_smoothing_does_not_hide_a_label_out_of_range():
    targets = losses.smooth_labels(jnp.array([-1, 0, 3], jnp.int8), 3, 0.1)
    np.testing.assert_array_equal(np.isnan(targets).all(axis=1), [True, False, True])
    assert np.isfinite(targets[1]).all()


def test_a_loss_of_zero_has_no_sign():
    one_class = jnp.zeros((1, 1))
    for name, loss in losses.LOSSES.items():
        assert not np.signbit(loss(one_class, jnp.array([0]))), name
    soft = losses.softmax_cross_entropy_with_targets(one_class, jnp.ones((1, 1)))
    assert not np.signbit(soft)
