"""Labels as files have them, and as classes 0..C-1 with names.

Whole numbers and booleans are integers. ``consecutive`` integers are the classes
themselves, so that an empty class shows; ``as_is`` takes any integers, the classes of
which are in their order and have their values as names. Texts are mapped in sorted
order. The mapping is ``class_names``.
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


class _Values(NamedTuple):
    """Labels of one kind, integers or texts."""

    values: np.ndarray  # (N,)
    rows: np.ndarray  # (N,) row numbers in the file
    path: str | Path


def from_array(
    found: np.ndarray,
    class_names: tuple[str, ...] | None,
    path: str | Path,
    options: ReadOptions | None = None,
) -> Labels:
    """Returns classes that are numbers of names.

    Args:
        found: ``(N,)`` or ``(N, 1)`` integers, booleans, whole numbers or texts.
        class_names: Of the training rows, for rows that are others; None finds them.
        path: The file, for messages.
        options: What values mean, which rows are left out, names of integers.

    Raises:
        BadFileError: Another shape or dtype, a number that is not whole, a label out of
            range, a class without rows where integers are consecutive, fewer than two
            classes, or an unknown name.

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
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or not len(found):
        raise BadFileError(
            f"{path} has labels of shape {found.shape}; expected (N,) or (N, 1)"
        )
    labels = _without_ignored(_plain(found, path), options.ignore_label)
    make = _from_texts if labels.values.dtype.kind == "U" else _from_integers
    made = make(labels, class_names, options)
    return made if options.ignore_label is None else made._replace(rows=labels.rows)


def are_integers(class_names: Sequence[str]) -> bool:
    """Whether names of classes are as ``from_array`` names integers.

    Args:
        class_names: Of all classes.

    >>> are_integers(("-1", "1")), are_integers(("1", "01"))
    (True, False)
    """
    return all(_is_integer(name) and str(int(name)) == name for name in class_names)


def _plain(found: np.ndarray, path: str | Path) -> _Values:
    """Returns labels as integers or as texts."""
    rows = np.arange(len(found))
    if found.dtype.kind == "S":
        with checks.reading(path, "texts in UTF-8"):
            found = np.char.decode(found, "utf-8")
    if found.dtype.kind == "U":
        _check_characters(found, path)
    elif found.dtype.kind == "b":
        found = found.astype(np.int64)
    elif found.dtype.kind == "f" or found.dtype.name == "bfloat16":
        wide = found.astype(np.float64)
        # Beyond 2^53 neighbours are no longer one apart.
        with np.errstate(invalid="ignore"):
            whole = (wide == np.floor(wide)) & (np.abs(wide) <= 2**53)
        _require(whole, _Values(found, rows, path), "whole numbers, integers or texts")
        found = wide.astype(np.int64)
    elif found.dtype.kind not in "iu":
        raise BadFileError(
            f"{path} has labels of dtype {found.dtype}; expected integers, booleans, "
            "whole numbers or texts"
        )
    return _Values(found, rows, path)


def _without_ignored(labels: _Values, ignored: str | None) -> _Values:
    if ignored is None:
        return labels
    values: np.ndarray = labels.values
    if values.dtype.kind == "U":
        rest = values != ignored
    else:
        try:
            rest = values != int(ignored)
        except ValueError:  # a text, which no integer is
            rest = np.ones(len(values), bool)
    if not rest.any():
        raise BadFileError(
            f"{labels.path} has no label but {ignored}, which is left out; expected "
            "rows of classes"
        )
    return _Values(values[rest], labels.rows[rest], labels.path)


def _from_integers(
    labels: _Values, class_names: tuple[str, ...] | None, options: ReadOptions
) -> Labels:
    names, path = options.class_names, labels.path
    if class_names is None and options.label_values == "consecutive":
        _check_consecutive(labels, names)
    values, places = np.unique(labels.values, return_inverse=True)
    if names is not None:
        _require(
            np.isin(labels.values, [*names]),
            labels,
            f"one of the {len(names)} integers that class_names (--class_names) names",
        )
    found = tuple(str(int(v)) if names is None else names[int(v)] for v in values)
    if class_names is None:
        return Labels(places.astype(np.int32), _several(found, path))
    number = {name: k for k, name in enumerate(class_names)}
    if names is None and not any(map(_is_integer, class_names)):
        raise BadFileError(
            f"{path} has integers; expected names of classes, as in training: "
            f"{', '.join(class_names[:3])}, ..., or class_names (--class_names) that "
            "gives integers theirs"
        )
    known = np.array([name in number for name in found])
    plain = class_names == _numbers(len(class_names))
    _require(
        known[places],
        labels,
        f"integers in 0..{len(class_names) - 1}, as in training"
        if plain and names is None
        else f"classes as in training: {', '.join(class_names[:3])}, ...",
    )
    order = np.array([number.get(name, -1) for name in found], np.int32)
    return Labels(order[places], class_names)


def _check_consecutive(labels: _Values, names: Mapping[int, str] | None) -> None:
    """Refuses integers that are not 0..C-1, each with a row."""
    values, count = labels.values, len(labels.values)
    last = int(values.max()) if names is None else max(names)
    # Not beyond N: more classes than rows cannot all have one.
    limit = min(last + 1, count) if names is None else last + 1
    why = f"since they are the numbers of the classes; {_AS_IS} takes any integers"
    if names is None and values.min() == -1:
        why += ", ignore_label (--ignore_label=-1) leaves rows out"
    expected = f"integers in 0..{limit - 1}, as there are {count} rows, {why}"
    if names is not None:
        expected = f"integers in 0..{limit - 1}, those that have names"
    _require((values >= 0) & (values < limit), labels, expected)
    empty = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=limit) == 0)
    if len(empty):
        raise BadFileError(
            f"{labels.path} has no row of class {empty[0]}, one of {len(empty)} empty "
            f"ones below {limit}; expected rows of every class from 0, or classes as "
            f"texts; {_AS_IS} takes the integers that there are as classes"
        )


def _from_texts(
    labels: _Values, class_names: tuple[str, ...] | None, options: ReadOptions
) -> Labels:
    found, path = labels.values, labels.path
    if class_names is None:
        if options.class_names is not None:
            raise BadFileError(
                f"{path} has labels that are texts; expected integers, as class_names "
                "(--class_names) is given, which names those"
            )
        names, places = np.unique(found, return_inverse=True)
        class_names = _several(tuple(str(name) for name in names), path)
        return Labels(places.astype(np.int32), class_names)
    _require(
        np.isin(found, np.array(class_names)),
        labels,
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


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(count))


def _several(class_names: tuple[str, ...], path: str | Path) -> tuple[str, ...]:
    if len(class_names) < 2:
        raise BadFileError(
            f"{path} has rows of one class, {', '.join(class_names)}; expected two"
        )
    return class_names


def _require(valid: np.ndarray, labels: _Values, expected: str) -> None:
    if not valid.all():
        first = int(np.argmin(valid))
        raise BadFileError(
            f"{labels.path}: {np.count_nonzero(~valid)} of {len(valid)} labels are "
            f"invalid, the first, in row {labels.rows[first]}, is "
            f"{labels.values[first]}; expected {expected}"
        )
