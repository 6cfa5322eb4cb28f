"""Penalties in other units: the same classifier as the libraries that they are of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import datasets as bundled
from sklearn.linear_model import LogisticRegression, SGDClassifier

from linclf_jax import interop, losses, regularization
from linclf_jax.exact import newton
from linclf_jax.params import Params
from tests.tolerances import CLOSED_FORM

EXACT = {"solver": "newton-cg", "tol": 1e-12, "max_iter": 1000}
# Coefficients are known to the square root of what the objective is.
TOL = 1e-14
SAME = {"rtol": 0, "atol": 1e-6}
LOSS = "softmax_cross_entropy"


def standardized(name):
    bunch = getattr(bundled, f"load_{name}")()
    return (bunch.data - bunch.data.mean(axis=0)) / bunch.data.std(axis=0), bunch.target


def solve(x, labels, l2, weights=None):
    found, _ = newton.solve(x, labels, [l2], weights=weights, tol=TOL)
    return Params(found.W[0], found.b[0] - jnp.mean(found.b[0]))


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
@pytest.mark.parametrize("weigh", [False, True])
def test_our_l2_as_their_strength_gives_scikit_learn_our_coefficients(name, weigh):
    x, labels = standardized(name)
    # They sum to no number that could be mistaken for the count of the rows.
    draws = np.random.default_rng(0).uniform(0.5, 5.0, len(labels))
    weights, total = (draws, draws.sum()) if weigh else (None, len(labels))
    C = regularization.inverse_strength(0.02, total, len(np.unique(labels)))
    model = LogisticRegression(C=C, **EXACT).fit(x, labels, weights)
    theirs, classes = interop.from_sklearn(model)
    ours = solve(x, labels, 0.02, weights)
    np.testing.assert_allclose(ours.W, theirs.W, **SAME)
    np.testing.assert_allclose(ours.b, theirs.b, **SAME)
    back = regularization.from_inverse_strength(C, total, len(classes))
    assert back == pytest.approx(0.02, rel=1e-15)


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_a_step_of_scikit_learns_sgd_is_one_of_ours(loss, weight):
    """One row and one step: the penalty and the loss move w as our objective does."""
    x, label, w, rate = np.array([[1.0, -2.0, 0.5]]), np.array([1]), np.ones(3), 0.125
    model = SGDClassifier(
        loss=loss,
        alpha=regularization.alpha(0.1, 2, mean_weight=weight),
        learning_rate="constant",
        eta0=rate,
    )
    model.partial_fit(x, label, classes=[0, 1])  # so that it has something to set
    model.coef_, model.intercept_ = w[None].copy(), np.array([0.25])
    model.partial_fit(x, label, sample_weight=[weight])

    def objective(w, b):
        p = Params(jnp.stack([-w, w], axis=1) / 2, jnp.stack([-b, b]) / 2)
        ours = LOSS if loss == "log_loss" else "weston_watkins_hinge"
        # They do not divide by the weights.
        return weight * losses.objective(p, x, label, loss=ours, l2=0.1)

    gradient = jax.grad(objective, argnums=(0, 1))(jnp.asarray(w), jnp.asarray(0.25))
    np.testing.assert_allclose(model.coef_[0], w - rate * gradient[0], **CLOSED_FORM)
    np.testing.assert_allclose(
        model.intercept_[0], 0.25 - rate * gradient[1], **CLOSED_FORM
    )


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0, False), (0.75, False), (0.75, True)]
)
def test_decoupled_decay_comes_to_rest_at_our_optimum(momentum, nesterov):
    x, labels = map(jnp.asarray, standardized("iris"))
    decay = regularization.decoupled_decay(0.1, momentum=momentum)
    chain = optax.chain(
        optax.trace(momentum, nesterov=nesterov),
        optax.add_decayed_weights(decay, mask=Params(W=True, b=False)),
        optax.scale(-0.25),
    )

    def objective(p):
        return losses.objective(p, x, labels, loss=LOSS, l2=0.0)

    def step(carry, _):
        p, state = carry
        updates, state = chain.update(jax.grad(objective)(p), state, p)
        return (optax.apply_updates(p, updates), state), None

    start = Params(jnp.zeros((4, 3)), jnp.zeros(3))
    steps = jax.jit(lambda c: jax.lax.scan(step, c, length=2000))
    ((rest, _), _) = steps((start, chain.init(start)))
    ours = solve(
        x, labels, regularization.from_decoupled_decay(decay, momentum=momentum)
    )
    np.testing.assert_allclose(rest.W, ours.W, **SAME)
    np.testing.assert_allclose(rest.b, ours.b, **SAME)


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_objectives_in_other_units_are_multiples_of_ours(l2):
    """As each is written down where it comes from."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    p = Params(jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(rng.normal(size=3)))
    each = losses.softmax_cross_entropy(x @ p.W + p.b[None], jnp.asarray(labels))
    squares = jnp.sum(p.W**2)
    ours = losses.objective(p, x, labels, loss=LOSS, l2=l2)
    for scale, theirs in (
        (1, jnp.mean(each) + regularization.course_lambda(l2) * squares),
        (7, jnp.sum(each) + regularization.linear_eval(l2, 7) * squares),
        (1, jnp.mean(each) + regularization.glmnet_lambda(l2) * squares / 2),
    ):
        np.testing.assert_allclose(theirs, scale * ours, **CLOSED_FORM)


def test_a_binomial_penalty_is_on_the_difference_of_two_columns():
    w = np.random.default_rng(2).normal(size=5)
    W = np.stack([-w, w], axis=1) / 2
    theirs = regularization.glmnet_lambda(0.3, binomial=True) / 2 * np.sum(w**2)
    np.testing.assert_allclose(theirs, 0.3 / 2 * np.sum(W**2), **CLOSED_FORM)


WAYS = {
    "C": ("inverse_strength", (40, 3), {}),
    "C of two classes": ("inverse_strength", (40.5, 2), {}),
    "alpha": ("alpha", (3,), {"mean_weight": 1.5}),
    "alpha of two classes": ("alpha", (2,), {}),
    "decay": ("decoupled_decay", (), {"momentum": 0.9}),
    "lambda": ("course_lambda", (), {}),
    "linear_eval": ("linear_eval", (40,), {}),
    "glmnet": ("glmnet_lambda", (), {}),
    "glmnet, binomial": ("glmnet_lambda", (), {"binomial": True}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("l2", [0.0, 1e-6, 3.0])
def test_there_and_back(way, l2):
    name, arguments, options = WAYS[way]
    there = getattr(regularization, name)(l2, *arguments, **options)
    back = getattr(regularization, f"from_{name}")(there, *arguments, **options)
    assert type(there) is type(back) is float
    assert back == pytest.approx(l2, rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("inverse_strength", (-1e-50, 9, 3), "l2 is -1e-50; expected at least 0"),
        ("inverse_strength", (0.1, 0, 3), "num_rows is 0; expected above 0"),
        ("inverse_strength", (0.1, 9, 1), "num_classes is 1; expected at least 2"),
        ("from_inverse_strength", (0.0, 9, 3), "C is 0.0; expected above 0"),
        ("from_inverse_strength", (-math.inf, 9, 3), "C is -inf; expected above 0"),
        ("from_inverse_strength", (math.nan, 9, 3), "C is nan; expected above 0"),
        ("alpha", (math.inf, 3), "l2 is inf; expected at least 0 and finite"),
        ("from_alpha", (-0.1, 3), "alpha is -0.1"),
        ("from_linear_eval", (-0.1, 3), "strength is -0.1"),
    ],
)
def test_what_is_no_strength_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(regularization, name)(*arguments)


def test_a_momentum_that_never_forgets_is_refused():
    with pytest.raises(ValueError, match=r"momentum is 1.0; expected .* below 1"):
        regularization.decoupled_decay(0.1, momentum=1.0)
