"""The objective, its gradients and products by hand, against autodiff; its weights."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from linclf_jax import curvature, gradients, losses, metrics, params, weighting
from linclf_jax.params import Params
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
SOFTMAX, SIGMOID = "softmax_cross_entropy", "sigmoid_cross_entropy"
every_loss = pytest.mark.parametrize("name", NAMES)


@functools.partial(jax.jit, static_argnames="name")
def evaluate(p, x, labels, weights, l2=0.3, *, name):
    """Returns the objective of a loss with its first derivatives, and the norms."""

    def objective(p, x):
        return losses.objective(p, x, labels, loss=name, l2=l2, weights=weights)

    value, (in_params, in_x) = jax.value_and_grad(objective, argnums=(0, 1))(p, x)
    options = {"loss": name, "weights": weights}
    return {
        "value": value,
        "gradient": gradients.objective_gradient(p, x, labels, l2=l2, **options),
        "autodiff": in_params,
        "inputs": gradients.inputs_gradient(p, x, labels, **options),
        "autodiff of inputs": in_x,
    }


@functools.partial(jax.jit, static_argnames="name")
def evaluate_twice(p, x, labels, weights, l2=0.3, *, name=SOFTMAX):
    """Returns the Hessian of a cross-entropy, and its product with the parameters.

    A bias of minus infinity, which has no product, counts as 1 in the direction.
    """
    options = {"l2": l2, "loss": name, "weights": weights}
    u = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 1.0).astype(a.dtype), p)

    def slope(p):
        return jax.grad(losses.objective)(p, x, labels, **options)

    def slope_by_hand(p):
        return gradients.objective_gradient(p, x, labels, **options)

    return {
        "hessian": curvature.hessian(p, x, labels, **options),
        "product": curvature.hessian_vector_product(p, u, x, labels, **options),
        "forward": jax.jvp(slope, (p,), (u,))[1],
        "forward by hand": jax.jvp(slope_by_hand, (p,), (u,))[1],
        "reverse": jax.vjp(slope, p)[1](u)[0],
    }


of_sigmoid_twice = functools.partial(evaluate_twice, name=SIGMOID)
TWICE = {"second derivatives": evaluate_twice, "of the sigmoid": of_sigmoid_twice}
PROGRAMS = {
    **{name: functools.partial(evaluate, name=name) for name in NAMES},
    **TWICE,
}
every_program = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)


def close(actual, expected, **tolerance):
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    tolerance = tolerance or tolerances.CLOSED_FORM
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, e, **tolerance), actual, expected
    )


def as_dtype(tree, dtype):
    """Casts what is floating."""
    return jax.tree.map(
        lambda a: a.astype(dtype if a.dtype.kind == "f" else a.dtype), tree
    )


def naive_objective(name, problem, l2, weights):
    """Returns equation (17) as a loop over the rows, in NumPy."""
    (W, b), x, labels, _ = jax.tree.map(np.asarray, problem)
    total = 0.0
    for row, label, weight in zip(x, labels, weights, strict=True):
        s = [sum(row * W[:, j]) + b[j] for j in range(len(b))]
        margins = [s[j] - s[label] + 1 for j in range(len(b)) if j != label]
        values = {
            "softmax_cross_entropy": -np.log(np.exp(s[label]) / np.exp(s).sum()),
            "weston_watkins_hinge": sum(max(0.0, m) for m in margins),
            "crammer_singer_hinge": max([0.0, *margins]),
            "sigmoid_cross_entropy": np.sum(np.log(1 + np.exp(s))) - s[label],
        }
        total += weight * values[name]
    return total / sum(weights) + l2 / 2 * (W**2).sum()


@every_loss
@pytest.mark.parametrize("shape", problems.SHAPES)
def test_value_is_the_naive_formula_and_gradients_are_autodiffs(name, shape):
    for scale in (1.0, 1e-6, 0.0):
        problem = problems.problem(shape, scale=scale)
        actual = evaluate(*problem, name=name)
        expected = naive_objective(name, problem, 0.3, problem.weights)
        np.testing.assert_allclose(actual["value"], expected, **tolerances.CLOSED_FORM)
        close(actual["gradient"], actual["autodiff"])
        close(actual["inputs"], actual["autodiff of inputs"])


@pytest.mark.parametrize("program", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("shape", [(7, 3, 4), (4, 4, 4), (1, 2, 1)])
def test_second_derivatives_are_autodiffs_and_each_others(shape, program):
    for scale in (1.0, 0.0):
        p, *data = problems.problem(shape, scale=scale)
        actual = program(p, *data)
        for way in ("forward", "forward by hand", "reverse"):
            close(actual[way], actual["product"])
        by_matrix = actual["hessian"] @ ravel_pytree(p)[0]
        close(ravel_pytree(actual["product"])[0], by_matrix)


@every_program
def test_weights_count_rows_and_none_is_one_each(program):
    p, x, labels, _ = problems.problem()
    counts = np.array([2, 0, 1, 2, 0, 1, 1])
    rows = np.repeat(np.arange(7), counts)
    actual = program(p, x, labels, counts.astype(float))
    repeated = program(p, x[rows], labels[rows], None)
    for name in actual.keys() - {"inputs", "autodiff of inputs"}:
        close(actual[name], repeated[name])
    close(program(p, x, labels, np.full(7, 0.25)), program(p, x, labels, None))


# What a row of weight 0 may hold: features, and a label.
CONTENTS = {
    "NaN": (np.nan, 1),
    "infinity": (np.inf, 2),
    "an overflow": (1e308, 1),
    "padding": (0.0, -1),
    "a class too many": (0.5, 4),
    "NaN and padding": (np.nan, -1),
}


def with_content(content, lowest):
    """A problem whose last two rows have weight 0, and one that they make harder.

    Where the bias rules a class out, a row of that class has an infinite loss.
    """
    p, x, labels, weights = jax.tree.map(np.array, problems.problem())
    value, label = CONTENTS[content]
    labels[:5] = np.minimum(labels[:5], 2)
    labels[5:], p.b[3], weights[5:] = 3, lowest, 0.0
    spoilt, relabelled = x.copy(), labels.copy()
    spoilt[5:], relabelled[6] = value, label
    return (p, x, labels, weights), (p, spoilt, relabelled, weights)


@every_program
@pytest.mark.parametrize("lowest", [-0.5, -np.inf])
def test_a_row_of_weight_0_takes_no_part_whatever_it_holds(program, lowest):
    for content in CONTENTS:
        (p, *data), (_, *spoilt) = with_content(content, lowest)
        actual, expected = program(p, *spoilt), program(p, *data)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(actual)), content
        close(actual, expected)
        if "inputs" in actual:
            np.testing.assert_array_equal(actual["inputs"][5:], 0.0)


@pytest.mark.parametrize(
    ("weights", "expected"), [([True, False, True], 2.0), ([2, 0, 1], 5 / 3)]
)
def test_weights_are_masks_and_counts_too(weights, expected):
    values = np.array([1.0, np.nan, 3.0])
    actual = losses.weighted_mean(values, np.array(weights))
    np.testing.assert_allclose(actual, expected, **tolerances.CLOSED_FORM)


def test_a_narrow_label_of_many_classes_is_one_of_them():
    labels, like = np.array([100], np.uint8), np.zeros((1, 300))
    np.testing.assert_array_equal(
        weighting.mask_labels(labels, np.zeros(1), like), labels
    )


@every_loss
def test_a_row_that_counts_is_not_masked(name):
    for content, row in (("NaN", 5), ("padding", 6)):
        _, (p, x, labels, weights) = with_content(content, -0.5)
        weights[row] = 0.1
        actual = evaluate(p, x, labels, weights, name=name)
        assert np.isnan(actual["value"])
        assert np.isnan(actual["gradient"].b).any()
        assert np.isnan(evaluate(p, x, labels, None, name=name)["value"])


@pytest.mark.parametrize("content", CONTENTS)
def test_metrics_leave_a_row_of_weight_0_out(content):
    _, (_, x, labels, weights) = with_content(content, -0.5)
    logits = np.concatenate([x, x[:, :1]], axis=1)
    slope = jax.jit(jax.value_and_grad(metrics.negative_log_likelihood))
    value, slopes = slope(logits, labels, weights)
    logits[5:], labels[5:] = 0.0, 0
    np.testing.assert_allclose(value, slope(logits, labels, weights)[0], rtol=1e-12)
    np.testing.assert_array_equal(slopes[5:], 0.0)


@every_loss
def test_the_manual_gradient_is_clean_under_a_weighted_mean(name):
    """As an objective of one's own is written, with jax.grad through it, twice."""
    manual = gradients.with_manual_gradient(name)
    scores = np.array([[0.5, -0.2, 1.0], [0.0, -np.inf, 1.0]])
    labels, weights = np.array([2, 1]), np.array([2.0, 0.0])

    def mean(scores):
        return losses.weighted_mean(manual(scores, labels), weights)

    @jax.jit
    def derivatives(scores):
        again = jax.grad(lambda s: (jax.grad(mean)(s) ** 2).sum())(scores)
        return *jax.value_and_grad(mean)(scores), again

    value, slope, again = derivatives(scores)
    assert np.isfinite(value)
    np.testing.assert_array_equal(slope[1], 0.0)
    assert np.isfinite(again).all()


@every_loss
def test_objective_is_differentiable_in_l2_and_in_weights_at_0_too(name):
    """What a row would add is asked at weight 0, and masking must not answer it."""
    p, x, labels, weights = problems.problem()
    weights = weights.at[5:].set(0.0)

    def objective(l2, weights):
        return losses.objective(p, x, labels, loss=name, l2=l2, weights=weights)

    slope = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))
    value, (in_l2, in_weights) = slope(0.0, weights)
    close(in_l2, (p.W**2).sum() / 2)
    each = losses.LOSSES[name](params.logits(p, x), labels)
    expected = (each - value) / weights.sum()
    close(in_weights, expected)
    assert np.abs(expected[5:]).min() > 0


@every_loss
def test_label_out_of_range_spoils_the_whole_gradient(name):
    p, x, labels, weights = problems.problem()
    actual = evaluate(p, x, labels.at[2].set(4), weights, name=name)
    assert all(np.isnan(leaf).all() for leaf in actual["gradient"])
    spoilt = np.isnan(actual["inputs"]).all(axis=1)
    np.testing.assert_array_equal(spoilt, np.arange(7) == 2)


@pytest.mark.parametrize("name", [name for name in NAMES if name != SIGMOID])
def test_class_sums_vanish_without_a_penalty(name):
    p, x, labels, weights = problems.problem()
    actual = evaluate(p, x, labels, weights, 0.0, name=name)["gradient"]
    np.testing.assert_allclose(actual.W.sum(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(actual.b.sum(), 0, atol=1e-14)
    p = p._replace(b=p.b + 3.0)
    shifted = evaluate(p, x, labels, weights, 0.0, name=name)["gradient"]
    close(shifted, actual, rtol=1e-12, atol=1e-13)  # the shift rounds b


@every_program
@pytest.mark.parametrize(
    ("dtype", "features"), [("bfloat16", "float64"), ("float32", "uint8")]
)
def test_mixed_dtypes_compute_wide_and_return_their_own(program, dtype, features):
    (W, b), x, labels, weights = problems.problem(dtype=dtype)
    p, x = Params(W / 8, b), jnp.round(jnp.abs(3 * x)).astype(features)
    if program not in TWICE.values() and features == "uint8":
        x = x.astype("float16")  # what autodiff can differentiate
    actual = program(p, x, labels, weights)
    for name in actual.keys() & {"inputs", "autodiff of inputs"}:
        chex.assert_type(actual.pop(name), x.dtype)
    chex.assert_type(jax.tree.leaves(actual), dtype)
    wide = program(*as_dtype((p, x.astype("float64"), labels, weights), "float64"))
    # One rounding into the result; float32 in sums of terms of size 81.
    tolerance = {"rtol": float(jnp.finfo(dtype).eps), "atol": 81e-6}
    for name in actual:
        close(as_dtype(actual[name], "float64"), wide[name], **tolerance)


@every_loss
def test_norms_are_those_of_each_rows_own_gradient(name):
    p, x, labels, _ = problems.problem((4, 4, 4))

    @jax.vmap
    def each(row, label):
        def loss(p):
            return losses.LOSSES[name](params.logits(p, row[None]), label[None])[0]

        return jax.tree.map(jnp.linalg.norm, jax.grad(loss)(p))

    norms = jax.jit(gradients.per_example_gradient_norms, static_argnames="loss")
    close(norms(p, x, labels, loss=name), jax.jit(each)(x, labels))


def test_norms_keep_what_their_squares_would_lose():
    p = Params(50.0 * np.eye(2, dtype="float32"), np.zeros(2, "float32"))
    x = np.array([[1.0, 0.0], [1e25, 1e25]], "float32")
    norms = jax.jit(gradients.per_example_gradient_norms, static_argnames="loss")
    actual = norms(p, x, np.array([0, 0]), loss=SOFTMAX)
    np.testing.assert_allclose(actual.b[0], 2**0.5 * 1.9287498e-22, rtol=1e-6)
    np.testing.assert_allclose(actual.W, [actual.b[0], 1e25], rtol=1e-6)


def test_penalty_leaves_the_bias_alone_and_does_not_overflow_in_half_precision():
    (W, b), *data = problems.problem()
    for scale, rtol in ((1, 1e-13), (100, 1e-11)):
        strong, none = (
            evaluate(Params(W, scale * b), *data, l2, name=SOFTMAX)["value"]
            for l2 in (2.0, 0.0)
        )
        np.testing.assert_allclose(strong - none, (W**2).sum(), rtol=rtol)
    p = Params(np.full((2, 1), 300.0, "float16"), np.zeros(1, "float16"))
    x, labels = np.ones((1, 2)), np.array([0])
    actual = evaluate(p, x, labels, None, 0.01, name=SOFTMAX)["value"]
    np.testing.assert_array_equal(actual, np.float16(900.0))


def test_lanes_of_l2_and_params_share_a_batch():
    p, x, labels, weights = problems.problem()
    lanes = [p, jax.tree.map(lambda a: 2 * a, p)]
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def lane(p, l2):
        return evaluate(p, x, labels, weights, l2, name=SOFTMAX)

    l2s = np.array([0.1, 0.7])
    actual = jax.vmap(lane)(stack, l2s)
    for index, alone in enumerate(lanes):
        expected = evaluate(alone, x, labels, weights, l2s[index], name=SOFTMAX)
        close(jax.tree.map(lambda leaf, i=index: leaf[i], actual), expected)


# Functions of one classifier, one batch and one penalty: what they refuse.
def times_itself(p, x, labels, **options):
    return curvature.hessian_vector_product(p, p, x, labels, **options)


def times_a_stack(p, x, labels, **options):
    one = Params(np.ones((3, 3)), np.ones(3))
    return curvature.hessian_vector_product(one, p, x, labels, **options)


LOSS, L2 = {"loss": SOFTMAX}, {"l2": 0.1}
FUNCTIONS = [
    (losses.objective, LOSS | L2),
    (gradients.objective_gradient, LOSS | L2),
    (gradients.inputs_gradient, LOSS),
    (gradients.per_example_gradient_norms, LOSS),
    (curvature.hessian, L2),
    (times_itself, L2),
]
every = pytest.mark.parametrize(("function", "options"), FUNCTIONS)


@every
@pytest.mark.parametrize("precision", ["highest", "high", None])
def test_precision_reaches_every_product(function, options, precision):
    p, x, labels, _ = problems.problem(dtype="float32")
    expected = {f"Precision.{precision.upper()}" * 2 if precision else ""}
    call = functools.partial(function, precision=precision, **options)
    assert problems.product_precisions(call, p, x, labels) == expected


@every
def test_weights_and_labels_of_another_shape_are_refused(function, options):
    """Three of everything, so that nothing fails by itself."""
    p, x, labels = Params(np.ones((3, 3)), np.ones(3)), np.ones((3, 3)), np.arange(3)
    takes_weights = function is not gradients.per_example_gradient_norms
    with jax.numpy_rank_promotion("allow"):
        for bad in (np.s_[:1], np.s_[:, None], np.s_[:2]):
            if takes_weights:
                with pytest.raises(ValueError, match="weights have shape"):
                    function(p, x, labels, weights=np.ones(3)[bad], **options)
            if "loss" in options:  # second derivatives need no labels
                with pytest.raises(ValueError, match="labels have shape"):
                    function(p, x, labels[bad], **options)


@pytest.mark.parametrize(("function", "options"), [*FUNCTIONS, (times_a_stack, L2)])
def test_a_stack_of_classifiers_or_of_penalties_is_refused(function, options):
    p, x, labels = Params(np.ones((3, 3)), np.ones(3)), np.ones((3, 3)), np.arange(3)
    stack = Params(np.ones((3, 3, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="one classifier"):
        function(stack, x, labels, **options)
    if "l2" in options:
        message = r"l2 has shape \(3,\); expected one number: map several with jax.vmap"
        with pytest.raises(ValueError, match=message):
            function(p, x, labels, **options | {"l2": np.ones(3)})


ONES, ROW = np.ones((3, 3)), np.ones((1, 3))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (losses.smooth_labels, (np.arange(3), 3, np.ones(3)), r"smoothing .* \(3,\)"),
        (losses.weighted_mean, (ONES, np.ones(3)), r"values have shape \(3, 3\)"),
        (losses.weighted_mean, (ONES, None), r"values have shape \(3, 3\)"),
        (
            losses.softmax_cross_entropy_with_targets,
            (ONES, ROW),
            r"targets have shape \(1, 3\); expected \(3, 3\), that of logits",
        ),
        (
            gradients.softmax_cross_entropy_with_targets,
            (ONES, np.ones(3)),
            r"targets have shape \(3,\)",
        ),
        (
            curvature.logits_hessian_vector_product,
            (ONES, ROW),
            r"tangent have shape \(1, 3\); expected \(3, 3\)",
        ),
    ],
)
def test_a_shape_that_is_not_meant_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
