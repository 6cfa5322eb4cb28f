"""Paths and cross-validation: the same numbers as fold by fold, and as scikit-learn."""

import functools

import jax
import numpy as np
import pytest
from sklearn import datasets as bundled
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from linclf_jax import calibration, losses, params, regularization
from linclf_jax.exact import certificate, continuation, status
from linclf_jax.params import Params
from linclf_jax.selection import cross_validation, held_out
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection.held_out import Curve, FoldScores, RowScores, Scores

L2S = (1e-3, 1.0, 1e-2)  # in no order
LANES = 4  # three folds and all rows: programs of one width are compiled once
NAMES = (
    *("iris", "wine"),
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("breast_cancer", "digits")),
)
# Both are solved far beyond what their objectives are compared to.
TOL = 1e-10
SAME_OBJECTIVE = 1e-8
EXACT = {"solver": "newton-cg", "tol": 1e-11, "max_iter": 1000}


def standardized(name):
    bunch = getattr(bundled, f"load_{name}")()
    deviation = np.std(bunch.data, axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return (bunch.data - np.mean(bunch.data, axis=0)) / scale, bunch.target


@pytest.fixture(scope="module")
def iris():
    return standardized("iris")


@pytest.fixture(scope="module")
def validated(iris):
    x, labels = iris
    dealt = folds_lib.assign(labels, 3, seed=5)
    return cross_validation.cross_validate(x, labels, L2S, dealt, tol=TOL), dealt


def test_a_path_is_in_the_order_of_its_penalties(iris):
    x, labels = iris
    weights = np.random.default_rng(0).uniform(size=(LANES, len(labels)))
    found = cross_validation.path(x, labels, L2S, weights=weights, tol=TOL)
    assert found.l2.tolist() == list(L2S)
    assert found.params.W.shape == (3, LANES, 4, 3)
    for place, l2 in enumerate(L2S):
        params = Params(*(array[place] for array in found.params))
        proof = certificate.certify(params, x, labels, [l2] * LANES, weights)
        assert np.all(proof.gap <= TOL * proof.objective)
        objective = found.info.objective[place]
        np.testing.assert_allclose(objective, proof.objective, rtol=TOL)


def test_a_path_keeps_the_dtype(iris):
    x, labels = iris
    found = cross_validation.path(x.astype(np.float32), labels, [0.1])
    assert found.params.W.dtype == np.float32
    assert found.info.objective.dtype == np.float64


def test_each_fold_is_fitted_and_measured_apart_from_its_rows(iris, validated):
    """As a loop over folds does it, with rows taken out instead of weighed."""
    (x, labels), (found, dealt) = iris, validated
    for place, l2 in enumerate(L2S):
        for fold in range(3):
            out = dealt == fold
            alone = cross_validation.path(x[~out], labels[~out], [l2], tol=TOL)
            p = Params(*(array[0, 0] for array in alone.params))
            for scores, rows in ((found.train, ~out), (found.validation, out)):
                logits = params.logits(p, x[rows])
                loss = np.mean(losses.softmax_cross_entropy(logits, labels[rows]))
                # Parameters are known to the square root of the gap.
                np.testing.assert_allclose(scores.loss[place, fold], loss, rtol=1e-4)
                predicted = np.argmax(np.asarray(logits), axis=1)
                right = np.mean(predicted == labels[rows])
                assert scores.accuracy[place, fold] == pytest.approx(right, abs=1e-12)
            objective = found.info.objective[place, fold]
            np.testing.assert_allclose(
                objective, alone.info.objective[0, 0], rtol=SAME_OBJECTIVE
            )


def test_each_row_has_the_scores_of_the_fold_that_holds_it_out(iris, validated):
    (x, labels), (found, dealt) = iris, validated
    assert found.rows.loss.shape == found.rows.right.shape == (3, len(labels))
    for place, l2 in enumerate(L2S):
        logits = np.empty((len(labels), 3))
        for fold in range(3):
            out = dealt == fold
            alone = cross_validation.path(x[~out], labels[~out], [l2], tol=TOL)
            W, b = (array[0, 0] for array in alone.params)
            logits[out] = x[out] @ W + b
        values = np.asarray(losses.softmax_cross_entropy(logits, labels))
        # Parameters are known to the square root of the gap.
        np.testing.assert_allclose(found.rows.loss[place], values, rtol=1e-2, atol=1e-4)
        right = np.argmax(logits, axis=1) == labels
        assert np.mean(found.rows.right[place] == right) > 0.99
        scale = calibration.fit_temperature(logits, labels)
        assert found.rows.temperature[place] == pytest.approx(scale, rel=1e-3)


def test_the_last_lane_is_fitted_to_all_rows(iris, validated):
    (x, labels), (found, _) = iris, validated
    weights = np.ones((LANES, len(labels)))
    alone = cross_validation.path(x, labels, L2S, weights=weights, tol=TOL)
    np.testing.assert_allclose(
        found.info.objective[:, -1], alone.info.objective[:, 0], rtol=SAME_OBJECTIVE
    )
    proof = certificate.certify(
        Params(found.params.W, found.params.b), x, labels, found.l2
    )
    # What the solver says of an objective may be above it, by less than its gap.
    np.testing.assert_allclose(found.info.objective[:, -1], proof.objective, rtol=TOL)
    penalty = 0.5 * found.l2 * np.sum(found.params.W**2, axis=(1, 2))
    np.testing.assert_allclose(
        found.train.loss[:, -1], proof.objective - penalty, rtol=SAME_OBJECTIVE
    )


def test_curves_are_means_with_standard_errors_over_folds(validated):
    found, _ = validated
    for curve, scores in zip(
        (found.loss, found.accuracy, found.loss_calibrated),
        found.validation,
        strict=True,
    ):
        assert scores.shape == (3, 3)
        np.testing.assert_allclose(curve.mean, scores.mean(axis=1), rtol=1e-15)
        error = np.sqrt(np.sum((scores - curve.mean[:, None]) ** 2, axis=1) / 2 / 3)
        np.testing.assert_allclose(curve.standard_error, error, rtol=1e-12, atol=1e-17)


def test_scores_are_float64_though_the_process_has_none(iris, validated):
    (x, labels), (found, dealt) = iris, validated
    x = x.astype(np.float32)
    lane = Params(found.params.W[:1], found.params.b[:1])
    with jax.enable_x64(False):
        scores = held_out.scores(lane, x, labels, dealt[None] == 1)
    logits = x[dealt == 1].astype(np.float64) @ lane.W[0] + lane.b[0]
    losses = np.log(np.sum(np.exp(logits), axis=1))
    losses -= logits[np.arange(len(logits)), labels[dealt == 1]]
    np.testing.assert_allclose(scores.loss, [np.mean(losses)], rtol=1e-12)
    assert scores.loss.dtype == scores.accuracy.dtype == np.float64


def test_a_number_of_folds_is_dealt_class_by_class(iris, validated):
    x, labels = iris
    found = cross_validation.cross_validate(x, labels, L2S, 3, seed=5, tol=TOL)
    np.testing.assert_array_equal(found.validation.loss, validated[0].validation.loss)
    other = cross_validation.cross_validate(x, labels, L2S, 3, seed=6, tol=TOL)
    assert not np.allclose(found.validation.loss, other.validation.loss, rtol=1e-3)


def test_a_fold_that_has_all_of_a_class_has_an_infinite_loss_and_harms_no_other(iris):
    x, labels = iris
    dealt = np.where(labels == 2, 2, np.arange(len(labels)) % 2)
    found = cross_validation.cross_validate(x, labels, [0.1], dealt)
    assert np.isinf(found.validation.loss[0]).tolist() == [False, False, True]
    assert found.validation.accuracy[0, 2] == 0.0
    assert np.isfinite(found.train.loss).all()
    # No temperature makes the probability of an absent class more than 0.
    assert np.isnan(found.rows.temperature[0])
    assert np.isinf(found.rows.loss[0]).sum() == np.sum(labels == 2)
    with pytest.raises(
        ValueError, match=r"found 0 of 1 penalties .* fits that are converged;"
    ):
        cross_validation.choose(found)


def lonely(iris):
    """Iris, and one row of a fourth class."""
    x, labels = iris
    return np.concatenate([x, [[9.0, 0.0, 0.0, 9.0]]]), np.append(labels, 3)


def test_the_only_row_of_a_class_trains_every_fold_and_is_scored_by_none(iris):
    x, labels = lonely(iris)
    with pytest.warns(UserWarning, match=r"no row of 1 class, .*: 3 \(1 row\)$"):
        found = cross_validation.cross_validate(
            x, labels, [0.1, 0.01], 3, seed=5, tol=TOL
        )
    assert found.held_out.tolist() == (labels < 3).tolist()
    dealt = folds_lib.assign(labels, 3, seed=5)
    for fold in range(3):
        rows = dealt != fold
        alone = cross_validation.path(x[rows], labels[rows], [0.1], tol=TOL)
        logits = x[~rows] @ alone.params.W[0, 0] + alone.params.b[0, 0]
        values = np.log(np.exp(logits).sum(axis=1))
        values -= logits[np.arange(len(logits)), labels[~rows]]
        np.testing.assert_allclose(found.validation.loss[0, fold], values.mean(), 1e-5)
    assert np.isnan(found.rows.loss[:, -1]).all()
    assert np.isfinite(found.rows.loss[:, :-1]).all()
    assert np.isfinite(found.rows.temperature).all()
    cross_validation.choose(found)


def test_the_only_row_of_a_class_is_not_left_out(iris):
    x, labels = lonely(iris)
    with pytest.warns(UserWarning, match=r"no row of 1 class, .*: 3 \(1 row\)$"):
        found = cross_validation.leave_one_out(x, labels, [0.1], tol=TOL)
    losses_of_rows = found.rows.loss[0]
    assert np.isnan(losses_of_rows).tolist() == (labels == 3).tolist()
    own = losses_of_rows[found.held_out]
    np.testing.assert_allclose(found.loss.mean[0], own.mean(), rtol=1e-12)
    error = own.std(ddof=1) / np.sqrt(len(own))
    np.testing.assert_allclose(found.loss.standard_error[0], error, rtol=1e-12)
    share = found.rows.right[0][found.held_out].mean()
    np.testing.assert_allclose(found.accuracy.mean[0], share, rtol=1e-12)
    assert np.isfinite(found.rows.temperature).all()
    # A fit without one of the others, on the same penalty in all.
    kept = np.arange(len(labels)) != 70
    l2 = 0.1 * len(labels) / kept.sum()
    without = cross_validation.path(x[kept], labels[kept], [l2], tol=TOL).params
    logits = x[70] @ without.W[0, 0] + without.b[0, 0]
    value = np.log(np.exp(logits).sum()) - logits[labels[70]]
    np.testing.assert_allclose(losses_of_rows[70], value, rtol=1e-2)


def test_rows_none_of_which_can_be_left_out_are_refused(iris):
    x, _ = iris
    with pytest.raises(ValueError, match="3 classes of one row each"):
        cross_validation.leave_one_out(x[:3], np.arange(3), [0.1])
    with pytest.raises(ValueError, match="folds is 2; 0 rows are of classes with two"):
        cross_validation.cross_validate(x[:3], np.arange(3), [0.1], 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_to_all_rows_is_that_of_scikit_learn(name, compared):
    """Class order, intercept and C = 1 / (l2 n) among them."""
    x, labels, _, found = compared(name)
    classes = len(np.unique(labels))
    for place, l2 in enumerate(found.l2):
        model = LogisticRegression(
            C=regularization.inverse_strength(l2, len(labels), classes), **EXACT
        ).fit(x, labels)
        assert model.classes_.tolist() == list(range(classes))
        theirs = from_scikit_learn(model.coef_, model.intercept_)
        assert_same_objective(found, (place, -1), theirs, x, labels)
        W, b = (array[place] for array in found.params)
        np.testing.assert_allclose(W, theirs.W[0], atol=1e-4)
        np.testing.assert_allclose(b - b.mean(), theirs.b[0], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_folds_and_choice_are_those_of_scikit_learn(name, compared):
    x, labels, dealt, found = compared(name)
    count, classes = len(labels), len(np.unique(labels))
    split = [(np.flatnonzero(dealt != f), np.flatnonzero(dealt == f)) for f in range(3)]
    cv = LogisticRegressionCV(
        Cs=[regularization.inverse_strength(l2, count, classes) for l2 in found.l2],
        l1_ratios=(0.0,),
        cv=split,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        **EXACT,
    ).fit(x, labels)
    for fold, (rows, _) in enumerate(split):
        # Their C is the same in each fold, so that their l2 depends on its rows.
        there = cross_validation.cross_validate(
            x, labels, found.l2 * (count / len(rows)), dealt, tol=TOL
        )
        for place, coefficients in enumerate(cv.coefs_paths_[fold, 0]):
            theirs = from_scikit_learn(coefficients[:, :-1], coefficients[:, -1])
            assert_same_objective(there, (place, fold), theirs, x, labels, dealt)
        losses = -cv.scores_[fold, 0]
        np.testing.assert_allclose(there.validation.loss[:, fold], losses, rtol=1e-4)
    best = cross_validation.choose(found).min
    strength = regularization.inverse_strength(found.l2[best], count, classes)
    assert pytest.approx(strength, rel=1e-12) == cv.C_
    theirs = from_scikit_learn(cv.coef_, cv.intercept_)
    assert_same_objective(found, (best, -1), theirs, x, labels)


@pytest.fixture(scope="module")
def compared():
    """Returns data, folds and a cross-validation by name, each computed once."""

    @functools.cache
    def compute(name):
        x, labels = standardized(name)
        dealt = folds_lib.assign(labels, 3, seed=0)
        found = cross_validation.cross_validate(x, labels, [1.0, 0.1], dealt, tol=TOL)
        return x, labels, dealt, found

    return compute


def assert_same_objective(found, at, theirs, x, labels, dealt=None):
    """Holds a fit against parameters of other origin; the last lane has all rows."""
    place, lane = at
    seen = None if lane == -1 else dealt != lane
    proof = certificate.certify(theirs, x, labels, found.l2[[place]], seen)
    np.testing.assert_allclose(
        proof.objective[0], found.info.objective[at], rtol=SAME_OBJECTIVE
    )


def from_scikit_learn(coef, intercept) -> Params:
    """Returns one lane; of two classes scikit-learn keeps the difference alone."""
    W, b = coef.T, intercept
    if len(b) == 1:
        W, b = np.concatenate([-W, W], axis=1) / 2, np.array([-b[0], b[0]]) / 2
    return Params(W[None], b[None] - np.mean(b))


def made(l2, loss, error, ends=status.CONVERGED, **others):
    """A cross-validation of which only what a choice looks at is there."""
    count = len(l2)
    empty = np.empty((count, 0))
    statuses = np.full((count, 2), status.CONVERGED, "U20")
    statuses[:, 0] = ends  # a single bad lane is enough
    info = status.Info(*[np.zeros((count, 2))] * 6, statuses)
    curve = Curve(np.array(loss), np.array(error))
    curves = {name: curve for name in ("loss", "accuracy", "loss_calibrated")}
    for name, values in others.items():
        curves[name] = Curve(np.array(values), np.array(error))
    return cross_validation.CrossValidation(
        np.array(l2),
        Params(empty, empty),
        info,
        Scores(empty, empty),
        FoldScores(empty, empty, empty),
        **curves,
        rows=RowScores(empty, empty, np.empty(count), empty),
        held_out=np.ones(0, bool),
    )


def test_the_strongest_penalty_within_one_standard_error_is_the_second_choice():
    l2 = [1e-3, 1e-2, 1e-1, 1.0]
    found = made(l2, [0.5, 0.30, 0.33, 0.36], [0.9, 0.05, 0.01, 0.9])
    assert cross_validation.choose(found)[:2] == (1, 2)
    found = made(l2[::-1], [0.36, 0.33, 0.30, 0.5], [0.9, 0.01, 0.05, 0.9])
    assert cross_validation.choose(found)[:2] == (2, 1)
    assert cross_validation.choose(made(l2, [0.5, 0.3, 0.3, 0.3], [0.0] * 4))[:2] == (
        3,
        3,
    )


@pytest.mark.parametrize(
    "bad", [status.MAX_STEPS, status.NO_FINITE_OPTIMUM, status.INVALID]
)
def test_a_fit_that_did_not_end_well_is_never_chosen(bad):
    good = status.STALLED
    found = made([0.1, 1.0], [0.1, 0.5], [1.0, 1.0], ends=[bad, good])
    assert cross_validation.choose(found)[:2] == (1, 1)
    found = made([0.1, 1.0], [0.5, 0.1], [1.0, 1.0], ends=[good, bad])
    assert cross_validation.choose(found)[:2] == (0, 0)
    with pytest.raises(ValueError, match=f"fits that are converged, {bad};"):
        cross_validation.choose(made([1.0], [0.1], [0.1], ends=[bad]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "^folds is 1; expected at least 2"),
        ({"folds": 151}, "^folds is 151; 150 rows are of classes with"),
        ({"folds": np.zeros(150, int)}, "folds goes up to 0; expected at least two"),
        ({"folds": np.arange(150) % 2 * 2}, "up to 2, and no row in fold 1; expected"),
        ({"folds": np.arange(149) % 2}, r"folds has shape \(149,\); expected \(150,\)"),
        ({"folds": np.arange(150) - 2}, r"folds\[0\] = -2; expected integers in 0"),
        ({"folds": np.arange(150) % 2 / 1}, "folds has dtype float64; expected int"),
        ({"labels": np.eye(3)[np.arange(150) % 3]}, r"labels has shape \(150, 3\)"),
        ({"l2s": [0.1, 0.1]}, "l2s holds a value twice"),
        ({"l2s": [-0.1]}, "l2 of lane 0 is -0.1"),
        ({"l2s": []}, r"l2 has shape \(0,\)"),
        ({"tol": 0.0}, "tol is 0.0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_compiled(
    changes, message, iris, monkeypatch
):
    monkeypatch.setattr(continuation, "_points", None)
    x, labels = iris
    given = {"labels": labels, "l2s": [0.1], "folds": 3, **changes}
    with pytest.raises(ValueError, match=message):
        cross_validation.cross_validate(x, **given)


def test_a_leave_one_out_too_large_is_refused_before_the_first_fit(monkeypatch):
    def never(*_, **__):
        raise AssertionError("a penalty was solved")

    monkeypatch.setattr(continuation.newton, "minimize", never)
    x = np.random.default_rng(0).normal(size=(210, 220))
    with pytest.raises(ValueError, match=r"20790 unknowns.* 9\.7 GiB.* 8\.0 GiB"):
        cross_validation.leave_one_out(x, np.arange(210) % 100, [0.1])
