"""Metrics: scikit-learn's values, ties, empty classes, NaN, jit and vmap."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from linclf_jax import metrics

N, C = 101, 7
CLASSES = np.arange(C)


def example(seed=0, dtype=np.float64):
    generator = np.random.Generator(np.random.PCG64(seed))
    logits = generator.standard_normal((N, C)) * 3
    labels = generator.integers(0, C, N)
    hit = generator.random(N) < 0.5
    labels = np.where(hit, logits.argmax(axis=1), labels)
    return jnp.asarray(logits, dtype), jnp.asarray(labels, jnp.int32)


def weights_like(labels):
    generator = np.random.Generator(np.random.PCG64(5))
    return jnp.asarray(generator.random(labels.shape[0]))


@pytest.mark.parametrize("seed", range(2))
def test_against_scikit_learn(seed):
    logits, labels = example(seed)
    probs, weights = jax.nn.softmax(logits), weights_like(labels)
    predictions = jnp.argmax(logits, axis=1)
    same = functools.partial(np.testing.assert_allclose, rtol=1e-12)
    theirs = sklearn_metrics
    for given in (None, weights):
        found = metrics.accuracy(logits, labels, given)
        same(found, theirs.accuracy_score(labels, predictions, sample_weight=given))
        found = metrics.negative_log_likelihood(logits, labels, given)
        same(found, theirs.log_loss(labels, probs, labels=CLASSES, sample_weight=given))
    for k in (2, 5, C - 1):
        found = metrics.top_k_accuracy(logits, labels, k=k)
        same(found, theirs.top_k_accuracy_score(labels, logits, k=k, labels=CLASSES))
    confusion = metrics.confusion_matrix(labels, predictions, C)
    same(confusion, theirs.confusion_matrix(labels, predictions, labels=CLASSES))
    recall = theirs.recall_score(labels, predictions, average=None)
    same(metrics.per_class_recall(confusion), recall)
    balanced = theirs.balanced_accuracy_score(labels, predictions)
    same(metrics.mean_per_class_recall(confusion), balanced)


def test_rows_of_the_confusion_matrix_are_true_classes():
    labels, predictions = jnp.array([0, 0, 0, 2]), jnp.array([1, 1, 0, 0])
    confusion = metrics.confusion_matrix(labels, predictions, 3)
    assert confusion.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion.dtype == jnp.int32
    recall = metrics.per_class_recall(confusion)
    np.testing.assert_allclose(recall, [1 / 3, np.nan, 0.0])
    out_of_range = jnp.array([-1, 3, 0, 1]), jnp.array([0, 0, -1, 1])
    assert metrics.confusion_matrix(*out_of_range, 3).sum() == 1
    # Of the two classes that are there.
    np.testing.assert_allclose(metrics.mean_per_class_recall(confusion), 1 / 6)
    assert np.isnan(metrics.mean_per_class_recall(jnp.zeros((2, 2))))


def test_ties_go_to_the_first_class():
    logits = jnp.zeros((C, C))
    labels = jnp.arange(C)
    np.testing.assert_allclose(metrics.accuracy(logits, labels), 1 / C)
    for k in range(1, C + 1):
        share = metrics.top_k_accuracy(logits, labels, k=k)
        np.testing.assert_allclose(share, k / C)
    tied = jnp.array([[1.0, 3.0, 3.0, 0.0]])
    first, second = jnp.array([1]), jnp.array([2])
    assert metrics.top_k_accuracy(tied, first, k=1) == 1
    assert metrics.top_k_accuracy(tied, second, k=1) == 0
    assert metrics.top_k_accuracy(tied, second, k=2) == 1


def test_top_k_is_that_of_jax_with_many_ties():
    logits, labels = example()
    # One zero: jax.lax.top_k may rank 0.0 above -0.0, comparisons do not.
    logits = jnp.asarray(np.round(np.asarray(logits)) + 0.0)
    ranked = np.asarray(jax.lax.top_k(logits, C)[1]) == np.asarray(labels)[:, None]
    for k in range(1, C + 1):
        share = metrics.top_k_accuracy(logits, labels, k=k)
        np.testing.assert_allclose(share, ranked[:, :k].any(axis=1).mean(), rtol=1e-12)
    for k in (0, C + 1):
        with pytest.raises(ValueError, match=f"k = {k}, expected 1..{C}"):
            metrics.top_k_accuracy(logits, labels, k=k)


def test_nan_is_never_right():
    """All-NaN logits have argmax 0: without care a dead run gets class 0 right."""
    labels = jnp.zeros(4, jnp.int32)
    dead = jnp.full((4, C), jnp.nan)
    one = jnp.zeros((4, C)).at[0, 3].set(jnp.nan)
    for logits, share in ((dead, 0.0), (one, 0.75)):
        assert metrics.accuracy(logits, labels) == share
        assert metrics.top_k_accuracy(logits, labels, k=C) == share
        assert jnp.isnan(metrics.negative_log_likelihood(logits, labels))
        probs = jax.nn.softmax(logits)
        assert jnp.isnan(metrics.expected_calibration_error(probs, labels))


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([3, 7], np.int32), ([-1, -3], np.int32), ([255, 3], np.uint8)],
)
def test_a_label_out_of_range_is_never_right(labels, dtype):
    """Gathered, -1 would be the last class and 3 a NaN with no class ahead of it."""
    logits = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    labels = jnp.asarray(np.array(labels).astype(dtype))
    assert metrics.accuracy(logits, labels) == 0
    for k in (1, 2, 3):
        assert metrics.top_k_accuracy(logits, labels, k=k) == 0
    assert jnp.isnan(metrics.negative_log_likelihood(logits, labels))
    table = metrics.reliability(jax.nn.softmax(logits), labels, bins=1)
    np.testing.assert_array_equal(table.accuracy, [0])
    among_others = jnp.append(labels[:1], jnp.array([0], dtype))
    assert metrics.accuracy(logits, among_others) == 0.5
    assert metrics.top_k_accuracy(logits, among_others, k=1) == 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_narrow_labels_of_many_classes(dtype):
    labels = jnp.asarray(np.array([0, 100, 127], dtype))
    logits = jnp.zeros((3, 300)).at[jnp.arange(3), jnp.array([0, 100, 299])].set(1.0)
    np.testing.assert_allclose(metrics.accuracy(logits, labels), 2 / 3)
    for k, share in ((1, 2 / 3), (128, 2 / 3), (129, 1)):
        found = metrics.top_k_accuracy(logits, labels, k=k)
        np.testing.assert_allclose(found, share)
    confusion = metrics.confusion_matrix(labels, jnp.argmax(logits, axis=1), 300)
    assert confusion[100, 100] == confusion[127, 299] == 1
    assert confusion.sum() == 3


ROW_METRICS = (
    metrics.accuracy,
    functools.partial(metrics.top_k_accuracy, k=1),
    metrics.negative_log_likelihood,
    metrics.reliability,
    metrics.expected_calibration_error,
)


@pytest.mark.parametrize("metric", ROW_METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ((4, C), (4, 1), r"labels have shape \(4, 1\); expected \(4,\)"),
        ((4, C), (1,), r"labels have shape \(1,\); expected \(4,\)"),
        ((C,), (), r"have shape \(7,\); expected \(N, C\)"),
        ((2, 4, C), (2, 4), r"have shape \(2, 4, 7\); expected \(N, C\)"),
    ],
)
def test_refuses_shapes_that_would_broadcast(metric, scores, labels, message):
    scores, labels = jnp.full(scores, 1 / C), jnp.zeros(labels, jnp.int32)
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=message):
        jax.jit(metric)(scores, labels)


def test_refuses_other_shapes():
    logits, labels = example()
    column = weights_like(labels)[:, None]
    for metric in (metrics.accuracy, metrics.negative_log_likelihood):
        with pytest.raises(ValueError, match=r"weights have shape \(101, 1\)"):
            metric(logits, labels, column)
    for pair in ((labels, labels[:, None]), (labels[:1], labels), (labels[0],) * 2):
        with pytest.raises(ValueError, match=r"expected \(N,\) and the same"):
            metrics.confusion_matrix(*pair, C)
    for shape in ((C,), (C, 1), (2, C, C)):
        with pytest.raises(ValueError, match=r"expected \(C, C\)"):
            metrics.per_class_recall(jnp.ones(shape))


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


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_reliability_is_its_definition(bins):
    logits, labels = example()
    probs = jax.nn.softmax(logits)
    table, error = calibration_by_hand(np.asarray(probs), np.asarray(labels), bins)
    found = metrics.reliability(probs, labels, bins=bins)
    assert found.count.dtype == jnp.int32
    for ours, expected in zip(found, table, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    np.testing.assert_allclose(
        metrics.expected_calibration_error(probs, labels, bins=bins), error, rtol=1e-12
    )


def test_calibration_of_a_known_case():
    """Five rows at confidence 0.8, three of them right: off by 0.2 in one bin."""
    probs = jnp.tile(jnp.array([[0.8, 0.2]]), (5, 1))
    labels = jnp.array([0, 0, 0, 1, 1])
    error = metrics.expected_calibration_error(probs, labels)
    np.testing.assert_allclose(error, 0.2, rtol=1e-12)
    # Bins are closed on the right: 0.5 of 2 bins is in the first, 1.0 in the last.
    halves = jnp.array([[0.5, 0.5], [1.0, 0.0]])
    table = metrics.reliability(halves, jnp.array([0, 0]), bins=2)
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


def test_jit_and_vmap_give_what_a_loop_gives():
    logits, labels = example()
    weights = weights_like(labels)
    lanes = jnp.stack([logits, -logits, logits[::-1]])
    loop = [all_metrics(lane, labels, weights) for lane in lanes]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop)
    mapped = jax.jit(jax.vmap(all_metrics, (0, None, None)))(lanes, labels, weights)
    chex.assert_trees_all_close(mapped, stacked, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_computes_in_at_least_float32(dtype):
    logits, labels = example(dtype=dtype)
    wide = logits.astype(jnp.float64)
    expected = jnp.promote_types(dtype, jnp.float32)
    for metric in (metrics.accuracy, metrics.negative_log_likelihood):
        value = metric(logits, labels)
        assert value.dtype == expected
        np.testing.assert_allclose(value, metric(wide, labels), rtol=1e-6)
    probs = jax.nn.softmax(wide).astype(dtype)
    table = metrics.reliability(probs, labels)
    assert table.confidence.dtype == table.accuracy.dtype == expected
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


def test_infinite_logits():
    logits = jnp.array([[0.0, -jnp.inf, 1.0], [jnp.inf, 0.0, 0.0]])
    labels = jnp.array([2, 0])
    assert metrics.accuracy(logits, labels) == 1
    assert metrics.top_k_accuracy(logits, jnp.array([1, 0]), k=2) == 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, C), (N, 1)])
def test_one_row_and_one_class(shape):
    logits, labels = jnp.ones(shape), jnp.zeros(shape[0], jnp.int32)
    assert metrics.accuracy(logits, labels) == 1
    assert metrics.top_k_accuracy(logits, labels, k=1) == 1
    assert metrics.reliability(jax.nn.softmax(logits), labels).count.sum() == shape[0]
