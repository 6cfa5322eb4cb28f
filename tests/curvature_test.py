"""Second derivatives by hand, against autodiff and against each other."""

import functools

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from linclf_jax import curvature, losses
from linclf_jax.params import Params
from tests import problems, tolerances

LOSS = "softmax_cross_entropy"
# Compiled once for each shape: operation by operation takes far longer.
softmax_jacobian = jax.jit(curvature.softmax_jacobian)
hessian_vector_product = jax.jit(curvature.hessian_vector_product)
hessian = jax.jit(curvature.hessian)


def direction(p, seed=5):
    """Returns a random tangent shaped as the parameters."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), p)


def confident_logits(dtype="float32"):
    """Returns rows whose first class has a probability of about 1 - 1e-10."""
    return jnp.array([[0.0, -23.0, -24.5, -30.0], [1e6, 1e6 - 23, 1e6 - 25, 0]], dtype)


def exact_jacobian(row):
    """Returns equation (7) at 50 digits, as float64."""
    with mpmath.workdps(50):
        exps = [mpmath.exp(mpmath.mpf(float(s)) - max(map(float, row))) for s in row]
        p = [e / mpmath.fsum(exps) for e in exps]
        size = range(len(p))
        return np.array([[float(p[j] * ((j == k) - p[k])) for k in size] for j in size])


def test_jacobian_worked_out_by_hand():
    # exp(s) = (1, 2, 5) makes p = (1/8, 1/4, 5/8).
    found = softmax_jacobian(jnp.log(jnp.array([[1.0, 2.0, 5.0]])))
    expected = np.array([[7, -2, -5], [-2, 12, -10], [-5, -10, 15]]) / 64
    np.testing.assert_allclose(found, [expected], rtol=1e-14)


def test_jacobian_is_autodiff_of_softmax():
    logits, _ = problems.scores(20, 5)
    expected = jax.jit(jax.vmap(jax.jacfwd(jax.nn.softmax)))(logits)
    found = softmax_jacobian(logits)
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)
    one_row = jax.jit(jax.vmap(curvature.softmax_jacobian))(logits)
    np.testing.assert_allclose(one_row, found, **tolerances.CLOSED_FORM)
    np.testing.assert_array_equal(found, found.mT)
    np.testing.assert_allclose(found.sum(axis=-1), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_jacobian_keeps_the_digits_of_confident_rows(dtype):
    logits = confident_logits(dtype)
    exact = np.stack([exact_jacobian(row) for row in logits])
    # 25: exp loses as many ulp as its argument is large.
    rtol = 25 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(softmax_jacobian(logits), exact, rtol=rtol)
    assert 0 < exact[0, 0, 0] < 2e-10  # 1 - p would be 0 in float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_jacobian_is_float32_rounded_once(dtype):
    logits, _ = problems.scores(20, 5, dtype=dtype)
    wide = softmax_jacobian(logits.astype("float32"))
    chex.assert_trees_all_equal(softmax_jacobian(logits), wide.astype(dtype))


def test_jacobian_of_a_masked_and_of_a_lone_class():
    found = softmax_jacobian(jnp.array([[0.0, -jnp.inf, 0.0]]))
    expected = [[[0.25, 0, -0.25], [0, 0, 0], [-0.25, 0, 0.25]]]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        softmax_jacobian(jnp.ones((2, 1))), np.zeros((2, 1, 1))
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_logits_product_keeps_the_digits_of_confident_rows(dtype, shift):
    logits = confident_logits(dtype)
    tangent = jnp.array([[1.5, -2.0, 0.25, 3.0], [-1.0, 0.5, 2.0, 0.0]], dtype)
    exact = np.stack([exact_jacobian(row) for row in logits])
    expected = np.einsum("njk,nk->nj", exact, tangent)
    product = jax.jit(curvature.logits_hessian_vector_product)
    found = product(logits, tangent + shift)  # exact: the tangents are eighths
    np.testing.assert_allclose(found, expected, rtol=30 * float(jnp.finfo(dtype).eps))


def test_half_precision_tangent_is_widened_before_it_is_shifted():
    logits, _ = problems.scores(20, 5, dtype="float32")
    tangent = (100 * logits).astype("bfloat16")
    product = curvature.logits_hessian_vector_product  # jit may widen on its own
    expected = product(logits, tangent.astype("float32"))
    np.testing.assert_array_equal(product(logits, tangent), expected)


@jax.jit
def autodiff(p, u, x, labels, l2, weights):
    """Returns jax.hessian of the objective, and its derivative twice along ``u``."""
    flat, unravel = ravel_pytree(p)

    def value(flat):
        return losses.objective(
            unravel(flat), x, labels, loss=LOSS, l2=l2, weights=weights
        )

    product = jax.jvp(jax.grad(value), (flat,), (ravel_pytree(u)[0],))[1]
    return jax.hessian(value)(flat), product


@pytest.mark.parametrize("shape", problems.SHAPES)
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_products_agree_with_autodiff_and_the_dense_matrix(shape, scale):
    p, x, labels, weights = problems.problem(shape, scale=scale)
    u = direction(p)
    dense, product = autodiff(p, u, x, labels, 0.3, weights)
    found = hessian(p, x, labels, l2=0.3, weights=weights)
    np.testing.assert_allclose(found, dense, **tolerances.CLOSED_FORM)
    found = hessian_vector_product(p, u, x, labels, l2=0.3, weights=weights)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, p)
    flat = ravel_pytree(found)[0]
    np.testing.assert_allclose(flat, product, **tolerances.CLOSED_FORM)
    expected = dense @ ravel_pytree(u)[0]
    np.testing.assert_allclose(flat, expected, **tolerances.CLOSED_FORM)


def test_constant_over_the_classes_is_flat_but_for_the_penalty():
    p, x, labels, weights = problems.problem()
    ones = Params(jnp.ones_like(p.W), jnp.ones_like(p.b))
    found = hessian_vector_product(p, ones, x, labels, l2=0.3, weights=weights)
    np.testing.assert_allclose(found.W, 0.3 * ones.W, rtol=1e-14)
    np.testing.assert_allclose(found.b, 0 * ones.b, atol=1e-15)


def test_labels_take_no_part():
    p, x, labels, _ = problems.problem()
    other = (labels + 1) % 4
    u = direction(p)
    chex.assert_trees_all_equal(
        hessian_vector_product(p, u, x, labels, l2=0.1),
        hessian_vector_product(p, u, x, other, l2=0.1),
    )
    chex.assert_trees_all_equal(
        hessian(p, x, labels, l2=0.1), hessian(p, x, other, l2=0.1)
    )


def test_vmap_over_tangents_gives_the_columns():
    p, x, labels, _ = problems.problem()
    flat, unravel = ravel_pytree(p)
    columns = jax.vmap(unravel)(jnp.eye(flat.size))
    times = functools.partial(curvature.hessian_vector_product, l2=0.1)
    products = jax.jit(jax.vmap(times, in_axes=(None, 0, None, None)))
    found = jnp.concatenate(
        [leaf.reshape(flat.size, -1) for leaf in products(p, columns, x, labels)], 1
    )
    expected = hessian(p, x, labels, l2=0.1)
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)


def test_hessian_is_symmetric_with_no_negative_eigenvalue():
    p, x, labels, _ = problems.problem()
    matrix = hessian(p, x, labels, l2=0.0)
    np.testing.assert_allclose(matrix, matrix.T, **tolerances.CLOSED_FORM)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > -1e-15
    # A constant on one feature's weights, or on b, moves no probability.
    assert (eigenvalues < 1e-15).sum() == 3 + 1
