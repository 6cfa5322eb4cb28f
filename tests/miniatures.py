"""Problems (a) to (e) of the benchmark in small, and random data of any shape."""

from typing import NamedTuple

import numpy as np
from sklearn import datasets

NAMES = ("digits", "power_law", "pixels", "few_shot", "wide")


class Data(NamedTuple):
    """Rows, and what they weigh in two folds that are lanes."""

    x: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,)
    weights: np.ndarray  # (2, N)

    @property
    def num_classes(self):
        return int(self.labels.max()) + 1


def random(num_rows=60, num_features=8, num_classes=3, *, seed=0, noise=2.0) -> Data:
    """Returns classes that overlap, so that the optimum is finite without penalty."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % num_classes
    means = rng.normal(size=(num_classes, num_features))
    x = means[labels] + noise * rng.normal(size=(num_rows, num_features))
    return _folded(x, labels)


def make(name) -> Data:
    """Returns one of the five; all but the last have one shape, compiled once."""
    rng = np.random.default_rng(5)
    labels = np.arange(120) % 10
    if name == "digits":
        x, labels = datasets.load_digits(return_X_y=True)
        blocks = x[:120].reshape(120, 4, 2, 4, 2).mean(axis=(2, 4))
        return _folded(blocks.reshape(120, 16) / 16, labels[:120])
    if name == "power_law":
        rotation, _ = np.linalg.qr(rng.normal(size=(16, 16)))
        rows = 2 * rng.normal(size=(10, 16))[labels] + rng.normal(size=(120, 16))
        return _folded(rows / (1 + np.arange(16)) @ rotation, labels)
    if name == "pixels":
        # Most are exactly black, as the border of every image is.
        rows = rng.normal(size=(10, 16))[labels] + rng.normal(size=(120, 16))
        return _folded(np.clip(rows - 1, 0, 1), labels)
    if name == "few_shot":
        rows = rng.normal(size=(10, 16))[labels] + rng.normal(size=(120, 16))
        return _folded(rows / np.linalg.norm(rows, axis=1, keepdims=True), labels)
    return random(30, 40, 4, seed=2)


def _folded(x, labels) -> Data:
    # Counted along the classes: each keeps most of its rows in both folds.
    fold = np.empty(len(x), int)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(x)) % 5
    return Data(x, labels, np.stack([fold != 1, fold != 3]).astype(float))
