"""A claimed gap against a better point in sixty digits: it is never too small."""

import jax
import mpmath
import numpy as np
import pytest

from linclf_jax.fit import certificate, newton, verdicts

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


def optimum(theta, rows, shares, l2, steps=12):
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
        enough = value - moved < value * CONTEXT.mpf(10) ** -15
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
        converged = info.status == verdicts.CONVERGED
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
