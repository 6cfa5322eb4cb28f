"""The measurement on test data, against scikit-learn and arithmetic by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from experiments import evaluation
from linclf_jax.fit.settings import Static
from linclf_jax.params import Params

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
    assert found["calibration_error"] is None
    assert found["reliability"] is None
