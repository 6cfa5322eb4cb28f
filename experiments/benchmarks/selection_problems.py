"""What ``benchmarks.selection`` compares criteria on: draws of training rows.

| problem | training rows x features, classes |
| --- | --- |
| digits, wine, breast_cancer | half of the table; the other half is the test |
| fashion_500, _5000, _all | 784 pixels, 10; _all draws 50,000 of the 60,000 |
| hog_500, _5000, _all | 1296 oriented gradients of the same images |
| gaussian | 3,000 x 96, 7; covariance 1, means of deviation 0.35 in each feature |
| noisy | the same, one label in five drawn anew, of the test rows too |
| correlated | 1,000 x 200, 10; direction k has deviation 1 / k |

Test rows are 10,000 where nothing else is said; those of images are their own.
Features are standardised by the training rows, as ``--protocol=exact`` does.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from linclf_jax.data import datasets, image_cache, preprocessing
from linclf_jax.data.stored import Files

TEST_ROWS = 10_000  # of what is drawn from a distribution
MOST_IMAGES = 50_000  # of "all": draws of all 60,000 would be one draw

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Draw(NamedTuple):
    """Rows of one seed; features are float32."""

    x: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,)
    test_x: np.ndarray  # (M, D)
    test_labels: np.ndarray  # (M,)
    num_classes: int


def draw(name: str, seed: int, data_dir: str | None = None) -> Draw:
    """Returns the rows of one seed, standardised.

    Args:
        name: One of ``NAMES``.
        seed: Of the draw.
        data_dir: Holds the files of Fashion-MNIST.
    """
    if name in _TABLES:
        arrays = _table(name, seed)
    elif name in _DRAWN:
        arrays = _DRAWN[name](np.random.default_rng(seed))
    else:
        features, rows = _IMAGES[name]
        arrays = _images(features, rows, seed, data_dir)
    x, labels, test_x, test_labels = arrays
    scaling = preprocessing.fit("standardize", x)
    return Draw(
        np.asarray(preprocessing.apply(scaling, x)),
        labels,
        np.asarray(preprocessing.apply(scaling, test_x)),
        test_labels,
        int(max(labels.max(), test_labels.max())) + 1,
    )


def _table(name: str, seed: int) -> Arrays:
    dataset = datasets.load(name, split_seed=seed, fractions=(0.25, 0.25, 0.5))
    x, labels, _ = datasets.joined(dataset.train, dataset.validation)
    test = dataset.test.read()
    return np.asarray(x), labels, np.asarray(test.x), test.labels


def _gaussian(rng: np.random.Generator, noise: float = 0.0) -> Arrays:
    means = rng.normal(scale=0.35, size=(7, 96))
    return _mixture(rng, means, np.ones(96), 3_000, noise)


def _noisy(rng: np.random.Generator) -> Arrays:
    return _gaussian(rng, noise=0.2)


def _correlated(rng: np.random.Generator) -> Arrays:
    deviations = 1.0 / np.arange(1, 201)
    means = deviations * rng.normal(scale=0.5, size=(10, 200))
    # Turned, so that no feature is one of the directions.
    basis, _ = np.linalg.qr(rng.normal(size=(200, 200)))
    x, labels, test_x, test_labels = _mixture(rng, means, deviations, 1_000)
    return x @ basis, labels, test_x @ basis, test_labels


def _mixture(
    rng: np.random.Generator,
    means: np.ndarray,
    deviations: np.ndarray,
    rows: int,
    noise: float = 0.0,
) -> Arrays:
    """Returns rows around means, and test rows; a share of labels says nothing."""
    count = rows + TEST_ROWS
    classes = rng.permutation(np.arange(count) % len(means))
    x = means[classes] + deviations * rng.normal(size=(count, means.shape[1]))
    other = rng.integers(len(means), size=count)
    labels = np.where(rng.random(count) < noise, other, classes).astype(np.int32)
    x = x.astype(np.float32)
    return x[:rows], labels[:rows], x[rows:], labels[rows:]


def _images(features: str, rows: int, seed: int, data_dir: str | None) -> Arrays:
    x, labels, test_x, test_labels = _fashion(features, data_dir)
    index = np.random.default_rng(seed).permutation(len(labels))[:rows]
    return x[index], labels[index], test_x, test_labels


@functools.cache
def _fashion(features: str, data_dir: str | None) -> Arrays:
    images = datasets.load(
        "fashion_mnist", split_seed=0, files=Files(data_dir=data_dir)
    )
    train, test = datasets.joined(images.train, images.validation), images.test.read()
    pixels = (train.x, test.x)
    if features != "raw":
        pixels = (image_cache.features(features, x, images.image_shape) for x in pixels)
    x, test_x = pixels
    return np.asarray(x), train.labels, np.asarray(test_x), test.labels


_TABLES = ("digits", "wine", "breast_cancer")
_DRAWN: Mapping[str, Callable[[np.random.Generator], Arrays]] = {
    "gaussian": _gaussian,
    "noisy": _noisy,
    "correlated": _correlated,
}
_IMAGES = {
    f"{name}_{size}": (features, rows)
    for size, rows in (("500", 500), ("5000", 5_000), ("all", MOST_IMAGES))
    for name, features in (("fashion", "raw"), ("hog", "hog"))
}
NAMES = (*_TABLES, *_DRAWN, *_IMAGES)
