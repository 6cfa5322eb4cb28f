"""Binary and multi-label logistic regression: targets, unknown labels, extremes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize, special
from sklearn import linear_model, metrics

from linclf_jax import curvature, gradients, losses, params, regularization
from linclf_jax.params import Params
from tests import problems, tolerances

NAME, INF, NAN = "sigmoid_cross_entropy", np.inf, np.nan
close = functools.partial(np.testing.assert_allclose, **tolerances.CLOSED_FORM)


class Case:
    """Seven rows of four labels: shares, a third of them unknown, and weights."""

    params, x, _, weights = problems.problem()
    _rng = np.random.default_rng(5)
    shares = np.where(_rng.random((7, 4)) < 0.3, NAN, _rng.random((7, 4)))
    shares[0] = NAN  # a row of which nothing is known
    hard = np.where(np.isnan(shares), -1, shares > 0.5).astype("int32")


@functools.partial(jax.jit, static_argnames="axis")
def by_label(logits, targets, axis=-1):
    """Returns loss, gradient by hand and by autodiff, curvature in three ways."""

    def total(logits):
        return losses.sigmoid_cross_entropy(logits, targets, axis=axis).sum()

    def slope_by_hand(logits):
        return gradients.sigmoid_cross_entropy(logits, targets, axis=axis)

    slope, ones = jax.grad(total), jnp.ones_like(logits)
    return (
        losses.sigmoid_cross_entropy(logits, targets, axis=axis),
        slope_by_hand(logits),
        slope(logits),
        jax.vjp(slope, logits)[1](ones)[0],
        jax.vjp(slope_by_hand, logits)[1](ones)[0],
        curvature.sigmoid_curvature(logits, targets),
    )


def naive(logits, targets):
    """Returns terms, derivatives and curvatures of known labels, in plain float64."""
    p = 1.0 / (1.0 + np.exp(-logits))
    terms = -targets * np.log(p) - (1.0 - targets) * np.log(1.0 - p)
    known = ~np.isnan(targets)
    return (np.where(known, leaf, 0.0) for leaf in (terms, p - targets, p * (1 - p)))


def test_the_loss_sums_what_is_known_and_its_derivatives_are_autodiffs():
    logits = np.asarray(params.logits(Case.params, Case.x))
    terms, slopes, curvatures = naive(logits, Case.shares)
    value, *rest = by_label(logits, Case.shares)
    close(value, terms.sum(axis=1))
    for actual, expected in zip(rest, 2 * [slopes] + 3 * [curvatures], strict=True):
        close(actual, expected)
    assert value[0] == 0
    assert not any(leaf[0].any() for leaf in rest)


def test_at_zero_where_training_begins_the_derivatives_are_those_of_the_neighbours():
    _, *leaves = by_label(np.zeros((1, 3)), np.array([[0.0, 1.0, 0.3]]))
    for slope in leaves[:2]:
        np.testing.assert_allclose(slope, [[0.5, -0.5, 0.2]], rtol=1e-15)
    for twice in leaves[2:]:
        np.testing.assert_allclose(twice, np.full((1, 3), 0.25), rtol=1e-15)


# Logit, target, and in exact arithmetic loss, gradient and curvature. Of 69 and of 700
# log1p(e) and e / (1 + e) are e to the last digit.
FAR, FARTHER = np.exp(-69.0), np.exp(-700.0)
EXTREMES = [
    (69.0, 1, FAR, -FAR, FAR),
    (-69.0, 0, FAR, FAR, FAR),
    (69.0, 0, 69.0, 1.0, FAR),
    (-69.0, 1, 69.0, -1.0, FAR),
    (700.0, 1, FARTHER, -FARTHER, FARTHER),
    (-1e8, 1, 1e8, -1.0, 0.0),
    (3e38, 0, 3e38, 1.0, 0.0),
    (3e38, 1, 0.0, 0.0, 0.0),
    (-3e38, 1, 3e38, -1.0, 0.0),
    (3e38, 0.75, 0.25 * 3e38, 0.25, 0.0),
    (INF, 1, 0.0, 0.0, 0.0),
    (-INF, 0, 0.0, 0.0, 0.0),
    (INF, 0, INF, 1.0, 0.0),
    (-INF, 1, INF, -1.0, 0.0),
    (INF, 0.75, INF, 0.25, 0.0),
    (NAN, 1, NAN, NAN, NAN),
    (INF, NAN, 0.0, 0.0, 0.0),
    (NAN, NAN, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_digit_is_lost_at_any_logit(dtype):
    columns = np.array(EXTREMES).T[..., None]
    logits, targets, values, slopes, curvatures = columns
    if dtype == "float32":  # what is below the smallest normal number may be 0
        values, slopes, curvatures = (
            np.where(np.abs(leaf) < 1e-300, 0.0, leaf)
            for leaf in (values, slopes, curvatures)
        )
    close = functools.partial(
        np.testing.assert_allclose, rtol=4 * float(np.finfo(dtype).eps)
    )
    actual = by_label(logits.astype(dtype), targets)
    value, by_hand, autodiff, *twice = map(np.asarray, actual)
    close(value, values[:, 0])
    close(by_hand, slopes)
    close(autodiff, slopes)
    for leaf in twice:
        close(leaf, curvatures)


@pytest.mark.parametrize("dtype", ["int8", "int32", "float16", "bool"])
def test_hard_targets_may_have_any_dtype(dtype):
    logits, targets = np.array([[0.3, -2.0]]), np.array([[1, 0]])
    for actual, expected in zip(
        by_label(logits, targets.astype(dtype)), by_label(logits, targets), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("targets", "spoilt"),
    [
        (np.array([[1, 2], [0, -2]]), [[False, True], [False, True]]),
        (np.array([[1, 255]], "uint8"), [[False, True]]),
        (np.array([[2**32 - 1, 0]], "uint32"), [[True, False]]),
        (np.array([[1.0, 1.5], [-1.0, INF]]), [[False, True], [True, True]]),
    ],
)
def test_what_is_no_target_is_nan_and_never_unknown(targets, spoilt):
    value, by_hand, autodiff, *_ = by_label(np.ones(targets.shape), targets)
    np.testing.assert_array_equal(np.isnan(value), np.any(spoilt, axis=1))
    for slope in (by_hand, autodiff):
        np.testing.assert_array_equal(np.isnan(slope), spoilt)


def test_labels_are_each_class_against_the_rest_and_the_axis_is_any():
    logits, labels = map(np.asarray, problems.scores(20, 5))
    targets = np.eye(5)[labels]
    expected = by_label(logits, targets)
    for actual, other in zip(by_label(logits, labels), expected, strict=True):
        close(actual, other)
    for actual, other in zip(
        by_label(logits.T, targets.T, axis=0)[:3], expected, strict=False
    ):
        close(actual, np.asarray(other).T)


def test_targets_of_another_shape_are_refused():
    with jax.numpy_rank_promotion("allow"):
        for shape in ((1, 2), (3, 1), (2, 3), (3, 2, 1)):
            with pytest.raises(ValueError, match="labels have shape"):
                by_label(np.ones((3, 2)), np.ones(shape, int))


# Of the objective ``W`` and ``b`` are one vector, in the order of ``ravel_pytree``.
@functools.partial(jax.jit, static_argnames="l2")
def objective(p, x, targets, weights, l2=0.3):
    """Returns value, and gradient and Hessian by hand and by autodiff, flat."""
    flat, unravel = ravel_pytree(p)
    data, options = (x, targets), {"l2": l2, "loss": NAME, "weights": weights}

    def value(flat):
        return losses.objective(unravel(flat), *data, **options)

    products = jax.vmap(
        lambda u: curvature.hessian_vector_product(p, unravel(u), *data, **options)
    )(jnp.eye(flat.size))
    return (
        value(flat),
        ravel_pytree(gradients.objective_gradient(p, *data, **options))[0],
        jax.grad(value)(flat),
        curvature.hessian(p, *data, **options),
        jax.vmap(lambda W, b: ravel_pytree((W, b))[0])(*products),
        jax.hessian(value)(flat),
    )


@pytest.mark.parametrize("targets", [Case.shares, Case.hard])
def test_the_objective_has_the_gradient_and_the_hessian_of_autodiff(targets):
    value, slope, expected, *seconds, hessian = objective(
        Case.params, Case.x, targets, Case.weights
    )
    close(slope, expected)
    for actual in seconds:
        close(actual, hessian)
    # The mean is over all rows, the sum over the known labels of each.
    logits = np.asarray(params.logits(Case.params, Case.x))
    terms, *_ = naive(logits, np.where(targets == -1, NAN, targets))
    mean = (Case.weights @ terms.sum(axis=1)) / Case.weights.sum()
    close(value, mean + 0.15 * (Case.params.W**2).sum())
    # Labels do not meet: no curvature joins two of them.
    blocks = np.asarray(hessian)[:12, :12].reshape(3, 4, 3, 4)
    assert (
        np.linalg.eigvalsh(hessian - 0.3 * np.diag([*[1.0] * 12, *[0.0] * 4])).min()
        > -1e-15
    )
    for j, k in ((0, 1), (2, 3)):
        assert not blocks[:, j, :, k].any()


@pytest.mark.parametrize("value", [7, -2])
def test_a_row_of_weight_0_may_hold_any_targets(value):
    weights, targets = np.array(Case.weights), Case.hard.copy()
    weights[2] = 0.0
    expected = objective(Case.params, Case.x, targets, weights)
    spoilt, x = targets.copy(), np.array(Case.x)
    spoilt[2], x[2] = value, NAN
    chex.assert_trees_all_close(
        objective(Case.params, x, spoilt, weights), expected, **tolerances.CLOSED_FORM
    )
    weights[2] = 1.0
    assert np.isnan(objective(Case.params, Case.x, spoilt, weights)[0])


def test_one_row_with_nothing_known_counts_in_the_mean_and_nowhere_else():
    everything = objective(Case.params, Case.x, Case.shares, None, l2=0.0)
    without = objective(Case.params, Case.x[1:], Case.shares[1:], None, l2=0.0)
    chex.assert_trees_all_close(
        everything,
        jax.tree.map(lambda leaf: leaf * 6 / 7, without),
        rtol=1e-12,
        atol=1e-14,
    )


def test_inputs_and_norms_of_rows_follow_from_the_residual():
    p, x, targets, options = Case.params, Case.x, Case.shares, {"loss": NAME}
    slope = jax.grad(lambda x: losses.objective(p, x, targets, l2=0.0, **options))(x)
    close(gradients.inputs_gradient(p, x, targets, **options), slope)
    residual = np.nan_to_num(special.expit(params.logits(p, x)) - targets)
    norms = gradients.per_example_gradient_norms(p, x, targets, **options)
    close(norms.b, np.linalg.norm(residual, axis=1))
    close(norms.W, np.linalg.norm(x, axis=1) * norms.b)


def test_hinges_have_no_curvature():
    data = Case.params, Case.x, np.zeros(7, int)
    options = {"l2": 0.1, "loss": "weston_watkins_hinge"}
    for call in (
        lambda: curvature.hessian(*data, **options),
        lambda: curvature.hessian_vector_product(Case.params, *data, **options),
    ):
        with pytest.raises(
            ValueError, match="weston_watkins_hinge', which has no curv"
        ):
            call()


@jax.jit
def slope_of_one(p, x, targets, weights, l2):
    return gradients.objective_gradient(
        p, x, targets, loss=NAME, l2=l2, weights=weights
    )


def test_one_column_is_scikit_learns_logistic_regression():
    """Its loss and, at its optimum, a gradient of 0; of several, one fit for each."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(60, 3)), rng.uniform(0.5, 2.0, 60)
    targets = (x @ rng.normal(size=(3, 2)) + rng.logistic(size=(60, 2)) > 0).astype(int)
    C = 0.7
    for column in range(2):
        fit = linear_model.LogisticRegression(C=C, tol=1e-12, max_iter=10000)
        fit.fit(x, targets[:, column], sample_weight=weights)
        p = Params(fit.coef_.T, fit.intercept_)
        one, total = targets[:, [column]], weights.sum()
        l2 = regularization.from_inverse_strength(C, total, 1, separate=True)
        back = regularization.inverse_strength(l2, total, 2, separate=True)
        np.testing.assert_allclose(back, C, rtol=1e-15)
        slope = slope_of_one(p, x, one, weights, l2)
        assert max(np.abs(leaf).max() for leaf in slope) < 1e-8
        assert np.abs(slope_of_one(p, x, one, weights, 2 * l2).W).max() > 1e-3
        value = losses.objective(p, x, one, loss=NAME, l2=0.0, weights=weights)
        probs = special.expit(fit.decision_function(x))
        close(value, metrics.log_loss(one[:, 0], probs, sample_weight=weights))


def of_label(k, l2):
    """Returns ``theta -> (J_k, gradient)`` of label k alone, of ``theta = (w, b)``."""
    share, x = Case.weights / Case.weights.sum(), np.asarray(Case.x)
    columns = np.append(x, np.ones((7, 1)), axis=1)
    penalty = l2 * np.array([1.0, 1.0, 1.0, 0.0])

    def objective(theta):
        terms, slopes, _ = naive(columns @ theta, Case.shares[:, k])
        value = share @ terms + (penalty * theta**2).sum() / 2
        return float(value), columns.T @ (share * slopes) + penalty * theta

    return objective


def test_the_gap_of_a_label_is_a_bound_and_those_of_all_add_up():
    """Equations (39) and (40), at the best biases of weights that are not the best."""
    l2, W = 0.1, np.asarray(Case.params.W)
    gaps, biases = [], []
    for k in range(4):
        of_k = of_label(k, l2)

        def in_bias(b, of_k=of_k, k=k):
            return of_k(np.append(W[:, k], b))[1][3]

        theta = np.append(W[:, k], optimize.brentq(in_bias, -20, 20, xtol=1e-14))
        value, slope = of_k(theta)
        best = optimize.minimize(of_k, theta, jac=True, tol=1e-12)
        gaps.append((slope[:3] ** 2).sum() / (2 * l2))
        biases.append(theta[3])
        assert 1e-3 < value - best.fun <= gaps[-1] < 10 * (value - best.fun)
    p = Params(W, np.array(biases))
    slopes = slope_of_one(p, Case.x, Case.shares, Case.weights, l2)
    np.testing.assert_allclose(slopes.b, 0.0, atol=1e-14)
    close((np.asarray(slopes.W) ** 2).sum(axis=0) / (2 * l2), gaps)
