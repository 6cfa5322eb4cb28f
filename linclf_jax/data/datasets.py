"""Named datasets, checked at the door and split once by a fixed seed.

A ``Source`` is a table of rows with labels; ``split`` deals its rows into training,
validation and test sets, class by class, and ``load`` does both for a dataset that has
a name. Values stay raw, and in float64: scaling is fitted on the training split alone,
and lives in ``linclf_jax.data.preprocessing``, which rounds to float32 once and last.
A feature of 1e8 that varies by 1 would be constant in float32. This costs 8 bytes a
value for as long as the dataset lives.
"""

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import validation

NAMES = ("digits", "iris", "wine", "breast_cancer", "synthetic")


class Source(NamedTuple):
    """All rows of a dataset, before they are split."""

    x: np.ndarray  # (N, D) real numbers of any dtype
    labels: np.ndarray  # (N,) integers in 0..C-1
    class_names: tuple[str, ...]  # C, in the order of the labels
    feature_names: tuple[str, ...] | None = None  # D
    image_shape: tuple[int, int] | None = None  # height, width, if columns are pixels


class Split(NamedTuple):
    """Some rows of a source, in the order of the source."""

    x: np.ndarray  # (N, D) float64, the values of the source
    labels: np.ndarray  # (N,) int32
    index: np.ndarray  # (N,) int64, row numbers in the source


class Dataset(NamedTuple):
    """Three disjoint splits that together hold every row of a source."""

    train: Split
    validation: Split
    test: Split
    name: str
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None
    image_shape: tuple[int, int] | None


class Mixture(NamedTuple):
    """What ``synthetic`` is drawn from: a Gaussian of unit variance for each class."""

    num_examples: int = 1000  # N, dealt to the classes in turn
    num_features: int = 16  # D
    num_classes: int = 4  # C
    separation: float = 0.5  # standard deviation of the class means, every column
    seed: int = 0  # 0..2^32-1


def load(
    name: str,
    *,
    split_seed: int,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    mixture: Mixture | None = None,
) -> Dataset:
    """Loads a dataset by its name and splits it.

    Args:
        name: One of ``NAMES``; all but ``synthetic`` come with scikit-learn.
        split_seed: Which split, in ``0..2^32-1``; see ``split``.
        fractions: Shares of the training, validation and test split.
        mixture: What ``synthetic`` is drawn from; None means ``Mixture()``.

    Returns:
        The dataset, raw values in float64.

    Raises:
        ValueError: The name is unknown, scikit-learn is needed and not installed, a
            mixture is given for real data, or ``split`` refuses.

    >>> dataset = load("synthetic", split_seed=0)
    >>> [part.x.shape for part in (dataset.train, dataset.validation, dataset.test)]
    [(600, 16), (200, 16), (200, 16)]
    """
    if name not in NAMES:
        raise ValueError(f"found dataset {name!r}, expected one of {', '.join(NAMES)}")
    if name == "synthetic":
        source = _draw(mixture or Mixture())
    elif mixture is not None:
        raise ValueError(f"dataset {name!r} is real data: it takes no mixture")
    else:
        source = _bundled(name)
    return split(source, name=name, split_seed=split_seed, fractions=fractions)


def split(
    source: Source,
    *,
    name: str,
    split_seed: int,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> Dataset:
    """Deals the rows of a source into three splits, class by class.

    The rows of each class are ordered by random 64-bit keys and cut at the rounded
    cumulative fractions. The keys are the raw stream of NumPy's PCG64, which NumPy
    guarantees for all its versions and platforms (unlike methods of ``Generator`` such
    as ``permutation``), so that a seed names the same split everywhere.

    Args:
        source: The rows; validated here.
        name: What the dataset is called in messages and files.
        split_seed: Seed of the keys, in ``0..2^32-1``.
        fractions: Shares of training, validation and test; positive, summing to 1.

    Returns:
        The splits, each with at least one row of every class.

    Raises:
        ValueError: Shapes do not match; features are not finite; labels are not
            integers in ``0..C-1``; a class has too few rows for three splits; fractions
            or seed are out of range.
    """
    x, labels = _checked(source)
    _check_fractions(fractions)
    validation.validate_seed(split_seed, name="split_seed")
    keys = np.random.PCG64(split_seed).random_raw(len(x))
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label, class_name in enumerate(source.class_names):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        first, second = (round(sum(fractions[:k]) * len(rows)) for k in (1, 2))
        if not 0 < first < second < len(rows):
            raise ValueError(
                f"{name}: found {len(rows)} rows of class {label} ({class_name}), "
                f"expected enough for one in each split at fractions {fractions}"
            )
        for part, dealt in zip(parts, np.split(rows, (first, second)), strict=True):
            part.append(dealt)
    indices = [np.sort(np.concatenate(part)).astype(np.int64) for part in parts]
    return Dataset(
        *(_take(x, labels, index) for index in indices),
        name=name,
        class_names=source.class_names,
        feature_names=source.feature_names,
        image_shape=source.image_shape,
    )


def joined(first: Split, second: Split) -> Split:
    """Returns the rows of two splits, the second's after the first's.

    Args:
        first: Some rows.
        second: Other rows of the same source.
    """
    return Split(*map(np.concatenate, zip(first, second, strict=True)))


def fingerprint(dataset: Dataset) -> str:
    """Returns a SHA-256 of dtype, shape and bytes of every array of every split.

    Args:
        dataset: The dataset.

    Returns:
        64 hexadecimal digits, of bytes in row-major, little-endian order everywhere.
    """
    digest = hashlib.sha256()
    for part in (dataset.train, dataset.validation, dataset.test):
        for field, array in part._asdict().items():
            little = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{field} {little.dtype.str} {little.shape}\n".encode())
            digest.update(little.tobytes())
    return digest.hexdigest()


def _bundled(name: str) -> Source:
    try:
        from sklearn import datasets as bundled
    except ImportError as error:
        raise ValueError(
            f"dataset {name!r} comes with scikit-learn, which is not installed: "
            "pip install 'linclf_jax[experiments]'"
        ) from error
    bunch: Any = getattr(bundled, f"load_{name}")()
    return Source(
        x=bunch.data,
        labels=bunch.target,
        class_names=tuple(str(item) for item in bunch.target_names),
        feature_names=tuple(str(item) for item in bunch.feature_names),
        image_shape=bunch.images.shape[1:] if name == "digits" else None,
    )


def _draw(mixture: Mixture) -> Source:
    """Draws the rows; should another NumPy draw others, ``fingerprint`` shows it."""
    count, features, classes, separation, seed = mixture
    if min(count, features, classes) < 1 or not 0 <= separation < math.inf:
        raise ValueError(
            f"found {mixture}, expected positive sizes and a finite separation >= 0"
        )
    validation.validate_seed(seed, name="mixture.seed")
    generator = np.random.Generator(np.random.PCG64(seed))
    means = separation * generator.standard_normal((classes, features))
    labels = np.arange(count) % classes
    x = means[labels] + generator.standard_normal((count, features))
    return Source(x, labels, tuple(f"class_{label}" for label in range(classes)))


def _checked(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Returns features and labels as they came, or says what is wrong with them."""
    validation.validate_batch(source.x, source.labels, len(source.class_names))
    x, labels = np.asarray(source.x), np.asarray(source.labels)
    names, image = source.feature_names, source.image_shape
    if names is not None and len(names) != x.shape[1]:
        raise ValueError(f"found {len(names)} feature names for {x.shape[1]} columns")
    if image is not None and math.prod(image) != x.shape[1]:
        raise ValueError(f"found image shape {image} for {x.shape[1]} columns")
    return x, labels


def _take(x: np.ndarray, labels: np.ndarray, index: np.ndarray) -> Split:
    # Cast by split: all of a large uint8 source would stand in float64 twice.
    return Split(
        x[index].astype(np.float64, copy=False), labels[index].astype(np.int32), index
    )


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    positive = len(fractions) == 3 and all(0 < share < 1 for share in fractions)
    if not positive or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(
            f"found fractions {fractions}, expected three positive ones that sum to 1"
        )
