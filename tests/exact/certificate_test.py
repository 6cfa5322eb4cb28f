"""The optimality gap: never too small, whatever parameters it is asked about."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from linclf_jax.exact import certificate, line_search, newton
from linclf_jax.exact import problem as problem_lib
from linclf_jax.params import Params
from tests import miniatures, reference_solver

PENALTIES = (1.0, 1e-3, 1e-6)
# Sums over the rows are rounded in another order, and the search for the best bias
# stops at this share of the objective.
ROUNDING = 2e-15
BIAS = 4e-12


def random_params(data, *, scale, dtype="float64"):
    rng = np.random.default_rng(3)
    shape = (2, data.x.shape[1], data.num_classes)
    W, b = scale * rng.normal(size=shape), rng.normal(size=(2, data.num_classes))
    return Params(W.astype(dtype), b.astype(dtype))


def certify(params, data, l2):
    """Returns the certificate of both lanes at one penalty."""
    return certificate.certify(
        params, data.x, data.labels, np.full(2, l2), data.weights
    )


def lanes(params, data):
    """Returns W, b, features, labels and weights of each lane."""
    for lane in range(2):
        yield params.W[lane], params.b[lane], data.weights[lane]


@pytest.fixture(scope="module")
def optima():
    """Returns a function that remembers the optima of both lanes."""
    known = {}

    def find(name, l2):
        if (name, l2) not in known:
            data = miniatures.make(name)
            known[name, l2] = [
                reference_solver.solve(data.x, data.labels, l2, weights)
                for weights in data.weights
            ]
        return known[name, l2]

    return find


def excess(params, data, l2, best):
    """Returns how far each lane really is above its optimum."""
    return np.array(
        [
            reference_solver.objective(W, b, data.x, data.labels, l2, weights)
            - solution.objective
            for (W, b, weights), solution in zip(lanes(params, data), best, strict=True)
        ]
    )


@pytest.mark.parametrize("l2", PENALTIES)
@pytest.mark.parametrize("name", miniatures.NAMES)
def test_gap_bounds_what_is_missing(optima, name, l2):
    data = miniatures.make(name)
    best = optima(name, l2)
    W, b = (np.stack(arrays) for arrays in list(zip(*best, strict=True))[:2])
    # The optimum, its neighbourhood, and nowhere near it.
    there = Params(W, b)
    far = random_params(data, scale=1.0)
    for share in (0.0, 1e-8, 1e-4, 0.1, 1.0, 30.0):
        params = jax.tree.map(lambda a, d, s=share: a + s * d, there, far)
        missing = excess(params, data, l2, best)
        found = certify(params, data, l2)
        assert (missing <= found.gap + ROUNDING * (1 + found.objective)).all()
        optimum = np.array([solution.objective for solution in best])
        np.testing.assert_allclose(
            found.objective, optimum + missing, rtol=1e-12, atol=ROUNDING
        )
        if share <= 1:
            assert np.isfinite(found.gap).all()
        if share == 0:
            assert (found.gap <= 1e-11 * (1 + found.objective)).all()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.1, 3.0])
@pytest.mark.parametrize("l2", PENALTIES)
def test_gap_is_primal_minus_dual_objective(l2, scale):
    data = miniatures.random()
    params = random_params(data, scale=scale)
    found = certify(params, data, l2)
    for lane, (W, b, weights) in enumerate(lanes(params, data)):
        args = data.x, data.labels, l2, weights
        value = reference_solver.objective(W, b, *args)
        gap = value - reference_solver.lower_bound(W, b, *args)
        np.testing.assert_allclose(found.objective[lane], value, rtol=1e-13)
        np.testing.assert_allclose(found.gap[lane], gap, rtol=1e-11, atol=BIAS * value)
    alone = newton.duality_gap(
        params, data.x, data.labels, np.full(2, l2), data.weights
    )
    np.testing.assert_array_equal(alone, found.gap)


def test_gap_by_eye():
    # One row of each class at x = -1 and 1, W = 0, b = 0: the probabilities are 1/2,
    # the objective ln 2, the gradient (1/2, -1/2) and the bias at its best.
    x, labels = np.array([[-1.0], [1.0]]), np.array([0, 1])
    params = Params(np.zeros((2, 1, 2)), np.zeros((2, 2)))
    found = certificate.certify(params, x, labels, np.array([0.1, 10.0]))
    np.testing.assert_allclose(found.objective, np.log(2), rtol=1e-15)
    # What rounding may hide is a few dozen times 1e-16 of it, never less than nothing.
    np.testing.assert_allclose(found.gap, [0.5 / 0.2, 0.5 / 20], rtol=1e-12)
    assert (found.gap >= [0.5 / 0.2, 0.5 / 20]).all()
    np.testing.assert_allclose(found.gradient_norm, np.sqrt(0.5), rtol=1e-15)
    # A wrong bias is charged for what it costs: softmax(ln 3, 0) = (3/4, 1/4).
    params = params._replace(b=np.array([[np.log(3), 0.0], [np.log(3), 0.0]]))
    found = certificate.certify(params, x, labels, np.array([0.1, 10.0]))
    cost = np.log(4 / 3) / 2 + np.log(4) / 2 - np.log(2)
    np.testing.assert_allclose(found.gap, [2.5 + cost, 0.025 + cost], rtol=1e-11)
    # The gradient is that of W with the best bias.
    np.testing.assert_allclose(found.gradient_norm, np.sqrt(0.5), rtol=1e-6)


def test_a_bias_that_is_nearly_right_hides_nothing():
    # One column, constant: the bias does all that it can do, and W should be 0. The
    # bias is off by what makes the gradient of W vanish, a decrement of only 1e-13.
    x, labels, l2, wrong = np.full((40, 1), 10.0), np.arange(40) % 2, 1e-6, 3.0
    prob = 0.5 - l2 * wrong / 10
    score = np.log(prob / (1 - prob)) / 2 - 10 * wrong
    W, b = np.array([[wrong, -wrong]]), np.array([score, -score])
    missing = reference_solver.objective(W, b, x, labels, l2) - np.log(2)
    assert missing > 0.99 * l2 * wrong**2
    found = certificate.certify(Params(W[None], b[None]), x, labels, [l2])
    assert found.gap[0] >= missing - 1e-15


@pytest.mark.parametrize("margin", [1.0, 18.0, 60.0, 600.0])
def test_objective_keeps_the_digits_of_confident_rows(margin):
    # log1p(exp(-60)) = 9e-27 is what both rows lose; to 1 it adds nothing.
    x, labels = np.array([[-1.0], [1.0]]), np.array([0, 1])
    W = margin / 2 * np.array([[[-1.0, 1.0]]])
    found = certificate.certify(Params(W, np.zeros((1, 2))), x, labels, [0.0])
    expected = np.log1p(np.exp(-margin))
    np.testing.assert_allclose(found.objective, expected, rtol=1e-12)


def test_a_common_shift_of_the_biases_changes_nothing():
    data = miniatures.random()
    params = random_params(data, scale=0.1)
    # Halves of whole numbers are exact under the shift.
    params = params._replace(b=np.round(params.b * 2) / 2)
    expected = certify(params, data, 0.01)
    found = certify(params._replace(b=params.b + 1e8), data, 0.01)
    for name in ("objective", "gap", "gradient_norm"):
        # The scores themselves are rounded at 1e8.
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-7
        )


def test_gradient_norm_is_that_of_the_objective_at_the_best_bias():
    data = miniatures.random()
    params = random_params(data, scale=0.3)

    def value(params, weights):
        logits = data.x @ params.W + params.b[None]
        losses = -jax.nn.log_softmax(logits)[np.arange(len(data.x)), data.labels]
        penalty = 0.005 * (params.W**2).sum()
        return (weights * losses).sum() / weights.sum() + penalty

    slopes = jax.jit(jax.grad(value))
    found = certify(params, data, 0.01).gradient_norm
    for W, b, weights, norm in zip(*params, data.weights, found, strict=True):
        best = scipy.optimize.minimize(
            lambda b: float(value(Params(W, b), weights)),  # noqa: B023
            b,
            jac=lambda b: np.asarray(slopes(Params(W, b), weights).b),  # noqa: B023
            tol=1e-12,
        )
        slope = slopes(Params(W, best.x), weights).W
        np.testing.assert_allclose(norm, np.sqrt((slope**2).sum()), rtol=1e-7)


def test_gap_sees_a_single_coordinate_moved():
    data = miniatures.random()
    best = [reference_solver.solve(data.x, data.labels, 0.1, w) for w in data.weights]
    W, b = (np.stack(arrays) for arrays in list(zip(*best, strict=True))[:2])
    at_optimum = certify(Params(W, b), data, 0.1).gap
    for array, moved in (("W", (0, 3, 1)), ("b", (0, 2))):
        params = Params(W.copy(), b.copy())
        getattr(params, array)[moved] += 1e-3
        gap = certify(params, data, 0.1).gap
        assert gap[0] > 1e-8
        assert gap[1] == at_optimum[1]


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_parameters_are_certified_as_they_are_rounded(scale):
    data = miniatures.random()
    narrow = random_params(data, scale=scale, dtype="float32")
    wide = jax.tree.map(np.float64, narrow)
    first, second = certify(narrow, data, 1e-3), certify(wide, data, 1e-3)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert first.gap.dtype == np.float64
    exact = certify(random_params(data, scale=scale), data, 1e-3)
    assert (np.abs(first.gap - exact.gap) > 1e-12 * exact.gap).all()


def test_no_bound_without_penalty():
    data = miniatures.random()
    found = certify(random_params(data, scale=0.1), data, 0.0)
    assert np.isposinf(found.gap).all()
    assert np.isfinite(found.objective).all()


def test_a_lane_of_nan_leaves_the_other_alone():
    data = miniatures.random()
    params = random_params(data, scale=0.1)
    expected = certify(params, data, 0.01)
    params.W[0, 2, 1] = np.nan
    found = certify(params, data, 0.01)
    assert np.isnan(found.objective[0])
    assert not np.isfinite(found.gap[0])
    assert [array[1] for array in found] == [array[1] for array in expected]


def test_absent_class_costs_nothing():
    # The same numbers as if the class did not exist.
    data = miniatures.random(num_classes=4)
    weights = np.where(data.labels == 3, 0.0, 1.0)
    W, b = random_params(data, scale=0.1)
    W[:, :, 3], b[:, 3] = 0.0, -np.inf
    l2 = np.full(2, 0.01)
    found = certificate.certify(Params(W, b), data.x, data.labels, l2, weights)
    kept = data.labels < 3
    expected = certificate.certify(
        Params(W[:, :, :3], b[:, :3]), data.x[kept], data.labels[kept], l2
    )
    for name in ("objective", "gap", "gradient_norm"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-12
        )


NARROW = """
import jax, numpy as np
from linclf_jax.exact import certificate, line_search, newton
from linclf_jax.exact import problem as problem_lib
from tests import miniatures
from tests.exact.certificate_test import random_params
assert not jax.config.jax_enable_x64
data = miniatures.random()
params = random_params(data, scale=0.1)
found = certificate.certify(params, data.x, data.labels, [1e-3, 1.0], data.weights)
solved, info = newton.solve(data.x, data.labels, [1e-3, 1.0], weights=data.weights)
again = certificate.certify(solved, data.x, data.labels, [1e-3, 1.0], data.weights)
assert solved.W.dtype == "float32"
assert not jax.config.jax_enable_x64
print(*found.gap.astype(str), *info.gap.astype(str), *info.relative_gap.astype(str),
      *again.gap.astype(str), *map(str, np.asarray(solved.W).ravel().tolist()))
"""


def test_gap_is_as_honest_with_64_bits_off():
    data = miniatures.random()
    run = subprocess.run(
        [sys.executable, "-c", NARROW], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = np.array(run.stdout.split(), float)
    certified, solved, relative, again = found[:8].reshape(4, 2)
    l2 = np.array([1e-3, 1.0])
    params = random_params(data, scale=0.1)
    wide = certificate.certify(params, data.x, data.labels, l2, data.weights)
    np.testing.assert_allclose(certified, wide.gap, rtol=1e-12)
    np.testing.assert_allclose(solved, again, rtol=1e-6, atol=1e-12)
    assert (relative <= 1e-6).all()
    # What the process says of its solution is what an independent solver says of it.
    for lane, W in enumerate(found[8:].reshape(2, 8, 3)):
        args = data.x, data.labels, l2[lane], data.weights[lane]
        best = reference_solver.solve(*args)
        np.testing.assert_allclose(W, best.W, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros(60)}, r"x has shape \(60,\)"),
        ({"l2": [0.1, -1.0]}, "l2 of lane 1 is -1.0"),
        ({"l2": 0.1}, r"l2 has shape \(\); expected \(L,\)"),
        ({"weights": np.ones((3, 60))}, r"weights has shape \(3, 60\)"),
        ({"labels": np.full(60, 3)}, r"labels: 60 of 60 .* 0\.\.2"),
        ({"params": Params(np.zeros((8, 3)), np.zeros(3))}, r"b has shape \(3,\)"),
        (
            {"params": Params(np.zeros((2, 3, 8)), np.zeros((2, 3)))},
            r"W has shape \(2, 3, 8\); expected \(2, 8, 3\)",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    data = miniatures.random()
    args = {
        "params": Params(np.zeros((2, 8, 3)), np.zeros((2, 3))),
        "x": data.x,
        "labels": data.labels,
        "l2": [0.1, 0.2],
        "weights": data.weights,
    }
    with pytest.raises(ValueError, match=message):
        certificate.certify(**(args | change))


@pytest.mark.parametrize("size", [1e-7, 1e-3, 0.3])
def test_what_a_rounded_bias_costs_is_bounded(size):
    data = miniatures.random()
    params = random_params(data, scale=0.3)
    change = size * np.random.default_rng(4).normal(size=params.b.shape)
    with jax.enable_x64(True):
        l2 = jnp.full(2, 0.01)
        problem = problem_lib.prepare(
            data.x, data.labels, num_lanes=2, weights=data.weights
        )
        W = jnp.asarray(params.W.transpose(0, 2, 1))
        best = certificate.evaluate_primal(problem, W, jnp.asarray(params.b), l2)
        found = line_search.with_bias(problem, best, best.b + change)
        excess = certificate.evaluate_dual(problem, W, found, l2).excess
        truth = certificate.evaluate_primal(problem, W, best.b + change, l2)
    above = np.asarray(found.objective - best.best_objective)
    cost = np.asarray(truth.objective - best.best_objective)
    assert (above >= cost - 2e-15).all()
    # To third order: no more than the range of the change more than it costs.
    assert (above <= (1 + 2 * np.ptp(change, axis=1)) * cost + 2e-15).all()
    assert (np.asarray(excess) >= cost).all()
    assert (np.asarray(excess) <= (1 + 2 * np.ptp(change, axis=1)) * cost + 1e-12).all()
