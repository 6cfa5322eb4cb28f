"""Labels as lanes, beside independent optima of each."""

import jax
import numpy as np
import pytest
import scipy.optimize
from sklearn import linear_model

from linclf_jax.exact import labels, memory, rows, status

ROWS, FEATURES, LABELS = 80, 4, 3
L2 = np.array([0.3, 1e-2, 1e-4])


def make(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES)) + np.array([0.0, 3.0, 0.0, -1.0])
    scores = x @ rng.normal(size=(FEATURES, LABELS)) + rng.normal(size=(ROWS, LABELS))
    targets = (scores > 0).astype(int)
    if kind == "shares":
        targets = 1 / (1 + np.exp(-scores))
    elif kind == "unknown":
        targets[rng.random(targets.shape) < 0.4] = -1
    elif kind == "unknown shares":
        targets = np.where(rng.random(targets.shape) < 0.4, np.nan, targets)
    return x, targets


def value(theta, x, target, weights, l2):
    """Returns the objective of one label by the book."""
    w, b = theta[:-1], theta[-1]
    known = ~np.isnan(target)
    z, t = (x @ w + b)[known], target[known]
    losses = np.logaddexp(0.0, z) - t * z
    return weights[known] @ losses / weights.sum() + 0.5 * l2 * w @ w


def optimum(x, target, weights, l2):
    def gradient(theta):
        known = ~np.isnan(target)
        probs = 1 / (1 + np.exp(-(x @ theta[:-1] + theta[-1])))
        residual = np.where(known, probs - np.where(known, target, 0.0), 0.0)
        residual *= weights / weights.sum()
        return np.append(residual @ x + l2 * theta[:-1], residual.sum())

    start = np.zeros(x.shape[1] + 1)
    args = x, target, weights, l2
    return scipy.optimize.minimize(
        value, start, args, "BFGS", lambda theta, *_: gradient(theta), tol=1e-10
    ).fun


@pytest.mark.parametrize("kind", ["hard", "shares", "unknown", "unknown shares"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_label_is_the_optimum_of_its_own_problem(kind, weighted):
    x, targets = make(kind)
    weights = np.random.default_rng(1).random(ROWS) if weighted else np.ones(ROWS)
    params, info = labels.solve(x, targets, L2, weights=weights)
    assert (info.status == status.CONVERGED).all()
    values = np.where(targets == -1, np.nan, targets).astype(float)
    for k in range(LABELS):
        theta = np.append(params.W[:, k], params.b[k])
        own = x, values[:, k], weights, L2[k]
        np.testing.assert_allclose(info.objective[k], value(theta, *own), rtol=1e-7)
        above = info.objective[k] - optimum(*own)
        assert -1e-9 <= above <= info.gap[k] + 1e-12


def test_a_label_is_the_binary_logistic_regression_of_scikit_learn():
    x, targets = make("hard")
    params, _ = labels.solve(x.astype(np.float64), targets, 1e-2, tol=1e-10)
    for k in range(LABELS):
        peer = linear_model.LogisticRegression(C=1 / (1e-2 * ROWS), tol=1e-10)
        peer.fit(x, targets[:, k])
        np.testing.assert_allclose(params.W[:, k], peer.coef_[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(params.b[k], peer.intercept_[0], atol=1e-4)


def test_a_path_of_labels_ends_where_each_fit_does():
    x, targets = make("unknown")
    points = list(labels.follow(x, targets, [1e-3, 1.0, 0.03]))
    assert [point.l2 for point in points] == [1.0, 0.03, 1e-3]
    for point in points:
        _, alone = labels.solve(x, targets, point.l2)
        np.testing.assert_allclose(point.info.objective, alone.objective, rtol=2e-6)
    rest = labels.follow(x, targets, [1e-3, 1.0, 0.03], state=points[1].state)
    (last,) = rest
    np.testing.assert_array_equal(last.params.W, points[2].params.W)


def test_a_label_of_one_value_has_an_infinite_bias():
    x, targets = make("hard")
    targets[:, 0], targets[:, 2] = 1, 0
    params, info = labels.solve(x, targets, 0.1)
    np.testing.assert_array_equal(np.asarray(params.b)[[0, 2]], [np.inf, -np.inf])
    assert not np.any(np.asarray(params.W)[:, [0, 2]])
    np.testing.assert_array_equal(info.gap[[0, 2]], 0.0)


def test_blocks_change_no_bit_of_a_label(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 64)
    monkeypatch.setattr(memory, "BLOCK", 64 * FEATURES)
    x, targets = make("unknown")
    whole = labels.solve(x, targets, L2, memory_budget=2**30)
    budget = 2**20
    while True:
        try:
            least = labels.solve(x, targets, L2, memory_budget=budget)
            budget //= 2
        except ValueError:
            break
    jax.tree.map(np.testing.assert_array_equal, least, whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.zeros(ROWS)}, r"shape \(80,\); expected \(N, 80\)"),
        ({"targets": np.full((ROWS, 2), 2)}, "expected 0 or 1, or -1 for unknown"),
        ({"targets": np.zeros((3, 2))}, "x has 80 rows but targets has 3"),
        ({"targets": np.full((ROWS, 2), [0, -1])}, "label 1 is known in no row"),
        ({"l2": [0.1, 0.2]}, r"l2 has shape \(2,\); expected \(3,\)"),
        ({"l2": -1.0}, "l2 of lane 0 is -1.0"),
        ({"weights": np.zeros(ROWS)}, "are all 0"),
        ({"tol": 0.0}, "tol is 0.0"),
    ],
)
def test_bad_input_is_refused(changes, message):
    x, targets = make("hard")
    with pytest.raises(ValueError, match=message):
        labels.solve(**({"x": x, "targets": targets, "l2": 0.1} | changes))
