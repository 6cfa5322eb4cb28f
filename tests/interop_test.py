"""Classifiers in other libraries: the same predictions there, the same numbers back."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets as bundled
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.utils.validation import check_is_fitted

from linclf_jax import gradients, interop, params
from linclf_jax.params import Params
from tests.tolerances import CLOSED_FORM

NAMES = {2: ("no", "yes"), 3: ("ant", "bee", "cat"), 4: ("d", "a", "c", "b")}


def make(classes, dtype=np.float64):
    """As many features as classes for four of them: a silent transpose shows."""
    rng = np.random.default_rng(classes)
    W, b = rng.normal(size=(4, classes)), rng.normal(size=classes)
    return Params(jnp.asarray(W, dtype), jnp.asarray(b, dtype)), rng.normal(
        size=(30, 4)
    )


@pytest.mark.parametrize("classes", NAMES)
def test_scikit_learn_predicts_what_we_predict(classes):
    p, x = make(classes)
    model = interop.to_sklearn(p, NAMES[classes], C=0.5)
    check_is_fitted(model)
    assert isinstance(model, LogisticRegression)
    assert (model.C, model.n_features_in_, model.n_iter_.tolist()) == (0.5, 4, [0])
    names = np.array(NAMES[classes])
    assert model.classes_.tolist() == sorted(NAMES[classes])
    np.testing.assert_array_equal(model.predict(x), names[params.predict(p, x)])
    order = np.argsort(names)
    probs = np.asarray(params.predict_proba(p, x))[:, order]
    np.testing.assert_allclose(model.predict_proba(x), probs, **CLOSED_FORM)
    logits = np.asarray(params.logits(p, x))[:, order]
    scores = logits[:, 1] - logits[:, 0] if classes == 2 else logits
    np.testing.assert_allclose(model.decision_function(x), scores, **CLOSED_FORM)
    assert model.coef_.shape == ((1, 4) if classes == 2 else (classes, 4))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64])
def test_there_and_back_predictions_classes_and_dtype_are_the_same(classes, dtype):
    p, x = make(classes, dtype)
    wide = np.float64 if dtype == np.float64 else np.float32
    p, model = p._replace(W=p.W.astype(wide)), interop.to_sklearn(p, NAMES[classes])
    assert model.coef_.dtype == model.intercept_.dtype == wide
    back, names = interop.from_sklearn(model)
    assert names.tolist() == sorted(NAMES[classes])
    assert (back.W.shape, back.W.dtype) == (p.W.shape, wide)
    probs = params.predict_proba(p, x)[:, np.argsort(NAMES[classes])]
    # Centring two columns rounds them once more.
    close = CLOSED_FORM if wide == np.float64 else {"rtol": 1e-5}
    np.testing.assert_allclose(params.predict_proba(back, x), probs, **close)


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_what_scikit_learn_fitted_predicts_the_same_here(name):
    x, labels = getattr(bundled, f"load_{name}")(return_X_y=True)
    x, labels = x / x.max(axis=0), 3 * labels - 1  # no classes 0, 1, 2
    model = LogisticRegression(C=10.0).fit(x, labels)
    p, classes = interop.from_sklearn(model)
    np.testing.assert_array_equal(classes, np.unique(labels))
    np.testing.assert_array_equal(classes[params.predict(p, x)], model.predict(x))
    probs = params.predict_proba(p, x)
    np.testing.assert_allclose(probs, model.predict_proba(x), **CLOSED_FORM)
    again = interop.to_sklearn(p, classes)
    np.testing.assert_allclose(again.coef_, model.coef_, **CLOSED_FORM)
    np.testing.assert_allclose(again.intercept_, model.intercept_, **CLOSED_FORM)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_that_no_fit_has_seen_has_no_probability_there_and_back(classes):
    p, x = make(classes)
    model = interop.to_sklearn(p._replace(b=p.b.at[0].set(-jnp.inf)), range(classes))
    assert (model.predict_proba(x)[:, 0] == 0).all()
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1, **CLOSED_FORM)
    assert 0 not in model.predict(x)
    back, _ = interop.from_sklearn(model)
    np.testing.assert_array_equal(params.predict_proba(back, x)[:, 0], 0.0)
    interop.to_sklearn(back, range(classes))


@pytest.mark.parametrize(
    ("p", "classes", "message"),
    [
        (make(3)[0], "abc", r"classes has shape \(\)"),
        (make(3)[0], ["a", "b"], r"classes has shape \(2,\) and W \(4, 3\); expected"),
        (make(3)[0], ["a", "b", "a"], "found 3 classes, 2 of them distinct"),
        (make(1)[0], ["a"], "expected at least 2 classes"),
        (
            Params(np.ones((2, 4, 3)), np.ones((2, 3))),
            "abc",
            r"W has shape \(2, 4, 3\)",
        ),
        (Params(np.ones((4, 3)), np.ones(4)), "abc", r"\(4, 3\) and b \(4,\)"),
        (Params(np.ones((4, 2)), np.array([0, np.inf])), "ab", "found 1 entries that"),
        (Params(np.ones((4, 2)), np.full(2, -np.inf)), "ab", "a bias of -inf at most"),
        (Params(np.full((4, 2), np.nan), np.ones(2)), "ab", "found 8 entries that"),
    ],
)
def test_what_is_no_classifier_is_not_sent(p, classes, message):
    with pytest.raises(ValueError, match=message):
        interop.to_sklearn(p, classes)


def test_arrays_make_a_state_without_torch(monkeypatch):
    p, _ = make(4)
    state = {"weight": np.asarray(p.W).T, "bias": np.asarray(p.b)}
    monkeypatch.setitem(sys.modules, "torch", None)
    np.testing.assert_array_equal(interop.from_torch_state(state).W, p.W)
    np.testing.assert_array_equal(interop.from_torch_state(state).b, p.b)
    del state["bias"]
    np.testing.assert_array_equal(interop.from_torch_state(state).b, np.zeros(4))
    with pytest.raises(ValueError, match=r"needs torch, .* pip install torch"):
        interop.to_torch_state(p)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "found nothing in the state; expected weight"),
        ({"fc.weight": 1, "fc.bias": 2}, r"found fc\.bias, fc\.weight in the state"),
        ({"weight": np.ones((3, 4)), "bias": np.ones(4)}, r"\(3, 4\) and bias \(4,\)"),
        ({"weight": np.ones(3)}, r"shape \(3,\) and bias None; expected \(C, D\)"),
        ({"weight": np.full((2, 3), np.nan)}, "found 6 entries that are not finite"),
    ],
)
def test_a_state_of_another_module_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        interop.from_torch_state(state)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_predicts_what_we_predict_and_gives_it_back(dtype):
    torch = pytest.importorskip("torch")
    p, x = make(4, dtype)
    state = interop.to_torch_state(p)
    layer = torch.nn.Linear(4, 4, dtype=state["weight"].dtype)
    layer.load_state_dict(state)
    theirs = layer(torch.tensor(x.astype(dtype))).detach().numpy()
    ours = params.logits(p, jnp.asarray(x, dtype))
    tolerance = CLOSED_FORM if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(ours, theirs, **tolerance)
    back = interop.from_torch_state(layer.state_dict())
    assert back.W.dtype == dtype
    for one, other in zip(back, p, strict=True):
        np.testing.assert_array_equal(one, other)
    half = interop.from_torch_state(layer.to(torch.bfloat16).state_dict())
    assert half.W.dtype == np.float32
    np.testing.assert_allclose(half.W, p.W, rtol=2**-8)


def test_weight_decay_of_torchs_sgd_is_l2_of_the_weights_alone():
    """And of the bias too, if it is in the same group of parameters."""
    torch = pytest.importorskip("torch")
    p, x = make(3)
    labels = np.arange(30) % 3
    layer = torch.nn.Linear(4, 3, dtype=torch.float64)
    layer.load_state_dict(interop.to_torch_state(p))
    groups = [
        {"params": [layer.weight], "weight_decay": 0.1},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    loss = torch.nn.CrossEntropyLoss()(layer(torch.tensor(x)), torch.tensor(labels))
    loss.backward()
    optimizer.step()
    gradient = gradients.objective_gradient(
        p, x, labels, loss="softmax_cross_entropy", l2=0.1
    )
    actual = interop.from_torch_state(layer.state_dict())
    for after, before, slope in zip(actual, p, gradient, strict=True):
        np.testing.assert_allclose(after, before - 0.5 * slope, **CLOSED_FORM)


def fitted(model, classes=3):
    """Returns the model, fitted to that many kinds of wine, and their features."""
    x, labels = bundled.load_wine(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    kept = labels < classes
    return model.fit(x[kept], labels[kept]), x[kept]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(fit_intercept=False),
        RidgeClassifier(),
        RidgeClassifier(fit_intercept=False),
        LinearSVC(intercept_scaling=50.0),
        LinearSVC(multi_class="crammer_singer"),
        SGDClassifier(random_state=0),
        Perceptron(),
        LinearDiscriminantAnalysis(),
        SVC(kernel="linear"),
        NuSVC(kernel="linear"),
    ],
    ids=repr,
)
def test_linear_classifiers_of_two_classes_and_of_three_are_taken(model, classes):
    model, x = fitted(model, classes)
    if isinstance(model, SVC | NuSVC) and classes == 3:
        pairs = r"SVC of 3 classes votes over pairs.*one versus one.*LinearSVC"
        with pytest.raises(ValueError, match=pairs):
            interop.from_sklearn(model)
        return
    p, names = interop.from_sklearn(model)
    assert p.W.shape == (13, classes)
    np.testing.assert_array_equal(names[params.predict(p, x)], model.predict(x))
    scores = np.asarray(params.logits(p, x))
    scores = scores[:, 1] - scores[:, 0] if classes == 2 else scores
    np.testing.assert_allclose(
        scores, model.decision_function(x), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("shape", [(1, 13), (13,)])
def test_coefficients_of_two_classes_may_be_a_vector(shape):
    model, x = fitted(RidgeClassifier(), 2)
    model.coef_ = model.coef_.reshape(shape)
    p, names = interop.from_sklearn(model)
    np.testing.assert_array_equal(names[params.predict(p, x)], model.predict(x))


class Halved(LogisticRegression):
    """Scales features of its own accord."""

    def decision_function(self, X):
        return super().decision_function(X / 2)


class Reversed(LogisticRegression):
    """Predicts the class of the lowest score."""

    def predict(self, X):
        return self.classes_[np.argmin(self.decision_function(X), axis=1)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (OneVsOneClassifier(LinearSVC()), "of 3 classes votes over pairs"),
        (OneVsRestClassifier(LinearSVC()), "pass one of its estimators_"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "pass its last step"),
        (GridSearchCV(LogisticRegression(), {"C": [1.0]}), "pass its best_estimator_"),
        (SVC(), "SVC of 3 classes votes over pairs"),
        (Halved(), "Halved scores random rows otherwise than its coef_"),
        (Reversed(), "Reversed predicts another class where its scores are largest"),
    ],
    ids=repr,
)
def test_what_is_no_linear_classifier_is_refused_with_what_to_do(model, message):
    with pytest.raises(ValueError, match=message):
        interop.from_sklearn(fitted(model)[0])


def test_what_is_not_fitted_or_has_several_labels_a_row_is_refused():
    with pytest.raises(ValueError, match="has no coef_, intercept_, classes_; expect"):
        interop.from_sklearn(LogisticRegression())
    x, labels = bundled.load_wine(return_X_y=True)
    model = RidgeClassifier().fit(x / x.max(axis=0), np.eye(3, dtype=int)[labels])
    with pytest.raises(ValueError, match=r"RidgeClassifier predicts \(3,\) where"):
        interop.from_sklearn(model)


@pytest.mark.parametrize("column", [0, 12])
@pytest.mark.parametrize("size", [1e-12, 1e9])
def test_a_coefficient_far_smaller_than_the_others_is_compared_too(column, size):
    model, _ = fitted(LogisticRegression())
    model.coef_[:, column] *= size
    right = model.coef_.copy()
    interop.from_sklearn(model)
    wrong = right.copy()
    wrong[0, column] *= 1.5
    model.decision_function = lambda x: x @ right.T + model.intercept_
    model.coef_ = wrong
    with pytest.raises(ValueError, match="scores random rows otherwise"):
        interop.from_sklearn(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intercept_": np.zeros(1)}, r"intercept_ of \(1,\); expected"),
        ({"classes_": np.zeros(1)}, r"classes_ of \(1,\), .*at least two classes"),
        ({"coef_": np.zeros(13)}, r"coef_ of shape \(13,\)"),
        ({"coef_": np.zeros((2, 13))}, r"coef_ of shape \(2, 13\) and classes_ of"),
        ({"coef_": np.full((3, 13), np.nan)}, "found 39 entries that are not finite"),
    ],
)
def test_arrays_that_would_be_broadcast_are_refused(change, message):
    model, _ = fitted(LogisticRegression())
    for name, value in change.items():
        setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        interop.from_sklearn(model)
