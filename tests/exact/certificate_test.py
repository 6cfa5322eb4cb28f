"""The optimality gap: never too small, whatever parameters it is asked about."""

import jax
import numpy as np
import pytest

from linclf_jax.exact import certificate, newton
from linclf_jax.params import Params
from tests import reference_solver
from tests.exact import problems

DATA = problems.random()
# Sums over the rows are rounded in another order, and the search for the best bias
# stops at this share of the objective.
ROUNDING = 2e-15
BIAS = 4e-12


def stacked(solutions):
    """Returns the parameters of both folds."""
    return Params(*(np.stack([s[index] for s in solutions]) for index in range(2)))


def assert_equal_claims(first, second, **tolerance):
    for claim, expected in zip(first, second, strict=True):
        np.testing.assert_allclose(claim, expected, **tolerance)


@pytest.mark.parametrize("l2", problems.PENALTIES)
@pytest.mark.parametrize("name", problems.NAMES)
def test_gap_bounds_the_distance_from_the_optimum(name, l2):
    data = problems.make(name)
    best = problems.optima(data, l2)
    optimum = np.array([solution.objective for solution in best])
    far = problems.random_params(data, scale=1.0)
    # The optimum, its neighbourhood, and nowhere near it.
    for share in (0.0, 1e-8, 1e-4, 0.1, 1.0, 30.0):
        params = jax.tree.map(lambda a, d, s=share: a + s * d, stacked(best), far)
        above = problems.above(params, data, l2)
        proof = problems.certify(params, data, l2)
        assert (above <= proof.gap + ROUNDING * (1 + proof.objective)).all()
        np.testing.assert_allclose(
            proof.objective, optimum + above, rtol=1e-12, atol=ROUNDING
        )
        if share <= 1:
            assert np.isfinite(proof.gap).all()
        if share == 0:
            assert (proof.gap <= 1e-11 * (1 + proof.objective)).all()


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("l2", problems.PENALTIES)
def test_gap_is_primal_minus_dual_objective(l2, scale):
    params = problems.random_params(DATA, scale=scale)
    soft = np.random.default_rng(4).dirichlet(np.ones(3), size=len(DATA.x))
    for labels in (DATA.labels, soft):
        data = DATA._replace(labels=labels)
        proof = problems.certify(params, data, l2)
        values = problems.values(params, data, l2)
        np.testing.assert_allclose(proof.objective, values, rtol=1e-13)
        bounds = [
            reference_solver.lower_bound(W, b, data.x, labels, l2, weights)
            for W, b, weights in zip(*params, data.weights, strict=True)
        ]
        gaps = values - bounds
        assert (np.abs(proof.gap - gaps) <= 1e-11 * np.abs(gaps) + BIAS * values).all()


def test_gap_by_eye():
    # One row of each class at x = -1 and 1, W = 0, b = 0: the probabilities are 1/2,
    # the objective ln 2, the gradient (1/2, -1/2) and the bias at its best.
    x, labels, l2 = np.array([[-1.0], [1.0]]), np.array([0, 1]), np.array([0.1, 10.0])
    params = Params(np.zeros((2, 1, 2)), np.zeros((2, 2)))
    proof = certificate.certify(params, x, labels, l2)
    np.testing.assert_allclose(proof.objective, np.log(2), rtol=1e-15)
    # What rounding may hide is a few dozen times 1e-16 of it, never less than nothing.
    np.testing.assert_allclose(proof.gap, [0.5 / 0.2, 0.5 / 20], rtol=1e-12)
    assert (proof.gap >= [0.5 / 0.2, 0.5 / 20]).all()
    np.testing.assert_allclose(proof.gradient_norm, np.sqrt(0.5), rtol=1e-15)
    # A wrong bias is charged for what it costs: softmax(ln 3, 0) = (3/4, 1/4).
    params = params._replace(b=np.array([[np.log(3), 0.0]] * 2))
    proof = certificate.certify(params, x, labels, l2)
    cost = np.log(4 / 3) / 2 + np.log(4) / 2 - np.log(2)
    np.testing.assert_allclose(proof.gap, [2.5 + cost, 0.025 + cost], rtol=1e-11)
    # The gradient is that of W with the best bias.
    np.testing.assert_allclose(proof.gradient_norm, np.sqrt(0.5), rtol=1e-6)


def test_a_bias_that_is_nearly_right_hides_nothing():
    # One column, constant: the bias does all that it can do, and W should be 0. The
    # bias is off by what makes the gradient of W vanish, a decrement of only 1e-13.
    x, labels, l2, wrong = np.full((40, 1), 10.0), np.arange(40) % 2, 1e-6, 3.0
    prob = 0.5 - l2 * wrong / 10
    score = np.log(prob / (1 - prob)) / 2 - 10 * wrong
    W, b = np.array([[wrong, -wrong]]), np.array([score, -score])
    above = reference_solver.objective(W, b, x, labels, l2) - np.log(2)
    assert above > 0.99 * l2 * wrong**2
    proof = certificate.certify(Params(W[None], b[None]), x, labels, [l2])
    assert proof.gap[0] >= above - 1e-15


@pytest.mark.parametrize("margin", [1.0, 18.0, 60.0, 600.0])
def test_objective_keeps_the_digits_of_confident_rows(margin):
    # log1p(exp(-60)) = 9e-27 is what both rows lose; to 1 it adds nothing.
    x, labels = np.array([[-1.0], [1.0]]), np.array([0, 1])
    params = Params(margin / 2 * np.array([[[-1.0, 1.0]]]), np.zeros((1, 2)))
    proof = certificate.certify(params, x, labels, [0.0])
    np.testing.assert_allclose(proof.objective, np.log1p(np.exp(-margin)), rtol=1e-12)


def test_a_common_shift_of_the_biases_changes_nothing():
    params = problems.random_params(DATA, scale=0.1)
    # Halves of whole numbers are exact under the shift.
    params = params._replace(b=np.round(params.b * 2) / 2)
    proof = problems.certify(params, DATA, 0.01)
    shifted = problems.certify(params._replace(b=params.b + 1e8), DATA, 0.01)
    # The scores themselves are rounded at 1e8.
    assert_equal_claims(shifted, proof, rtol=1e-7)


def test_gradient_norm_is_that_of_the_objective_at_the_best_bias():
    params = problems.random_params(DATA, scale=0.3)

    def value(params, weights):
        logits = DATA.x @ params.W + params.b[None]
        losses = -jax.nn.log_softmax(logits)[np.arange(len(DATA.x)), DATA.labels]
        penalty = 0.005 * (params.W**2).sum()
        return (weights * losses).sum() / weights.sum() + penalty

    slopes = jax.jit(jax.grad(value))
    norms = problems.certify(params, DATA, 0.01).gradient_norm
    for W, b, weights, norm in zip(*params, DATA.weights, norms, strict=True):
        for _ in range(400):
            b -= np.asarray(slopes(Params(W, b), weights).b)
        slope = slopes(Params(W, b), weights)
        assert np.abs(slope.b).max() < 1e-9
        np.testing.assert_allclose(norm, np.sqrt((slope.W**2).sum()), rtol=1e-7)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_parameters_are_certified_as_they_are_rounded(scale):
    exact = problems.random_params(DATA, scale=scale)
    narrow = jax.tree.map(np.float32, exact)
    proof = problems.certify(narrow, DATA, 1e-3)
    wide = problems.certify(jax.tree.map(np.float64, narrow), DATA, 1e-3)
    jax.tree.map(np.testing.assert_array_equal, proof, wide)
    assert proof.gap.dtype == np.float64
    gap = problems.certify(exact, DATA, 1e-3).gap
    assert (np.abs(proof.gap - gap) > 1e-12 * gap).all()


def test_no_bound_without_penalty():
    proof = problems.certify(problems.random_params(DATA, scale=0.1), DATA, 0.0)
    assert np.isposinf(proof.gap).all()
    assert np.isfinite(proof.objective).all()


def test_a_lane_of_nan_leaves_the_other_alone():
    params = problems.random_params(DATA, scale=0.1)
    healthy = problems.certify(params, DATA, 0.01)
    params.W[0, 2, 1] = np.nan
    proof = problems.certify(params, DATA, 0.01)
    assert np.isnan(proof.objective[0])
    assert not np.isfinite(proof.gap[0])
    assert [array[1] for array in proof] == [array[1] for array in healthy]


def test_absent_class_costs_nothing():
    # The same numbers as if the class did not exist.
    x, labels, _ = problems.random(num_rows=90)
    kept, l2 = labels < 2, np.full(2, 0.01)
    W, b = problems.random_params(DATA, scale=0.1)
    W[:, :, 2], b[:, 2] = 0.0, -np.inf
    proof = certificate.certify(Params(W, b), x, labels, l2, kept.astype(float))
    fewer = Params(W[:, :, :2], b[:, :2])
    expected = certificate.certify(fewer, x[kept], labels[kept], l2)
    assert_equal_claims(proof, expected, rtol=1e-12)


def test_gap_is_as_honest_with_64_bits_off():
    args = DATA.x, DATA.labels, np.array([1e-3, 1.0])
    params = problems.random_params(DATA, scale=0.1)
    wide = certificate.certify(params, *args, DATA.weights)
    with jax.enable_x64(False):
        narrow = certificate.certify(params, *args, DATA.weights)
        solved, info = newton.solve(*args, weights=DATA.weights)
        again = certificate.certify(solved, *args, DATA.weights)
        assert not jax.config.jax_enable_x64
    assert solved.W.dtype == "float32"
    np.testing.assert_allclose(narrow.gap, wide.gap, rtol=1e-12)
    np.testing.assert_allclose(info.gap, again.gap, rtol=1e-6, atol=1e-12)
    assert (info.relative_gap <= 1e-6).all()
    # What is said of the solution is what an independent solver says of it.
    for lane, l2 in enumerate(args[-1]):
        best = problems.optima(DATA, l2)[lane]
        np.testing.assert_allclose(solved.W[lane], best.W, atol=2e-3)
