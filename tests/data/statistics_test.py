"""Statistics by blocks of rows are those of the whole matrix."""

import numpy as np
import pytest

from linclf_jax.data import statistics


@pytest.fixture(params=[1, 30, 2**22])
def entries(request, monkeypatch):
    """Blocks of one row, of several with a rest, and of all rows."""
    monkeypatch.setattr(statistics, "_ENTRIES", request.param)
    return request.param


def matrix():
    x = np.random.default_rng(0).normal(size=(50, 4)) * [1, 1e3, 1e-3, 1] + 7
    x[:, 3] = 0.1
    return x


def test_moments(entries):
    x = matrix()
    found = statistics.moments(x)
    np.testing.assert_array_equal(found.constant, [False, False, False, True])
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.deviation, x.std(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(found.extent, np.ptp(x, axis=0))
    assert (found.mean[3], found.deviation[3]) == (0.1, 0.0)


def test_covariance(entries):
    x = matrix()
    shift, scale = x.mean(axis=0), np.array([1.0, 1e3, 1e-3, 1.0])
    z = (x - shift) / scale
    expected = np.mean(z[:, :, None] * z[:, None, :], axis=0)
    found = statistics._covariance(x, shift, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_a_deviation_far_below_the_mean_keeps_its_digits(entries):
    # By mean square minus squared mean it would be 0, or the root of a negative number.
    x = 1e8 + np.arange(50.0)[:, None] / 1e3
    found = statistics.moments(x)
    exact = np.std(np.arange(50.0)) / 1e3
    np.testing.assert_allclose(found.deviation, exact, rtol=1e-4)  # as x is rounded
