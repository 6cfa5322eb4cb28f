"""Which columns of a table are features, which holds the labels, which leak them.

The rules are the same for every format of tables. Flags and messages refer to a column
without a name by its number from 0, as text.

A classifier that sees the labels, or the numbers of the rows, is right for a reason
that no new row has. A feature is refused if each class has one value in it, and for
each another; or if it numbers the rows: whole numbers, one apart, each once, in any
order. In fewer rows than ``FEWEST`` either may be chance.
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data.checks import BadFileError

LABELS = ("label", "labels", "target", "y")
LISTS = ("features", "embedding")
VALUES = ("consecutive", "as_is")
FEWEST = 20  # rows of which columns are checked for leakage
_SAMPLE = 512  # rows that rule out most columns
# How pandas and R name an index that the user has not named.
_INDEX = re.compile(r"|Unnamed: 0|__index_level_\d+__")
_TO_ESCAPE = re.compile(r"([\\,])")


class ReadOptions(NamedTuple):
    """What a file does not tell itself; the fields are flags of the same names."""

    label_column: str | None = None
    drop_columns: tuple[str, ...] = ()
    keep_columns: tuple[str, ...] = ()  # features, whatever they look like
    label_values: str = "as_is"  # one of VALUES
    ignore_label: str | None = None  # rows with this label are left out
    class_names: Mapping[int, str] | None = None  # of integers
    # No flags, but facts of training, for tables of text: names of features, by which a
    # first line of numbers is a header; and whether labels are texts even where they
    # look like numbers.
    feature_names: tuple[str, ...] = ()
    label_texts: bool = False


class FeatureColumns(NamedTuple):
    """The columns that are features, in the order of the file."""

    names: tuple[str, ...]
    named: bool  # else these are numbers, of a file without names


def features(
    names: Sequence[str],
    options: ReadOptions,
    path: str | Path,
    index: Collection[str] = (),
) -> tuple[str, ...]:
    """Returns the columns that are features, in the order of the file.

    All are, but for those of ``drop_columns``, the labels, and an index; those of
    ``keep_columns`` are in any case.

    Args:
        names: Of all columns.
        options: Which columns are meant.
        path: The file, for messages.
        index: Columns that the metadata of the file calls an index.

    Raises:
        BadFileError: Two columns have the same name, several could be the labels, or a
            column is both dropped and kept.
    """
    if len({*names}) < len(names):
        repeated = next(name for name in names if list(names).count(name) > 1)
        raise BadFileError(
            f"{path} has two columns {repeated!r}; expected names of their own"
        )
    both = {*options.keep_columns} & {*options.drop_columns, options.label_column}
    if both:
        raise BadFileError(
            f"{path}: {min(map(str, both))!r} is in keep_columns, and dropped or the "
            "label column; expected one of them"
        )
    label = _label(names, options, path)
    return tuple(
        name
        for name in names
        if name in options.keep_columns
        or not (name in options.drop_columns or name == label or _is_index(name, index))
    )


def label(
    names: Sequence[str],
    options: ReadOptions,
    path: str | Path,
    index: Collection[str] = (),
) -> str:
    """Returns the column of the labels: the named one, a usual name, or the only one.

    Args:
        names: As in ``features``.
        options: As in ``features``.
        path: As in ``features``.
        index: As in ``features``.

    Raises:
        BadFileError: There is no such column, or there are several.
    """
    name = _label(names, options, path)
    if name in names:
        return str(name)
    others = [name for name in names if not _is_index(name, index)]
    if name is None and len(others) == 1:
        return others[0]
    if name is None:
        expected = (
            f"one of {', '.join(LABELS)}, or label_column (--label_column) to name the "
            "column of the labels"
        )
    else:
        expected = f"the column {name} of label_column (--label_column)"
    raise BadFileError(f"{path} has the columns {list(names)}; expected {expected}")


def flag(field: str, *names: str) -> str:
    r"""Returns the flag that names columns, as it is typed in a shell.

    Args:
        field: Of ``ReadOptions``; ``label_column`` takes one name, others a list.
        names: Of the columns.

    >>> print(flag("drop_columns", "id", "a,b"), flag("label_column", "a,b"))
    --drop_columns='id,a\,b' --label_column=a,b
    """
    if field != "label_column":
        names = tuple(_TO_ESCAPE.sub(r"\\\1", name) for name in names)
    return f"--{field}={shlex.quote(','.join(names))}"


def _label(names: Sequence[str], options: ReadOptions, path: str | Path) -> str | None:
    """Returns what is named as the labels, else the one column of a usual name."""
    if options.label_column is not None:
        return options.label_column
    no_labels = {*options.drop_columns, *options.keep_columns}
    usual = [name for name in LABELS if name in {*names} - no_labels]
    if len(usual) > 1:
        raise BadFileError(
            f"{path} has the columns {', '.join(usual)}, any of which could be the "
            f"labels; expected label_column ({flag('label_column', usual[0])}) to name "
            "them"
        )
    return usual[0] if usual else None


def _is_index(name: str, index: Collection[str]) -> bool:
    return name in index or _INDEX.fullmatch(name) is not None


def check_leakage(
    x: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray | None,
    names: Sequence[str] | None,
    path: str | Path,
    options: ReadOptions,
) -> None:
    """Refuses features that map one to one onto the labels, or number the rows.

    Args:
        x: ``(M, D)`` of any dtype, all rows of the file; images are not checked.
        labels: ``(N,)`` classes.
        rows: ``(N,)``, the rows of ``x`` that have a label; None for all.
        names: Of the columns, or their numbers; None of images.
        path: The file of the features, for messages.
        options: Columns of ``keep_columns`` are features whatever they hold.

    Raises:
        BadFileError: There are such columns; with their names and the flags that drop
            and keep them.
    """
    if names is None or len(x) < FEWEST:
        return
    reasons = dict.fromkeys(row_numbers(x), "numbers the rows, one by one")
    reasons |= dict.fromkeys(
        label_columns(x, labels, rows), "has one value for each class, as the labels do"
    )
    refused = {
        names[column]: reason
        for column, reason in sorted(reasons.items())
        if names[column] not in options.keep_columns
    }
    if refused:
        (first, reason), *others = refused.items()
        more = f", and {len(others)} more such columns" if others else ""
        drop, keep = flag("drop_columns", *refused), flag("keep_columns", *refused)
        raise BadFileError(
            f"{path}: column {first} {reason}{more}; expected features. drop_columns "
            f"({drop}) leaves out what is none, keep_columns ({keep}) keeps what is one"
        )


def label_columns(
    x: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None
) -> list[int]:
    """Returns the columns that map one to one onto the labels.

    Args:
        x: ``(M, D)``.
        labels: ``(N,)`` classes.
        rows: ``(N,)``, the rows of ``x`` that have a label; None for all.
    """
    rows = np.arange(len(x)) if rows is None else rows
    classes, first = np.unique(labels, return_index=True)
    number = np.searchsorted(classes, labels)
    values = x[rows[first]]  # (C, D), of the first row of each class
    sample = _sample(len(rows))
    same = (x[rows[sample]] == values[number[sample]]).all(axis=0)
    return [
        int(k)
        for k in np.flatnonzero(same)
        if _distinct(values[:, k]) == len(classes)
        and (x[:, k][rows] == values[number, k]).all()
    ]


def row_numbers(x: np.ndarray) -> list[int]:
    """Returns the columns that hold N whole numbers, one apart, in any order.

    Args:
        x: ``(N, D)``.
    """
    sample = x[_sample(len(x))]
    extent = sample.max(axis=0).astype(float) - sample.min(axis=0).astype(float)
    whole = (sample == np.floor(sample)).all(axis=0)
    return [
        int(k)
        for k in np.flatnonzero((extent < len(x)) & whole)
        if _distinct(sample[:, k]) == len(sample)
        and (np.diff(np.sort(x[:, k].astype(np.float64))) == 1).all()
    ]


def _distinct(column: np.ndarray) -> int:
    return len(np.unique(column.astype(np.float64)))


def _sample(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))
