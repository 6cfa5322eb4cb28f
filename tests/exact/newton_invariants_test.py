"""What must not change the exact solution, and what changes it in a known way.

The invariants that scikit-learn asks of its logistic regression and its generalised
linear models, at the tolerances of float64.
"""

import jax
import numpy as np
import pytest
from sklearn import linear_model

from linclf_jax.exact import newton, status
from linclf_jax.params import Params
from tests import reference_solver
from tests.exact import problems

# Below what float64 can certify: every lane goes on until its precision ends. An error
# of 1e-8 in W is one of about 1e-18 in the objective.
TO_THE_END = 1e-22
L2 = np.array([0.1, 1e-3])
SAME = {"rtol": 1e-8, "atol": 1e-8}


def solve(x, labels, **options):
    """Solves at two penalties, as far as float64 goes."""
    return newton.solve(x, labels, L2, **({"tol": TO_THE_END} | options))[0]


def assert_same(solved, expected):
    """Compares parameters; a bias means something only up to a common shift."""
    np.testing.assert_allclose(solved.W, expected.W, **SAME)
    centred = [
        np.asarray(p.b) - np.mean(p.b, axis=1)[:, None] for p in (solved, expected)
    ]
    np.testing.assert_allclose(*centred, **SAME)


@pytest.fixture(scope="module")
def data():
    # The last column is empty: room for a copy without another shape to compile.
    x, labels, _ = problems.random()
    x[:, 7] = 0.0
    return x, labels


@pytest.fixture(scope="module")
def solution(data):
    return solve(*data)


# As many rows as before, where some are gone and some are there twice.
@pytest.mark.parametrize(
    "counts",
    [
        np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 20)),
        np.repeat([2, 0], 30),
        np.tile([0, 2, 1], 20),
    ],
)
def test_weights_are_repetitions(data, counts):
    x, labels = data
    weighted = solve(x, labels, weights=counts)
    repeated = np.repeat(np.arange(60), counts)
    assert_same(solve(x[repeated], labels[repeated]), weighted)
    assert_same(solve(x, labels, weights=1000.0 * counts), weighted)
    # Whatever stands where the weight is 0.
    x, labels = np.where(counts[:, None] > 0, x, 50.0), np.where(counts > 0, labels, 0)
    assert_same(solve(x, labels, weights=counts), weighted)


def test_class_weights_are_sample_weights(data):
    x, labels = data
    factors = np.array([1.0, 10.0, 0.3])
    solved = solve(x, labels, weights=factors[labels])
    for lane, l2 in enumerate(L2):
        model = linear_model.LogisticRegression(
            C=1 / (l2 * factors[labels].sum()),
            class_weight=dict(enumerate(factors)),
            solver="newton-cholesky",
            tol=1e-12,
        ).fit(x, labels)
        np.testing.assert_allclose(solved.W[lane], model.coef_.T, **SAME)


def test_coefficients_sum_to_zero_over_the_classes(data, solution):
    np.testing.assert_allclose(np.sum(solution.W, axis=2), 0, atol=1e-12)
    # Also from a start where they do not.
    start = Params(np.ones((2, 8, 3)) + np.eye(8, 3)[None], np.ones((2, 3)))
    solved = solve(*data, init=start)
    np.testing.assert_allclose(np.sum(solved.W, axis=2), 0, atol=1e-12)
    assert_same(solved, solution)


ROTATION, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
PERMUTATION = np.eye(8)[np.random.default_rng(2).permutation(8)]


@pytest.mark.parametrize("matrix", [ROTATION, PERMUTATION])
def test_another_basis_of_the_features_is_one_of_the_solution(data, solution, matrix):
    x, labels = data
    W = np.einsum("de,ldc->lec", matrix, solution.W)
    assert_same(solve(x @ matrix, labels), solution._replace(W=W))


def test_moving_the_features_moves_the_bias(data, solution):
    x, labels = data
    shift = np.arange(8.0)
    b = solution.b - np.einsum("d,ldc->lc", shift, solution.W)
    assert_same(solve(x + shift, labels), solution._replace(b=b))


def test_order_of_rows_and_classes_does_not_matter(data, solution):
    x, labels = data
    rows = np.random.default_rng(2).permutation(60)
    assert_same(solve(x[rows], labels[rows]), solution)
    # What was class k is class order[k]: its column has gone there.
    order = np.array([2, 0, 1])
    moved = solve(x, order[labels])
    assert_same(Params(moved.W[:, :, order], moved.b[:, order]), solution)


def test_two_steps_are_one_and_one(data):
    x, labels = data[0].astype("float64"), data[1]
    twice, whole = newton.solve(x, labels, L2, max_newton=2)
    start = None
    for _ in range(2):
        start, info = newton.solve(x, labels, L2, max_newton=1, init=start)
        assert (info.newton_steps == 1).all()
    # A start is read from parameters of uncentred features, which rounds.
    jax.tree.map(
        lambda *arrays: np.testing.assert_allclose(*arrays, rtol=1e-6), start, twice
    )
    np.testing.assert_allclose(info.objective, whole.objective, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_steps_return_the_start(data, dtype):
    x, labels = data[0].astype(dtype), data[1]
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(2, 8, 3)), rng.normal(size=(2, 3))
    start = Params(W.astype(dtype), b.astype(dtype))
    solved, info = newton.solve(x, labels, L2, init=start, max_newton=0)
    jax.tree.map(np.testing.assert_array_equal, solved, start)
    assert (info.status == status.MAX_STEPS).all()
    assert (info.newton_steps == 0).all()
    assert (info.products == 0).all()
    assert info.objective.dtype == info.gap.dtype == np.float64


def test_whole_numbers_are_float32_features(data):
    x, labels = np.round(10 * data[0]), data[1]
    params, _ = newton.solve(x.astype("int32"), labels, L2)
    assert params.W.dtype == params.b.dtype == "float32"
    wide, _ = newton.solve(x, labels, L2)
    np.testing.assert_allclose(params.W, wide.W, rtol=1e-2, atol=1e-3)


def test_without_a_start_it_is_zero_and_the_best_bias(data):
    x, labels = data
    weights = 1.0 + labels
    solved, info = newton.solve(x, labels, L2, weights=weights, max_newton=0)
    np.testing.assert_array_equal(solved.W, 0)
    probs = np.exp(reference_solver.log_softmax(np.asarray(solved.b)))
    np.testing.assert_allclose(probs, [np.array([1, 2, 3]) / 6] * 2, rtol=1e-14)
    entropy = -np.sum(probs[0] * np.log(probs[0]))
    np.testing.assert_allclose(info.objective, entropy, rtol=1e-14)


def test_an_optimum_is_left_alone(data, solution):
    solved, info = newton.solve(*data, L2, init=solution)
    jax.tree.map(np.testing.assert_array_equal, solved, solution)
    assert (info.status == status.CONVERGED).all()
    assert (info.newton_steps == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_objective_never_rises(data, dtype):
    x, labels = data[0].astype(dtype), data[1]
    rng = np.random.default_rng(4)
    W, b = 10 * rng.normal(size=(2, 8, 3)), 10 * rng.normal(size=(2, 3))
    params, before = Params(W.astype(dtype), b.astype(dtype)), np.inf
    # What the passes cannot see: they are float32 until that is too coarse.
    noise = 4 * np.finfo(np.float32).eps
    for steps in range(12):
        params, info = newton.solve(
            x, labels, L2, init=params, max_newton=min(steps, 1), tol=TO_THE_END
        )
        values = np.array(
            [
                reference_solver.objective(W, b, x, labels, l2)
                for W, b, l2 in zip(*params, L2, strict=True)
            ]
        )
        # Nor does what is said of it, which is at most rounding away.
        np.testing.assert_allclose(info.objective, values, rtol=1e-8)
        assert (values <= before + noise * values).all()
        if steps == 1:
            assert (values < 0.99 * before).all()
        before = values


# Frozen answers of the R package glmnet with alpha=0, lambda=1 and standardize=F, whose
# objective is this one: the mean loss and lambda / 2 times the squares, bias free.
GLMNET_X = np.array([[-4, -3, -2, -1, 0, 1, 2, 3, 4], [0, 0, 1, 0, 1, 1, 1, 0, 0]]).T


def test_glmnet_multinomial():
    labels = np.repeat(np.arange(3), 3)
    params, info = newton.solve(
        GLMNET_X.astype(float), labels, np.array([1.0]), tol=1e-14
    )
    W = [
        [-0.38023389305, -8.164030176e-05, 0.3803155334],
        [-0.01226499932, 4.734548012e-02, -0.0350804808],
    ]
    b = [-0.12004759652, 2.251747383e-01, -0.1051271418]
    # Printed with ten digits, and converged to about seven.
    np.testing.assert_allclose(params.W[0], W, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(params.b[0] - np.mean(params.b[0]), b, rtol=1e-6)
    assert info.gap[0] < 1e-13


def test_glmnet_binomial():
    # One vector of coefficients w for two classes is W = (-w/2, w/2), whose squares
    # sum to half of w^2: lambda = 1 is an l2 of 2.
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])
    params, _ = newton.solve(
        GLMNET_X.astype(float), labels, np.array([2.0]), num_classes=3, tol=1e-14
    )
    difference = params.W[0, :, 1] - params.W[0, :, 0]
    np.testing.assert_allclose(difference, [0.44464569182, 0.01457563448], rtol=1e-6)
    bias = params.b[0, 1] - params.b[0, 0]
    np.testing.assert_allclose(bias, 0.89230405539, rtol=1e-6)
    # Room for a third class, as in the program above, takes nothing from the two.
    np.testing.assert_array_equal(params.W[0, :, 2], 0)
