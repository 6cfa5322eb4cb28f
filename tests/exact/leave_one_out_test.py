"""Approximate leave-one-out, against the step it stands for and against real refits."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.exact import leave_one_out
from linclf_jax.params import Params
from tests import reference_solver

STEP = {"rtol": 1e-9, "atol": 1e-11}  # two ways to one Newton step


class Small(NamedTuple):
    """A problem of one lane, in NumPy."""

    x: np.ndarray  # (N, D)
    targets: np.ndarray  # (N, C)
    weights: np.ndarray  # (N,)
    l2: float


def small(rows, features, classes, *, seed=0, l2=0.03, apart=0.7) -> Small:
    """Returns overlapping Gaussian classes, as many rows of each."""
    rng = np.random.default_rng([seed, features, classes])
    labels = np.arange(rows) % classes
    centres = apart * rng.normal(size=(classes, features))
    x = centres[labels] + rng.normal(size=(rows, features))
    return Small(x, np.eye(classes)[labels], np.ones(rows), l2)


def guess(s: Small, seed=1) -> np.ndarray:
    """Returns parameters that are no optimum, ``(D + 1, C)`` with the bias last."""
    shape = (s.x.shape[1] + 1, s.targets.shape[1])
    return 0.3 * np.random.default_rng(seed).normal(size=shape)


def derivatives(theta, s: Small, weights):
    """Returns gradient and Hessian of the objective, each written as a plain sum."""
    features = np.concatenate([s.x, np.ones((len(s.x), 1))], axis=1)
    scores = features @ theta
    probs = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    jacobian = np.einsum("nk,kl->nkl", probs, np.eye(len(probs[0])))
    jacobian -= np.einsum("nk,nl->nkl", probs, probs)
    penalised = np.repeat(np.arange(len(theta)) < len(theta) - 1, theta.shape[1])
    gradient = (features.T @ (weights[:, None] * (probs - s.targets))).ravel()
    gradient += s.l2 * np.where(penalised, theta.ravel(), 0.0)
    blocks = np.einsum("n,nd,ne,nkl->dkel", weights, features, features, jacobian)
    hessian = blocks.reshape(theta.size, theta.size) + s.l2 * np.diag(penalised)
    return gradient, hessian


def inverse(hessian):
    # The common shift of the biases is flat, and so is the bias of an absent class.
    return np.linalg.pinv(hessian, rcond=1e-12, hermitian=True)


def row_loss(theta, s: Small, i):
    scores = s.x[i] @ theta[:-1] + theta[-1]
    top = scores.max()
    log_probs = scores - top - np.log(np.sum(np.exp(scores - top)))
    used = s.targets[i] > 0
    return -np.sum(s.targets[i][used] * log_probs[used])


def without(s: Small, i):
    """Returns the normalised weights without one row; the others keep theirs."""
    return np.where(np.arange(len(s.x)) == i, 0.0, s.weights) / s.weights.sum()


def left_out_step(theta, s: Small, i):
    """Returns Newton's step on all rows but one, from the optimum of all of them.

    There the gradient without a row is the difference of two, one of which is 0. With
    the difference written out, any parameters will do.
    """
    whole = s.weights / s.weights.sum()
    before, _ = derivatives(theta, s, whole)
    after, hessian = derivatives(theta, s, without(s, i))
    return (inverse(hessian) @ (before - after)).reshape(theta.shape)


def stepped(theta, s: Small):
    """Returns the loss of each row after its step."""
    rows = range(len(s.x))
    return np.array([row_loss(theta + left_out_step(theta, s, i), s, i) for i in rows])


def optimum(s: Small, weights=None, start=0.0):
    """Returns the optimum with weights that need not sum to 1, all rows' if None."""
    weights = s.weights / s.weights.sum() if weights is None else weights
    # The reference normalises the weights, and so the penalty is in their unit.
    l2 = s.l2 / weights.sum()
    W, b, _ = reference_solver.solve(s.x, s.targets, l2, weights, start=start)
    return np.concatenate([W, b[None]])


def refitted(s: Small):
    """Returns the loss of each row at the optimum of all other rows."""
    start = optimum(s)
    rows = range(len(s.x))
    return np.array([row_loss(optimum(s, without(s, i), start), s, i) for i in rows])


def estimate(theta, s: Small) -> leave_one_out.Estimate:
    params = Params(jnp.asarray(theta[None, :-1]), jnp.asarray(theta[None, -1]))
    return leave_one_out.approximate(params, s.x, s.targets, [s.l2], s.weights)


def cases() -> dict[str, Small]:
    rng = np.random.default_rng(3)
    three = small(11, 4, 3)
    # A constant column and a double one.
    double = np.stack([*three.x.T[:2], np.full(11, 7.0), three.x[:, 0]], axis=1)
    more = small(14, 4, 3)
    return {
        "two classes": small(9, 3, 2),
        "three classes": three,
        "soft targets": three._replace(targets=rng.dirichlet(np.ones(3), size=11)),
        "weights": three._replace(weights=rng.uniform(0.3, 3.0, size=11)),
        "rows of weight 0": more._replace(weights=np.arange(14) % 4.0),
        "more columns than rows": small(8, 20, 3),
        "as many rows, columns and classes": small(4, 4, 4)._replace(
            targets=rng.dirichlet(np.ones(4), size=4)
        ),
        "constant and double columns": three._replace(x=double),
        "double columns and no penalty": three._replace(x=double, l2=0.0),
        "columns of other sizes": three._replace(x=three.x * [1e-3, 1.0, 10.0, 1e3]),
        "no column that varies": three._replace(x=np.ones((11, 4))),
        "an absent class": three._replace(targets=np.eye(3)[[1, 2] * 6][:11]),
    }


@pytest.mark.parametrize("name", cases())
def test_each_row_is_one_newton_step_away(name):
    s = cases()[name]
    theta = guess(s) / max(1.0, np.abs(s.x).max())
    theta[-1, s.weights @ s.targets == 0] = -np.inf
    estimated = estimate(theta, s)
    np.testing.assert_allclose(estimated.losses, stepped(theta, s)[None], **STEP)


def test_origin_and_unit_of_the_features_do_not_matter():
    s = small(11, 4, 3)
    s = s._replace(targets=np.eye(3)[[1, 2] * 6][:11])  # the first class is absent
    theta = guess(s)
    moved = s._replace(x=1.0 + 1e-6 * s.x, l2=1e-12 * s.l2)
    # The same scores: larger weights, and a bias that takes up the origin.
    bias = theta[-1:] - 1e6 * theta[:-1].sum(axis=0, keepdims=True)
    estimated = estimate(np.concatenate([1e6 * theta[:-1], bias]), moved)
    expected = estimate(theta, s)
    # Of x, 1e-16 of 1e-6 is lost.
    np.testing.assert_allclose(estimated.losses, expected.losses, rtol=1e-8)


@pytest.mark.parametrize("name", ["two classes", "soft and weighted"])
def test_error_against_refits_falls_with_the_square_of_the_rows(name):
    errors = []
    for rows in (60, 240):
        s = small(rows, 4, 2 if name == "two classes" else 3, l2=0.1)
        if name == "soft and weighted":
            s = s._replace(
                targets=0.8 * s.targets + 0.2 / 3,
                weights=np.random.default_rng(rows).uniform(0.5, 2.0, size=rows),
            )
        weights = s.weights / s.weights.sum()
        theta = optimum(s)
        exact = weights @ refitted(s)
        errors.append(abs(estimate(theta, s).loss[0] / exact - 1.0))
        plain = weights @ [row_loss(theta, s, i) for i in range(rows)]
        assert plain < exact * (1.0 - 3.0 / rows)  # there is something to correct
    assert errors[0] < 0.01
    assert errors[1] < errors[0] / 8  # 16 times, if it were exactly the square


@pytest.mark.parametrize("seed", [0, 5])
def test_choice_of_l2_for_few_shots_is_that_of_refits(seed):
    few = small(15, 8, 3, seed=seed, apart=0.5)
    approximate, exact, plain = [], [], []
    for l2 in np.logspace(-4, 1, 6):
        s = few._replace(l2=l2)
        theta = optimum(s)
        approximate.append(estimate(theta, s).loss[0])
        exact.append(refitted(s).mean())
        plain.append(np.mean([row_loss(theta, s, i) for i in range(15)]))
    best = np.argmin(exact)
    assert 1 <= best <= 4
    assert np.argmin(approximate) == best
    assert np.argmin(plain) == 0


def test_summary_weighs_rows_as_the_objective_does():
    s = small(12, 3, 3)._replace(weights=np.array([2.0] * 6 + [1.0] * 3 + [0.0] * 3))
    theta = optimum(s)
    estimated = estimate(theta, s)
    values = estimated.losses[0]
    mean = s.weights @ values / 15
    np.testing.assert_allclose(estimated.loss, [mean], rtol=1e-14)
    # A row of weight 0 is out of sample as it is.
    plain = [row_loss(theta, s, i) for i in range(9, 12)]
    np.testing.assert_allclose(values[9:], plain, rtol=1e-9)
    weights = s.weights / 15
    variance = weights**2 @ (values - mean) ** 2 / (1 - weights @ weights)
    np.testing.assert_allclose(estimated.standard_error, [variance**0.5], rtol=1e-12)
    equal = estimate(theta, s._replace(weights=np.ones(12)))
    error = np.std(equal.losses[0], ddof=1) / np.sqrt(12)
    np.testing.assert_allclose(equal.standard_error, [error], rtol=1e-12)


def test_accuracy_is_of_the_classifiers_without_the_row():
    # The third row is among the other class, and right by a feature that only it has.
    x = np.array([[-3, 0], [-2, 0], [2.2, 9], [2, 0], [3, 0], [2.5, 0]])
    weights = np.array([1, 1, 2, 1, 1, 1.0])
    s = Small(x, np.eye(2)[[0, 0, 0, 1, 1, 1]], weights, 0.01)
    theta = optimum(s)
    assert max(row_loss(theta, s, i) for i in range(6)) < np.log(2)
    np.testing.assert_allclose(estimate(theta, s).accuracy, [5 / 7], rtol=1e-14)


def test_the_only_row_of_a_class_has_an_infinite_loss_and_is_wrong():
    # So sure of every row that Newton's step, which is finite, changes no prediction.
    targets = np.eye(3)[[0, 1] * 4 + [2]]
    s = Small(targets, targets, np.ones(9), 0.1)
    theta = np.concatenate([20.0 * np.eye(3), np.zeros((1, 3))])
    estimated = estimate(theta, s)
    assert np.isfinite(estimated.losses[0, :8]).all()
    assert estimated.losses[0, 8] == estimated.loss[0] == np.inf
    np.testing.assert_allclose(estimated.accuracy, [8 / 9], rtol=1e-14)


def test_lanes_are_independent():
    s = cases()["three classes"]
    labels = s.targets.argmax(axis=1)
    weights = np.stack(
        [np.ones(11), np.arange(11) % 4, np.ones(11), labels != 1, np.ones(11)]
    )
    weights[2, 3] = np.nan
    l2 = np.array([0.1, 0.01, 0.1, 1e-3, np.nan])
    theta = np.stack([guess(s, seed) for seed in range(5)])
    params = Params(jnp.asarray(theta[:, :-1]), jnp.asarray(theta[:, -1]))
    estimated = leave_one_out.approximate(params, s.x, labels, l2, weights)
    theta[3, -1, 1] = -np.inf  # a class that is absent
    for lane in (0, 1, 3):
        alone = s._replace(weights=weights[lane], l2=l2[lane])
        used = weights[lane] > 0
        losses = stepped(theta[lane], alone)[used]
        np.testing.assert_allclose(estimated.losses[lane, used], losses, **STEP)
        mean = np.average(losses, weights=weights[lane, used])
        np.testing.assert_allclose(estimated.loss[lane], mean, **STEP)
    assert not estimated.right[[2, 4]].any()
    for values in estimated._replace(right=estimated.losses):
        assert np.isnan(values[[2, 4]]).all()


def test_a_single_class_is_always_right():
    params = Params(jnp.zeros((2, 3, 1)), jnp.zeros((2, 1)))
    x = np.random.default_rng(0).normal(size=(5, 3))
    estimated = leave_one_out.approximate(params, x, np.zeros(5, int), [0.1, 1.0])
    np.testing.assert_array_equal(estimated.loss, [0, 0])
    np.testing.assert_array_equal(estimated.accuracy, [1, 1])


def test_a_row_without_weight_is_not_there():
    s = cases()["three classes"]
    labels = s.targets.argmax(axis=1)
    weights = (np.arange(11) % 4 > 0).astype(float)
    out = weights == 0
    theta = guess(s)
    params = Params(jnp.asarray(theta[None, :-1]), jnp.asarray(theta[None, -1]))
    right = leave_one_out.approximate(params, s.x, labels, [0.1], weights)
    # With features and a class of its own it is out of sample as it is.
    scores = s.x @ theta[:-1] + theta[-1]
    plain = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(11), labels]
    np.testing.assert_allclose(right.losses[0, out], plain[out], rtol=1e-12)
    x, labels = s.x.copy(), labels.copy()
    # Features, label, or both: NaN is largest, and the first row is of the first class.
    x[[0, 8]], labels[[4, 8]] = np.nan, -1
    estimated = leave_one_out.approximate(params, x, labels, [0.1], weights)
    assert np.isnan(estimated.losses[0, out]).all()
    assert not estimated.right[0, out].any()
    for ours, expected in zip(estimated, right, strict=True):
        if ours.ndim > 1:
            ours, expected = ours[:, ~out], expected[:, ~out]
        np.testing.assert_array_equal(ours, expected)
