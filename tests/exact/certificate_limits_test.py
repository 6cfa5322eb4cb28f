"""Certificates where numbers overflow, underflow or belong to another lane."""

import mpmath
import numpy as np
import pytest

from linclf_jax.exact import certificate, leave_one_out, newton
from linclf_jax.params import Params

CONTEXT = mpmath.mp.clone()
CONTEXT.dps = 400


def objective(W, b, x, labels, l2):
    """Returns the objective of hard labels in four hundred digits."""
    number = np.vectorize(CONTEXT.mpf, otypes=[object])
    W, x = number(W), number(x)
    scores = x @ W + number(b)[None]
    losses = [
        CONTEXT.log1p(sum(CONTEXT.exp(s - row[y]) for s in np.delete(row, y)))
        for row, y in zip(scores, labels, strict=True)
    ]
    penalty = CONTEXT.mpf(l2) / 2 * sum(w**2 for w in W.ravel())
    return sum(losses) / len(losses) + penalty


def assert_true(W, b, x, labels, l2, better=None):
    """Asserts a gap of at least the distance to a better point, W = 0 if not given."""
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    lower = better or (np.zeros_like(W), np.zeros_like(b))
    found = certificate.certify(Params(W[None], b[None]), x, labels, [l2])
    above = objective(W, b, x, labels, l2) - objective(*lower, x, labels, l2)
    assert above > 0
    assert CONTEXT.mpf(float(found.gap[0])) >= above


def test_probabilities_stay_a_distribution_where_the_last_step_is_long():
    W = [
        [-1119.18204316, 54.20996524, 1204.10929347],
        [-366.19773561, 474.09274468, 2113.06845956],
    ]
    x = np.array(
        [
            [0.42044524, 1.13604653],
            [0.1097064, -0.55264732],
            [-0.78478036, 0.74874577],
            [1.63478304, 0.27276878],
            [-1.23332866, -0.95826521],
        ]
    )
    b = [0.02920855, 0.01487883, 0.00791858]
    assert_true(W, b, x, [2, 2, 0, 2, 1], 1e-17)


def test_scores_that_cancel_are_not_sure_of_a_probability_that_underflows():
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(40):
        weights = rng.random(2)
        first = 1e20 * rng.random(500)
        ulps = rng.integers(-2, 3, 500) * 2.0**-53
        x = np.stack([first, first * (weights[0] / weights[1]) * (1.0 + ulps)], axis=1)
        W = np.array([[weights[0], 0.0], [-weights[1], 0.0]])
        sure = np.flatnonzero((x @ W)[:, 0] > 1000.0)
        # Rounded scores are sure of class 0, exact ones of class 1.
        margins = [
            CONTEXT.mpf(row[0]) * CONTEXT.mpf(W[0, 0])
            + CONTEXT.mpf(row[1]) * CONTEXT.mpf(W[1, 0])
            for row in x[sure]
        ]
        wrong = [row for row, m in zip(x[sure], margins, strict=True) if m < -100]
        for row in wrong[:1]:
            seen += 1
            assert_true(W, [0.0, 0.0], np.stack([row, -row]), [0, 1], 1e-17)
    assert seen > 0


@pytest.mark.parametrize(
    ("x", "W", "l2", "better"),
    [
        (1e-170, 0.0, 0.0, 1e169),
        (1e-155, 0.0, 1e-307, 2e151),
        (1.0, 190.0, 0.0, 380.0),
        (1.0, 190.0, 1e-300, 191.0),
        (1e150, 0.0, 1.5e308, 1e-160),
    ],
)
def test_squares_that_leave_the_range_are_no_proof(x, W, l2, better):
    x = np.array([[x], [-x]])
    point = np.array([[better, -better]]), np.zeros(2)
    assert_true([[W, -W]], [0.0, 0.0], x, [0, 1], l2, point)


def test_a_class_that_is_absent_has_its_part_in_the_rounding_of_a_bias():
    ulps = np.array([[0, 3], [0, 0], [2, 0]])
    x, labels = 1e20 * (1.0 + ulps * 2.0**-52), [0, 0, 0]
    better = np.zeros((2, 2)), np.array([0.0, -1000.0])
    for share in np.random.default_rng(0).random(6):
        weight = 1e-5 * (1.0 + share)
        W = [[0.0, weight], [0.0, -weight]]
        assert_true(W, [0.0, -3.0], x, labels, 1e-17, better)


def test_a_common_shift_makes_no_loss_of_soft_targets_negative():
    targets = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    x = np.random.default_rng(1).normal(size=(4, 2))
    shifted = Params(np.zeros((1, 2, 3)), np.full((1, 3), np.float32(3.4e21)))
    found = certificate.certify(shifted, x, targets, [1.0])
    np.testing.assert_allclose(found.objective, np.log(3.0), rtol=1e-12)
    _, info = newton.solve(x, targets, [1.0], init=shifted, max_newton=0)
    assert info.status[0] == "max_steps"
    assert not info.relative_gap[0] <= 1e-6


@pytest.mark.parametrize("size", [1e3, 1e10, 1e20, 1e100])
def test_a_row_of_another_lane_takes_no_part(size):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(12, 2)), np.arange(12) % 3
    params, _ = newton.solve(x, labels, [0.1])
    alone = certificate.certify(params, x, labels, [0.1])
    estimate = leave_one_out.approximate(params, x, labels, [0.1])
    x = np.concatenate([x, [[size, -size], [-size, size]]])
    labels = np.append(labels, [0, 1])
    weights = np.ones((2, 14))
    weights[0, 12:] = 0.0
    twice = Params(*(np.concatenate([array, array]) for array in params))
    both = certificate.certify(twice, x, labels, [0.1, 0.1], weights)
    np.testing.assert_allclose(both.gap[0], alone.gap[0], rtol=1e-6)
    two = leave_one_out.approximate(twice, x, labels, [0.1, 0.1], weights)
    np.testing.assert_allclose(two.loss[0], estimate.loss[0], rtol=1e-9)
