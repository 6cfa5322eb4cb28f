"""Second derivatives by hand, against autodiff and against each other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import curvature
from tests import tolerances


def test_jacobian_is_autodiff_of_softmax():
    logits = jax.random.normal(jax.random.key(0), (5, 4), jnp.float64)
    expected = jax.vmap(jax.jacfwd(jax.nn.softmax))(logits)
    jacobian = curvature.softmax_jacobian(logits)
    np.testing.assert_allclose(jacobian, expected, **tolerances.CLOSED_FORM)
    one_row = jax.vmap(curvature.softmax_jacobian)(logits)
    chex.assert_trees_all_equal(one_row, jacobian)
