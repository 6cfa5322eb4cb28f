"""A claimed gap against a better point in sixty digits: it is never too small."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.optimize

from linclf_jax.exact import certificate, newton, rounding, status
from linclf_jax.exact import problem as problem_lib
from linclf_jax.params import Params

CONTEXT = mpmath.mp.clone()
CONTEXT.dps = 60
NUM_ROWS, NUM_FEATURES = 6, 2
LANES = 10


def exact(array):
    """Returns numbers as objects of sixty digits."""
    return np.vectorize(CONTEXT.mpf, otypes=[object])(np.asarray(array, object))


def objective(theta, rows, shares, l2):
    """Returns the objective in sixty digits, and the slopes of the rows' losses.

    Of two classes: half of the difference of the weights, and that of the biases. The
    best W has columns that are minus each other, and ``||W||^2`` is twice one of them.
    """
    decays = [CONTEXT.exp(-2 * m) for m in rows @ theta]
    loss = sum(s * CONTEXT.log1p(e) for s, e in zip(shares, decays, strict=True))
    slopes = exact([-2 * e / (1 + e) for e in decays])
    return loss + l2 * theta[:-1] @ theta[:-1], slopes


def optimum(theta, rows, shares, l2, steps=16):
    """Returns the objective at a point that Newton's method in sixty digits reaches."""
    value, slopes = objective(theta, rows, shares, l2)
    penalty = np.append(np.full(len(theta) - 1, 2 * l2), CONTEXT.mpf(0))
    for _ in range(steps):
        gradient = rows.T @ (shares * slopes) + penalty * theta
        curvature = shares * -slopes * (2 + slopes)
        hessian = rows.T @ (curvature[:, None] * rows) + np.diag(penalty)
        unit = exact([1 / CONTEXT.sqrt(h) for h in np.diag(hessian)])
        hessian = unit[:, None] * hessian * unit
        try:
            step = CONTEXT.lu_solve(hessian.tolist(), (-unit * gradient).tolist())
        except ZeroDivisionError:
            break
        step = unit * np.array(list(step), object)
        # From where all rows are sure a step can be long; it is right after few.
        step = step / max(1, *(abs(m) for m in rows @ step))
        for _ in range(8):
            moved, told = objective(theta + step, rows, shares, l2)
            if moved < value:
                break
            step = step / 4
        else:
            break
        enough = value - moved < value * CONTEXT.mpf(10) ** -40
        theta, value, slopes = theta + step, moved, told
        if enough:
            break
    return value


def problems(count, seed):
    """Yields random data of one shape with penalties, from easy to absurd."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        labels = rng.permutation(np.arange(NUM_ROWS) % 2)
        x = rng.normal(size=(NUM_ROWS, NUM_FEATURES))
        if number % 2:  # with a margin between the classes
            x[:, 0] = (2 * labels - 1) * (1 + rng.random(NUM_ROWS))
        x = x * 10.0 ** rng.uniform(-2, 8)
        x = x + rng.choice([0.0, 1.0, 1e3]) * np.abs(x).max()
        weights = 10.0 ** -rng.uniform(0, rng.choice([0, 3, 12]), size=NUM_ROWS)
        yield x, labels, weights, 10.0 ** rng.uniform(-17, 0, size=LANES)


def truth(params, x, labels, weights, l2):
    """Returns how far parameters are above the better point, and the objective."""
    signs = exact(2 * labels - 1)
    rows = exact(np.hstack([x, np.ones((len(x), 1))])) * signs[:, None]
    shares = exact(weights) / sum(exact(weights))
    W, b = exact(params.W), exact(params.b)
    l2 = CONTEXT.mpf(l2)
    theta = np.append(W[:, 1] - W[:, 0], b[1] - b[0]) / 2
    value, _ = objective(theta, rows, shares, l2)
    mean = W.sum(axis=1) / 2  # which changes no score, and has its price
    best = optimum(theta, rows, shares, l2)
    return float(value + l2 * mean @ mean - best), float(value)


@pytest.mark.slow
def test_no_claim_is_false_in_sixty_digits():
    rng = np.random.default_rng(4)
    solved, sure, close = 0, 0, 0
    for x, labels, weights, l2 in problems(200 // LANES, seed=3):
        params, info = newton.solve(x, labels, l2, weights=weights, max_newton=60)
        converged = info.status == status.CONVERGED
        assert (info.relative_gap[converged] <= 1e-6).all()
        solved += converged.sum()
        # Solutions, and what is left of them when they are rounded or moved.
        moved = jax.tree.map(np.array, params)
        third = LANES // 3
        for array in moved:
            array[:third] = array[:third].astype("float32")
        moved.W[-third:] *= 1 + 10.0 ** -rng.uniform(1, 12, size=(third, 1, 1))
        claimed = certificate.certify(moved, x, labels, l2, weights)
        np.testing.assert_allclose(claimed.gap[third:-third], info.gap[third:-third])
        for lane in range(LANES):
            one = jax.tree.map(lambda array, lane=lane: array[lane], moved)
            missing, value = truth(one, x, labels, weights, l2[lane])
            assert missing <= claimed.gap[lane], (missing, claimed.gap[lane], value)
            sure += value < 1e-10
            close += claimed.gap[lane] <= 1e-3 * value
    # It bounds something, and among them are problems that equation (9) is for.
    assert solved > 100
    assert sure > 20
    assert close > 100


def lanes_of(weights):
    """Returns classifiers of one feature and two classes, without bias."""
    W = np.stack([-weights, weights], axis=1)[:, None]
    return Params(W, np.zeros((len(weights), 2)))


def assert_true_in_every_lane(params, x, labels, l2):
    gap = certificate.certify(params, x, labels, l2).gap
    for lane in range(len(l2)):
        one = jax.tree.map(lambda array, lane=lane: array[lane], params)
        missing, value = truth(one, x, labels, np.ones(len(x)), l2[lane])
        assert missing <= gap[lane], (lane, missing, gap[lane], value)


@pytest.mark.parametrize("size", [1.0, 1e8])
def test_the_gradient_is_as_near_as_it_says(size):
    rng = np.random.default_rng(5)
    x, labels = size * (3 + rng.normal(size=(20, 3))), rng.integers(3, size=20)
    weights = 10.0 ** -rng.uniform(0, 6, size=20)
    W, b = rng.normal(size=(1, 3, 3)) / size, rng.normal(size=(1, 3))
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, labels, num_lanes=1, weights=weights)
        l2 = jnp.array([1e-3 * size**2])
        primal = certificate.evaluate_primal(
            problem, jnp.asarray(W), jnp.asarray(b), l2
        )
        dual = certificate.evaluate_dual(problem, jnp.asarray(W), primal, l2)
        known = dual.gradient_error + rounding.penalty_error(jnp.asarray(W), l2, 20)
    # The dual point is what the computed numbers are when divided by their sum.
    probs, shares = exact(primal.probs[0].T), exact(weights) / sum(exact(weights))
    probs = probs / probs.sum(axis=1)[:, None]
    residual = (probs - exact(np.eye(3)[labels])) * shares[:, None]
    gradient = residual.T @ exact(x) + exact(l2)[0] * exact(W[0])
    error = gradient - exact(dual.gradient[0])
    norm = float(CONTEXT.sqrt((error**2).sum()))
    assert 1e-18 * size < norm <= known[0]
    assert known[0] < 1e-12 * size


@pytest.mark.parametrize("first", [1.16e-16, 1.2e-16, 1.23e-16])
def test_residuals_of_sure_rows_are_not_what_is_left_of_one(first):
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
    own = weights(height) / 1e6
    l2 = left.sum() * 1e6 / 2 / own[0] * (1 + np.arange(-5, 5) / 1e3)
    W = np.stack([-own, own], axis=1)
    params = Params(np.stack([W] * 10), np.zeros((10, 2)))
    assert_true_in_every_lane(params, x, labels, l2)


def test_means_that_differ_are_paid_for():
    # A constant column, which the bias makes useless: W should be 0. A dual point whose
    # means are off by 3e-7 cancels the gradient of a W that is wrong.
    x, labels, l2, wrong = np.full((40, 1), 10.0), np.arange(40) % 2, 1e-6, 3.0
    prob = 0.5 - l2 * wrong / 10
    score = np.log(prob / (1 - prob)) / 2
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, labels, num_lanes=1)
        W = jnp.array([[[wrong], [-wrong]]])
        b = jnp.array([[score - 10 * wrong, 10 * wrong - score]])
        primal = certificate.evaluate_primal(problem, W, b, jnp.array([l2]), np.inf)
        primal = primal._replace(
            b_step=jnp.zeros((1, 2)),
            probs=jnp.broadcast_to(jnp.array([[[prob], [1 - prob]]]), (1, 2, 40)),
        )
        dual = certificate.evaluate_dual(problem, W, primal, jnp.array([l2]))
    assert np.abs(dual.gradient).max() < 1e-14
    assert dual.gap[0] > l2 * wrong**2
