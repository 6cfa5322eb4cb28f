"""Scaling of features by statistics of the training split alone.

Every kind has the same form: ``(x - shift) / scale`` with a shift
and a scale for each column, and for ``l2_normalize`` a division of each row by its
norm. The statistics are float64, are stored with the model, and are the only thing that
validation and test rows are ever scaled by.

A column that is constant in training says nothing about the classes and has no spread
to divide by: its scale is 1 and its shift the constant itself, so that it becomes 0
there, exactly, whatever the rounding of a mean.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from linclf_jax import validation


class Preprocessing(NamedTuple):
    """One fitted scaling: its name and the statistics of the training split."""

    name: str  # one of NAMES
    shift: np.ndarray  # (D,) float64
    scale: np.ndarray  # (D,) float64, positive


def _deviation(x: np.ndarray) -> np.ndarray:
    return np.std(x, axis=0)


def _range(x: np.ndarray) -> np.ndarray:
    return np.max(x, axis=0) - np.min(x, axis=0)


def _unit_rows(x: np.ndarray) -> np.ndarray:
    # Divided by the largest entry first: squares of float64 may over- or underflow.
    largest = np.max(np.abs(x), axis=1, keepdims=True)
    bounded = x / np.where(largest > 0, largest, 1.0)
    norms = np.sqrt(np.sum(np.square(bounded), axis=1, keepdims=True))
    return bounded / np.where(norms > 0, norms, 1.0)


# What each kind divides by; None leaves the columns as they are.
_SPREADS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    "none": None,
    "standardize": _deviation,
    "mean_range": _range,
    "l2_normalize": None,
}
NAMES = tuple(_SPREADS)


def fit(name: str, x_train: np.ndarray) -> Preprocessing:
    """Takes the statistics of the training split.

    Args:
        name: ``none``; ``standardize``: (x - mean) / standard deviation (of the N rows,
            not N - 1); ``mean_range``: (x - mean) / (max - min); ``l2_normalize``: each
            row divided by its Euclidean norm, a row of zeros left as it is.
        x_train: Training features ``(N, D)``, real numbers of any dtype.

    Returns:
        The statistics, in float64.

    Raises:
        ValueError: The name is unknown, the features are no matrix of finite numbers,
            or so large that their statistics are not finite.

    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> fitted = fit("standardize", x)
    >>> apply(fitted, x)
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    _check_name(name)
    x = _checked(x_train, "x_train")
    spread = _SPREADS[name]
    if spread is None:
        return Preprocessing(name, np.zeros(x.shape[1]), np.ones(x.shape[1]))
    # Compared as they are: the deviation of a constant column is 0 only up to rounding.
    constant = np.max(x, axis=0) == np.min(x, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        shift = np.where(constant, x[0], np.mean(x, axis=0))
        scale = np.where(constant, 1.0, spread(x))
    validation.validate_features(np.stack([shift, scale]), name=f"{name} statistics")
    # Differences below 1e-162 have a deviation that underflows to 0.
    return Preprocessing(name, shift, np.where(scale > 0, scale, 1.0))


def apply(preprocessing: Preprocessing, x: np.ndarray) -> np.ndarray:
    """Scales features by fitted statistics.

    Args:
        preprocessing: What ``fit`` returned for the training split.
        x: Features ``(N, D)`` of any split, real numbers of any dtype.

    Returns:
        Scaled features ``(N, D)``, computed in float64 and rounded once to float32.

    Raises:
        ValueError: Another number of columns than in training, features that are not
            finite, or results that leave float32.
    """
    values, columns = _checked(x, "x"), len(preprocessing.shift)
    if values.shape[1] != columns:
        raise ValueError(f"found {values.shape[1]} columns, expected {columns}")
    # Overflow is found by the check at the end, with its place.
    with np.errstate(over="ignore"):
        scaled = values - preprocessing.shift[None, :]
        scaled /= preprocessing.scale[None, :]  # in place: one array of N D less
        if preprocessing.name == "l2_normalize":
            scaled = _unit_rows(scaled)
        rounded = scaled.astype(np.float32)
    validation.validate_features(rounded, name=f"x after {preprocessing.name}")
    return rounded


def to_arrays(
    preprocessing: Preprocessing,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the tensors and the metadata that a model file keeps.

    Args:
        preprocessing: What ``fit`` returned.

    Returns:
        Arrays ``preprocessing.shift`` and ``preprocessing.scale``, and the metadata
        ``preprocessing`` with the name; ready to be merged with those of the model.
    """
    arrays = {
        "preprocessing.shift": preprocessing.shift,
        "preprocessing.scale": preprocessing.scale,
    }
    return arrays, {"preprocessing": preprocessing.name}


def from_arrays(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> Preprocessing:
    """Rebuilds what ``to_arrays`` took apart; other entries are ignored.

    Args:
        arrays: Tensors of a model file.
        metadata: Its metadata.

    Returns:
        The same statistics, bit for bit.

    Raises:
        ValueError: An entry is missing, or is no statistic that ``fit`` could return.
    """
    keys = ("preprocessing.shift", "preprocessing.scale")
    absent = [key for key in keys if key not in arrays]
    if absent or "preprocessing" not in metadata:
        raise ValueError(
            f"found tensors {sorted(arrays)} and metadata {sorted(metadata)}, expected "
            f"{', '.join(keys)} and the metadata 'preprocessing'"
        )
    _check_name(metadata["preprocessing"])
    shift, scale = (np.asarray(arrays[key]) for key in keys)
    if shift.ndim != 1 or shift.shape != scale.shape:
        raise ValueError(f"found shift {shift.shape} and scale {scale.shape}, not (D,)")
    for key, array in zip(keys, (shift, scale), strict=True):
        if array.dtype != np.float64 or not np.all(np.isfinite(array)):
            raise ValueError(f"{key}: found {array.dtype}, expected finite float64")
    if not np.all(scale > 0):
        raise ValueError(f"found scale {np.min(scale)}, expected positive ones")
    return Preprocessing(metadata["preprocessing"], shift, scale)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise ValueError(
            f"found preprocessing {name!r}, expected one of {', '.join(NAMES)}"
        )


def _checked(x: np.ndarray, name: str) -> np.ndarray:
    """Returns features in float64, row-major, or says what is wrong with them."""
    validation.validate_features(x, name=name)
    # Before any sum: its last bits would depend on the dtype and on the order.
    return np.asarray(x, dtype=np.float64, order="C")
