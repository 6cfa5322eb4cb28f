"""Every first derivative by hand, against autodiff and hand-written tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import gradients, losses
from linclf_jax.params import Params
from tests.losses_test import draw

every_loss = pytest.mark.parametrize("name", list(losses.LOSSES))


@every_loss
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
@pytest.mark.parametrize("num_classes", [3, 256, 300])
def test_any_integer_dtype_serves_for_labels(name, dtype, num_classes):
    logits, labels = draw(20, num_classes)
    labels = jnp.minimum(labels, 127)
    wide = gradients.logits_gradient(logits, labels, loss=name)
    narrow = gradients.logits_gradient(logits, labels.astype(dtype), loss=name)
    np.testing.assert_array_equal(narrow, wide)


@every_loss
def test_numpy_labels_serve_with_x64_off(name):
    logits = jnp.eye(3, dtype=jnp.float32)
    with jax.enable_x64(False):
        gradient = gradients.logits_gradient(logits, np.arange(3), loss=name)
    assert np.isfinite(gradient).all()


@every_loss
@pytest.mark.parametrize("label", [-1, 3, -3, -4, 2**31 - 1, -(2**31)])
def test_label_out_of_range_spoils_its_row_and_no_other(name, label):
    logits, labels = draw(3, 3)
    good = gradients.logits_gradient(logits, labels, loss=name)
    found = gradients.logits_gradient(logits, labels.at[1].set(label), loss=name)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[::2], good[::2])


@every_loss
@pytest.mark.parametrize("num_classes", [1, 3])
def test_nan_among_the_logits_spoils_its_row(name, num_classes):
    for label in range(num_classes):
        for place in range(num_classes):
            logits = (
                jnp.arange(num_classes, dtype=float)[None].at[0, place].set(jnp.nan)
            )
            gradient = gradients.logits_gradient(logits, jnp.array([label]), loss=name)
            assert np.isnan(gradient).all()


def test_norms_keep_what_their_squares_would_lose():
    params = Params(50.0 * jnp.eye(2, dtype=jnp.float32), jnp.zeros(2, jnp.float32))
    x = jnp.array([[1.0, 0.0], [1e25, 1e25]], jnp.float32)
    norms = gradients.per_example_gradient_norms(
        params, x, jnp.array([0, 0]), loss="softmax_cross_entropy"
    )
    np.testing.assert_allclose(norms.b[0], 2**0.5 * 1.9287498e-22, rtol=1e-6)
    np.testing.assert_allclose(norms.W, [norms.b[0], 1e25], rtol=1e-6)
