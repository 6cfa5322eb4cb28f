"""Labels as files have them, and as classes 0..C-1 with names.

Whole numbers and booleans count as integers. ``consecutive`` integers are the classes
themselves, so that a class without rows is noticed; ``as_is`` takes any integers: each
value is a class, in sorted order, and its name. Texts are classes in sorted order, too.
``class_names``, which may come from a file of their own, map integers to names.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import checks, columns
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions

_LAST = 0x10FFFF  # of Unicode
_MAX_SIZE = 2**26  # bytes of a file of names
_NAMES = "a name a line, or .json with a list of names or an object {integer: name}"
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

    @property
    def is_text(self) -> bool:
        return self.values.dtype.kind == "U"

    def require(
        self, valid: np.ndarray, expected: str, value: str | None = None
    ) -> None:
        if not valid.all():
            first = int(np.argmin(valid))
            raise BadFileError(
                f"{self.path}: {np.count_nonzero(~valid)} of {len(valid)} labels are "
                f"invalid, the first, in row {self.rows[first]}, is "
                f"{value or self.values[first]}; expected {expected}"
            )


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
    column = _without_ignored(_column(values, path), options.ignore_label)
    if class_names is None:
        _check_training(column, options)
    values, inverse = np.unique(column.values, return_inverse=True)
    names = _names(values, column, options)
    number = {name: k for k, name in enumerate(class_names or names)}
    classes = np.array([number.get(name, -1) for name in names], np.int32)[inverse]
    if class_names is not None:
        column.require(classes >= 0, _expected(class_names, column, options))
    elif len(names) < 2:
        raise BadFileError(f"{path} has rows of one class, {names[0]}; expected two")
    rows = None if options.ignore_label is None else column.rows
    return Labels(classes, class_names or tuple(names), rows)


def are_integers(class_names: Sequence[str]) -> bool:
    """Whether all classes are integers, by their names.

    >>> are_integers(("-1", "1")), are_integers(("1", "01"))
    (True, False)
    """
    return all(_is_integer(name) and str(int(name)) == name for name in class_names)


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _column(values: np.ndarray, path: str | Path) -> _Column:
    """Returns labels as integers or as texts."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values):
        raise BadFileError(
            f"{path} has labels of shape {values.shape}; expected (N,) or (N, 1)"
        )
    column = _Column(values, np.arange(len(values)), path)
    kind = values.dtype.kind
    if kind == "S":
        with checks.reading(path, "texts in UTF-8"):
            values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "U":
        # Python itself fails on code points that are no characters.
        codes = np.ascontiguousarray(values).view(np.uint32).reshape(len(values), -1)
        valid = (codes <= _LAST) & ((codes < 0xD800) | (codes >= 0xE000))
        column.require(np.asarray(valid.all(axis=1)), "characters", "no text")
    elif kind == "b":
        values = values.astype(np.int64)
    elif kind == "f" or values.dtype.name == "bfloat16":
        wide = values.astype(np.float64)
        # Beyond 2^53 not every integer is a float64.
        with np.errstate(invalid="ignore"):
            whole = (wide == np.floor(wide)) & (np.abs(wide) <= 2**53)
        column.require(np.asarray(whole), "whole numbers, integers or texts")
        values = wide.astype(np.int64)
    elif kind not in "iu":
        raise BadFileError(
            f"{path} has labels of dtype {values.dtype}; expected integers, booleans, "
            "whole numbers or texts"
        )
    return column._replace(values=values)


def _without_ignored(column: _Column, ignored: str | None) -> _Column:
    if ignored is None:
        return column
    try:
        label = ignored if column.is_text else int(ignored)
        kept = column.values != label
    except ValueError:  # a text, which no integer is
        kept = np.ones(len(column.values), bool)
    if not kept.any():
        raise BadFileError(
            f"{column.path} has no label but {ignored}, which is left out; expected "
            "rows of classes"
        )
    return _Column(column.values[kept], column.rows[kept], column.path)


def _check_training(column: _Column, options: ReadOptions) -> None:
    """Refuses labels that classes cannot be made of, as ``options`` have it."""
    if not column.is_text and options.label_values == "consecutive":
        _check_consecutive(column, options.class_names)
    if column.is_text and options.class_names is not None:
        raise BadFileError(
            f"{column.path} has labels that are texts; expected integers, as "
            "class_names (--class_names) is given, which names those"
        )


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
    column.require((values >= 0) & (values < limit), expected)
    empty = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=limit) == 0)
    if len(empty):
        raise BadFileError(
            f"{column.path} has no row of class {empty[0]}, one of {len(empty)} empty "
            f"ones below {limit}; expected rows of every class from 0, or classes as "
            f"texts; {_AS_IS} takes the integers that there are as classes"
        )


def _names(values: np.ndarray, column: _Column, options: ReadOptions) -> list[str]:
    """Returns the names of the distinct values of a column."""
    names = options.class_names
    if names is None or column.is_text:
        return [str(value) for value in values.tolist()]
    column.require(
        np.isin(column.values, [*names]),
        f"one of the {len(names)} integers that class_names (--class_names) names",
    )
    return [names[value] for value in values.tolist()]


def _expected(
    class_names: tuple[str, ...], column: _Column, options: ReadOptions
) -> str:
    """Returns which labels fit those of training; refuses integers where none can."""
    some = f"{', '.join(class_names[:3])}, ..."
    if column.is_text:
        return f"names of classes as in training: {some}"
    if options.class_names is None:
        if not any(map(_is_integer, class_names)):
            raise BadFileError(
                f"{column.path} has integers; expected names of classes, as in "
                f"training: {some}, or class_names (--class_names) that gives integers "
                "theirs"
            )
        if class_names == tuple(map(str, range(len(class_names)))):
            return f"integers in 0..{len(class_names) - 1}, as in training"
    return f"classes as in training: {some}"


def read_class_names(path: str | Path) -> Mapping[int, str]:
    """Returns the name of each integer.

    The file is a text in UTF-8 with a name a line, the first of which is the name of 0;
    or ``.json``, a list of names or an object from integers to names. No name may be
    missing, and no two may be equal.
    """
    with checks.reading(path, _NAMES):
        if Path(path).stat().st_size > _MAX_SIZE:
            raise BadFileError(f"{path} is too large; expected {_NAMES}")
        text = Path(path).read_text(encoding="utf-8-sig")
        if Path(path).suffix.lower() == ".json":
            content = json.loads(text, object_pairs_hook=_unrepeated)
        else:
            content = [line.strip() for line in text.rstrip().splitlines()]
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        names = {int(key): name for key, name in pairs}
    for key in content if isinstance(content, dict) else ():
        if str(int(key)) != key:
            raise BadFileError(
                f"{path} names {key!r}; expected integers, this one as {int(key)}"
            )
    for key, name in names.items():
        if not isinstance(name, str) or not name:
            raise BadFileError(f"{path} names {key} {name!r}; expected {_NAMES}")
    if not names:
        raise BadFileError(f"{path} has no names; expected {_NAMES}")
    repeated = checks.first_repeated([*names.values()])
    if repeated is not None:
        count = len(names) - len({*names.values()})
        raise BadFileError(
            f"{path} has {len(names)} names, {count} of them more than once, such as "
            f"{repeated!r}; expected a name of its own for each class"
        )
    return names


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses two values of one key, of which Python would take the last."""
    repeated = checks.first_repeated([key for key, _ in pairs])
    if repeated is not None:
        raise ValueError(f"{repeated!r} is there more than once")
    return dict(pairs)
