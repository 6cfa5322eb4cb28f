"""Second derivatives by hand, beyond what ``objective_test`` holds against autodiff."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from linclf_jax import curvature
from linclf_jax.params import Params
from tests import problems, tolerances

# Compiled once for each shape: operation by operation takes far longer.
softmax_jacobian = jax.jit(curvature.softmax_jacobian)
logits_product = jax.jit(curvature.logits_hessian_vector_product)
hessian_vector_product = jax.jit(curvature.hessian_vector_product)
hessian = jax.jit(curvature.hessian)


def confident_logits(dtype="float32"):
    """Returns rows whose first class has a probability of about 1 - 1e-10."""
    return np.array([[0.0, -23.0, -24.5, -30.0], [1e6, 1e6 - 23, 1e6 - 25, 0]], dtype)


def exact_jacobian(row):
    """Returns equation (7) at 50 digits, as float64."""
    with mpmath.workdps(50):
        exps = [mpmath.exp(mpmath.mpf(float(s)) - max(map(float, row))) for s in row]
        p = [e / mpmath.fsum(exps) for e in exps]
        size = range(len(p))
        return np.array([[float(p[j] * ((j == k) - p[k])) for k in size] for j in size])


def test_jacobian_worked_out_by_hand():
    # exp(s) = (1, 2, 5) makes p = (1/8, 1/4, 5/8).
    rows = [np.log([1.0, 2.0, 5.0]), [0.0, -np.inf, 0.0], [0.0, np.inf, 1.0]]
    actual = softmax_jacobian(np.array(rows))
    expected = np.array([[7, -2, -5], [-2, 12, -10], [-5, -10, 15]]) / 64
    np.testing.assert_allclose(actual[0], expected, rtol=1e-14)
    masked = [[0.25, 0, -0.25], [0, 0, 0], [-0.25, 0, 0.25]]
    np.testing.assert_array_equal(actual[1], masked)
    np.testing.assert_array_equal(actual[2], np.zeros((3, 3)))
    product = logits_product(np.array(rows[2:]), np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(product, np.zeros((1, 3)))
    assert np.isnan(softmax_jacobian(np.array([[np.inf, np.nan]]))).all()
    one_class = softmax_jacobian(np.ones((2, 1)))
    np.testing.assert_array_equal(one_class, np.zeros((2, 1, 1)))


def test_jacobian_is_autodiff_of_softmax():
    logits, _ = problems.scores(20, 5)
    expected = jax.jit(jax.vmap(jax.jacfwd(jax.nn.softmax)))(logits)
    actual = softmax_jacobian(logits)
    np.testing.assert_allclose(actual, expected, **tolerances.CLOSED_FORM)
    one_row = jax.jit(jax.vmap(curvature.softmax_jacobian))(logits)
    np.testing.assert_allclose(one_row, actual, **tolerances.CLOSED_FORM)
    np.testing.assert_array_equal(actual, actual.mT)
    np.testing.assert_allclose(actual.sum(axis=-1), 0, atol=1e-15)
    half = logits.astype("bfloat16")
    wide = softmax_jacobian(half.astype("float32"))
    np.testing.assert_array_equal(softmax_jacobian(half), wide.astype("bfloat16"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_confident_rows_keep_their_digits(dtype):
    logits, eps = confident_logits(dtype), float(np.finfo(dtype).eps)
    exact = np.stack([exact_jacobian(row) for row in logits])
    # 25: exp loses as many ulp as its argument is large.
    np.testing.assert_allclose(softmax_jacobian(logits), exact, rtol=25 * eps)
    assert 0 < exact[0, 0, 0] < 2e-10  # 1 - p would be 0 in float32
    tangent = np.array([[1.5, -2.0, 0.25, 3.0], [-1.0, 0.5, 2.0, 0.0]], dtype)
    expected = np.einsum("njk,nk->nj", exact, tangent)
    for shift in (0.0, 1e5):  # exact: the tangents are eighths
        actual = logits_product(logits, tangent + np.asarray(shift, dtype))
        np.testing.assert_allclose(actual, expected, rtol=30 * eps)


def test_half_precision_tangent_is_widened_before_it_is_shifted():
    logits, _ = problems.scores(20, 5, dtype="float32")
    tangent = (100 * logits).astype("bfloat16")
    product = curvature.logits_hessian_vector_product  # jit may widen on its own
    expected = product(logits, tangent.astype("float32"))
    np.testing.assert_array_equal(product(logits, tangent), expected)


def test_constant_over_the_classes_is_flat_but_for_the_penalty():
    p, x, labels, weights = problems.problem()
    ones = Params(jnp.ones_like(p.W), jnp.ones_like(p.b))
    actual = hessian_vector_product(p, ones, x, labels, l2=0.3, weights=weights)
    np.testing.assert_allclose(actual.W, 0.3 * ones.W, rtol=1e-14)
    np.testing.assert_allclose(actual.b, 0 * ones.b, atol=1e-15)
    other = (labels + 1) % 4  # the labels take no part
    again = hessian_vector_product(p, ones, x, other, l2=0.3, weights=weights)
    jax.tree.map(np.testing.assert_array_equal, again, actual)


def test_vmap_over_tangents_gives_the_columns_of_a_symmetric_matrix():
    p, x, labels, _ = problems.problem()
    flat, unravel = ravel_pytree(p)
    columns = jax.vmap(unravel)(np.eye(flat.size))
    times = functools.partial(curvature.hessian_vector_product, l2=0.0)
    products = jax.jit(jax.vmap(times, in_axes=(None, 0, None, None)))
    W, b = products(p, columns, x, labels)
    actual = np.concatenate([np.reshape(W, (flat.size, -1)), b], axis=1)
    matrix = hessian(p, x, labels, l2=0.0)
    np.testing.assert_allclose(actual, matrix, **tolerances.CLOSED_FORM)
    np.testing.assert_allclose(matrix, matrix.T, **tolerances.CLOSED_FORM)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > -1e-15
    # A constant on one feature's weights, or on b, moves no probability.
    assert (eigenvalues < 1e-15).sum() == 3 + 1
