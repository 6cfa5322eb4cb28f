"""One contract for every loss, its gradient by hand, and what autodiff makes of it."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import gradients, losses
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
SOFTMAX, SIGMOID = "softmax_cross_entropy", "sigmoid_cross_entropy"
# Losses of the differences of logits. A sigmoid's are each measured from 0.
OF_DIFFERENCES = tuple(name for name in NAMES if name != SIGMOID)
INF, NAN = np.inf, np.nan
every_loss = pytest.mark.parametrize("name", NAMES)
every_loss_of_differences = pytest.mark.parametrize("name", OF_DIFFERENCES)


class Results(NamedTuple):
    """What a loss gives for a batch of rows, in four ways."""

    value: jax.Array  # (N,)
    by_hand: jax.Array  # (N, C)
    autodiff: jax.Array  # (N, C)
    manual: jax.Array  # (N, C), autodiff of the loss with the gradient by hand


@functools.partial(jax.jit, static_argnames="name")
def program(logits, labels, *, name):
    """Compiled for each loss, shape and dtype."""

    def slope(loss):
        return jax.grad(lambda s: loss(s, labels).sum())(logits)

    return Results(
        losses.LOSSES[name](logits, labels),
        gradients.logits_gradient(logits, labels, loss=name),
        slope(losses.LOSSES[name]),
        slope(gradients.with_manual_gradient(name)),
    )


ROWS, CLASSES = 20, 5


def evaluate(logits, labels, *, name):
    """Runs the program of 20 rows and 5 classes, whatever is below that masked.

    A class of minus infinity takes no part, as the tables show, nor does another row.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    rows, classes = logits.shape
    padded = np.full((ROWS, CLASSES), -INF, logits.dtype)
    padded[rows:, 0], padded[:rows, :classes] = 0.0, logits
    actual = program(padded, np.pad(labels, (0, ROWS - rows)), name=name)
    values, *slopes = (np.asarray(leaf)[:rows] for leaf in actual)
    return Results(values, *(slope[:, :classes] for slope in slopes))


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, **tolerances.CLOSED_FORM)


# exp(s) = (1, 2, 5) makes p = (1/8, 1/4, 5/8) and sigma(s) = (1/2, 2/3, 5/6); the
# hinges are counted by hand.
EIGHTHS = np.log([1.0, 2.0, 5.0])
TINY = 1.9287498479639178e-22
BY_HAND = {
    "softmax_cross_entropy": [
        (EIGHTHS, 0, np.log(8.0), [-0.875, 0.25, 0.625]),
        (EIGHTHS, 1, np.log(4.0), [0.125, -0.75, 0.625]),
        (EIGHTHS, 2, np.log(1.6), [0.125, 0.25, -0.375]),
        ([7.0, 7.0, -INF], 1, np.log(2.0), [0.5, -0.5, 0.0]),
        ([3e38, 3e38, -3e38], 1, np.log(2.0), [0.5, -0.5, 0.0]),
        ([1e8, 1e8 + 50.0, -INF], 1, TINY, [TINY, -TINY, 0.0]),
        ([0.0, -1e4, -INF], 1, 1e4, [1.0, -1.0, 0.0]),
        ([-INF, 1.0, 1.0], 1, np.log(2.0), [0.0, -0.5, 0.5]),
    ],
    "weston_watkins_hinge": [
        ([1.0, 2.0, 3.0], 0, 5.0, [-2.0, 1.0, 1.0]),
        ([1.0, 2.0, 3.0], 1, 2.0, [0.0, -1.0, 1.0]),
        ([1.0, 2.0, 3.0], 2, 0.0, [0.0, 0.0, 0.0]),
        ([0.0, 0.5, -0.25], 1, 0.75, [1.0, -2.0, 1.0]),
        ([5.0, 5.0, 5.0], 1, 2.0, [1.0, -2.0, 1.0]),
        ([-INF, 1.0, 1.0], 1, 1.0, [0.0, -1.0, 1.0]),
    ],
    "crammer_singer_hinge": [
        ([1.0, 2.0, 3.0], 0, 3.0, [-1.0, 0.0, 1.0]),
        ([1.0, 2.0, 3.0], 1, 2.0, [0.0, -1.0, 1.0]),
        ([1.0, 2.0, 3.0], 2, 0.0, [0.0, 0.0, 0.0]),
        ([0.0, 0.5, -0.25], 1, 0.5, [1.0, -1.0, 0.0]),
        ([5.0, 5.0, 5.0], 1, 1.0, [1.0, -1.0, 0.0]),
        ([5.0, 5.0, 5.0], 0, 1.0, [-1.0, 1.0, 0.0]),
        ([-INF, 1.0, 1.0], 1, 1.0, [0.0, -1.0, 1.0]),
    ],
    "sigmoid_cross_entropy": [
        (EIGHTHS, 0, np.log(36.0), [-1 / 2, 2 / 3, 5 / 6]),
        (EIGHTHS, 1, np.log(18.0), [1 / 2, -1 / 3, 5 / 6]),
        (EIGHTHS, 2, np.log(7.2), [1 / 2, 2 / 3, -1 / 6]),
        ([50.0, -50.0, -INF], 0, 2 * TINY, [-TINY, TINY, 0.0]),
        ([-1e4, 1e8, -3e38], 0, 1e8 + 1e4, [-1.0, 1.0, 0.0]),
        ([3e38, -3e38, -INF], 0, 0.0, [0.0, 0.0, 0.0]),
    ],
}


@every_loss
def test_worked_out_by_hand(name):
    logits, labels, values, slopes = map(np.array, zip(*BY_HAND[name], strict=True))
    actual = evaluate(logits, labels, name=name)
    np.testing.assert_allclose(actual.value, values, rtol=1e-13)
    for slope in (actual.by_hand, actual.manual):
        np.testing.assert_allclose(slope, slopes, rtol=1e-14, atol=1e-35)
    # Of a confident row autodiff loses what is below the last digit of 1.
    np.testing.assert_allclose(actual.autodiff, slopes, rtol=1e-13, atol=1e-16)


# Logits with one of plus infinity, the limit of one that grows: label, value, gradient.
ONE_INFINITY = [
    ([INF, 0.0, 1.0], 0, 0.0, [0.0, 0.0, 0.0]),
    ([0.0, INF, 1.0], 1, 0.0, [0.0, 0.0, 0.0]),
    ([INF, -INF, 6e4], 0, 0.0, [0.0, 0.0, 0.0]),
    ([INF, -INF, -INF], 0, 0.0, [0.0, 0.0, 0.0]),
    ([INF, 0.0, 1e-3], 1, INF, [1.0, -1.0, 0.0]),
]


@every_loss_of_differences
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_one_infinity_takes_all_of_the_probability(name, dtype):
    logits, labels, values, slopes = map(np.array, zip(*ONE_INFINITY, strict=True))
    if name == "weston_watkins_hinge":  # the third class is within the margin too
        slopes[-1] = [1.0, -2.0, 1.0]
    actual = evaluate(logits.astype(dtype), labels, name=name)
    np.testing.assert_array_equal(actual.value, values)
    for slope in actual[1:]:
        np.testing.assert_array_equal(slope, slopes)


@every_loss_of_differences
def test_two_infinities_are_nan_for_the_limit_depends_on_how_they_grow(name):
    logits = np.array([[INF, INF, 0.0]] * 3 + [[INF, NAN, 0.0]])
    actual = evaluate(logits, np.array([0, 1, 2, 0]), name=name)
    of_finite = NAN if name == SOFTMAX else INF
    np.testing.assert_array_equal(actual.value, [NAN, NAN, of_finite, NAN])
    for slope in actual[1:]:
        assert np.isnan(slope[[0, 1, 3]]).all()


@every_loss
def test_all_ways_agree_on_a_batch_and_on_its_mapped_rows(name):
    logits, labels = problems.scores(20, 5)
    actual = evaluate(logits, labels, name=name)
    for slope in (actual.autodiff, actual.manual):
        close(slope, actual.by_hand)
    if name in OF_DIFFERENCES:
        close(actual.by_hand.sum(axis=1), np.zeros(20))
    assert np.abs(actual.by_hand).max() > 0.5
    mapped = jax.jit(jax.vmap(functools.partial(program, name=name)))
    rows = mapped(logits[:, None], labels[:, None])
    jax.tree.map(lambda one, other: close(one[:, 0], other), rows, actual)


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_numpy_labels_serve_with_x64_off(self):
        with jax.enable_x64(False):
            for name, loss in losses.LOSSES.items():
                logits = jnp.eye(3, dtype="float32")
                assert np.isfinite(self.variant(loss)(logits, np.arange(3))).all(), name


@every_loss
def test_a_permutation_of_the_classes_permutes_the_result(name):
    logits, labels = map(np.asarray, problems.scores(20, 5))
    order = np.random.default_rng(1).permutation(5)
    actual = evaluate(logits[:, order], np.argsort(order)[labels], name=name)
    expected = evaluate(logits, labels, name=name)
    close(actual.value, expected.value)
    for slope, other in zip(actual[1:], expected[1:], strict=True):
        close(slope, other[:, order])


@every_loss_of_differences
def test_constant_on_all_logits_changes_no_bit(name):
    logits, labels = map(np.asarray, problems.scores(20, 5, dtype="float32"))
    logits = np.round(logits * 8) / 8  # so that the shift itself rounds nothing
    expected = evaluate(logits, labels, name=name)
    for shift in (1.0, -(2.0**13), 2.0**20):
        actual = evaluate(logits + np.float32(shift), labels, name=name)
        np.testing.assert_array_equal(actual.value, expected.value)
        np.testing.assert_array_equal(actual.by_hand, expected.by_hand)


@every_loss
def test_narrow_dtypes_are_wide_ones_rounded_once(name):
    logits, labels = map(np.asarray, problems.scores(20, 5, dtype="float32"))
    actual = evaluate(logits, labels, name=name)
    chex.assert_type(list(actual), "float32")
    exact = evaluate(logits.astype("float64"), labels, name=name)
    for one, other in zip(actual, exact, strict=True):
        np.testing.assert_allclose(one, other, **tolerances.rounded("float32", 5))
    for dtype in (jnp.float16, jnp.bfloat16):
        half = logits.astype(dtype)
        actual = evaluate(half, labels, name=name)
        wide = evaluate(half.astype("float32"), labels, name=name)
        for one, other in zip(actual[:2], wide[:2], strict=True):
            np.testing.assert_array_equal(one, np.asarray(other).astype(dtype))
        np.testing.assert_array_equal(actual.manual, actual.by_hand)


@every_loss_of_differences
def test_one_class_costs_nothing_and_its_nan_is_one(name):
    actual = program(np.array([[1e3], [-3.0], [NAN]]), np.zeros(3, int), name=name)
    for leaf in actual:
        np.testing.assert_array_equal(leaf[:2], np.zeros_like(leaf[:2]))
    assert not np.signbit(actual.value[:2]).any()  # 0.0 and not -0.0
    for leaf in actual[:2]:
        assert np.isnan(leaf[2]).all()


@every_loss
def test_nan_among_the_logits_spoils_its_row(name):
    column, labels = (grid.ravel() for grid in np.mgrid[:3, :3])
    logits = np.tile([[3.0, 1.0, 2.0]], (10, 1))
    logits[np.arange(9), column] = NAN
    value, *slopes = evaluate(logits, np.append(labels, 0), name=name)
    np.testing.assert_array_equal(np.isnan(value), np.arange(10) < 9)
    # The other labels of a sigmoid do not depend on it.
    spoilt = np.isnan(logits) if name == SIGMOID else np.isnan(value)[:, None]
    for slope in slopes:
        np.testing.assert_array_equal(np.isnan(slope), spoilt & np.ones((10, 3), bool))


@every_loss
def test_label_out_of_range_spoils_its_row_and_no_other(name):
    bad = np.array([5, -1, -5, -6, 2**31 - 1, -(2**31)])
    logits, labels = map(np.asarray, problems.scores(20, 5))
    expected = evaluate(logits, labels, name=name)
    actual = evaluate(logits, np.append(labels[:14], bad.astype("int32")), name=name)
    for leaf, other in zip(actual, expected, strict=True):
        assert np.isnan(leaf[14:]).all()
        np.testing.assert_array_equal(leaf[:14], other[:14])


@every_loss
def test_any_integer_dtype_serves_for_labels(name):
    logits, labels = map(np.asarray, problems.scores(20, 300))
    loss = jax.jit(losses.LOSSES[name])
    labels = np.minimum(labels, 127)
    for dtype in ("int8", "uint32"):
        actual = loss(logits, labels.astype(dtype))
        np.testing.assert_array_equal(actual, loss(logits, labels))


@every_loss
def test_labels_of_another_dtype_or_shape_are_refused(name):
    logits = jnp.zeros((3, 2))
    for dtype in ("bool", "float32"):
        with pytest.raises(TypeError, match=f"dtype {dtype}; expected integers"):
            program(logits, np.zeros(3, dtype), name=name)
    with jax.numpy_rank_promotion("allow"):
        for shape in ((1,), (4,), (3, 1), ()):
            with pytest.raises(ValueError, match="labels have shape"):
                program(logits, np.zeros(shape, "int32"), name=name)


@every_loss
def test_manual_gradient_in_forward_mode_and_twice(name):
    logits, labels = problems.scores(20, 5)
    logits = logits.at[0].set(3.0)  # a row of ties
    tangent = logits * 0.3 + 1.0

    @jax.jit
    def derivatives(logits, tangent):
        manual = gradients.with_manual_gradient(name)
        along = jax.jvp(lambda s: manual(s, labels), (logits,), (tangent,))
        hessian = jax.hessian(lambda s, y: manual(s[None], y[None])[0])
        return along, jax.vmap(hessian)(logits, labels)

    (value, push), hessians = derivatives(logits, tangent)
    expected = evaluate(logits, labels, name=name)
    np.testing.assert_array_equal(value, expected.value)
    close(push, (expected.by_hand * tangent).sum(axis=1))
    p, q = np.asarray(jax.nn.softmax(logits)), np.asarray(jax.nn.sigmoid(logits))
    expected = {
        SOFTMAX: p[:, :, None] * (np.eye(5)[None] - p[:, None, :]),
        SIGMOID: (q * (1 - q))[:, :, None] * np.eye(5)[None],
    }
    close(hessians, expected.get(name, np.zeros((20, 5, 5))))


def test_ties_have_the_derivatives_of_their_neighbours():
    logits, labels = np.full((20, 5), 3.0), np.full(20, 2)
    actual = evaluate(logits, labels, name=SOFTMAX)
    expected = np.tile([0.2, 0.2, -0.8, 0.2, 0.2], (20, 1))
    np.testing.assert_allclose(actual.autodiff, expected, rtol=1e-15)
    hessian = jax.hessian(lambda s: losses.softmax_cross_entropy(s, labels[:1])[0])
    close(jax.jit(hessian)(logits[:1])[0, :, 0], np.eye(5) / 5 - 1 / 25)


def test_unknown_loss_is_refused_with_the_known_ones():
    for name in ("hinge", "", None):
        with pytest.raises(ValueError, match=f"named {name!r}; expected one of .*"):
            losses.known(name)


# Soft targets have a loss and a gradient of their own.
@jax.jit
def evaluate_soft(logits, targets):
    loss = losses.softmax_cross_entropy_with_targets
    by_hand = gradients.softmax_cross_entropy_with_targets(logits, targets)
    slope = jax.grad(lambda s: loss(s, targets).sum())(logits)
    return loss(logits, targets), by_hand, slope


def soft_targets(num_rows, num_classes):
    """Returns targets ``(N, C)`` whose rows do not sum to one, some of them zero."""
    targets = np.random.default_rng(3).uniform(size=(num_rows, num_classes))
    return np.where(targets < 0.3, 0.0, targets)


def test_soft_targets_weigh_the_log_probabilities():
    logits, labels = map(np.asarray, problems.scores(20, 5))
    each = [evaluate(logits, labels * 0 + j, name=SOFTMAX).value for j in range(5)]
    for targets in (soft_targets(20, 5), np.zeros((20, 5))):
        value, by_hand, slope = evaluate_soft(logits, targets)
        close(value, (targets * np.stack(each, axis=1)).sum(axis=1))
        close(by_hand, slope)


def test_one_hot_targets_are_labels():
    logits, labels = map(np.asarray, problems.scores(20, 5, scale=40.0))
    targets = np.eye(5)[labels]
    actual = evaluate_soft(logits, targets)
    # No absolute part: a confident row keeps its digits here too.
    for one, other in zip(
        actual[:2], evaluate(logits, labels, name=SOFTMAX)[:2], strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    half = logits.astype("float16")
    wide = evaluate_soft(half.astype("float32"), targets)
    for one, other in zip(evaluate_soft(half, targets)[:2], wide[:2], strict=True):
        np.testing.assert_array_equal(one, np.asarray(other).astype("float16"))


def test_soft_targets_with_infinite_logits():
    """A zero target hides minus infinity and no more."""
    logits = np.array([[0.0, -INF, 0.0], [0.0, -INF, 0.0], [INF, 0.0, -INF]])
    targets = np.array([[0.25, 0.0, 0.75], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    value, by_hand, slope = evaluate_soft(logits, targets)
    close(value, [np.log(2.0), INF, 0.0])
    for actual in (by_hand, slope):
        close(actual[np.array([0, 2])], [[0.25, 0.0, -0.25], [0.0, 0.0, 0.0]])
    one_class = evaluate_soft(np.zeros((1, 1)), np.ones((1, 1)))[0]
    assert not np.signbit(one_class)  # 0.0 and not -0.0


def test_log_softmax_normalises_the_last_axis():
    log_softmax = jax.jit(losses.log_softmax)
    for shape in ((4,), (2, 3, 4)):
        logits = np.random.default_rng(0).normal(size=shape)
        expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-12)
    infinite = np.array([[INF, 0.0, -INF], [INF, INF, 0.0], [INF, NAN, 0.0]])
    expected = [[0.0, -INF, -INF], [NAN, NAN, NAN], [NAN, NAN, NAN]]
    np.testing.assert_array_equal(log_softmax(infinite), expected)
    half = problems.scores(20, 5, dtype="bfloat16")[0]
    wide = log_softmax(half.astype("float32"))
    np.testing.assert_array_equal(log_softmax(half), wide.astype("bfloat16"))


def test_smoothing_mixes_the_one_hot_target_with_the_uniform_one():
    smooth = jax.jit(losses.smooth_labels, static_argnums=1)
    targets = smooth(np.array([2, 0, -1, 4], "int8"), 4, 0.2)
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(targets[:2], expected, rtol=1e-15)
    assert np.isnan(targets[2:]).all()  # labels out of range
    infinite = np.array([[INF, 0.0, 0.0, 0.0]])
    value = evaluate_soft(infinite, np.array(expected[1:]))[0]
    np.testing.assert_array_equal(value, [INF])
