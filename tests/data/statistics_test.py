"""Moments by blocks of rows, and principal axes: those of the whole matrix."""

import numpy as np
import pytest
from sklearn import decomposition

from linclf_jax.data import preprocessing, statistics


@pytest.fixture(params=[1, 30, 2**22])
def entries(request, monkeypatch):
    """Blocks of one row, of several with a rest, and of all rows."""
    monkeypatch.setattr(statistics, "_ENTRIES", request.param)


def test_moments_and_covariance(entries):
    x = np.random.default_rng(0).normal(size=(50, 4)) * [1, 1e3, 1e-3, 1] + 7
    x[:, 3] = 0.1
    moments = statistics.moments(x)
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.deviation, x.std(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(moments.extent, np.ptp(x, axis=0))
    assert (moments.mean[3], moments.deviation[3]) == (0.1, 0.0)
    shift, scale = x.mean(axis=0), np.array([1.0, 1e3, 1e-3, 1.0])
    z = (x - shift) / scale
    expected = np.mean(z[:, :, None] * z[:, None, :], axis=0)
    covariance = statistics._covariance(x, shift, scale)
    np.testing.assert_allclose(covariance, expected, rtol=1e-12, atol=1e-15)


def test_a_deviation_far_below_the_mean_keeps_its_digits(entries):
    # By mean square minus squared mean it would be 0, or the root of a negative number.
    x = 1e8 + np.arange(50.0)[:, None] / 1e3
    exact = np.std(np.arange(50.0)) / 1e3
    deviation = statistics.moments(x).deviation
    np.testing.assert_allclose(deviation, exact, rtol=1e-4)  # as x is rounded


def rows(num_rows=200, num_columns=6):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(num_columns, num_columns))
    return rng.normal(size=(num_rows, num_columns)) @ mixing + 5


def project(name, x):
    fitted = preprocessing.fit(name, x)
    return preprocessing.apply(fitted, x), fitted.axes


@pytest.mark.parametrize("shape", [(200, 6), (5, 40)])  # eigh, and svd
def test_pca_is_that_of_scikit_learn_in_any_order_of_the_rows(shape):
    x = rows(*shape)
    projected, axes = project("pca:3", x)
    expected = decomposition.PCA(3, svd_solver="full").fit_transform(x)
    signs = np.sign(np.sum(projected * expected, axis=0))
    np.testing.assert_allclose(projected, expected * signs, rtol=1e-6, atol=1e-5)
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(3)]
    assert np.all(largest > 0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-13)
    for name in ("pca:3", "whiten"):
        (_, axes), (_, reversed_axes) = project(name, x), project(name, x[::-1])
        np.testing.assert_allclose(reversed_axes, axes, rtol=1e-8, atol=1e-10)


def test_a_row_has_the_same_bits_beside_any_others():
    """A product of one row, or of another number of rows, may add in another order."""
    rng = np.random.default_rng(0)
    x, axes = rng.normal(size=(300, 170)), rng.normal(size=(170, 130))
    whole = statistics.project(x, axes)
    np.testing.assert_allclose(whole, x @ axes, rtol=1e-9, atol=1e-12)
    for start, stop in ((0, 1), (299, 300), (100, 103), (5, 250)):
        alone = statistics.project(x[start:stop], axes)
        np.testing.assert_array_equal(alone, whole[start:stop])


def distances(x):
    return np.linalg.norm(x[1:].astype(np.float64) - x[:1], axis=1)


def test_whitened_columns_are_uncorrelated_whatever_their_units():
    projected, axes = project("whiten", rows() * 10.0 ** np.arange(-6, 6, 2))
    assert axes.shape == (6, 6)
    moments = np.cov(projected.astype(np.float64), rowvar=False, bias=True)
    np.testing.assert_allclose(moments, np.eye(6), atol=1e-6)  # of float32
    # Whitenings differ by a rotation alone: distances are those of scikit-learn.
    other = decomposition.PCA(whiten=True, svd_solver="full").fit_transform(rows())
    expected = np.sqrt(200 / 199) * distances(other)  # it divides by N - 1
    np.testing.assert_allclose(distances(projected), expected, rtol=1e-5)


def test_constant_and_repeated_columns_are_no_directions():
    x = rows()
    spoilt = np.concatenate([x, np.full((200, 1), 0.1), 3 * x[:, :2] - 1], axis=1)
    projected, axes = project("whiten", spoilt)
    assert axes.shape == (9, 6)
    # Noise that the training rows did not have has nothing to be divided by.
    assert np.abs(projected).max() < 10
    with pytest.raises(ValueError, match=r"pca:7: found 6 directions .* 200 .* 9 col"):
        preprocessing.fit("pca:7", spoilt)


def test_few_rows_have_fewer_directions_than_rows():
    x = rows(5, 40)
    projected, axes = project("whiten", x)
    assert axes.shape == (40, 4)
    np.testing.assert_allclose(np.mean(np.square(projected), axis=0), 1, rtol=1e-6)
    wider = preprocessing.fit("whiten", np.tile(x, (20, 1)))  # by eigh
    np.testing.assert_allclose(wider.axes, axes, rtol=1e-6, atol=1e-7)


HUGE = np.random.default_rng(0).normal(size=(4, 2)) * 1e200


@pytest.mark.parametrize(
    ("name", "x", "message"),
    [
        ("pca:1", np.ones((5, 3)), "pca:1: found 0 directions"),
        ("pca:1", np.ones((1, 3)), "pca:1: found 0 directions"),
        ("whiten", np.ones((5, 3)), "whiten: found 0 directions"),
        ("whiten", np.ones((1, 3)), "whiten: found 0 directions"),
        ("pca:1", HUGE, "squares leave float64"),
        ("pca:1", HUGE.reshape(2, 4), "squares leave float64"),
    ],
)
def test_rows_without_axes_are_refused(name, x, message):
    with pytest.raises(ValueError, match=message):
        preprocessing.fit(name, x)
