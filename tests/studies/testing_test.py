"""The measurement on test data, against scikit-learn and arithmetic by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics as reference

from linclf_jax import calibration
from linclf_jax.data import preprocessing
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.duplicates import Counts
from linclf_jax.data.sources import Unread
from linclf_jax.params import Params
from linclf_jax.studies import testing
from linclf_jax.studies.study import Classifier, Inputs

NUM_CLASSES = 3
CLOSE = 1e-5  # of float32 features and scores


def measure(params, x, labels, num_classes=NUM_CLASSES, train=None, **changes):
    """Evaluates a classifier of unscaled features on rows that trained nothing."""
    rows = Split(np.asarray(x, np.float32), np.asarray(labels, np.int32), labels)
    if train is None:
        train = Split(rows.x[:2] + 100, rows.labels[:2], labels[:2])
    names = tuple(map(str, range(num_classes)))
    dataset = Dataset(train, train, Unread(0, lambda: rows), "rows", names, None, None)
    inputs = Inputs(
        name="rows",
        dataset=dataset,
        features="raw",
        scaling=preprocessing.fit("none", train.x),
        x=train.x,
        labels=train.labels,
        index=train.index,
        fold=np.zeros(len(train.labels), np.int32),
        resampling="split",
        draws=np.zeros((0, 2), bool),
        duplicates=Counts(0, 0, 0),
        warnings=(),
    )
    classifier = Classifier(None, params, {}, False, 0, None, None, 0)
    classifier = classifier._replace(**changes)
    return testing.evaluate(classifier, inputs, rows).scores


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4)).astype(np.float32)
    W, b = rng.normal(size=(4, NUM_CLASSES)), rng.normal(size=NUM_CLASSES)
    # Skewed labels, so that a transposed confusion matrix is another one.
    labels = rng.choice(NUM_CLASSES, 80, p=[0.7, 0.2, 0.1])
    params = Params(jnp.asarray(W, jnp.float32), jnp.asarray(b, jnp.float32))
    return params, x, labels


def test_every_number_is_that_of_scikit_learn(problem):
    chosen, x, labels = problem
    result = measure(chosen, x, labels)
    scores = np.asarray(x @ chosen.W + chosen.b[None, :])
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    predictions = scores.argmax(axis=1)
    assert result["size"] == 80
    assert result["accuracy"] == reference.accuracy_score(labels, predictions)
    np.testing.assert_allclose(
        result["loss"], reference.log_loss(labels, probs), rtol=CLOSE
    )
    expected = reference.confusion_matrix(labels, predictions)
    assert not np.array_equal(expected, expected.T)
    np.testing.assert_array_equal(result["confusion"], expected)
    recall = reference.recall_score(labels, predictions, average=None)
    np.testing.assert_allclose(result["per_class_recall"], recall, rtol=1e-6)
    np.testing.assert_allclose(
        result["mean_per_class_recall"], recall.mean(), rtol=1e-6
    )
    assert result["nll"] == result["loss"]
    assert result["top5_accuracy"] is None  # of three classes
    counts = np.histogram(probs.max(axis=1), result["reliability"]["edges"])[0]
    np.testing.assert_array_equal(result["reliability"]["count"], counts)


def test_a_hinge_has_its_own_loss_and_no_calibration(problem):
    chosen, x, labels = problem
    result = measure(chosen, x, labels, loss="weston_watkins_hinge")
    scores = np.asarray(x @ chosen.W + chosen.b[None, :])
    margins = scores - scores[np.arange(80), labels][:, None] + 1
    margins[np.arange(80), labels] = 0
    expected = np.maximum(margins, 0).sum(axis=1).mean()
    np.testing.assert_allclose(result["loss"], expected, rtol=CLOSE)
    assert_no_calibration(result)


def test_a_sigmoid_has_the_loss_of_each_class_against_the_rest(problem):
    chosen, x, labels = problem
    result = measure(chosen, x, labels, loss="sigmoid_cross_entropy")
    probs = special.expit(np.asarray(x @ chosen.W + chosen.b[None, :]))
    targets = np.eye(probs.shape[1])[labels]
    columns = zip(targets.T, probs.T, strict=True)
    expected = sum(reference.log_loss(*column) for column in columns)
    np.testing.assert_allclose(result["loss"], expected, rtol=CLOSE)
    assert_no_calibration(result)


def assert_no_calibration(result):
    for name in ("nll", "calibration_error", "reliability"):
        assert result[name] is result[f"{name}_scaled"] is None
    assert result["temperature"] is None


def test_a_temperature_scales_probabilities_and_nothing_else(problem):
    chosen, x, labels = problem
    plain = measure(*problem)
    result = measure(*problem, temperature=2.5)
    colder = Params(chosen.W / 2.5, chosen.b / 2.5)
    scaled = measure(colder, x, labels)
    for name in ("nll", "calibration_error"):
        np.testing.assert_allclose(result[f"{name}_scaled"], scaled[name], rtol=CLOSE)
        assert result[f"{name}_scaled"] != result[name] == plain[name]
        assert plain[f"{name}_scaled"] is None
    counts = (result["reliability_scaled"]["count"], scaled["reliability"]["count"])
    np.testing.assert_array_equal(*counts)
    assert result["accuracy"] == plain["accuracy"]
    assert result["temperature"] == 2.5


@pytest.mark.parametrize("bound", [calibration.COLDEST, calibration.HOTTEST])
def test_a_bound_is_recorded_and_not_used(problem, bound):
    result = measure(*problem, temperature=bound)
    assert result["temperature"] == bound
    assert result["nll_scaled"] is result["calibration_error_scaled"] is None


def test_of_more_than_five_classes_the_best_five_count():
    rng = np.random.default_rng(1)
    x, W = rng.normal(size=(50, 4)), rng.normal(size=(4, 7))
    labels = rng.choice(7, 50)
    chosen = Params(jnp.asarray(W, jnp.float32), jnp.zeros(7, jnp.float32))
    result = measure(chosen, x, labels, 7)
    expected = reference.top_k_accuracy_score(labels, x @ W, k=5)
    np.testing.assert_allclose(result["top5_accuracy"], expected, rtol=1e-6)
    assert result["accuracy"] < expected < 1


def test_a_label_without_a_finite_logit_leaves_no_temperature():
    logits, labels = np.array([[0.0, 1.0], [2.0, -np.inf]]), np.array([0, 1])
    assert testing.temperature(logits, labels) is None
    assert testing.temperature(logits[:1], labels[:1]) == calibration.HOTTEST


def test_where_all_test_rows_are_duplicates_no_accuracy_is_left(problem):
    params, x, labels = problem
    train = Split(x, labels, labels)
    result = measure(params, x, labels, train=train)
    every = {"rows": 80, "another_label": 0, "without": None}
    assert result["duplicates"] == every
    none = {"rows": 0, "another_label": 0, "without": None}
    assert measure(*problem)["duplicates"] == none
