"""One contract for every loss, its gradient by hand, and what autodiff makes of it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from linclf_jax import gradients, losses
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
KINDS = ("loss", "gradient", "autodiff")


def function_of(name, kind):
    """Returns ``f(logits, labels)``, a value ``(N,)`` or a gradient ``(N, C)``."""
    loss = losses.LOSSES[name]
    return {
        "loss": loss,
        "gradient": functools.partial(gradients.logits_gradient, loss=name),
        "autodiff": jax.grad(lambda logits, labels: loss(logits, labels).sum()),
    }[kind]


# Compiled once for each shape: operation by operation takes far longer.
ALL = {(n, k): jax.jit(function_of(n, k)) for n in NAMES for k in KINDS}
every = pytest.mark.parametrize("call", ALL.values(), ids=map(" ".join, ALL))
OURS = {key: call for key, call in ALL.items() if key[1] != "autodiff"}
every_of_ours = pytest.mark.parametrize("call", OURS.values(), ids=map(" ".join, OURS))


def close(found, expected):
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)


# exp(s) = (1, 2, 5) makes p = (1/8, 1/4, 5/8); the hinges are counted by hand.
EIGHTHS = np.log([1.0, 2.0, 5.0])
TINY = 1.9287498479639178e-22
BY_HAND = {
    "softmax_cross_entropy": [
        (EIGHTHS, 0, np.log(8.0), [-0.875, 0.25, 0.625]),
        (EIGHTHS, 1, np.log(4.0), [0.125, -0.75, 0.625]),
        (EIGHTHS, 2, np.log(1.6), [0.125, 0.25, -0.375]),
        ([7.0, 7.0], 1, np.log(2.0), [0.5, -0.5]),
        ([3e38, 3e38, -3e38], 1, np.log(2.0), [0.5, -0.5, 0.0]),
        ([1e8, 1e8 + 50.0], 1, TINY, [TINY, -TINY]),
        ([0.0, -1e4], 1, 1e4, [1.0, -1.0]),
        ([-np.inf, 1.0, 1.0], 1, np.log(2.0), [0.0, -0.5, 0.5]),
    ],
    "weston_watkins_hinge": [
        ([1.0, 2.0, 3.0], 0, 5.0, [-2.0, 1.0, 1.0]),
        ([1.0, 2.0, 3.0], 1, 2.0, [0.0, -1.0, 1.0]),
        ([1.0, 2.0, 3.0], 2, 0.0, [0.0, 0.0, 0.0]),
        ([0.0, 0.5, -0.25], 1, 0.75, [1.0, -2.0, 1.0]),
        ([5.0, 5.0, 5.0], 1, 2.0, [1.0, -2.0, 1.0]),
        ([-np.inf, 1.0, 1.0], 1, 1.0, [0.0, -1.0, 1.0]),
    ],
    "crammer_singer_hinge": [
        ([1.0, 2.0, 3.0], 0, 3.0, [-1.0, 0.0, 1.0]),
        ([1.0, 2.0, 3.0], 1, 2.0, [0.0, -1.0, 1.0]),
        ([1.0, 2.0, 3.0], 2, 0.0, [0.0, 0.0, 0.0]),
        ([0.0, 0.5, -0.25], 1, 0.5, [1.0, -1.0, 0.0]),
        ([5.0, 5.0, 5.0], 1, 1.0, [1.0, -1.0, 0.0]),
        ([5.0, 5.0, 5.0], 0, 1.0, [-1.0, 1.0, 0.0]),
        ([-np.inf, 1.0, 1.0], 1, 1.0, [0.0, -1.0, 1.0]),
    ],
}


@pytest.mark.parametrize(
    ("name", "logits", "label", "value", "gradient"),
    [(name, *case) for name, cases in BY_HAND.items() for case in cases],
)
def test_worked_out_by_hand(name, logits, label, value, gradient):
    logits, labels = jnp.asarray(logits)[None], jnp.array([label])
    np.testing.assert_allclose(ALL[name, "loss"](logits, labels), [value], rtol=1e-13)
    found = ALL[name, "gradient"](logits, labels)
    np.testing.assert_allclose(found, [gradient], rtol=1e-14, atol=1e-35)


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(name=NAMES, kind=("loss", "gradient"))
    def test_a_batch_is_its_rows_in_a_loop_or_mapped(self, name, kind):
        logits, labels = problems.scores(6, 5)
        function = function_of(name, kind)
        found = self.variant(function)(logits, labels)
        loop = [function(logits[i : i + 1], labels[i : i + 1])[0] for i in range(6)]
        close(found, loop)
        close(self.variant(jax.vmap(function))(logits, labels), found)


@every
def test_a_permutation_of_the_classes_permutes_the_result(call):
    logits, labels = problems.scores(20, 5)
    order = np.random.default_rng(1).permutation(5)
    expected = np.asarray(call(logits, labels))
    if expected.ndim == 2:
        expected = expected[:, order]
    close(call(logits[:, order], jnp.argsort(order)[labels]), expected)


@every_of_ours
@pytest.mark.parametrize("shift", [1.0, -(2.0**13), 2.0**20])
def test_constant_on_all_logits_changes_no_bit(call, shift):
    logits, labels = problems.scores(20, 5, dtype="float32")
    logits = jnp.round(logits * 8) / 8  # so that the shift itself rounds nothing
    expected = call(logits, labels)
    np.testing.assert_array_equal(call(logits + shift, labels), expected)


@every_of_ours
def test_float32_is_float64_rounded(call):
    logits, labels = problems.scores(20, 5, dtype="float32")
    found = call(logits, labels)
    chex.assert_type(found, "float32")
    expected = call(logits.astype("float64"), labels)
    np.testing.assert_allclose(found, expected, **tolerances.rounded("float32", 5))


@every_of_ours
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_float32_rounded_once(call, dtype):
    logits, labels = problems.scores(20, 5, dtype=dtype)
    wide = call(logits.astype("float32"), labels)
    chex.assert_trees_all_equal(call(logits, labels), wide.astype(dtype))


@every
@pytest.mark.parametrize("num_rows", [1, 3])
def test_one_class_costs_nothing(call, num_rows):
    found = call(*problems.scores(num_rows, 1, scale=1e3))
    np.testing.assert_array_equal(found, np.zeros_like(found))


@every
def test_minus_infinity_takes_a_class_out(call):
    logits, labels = problems.scores(20, 5)
    masked = jnp.concatenate([jnp.full((20, 1), -jnp.inf), logits], axis=1)
    found, expected = np.asarray(call(masked, labels + 1)), call(logits, labels)
    if found.ndim == 2:
        np.testing.assert_array_equal(found[:, 0], 0)
        found = found[:, 1:]
    close(found, expected)


@every
def test_nan_among_the_logits_spoils_its_row(call):
    column, labels = (grid.ravel() for grid in jnp.mgrid[:3, :3])
    logits = jnp.tile(jnp.array([[3.0, 1.0, 2.0]]), (10, 1))
    logits = logits.at[jnp.arange(9), column].set(jnp.nan)
    found = call(logits, jnp.append(labels, 0))
    assert np.isnan(found[:9]).all()
    assert np.isfinite(found[9]).all()


@every_of_ours
def test_nan_of_one_class_is_nan(call):
    assert np.isnan(call(jnp.full((1, 1), jnp.nan), jnp.array([0]))).all()


@every
def test_label_out_of_range_spoils_its_row_and_no_other(call):
    labels = jnp.array([1, -1, 0, 3, 2, -3, 1, -4, 0, 2**31 - 1, 2, -(2**31)])
    logits, _ = problems.scores(12, 3)
    found = call(logits, labels)
    assert np.isnan(found[1::2]).all()
    np.testing.assert_array_equal(found[::2], call(logits[::2], labels[::2]))


@every_of_ours
@pytest.mark.parametrize("dtype", ["int8", "uint32"])
def test_any_integer_dtype_serves_for_labels(call, dtype):
    logits, labels = problems.scores(20, 300)
    labels = jnp.minimum(labels, 127)
    narrow = call(logits, labels.astype(dtype))
    np.testing.assert_array_equal(narrow, call(logits, labels))


@every_of_ours
def test_numpy_labels_serve_with_x64_off(call):
    with jax.enable_x64(False):
        assert np.isfinite(call(jnp.eye(3, dtype="float32"), np.arange(3))).all()


@every_of_ours
def test_labels_of_another_dtype_or_shape_are_refused(call):
    for dtype in ("bool", "float32"):
        with pytest.raises(TypeError, match=f"dtype {dtype}; expected integers"):
            call(jnp.eye(2), jnp.array([0, 1]).astype(dtype))
    with jax.numpy_rank_promotion("allow"):
        for shape in ((1,), (4,), (3, 1), ()):
            with pytest.raises(ValueError, match="labels have shape"):
                call(jnp.zeros((3, 2)), jnp.zeros(shape, "int32"))


# The same of soft targets, which have a loss of their own.
SOFT = (
    losses.softmax_cross_entropy_with_targets,
    gradients.softmax_cross_entropy_with_targets,
)


def soft_targets(num_rows, num_classes):
    """Returns targets ``(N, C)`` whose rows do not sum to one, some of them zero."""
    targets = np.random.default_rng(3).uniform(size=(num_rows, num_classes))
    return jnp.asarray(np.where(targets < 0.3, 0.0, targets))


@pytest.mark.parametrize("call", SOFT)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_soft_targets_are_float32_rounded_once(call, dtype):
    logits, _ = problems.scores(20, 5, dtype=dtype)
    wide = call(logits.astype("float32"), soft_targets(20, 5))
    found = call(logits, soft_targets(20, 5))  # jit may widen on its own
    chex.assert_trees_all_equal(found, wide.astype(dtype))


@pytest.mark.parametrize("kind", [0, 1])
def test_one_hot_targets_are_labels(kind):
    logits, labels = problems.scores(20, 5, dtype="float32", scale=40.0)
    found = jax.jit(SOFT[kind])(logits, jax.nn.one_hot(labels, 5))
    # No absolute part: a confident row keeps its digits here too.
    expected = ALL[NAMES[0], KINDS[kind]](logits, labels)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_soft_targets_weigh_the_log_probabilities():
    logits, labels = problems.scores(20, 5)
    loss, gradient = map(jax.jit, SOFT)
    autodiff = jax.jit(jax.grad(lambda logits, targets: loss(logits, targets).sum()))
    each = [ALL[NAMES[0], "loss"](logits, labels * 0 + j) for j in range(5)]
    for targets in (soft_targets(20, 5), jnp.zeros((20, 5))):
        close(loss(logits, targets), (targets * jnp.stack(each, axis=1)).sum(axis=1))
        close(gradient(logits, targets), autodiff(logits, targets))


def test_zero_target_hides_minus_infinity_and_no_more():
    logits = jnp.array([[0.0, -jnp.inf, 0.0], [0.0, -jnp.inf, 0.0]])
    targets = jnp.array([[0.25, 0.0, 0.75], [0.5, 0.5, 0.0]])
    loss, gradient = SOFT
    close(loss(logits, targets), [np.log(2.0), np.inf])
    autodiff = jax.jit(jax.grad(lambda logits, targets: loss(logits, targets).sum()))
    for function in (gradient, autodiff):
        close(function(logits[:1], targets[:1]), [[0.25, 0.0, -0.25]])


# What is particular to the one or the other.
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_log_softmax_is_float32_rounded_once(dtype):
    logits, _ = problems.scores(20, 5, dtype=dtype)
    found = losses.log_softmax(logits)  # jit may widen on its own
    wide = losses.log_softmax(logits.astype("float32"))
    chex.assert_trees_all_equal(found, wide.astype(dtype))


def test_ties_have_the_derivatives_of_their_neighbours():
    labels = jnp.array([2])

    def loss(row):
        return losses.softmax_cross_entropy(row[None], labels)[0]

    tied = jnp.full(4, 3.0)
    gradient = jnp.array([0.25, 0.25, -0.75, 0.25])
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(tied), gradient, rtol=1e-15)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(loss))(tied),
        np.eye(4) / 4 - 1 / 16,
        **tolerances.CLOSED_FORM,
    )


def test_a_loss_of_zero_has_no_sign():
    one_class = jnp.zeros((1, 1))
    for name, loss in losses.LOSSES.items():
        assert not np.signbit(loss(one_class, jnp.array([0]))), name
    soft = losses.softmax_cross_entropy_with_targets(one_class, jnp.ones((1, 1)))
    assert not np.signbit(soft)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (3, 1)])
def test_log_softmax_normalises_the_last_axis(shape):
    logits = jax.random.normal(jax.random.key(0), shape, "float64")
    log_probs = jax.jit(losses.log_softmax)(logits)
    chex.assert_equal_shape([log_probs, logits])
    scores = np.asarray(logits)
    expected = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-12, atol=1e-15)


def test_smoothing_mixes_the_one_hot_target_with_the_uniform_one():
    targets = losses.smooth_labels(jnp.array([2, 0]), 4, 0.2)
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(targets, expected, rtol=1e-15)
    traced = jax.jit(losses.smooth_labels, static_argnums=1)(jnp.array([2, 0]), 4, 0.2)
    np.testing.assert_allclose(traced, expected, rtol=1e-15)


def test_smoothing_does_not_hide_a_label_out_of_range():
    targets = losses.smooth_labels(jnp.array([-1, 0, 3], "int8"), 3, 0.1)
    np.testing.assert_array_equal(np.isnan(targets).all(axis=1), [True, False, True])
    assert np.isfinite(targets[1]).all()
