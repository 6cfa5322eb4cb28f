"""How rows fare with fits that have not seen them; no fit is made."""

import numpy as np
import pytest
from scipy import optimize, special

from linclf_jax.params import Params
from linclf_jax.selection import row_scores
from tests.tolerances import CLOSED_FORM

ROWS = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype(np.float32)
LABELS = np.argmax(X[:, :3] + RNG.normal(size=(ROWS, 3)), axis=1)
PARAMS = Params(3 * np.eye(4)[:, :3] + RNG.normal(size=(2, 4, 3)), np.zeros((2, 3)))
# The fit that holds a row out; the first row was seen by both.
HELD_OUT = (np.arange(ROWS) % 2 == [[0], [1]]) & (np.arange(ROWS) > 0)


def row_losses(logits):
    return -special.log_softmax(logits, axis=1)[np.arange(len(logits)), LABELS[1:]]


@pytest.fixture(scope="module")
def logits():
    """Returns those of each row but the first, by the fit that holds it out."""
    each = np.einsum("nd,fdc->fnc", X.astype(np.float64), PARAMS.W)
    return np.where(HELD_OUT[0, :, None], *each)[1:]


@pytest.fixture(scope="module")
def scored():
    return row_scores.out_of_fold(PARAMS, X, LABELS, HELD_OUT)


def test_a_row_is_scored_by_the_fit_that_holds_it_out(scored, logits):
    np.testing.assert_allclose(scored.loss[1:], row_losses(logits), **CLOSED_FORM)
    right = np.argmax(logits, axis=1) == LABELS[1:]
    np.testing.assert_array_equal(scored.correct, [False, *right])
    assert 0.2 < right.mean() < 0.9
    # The row that no fit holds out has no score.
    assert np.isnan([scored.loss[0], scored.calibrated[0]]).all()


def test_the_calibrated_loss_is_that_at_the_best_single_temperature(scored, logits):
    best = optimize.minimize_scalar(
        lambda log: row_losses(logits / np.exp(log)).mean(),
        bounds=(-5, 5),
        method="bounded",
        options={"xatol": 1e-9},
    ).x
    assert scored.temperature == pytest.approx(np.exp(best), rel=1e-6)
    expected = row_losses(logits / np.exp(best))
    np.testing.assert_allclose(scored.calibrated[1:], expected, rtol=1e-5)
    assert expected.mean() < 0.8 * scored.loss[1:].mean()
    # So a strong penalty, which makes all logits small, costs nothing by this score.
    small = Params(PARAMS.W / 20, PARAMS.b)
    weak = row_scores.out_of_fold(small, X, LABELS, HELD_OUT)
    np.testing.assert_allclose(weak.calibrated[1:], expected, rtol=1e-5)


def test_no_temperature_mends_a_class_that_a_fit_did_not_see():
    absent = PARAMS.b.copy()
    absent[1, 2] = -np.inf
    scored = row_scores.out_of_fold(PARAMS._replace(b=absent), X, LABELS, HELD_OUT)
    lost = HELD_OUT[1] & (LABELS == 2)
    assert lost.any()
    assert np.isposinf(scored.loss).tolist() == lost.tolist()
    assert not scored.correct[lost].any()
    assert np.isnan(scored.temperature)
    np.testing.assert_array_equal(scored.calibrated, scored.loss)


def test_means_of_folds_are_over_the_rows_of_each(scored):
    means = row_scores.fold_means(scored, HELD_OUT)
    own = np.arange(2, ROWS, 2)
    for mean, values in zip(
        means, (scored.loss, scored.correct, scored.calibrated), strict=True
    ):
        assert mean.shape == (2,)
        assert mean[0] == pytest.approx(values[own].mean(), rel=1e-12)
        assert mean[1] == pytest.approx(values[1::2].mean(), rel=1e-12)


def test_a_curve_is_a_mean_with_its_standard_error():
    mean, error = row_scores.curve(np.array([0.1, 0.2, 0.6]))
    assert mean == pytest.approx(0.3)
    # Deviations -0.2, -0.1, 0.3: a variance of 0.07, of three.
    assert error == pytest.approx(np.sqrt(0.07 / 3), rel=1e-12)


@pytest.mark.parametrize("values", [[1.0, 1.0, np.inf], [0.5], [True]])
def test_the_error_of_an_infinite_mean_or_of_one_value_is_not_known(values):
    mean, error = row_scores.curve(np.array(values))
    assert mean == np.mean(values)
    assert np.isnan(error)
