"""How fits do on rows that they did not see, one resampling after the other."""

import jax
import numpy as np
import pytest
from scipy import special

from linclf_jax.exact import leave_one_out, path
from linclf_jax.params import Params
from linclf_jax.selection import held_out, resampling, row_scores
from linclf_jax.selection.folds import NOT_HELD_OUT

ROWS, L2 = 48, 0.1
RNG = np.random.default_rng(0)
LABELS = np.arange(ROWS) % 3
X = RNG.normal(size=(ROWS, 4)) + 0.7 * RNG.normal(size=(3, 4))[LABELS]
DRAWN = np.arange(ROWS) < 18  # six of each class
SIZES = {"num_features": 4, "num_classes": 3}
RESAMPLINGS = {
    "folds": resampling.of_folds(np.arange(ROWS) // 3 % 2),
    "split": resampling.of_folds(np.where(np.arange(ROWS) < 30, NOT_HELD_OUT, 0)),
    "all rows": resampling.of_leave_one_out(LABELS),
    "draw": resampling.of_draw(DRAWN, LABELS, shots=6, seed=0, **SIZES),
    "one shot": resampling.of_draw(DRAWN, LABELS, shots=1, seed=0, **SIZES),
}


@pytest.fixture(scope="module")
def solved():
    """Returns the solutions of the fits of all resamplings, and the fits."""
    compared = list(RESAMPLINGS.values())
    fits = resampling.compared_fits(compared)
    fits.append(resampling.final_fit(0, compared[0]))
    weights = np.array([fit.train for fit in fits], np.float64)
    (point,) = path.follow(X, LABELS, [L2], weights=weights, tol=1e-10)
    return point._replace(params=jax.tree.map(np.asarray, point.params)), fits


@pytest.fixture(scope="module")
def measured(solved):
    return held_out.measure(solved[0], X, LABELS, list(RESAMPLINGS.values()), solved[1])


@pytest.fixture
def groups(measured):
    return dict(zip(RESAMPLINGS, measured.groups, strict=True))


def logits_of(params, index):
    return X @ params.W[index] + params.b[index]


def row_losses(logits):
    return -special.log_softmax(logits, axis=1)[np.arange(ROWS), LABELS]


def test_each_fit_is_scored_on_its_own_rows(measured, solved):
    point, fits = solved
    for index, fit in enumerate(fits):
        logits = logits_of(point.params, index)
        loss = row_losses(logits)[fit.train].mean()
        np.testing.assert_allclose(measured.train.loss[index], loss, rtol=1e-8)
        right = (np.argmax(logits, axis=1) == LABELS)[fit.train]
        np.testing.assert_allclose(measured.train.accuracy[index], right.mean())


def test_each_resampling_is_scored_by_its_own_fits(groups, solved):
    point, _ = solved
    first = 0
    for name, each in RESAMPLINGS.items():
        own = slice(first, first := first + len(each.held_out))
        params = jax.tree.map(lambda array, own=own: array[own], point.params)
        alone = held_out.score(params, X, LABELS, each, L2)
        jax.tree.map(np.testing.assert_array_equal, groups[name], alone)


def test_the_error_of_folds_is_over_folds(groups, solved):
    scores, fold = groups["folds"], np.arange(ROWS) // 3 % 2
    loss = np.where(
        fold == 0, *(row_losses(logits_of(solved[0].params, i)) for i in range(2))
    )
    np.testing.assert_allclose(scores.rows.loss, loss, rtol=1e-12)
    means = np.array([loss[fold == f].mean() for f in range(2)])
    np.testing.assert_allclose(scores.folds.loss, means, rtol=1e-12)
    assert scores.loss.mean == pytest.approx(means.mean(), rel=1e-12)
    assert scores.loss.standard_error == pytest.approx(abs(np.diff(means)[0]) / 2)


def test_the_error_of_a_split_is_over_its_rows(groups, solved):
    scores, rows = groups["split"], slice(30, None)
    loss = row_losses(logits_of(solved[0].params, 2))[rows]
    np.testing.assert_allclose(scores.rows.loss[rows], loss, rtol=1e-12)
    assert np.isnan(scores.rows.loss[:30]).all()
    for curve, values in (
        (scores.loss, loss),
        (scores.accuracy, scores.rows.correct[rows]),
        (scores.loss_calibrated, scores.rows.calibrated[rows]),
    ):
        assert curve.mean == pytest.approx(values.mean(), rel=1e-12)
        error = np.std(values, ddof=1) / np.sqrt(18)
        assert curve.standard_error == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "rows"), [("all rows", DRAWN | True), ("draw", DRAWN)]
)
def test_leave_one_out_is_that_of_the_rows_alone(name, rows, groups, solved):
    scores = groups[name]
    index = 3 + (name == "draw")
    params = jax.tree.map(lambda array: array[[index]], solved[0].params)
    estimate = leave_one_out.approximate(params, X[rows], LABELS[rows], [L2])
    np.testing.assert_array_equal(scores.rows.loss[rows], estimate.losses[0])
    np.testing.assert_array_equal(scores.rows.correct[rows], estimate.right[0])
    calibrated = row_scores.calibrated(
        estimate.logits[0], LABELS[rows], estimate.losses[0], rows[rows]
    )
    assert scores.rows.temperature == calibrated[0]
    np.testing.assert_array_equal(scores.rows.calibrated[rows], calibrated[1])
    assert calibrated[1].mean() < estimate.losses[0].mean()
    for values, curve in (
        (scores.rows.loss, scores.loss),
        (scores.rows.correct, scores.accuracy),
        (scores.rows.calibrated, scores.loss_calibrated),
    ):
        own = values[rows]
        assert curve.mean == pytest.approx(own.mean(), rel=1e-12)
        error = np.std(own, ddof=1) / np.sqrt(len(own))
        assert curve.standard_error == pytest.approx(error, rel=1e-12)
    # Rows that were not drawn have no score.
    assert np.isnan(scores.rows.loss).tolist() == (~rows).tolist()
    assert not scores.rows.correct[~rows].any()
    assert scores.folds.loss.tolist() == [scores.loss.mean]


@pytest.mark.parametrize(("name", "l2"), [("one shot", L2), ("draw", 0.0)])
def test_where_nothing_is_held_out_or_estimated_scores_are_unknown(name, l2, solved):
    params = jax.tree.map(lambda array: array[[5]], solved[0].params)
    scores = held_out.score(params, X, LABELS, RESAMPLINGS[name], l2)
    for curve in (scores.loss, scores.accuracy, scores.loss_calibrated):
        assert np.isnan([curve.mean, curve.standard_error]).all()
    assert np.isnan(scores.rows.loss).all()
    assert np.isnan(scores.rows.temperature)
    assert not scores.rows.correct.any()


def test_scores_are_float64_though_the_process_has_none(solved, measured):
    point, fits = solved
    params = Params(*(a.astype(np.float32) for a in point.params))
    point = point._replace(params=params)
    x, compared = X.astype(np.float32), list(RESAMPLINGS.values())
    with jax.enable_x64(False):
        train, groups = held_out.measure(point, x, LABELS, compared, fits)
    assert train.loss.dtype == train.accuracy.dtype == np.float64
    rows = RESAMPLINGS["split"].compared
    W, b = (a[2].astype(np.float64) for a in params)
    loss = row_losses(x.astype(np.float64) @ W + b)[rows]
    np.testing.assert_allclose(groups[1].rows.loss[rows], loss, rtol=1e-12)
    for group, wide in zip(groups, measured.groups, strict=True):
        np.testing.assert_allclose(group.rows.loss, wide.rows.loss, rtol=1e-5)
        assert group.rows.loss.dtype == np.asarray(group.loss.mean).dtype == np.float64


@pytest.mark.parametrize("kind", ["split", "leave_one_out"])
def test_the_error_of_a_single_row_is_not_known(kind, solved):
    single = np.arange(ROWS) == 5
    one = resampling.of_folds(np.where(single, 0, NOT_HELD_OUT))
    if kind == "leave_one_out":
        one = RESAMPLINGS["all rows"]._replace(rows=single)
    params = jax.tree.map(lambda array: array[[3]], solved[0].params)
    scores = held_out.score(params, X, LABELS, one, L2)
    assert (one.kind, scores.rows.correct[5]) == (kind, scores.accuracy.mean)
    assert np.isfinite(scores.loss.mean)
    for curve in (scores.loss, scores.accuracy, scores.loss_calibrated):
        assert np.isnan(curve.standard_error)
