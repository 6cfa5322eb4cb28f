"""Every first derivative by hand, against autodiff and hand-written tables."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from linclf_jax import curvature, gradients, losses, params
from linclf_jax.params import Params
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
every_loss = pytest.mark.parametrize("name", NAMES)
# Compiled once for each loss and shape: operation by operation takes far longer.
logits_gradient = jax.jit(gradients.logits_gradient, static_argnames="loss")
objective_gradient = jax.jit(gradients.objective_gradient, static_argnames="loss")
inputs_gradient = jax.jit(gradients.inputs_gradient, static_argnames="loss")
norms_of = jax.jit(gradients.per_example_gradient_norms, static_argnames="loss")


@functools.partial(jax.jit, static_argnames="loss")
def autodiff(logits, labels, *, loss):
    return jax.grad(lambda s: losses.LOSSES[loss](s, labels).sum())(logits)


@functools.partial(jax.jit, static_argnames="loss")
def objective_autodiff(p, x, labels, *, loss, l2, weights=None):
    """Returns autodiff's gradients with respect to the parameters and to ``x``."""

    def value(p, x):
        return losses.objective(p, x, labels, loss=loss, l2=l2, weights=weights)

    return jax.grad(value, argnums=(0, 1))(p, x)


def assert_close(found, expected, **tolerance):
    """Compares every coordinate of two trees, dtype and shape included."""
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, e, **tolerance), found, expected
    )


# exp(s) = (1, 2, 5) makes p = (1/8, 1/4, 5/8); the hinges are counted by hand.
EIGHTHS = np.log([1.0, 2.0, 5.0])
TINY = [1.9287498479639178e-22, -1.9287498479639178e-22]


@pytest.mark.parametrize(
    ("name", "logits", "label", "gradient"),
    [
        ("softmax_cross_entropy", EIGHTHS, 0, [-0.875, 0.25, 0.625]),
        ("softmax_cross_entropy", EIGHTHS, 1, [0.125, -0.75, 0.625]),
        ("softmax_cross_entropy", EIGHTHS, 2, [0.125, 0.25, -0.375]),
        ("softmax_cross_entropy", [7.0, 7.0], 1, [0.5, -0.5]),
        ("softmax_cross_entropy", [3e38, 3e38, -3e38], 1, [0.5, -0.5, 0.0]),
        ("softmax_cross_entropy", [1e3, 1e3 + 50], 1, TINY),
        ("softmax_cross_entropy", [-np.inf, 1.0, 1.0], 1, [0.0, -0.5, 0.5]),
        ("weston_watkins_hinge", [1.0, 2.0, 3.0], 0, [-2.0, 1.0, 1.0]),
        ("weston_watkins_hinge", [1.0, 2.0, 3.0], 1, [0.0, -1.0, 1.0]),
        ("weston_watkins_hinge", [1.0, 2.0, 3.0], 2, [0.0, 0.0, 0.0]),
        ("weston_watkins_hinge", [5.0, 5.0, 5.0], 1, [1.0, -2.0, 1.0]),
        ("weston_watkins_hinge", [-np.inf, 1.0, 1.0], 1, [0.0, -1.0, 1.0]),
        ("crammer_singer_hinge", [1.0, 2.0, 3.0], 0, [-1.0, 0.0, 1.0]),
        ("crammer_singer_hinge", [1.0, 2.0, 3.0], 1, [0.0, -1.0, 1.0]),
        ("crammer_singer_hinge", [1.0, 2.0, 3.0], 2, [0.0, 0.0, 0.0]),
        ("crammer_singer_hinge", [5.0, 5.0, 5.0], 1, [1.0, -1.0, 0.0]),
        ("crammer_singer_hinge", [5.0, 5.0, 5.0], 0, [-1.0, 1.0, 0.0]),
        ("crammer_singer_hinge", [-np.inf, 1.0, 1.0], 1, [0.0, -1.0, 1.0]),
    ],
)
def test_gradients_worked_out_by_hand(name, logits, label, gradient):
    logits, labels = jnp.asarray(logits)[None], jnp.array([label])
    found = logits_gradient(logits, labels, loss=name)
    np.testing.assert_allclose(found, [gradient], rtol=1e-14, atol=1e-16)


class TransformationsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*NAMES)
    def test_logits_gradient_is_autodiff_of_the_loss(self, name):
        logits, labels = problems.scores(20, 5)
        by_hand = self.variant(functools.partial(gradients.logits_gradient, loss=name))
        expected = autodiff(logits, labels, loss=name)
        assert_close(by_hand(logits, labels), expected, **tolerances.CLOSED_FORM)


@every_loss
def test_vmap_over_rows_is_the_batch(name):
    logits, labels = problems.scores(20, 5)
    rows = jax.vmap(functools.partial(gradients.logits_gradient, loss=name))
    expected = logits_gradient(logits, labels, loss=name)
    assert_close(jax.jit(rows)(logits, labels), expected, **tolerances.CLOSED_FORM)


@every_loss
def test_central_differences_of_the_loss(name):
    logits, labels = problems.scores(20, 5)
    gradient = logits_gradient(logits, labels, loss=name)
    value = jax.jit(losses.LOSSES[name])
    step = 1e-6
    for j in range(5):
        up, down = (value(logits.at[:, j].add(s), labels) for s in (step, -step))
        # 1e-9: the rounding of the two values, 2e-16, over the step.
        np.testing.assert_allclose(gradient[:, j], (up - down) / 2 / step, atol=1e-9)


@every_loss
def test_rows_sum_to_zero(name):
    logits, labels = problems.scores(20, 5)
    gradient = logits_gradient(logits, labels, loss=name)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)
    assert (np.abs(gradient).max(axis=1) > 0).any()


@every_loss
def test_permuting_the_classes_permutes_the_gradient(name):
    logits, labels = problems.scores(20, 5)
    order = np.random.default_rng(1).permutation(5)
    moved = logits_gradient(logits[:, order], jnp.argsort(order)[labels], loss=name)
    expected = logits_gradient(logits, labels, loss=name)[:, order]
    assert_close(moved, expected, **tolerances.CLOSED_FORM)


@every_loss
@pytest.mark.parametrize("shift", [1.0, -(2.0**13), 2.0**20])
def test_constant_on_all_logits_changes_no_bit(name, shift):
    logits, labels = problems.scores(20, 5, dtype="float32")
    logits = jnp.round(logits * 8) / 8  # so that the shift itself rounds nothing
    shifted = logits_gradient(logits + shift, labels, loss=name)
    np.testing.assert_array_equal(shifted, logits_gradient(logits, labels, loss=name))


@every_loss
def test_float32_is_float64_rounded(name):
    logits, labels = problems.scores(20, 5, dtype="float32")
    found = logits_gradient(logits, labels, loss=name)
    expected = logits_gradient(logits.astype("float64"), labels, loss=name)
    chex.assert_type(found, "float32")
    np.testing.assert_allclose(found, expected, **tolerances.rounded("float32", 5))


@every_loss
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_float32_rounded_once(name, dtype):
    logits, labels = problems.scores(20, 5, dtype=dtype)
    found = logits_gradient(logits, labels, loss=name)
    wide = logits_gradient(logits.astype("float32"), labels, loss=name)
    chex.assert_trees_all_equal(found, wide.astype(dtype))


@every_loss
def test_one_class_has_no_gradient(name):
    logits, labels = problems.scores(3, 1, scale=1e3)
    found = logits_gradient(logits, labels, loss=name)
    np.testing.assert_array_equal(found, np.zeros((3, 1)))


@every_loss
@pytest.mark.parametrize("dtype", ["int8", "uint32"])
def test_any_integer_dtype_serves_for_labels(name, dtype):
    logits, labels = problems.scores(20, 300)
    labels = jnp.minimum(labels, 127)
    wide = logits_gradient(logits, labels, loss=name)
    narrow = logits_gradient(logits, labels.astype(dtype), loss=name)
    np.testing.assert_array_equal(narrow, wide)


def test_numpy_labels_serve_with_x64_off():
    logits = jnp.eye(3, dtype="float32")
    with jax.enable_x64(False):
        gradient = gradients.logits_gradient(logits, np.arange(3), loss=NAMES[0])
    assert np.isfinite(gradient).all()


def test_labels_and_weights_of_another_shape_are_refused():
    p, x, labels, weights = problems.problem()
    gradient = functools.partial(
        gradients.objective_gradient, p, x, loss=NAMES[0], l2=0.1
    )
    with jax.numpy_rank_promotion("allow"):
        for bad in (labels[:1], labels[:, None], labels[:6]):
            with pytest.raises(ValueError, match="labels have shape"):
                gradient(bad)
        for bad in (weights[:1], weights[:, None], weights[:6]):
            with pytest.raises(ValueError, match="weights have shape"):
                gradient(labels, weights=bad)


@every_loss
def test_label_out_of_range_spoils_its_row_and_no_other(name):
    labels = jnp.array([1, -1, 0, 3, 2, -3, 1, -4, 0, 2**31 - 1, 2, -(2**31)])
    logits, _ = problems.scores(12, 3)
    found = logits_gradient(logits, labels, loss=name)
    good = logits_gradient(logits[::2], labels[::2], loss=name)
    assert np.isnan(found[1::2]).all()
    np.testing.assert_array_equal(found[::2], good)


@every_loss
def test_label_out_of_range_spoils_the_whole_gradient(name):
    p, x, labels, weights = problems.problem()
    labels = labels.at[2].set(4)
    found = objective_gradient(p, x, labels, loss=name, l2=0.1, weights=weights)
    assert all(np.isnan(leaf).all() for leaf in found)
    in_x = inputs_gradient(p, x, labels, loss=name)
    np.testing.assert_array_equal(np.isnan(in_x).all(axis=1), np.arange(7) == 2)


@every_loss
@pytest.mark.parametrize("num_classes", [1, 3])
def test_nan_among_the_logits_spoils_its_row(name, num_classes):
    place, labels = (g.ravel() for g in jnp.mgrid[:num_classes, :num_classes])
    logits = jnp.zeros((place.size, num_classes))
    logits = logits.at[jnp.arange(place.size), place].set(jnp.nan)
    assert np.isnan(logits_gradient(logits, labels, loss=name)).all()


def soft_targets(num_rows, num_classes, seed=3):
    """Returns targets ``(N, C)`` whose rows do not sum to one, some of them zero."""
    targets = np.random.default_rng(seed).uniform(size=(num_rows, num_classes))
    return jnp.asarray(np.where(targets < 0.3, 0.0, targets))


soft_gradient = jax.jit(gradients.softmax_cross_entropy_with_targets)


def test_soft_targets_of_any_sum_have_autodiffs_gradient():
    logits, _ = problems.scores(20, 5)
    for targets in (soft_targets(20, 5), jnp.zeros((20, 5))):
        expected = jax.jit(
            jax.grad(lambda s, t: losses.softmax_cross_entropy_with_targets(s, t).sum())
        )(logits, targets)
        assert_close(soft_gradient(logits, targets), expected, **tolerances.CLOSED_FORM)


def test_one_hot_targets_have_the_gradient_of_labels():
    logits, labels = problems.scores(20, 5, dtype="float32", scale=40.0)
    one_hot = soft_gradient(logits, jax.nn.one_hot(labels, 5))
    expected = logits_gradient(logits, labels, loss=NAMES[0])
    # No absolute part: a confident row keeps its digits here too.
    np.testing.assert_allclose(one_hot, expected, rtol=2e-6)


def test_soft_targets_beside_minus_infinity():
    logits = jnp.array([[0.0, -jnp.inf, 0.0]])
    gradient = soft_gradient(logits, jnp.array([[0.25, 0.0, 0.75]]))
    np.testing.assert_allclose(gradient, [[0.25, 0.0, -0.25]], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_soft_targets_are_float32_rounded_once(dtype):
    logits, _ = problems.scores(20, 5, dtype=dtype)
    targets = soft_targets(20, 5)
    wide = soft_gradient(logits.astype("float32"), targets)
    chex.assert_trees_all_equal(soft_gradient(logits, targets), wide.astype(dtype))


@every_loss
@pytest.mark.parametrize("shape", problems.SHAPES)
def test_objective_gradients_are_autodiffs(name, shape):
    for scale in (1.0, 1e-6, 0.0):
        p, x, labels, weights = problems.problem(shape, scale=scale)
        in_params, in_x = objective_autodiff(
            p, x, labels, loss=name, l2=0.3, weights=weights
        )
        found = objective_gradient(p, x, labels, loss=name, l2=0.3, weights=weights)
        assert_close(found, in_params, **tolerances.CLOSED_FORM)
        found = inputs_gradient(p, x, labels, loss=name, weights=weights)
        assert_close(found, in_x, **tolerances.CLOSED_FORM)


@every_loss
def test_without_weights_all_rows_weigh_alike(name):
    p, x, labels, _ = problems.problem()
    in_params, in_x = objective_autodiff(p, x, labels, loss=name, l2=0.3)
    found = objective_gradient(p, x, labels, loss=name, l2=0.3)
    assert_close(found, in_params, **tolerances.CLOSED_FORM)
    found = inputs_gradient(p, x, labels, loss=name)
    assert_close(found, in_x, **tolerances.CLOSED_FORM)


@every_loss
def test_weights_count_rows(name):
    p, x, labels, _ = problems.problem()
    counts = np.array([2, 0, 1, 3, 0, 1, 1])
    rows = np.repeat(np.arange(7), counts)
    gradient = functools.partial(objective_gradient, p, loss=name, l2=0.1)
    repeated = gradient(x[rows], labels[rows])
    for weights in (jnp.asarray(counts), jnp.asarray(counts / 64)):
        found = gradient(x, labels, weights=weights)
        assert_close(found, repeated, **tolerances.CLOSED_FORM)
    twice = gradient(jnp.tile(x, (2, 1)), jnp.tile(labels, 2))
    assert_close(twice, gradient(x, labels), **tolerances.CLOSED_FORM)


@every_loss
def test_class_sums_vanish_without_a_penalty(name):
    p, x, labels, weights = problems.problem()
    found = objective_gradient(p, x, labels, loss=name, l2=0.0, weights=weights)
    np.testing.assert_allclose(found.W.sum(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(found.b.sum(), 0, atol=1e-14)
    shifted = objective_gradient(
        p._replace(b=p.b + 3.0), x, labels, loss=name, l2=0.0, weights=weights
    )
    assert_close(shifted, found, rtol=1e-12, atol=1e-13)  # the shift rounds b


def planted(g, p, l2):
    """Returns what common mistakes make of a right gradient for four rows."""
    W, b = g
    return {
        "scaled by 1.01": Params(1.01 * W, b),
        "wrong sign": Params(-W, -b),
        "no 1/N": Params(4 * (W - l2 * p.W) + l2 * p.W, 4 * b),
        "penalty halved": Params(W - l2 / 2 * p.W, b),
        "penalty doubled": Params(W + l2 * p.W, b),
        "bias penalised": Params(W, b + l2 * p.b),
        "W transposed": Params(W.T, b),
        "classes rolled": Params(jnp.roll(W, 1, axis=1), jnp.roll(b, 1)),
        "one coordinate off by 1e-11": Params(W, b.at[0].add(1e-11)),
        "of another dtype": Params(W.astype("float32"), b.astype("float32")),
    }


def test_comparison_catches_planted_faults():
    p, x, labels, _ = problems.problem((4, 4, 4))
    expected, _ = objective_autodiff(p, x, labels, loss=NAMES[0], l2=0.3)
    found = objective_gradient(p, x, labels, loss=NAMES[0], l2=0.3)
    missed = []
    for fault, wrong in planted(found, p, 0.3).items():
        try:
            assert_close(wrong, expected, **tolerances.CLOSED_FORM)
        except AssertionError:
            continue
        missed.append(fault)
    assert not missed


@every_loss
def test_float32_gradient_is_float64_rounded(name):
    wide = problems.problem((50, 8, 5))
    p, x, labels, weights = jax.tree.map(
        lambda a: a.astype("float32") if a.dtype == "float64" else a, wide
    )
    found = objective_gradient(p, x, labels, loss=name, l2=0.1, weights=weights)
    p, x, weights = jax.tree.map(lambda a: a.astype("float64"), (p, x, weights))
    exact = objective_gradient(p, x, labels, loss=name, l2=0.1, weights=weights)
    for ours, true in zip(found, exact, strict=True):
        chex.assert_type(ours, "float32")
        np.testing.assert_allclose(ours, true, **tolerances.rounded("float32", 8))


@pytest.mark.parametrize(
    ("dtype", "features"),
    [("float16", "uint8"), ("bfloat16", "float64"), ("float32", "uint8")],
)
def test_mixed_dtypes_compute_wide_and_return_their_own(dtype, features):
    (W, b), x, labels, weights = problems.problem(dtype=dtype)
    x = jnp.round(jnp.abs(100 * x)).astype(features)
    p = Params(W / 128, b)
    found = objective_gradient(p, x, labels, loss=NAMES[0], l2=0.1, weights=weights)
    wide, x64 = jax.tree.map(lambda a: a.astype("float64"), (p, x))
    exact = objective_gradient(
        wide, x64, labels, loss=NAMES[0], l2=0.1, weights=weights.astype("float64")
    )
    chex.assert_type(found, dtype)
    # One rounding into the result, and float32 in a sum of 7 terms of size 255.
    unit = float(jnp.finfo(dtype).eps)
    for ours, true in zip(found, exact, strict=True):
        np.testing.assert_allclose(
            ours.astype("float64"), true, rtol=unit, atol=255 * 1e-6
        )


def test_gradient_of_the_inputs_has_their_dtype():
    p, x, labels, _ = problems.problem()
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        found = inputs_gradient(p, x.astype(dtype), labels, loss=NAMES[0])
        chex.assert_type(found, dtype)


@every_loss
def test_norms_are_those_of_each_rows_own_gradient(name):
    p, x, labels, _ = problems.problem((4, 4, 4))

    @jax.jit
    @jax.vmap
    def each(row, label):
        def loss(p):
            return losses.LOSSES[name](params.logits(p, row[None]), label[None])[0]

        return jax.tree.map(jnp.linalg.norm, jax.grad(loss)(p))

    norms = norms_of(p, x, labels, loss=name)
    assert_close(norms, each(x, labels), **tolerances.CLOSED_FORM)


def test_norms_keep_what_their_squares_would_lose():
    p = Params(50.0 * jnp.eye(2, dtype="float32"), jnp.zeros(2, "float32"))
    x = jnp.array([[1.0, 0.0], [1e25, 1e25]], "float32")
    norms = norms_of(p, x, jnp.array([0, 0]), loss=NAMES[0])
    np.testing.assert_allclose(norms.b[0], 2**0.5 * 1.9287498e-22, rtol=1e-6)
    np.testing.assert_allclose(norms.W, [norms.b[0], 1e25], rtol=1e-6)


@every_loss
def test_manual_gradient_in_every_mode(name):
    logits, labels = problems.scores(20, 5)
    manual, plain = gradients.with_manual_gradient(name), losses.LOSSES[name]
    tangent, cotangent = logits * 0.3 + 1.0, jnp.arange(20.0)

    @functools.partial(jax.jit, static_argnums=0)
    def everything(loss):
        value, push = jax.jvp(lambda s: loss(s, labels), (logits,), (tangent,))
        _, pull = jax.vjp(lambda s: loss(s, labels=labels), logits)
        rows = jax.vmap(jax.grad(lambda s, y: loss(s[None], y[None])[0]))
        return value, push, pull(cotangent), rows(logits, labels)

    assert_close(everything(manual), everything(plain), **tolerances.CLOSED_FORM)
    chex.assert_trees_all_equal(jax.jit(manual)(logits, labels), everything(plain)[0])


def test_manual_gradient_is_the_one_written_by_hand():
    logits, labels = jnp.array([[50.0, 0.0]], "float32"), jnp.array([0])

    def gradient(loss):
        return jax.jit(jax.grad(lambda s: loss(s, labels).sum()))(logits)[0]

    manual = gradient(gradients.with_manual_gradient(NAMES[0]))
    np.testing.assert_allclose(manual, [-1.92875e-22, 1.92875e-22], rtol=1e-6)
    assert gradient(losses.softmax_cross_entropy)[0] == 0  # what autodiff makes of it


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_manual_gradient_keeps_the_dtype(dtype):
    logits, labels = problems.scores(20, 5, dtype=dtype)
    loss = gradients.with_manual_gradient(NAMES[0])
    value, gradient = jax.jit(
        jax.value_and_grad(lambda s: loss(s, labels).sum(dtype=dtype))
    )(logits)
    chex.assert_type([value, gradient], dtype)
    expected = logits_gradient(logits, labels, loss=NAMES[0])
    chex.assert_trees_all_equal(gradient, expected)


@every_loss
def test_second_derivative_of_the_manual_gradient(name):
    logits, labels = problems.scores(20, 5)
    logits = logits.at[0].set(3.0)  # a row of ties
    loss = gradients.with_manual_gradient(name)
    hessians = jax.jit(jax.vmap(jax.hessian(lambda s, y: loss(s[None], y[None])[0])))
    expected = jnp.zeros((20, 5, 5))
    if name == "softmax_cross_entropy":
        expected = curvature.softmax_jacobian(logits)
    assert_close(hessians(logits, labels), expected, **tolerances.CLOSED_FORM)


@pytest.mark.parametrize("precision", ["highest", "high", None])
def test_precision_reaches_every_product(precision):
    p, x, labels, _ = problems.problem(dtype="float32")
    expected = {f"Precision.{precision.upper()}" * 2 if precision else ""}
    for function in (
        functools.partial(losses.objective, l2=0.1),
        functools.partial(gradients.objective_gradient, l2=0.1),
        gradients.inputs_gradient,
        gradients.per_example_gradient_norms,
    ):
        call = functools.partial(function, loss=NAMES[0], precision=precision)
        assert problems.product_precisions(call, p, x, labels) == expected


def test_unknown_loss_is_refused():
    for call in (
        gradients.with_manual_gradient,
        lambda name: logits_gradient(jnp.eye(2), jnp.array([0, 1]), loss=name),
    ):
        with pytest.raises(ValueError, match="no loss is named 'hinge'"):
            call("hinge")
