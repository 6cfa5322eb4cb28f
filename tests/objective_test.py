"""The objective, and what it shares with all of its derivatives by hand."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import curvature, gradients, losses, params
from linclf_jax.params import Params
from tests import problems, tolerances

NAMES = tuple(losses.LOSSES)
every_loss = pytest.mark.parametrize("name", NAMES)
objective = jax.jit(losses.objective, static_argnames="loss")


def along_the_weights(p, *args, **kwargs):
    return curvature.hessian_vector_product(p, p, *args, **kwargs)


def options(function, name=None):
    return functools.partial(function, **({"loss": name} if name else {}), l2=0.1)


# f(params, x, labels, weights=None)
FUNCTIONS = {
    **{f"value of {name}": options(losses.objective, name) for name in NAMES},
    **{
        f"gradient of {name}": options(gradients.objective_gradient, name)
        for name in NAMES
    },
    "hessian": options(curvature.hessian),
    "hessian times a vector": options(along_the_weights),
}
every = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def assert_close(found, expected, **tolerance):
    chex.assert_trees_all_equal_shapes(found, expected)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        one, other = (a.astype("float64") for a in (one, other))
        np.testing.assert_allclose(
            one, other, **{**tolerances.CLOSED_FORM, **tolerance}
        )


@every
def test_weights_count_rows(function):
    p, x, labels, _ = problems.problem()
    counts = np.array([2, 0, 1, 3, 0, 1, 1])
    rows = np.repeat(np.arange(7), counts)
    call = jax.jit(function)
    repeated = call(p, x[rows], labels[rows])
    for weights in (jnp.asarray(counts), jnp.asarray(counts / 64)):
        assert_close(call(p, x, labels, weights=weights), repeated)
    twice = call(p, jnp.tile(x, (2, 1)), jnp.tile(labels, 2))
    assert_close(twice, call(p, x, labels))


@every
@pytest.mark.parametrize("bad", [np.s_[:1], np.s_[:, None], np.s_[:6]], ids=repr)
def test_labels_and_weights_of_another_shape_are_refused(function, bad):
    p, x, labels, weights = problems.problem()
    with jax.numpy_rank_promotion("allow"):
        with pytest.raises(ValueError, match="weights have shape"):
            function(p, x, labels, weights=weights[bad])
        if "loss" in function.keywords:  # second derivatives need no labels
            with pytest.raises(ValueError, match="labels have shape"):
                function(p, x, labels[bad])


@every
@pytest.mark.parametrize(
    ("dtype", "features"),
    [
        ("float16", "uint8"),
        ("bfloat16", "float64"),
        ("float32", "uint8"),
        ("float64", "float32"),
    ],
)
def test_mixed_dtypes_compute_wide_and_return_their_own(function, dtype, features):
    (W, b), x, labels, weights = problems.problem(dtype=dtype)
    x = jnp.round(jnp.abs(3 * x)).astype(features)
    call, p = jax.jit(function), Params(W / 8, b)
    found = call(p, x, labels, weights=weights)
    chex.assert_type(jax.tree.leaves(found), dtype)
    p, x, weights = jax.tree.map(lambda a: a.astype("float64"), (p, x, weights))
    exact = call(p, x, labels, weights=weights)
    # One rounding into the result; float32 in sums of terms of size 81.
    narrow = {"rtol": float(jnp.finfo(dtype).eps), "atol": 81e-6}
    assert_close(found, exact, **({} if dtype == "float64" else narrow))


@pytest.mark.parametrize("precision", ["highest", "high", None])
def test_precision_reaches_every_product(precision):
    p, x, labels, _ = problems.problem(dtype="float32")
    expected = {f"Precision.{precision.upper()}" * 2 if precision else ""}
    for function in (
        *FUNCTIONS.values(),
        functools.partial(gradients.inputs_gradient, loss=NAMES[0]),
        functools.partial(gradients.per_example_gradient_norms, loss=NAMES[0]),
    ):
        call = functools.partial(function, precision=precision)
        assert problems.product_precisions(call, p, x, labels) == expected


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
        }
        total += weight * values[name]
    return total / sum(weights) + l2 / 2 * (W**2).sum()


@every_loss
@pytest.mark.parametrize("shape", problems.SHAPES)
def test_objective_is_the_naive_formula(name, shape):
    problem = p, x, labels, weights = problems.problem(shape)
    for given in (None, weights):
        found = objective(p, x, labels, loss=name, l2=0.3, weights=given)
        counted = np.ones(len(x)) if given is None else np.asarray(given)
        assert_close(found, naive_objective(name, problem, 0.3, counted))


def test_penalty_leaves_the_bias_alone():
    (W, b), x, labels, _ = problems.problem()
    for scale, rtol in ((1, 1e-13), (100, 1e-11)):
        strong, none = (
            objective(Params(W, scale * b), x, labels, loss=NAMES[0], l2=l2)
            for l2 in (2.0, 0.0)
        )
        np.testing.assert_allclose(strong - none, (W**2).sum(), rtol=rtol)


def test_penalty_does_not_overflow_in_half_precision():
    p = Params(jnp.full((2, 1), 300.0, "float16"), jnp.zeros(1, "float16"))
    x, labels = jnp.ones((1, 2)), jnp.array([0])
    found = losses.objective(p, x, labels, loss=NAMES[0], l2=0.01)
    np.testing.assert_array_equal(found, np.float16(900.0))


def test_objective_is_differentiable_in_l2_and_weights():
    p, x, labels, weights = problems.problem()

    def in_both(l2, weights):
        return objective(p, x, labels, loss=NAMES[0], l2=l2, weights=weights)

    in_l2, in_weights = jax.jit(jax.grad(in_both, argnums=(0, 1)))(0.1, weights)
    assert_close(in_l2, (p.W**2).sum() / 2)
    each = losses.softmax_cross_entropy(params.logits(p, x), labels)
    mean = (weights * each).sum() / weights.sum()
    assert_close(in_weights, (each - mean) / weights.sum())


def test_lanes_of_l2_and_params_share_a_batch():
    p, x, labels, _ = problems.problem()
    lanes = [p, jax.tree.map(lambda a: 2 * a, p)]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def lane(p, l2):
        return objective(p, x, labels, loss=NAMES[0], l2=l2)

    l2s = jnp.array([0.1, 0.7])
    alone = [
        objective(p, x, labels, loss=NAMES[0], l2=l2)
        for p, l2 in zip(lanes, l2s, strict=True)
    ]
    assert_close(jax.vmap(lane)(stack, l2s), jnp.stack(alone))


def test_unknown_loss_is_refused_with_the_known_ones():
    p, x, labels, _ = problems.problem()
    for name in ("hinge", "", None):
        for call in (
            gradients.with_manual_gradient,
            lambda name: gradients.logits_gradient(x, labels, loss=name),
            lambda name: objective(p, x, labels, loss=name, l2=0.1),
        ):
            with pytest.raises(ValueError, match=f"named {name!r}; expected one of .*"):
                call(name)
