"""Penalties in other units: the same classifier as the libraries that they are of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import datasets as bundled
from sklearn.linear_model import LogisticRegression, SGDClassifier

from linclf_jax import gradients, interop, losses, regularization
from linclf_jax.params import Params
from tests.tolerances import CLOSED_FORM

EXACT = {"solver": "newton-cg", "tol": 1e-12, "max_iter": 1000}
LOSS = "softmax_cross_entropy"


def iris(num_classes=3):
    """Returns standardised features and labels of the last kinds of iris."""
    x, labels = bundled.load_iris(return_X_y=True)
    x, labels = (array[labels >= 3 - num_classes] for array in (x, labels))
    return (x - x.mean(axis=0)) / x.std(axis=0), labels - (3 - num_classes)


gradient_of = jax.jit(gradients.objective_gradient, static_argnames="loss")


def assert_optimal(p, x, labels, l2, weights):
    """Checks that no slope is left: the objective is convex, so nothing else is best.

    What is left, over l2, bounds how far any weight is from its optimum: 1e-6.
    """
    slope = gradient_of(p, x, labels, loss=LOSS, l2=l2, weights=weights)
    for part in slope:
        np.testing.assert_allclose(part, 0, atol=1e-6 * l2)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_our_l2_as_their_strength_gives_scikit_learn_our_coefficients(num_classes):
    x, labels = iris(num_classes)
    # They sum to no number that could be mistaken for the count of the rows.
    draws = np.random.default_rng(0).uniform(0.5, 5.0, len(labels))
    for weights in (np.ones(len(labels)), draws):
        C = regularization.inverse_strength(0.02, weights.sum(), num_classes)
        model = LogisticRegression(C=C, **EXACT).fit(x, labels, weights)
        theirs, classes = interop.from_sklearn(model)
        assert_optimal(theirs, x, labels, 0.02, weights)
        back = regularization.from_inverse_strength(C, weights.sum(), len(classes))
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

    gradient = jax.jit(jax.grad(objective, argnums=(0, 1)))(w, 0.25)
    np.testing.assert_allclose(model.coef_[0], w - rate * gradient[0], **CLOSED_FORM)
    np.testing.assert_allclose(
        model.intercept_[0], 0.25 - rate * gradient[1], **CLOSED_FORM
    )


def test_a_step_of_scikit_learns_sgd_of_many_classes_is_one_of_the_sigmoid():
    x, label, rate = np.array([[1.0, -2.0, 0.5]]), np.array([1]), 0.125
    alpha = regularization.alpha(0.1, 4)
    model = SGDClassifier(
        loss="log_loss", alpha=alpha, learning_rate="constant", eta0=rate
    )
    model.partial_fit(x, label, classes=range(4))
    before = np.linspace(-1.0, 1.0, 12).reshape(4, 3), np.linspace(0.0, 1.0, 4)
    model.coef_, model.intercept_ = (array.copy() for array in before)
    model.partial_fit(x, label)
    p = Params(before[0].T, before[1])
    slope = gradient_of(p, x, label, loss="sigmoid_cross_entropy", l2=0.1, weights=None)
    np.testing.assert_allclose(model.coef_.T, p.W - rate * slope.W, **CLOSED_FORM)
    np.testing.assert_allclose(model.intercept_, p.b - rate * slope.b, **CLOSED_FORM)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0, False), (0.75, False), (0.75, True)]
)
def test_decoupled_decay_comes_to_rest_at_our_optimum(momentum, nesterov):
    x, labels = iris()
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

    start = Params(np.zeros((4, 3)), np.zeros(3))
    steps = jax.jit(lambda p: jax.lax.scan(step, (p, chain.init(p)), length=2000))
    ((rest, _), _) = steps(start)
    l2 = regularization.from_decoupled_decay(decay, momentum=momentum)
    assert_optimal(rest, x, labels, l2, np.ones(len(x)))


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_objectives_in_other_units_are_multiples_of_ours(l2):
    """As each is written down where it comes from."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    p = Params(rng.normal(size=(4, 3)), rng.normal(size=3))
    scores = x @ p.W + p.b[None]
    each = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(7), labels]
    squares = np.sum(p.W**2)
    ours = jax.jit(losses.objective, static_argnames="loss")(
        p, x, labels, loss=LOSS, l2=l2
    )
    for scale, theirs in (
        (1, np.mean(each) + regularization.course_lambda(l2) * squares),
        (7, np.sum(each) + regularization.linear_eval(l2, 7) * squares),
        (1, np.mean(each) + regularization.glmnet_lambda(l2) * squares / 2),
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
    with pytest.raises(ValueError, match=r"momentum is 1.0; expected .* below 1"):
        regularization.decoupled_decay(0.1, momentum=1.0)
