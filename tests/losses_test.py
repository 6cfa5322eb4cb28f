"""One contract for every loss, and the objective that averages them."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from linclf_jax import losses, params
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
every_loss = pytest.mark.parametrize("name", NAMES)
# Compiled once for each loss and shape: operation by operation takes far longer.
objective = jax.jit(losses.objective, static_argnames="loss")


@functools.partial(jax.jit, static_argnums=0)
def value(name, logits, labels):
    return losses.LOSSES[name](logits, labels)


@functools.partial(jax.jit, static_argnums=0)
def value_and_autodiff(name, logits, labels):
    """Returns the losses ``(N,)`` and what autodiff takes for their gradient."""
    loss = losses.LOSSES[name]
    return loss(logits, labels), jax.grad(lambda s: loss(s, labels).sum())(logits)


# exp(s) = (1, 2, 5) makes p = (1/8, 1/4, 5/8); the hinges are counted by hand.
EIGHTHS = np.log([1.0, 2.0, 5.0])


@pytest.mark.parametrize(
    ("name", "logits", "label", "value"),
    [
        ("softmax_cross_entropy", EIGHTHS, 0, np.log(8.0)),
        ("softmax_cross_entropy", EIGHTHS, 1, np.log(4.0)),
        ("softmax_cross_entropy", EIGHTHS, 2, np.log(1.6)),
        ("softmax_cross_entropy", [7.0, 7.0, 7.0], 1, np.log(3.0)),
        ("softmax_cross_entropy", [3e38, 3e38, 3e38], 1, np.log(3.0)),
        ("softmax_cross_entropy", [1e8, 1e8 + 50.0], 1, 1.9287498479639178e-22),
        ("softmax_cross_entropy", [0.0, -1e4], 1, 1e4),
        ("weston_watkins_hinge", [1.0, 2.0, 3.0], 0, 5.0),
        ("weston_watkins_hinge", [1.0, 2.0, 3.0], 1, 2.0),
        ("weston_watkins_hinge", [1.0, 2.0, 3.0], 2, 0.0),
        ("weston_watkins_hinge", [0.0, 0.5, -0.25], 1, 0.75),
        ("weston_watkins_hinge", [0.0, 0.0, 0.0], 1, 2.0),
        ("crammer_singer_hinge", [1.0, 2.0, 3.0], 0, 3.0),
        ("crammer_singer_hinge", [1.0, 2.0, 3.0], 1, 2.0),
        ("crammer_singer_hinge", [1.0, 2.0, 3.0], 2, 0.0),
        ("crammer_singer_hinge", [0.0, 0.5, -0.25], 1, 0.5),
        ("crammer_singer_hinge", [0.0, 0.0, 0.0], 1, 1.0),
    ],
)
def test_values_worked_out_by_hand(name, logits, label, value):
    found = losses.LOSSES[name](jnp.asarray(logits)[None], jnp.array([label]))
    np.testing.assert_allclose(found, [value], rtol=1e-13)


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*NAMES)
    def test_batch_is_a_loop_over_its_rows(self, name):
        logits, labels = problems.scores(20, 5)
        found = self.variant(losses.LOSSES[name])(logits, labels)
        loop = [value(name, logits[i : i + 1], labels[i : i + 1])[0] for i in range(20)]
        np.testing.assert_allclose(found, loop, **tolerances.CLOSED_FORM)


@every_loss
def test_vmap_over_rows_and_over_labels(name):
    logits, labels = problems.scores(20, 5)
    expected = value(name, logits, labels)
    rows = jax.jit(jax.vmap(losses.LOSSES[name]))(logits, labels)
    np.testing.assert_allclose(rows, expected, **tolerances.CLOSED_FORM)
    over_labels = jax.jit(jax.vmap(losses.LOSSES[name], in_axes=(None, 0)))
    table = over_labels(logits, jnp.repeat(jnp.arange(5)[:, None], 20, axis=1))
    picked = np.asarray(table)[labels, np.arange(20)]
    np.testing.assert_allclose(picked, expected, **tolerances.CLOSED_FORM)


@every_loss
def test_permuting_the_classes_and_the_labels_changes_nothing(name):
    logits, labels = problems.scores(20, 5)
    order = np.random.default_rng(1).permutation(5)
    moved = value(name, logits[:, order], jnp.argsort(order)[labels])
    expected = value(name, logits, labels)
    np.testing.assert_allclose(moved, expected, **tolerances.CLOSED_FORM)


@every_loss
@pytest.mark.parametrize("shift", [1.0, -(2.0**13), 2.0**20])
def test_constant_on_all_logits_changes_no_bit(name, shift):
    logits, labels = problems.scores(20, 5, dtype="float32")
    logits = jnp.round(logits * 8) / 8  # so that the shift itself rounds nothing
    shifted = value(name, logits + shift, labels)
    np.testing.assert_array_equal(shifted, value(name, logits, labels))


@every_loss
def test_minus_infinity_takes_a_class_out(name):
    logits, labels = problems.scores(20, 5)
    masked = jnp.concatenate([jnp.full((20, 1), -jnp.inf), logits], axis=1)
    found, gradient = value_and_autodiff(name, masked, labels + 1)
    expected, without = value_and_autodiff(name, logits, labels)
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)
    np.testing.assert_array_equal(gradient[:, 0], 0)
    np.testing.assert_allclose(gradient[:, 1:], without, **tolerances.CLOSED_FORM)


@every_loss
@pytest.mark.parametrize("num_rows", [1, 3])
def test_one_class_costs_nothing(name, num_rows):
    logits, labels = problems.scores(num_rows, 1, scale=1e3)
    values, gradient = value_and_autodiff(name, logits, labels)
    np.testing.assert_array_equal(values, np.zeros(num_rows))
    np.testing.assert_array_equal(gradient, np.zeros((num_rows, 1)))


@every_loss
def test_float32_is_float64_rounded(name):
    logits, labels = problems.scores(20, 5, dtype="float32")
    found = value(name, logits, labels)
    expected = value(name, logits.astype("float64"), labels)
    chex.assert_type(found, "float32")
    np.testing.assert_allclose(found, expected, **tolerances.rounded("float32", 5))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_log_softmax_is_float32_rounded_once(dtype):
    logits, _ = problems.scores(20, 5, dtype=dtype)
    found = losses.log_softmax(logits)  # jit may widen on its own
    wide = losses.log_softmax(logits.astype("float32"))
    chex.assert_trees_all_equal(found, wide.astype(dtype))


@every_loss
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_float32_rounded_once(name, dtype):
    logits, labels = problems.scores(20, 5, dtype=dtype)
    found = value(name, logits, labels)
    wide = value(name, logits.astype("float32"), labels)
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


@every_loss
@pytest.mark.parametrize("dtype", ["int8", "uint32"])
def test_any_integer_dtype_serves_for_labels(name, dtype):
    logits, labels = problems.scores(20, 300)
    labels = jnp.minimum(labels, 127)
    wide = value(name, logits, labels)
    narrow = value(name, logits, labels.astype(dtype))
    np.testing.assert_array_equal(narrow, wide)


@every_loss
def test_numpy_labels_serve_with_x64_off(name):
    with jax.enable_x64(False):
        values = value(name, jnp.eye(3, dtype="float32"), np.arange(3))
    assert np.isfinite(values).all()


@every_loss
@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_labels_that_are_no_integers_are_refused(name, dtype):
    with pytest.raises(TypeError, match=f"dtype {dtype}; expected integers"):
        value(name, jnp.eye(2), jnp.array([0, 1]).astype(dtype))


@every_loss
@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), ()])
def test_labels_of_another_shape_are_refused(name, shape):
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match="labels"):
        losses.LOSSES[name](jnp.zeros((3, 2)), jnp.zeros(shape, "int32"))


@every_loss
def test_label_out_of_range_spoils_its_row_and_no_other(name):
    labels = jnp.array([1, -1, 0, 3, 2, -3, 1, -4, 0, 2**31 - 1, 2, -(2**31)])
    logits, _ = problems.scores(12, 3)
    found = value_and_autodiff(name, logits, labels)
    good = value_and_autodiff(name, logits[::2], labels[::2])
    for ours, expected in zip(found, good, strict=True):
        assert np.isnan(ours[1::2]).all()
        np.testing.assert_array_equal(ours[::2], expected)


@every_loss
def test_nan_among_the_logits_is_nan(name):
    place, labels = (grid.ravel() for grid in jnp.mgrid[:3, :3])
    logits = jnp.tile(jnp.array([[3.0, 1.0, 2.0]]), (9, 1))
    logits = logits.at[jnp.arange(9), place].set(jnp.nan)
    values, gradient = value_and_autodiff(name, logits, labels)
    assert np.isnan(values).all()
    assert np.isnan(gradient).all()
    one_class = value(name, jnp.full((1, 1), jnp.nan), jnp.array([0]))
    assert np.isnan(one_class).all()


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


def soft_targets(num_rows, num_classes, seed=3):
    """Returns targets ``(N, C)`` whose rows do not sum to one, some of them zero."""
    targets = np.random.default_rng(seed).uniform(size=(num_rows, num_classes))
    return jnp.asarray(np.where(targets < 0.3, 0.0, targets))


def test_soft_targets_weigh_the_log_probabilities():
    logits, labels = problems.scores(20, 5)
    soft = jax.jit(losses.softmax_cross_entropy_with_targets)
    one_hot = soft(logits, jax.nn.one_hot(labels, 5))
    hard = value(NAMES[0], logits, labels)
    np.testing.assert_allclose(one_hot, hard, **tolerances.CLOSED_FORM)
    targets = soft_targets(20, 5)
    each = jnp.stack(
        [value(NAMES[0], logits, labels * 0 + j) for j in range(5)], axis=1
    )
    expected = (targets * each).sum(axis=1)
    np.testing.assert_allclose(
        soft(logits, targets), expected, **tolerances.CLOSED_FORM
    )


def test_zero_target_hides_minus_infinity_and_no_more():
    logits = jnp.array([[0.0, -jnp.inf, 0.0], [0.0, -jnp.inf, 0.0]])
    targets = jnp.array([[0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])

    def total(scores, targets):
        return losses.softmax_cross_entropy_with_targets(scores, targets).sum()

    values = losses.softmax_cross_entropy_with_targets(logits, targets)
    np.testing.assert_allclose(values, [np.log(2.0), np.inf], rtol=1e-15)
    gradient = jax.jit(jax.grad(total))(logits[:1], targets[:1])
    np.testing.assert_allclose(gradient, np.zeros((1, 3)), atol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_soft_targets_are_float32_rounded_once(dtype):
    logits, _ = problems.scores(20, 5, dtype=dtype)
    targets = soft_targets(20, 5)
    wide = losses.softmax_cross_entropy_with_targets(logits.astype("float32"), targets)
    found = losses.softmax_cross_entropy_with_targets(logits, targets)
    chex.assert_trees_all_equal(found, wide.astype(dtype))


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


def naive_objective(name, problem, l2, weights):
    """Returns equation (17) as a loop over the rows, in NumPy."""
    (W, b), x, labels, _ = jax.tree.map(np.asarray, problem)
    total = 0.0
    for row, label, weight in zip(x, labels, weights, strict=True):
        s = [
            sum(row[d] * W[d, j] for d in range(len(row))) + b[j] for j in range(len(b))
        ]
        margins = [s[j] - s[label] + 1 for j in range(len(b)) if j != label]
        total += (
            weight
            * {
                "softmax_cross_entropy": -np.log(np.exp(s[label]) / np.exp(s).sum()),
                "weston_watkins_hinge": sum(max(0.0, m) for m in margins),
                "crammer_singer_hinge": max([0.0, *margins]),
            }[name]
        )
    return total / sum(weights) + l2 / 2 * (W**2).sum()


@every_loss
@pytest.mark.parametrize("shape", problems.SHAPES)
def test_objective_is_the_naive_formula(name, shape):
    problem = problems.problem(shape)
    p, x, labels, weights = problem
    ones = np.ones(len(labels))
    found = objective(p, x, labels, loss=name, l2=0.3)
    expected = naive_objective(name, problem, 0.3, ones)
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)
    found = objective(p, x, labels, loss=name, l2=0.3, weights=weights)
    expected = naive_objective(name, problem, 0.3, np.asarray(weights))
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)


@every_loss
def test_weights_count_rows(name):
    p, x, labels, _ = problems.problem()
    counts = np.array([2, 0, 1, 3, 0, 1, 1])
    rows = np.repeat(np.arange(7), counts)
    repeated = objective(p, x[rows], labels[rows], loss=name, l2=0.1)
    for weights in (jnp.asarray(counts), jnp.asarray(counts / 64)):
        found = objective(p, x, labels, loss=name, l2=0.1, weights=weights)
        np.testing.assert_allclose(found, repeated, **tolerances.CLOSED_FORM)
    twice = objective(p, jnp.tile(x, (2, 1)), jnp.tile(labels, 2), loss=name, l2=0.1)
    once = objective(p, x, labels, loss=name, l2=0.1)
    np.testing.assert_allclose(twice, once, **tolerances.CLOSED_FORM)


def test_weights_in_a_column_are_refused():
    p, x, labels, weights = problems.problem()
    with (
        jax.numpy_rank_promotion("allow"),
        pytest.raises(ValueError, match=r"\(7, 1\)"),
    ):
        losses.objective(p, x, labels, loss=NAMES[0], l2=0.1, weights=weights[:, None])


def test_penalty_leaves_the_bias_alone():
    (W, b), x, labels, _ = problems.problem()

    def penalty(W, b):
        p = params.Params(W, b)
        strong, none = (
            objective(p, x, labels, loss=NAMES[0], l2=l2) for l2 in (2.0, 0.0)
        )
        return strong - none

    np.testing.assert_allclose(penalty(W, b), (W**2).sum(), rtol=1e-13)
    np.testing.assert_allclose(penalty(W, 100 * b), (W**2).sum(), rtol=1e-11)


def test_penalty_does_not_overflow_in_half_precision():
    p = params.Params(jnp.full((2, 1), 300.0, "float16"), jnp.zeros(1, "float16"))
    x, labels = jnp.ones((1, 2)), jnp.array([0])
    found = losses.objective(p, x, labels, loss=NAMES[0], l2=0.01)
    np.testing.assert_array_equal(found, np.float16(900.0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("features", ["uint8", "float64"])
def test_objective_has_the_dtype_of_the_weights(dtype, features):
    (W, b), x, labels, _ = problems.problem(dtype=dtype)
    x = jnp.round(jnp.abs(100 * x)).astype(features)
    found = objective(params.Params(W / 100, b), x, labels, loss=NAMES[0], l2=0.1)
    wide = params.Params((W / 100).astype("float64"), b.astype("float64"))
    exact = objective(wide, x.astype("float64"), labels, loss=NAMES[0], l2=0.1)
    chex.assert_type(found, dtype)
    unit = max(jnp.finfo(dtype).eps, 4 * jnp.finfo("float32").eps)
    if dtype == features == "float64":
        unit = jnp.finfo(dtype).eps
    np.testing.assert_allclose(float(found), exact, rtol=2 * float(unit))


def test_objective_is_differentiable_in_l2_and_weights():
    p, x, labels, weights = problems.problem()

    def in_both(l2, weights):
        return objective(p, x, labels, loss=NAMES[0], l2=l2, weights=weights)

    in_l2, in_weights = jax.jit(jax.grad(in_both, argnums=(0, 1)))(0.1, weights)
    np.testing.assert_allclose(in_l2, (p.W**2).sum() / 2, **tolerances.CLOSED_FORM)
    each = losses.softmax_cross_entropy(params.logits(p, x), labels)
    mean = (weights * each).sum() / weights.sum()
    expected = (each - mean) / weights.sum()
    np.testing.assert_allclose(in_weights, expected, **tolerances.CLOSED_FORM)


def test_lanes_of_l2_and_params_share_a_batch():
    p, x, labels, _ = problems.problem()
    stack = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), p)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def lane(p, l2):
        return objective(p, x, labels, loss=NAMES[0], l2=l2)

    found = jax.vmap(lane)(stack, jnp.array([0.1, 0.7]))
    expected = [
        objective(
            jax.tree.map(lambda a, i=i: a[i], stack), x, labels, loss=NAMES[0], l2=l2
        )
        for i, l2 in enumerate((0.1, 0.7))
    ]
    np.testing.assert_allclose(found, expected, **tolerances.CLOSED_FORM)


@pytest.mark.parametrize("name", ["hinge", "", None])
def test_unknown_loss_is_refused_with_the_known_ones(name):
    p, x, labels, _ = problems.problem()
    with pytest.raises(ValueError, match=r"expected one of .*softmax_cross_entropy"):
        objective(p, x, labels, loss=name, l2=0.1)
