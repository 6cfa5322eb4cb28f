"""Labels as files have them, and as classes 0..C-1 with names.

Integers are the classes themselves, so that an empty class shows. Texts are mapped in
sorted order; the mapping is ``class_names``.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import door
from linclf_jax.data.door import BadFileError

_LAST = 0x10FFFF  # of Unicode


class Labels(NamedTuple):
    """The classes of rows."""

    labels: np.ndarray  # (N,) int32
    class_names: tuple[str, ...]  # C, in the order of the labels


def from_array(
    found: np.ndarray, class_names: tuple[str, ...] | None, path: str | Path
) -> Labels:
    """Returns classes that are numbers of names.

    Args:
        found: ``(N,)`` integers or texts.
        class_names: Of the training rows, for rows that are others; None finds them.
        path: The file, for messages.

    Raises:
        BadFileError: Another shape or dtype, a label out of range, a class without rows
            where the names are found, fewer than two classes, or an unknown name.

    >>> from_array(np.array(["cat", "ant", "cat"]), None, "labels.npy")
    Labels(labels=array([1, 0, 1], dtype=int32), class_names=('ant', 'cat'))
    """
    if found.ndim != 1 or not len(found):
        raise BadFileError(f"{path} has labels of shape {found.shape}; expected (N,)")
    if found.dtype.kind in "iu":
        return _from_integers(found, class_names, path)
    if found.dtype.kind in "US":
        return _from_texts(found, class_names, path)
    raise BadFileError(
        f"{path} has labels of dtype {found.dtype}; expected integers or texts"
    )


def _from_integers(
    found: np.ndarray, class_names: tuple[str, ...] | None, path: str | Path
) -> Labels:
    # Not beyond N: more classes than rows cannot all have one.
    count = int(found.max()) + 1 if class_names is None else len(class_names)
    limit = min(count, len(found)) if class_names is None else count
    _require(
        (found >= 0) & (found < limit),
        found,
        path,
        f"integers in 0..{limit - 1}, as there are {len(found)} rows"
        if class_names is None
        else f"integers in 0..{limit - 1}, as in training",
    )
    labels = found.astype(np.int32)
    if class_names is not None:
        if class_names != _numbers(count):
            raise BadFileError(
                f"{path} has integers; expected names of classes, as in training: "
                f"{', '.join(class_names[:3])}, ..."
            )
        return Labels(labels, class_names)
    empty = np.flatnonzero(np.bincount(labels, minlength=count) == 0)
    if len(empty):
        raise BadFileError(
            f"{path} has no row of class {empty[0]}, one of {len(empty)} empty ones "
            f"below {count}; expected rows of every class from 0, or classes as texts"
        )
    return Labels(labels, _several(_numbers(count), path))


def _from_texts(
    found: np.ndarray, class_names: tuple[str, ...] | None, path: str | Path
) -> Labels:
    if found.dtype.kind == "S":
        with door.reading(path, "texts in UTF-8"):
            found = np.char.decode(found, "utf-8")
    _check_characters(found, path)
    if class_names is None:
        names, labels = np.unique(found, return_inverse=True)
        class_names = _several(tuple(str(name) for name in names), path)
        return Labels(labels.astype(np.int32), class_names)
    _require(
        np.isin(found, np.array(class_names)),
        found,
        path,
        f"names of classes as in training: {', '.join(class_names[:3])}, ...",
    )
    order = np.argsort(np.array(class_names))
    places = np.searchsorted(np.array(class_names)[order], found)
    return Labels(order[places].astype(np.int32), class_names)


def _check_characters(found: np.ndarray, path: str | Path) -> None:
    """Refuses numbers that are no characters, at which Python itself stumbles."""
    codes = np.ascontiguousarray(found).view(np.uint32).reshape(len(found), -1)
    wrong = ((codes > _LAST) | ((codes >= 0xD800) & (codes < 0xE000))).any(axis=1)
    if wrong.any():
        raise BadFileError(
            f"{path}: {np.count_nonzero(wrong)} of {len(found)} labels are invalid, "
            f"the first, in row {np.argmax(wrong)}, is no text; expected characters"
        )


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(count))


def _several(class_names: tuple[str, ...], path: str | Path) -> tuple[str, ...]:
    if len(class_names) < 2:
        raise BadFileError(
            f"{path} has rows of one class, {', '.join(class_names)}; expected two"
        )
    return class_names


def _require(
    valid: np.ndarray, found: np.ndarray, path: str | Path, expected: str
) -> None:
    if not valid.all():
        row = int(np.argmin(valid))
        raise BadFileError(
            f"{path}: {np.count_nonzero(~valid)} of {len(found)} labels are invalid, "
            f"the first, in row {row}, is {found[row]}; expected {expected}"
        )
