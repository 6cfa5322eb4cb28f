"""Principal axes: those of scikit-learn, in a fixed direction, never of rounding."""

import numpy as np
import pytest
from sklearn import decomposition

from linclf_jax.data import preprocessing, statistics


def rows(num_rows=200, num_columns=6, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(num_columns, num_columns))
    return rng.normal(size=(num_rows, num_columns)) @ mixing + 5


def project(name, x):
    fitted = preprocessing.fit(name, x)
    return preprocessing.apply(fitted, x), fitted.axes


@pytest.mark.parametrize("shape", [(200, 6), (5, 40)])  # eigh, and svd
def test_pca_is_that_of_scikit_learn(shape):
    x = rows(*shape)
    found, axes = project("pca:3", x)
    expected = decomposition.PCA(3, svd_solver="full").fit_transform(x)
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-6, atol=1e-5)
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(3)]
    assert np.all(largest > 0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-13)


@pytest.mark.parametrize("shape", [(200, 6), (5, 40)])
def test_the_axes_do_not_turn_with_the_order_of_the_rows(shape):
    x = rows(*shape)
    for name in ("pca:3", "whiten"):
        _, axes = project(name, x)
        _, again = project(name, x[::-1])
        np.testing.assert_allclose(again, axes, rtol=1e-8, atol=1e-10)


def test_a_row_has_the_same_bits_beside_any_others():
    """A product of one row, or of another number of rows, may add in another order."""
    rng = np.random.default_rng(0)
    x, axes = rng.normal(size=(300, 170)), rng.normal(size=(170, 130))
    whole = statistics.project(x, axes)
    np.testing.assert_allclose(whole, x @ axes, rtol=1e-9, atol=1e-12)
    for start, stop in ((0, 1), (299, 300), (100, 103), (5, 250)):
        alone = statistics.project(x[start:stop], axes)
        np.testing.assert_array_equal(alone, whole[start:stop])


def test_whitened_columns_are_uncorrelated_whatever_their_units():
    x = rows() * 10.0 ** np.arange(-6, 6, 2)
    found, axes = project("whiten", x)
    assert axes.shape == (6, 6)
    moments = np.cov(found.astype(np.float64), rowvar=False, bias=True)
    np.testing.assert_allclose(moments, np.eye(6), atol=1e-6)  # of float32
    # A rotation is all that whitenings differ by: distances are those of scikit-learn.
    other = decomposition.PCA(whiten=True, svd_solver="full").fit_transform(rows())
    scale = np.sqrt(200 / 199)  # it divides by N - 1
    np.testing.assert_allclose(distances(found), scale * distances(other), rtol=1e-5)


def distances(x):
    return np.linalg.norm(x[1:].astype(np.float64) - x[:1], axis=1)


def test_constant_and_repeated_columns_are_no_directions():
    x = rows()
    spoilt = np.concatenate([x, np.full((200, 1), 0.1), 3 * x[:, :2] - 1], axis=1)
    found, axes = project("whiten", spoilt)
    assert axes.shape == (9, 6)
    # Noise that the training rows did not have has nothing to be divided by.
    assert np.abs(found).max() < 10
    with pytest.raises(ValueError, match=r"pca:7: found 6 directions .* 200 .* 9 col"):
        preprocessing.fit("pca:7", spoilt)


def test_few_rows_have_fewer_directions_than_rows():
    x = rows(5, 40)
    found, axes = project("whiten", x)
    assert axes.shape == (40, 4)
    np.testing.assert_allclose(np.mean(np.square(found), axis=0), 1, rtol=1e-6)
    wider = preprocessing.fit("whiten", np.tile(x, (20, 1)))  # by eigh
    np.testing.assert_allclose(wider.axes, axes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("x", [np.ones((5, 3)), np.ones((1, 3))])
def test_rows_that_are_all_alike_are_refused(x):
    for name in ("pca:1", "whiten"):
        with pytest.raises(ValueError, match=f"{name}: found 0 directions"):
            preprocessing.fit(name, x)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
def test_squares_that_leave_float64_are_refused(shape):
    x = np.random.default_rng(0).normal(size=shape) * 1e200
    with pytest.raises(ValueError, match="squares leave float64"):
        preprocessing.fit("pca:1", x)


@pytest.mark.parametrize("name", ["pca", "pca:", "pca:0", "pca:03", "pca:-1", "pca:x"])
def test_a_number_of_axes_is_checked(name):
    with pytest.raises(ValueError, match=f"found preprocessing {name!r}, expected"):
        preprocessing.validate(name)
    preprocessing.validate("pca:30")
