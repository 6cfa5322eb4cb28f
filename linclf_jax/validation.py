"""Checks at the edge: what enters is looked at once, on the host, before any compile.

Every failure is a ``ValueError`` that says what was found, where, and what was
expected, and calls the array by its ``name``. Nothing here is meant for traced values.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import classes
from linclf_jax.params import Params

_BLOCK = 2**22  # entries that are checked at once


class Nonfinite(NamedTuple):
    """The entries of an array that are infinite or NaN."""

    count: int
    first: tuple[int, ...]  # index of the first of them
    value: Any  # which it is


def as_rows(x: Any) -> Any:
    """Returns features as they are if slices of them are arrays, else as an array.

    So those of a file are not read as a whole.
    """
    is_numpy = isinstance(getattr(x, "dtype", None), np.dtype)
    return x if is_numpy and not isinstance(x, jax.Array) else np.asarray(x)


def nonfinite(x: Any) -> Nonfinite | None:
    """Returns what is not finite in ``(N, ...)`` features, read a block at a time."""
    rows = max(_BLOCK // max(math.prod(x.shape[1:]), 1), 1)
    count, first, value = 0, None, None
    for start in range(0, len(x), rows):
        block = np.asarray(x[start : start + rows])
        with np.errstate(invalid="ignore"):  # bfloat16 warns of signalling NaN
            bad = ~np.isfinite(block)
        if first is None and bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            first, value = (start + index[0], *index[1:]), block[index]
        count += int(np.count_nonzero(bad))
    return None if first is None else Nonfinite(count, first, value)


def validate_features(x: Any, *, name: str = "x", start: int = 0) -> None:
    """Checks that ``x`` is a non-empty ``(N, D)`` array of finite numbers.

    Messages count rows from ``start``. Rows of a file are read a block at a time.
    """
    array = as_rows(x)
    _require_matrix(array, name)
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape} and holds no data")
    if not (_is_float(array) or _is_integer(array)):
        raise ValueError(f"{name} has dtype {array.dtype}; expected numbers")
    if _is_float(array):
        bad = nonfinite(array)
        if bad is not None:
            row, column = bad.first
            raise ValueError(
                f"{name}: {bad.count} of {math.prod(array.shape)} entries are invalid, "
                f"the first is {name}[{start + row}, {column}] = {bad.value}; expected "
                "finite numbers in every entry"
            )


def validate_labels(
    labels: ArrayLike, num_classes: int, *, name: str = "labels"
) -> None:
    """Checks that ``labels`` are ``(N,)`` integers in ``0..C-1``, at least one."""
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected (N,)")
    if array.size == 0:
        raise ValueError(f"{name} is empty; expected at least one label")
    if not _is_integer(array):
        raise ValueError(
            f"{name} has dtype {array.dtype}; expected integers in 0..{num_classes - 1}"
        )
    in_range = (array >= 0) & (array < num_classes)
    require_all(in_range, array, name, expected=f"integers in 0..{num_classes - 1}")


def validate_targets(
    targets: ArrayLike, num_labels: int, *, name: str = "targets"
) -> None:
    """Checks that targets are ``(N, K)``, from 0 to 1 or unknown, some of them known.

    Unknown is -1 of an integer dtype and NaN of a floating one.
    """
    array = np.asarray(targets)
    if array.ndim != 2 or array.shape[1] != num_labels:
        raise ValueError(f"{name} has shape {array.shape}; expected (N, {num_labels})")
    if not (_is_float(array) or _is_integer(array) or array.dtype == bool):
        raise ValueError(f"{name} has dtype {array.dtype}; expected numbers")
    values = array.astype(np.float64)
    if _is_float(array):
        known, expected = ~np.isnan(values), "numbers from 0 to 1, or NaN for unknown"
    else:
        known, expected = values != classes.UNKNOWN, "0 or 1, or -1 for unknown"
    valid = ~known | ((values >= 0) & (values <= 1))
    require_all(valid, array, name, expected=expected)
    if not known.any():
        raise ValueError(f"{name} are all unknown; expected at least one that is known")


def validate_weights(
    weights: ArrayLike, num_rows: int, *, name: str = "weights"
) -> None:
    """Checks that example weights are ``(N,)``, finite, not negative, not all zero.

    They may be floating, counts, or a boolean mask.
    """
    array = np.asarray(weights)
    if array.shape != (num_rows,):
        raise ValueError(
            f"{name} has shape {array.shape}; expected ({num_rows},), one per row of x"
        )
    if not (_is_float(array) or _is_integer(array) or array.dtype == bool):
        raise ValueError(f"{name} has dtype {array.dtype}; expected numbers")
    usable = np.isfinite(array) & (array >= 0)
    require_all(usable, array, name, expected="finite numbers, at least 0")
    if not np.any(array > 0):
        raise ValueError(f"{name} are all 0; expected at least one above 0")


def validate_batch(
    x: Any,
    labels: ArrayLike,
    num_classes: int,
    *,
    weights: ArrayLike | None = None,
    targets: bool = False,
) -> None:
    """Checks features, labels and weights, and that their lengths agree.

    With ``targets`` the labels are targets ``(N, C)`` of separate labels.
    """
    validate_features(x)
    if targets:
        validate_targets(labels, num_classes, name="labels")
    else:
        validate_labels(labels, num_classes)
    rows, count = np.shape(x)[0], np.shape(labels)[0]
    if rows != count:
        raise ValueError(f"x has {rows} rows but labels has {count} entries")
    if weights is not None:
        validate_weights(weights, rows)


def validate_params(params: Params, x: ArrayLike) -> None:
    """Checks that W and b are floating and fit each other and the features."""
    _require_matrix(np.asarray(x), "x")
    W, b = np.asarray(params.W), np.asarray(params.b)
    num_features = np.shape(x)[-1]
    if W.ndim != 2 or W.shape[0] != num_features:
        raise ValueError(
            f"W has shape {W.shape}; expected ({num_features}, C), since x has "
            f"{num_features} columns"
        )
    if W.shape[1] == 0:
        raise ValueError(f"W has shape {W.shape}; expected at least one class")
    if b.shape != W.shape[1:]:
        raise ValueError(
            f"b has shape {b.shape}; expected {W.shape[1:]}, one per column of W"
        )
    for name, array in (("W", W), ("b", b)):
        if not _is_float(array):
            raise ValueError(f"{name} has dtype {array.dtype}; expected floating")


def validate_seed(seed: int, *, name: str = "seed") -> None:
    """Checks that a seed fits in uint32; beyond, ``jax.random.key`` wraps silently."""
    is_integer = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not (is_integer and 0 <= seed < 2**32):
        shown = seed if is_integer else repr(seed)
        raise ValueError(f"{name} is {shown}; expected an integer in 0..4294967295")


def _is_float(array: np.ndarray) -> bool:
    # bfloat16 is a NumPy extension type, of kind "V" and outside np.floating.
    return np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"


def _is_integer(array: np.ndarray) -> bool:
    return array.dtype.kind in "iu"  # np.integer would take time differences too


def _require_matrix(array: Any, name: str) -> None:
    if len(array.shape) != 2:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (N, D), one row per example"
        )


def require_all(
    valid: np.ndarray, array: np.ndarray, name: str, *, expected: str
) -> None:
    """Checks that a condition holds for every entry of an array."""
    if valid.all():
        return
    first = tuple(np.argwhere(~valid)[0])
    raise ValueError(
        f"{name}: {np.count_nonzero(~valid)} of {valid.size} entries are invalid, the "
        f"first is {name}[{', '.join(map(str, first))}] = {array[first]}; expected "
        f"{expected}"
    )
