"""A claimed gap against a better point in many digits: it is never too small."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.optimize

from linclf_jax.exact import (
    certificate,
    leave_one_out,
    newton,
    rounding,
    status,
    sums,
)
from linclf_jax.exact import objective as objective_lib
from linclf_jax.exact import problem as problem_lib
from linclf_jax.params import Params

SIXTY, FOUR_HUNDRED = mpmath.mp.clone(), mpmath.mp.clone()
SIXTY.dps, FOUR_HUNDRED.dps = 60, 400


def exact(array, context=SIXTY):
    """Returns numbers as objects of many digits."""
    return np.vectorize(context.mpf, otypes=[object])(np.asarray(array, object))


def binary_objective(theta, rows, weights, l2):
    """Returns the objective of two classes, and the slopes of the rows' losses.

    Of half of the difference of the weights, and that of the biases. The best W has
    columns that are minus each other, and ``||W||^2`` is twice one of them.
    """
    decays = [SIXTY.exp(-2 * m) for m in rows @ theta]
    loss = sum(w * SIXTY.log1p(e) for w, e in zip(weights, decays, strict=True))
    slopes = exact([-2 * e / (1 + e) for e in decays])
    return loss + l2 * theta[:-1] @ theta[:-1], slopes


def optimum(theta, rows, weights, l2, steps=16):
    """Returns the objective at a point that Newton's method reaches."""
    value, slopes = binary_objective(theta, rows, weights, l2)
    penalty = np.append(np.full(len(theta) - 1, 2 * l2), SIXTY.mpf(0))
    for _ in range(steps):
        gradient = rows.T @ (weights * slopes) + penalty * theta
        curvature = weights * -slopes * (2 + slopes)
        hessian = rows.T @ (curvature[:, None] * rows) + np.diag(penalty)
        unit = exact([1 / SIXTY.sqrt(h) for h in np.diag(hessian)])
        hessian = unit[:, None] * hessian * unit
        try:
            step = SIXTY.lu_solve(hessian.tolist(), (-unit * gradient).tolist())
        except ZeroDivisionError:
            break
        step = unit * np.array(list(step), object)
        # From where all rows are confident a step can be long; it is right after few.
        step = step / max(1, *(abs(m) for m in rows @ step))
        for _ in range(8):
            moved, moved_slopes = binary_objective(theta + step, rows, weights, l2)
            if moved < value:
                break
            step = step / 4
        else:
            break
        enough = value - moved < value * SIXTY.mpf(10) ** -40
        theta, value, slopes = theta + step, moved, moved_slopes
        if enough:
            break
    return value


def distance(params, x, labels, weights, l2):
    """Returns how far parameters are above the better point, and the objective."""
    signs = exact(2 * labels - 1)
    rows = exact(np.hstack([x, np.ones((len(x), 1))])) * signs[:, None]
    weights = exact(weights) / sum(exact(weights))
    W, b = exact(params.W), exact(params.b)
    l2 = SIXTY.mpf(l2)
    theta = np.append(W[:, 1] - W[:, 0], b[1] - b[0]) / 2
    value, _ = binary_objective(theta, rows, weights, l2)
    mean = W.sum(axis=1) / 2  # which changes no score, and has its price
    best = optimum(theta, rows, weights, l2)
    return float(value + l2 * mean @ mean - best), float(value)


def lane_of(params, lane):
    return Params(*(array[lane] for array in params))


@pytest.mark.parametrize("size", [1.0, 1e8])
def test_the_gradient_is_as_near_as_it_says(size):
    rng = np.random.default_rng(5)
    x, labels = size * (3 + rng.normal(size=(20, 3))), rng.integers(3, size=20)
    weights = 10.0 ** -rng.uniform(0, 6, size=20)
    W, b = rng.normal(size=(1, 3, 3)) / size, rng.normal(size=(1, 3))
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, labels, num_lanes=1, weights=weights)
        W, b, l2 = jnp.asarray(W), jnp.asarray(b), jnp.array([1e-3 * size**2])
        primal = objective_lib.evaluate(problem, Params(W, b), l2, 1e-12)
        block = problem.blocks[0]._replace(num_rows=None)
        chunk = jax.tree.map(lambda array: array[0], block)
        probs = sums.dual_point(chunk, W, primal.b, primal.b_step)[0, :, :20].T
        dual = certificate.evaluate_dual(problem, W, primal, l2)
        claimed = dual.gradient_error + rounding.penalty_error(W, l2, 20)
    # The dual point is what the computed numbers are when divided by their sum.
    probs, weights = exact(probs), exact(weights) / sum(exact(weights))
    probs = probs / probs.sum(axis=1)[:, None]
    residual = (probs - exact(np.eye(3)[labels])) * weights[:, None]
    gradient = residual.T @ exact(x) + exact(l2)[0] * exact(W[0])
    error = gradient - exact(dual.gradient[0])
    norm = float(SIXTY.sqrt((error**2).sum()))
    assert 1e-18 * size < norm <= claimed[0]
    assert claimed[0] < 1e-12 * size


@pytest.mark.parametrize("first", [1.16e-16, 1.2e-16, 1.23e-16])
def test_residuals_of_confident_rows_are_not_what_is_left_of_one(first):
    # The other class has these probabilities, of both of which p - 1 makes 2.2e-16: one
    # too large and one too small, so that the means of the residuals agree.
    others, step = np.array([first, 4.44e-16 - first]), 2.0**-52
    left = (others + step) / 2
    margins = -0.5 * np.log(others)

    def weights(height):
        slope = (margins[0] - margins[1]) / (1 + height)
        return np.array([margins[0] - slope, slope])

    def ratio(height):
        gradient = np.array([left[0] + left[1], left[0] - height * left[1]])
        return weights(height)[1] * gradient[0] - weights(height)[0] * gradient[1]

    # Where l2 W is what p - 1 makes of the gradient, in both columns.
    height = scipy.optimize.brentq(ratio, 0.0, 1.0)
    half = 1e6 * np.array([[1.0, 1.0], [1.0, -height]])
    x, labels = np.concatenate([half, -half]), np.array([1, 1, 0, 0])
    column = weights(height) / 1e6
    l2 = left.sum() * 1e6 / 2 / column[0] * (1 + np.arange(-5, 5) / 1e3)
    W = np.stack([-column, column], axis=1)
    params = Params(np.stack([W] * 10), np.zeros((10, 2)))
    gap = certificate.certify(params, x, labels, l2).gap
    for lane in range(10):
        above, value = distance(lane_of(params, lane), x, labels, np.ones(4), l2[lane])
        assert above <= gap[lane], (lane, above, gap[lane], value)


def test_means_that_differ_are_paid_for():
    # A constant column, which the bias makes useless: W should be 0. A dual point whose
    # means are off by 3e-7 cancels the gradient of a W that is wrong.
    x, labels, l2, wrong = np.full((40, 1), 10.0), np.arange(40) % 2, 1e-6, 3.0
    prob = 0.5 - l2 * wrong / 10
    score = np.log(prob / (1 - prob)) / 2
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, labels, num_lanes=1)
        W, l2s = jnp.array([[[wrong], [-wrong]]]), jnp.array([l2])
        b = jnp.array([[score - 10 * wrong, 10 * wrong - score]])
        primal = objective_lib.evaluate(problem, Params(W, b), l2s, np.inf)
        # The probabilities at this bias are those of the dual point.
        primal = primal._replace(b_step=jnp.zeros((1, 2)))
        dual = certificate.evaluate_dual(problem, W, primal, l2s)
    assert np.abs(dual.gradient).max() < 1e-14
    assert dual.gap[0] > l2 * wrong**2


def objective(W, b, x, labels, l2):
    """Returns the objective of hard labels in four hundred digits."""
    W, x, b = (exact(array, FOUR_HUNDRED) for array in (W, x, b))
    losses = [
        FOUR_HUNDRED.log1p(sum(FOUR_HUNDRED.exp(s - row[y]) for s in np.delete(row, y)))
        for row, y in zip(x @ W + b[None], labels, strict=True)
    ]
    penalty = FOUR_HUNDRED.mpf(l2) / 2 * sum(w**2 for w in W.ravel())
    return sum(losses) / len(losses) + penalty


def assert_true(W, b, x, labels, l2, better=None):
    """Asserts a gap of at least the distance to a better point, W = 0 if not given."""
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    better = better or (np.zeros_like(W), np.zeros_like(b))
    proof = certificate.certify(Params(W[None], b[None]), x, labels, [l2])
    above = objective(W, b, x, labels, l2) - objective(*better, x, labels, l2)
    assert above > 0
    assert FOUR_HUNDRED.mpf(float(proof.gap[0])) >= above


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
    tested = 0
    for _ in range(40):
        weights = rng.random(2)
        first = 1e20 * rng.random(500)
        ulps = rng.integers(-2, 3, 500) * 2.0**-53
        x = np.stack([first, first * (weights[0] / weights[1]) * (1.0 + ulps)], axis=1)
        W = np.array([[weights[0], 0.0], [-weights[1], 0.0]])
        # Rounded scores are sure of class 0, exact ones of class 1.
        sure = x[(x @ W)[:, 0] > 1000.0]
        margins = exact(sure, FOUR_HUNDRED) @ exact(W[:, 0], FOUR_HUNDRED)
        for row in sure[margins < -100][:1]:
            tested += 1
            assert_true(W, [0.0, 0.0], np.stack([row, -row]), [0, 1], 1e-17)
    assert tested > 0


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
    proof = certificate.certify(shifted, x, targets, [1.0])
    np.testing.assert_allclose(proof.objective, np.log(3.0), rtol=1e-12)
    _, info = newton.solve(x, targets, [1.0], init=shifted, max_newton=0)
    assert info.status[0] == status.MAX_STEPS
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


@pytest.mark.parametrize("soft", [False, True])
def test_the_scores_of_targets_are_measured_against_their_mean(soft):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 2)) + 5.0, np.arange(30) % 3
    weights = rng.random(30)
    targets = rng.dirichlet(np.ones(3), 30) if soft else np.eye(3)[labels]
    W, b = rng.normal(size=(1, 3, 2)), rng.normal(size=(1, 3))
    share = weights / weights.sum()
    with jax.enable_x64(True):
        problem = problem_lib.prepare(
            x, targets if soft else labels, num_lanes=1, weights=weights
        )
        alignment = sums.at(problem, jnp.asarray(W), jnp.asarray(b)).alignment
    expected = share @ np.sum((targets - share @ targets) * (x @ W[0].T), axis=1)
    np.testing.assert_allclose(alignment, [expected], rtol=1e-12)
