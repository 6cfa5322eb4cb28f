"""Small problems of two folds, which are lanes, with optima and honest claims."""

import functools
from typing import NamedTuple

import numpy as np
from sklearn import datasets

from linclf_jax.exact import certificate, newton
from linclf_jax.params import Params
from tests import reference_solver

PENALTIES = (1.0, 1e-3, 1e-6)
ROWS, FEATURES, CLASSES = 60, 8, 3
# The benchmark's problems in small; all but the last have one shape, compiled once.
NAMES = ("digits", "power_law", "pixels", "few_shot", "wide")


class Data(NamedTuple):
    """Rows, and what they weigh in two folds that are lanes."""

    x: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,)
    weights: np.ndarray  # (2, N)


def random(num_rows=ROWS, num_features=FEATURES, *, seed=0, noise=2.0) -> Data:
    """Returns classes that overlap, so that the optimum is finite without penalty."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % CLASSES
    means = rng.normal(size=(CLASSES, num_features))
    x = means[labels] + noise * rng.normal(size=(num_rows, num_features))
    return _folded(x, labels)


def make(name) -> Data:
    """Returns one of ``NAMES``, or ``random``."""
    if name == "random":
        return random()
    if name == "wide":
        return random(20, 24, seed=2)
    rng = np.random.default_rng(5)
    labels = np.arange(ROWS) % CLASSES
    means, noise = (
        rng.normal(size=(CLASSES, FEATURES)),
        rng.normal(size=(ROWS, FEATURES)),
    )
    rows = means[labels] + noise
    if name == "digits":
        x, labels = datasets.load_digits(n_class=CLASSES, return_X_y=True)
        halves = x[:ROWS].reshape(ROWS, 4, 2, 2, 4).mean(axis=(2, 4))
        return _folded(halves.reshape(ROWS, FEATURES) / 16, labels[:ROWS])
    if name == "power_law":
        rotation, _ = np.linalg.qr(rng.normal(size=(FEATURES, FEATURES)))
        return _folded((rows + means[labels]) / (1 + np.arange(8)) @ rotation, labels)
    if name == "pixels":
        # Most are exactly black, as the border of every image is.
        return _folded(np.clip(rows - 1, 0, 1), labels)
    return _folded(rows / np.linalg.norm(rows, axis=1, keepdims=True), labels)


def _folded(x, labels) -> Data:
    # Counted along the classes: each keeps most of its rows in both folds.
    fold = np.empty(len(x), int)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(x)) % 5
    return Data(x, labels, np.stack([fold != 1, fold != 3]).astype(float))


def solve(data, l2, **options):
    """Solves both folds at one penalty, to a relative gap of 1e-11 if not told."""
    options = {"weights": data.weights, "tol": 1e-11} | options
    return newton.solve(data.x, data.labels, np.full(2, l2), **options)


def certify(params, data, l2):
    """Returns the certificate of both folds at one penalty."""
    l2 = np.full(2, l2)
    return certificate.certify(params, data.x, data.labels, l2, data.weights)


def optima(data, l2):
    """Returns the reference's solutions of both folds; each problem is solved once."""
    return _optima(*((a.tobytes(), a.shape, a.dtype.str) for a in data), l2)


@functools.cache
def _optima(*arrays_and_l2):
    *arrays, l2 = arrays_and_l2
    x, labels, weights = (np.frombuffer(b, d).reshape(s) for b, s, d in arrays)
    return [reference_solver.solve(x, labels, l2, each) for each in weights]


def values(params, data, l2):
    """Returns the objective of both folds, by the reference."""
    return np.array(
        [
            reference_solver.objective(W, b, data.x, data.labels, l2, weights)
            for W, b, weights in zip(*params, data.weights, strict=True)
        ]
    )


def above(params, data, l2):
    """Returns how far both folds are above their optimum."""
    optimum = [solution.objective for solution in optima(data, l2)]
    return values(params, data, l2) - optimum


def random_params(data, *, scale, seed=3):
    """Returns parameters that are no optimum."""
    rng = np.random.default_rng(seed)
    num_features, num_classes = data.x.shape[1], int(data.labels.max()) + 1
    W = scale * rng.normal(size=(2, num_features, num_classes))
    return Params(W, rng.normal(size=(2, num_classes)))


def assert_honest(params, info, data, l2):
    """Asserts that a solution's claims hold, by float64 numbers made otherwise."""
    proof = certify(params, data, l2)
    np.testing.assert_allclose(info.objective, proof.objective, rtol=1e-13)
    np.testing.assert_allclose(info.gap, proof.gap, rtol=1e-6, atol=1e-17)
    excess = above(params, data, l2)
    assert (excess <= info.gap + 2e-15 * (1 + info.objective)).all()
