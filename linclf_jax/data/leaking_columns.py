"""Columns that are no features but the labels in disguise, or the numbers of the rows.

A classifier that sees such a column is right for a reason that no new row will have. A
column is refused if each class has one value of its own in it, and if its numbers are
those of rows: whole, one apart, each once, in whatever order. In fewer rows than
``FEWEST`` either may be chance.
"""

from pathlib import Path

import numpy as np

from linclf_jax.data import columns, files
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.labels import Labels

FEWEST = 20  # rows
_SAMPLE = 512  # rows that rule out most columns


def check(
    x: np.ndarray, labels: Labels, path: str | Path, options: ReadOptions
) -> None:
    """Refuses features one of which is as good as the labels, or numbers the rows.

    Args:
        x: ``(N, D)`` of any dtype, all rows of the file; images are not looked at.
        labels: Of the rows, without those that are left out.
        path: The file of the features.
        options: Columns of ``keep_columns`` are features whatever they hold.

    Raises:
        BadFileError: There are such columns; with their names and the flags that drop
            and keep them.
    """
    names = files.names_or_numbers(path, options)
    if names is None or len(x) < FEWEST:
        return
    rest = slice(None) if labels.rows is None else labels.rows
    of_labels = label_columns(x, labels.labels, rest)
    found = {k: "has one value for each class, as the labels do" for k in of_labels}
    found = {k: "numbers the rows, one by one" for k in row_numbers(x)} | found
    refused = {
        names[column]: what
        for column, what in sorted(found.items())
        if names[column] not in options.keep_columns
    }
    if refused:
        (first, what), *others = refused.items()
        more = f", and {len(others)} more such columns" if others else ""
        drop = columns.flag("drop_columns", *refused)
        keep = columns.flag("keep_columns", *refused)
        raise BadFileError(
            f"{path}: column {first} {what}{more}; expected features. drop_columns "
            f"({drop}) leaves out what is none, keep_columns ({keep}) keeps what is one"
        )


def label_columns(
    x: np.ndarray, labels: np.ndarray, rest: np.ndarray | slice = slice(None)
) -> list[int]:
    """Returns the columns that map one to one onto the labels.

    Args:
        x: ``(M, D)``.
        labels: ``(N,)`` classes.
        rest: The N rows of x that have a label.
    """
    rows = np.arange(len(x))[rest]
    classes, first = np.unique(labels, return_index=True)
    number = np.searchsorted(classes, labels)
    values = x[rows[first]]  # (C, D), of the first row of each class
    some = _sample(len(rows))
    same = (x[rows[some]] == values[number[some]]).all(axis=0)
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
    some = x[_sample(len(x))]
    near = some.max(axis=0).astype(float) - some.min(axis=0).astype(float) < len(x)
    candidates = np.flatnonzero(near & (some == np.floor(some)).all(axis=0))
    return [
        int(k)
        for k in candidates
        if _distinct(some[:, k]) == len(some)
        and (np.diff(np.sort(x[:, k].astype(np.float64))) == 1).all()
    ]


def _distinct(column: np.ndarray) -> int:
    return len(np.unique(column.astype(np.float64)))


def _sample(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))
