"""Passes over chunks, beside the same by the book in float64 NumPy."""

import jax
import numpy as np
import pytest

from linclf_jax.exact import columns, passes
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import solver as solver_lib

ROWS, FEATURES = 150, 5  # chunks of 128 rows: one is full, and one is filled up


def make(classes, *, soft=False, absent=False, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, FEATURES)) * [1, 10, 0.1, 1e4, 1] + [0, 5, 0, 1e5, 0]
    labels = np.arange(ROWS) % classes
    targets = np.eye(classes)[labels]
    if soft:
        targets = 0.5 * targets + 0.5 * rng.dirichlet(np.ones(classes), ROWS)
    weights = rng.random((2, ROWS))
    weights[0, ::7] = 0.0
    if absent:
        weights[1, labels == 1] = 0.0
    return x, targets if soft else labels, targets, weights


def by_the_book(x, targets, weights, W, b, l2, present):
    """Returns objective, gradient ``(C, D + 1)`` and Hessian of one lane."""
    share = weights / weights.sum()
    logits = np.where(present, x @ W.T + b, -np.inf)
    logits -= logits.max(axis=1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    used = (targets > 0) & (share > 0)[:, None]
    losses = -np.sum(np.where(used, targets * np.where(used, log_probs, 0), 0), axis=1)
    probs = np.exp(log_probs)
    columns = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    pull = np.concatenate([W, np.zeros((len(W), 1))], axis=1)
    gradient = ((probs - targets) * share[:, None]).T @ columns + l2 * pull
    jacobians = probs[:, :, None] * np.eye(len(W)) - probs[:, :, None] * probs[:, None]
    hessian = np.einsum(
        "n,ncj,nd,ne->cdje", share, jacobians, columns, columns, optimize=True
    )
    for c in range(len(W)):
        for d in range(FEATURES):
            hessian[c, d, c, d] += l2
    return share @ losses + 0.5 * l2 * np.sum(W**2), gradient, hessian


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def wide(request):
    return request.param


@pytest.mark.parametrize(
    ("classes", "options"),
    [
        (2, {}),
        (2, {"soft": True}),
        (2, {"absent": True}),
        (3, {}),
        (3, {"soft": True}),
        (3, {"absent": True}),
    ],
)
def test_objective_gradient_and_products_are_those_of_the_book(
    monkeypatch, classes, options, wide
):
    monkeypatch.setattr(passes.rows_lib, "CHUNK", 128)
    x, labels, targets, weights = make(classes, **options)
    l2, rng = np.array([0.1, 1e-3]), np.random.default_rng(1)
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, labels, num_lanes=2, weights=weights)
        assert problem.blocks[0].x.shape == (2, 128, FEATURES)
        solver = solver_lib.prepare(problem, x, 1e-6, 100, rotated=False)
        system = solver.system(np.arange(2), l2, wide=wide)
        free, present = columns.num_free(classes), np.asarray(problem.lanes.present)
        A, V = rng.normal(size=(2, 2, free, FEATURES + 1))
        A, V = (columns.centred(problem.lanes.present, each) for each in (A, V))
        iterate, probs = passes.evaluate(system, A, keep=True)
        product = passes.hessian_product(system, probs, V)
        params, direction = (
            columns.to_params(solver.columns, problem.lanes.present, each)
            for each in (A, V)
        )
    scale = solver.columns.scale
    for lane in range(2):
        own = weights[lane], *(np.asarray(leaf)[lane] for leaf in params), l2[lane]
        value, gradient, hessian = by_the_book(x, targets, *own, present[lane])
        change = np.concatenate(
            [np.asarray(direction.W)[lane], np.asarray(direction.b)[lane][:, None]], 1
        )
        expected = [gradient, np.einsum("cdje,je->cd", hessian, change)]
        # By the chain rule: columns are (x - mean) / scale.
        expected = [
            np.concatenate(
                [(g[:, :-1] - g[:, -1:] * solver.columns.mean) / scale, g[:, -1:]], 1
            )
            for g in expected
        ]
        if classes == 2:
            expected = [0.5 * (g[1:] - g[:1]) for g in expected]
        if options.get("absent") and lane == 1:
            kept = present[lane][:, None] if classes > 2 else np.zeros((1, 1))
            expected = [g * kept for g in expected]
        actual = [iterate.gradient[lane], product[lane]]
        rtol = 1e-11 if wide else 2e-6
        np.testing.assert_allclose(iterate.objective[lane], value, rtol=rtol)
        for one, other in zip(actual, expected, strict=True):
            one = np.asarray(one) * (kept if options.get("absent") and lane else 1.0)
            size = np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=0, atol=rtol * size + 1e-15)


def test_confident_rows_keep_the_digits_of_what_is_left():
    # All is relative to probabilities of 1e-20, of which 1 - p keeps nothing.
    x, labels = np.array([[1.0], [-1.0]]), np.array([0, 1])
    for classes in (2, 3):
        with jax.enable_x64(True):
            problem = problem_lib.prepare(x, labels, num_lanes=1, num_classes=classes)
            solver = solver_lib.prepare(problem, x, 1e-6, 100, rotated=False)
            system = solver.system(np.arange(1), np.array([0.0]), wide=False)
            A = np.array([[[-46.0, 0.0]]])
            if classes == 3:
                A = np.array([[[23.0, 0.0], [-23.0, 0.0], [0.0, 0.0]]])
            iterate, probs = passes.evaluate(system, A, keep=True)
            product = passes.hessian_product(system, probs, A)
        left = np.exp(-46.0)
        np.testing.assert_allclose(iterate.objective[0], left, rtol=1e-5)
        gradient = np.abs(iterate.gradient[0, :2, 0])
        np.testing.assert_allclose(gradient, left, rtol=1e-5)
        curvature = np.abs(product[0, :2, 0])
        np.testing.assert_allclose(curvature, 46.0 * left, rtol=1e-5)


def test_a_row_that_is_wrong_beyond_the_range_of_its_probability_still_counts():
    x, labels = np.array([[1.0], [-1.0]]), np.array([0, 1])
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, labels, num_lanes=1)
        solver = solver_lib.prepare(problem, x, 1e-6, 100, rotated=False)
        system = solver.system(np.arange(1), np.array([0.0]), wide=False)
        iterate, _ = passes.evaluate(system, np.array([[[500.0, 0.0]]]), keep=True)
    np.testing.assert_allclose(iterate.objective, 500.0)
    np.testing.assert_allclose(iterate.gradient[0, 0], [1.0, 0.0])
