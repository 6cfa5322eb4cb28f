"""Metrics: scikit-learn's values, ties, empty classes, NaN, jit and vmap."""

import functools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from linclf_jax import metrics

N, C = 101, 7
CLASSES = np.arange(C)
# Compiled once for each shape: operation by operation takes far longer.
compiled = SimpleNamespace(
    accuracy=jax.jit(metrics.accuracy),
    top_k_accuracy=jax.jit(metrics.top_k_accuracy, static_argnames="k"),
    likelihood=jax.jit(metrics.negative_log_likelihood),
    confusion=jax.jit(metrics.confusion_matrix, static_argnums=2),
    recall=jax.jit(metrics.per_class_recall),
    mean_recall=jax.jit(metrics.mean_per_class_recall),
    reliability=jax.jit(metrics.reliability, static_argnames="bins"),
    calibration_error=jax.jit(
        metrics.expected_calibration_error, static_argnames="bins"
    ),
)


def softmax(logits):
    exps = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def example(seed=0):
    """Returns logits ``(N, C)``, labels, many of them the largest, and weights."""
    rng = np.random.Generator(np.random.PCG64(seed))
    logits = rng.standard_normal((N, C)) * 3
    labels = rng.integers(0, C, N)
    labels = np.where(rng.random(N) < 0.5, logits.argmax(axis=1), labels)
    return logits, labels.astype(np.int32), rng.random(N)


def test_against_scikit_learn():
    logits, labels, weights = example()
    probs, predictions = softmax(logits), logits.argmax(axis=1)
    same = functools.partial(np.testing.assert_allclose, rtol=1e-12)
    theirs = sklearn_metrics
    for given in (None, weights):
        actual = compiled.accuracy(logits, labels, given)
        same(actual, theirs.accuracy_score(labels, predictions, sample_weight=given))
        actual = compiled.likelihood(logits, labels, given)
        same(
            actual, theirs.log_loss(labels, probs, labels=CLASSES, sample_weight=given)
        )
    for k in (2, C - 1):
        actual = compiled.top_k_accuracy(logits, labels, k=k)
        same(actual, theirs.top_k_accuracy_score(labels, logits, k=k, labels=CLASSES))
    confusion = compiled.confusion(labels, predictions, C)
    same(confusion, theirs.confusion_matrix(labels, predictions, labels=CLASSES))
    recall = theirs.recall_score(labels, predictions, average=None)
    same(compiled.recall(confusion), recall)
    balanced = theirs.balanced_accuracy_score(labels, predictions)
    same(compiled.mean_recall(confusion), balanced)


def test_rows_of_the_confusion_matrix_are_true_classes():
    labels, predictions = np.array([0, 0, 0, 2]), np.array([1, 1, 0, 0])
    confusion = compiled.confusion(labels, predictions, 3)
    assert confusion.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion.dtype == jnp.int32
    np.testing.assert_allclose(compiled.recall(confusion), [1 / 3, np.nan, 0.0])
    # Of the two classes that are there.
    np.testing.assert_allclose(compiled.mean_recall(confusion), 1 / 6)
    assert np.isnan(compiled.mean_recall(np.zeros((3, 3), np.int32)))
    out_of_range = np.array([-1, 3, 0, 1]), np.array([0, 0, -1, 1])
    assert compiled.confusion(*out_of_range, 3).sum() == 1


@pytest.mark.parametrize("k", [1, 2, C])
def test_top_k_is_that_of_jax_with_many_ties(k):
    logits, labels, _ = example()
    # One zero: jax.lax.top_k may rank 0.0 above -0.0, comparisons do not.
    logits = np.round(logits) + 0.0
    ranked = np.asarray(jax.lax.top_k(logits, C)[1]) == labels[:, None]
    expected = ranked[:, :k].any(axis=1).mean()
    actual = compiled.top_k_accuracy(logits, labels, k=k)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    # Of equal logits the first class ranks higher.
    tied = compiled.top_k_accuracy(np.zeros((C, C)), CLASSES, k=k)
    np.testing.assert_allclose(tied, k / C)
    for bad in (0, C + 1):
        with pytest.raises(ValueError, match=f"k = {bad}, expected 1..{C}"):
            metrics.top_k_accuracy(logits, labels, k=bad)


def test_nan_is_never_right():
    """All-NaN logits have argmax 0: without care a dead run gets class 0 right."""
    labels, dead, one = np.zeros(4, int), np.full((4, C), np.nan), np.zeros((4, C))
    one[0, 3] = np.nan
    for logits, share in ((dead, 0.0), (one, 0.75)):
        assert compiled.accuracy(logits, labels) == share
        assert compiled.top_k_accuracy(logits, labels, k=C) == share
        assert np.isnan(compiled.likelihood(logits, labels))
        assert np.isnan(compiled.calibration_error(softmax(logits), labels))


def test_infinite_logits():
    logits = np.array([[0.0, -np.inf, 1.0], [np.inf, 0.0, 0.0]])
    assert compiled.accuracy(logits, np.array([2, 0])) == 1
    assert compiled.top_k_accuracy(logits, np.array([1, 0]), k=2) == 0.5


@pytest.mark.parametrize(
    ("labels", "dtype"), [([3, -1], np.int32), ([255, 3], np.uint8)]
)
def test_a_label_out_of_range_is_never_right(labels, dtype):
    """Gathered, -1 would be the last class and 3 a NaN with no class ahead of it."""
    logits = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    labels = np.array(labels).astype(dtype)
    assert compiled.accuracy(logits, labels) == 0
    for k in (1, 3):
        assert compiled.top_k_accuracy(logits, labels, k=k) == 0
    assert np.isnan(compiled.likelihood(logits, labels))
    table = compiled.reliability(softmax(logits), labels, bins=1)
    np.testing.assert_array_equal(table.accuracy, [0])
    among_others = np.append(labels[:1], np.array([0], dtype))
    assert compiled.accuracy(logits, among_others) == 0.5
    assert compiled.top_k_accuracy(logits, among_others, k=1) == 0.5


def test_narrow_labels_of_many_classes():
    labels = np.array([0, 100, 127], np.uint8)
    logits = np.eye(300)[[0, 100, 299]]
    np.testing.assert_allclose(compiled.accuracy(logits, labels), 2 / 3)
    for k, share in ((128, 2 / 3), (129, 1)):
        actual = compiled.top_k_accuracy(logits, labels, k=k)
        np.testing.assert_allclose(actual, share)
    confusion = compiled.confusion(labels, logits.argmax(axis=1), 300)
    assert confusion[100, 100] == confusion[127, 299] == 1
    assert confusion.sum() == 3


ROW_METRICS = {
    "accuracy": metrics.accuracy,
    "top k": functools.partial(metrics.top_k_accuracy, k=1),
    "likelihood": metrics.negative_log_likelihood,
    "reliability": metrics.reliability,
    "calibration": metrics.expected_calibration_error,
}


@pytest.mark.parametrize("name", ROW_METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ((4, C), (4, 1), r"labels have shape \(4, 1\); expected \(4,\)"),
        ((4, C), (1,), r"labels have shape \(1,\); expected \(4,\)"),
        ((C,), (), r"have shape \(7,\); expected \(N, C\)"),
        ((2, 4, C), (2, 4), r"have shape \(2, 4, 7\); expected \(N, C\)"),
    ],
)
def test_refuses_shapes_that_would_broadcast(name, scores, labels, message):
    metric, labels = jax.jit(ROW_METRICS[name]), np.zeros(labels, int)
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=message):
        metric(np.full(scores, 1 / C), labels)


def test_refuses_other_shapes():
    logits, labels, weights = example()
    for metric in (metrics.accuracy, metrics.negative_log_likelihood):
        with pytest.raises(ValueError, match=r"weights have shape \(101, 1\)"):
            metric(logits, labels, weights[:, None])
    for pair in ((labels, labels[:, None]), (labels[:1], labels), (labels[0],) * 2):
        with pytest.raises(ValueError, match=r"expected \(N,\) and the same"):
            metrics.confusion_matrix(*pair, C)
    for shape in ((C,), (C, 1), (2, C, C)):
        with pytest.raises(ValueError, match=r"expected \(C, C\)"):
            metrics.per_class_recall(np.ones(shape))


def calibration_by_hand(probs, labels, bins):
    """The definition, bin by bin."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    rows, error = [], 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        count = inside.sum()
        means = (np.nan, np.nan)
        if count:
            means = (confidence[inside].mean(), right[inside].mean())
            error += count / len(labels) * abs(means[1] - means[0])
        rows.append((count, *means))
    return np.array(rows).T, error


@pytest.mark.parametrize("bins", [1, 15])
def test_reliability_is_its_definition(bins):
    logits, labels, _ = example()
    probs = softmax(logits)
    table, error = calibration_by_hand(probs, labels, bins)
    actual = compiled.reliability(probs, labels, bins=bins)
    assert actual.count.dtype == jnp.int32
    for ours, expected in zip(actual, table, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    actual = compiled.calibration_error(probs, labels, bins=bins)
    np.testing.assert_allclose(actual, error, rtol=1e-12)


def test_calibration_of_a_known_case():
    """Five rows at confidence 0.8, three of them right: off by 0.2 in one bin."""
    probs, labels = np.tile([[0.8, 0.2]], (5, 1)), np.array([0, 0, 0, 1, 1])
    error = compiled.calibration_error(probs, labels)
    np.testing.assert_allclose(error, 0.2, rtol=1e-12)
    # Bins are closed on the right: 0.5 of 2 bins is in the first, 1.0 in the last.
    halves = np.array([[0.5, 0.5], [1.0, 0.0]])
    table = compiled.reliability(halves, np.array([0, 0]), bins=2)
    assert table.count.tolist() == [1, 1]
    with pytest.raises(ValueError, match="found 0 bins"):
        metrics.reliability(probs, labels, bins=0)


def all_metrics(logits, labels, weights):
    probs = jax.nn.softmax(logits)
    confusion = metrics.confusion_matrix(labels, jnp.argmax(logits, axis=-1), C)
    return (
        metrics.accuracy(logits, labels),
        metrics.accuracy(logits, labels, weights),
        metrics.top_k_accuracy(logits, labels, k=3),
        metrics.negative_log_likelihood(logits, labels, weights),
        confusion,
        metrics.per_class_recall(confusion),
        metrics.mean_per_class_recall(confusion),
        metrics.reliability(probs, labels),
        metrics.expected_calibration_error(probs, labels),
    )


def test_vmap_gives_what_a_loop_gives():
    logits, labels, weights = example()
    lanes = np.stack([logits, -logits, logits[::-1]])
    one = jax.jit(all_metrics)
    loop = [one(lane, labels, weights) for lane in lanes]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    mapped = jax.jit(jax.vmap(all_metrics, (0, None, None)))(lanes, labels, weights)
    chex.assert_trees_all_close(mapped, stacked, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_computes_in_at_least_float32(dtype):
    logits, labels, _ = example()
    logits = logits.astype(dtype)
    for metric in (compiled.accuracy, compiled.likelihood):
        value = metric(logits, labels)
        assert value.dtype == jnp.float32
        wide = metric(logits.astype(np.float64), labels)
        np.testing.assert_allclose(value, wide, rtol=1e-6)
    table = compiled.reliability(softmax(logits.astype(float)).astype(dtype), labels)
    assert table.confidence.dtype == table.accuracy.dtype == jnp.float32
    assert table.count.sum() == N


@pytest.mark.parametrize(("share", "count"), [(0.0, 7), (0.3, 10), (1.0, 359)])
def test_wilson_ends_solve_their_equation(share, count):
    # (share - p)^2 = z^2 p (1 - p) / n at both ends p.
    low, high = metrics.wilson_interval(share, count)
    assert 0 <= low <= share <= high <= 1
    assert high - low > 0.01
    for end in (low, high):
        spread = 1.959963984540054**2 * end * (1 - end) / count
        np.testing.assert_allclose((share - end) ** 2, spread, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(1, 1), (N, 1)])
def test_one_row_and_one_class(shape):
    logits, labels = np.ones(shape), np.zeros(shape[0], int)
    assert compiled.accuracy(logits, labels) == 1
    assert compiled.top_k_accuracy(logits, labels, k=1) == 1
    assert compiled.reliability(logits, labels).count.sum() == shape[0]
