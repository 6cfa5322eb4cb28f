"""Cross-validation: the numbers of a loop over folds or rows, and of scikit-learn."""

import numpy as np
import pytest
from scipy import special
from sklearn import datasets as bundled
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from linclf_jax import regularization
from linclf_jax.exact import certificate, path, status
from linclf_jax.params import Params
from linclf_jax.selection import cross_validation
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection.cross_validation import Choices
from linclf_jax.selection.row_scores import Curve
from tests import reference_solver

L2S = (1e-2, 1.0, 0.1)  # in no order
FOLDS = 3
# Both are solved far beyond what their objectives are compared to.
TOL = 1e-10
SAME_OBJECTIVE = 1e-8
# Parameters, and with them the losses of rows, are known to the square root of the gap.
SAME_LOSS = {"rtol": 1e-4, "atol": 1e-5}
EXACT = {"solver": "newton-cg", "tol": 1e-11, "max_iter": 1000}

X, LABELS = bundled.load_iris(return_X_y=True)
X = (X - np.mean(X, axis=0)) / np.std(X, axis=0)
FOLD = folds_lib.assign(LABELS, FOLDS, seed=5)
# Iris of two classes, and one row of a third.
LONELY = np.where(LABELS == 2, 1, LABELS)
LONELY[-1] = 2


def cross_validate(labels=LABELS, l2s=L2S, fold=FOLD, certify="all", **options):
    options["certify"] = certify
    return cross_validation.cross_validate(X, labels, l2s, fold, tol=TOL, **options)


@pytest.fixture(scope="module")
def validated():
    return cross_validate()


def row_losses(logits, labels):
    return -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]


def test_each_fold_is_fitted_and_scored_apart_from_its_rows(validated):
    """As a loop over folds does it, with rows taken out instead of weighed."""
    for k, l2 in enumerate(L2S):
        logits = np.empty((FOLDS, len(LABELS), 3))
        for f in range(FOLDS):
            seen = f != FOLD
            W, b, objective = reference_solver.solve(X[seen], LABELS[seen], l2)
            logits[f] = X @ W + b
            np.testing.assert_allclose(
                validated.info.objective[k, f], objective, rtol=SAME_OBJECTIVE
            )
            loss, right = row_losses(logits[f], LABELS), logits[f].argmax(axis=1)
            for scores, rows in (
                (validated.train, seen),
                (validated.validation, ~seen),
            ):
                np.testing.assert_allclose(scores.loss[k, f], loss[rows].mean(), 1e-4)
                share = np.mean(right[rows] == LABELS[rows])
                assert scores.accuracy[k, f] == pytest.approx(share, abs=1e-12)
        # Each row has the loss of the fit that holds it out.
        own = logits[FOLD, np.arange(len(LABELS))]
        for values, scale in (
            (validated.rows.loss, 1.0),
            (validated.rows.calibrated, validated.rows.temperature[k]),
        ):
            expected = row_losses(own / scale, LABELS)
            np.testing.assert_allclose(values[k], expected, **SAME_LOSS)
    means = validated.validation.loss.mean(axis=1)
    np.testing.assert_allclose(validated.loss.mean, means, rtol=1e-12)


def test_a_fold_that_has_all_of_a_class_has_an_infinite_loss_and_harms_no_other():
    fold = np.where(LABELS == 2, 2, np.arange(len(LABELS)) % 2)
    results = cross_validate(l2s=[0.1], fold=fold)
    assert np.isinf(results.validation.loss[0]).tolist() == [False, False, True]
    assert results.validation.accuracy[0, 2] == 0.0
    assert np.isfinite(results.train.loss).all()
    # No temperature makes the probability of an absent class more than 0.
    assert np.isnan(results.rows.temperature[0])
    with pytest.raises(ValueError, match="no setting has a finite val_loss; expected"):
        cross_validation.choose(results)
    assert cross_validation.choose(results, "val_accuracy").best == 0


def test_the_only_row_of_a_class_trains_every_fold_and_is_scored_by_none():
    with pytest.warns(UserWarning, match=r"no row of 1 class, .*: 2 \(1 row\)$"):
        results = cross_validate(LONELY, fold=3, seed=5)
    # A number of folds is assigned class by class, by the seed.
    fold = folds_lib.assign(LONELY, 3, seed=5)
    losses = cross_validate(LONELY, fold=fold).validation.loss
    np.testing.assert_array_equal(results.validation.loss, losses)
    assert results.held_out.tolist() == (LONELY < 2).tolist()
    assert np.isnan(results.rows.loss[:, -1]).all()
    assert np.isfinite(results.rows.loss[:, :-1]).all()
    assert np.isfinite(results.rows.temperature).all()
    cross_validation.choose(results)


FEW, FEW_LABELS = X[4::5], LONELY[4::5]  # the lonely row is the last


@pytest.fixture(scope="module")
def left_out():
    with pytest.warns(UserWarning, match=r"no row of 1 class, .*: 2 \(1 row\)$"):
        return cross_validation.leave_one_out(FEW, FEW_LABELS, [0.1, 1.0], tol=TOL)


def test_leave_one_out_is_that_of_all_refits_and_leaves_no_class_out(left_out):
    """Each refit has the same penalty in all: ``l2`` times the number of rows."""
    x, labels, count = FEW, FEW_LABELS, len(FEW)
    assert left_out.validation.loss.shape == (2, 0)
    for k, l2 in enumerate(left_out.l2 * count / (count - 1)):
        logits = np.empty((count - 1, 3))
        for i in range(count - 1):
            kept = np.arange(count) != i
            W, b, _ = reference_solver.solve(x[kept], labels[kept], l2)
            logits[i] = x[i] @ W + b
        loss = row_losses(logits, labels[:-1])
        # One Newton step is near the refit; far nearer than the fit to all rows.
        error = np.abs(left_out.rows.loss[k, :-1] - loss).max()
        fit = x @ left_out.params.W[k] + left_out.params.b[k]
        assert error < 0.1 * np.abs(row_losses(fit, labels)[:-1] - loss).max()
        right = np.argmax(logits, axis=1) == labels[:-1]
        np.testing.assert_array_equal(left_out.rows.correct[k, :-1], right)
        np.testing.assert_allclose(left_out.accuracy.mean[k], right.mean(), rtol=1e-12)
        own = left_out.rows.loss[k, :-1]
        np.testing.assert_allclose(left_out.loss.mean[k], own.mean(), rtol=1e-12)
    assert np.isnan(left_out.rows.loss[:, -1]).all()
    assert left_out.held_out.tolist() == (labels < 2).tolist()


def test_rows_none_of_which_can_be_left_out_are_refused():
    with pytest.raises(ValueError, match="3 classes of one row each"):
        cross_validation.leave_one_out(X[:3], np.arange(3), [0.1])
    with pytest.raises(ValueError, match="folds is 2; 0 rows are of classes with two"):
        cross_validation.cross_validate(X[:3], np.arange(3), [0.1], 2)


def assert_same_objective(results, at, theirs, labels, weights=None):
    """Compares the objective of a fit with that of parameters of other origin."""
    index, _ = at
    proof = certificate.certify(theirs, X, labels, results.l2[[index]], weights)
    np.testing.assert_allclose(
        proof.objective[0], results.info.objective[at], rtol=SAME_OBJECTIVE
    )


def from_scikit_learn(coef, intercept) -> Params:
    """Returns one fit; of two classes scikit-learn keeps the difference alone."""
    W, b = coef.T, intercept
    if len(b) == 1:
        W, b = np.concatenate([-W, W], axis=1) / 2, np.array([-b[0], b[0]]) / 2
    return Params(W[None], b[None] - np.mean(b))


@pytest.mark.parametrize("classes", [2, 3])
def test_folds_and_choice_are_those_of_scikit_learn(classes, validated):
    """Class order, intercept and C = 1 / (l2 n) among them."""
    labels, count = (LABELS if classes == 3 else LABELS % 2), len(LABELS)
    results = validated if classes == 3 else cross_validate(labels)
    strengths = [
        regularization.inverse_strength(l2, count, classes) for l2 in results.l2
    ]
    for index, strength in enumerate(strengths):
        model = LogisticRegression(C=strength, **EXACT).fit(X, labels)
        theirs = from_scikit_learn(model.coef_, model.intercept_)
        assert_same_objective(results, (index, -1), theirs, labels)
        W, b = (array[index] for array in results.params)
        np.testing.assert_allclose(W, theirs.W[0], atol=1e-4)
        np.testing.assert_allclose(b - b.mean(), theirs.b[0], atol=1e-4)
    split = [(np.flatnonzero(f != FOLD), np.flatnonzero(f == FOLD)) for f in range(3)]
    cv = LogisticRegressionCV(
        Cs=strengths,
        l1_ratios=(0.0,),
        cv=split,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        **EXACT,
    ).fit(X, labels)
    # Their C is the same in each fold, so that their l2 depends on its rows.
    assert {len(rows) for rows, _ in split} == {100}
    there = cross_validate(labels, results.l2 * (count / 100))
    for f in range(FOLDS):
        for index, coefficients in enumerate(cv.coefs_paths_[f, 0]):
            theirs = from_scikit_learn(coefficients[:, :-1], coefficients[:, -1])
            assert_same_objective(there, (index, f), theirs, labels, f != FOLD)
        losses = -cv.scores_[f, 0]
        np.testing.assert_allclose(there.validation.loss[:, f], losses, rtol=1e-4)
    best = cross_validation.choose(results).best
    assert pytest.approx(strengths[best], rel=1e-12) == cv.C_


def test_both_rules_are_those_of_a_study(validated, left_out):
    for results in (validated, left_out):
        for metric, curve, sign in (
            ("val_loss", results.loss, 1),
            ("val_accuracy", results.accuracy, -1),
            ("val_loss_calibrated", results.loss_calibrated, 1),
        ):
            costs = sign * curve.mean
            best = np.lexsort((-results.l2, results.loss.mean, costs))[0]
            within = costs <= costs[best] + curve.standard_error[best]
            strongest = np.argmax(np.where(within, results.l2, 0.0))
            assert cross_validation.choose(results, metric)[:2] == (best, strongest)
    # Where no error is known both rules take the best; of equal ones the stronger.
    unknown = left_out.loss._replace(standard_error=np.full(2, np.nan))
    best = int(np.argmin(unknown.mean))
    results = left_out._replace(loss=unknown)
    assert cross_validation.choose(results) == Choices(best, best, ())
    for other, choices in ((0.3, (1, 1, (0,))), (0.35, (0, 1, ())), (0.45, (0, 0, ()))):
        curve = Curve(np.array([0.3, other]), np.array([0.1, 9.0]))
        results = left_out._replace(loss=curve)
        assert cross_validation.choose(results) == choices
    with pytest.raises(ValueError, match="metric is 'loss'; expected one of val_los"):
        cross_validation.choose(results, "loss")


def test_a_penalty_with_a_fit_that_did_not_end_well_is_never_chosen(validated):
    best = cross_validation.choose(validated).best
    for fit in range(FOLDS + 1):  # the fit to all rows among them
        statuses = validated.info.status.astype("U32")
        statuses[best, fit] = status.MAX_STEPS
        changed = validated._replace(info=validated.info._replace(status=statuses))
        assert cross_validation.choose(changed).best != best
    statuses[:] = status.MAX_STEPS
    changed = validated._replace(info=validated.info._replace(status=statuses))
    with pytest.raises(ValueError, match="trials ended as max_steps; try larger penal"):
        cross_validation.choose(changed)


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
        ({"labels": np.zeros((150, 1))}, r"\(150, 1\); .*: pass labels.ravel\(\)"),
        ({"l2s": [0.1, 0.1]}, "l2s holds a value twice"),
        ({"tol": 0.0}, "tol is 0.0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_compiled(
    changes, message, monkeypatch
):
    monkeypatch.setattr(path, "points", None)
    arguments = {"labels": LABELS, "l2s": [0.1], "folds": 3, **changes}
    with pytest.raises(ValueError, match=message):
        cross_validation.cross_validate(X, **arguments)


def test_a_leave_one_out_too_large_is_refused_before_the_first_fit(monkeypatch):
    monkeypatch.setattr(path.newton.descent, "minimize", None)
    x = np.random.default_rng(0).normal(size=(210, 220))
    with pytest.raises(ValueError, match=r"20790 unknowns.* 9\.7 GiB.* 8\.0 GiB"):
        cross_validation.leave_one_out(x, np.arange(210) % 100, [0.1])
