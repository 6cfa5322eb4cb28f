"""The measurement on test data, against scikit-learn and arithmetic by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from linclf_jax import calibration
from linclf_jax.params import Params
from linclf_jax.studies import evaluation
from linclf_jax.training.settings import Static

NUM_CLASSES = 3


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    W, b = rng.normal(size=(4, NUM_CLASSES)), rng.normal(size=NUM_CLASSES)
    # Skewed labels, so that a transposed confusion matrix is another one.
    labels = rng.choice(NUM_CLASSES, 80, p=[0.7, 0.2, 0.1])
    return Params(jnp.asarray(W), jnp.asarray(b)), jnp.asarray(x), jnp.asarray(labels)


def test_every_number_is_that_of_scikit_learn(problem):
    chosen, x, labels = problem
    found = evaluation.measure(chosen, x, labels, Static(NUM_CLASSES))
    scores = np.asarray(x @ chosen.W + chosen.b[None, :])
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    predictions = scores.argmax(axis=1)
    assert found["size"] == 80
    assert found["accuracy"] == reference.accuracy_score(labels, predictions)
    np.testing.assert_allclose(
        found["loss"], reference.log_loss(labels, probs), rtol=1e-12
    )
    expected = reference.confusion_matrix(labels, predictions)
    assert not np.array_equal(expected, expected.T)
    np.testing.assert_array_equal(found["confusion"], expected)
    recall = reference.recall_score(labels, predictions, average=None)
    np.testing.assert_allclose(found["per_class_recall"], recall, rtol=1e-6)
    np.testing.assert_allclose(found["mean_per_class_recall"], recall.mean(), rtol=1e-6)
    assert found["nll"] == found["loss"]
    assert found["top5_accuracy"] is None  # of three classes
    counts = np.histogram(probs.max(axis=1), found["reliability"]["edges"])[0]
    np.testing.assert_array_equal(found["reliability"]["count"], counts)


def test_the_interval_solves_wilsons_equation_for_the_number_of_rows(problem):
    found = evaluation.measure(*problem, Static(NUM_CLASSES))
    for end in found["accuracy_interval"]:
        spread = 1.959963984540054**2 * end * (1 - end) / 80
        np.testing.assert_allclose((found["accuracy"] - end) ** 2, spread, rtol=1e-9)


def test_a_hinge_has_its_own_loss_and_no_calibration(problem):
    chosen, x, labels = problem
    static = Static(NUM_CLASSES, loss="weston_watkins_hinge")
    found = evaluation.measure(chosen, x, labels, static)
    scores = np.asarray(x @ chosen.W + chosen.b[None, :])
    margins = scores - scores[np.arange(80), labels][:, None] + 1
    margins[np.arange(80), labels] = 0
    expected = np.maximum(margins, 0).sum(axis=1).mean()
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-12)
    for name in ("nll", "calibration_error", "reliability"):
        assert found[name] is found[f"{name}_scaled"] is None
    assert found["temperature"] is None


def test_a_temperature_scales_probabilities_and_nothing_else(problem):
    chosen, x, labels = problem
    plain = evaluation.measure(*problem, Static(NUM_CLASSES))
    found = evaluation.measure(*problem, Static(NUM_CLASSES), temperature=2.5)
    colder = Params(chosen.W / 2.5, chosen.b / 2.5)
    scaled = evaluation.measure(colder, x, labels, Static(NUM_CLASSES))
    for name in ("nll", "calibration_error"):
        np.testing.assert_allclose(found[f"{name}_scaled"], scaled[name], rtol=1e-12)
        assert found[f"{name}_scaled"] != found[name] == plain[name]
        assert plain[f"{name}_scaled"] is None
    counts = (found["reliability_scaled"]["count"], scaled["reliability"]["count"])
    np.testing.assert_array_equal(*counts)
    assert found["accuracy"] == plain["accuracy"]
    assert found["temperature"] == 2.5


@pytest.mark.parametrize("bound", [calibration.COLDEST, calibration.HOTTEST])
def test_a_bound_is_told_and_not_used(problem, bound):
    found = evaluation.measure(*problem, Static(NUM_CLASSES), temperature=bound)
    assert found["temperature"] == bound
    assert found["nll_scaled"] is found["calibration_error_scaled"] is None


def test_of_more_than_five_classes_the_best_five_count():
    rng = np.random.default_rng(1)
    x, W = rng.normal(size=(50, 4)), rng.normal(size=(4, 7))
    labels = rng.choice(7, 50)
    chosen = Params(jnp.asarray(W), jnp.zeros(7))
    found = evaluation.measure(chosen, jnp.asarray(x), jnp.asarray(labels), Static(7))
    expected = reference.top_k_accuracy_score(labels, x @ W, k=5)
    np.testing.assert_allclose(found["top5_accuracy"], expected, rtol=1e-6)
    assert found["accuracy"] < expected < 1


def test_a_label_without_a_finite_logit_leaves_no_temperature():
    logits, labels = np.array([[0.0, 1.0], [2.0, -np.inf]]), np.array([0, 1])
    assert evaluation.temperature(logits, labels) is None
    assert evaluation.temperature(logits[:1], labels[:1]) == calibration.HOTTEST
