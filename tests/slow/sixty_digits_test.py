"""Certificates of two hundred fits against a better point in sixty digits."""

import jax
import numpy as np

from linclf_jax.exact import certificate, newton, status
from tests.exact import rounding_test

NUM_ROWS, NUM_FEATURES = 6, 2
LANES = 10


def random_problems(count, seed):
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


def test_no_claim_is_false_in_sixty_digits():
    rng = np.random.default_rng(4)
    solved, confident, close = 0, 0, 0
    for x, labels, weights, l2 in random_problems(200 // LANES, seed=3):
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
            one = rounding_test.lane_of(moved, lane)
            above, value = rounding_test.distance(one, x, labels, weights, l2[lane])
            assert above <= claimed.gap[lane], (above, claimed.gap[lane], value)
            confident += value < 1e-10
            close += claimed.gap[lane] <= 1e-3 * value
    # It bounds something, and among them are problems that equation (9) is for.
    assert solved > 100
    assert confident > 20
    assert close > 100
