"""Scaling and projection of features by statistics of the training split alone.

Every kind has the same form: ``(x - shift) / scale`` with a shift and a scale for each
column; for ``l2_normalize`` a division of each row by its norm, and for ``pca:K`` and
``whiten`` a product with principal axes after it. The statistics are float64, are
stored with the model, and are all that validation and test rows are scaled by. Large
matrices are read a block of rows at a time, and are never in float64 as a whole.

A column that is constant in training tells nothing about the classes and has no spread
to divide by: its scale is 1 and its shift the constant itself, so that it becomes 0
there, exactly, whatever the rounding of a mean.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from linclf_jax import validation
from linclf_jax.data import statistics, stored_rows
from linclf_jax.data.stored_rows import Features

_COLUMNWISE = ("none", "standardize", "mean_range", "l2_normalize")
NAMES = (*_COLUMNWISE, "pca:K", "whiten")  # K stands for a number
_PCA = re.compile(r"pca:([1-9][0-9]{0,5})")
_ROWS = 1024  # of a block that is scaled


class Preprocessing(NamedTuple):
    """One fitted scaling: its name and the statistics of the training split."""

    name: str  # one of NAMES, with a number for K
    shift: np.ndarray  # (D,) float64
    scale: np.ndarray  # (D,) float64, positive
    axes: np.ndarray | None = None  # (D, K) float64, of pca:K and whiten


def validate(name: str) -> None:
    """Refuses a name that is none of ``NAMES``, with a number for K."""
    if name not in _COLUMNWISE and not _projects(name):
        raise ValueError(
            f"found preprocessing {name!r}, expected one of {', '.join(NAMES)}"
        )


def fit(name: str, x_train: Features) -> Preprocessing:
    """Computes the statistics of the training split.

    Args:
        name: ``none``; ``standardize``: (x - mean) / standard deviation (of the N rows,
            not N - 1); ``mean_range``: (x - mean) / (max - min); ``l2_normalize``: each
            row divided by its Euclidean norm, a row of zeros left as it is; ``pca:K``:
            x - mean along the K axes of the largest variance; ``whiten``: standardized,
            then along all axes in which the rows vary, with variance 1 along each.
        x_train: Training features ``(N, D)``, real numbers of any dtype.

    Raises:
        ValueError: The name is unknown, the features are no matrix of finite numbers,
            so large that their statistics are not finite, or vary in too few
            directions.

    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> fitted = fit("standardize", x)
    >>> apply(fitted, x)
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    validate(name)
    validation.validate_features(x_train, name="x_train")
    x = validation.as_rows(x_train)
    shift, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if name in ("none", "l2_normalize"):
        return Preprocessing(name, shift, scale)
    moments = statistics.moments(x)
    shift = moments.mean
    if name in ("standardize", "mean_range", "whiten"):
        scale = moments.extent if name == "mean_range" else moments.deviation
    validation.validate_features(np.stack([shift, scale]), name=f"{name} statistics")
    # It is 0 of a constant column, and where squares of small differences underflow.
    scale = np.where(scale > 0, scale, 1.0)
    if not _projects(name):
        return Preprocessing(name, shift, scale)
    axes = statistics.principal_axes(
        x, shift, scale, name=name, count=_num_axes(name), whiten=name == "whiten"
    )
    return Preprocessing(name, shift, scale, axes)


def apply(preprocessing: Preprocessing, x: Features, start: int = 0) -> np.ndarray:
    """Scales features ``(N, D)`` of any split and dtype by fitted statistics.

    Messages count the rows from ``start``.

    Returns:
        Scaled features ``(N, D)``, of a projection ``(N, K)``, computed in float64 and
        rounded once to float32. Those of a row do not depend on the other rows.

    Raises:
        ValueError: Another number of columns than in training, features that are not
            finite, or results that leave float32.
    """
    validation.validate_features(x, start=start)
    x, columns = validation.as_rows(x), len(preprocessing.shift)
    if x.shape[1] != columns:
        raise ValueError(f"found {x.shape[1]} columns, expected {columns}")
    rounded = np.empty((len(x), num_columns(preprocessing)), np.float32)
    # Overflow is refused by the check at the end, with its row and column.
    with np.errstate(over="ignore", invalid="ignore"):
        for number, block in enumerate(statistics.blocks(x, _ROWS)):
            first = number * _ROWS
            rounded[first : first + _ROWS] = _scaled(preprocessing, block)
    after = f"x after {preprocessing.name}"
    validation.validate_features(rounded, name=after, start=start)
    return rounded


def num_columns(preprocessing: Preprocessing) -> int:
    """Returns how many columns scaled features have."""
    axes = preprocessing.axes
    return len(preprocessing.shift) if axes is None else axes.shape[1]


@dataclasses.dataclass(frozen=True)
class ScaledRows:
    """Rows ``(N, K)`` float32 that ``apply`` scales where they are indexed.

    The table that they are of stays as it is stored.
    """

    preprocessing: Preprocessing
    x: Features  # (N, D)

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, K)``."""
        return len(self.x), num_columns(self.preprocessing)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        start = rows.start or 0 if isinstance(rows, slice) else 0
        return apply(self.preprocessing, self.x[rows], start)

    def take(self, rows: slice | np.ndarray) -> "ScaledRows":
        """Returns some of the rows, none of them scaled yet."""
        return dataclasses.replace(self, x=stored_rows.take(self.x, rows))


def _projects(name: str) -> bool:
    return name == "whiten" or _PCA.fullmatch(name) is not None


def _num_axes(name: str) -> int | None:
    """Returns K of ``pca:K``; None of ``whiten``, which takes all axes there are."""
    match = _PCA.fullmatch(name)
    return int(match[1]) if match else None


def _scaled(preprocessing: Preprocessing, block: np.ndarray) -> np.ndarray:
    scaled = block - preprocessing.shift[None, :]
    scaled /= preprocessing.scale[None, :]
    if preprocessing.name == "l2_normalize":
        return _unit_rows(scaled)
    if preprocessing.axes is not None:
        return statistics.project(scaled, preprocessing.axes)
    return scaled


def _unit_rows(x: np.ndarray) -> np.ndarray:
    # Divided by the largest entry first: squares of float64 may over- or underflow.
    largest = np.max(np.abs(x), axis=1, keepdims=True)
    bounded = x / np.where(largest > 0, largest, 1.0)
    norms = np.sqrt(np.sum(np.square(bounded), axis=1, keepdims=True))
    return bounded / np.where(norms > 0, norms, 1.0)


def to_arrays(
    preprocessing: Preprocessing,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the tensors and the metadata that a model file stores."""
    fields = preprocessing._asdict()
    name = fields.pop("name")
    arrays = {f"preprocessing.{k}": a for k, a in fields.items() if a is not None}
    return arrays, {"preprocessing": name}


def from_arrays(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> Preprocessing:
    """Rebuilds what ``to_arrays`` took apart, bit for bit; other entries are ignored.

    Raises:
        ValueError: An entry is missing, or is no statistic that ``fit`` could return.
    """
    name = metadata.get("preprocessing")
    if name is not None:
        validate(name)
    projects = name is not None and _projects(name)
    keys = [f"preprocessing.{k}" for k in ("shift", "scale", "axes")[: 2 + projects]]
    if name is None or not {*keys} <= {*arrays}:
        raise ValueError(
            f"found tensors {sorted(arrays)} and metadata {sorted(metadata)}, expected "
            f"{', '.join(keys)} and the metadata 'preprocessing'"
        )
    for key in keys:
        array = arrays[key]
        if array.dtype != np.float64 or not np.all(np.isfinite(array)):
            raise ValueError(f"{key}: found {array.dtype}, expected finite float64")
    preprocessing = Preprocessing(name, *(np.asarray(arrays[key]) for key in keys))
    _check_shapes(preprocessing)
    return preprocessing


def _check_shapes(preprocessing: Preprocessing) -> None:
    name, shift, scale, axes = preprocessing
    if shift.ndim != 1 or shift.shape != scale.shape:
        raise ValueError(f"found shift {shift.shape} and scale {scale.shape}, not (D,)")
    if not np.all(scale > 0):
        raise ValueError(f"found scale {np.min(scale)}, expected positive ones")
    if axes is None:
        return
    count = _num_axes(name) or (axes.shape[1] if axes.ndim == 2 else "K")
    if axes.shape != (len(shift), count):
        raise ValueError(
            f"found axes {axes.shape} for {name}, expected ({len(shift)}, {count})"
        )
