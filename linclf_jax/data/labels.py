"""Labels as files have them, and as classes 0..C-1 with names.

Whole numbers and booleans count as integers. ``consecutive`` integers are the classes
themselves, so that a class without rows is noticed; ``as_is`` takes any integers: each
value is a class, in sorted order, and its name. Texts are classes in sorted order, too.
``class_names`` maps the classes to their names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import checks, columns
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions

_LAST = 0x10FFFF  # of Unicode
_AS_IS = "label_values=as_is (--label_values=as_is)"


class Labels(NamedTuple):
    """The classes of rows."""

    labels: np.ndarray  # (N,) int32
    class_names: tuple[str, ...]  # C, in the order of the labels
    # (N,) int64, row numbers in the file; None unless ``ignore_label`` is given.
    rows: np.ndarray | None = None


class _Column(NamedTuple):
    """Labels of a file, all of them integers or all texts."""

    values: np.ndarray  # (N,)
    rows: np.ndarray  # (N,) row numbers in the file
    path: str | Path


def from_array(
    values: np.ndarray,
    class_names: tuple[str, ...] | None,
    path: str | Path,
    options: ReadOptions | None = None,
) -> Labels:
    """Returns labels as classes 0..C-1, with the names of the classes.

    Args:
        values: ``(N,)`` or ``(N, 1)`` integers, booleans, whole numbers or texts.
        class_names: Of the training rows, for other rows; None takes them from the
            values.
        path: The file, for messages.
        options: What values mean, which rows are left out, names of integers.

    Raises:
        BadFileError: Another shape or dtype, a number that is not whole, a label out of
            range, a class without rows where integers are consecutive, fewer than two
            classes, or a class that training did not have.

    >>> from_array(np.array(["cat", "ant", "cat"]), None, "labels.npy").class_names
    ('ant', 'cat')
    >>> from_array(np.array([-1, 1, 1]), None, "labels.npy")[:2]
    (array([0, 1, 1], dtype=int32), ('-1', '1'))
    """
    options = options or ReadOptions()
    if options.label_values not in columns.VALUES:
        raise ValueError(
            f"found label_values {options.label_values!r}, expected one of "
            f"{', '.join(columns.VALUES)}"
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values):
        raise BadFileError(
            f"{path} has labels of shape {values.shape}; expected (N,) or (N, 1)"
        )
    column = _without_ignored(_plain(values, path), options.ignore_label)
    convert = _from_texts if column.values.dtype.kind == "U" else _from_integers
    labels = convert(column, class_names, options)
    return labels if options.ignore_label is None else labels._replace(rows=column.rows)


def are_integers(class_names: Sequence[str]) -> bool:
    """Whether all classes are integers, by their names.

    Args:
        class_names: Of all classes.

    >>> are_integers(("-1", "1")), are_integers(("1", "01"))
    (True, False)
    """
    return all(_is_integer(name) and str(int(name)) == name for name in class_names)


def _plain(values: np.ndarray, path: str | Path) -> _Column:
    """Returns labels as integers or as texts."""
    rows = np.arange(len(values))
    kind = values.dtype.kind
    if kind == "S":
        with checks.reading(path, "texts in UTF-8"):
            values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "U":
        _check_characters(values, path)
    elif kind == "b":
        values = values.astype(np.int64)
    elif kind == "f" or values.dtype.name == "bfloat16":
        wide = values.astype(np.float64)
        # Beyond 2^53 not every integer is a float64.
        with np.errstate(invalid="ignore"):
            whole = (wide == np.floor(wide)) & (np.abs(wide) <= 2**53)
        column = _Column(values, rows, path)
        _require(whole, column, "whole numbers, integers or texts")
        values = wide.astype(np.int64)
    elif kind not in "iu":
        raise BadFileError(
            f"{path} has labels of dtype {values.dtype}; expected integers, booleans, "
            "whole numbers or texts"
        )
    return _Column(values, rows, path)


def _without_ignored(column: _Column, ignored: str | None) -> _Column:
    if ignored is None:
        return column
    values: np.ndarray = column.values
    if values.dtype.kind == "U":
        kept = values != ignored
    else:
        try:
            kept = values != int(ignored)
        except ValueError:  # a text, which no integer is
            kept = np.ones(len(values), bool)
    if not kept.any():
        raise BadFileError(
            f"{column.path} has no label but {ignored}, which is left out; expected "
            "rows of classes"
        )
    return _Column(values[kept], column.rows[kept], column.path)


def _from_integers(
    column: _Column, class_names: tuple[str, ...] | None, options: ReadOptions
) -> Labels:
    names = options.class_names
    if class_names is None and options.label_values == "consecutive":
        _check_consecutive(column, names)
    integers, inverse = np.unique(column.values, return_inverse=True)
    if names is None:
        texts = tuple(str(int(value)) for value in integers)
    else:
        _require(
            np.isin(column.values, [*names]),
            column,
            f"one of the {len(names)} integers that class_names (--class_names) names",
        )
        texts = tuple(names[int(value)] for value in integers)
    if class_names is None:
        return Labels(inverse.astype(np.int32), _several(texts, column.path))
    if names is None and not any(map(_is_integer, class_names)):
        raise BadFileError(
            f"{column.path} has integers; expected names of classes, as in training: "
            f"{', '.join(class_names[:3])}, ..., or class_names (--class_names) that "
            "gives integers theirs"
        )
    number = {name: k for k, name in enumerate(class_names)}
    classes = np.array([number.get(text, -1) for text in texts], np.int32)[inverse]
    consecutive = class_names == tuple(map(str, range(len(class_names))))
    _require(
        classes >= 0,
        column,
        f"integers in 0..{len(class_names) - 1}, as in training"
        if consecutive and names is None
        else f"classes as in training: {', '.join(class_names[:3])}, ...",
    )
    return Labels(classes, class_names)


def _check_consecutive(column: _Column, names: Mapping[int, str] | None) -> None:
    """Refuses integers that are not 0..C-1, each with a row."""
    values, count = column.values, len(column.values)
    if names is not None:
        limit = max(names) + 1
        expected = f"integers in 0..{limit - 1}, those that have names"
    else:
        # Not beyond N: more classes than rows cannot all have one.
        limit = min(int(values.max()) + 1, count)
        expected = (
            f"integers in 0..{limit - 1}, as there are {count} rows, since they are "
            f"the numbers of the classes; {_AS_IS} takes any integers"
        )
        if values.min() == -1:
            expected += ", ignore_label (--ignore_label=-1) leaves rows out"
    _require((values >= 0) & (values < limit), column, expected)
    empty = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=limit) == 0)
    if len(empty):
        raise BadFileError(
            f"{column.path} has no row of class {empty[0]}, one of {len(empty)} empty "
            f"ones below {limit}; expected rows of every class from 0, or classes as "
            f"texts; {_AS_IS} takes the integers that there are as classes"
        )


def _from_texts(
    column: _Column, class_names: tuple[str, ...] | None, options: ReadOptions
) -> Labels:
    if class_names is None:
        if options.class_names is not None:
            raise BadFileError(
                f"{column.path} has labels that are texts; expected integers, as "
                "class_names (--class_names) is given, which names those"
            )
        texts, inverse = np.unique(column.values, return_inverse=True)
        class_names = _several(tuple(map(str, texts)), column.path)
        return Labels(inverse.astype(np.int32), class_names)
    names = np.array(class_names)
    _require(
        np.isin(column.values, names),
        column,
        f"names of classes as in training: {', '.join(class_names[:3])}, ...",
    )
    order = np.argsort(names)
    classes = order[np.searchsorted(names[order], column.values)]
    return Labels(classes.astype(np.int32), class_names)


def _check_characters(texts: np.ndarray, path: str | Path) -> None:
    """Refuses code points that are no characters, on which Python itself fails."""
    codes = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), -1)
    wrong = ((codes > _LAST) | ((codes >= 0xD800) & (codes < 0xE000))).any(axis=1)
    if wrong.any():
        raise BadFileError(
            f"{path}: {np.count_nonzero(wrong)} of {len(texts)} labels are invalid, "
            f"the first, in row {np.argmax(wrong)}, is no text; expected characters"
        )


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _several(class_names: tuple[str, ...], path: str | Path) -> tuple[str, ...]:
    if len(class_names) < 2:
        raise BadFileError(
            f"{path} has rows of one class, {', '.join(class_names)}; expected two"
        )
    return class_names


def _require(valid: np.ndarray, column: _Column, expected: str) -> None:
    if not valid.all():
        first = int(np.argmin(valid))
        raise BadFileError(
            f"{column.path}: {np.count_nonzero(~valid)} of {len(valid)} labels are "
            f"invalid, the first, in row {column.rows[first]}, is "
            f"{column.values[first]}; expected {expected}"
        )
