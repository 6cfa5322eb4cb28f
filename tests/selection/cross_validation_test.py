"""Cross-validation: the numbers of a loop over folds or rows, and of scikit-learn."""

import functools

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

L2S = (1e-3, 1.0, 1e-2)  # in no order
FOLDS = 3
NAMES = ("iris", "breast_cancer", "digits")
# Both are solved far beyond what their objectives are compared to.
TOL = 1e-10
SAME_OBJECTIVE = 1e-8
# Parameters, and with them the losses of rows, are known to the square root of the gap.
SAME_LOSS = {"rtol": 1e-4, "atol": 1e-5}
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
    fold = folds_lib.assign(labels, FOLDS, seed=5)
    return cross_validation.cross_validate(x, labels, L2S, fold, tol=TOL), fold


def row_losses(logits, labels):
    return -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]


def test_each_fold_is_fitted_and_scored_apart_from_its_rows(iris, validated):
    """As a loop over folds does it, with rows taken out instead of weighed."""
    (x, labels), (results, fold) = iris, validated
    logits = np.empty((FOLDS, len(L2S), len(labels), 3))
    for f in range(FOLDS):
        alone = path.path(x[fold != f], labels[fold != f], L2S, tol=TOL)
        logits[f] = x @ alone.params.W[:, 0] + alone.params.b[:, :1]
        np.testing.assert_allclose(
            results.info.objective[:, f],
            alone.info.objective[:, 0],
            rtol=SAME_OBJECTIVE,
        )
    for k in range(len(L2S)):
        for f in range(FOLDS):
            loss, right = row_losses(logits[f, k], labels), logits[f, k].argmax(axis=1)
            for scores, rows in (
                (results.train, fold != f),
                (results.validation, fold == f),
            ):
                np.testing.assert_allclose(scores.loss[k, f], loss[rows].mean(), 1e-4)
                share = np.mean(right[rows] == labels[rows])
                assert scores.accuracy[k, f] == pytest.approx(share, abs=1e-12)
        # Each row has the loss of the fit that holds it out.
        own = logits[fold, k, np.arange(len(labels))]
        np.testing.assert_allclose(
            results.rows.loss[k], row_losses(own, labels), **SAME_LOSS
        )
        loss = row_losses(own / results.rows.temperature[k], labels)
        np.testing.assert_allclose(results.rows.calibrated[k], loss, **SAME_LOSS)
    means = results.validation.loss.mean(axis=1)
    np.testing.assert_allclose(results.loss.mean, means, rtol=1e-12)


def test_a_number_of_folds_is_dealt_class_by_class(iris, validated):
    x, labels = iris
    results = cross_validation.cross_validate(x, labels, L2S, 3, seed=5, tol=TOL)
    np.testing.assert_array_equal(results.validation.loss, validated[0].validation.loss)
    other = cross_validation.cross_validate(x, labels, L2S, 3, seed=6, tol=TOL)
    assert not np.allclose(results.validation.loss, other.validation.loss, rtol=1e-3)


def test_a_fold_that_has_all_of_a_class_has_an_infinite_loss_and_harms_no_other(iris):
    x, labels = iris
    fold = np.where(labels == 2, 2, np.arange(len(labels)) % 2)
    results = cross_validation.cross_validate(x, labels, [0.1], fold)
    assert np.isinf(results.validation.loss[0]).tolist() == [False, False, True]
    assert results.validation.accuracy[0, 2] == 0.0
    assert np.isfinite(results.train.loss).all()
    # No temperature makes the probability of an absent class more than 0.
    assert np.isnan(results.rows.temperature[0])
    with pytest.raises(ValueError, match="no setting has a finite val_loss; expected"):
        cross_validation.choose(results)
    assert cross_validation.choose(results, "val_accuracy").best == 0


def lonely(iris):
    """Returns iris, and one row of a fourth class."""
    x, labels = iris
    return np.concatenate([x, [[9.0, 0.0, 0.0, 9.0]]]), np.append(labels, 3)


def test_the_only_row_of_a_class_trains_every_fold_and_is_scored_by_none(iris):
    x, labels = lonely(iris)
    with pytest.warns(UserWarning, match=r"no row of 1 class, .*: 3 \(1 row\)$"):
        results = cross_validation.cross_validate(
            x, labels, [0.1, 0.01], 3, seed=5, tol=TOL
        )
    assert results.held_out.tolist() == (labels < 3).tolist()
    assert np.isnan(results.rows.loss[:, -1]).all()
    assert np.isfinite(results.rows.loss[:, :-1]).all()
    assert np.isfinite(results.rows.temperature).all()
    cross_validation.choose(results)


@pytest.fixture(scope="module")
def few(iris):
    return lonely(tuple(array[::5] for array in iris))


@pytest.fixture(scope="module")
def left_out(few):
    with pytest.warns(UserWarning, match=r"no row of 1 class, .*: 3 \(1 row\)$"):
        return cross_validation.leave_one_out(*few, [0.1, 1.0], tol=TOL)


def test_leave_one_out_is_that_of_all_refits_and_leaves_no_class_out(few, left_out):
    """Each refit has the same penalty in all: ``l2`` times the number of rows."""
    x, labels = few
    assert left_out.validation.loss.shape == (2, 0)
    count = len(labels)
    kept = 1.0 - np.eye(count)[:-1]  # all but the last row, which is alone
    l2s = left_out.l2 * count / (count - 1)
    refits = path.path(x, labels, l2s, weights=kept, tol=TOL).params
    for k in range(2):
        logits = np.einsum("nd,ndc->nc", x[:-1], refits.W[k]) + refits.b[k]
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
    assert left_out.held_out.tolist() == (labels < 3).tolist()


def test_rows_none_of_which_can_be_left_out_are_refused(iris):
    x, _ = iris
    with pytest.raises(ValueError, match="3 classes of one row each"):
        cross_validation.leave_one_out(x[:3], np.arange(3), [0.1])
    with pytest.raises(ValueError, match="folds is 2; 0 rows are of classes with two"):
        cross_validation.cross_validate(x[:3], np.arange(3), [0.1], 2)


def test_calibrated_losses_do_not_mind_that_a_strong_penalty_makes_logits_small():
    """Far more features than the rows can tell of: the best penalty is a strong one."""
    means = np.random.default_rng(1).normal(scale=0.5, size=(4, 40))

    def gaussian(seed, rows):
        noise = np.random.default_rng(seed).normal(size=(rows, 40))
        labels = np.arange(rows) % 4
        return means[labels] + noise, labels

    (x, labels), (test_x, test_labels) = gaussian(2, 240), gaussian(3, 4000)
    fold = np.arange(240) // 4 % 3
    results = cross_validation.cross_validate(x, labels, np.logspace(1, -4, 6), fold)
    accuracies, l2s = [], []
    for metric in ("val_loss", "val_loss_calibrated"):
        best = cross_validation.choose(results, metric).best
        logits = test_x @ results.params.W[best] + results.params.b[best]
        accuracies.append(np.mean(np.argmax(logits, axis=1) == test_labels))
        l2s.append(results.l2[best])
    assert l2s[1] > l2s[0]
    assert accuracies[1] > accuracies[0] + 0.005


@pytest.fixture(scope="module")
def compared():
    """Returns data, folds and a cross-validation by name, each computed once."""

    @functools.cache
    def compute(name):
        x, labels = standardized(name)
        fold = folds_lib.assign(labels, FOLDS, seed=0)
        results = cross_validation.cross_validate(x, labels, [1.0, 0.1], fold, tol=TOL)
        return x, labels, fold, results

    return compute


def assert_same_objective(results, at, theirs, x, labels, fold=None):
    """Holds a fit against parameters of other origin; the last lane has all rows."""
    index, lane = at
    weights = None if lane == -1 else fold != lane
    proof = certificate.certify(theirs, x, labels, results.l2[[index]], weights)
    np.testing.assert_allclose(
        proof.objective[0], results.info.objective[at], rtol=SAME_OBJECTIVE
    )


def from_scikit_learn(coef, intercept) -> Params:
    """Returns one lane; of two classes scikit-learn keeps the difference alone."""
    W, b = coef.T, intercept
    if len(b) == 1:
        W, b = np.concatenate([-W, W], axis=1) / 2, np.array([-b[0], b[0]]) / 2
    return Params(W[None], b[None] - np.mean(b))


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_to_all_rows_is_that_of_scikit_learn(name, compared):
    """Class order, intercept and C = 1 / (l2 n) among them."""
    x, labels, _, results = compared(name)
    classes = len(np.unique(labels))
    for index, l2 in enumerate(results.l2):
        model = LogisticRegression(
            C=regularization.inverse_strength(l2, len(labels), classes), **EXACT
        ).fit(x, labels)
        assert model.classes_.tolist() == list(range(classes))
        theirs = from_scikit_learn(model.coef_, model.intercept_)
        assert_same_objective(results, (index, -1), theirs, x, labels)
        W, b = (array[index] for array in results.params)
        np.testing.assert_allclose(W, theirs.W[0], atol=1e-4)
        np.testing.assert_allclose(b - b.mean(), theirs.b[0], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_folds_and_choice_are_those_of_scikit_learn(name, compared):
    x, labels, fold, results = compared(name)
    count, classes = len(labels), len(np.unique(labels))
    split = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]
    cv = LogisticRegressionCV(
        Cs=[regularization.inverse_strength(l2, count, classes) for l2 in results.l2],
        l1_ratios=(0.0,),
        cv=split,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        **EXACT,
    ).fit(x, labels)
    for f, (rows, _) in enumerate(split):
        # Their C is the same in each fold, so that their l2 depends on its rows.
        there = cross_validation.cross_validate(
            x, labels, results.l2 * (count / len(rows)), fold, tol=TOL
        )
        for index, coefficients in enumerate(cv.coefs_paths_[f, 0]):
            theirs = from_scikit_learn(coefficients[:, :-1], coefficients[:, -1])
            assert_same_objective(there, (index, f), theirs, x, labels, fold)
        losses = -cv.scores_[f, 0]
        np.testing.assert_allclose(there.validation.loss[:, f], losses, rtol=1e-4)
    best = cross_validation.choose(results).best
    strength = regularization.inverse_strength(results.l2[best], count, classes)
    assert pytest.approx(strength, rel=1e-12) == cv.C_
    theirs = from_scikit_learn(cv.coef_, cv.intercept_)
    assert_same_objective(results, (best, -1), theirs, x, labels)


def test_both_rules_are_those_of_a_study(validated, left_out):
    for results in (validated[0], left_out):
        for metric, curve, sign in (
            ("val_loss", results.loss, 1),
            ("val_accuracy", results.accuracy, -1),
            ("val_loss_calibrated", results.loss_calibrated, 1),
        ):
            costs = sign * curve.mean
            best = np.flatnonzero(costs == costs.min())
            best = best[np.argmax(results.l2[best])]
            within = costs <= costs[best] + curve.standard_error[best]
            strongest = np.argmax(np.where(within, results.l2, 0.0))
            assert cross_validation.choose(results, metric)[:2] == (best, strongest)
    # Where no error is known both rules take the best; of equal ones the stronger.
    unknown = left_out.loss._replace(standard_error=np.full(2, np.nan))
    results = left_out._replace(loss=unknown)
    assert cross_validation.choose(results) == Choices(0, 0, ())
    for other, choices in ((0.3, (1, 1, (0,))), (0.35, (0, 1, ())), (0.45, (0, 0, ()))):
        curve = Curve(np.array([0.3, other]), np.array([0.1, 9.0]))
        results = left_out._replace(loss=curve)
        assert cross_validation.choose(results) == choices
    with pytest.raises(ValueError, match="metric is 'loss'; expected one of val_los"):
        cross_validation.choose(results, "loss")


def test_a_penalty_with_a_fit_that_did_not_end_well_is_never_chosen(validated):
    results, _ = validated
    best = cross_validation.choose(results).best
    for lane in range(FOLDS + 1):  # the fit to all rows among them
        statuses = results.info.status.astype("U32")
        statuses[best, lane] = status.MAX_STEPS
        changed = results._replace(info=results.info._replace(status=statuses))
        assert cross_validation.choose(changed).best != best
    statuses[:] = status.MAX_STEPS
    changed = results._replace(info=results.info._replace(status=statuses))
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
        ({"l2s": [-0.1]}, "l2 of lane 0 is -0.1"),
        ({"l2s": []}, r"l2 has shape \(0,\)"),
        ({"tol": 0.0}, "tol is 0.0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_compiled(
    changes, message, iris, monkeypatch
):
    monkeypatch.setattr(path, "_points", None)
    x, labels = iris
    given = {"labels": labels, "l2s": [0.1], "folds": 3, **changes}
    with pytest.raises(ValueError, match=message):
        cross_validation.cross_validate(x, **given)


def test_a_leave_one_out_too_large_is_refused_before_the_first_fit(monkeypatch):
    def never(*_, **__):
        raise AssertionError("a penalty was solved")

    monkeypatch.setattr(path.newton, "minimize", never)
    x = np.random.default_rng(0).normal(size=(210, 220))
    with pytest.raises(ValueError, match=r"20790 unknowns.* 9\.7 GiB.* 8\.0 GiB"):
        cross_validation.leave_one_out(x, np.arange(210) % 100, [0.1])
