"""Columns that leak the labels, or number the rows.

A classifier that sees either is right for a reason that no new row has. A feature is
refused if each class has one value in it, and for each another; or if it numbers the
rows: whole numbers, one apart, each once, in any order. In fewer rows than ``FEWEST``
either may be chance.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from linclf_jax.data import columns
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.labels import Labels

FEWEST = 20  # rows of which columns are checked
_SAMPLE = 512  # rows that rule out most columns


def check(
    x: np.ndarray,
    classes: Labels,
    names: Sequence[str] | None,
    path: str | Path,
    options: ReadOptions,
) -> None:
    """Refuses columns that leak, with the flags that drop and keep them.

    Args:
        x: ``(M, D)`` of any dtype, all rows of the file; images are not checked.
        classes: Of those rows that have a label.
        names: Of the columns, or their numbers; None of images.
        path: The file of the features, for messages.
        options: Columns of ``keep_columns`` are features whatever they hold.
    """
    if names is None or len(x) < FEWEST:
        return
    reasons = dict.fromkeys(row_numbers(x), "numbers the rows, one by one")
    reasons |= dict.fromkeys(
        label_columns(x, classes.labels, classes.rows),
        "has one value for each class, as the labels do",
    )
    refused = {
        names[column]: reason
        for column, reason in sorted(reasons.items())
        if names[column] not in options.keep_columns
    }
    if refused:
        (first, reason), *others = refused.items()
        more = f", and {len(others)} more such columns" if others else ""
        drop, keep = (
            columns.flag(field, *refused) for field in ("drop_columns", "keep_columns")
        )
        raise BadFileError(
            f"{path}: column {first} {reason}{more}; expected features. drop_columns "
            f"({drop}) leaves out what is none, keep_columns ({keep}) keeps what is one"
        )


def label_columns(
    x: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None
) -> list[int]:
    """Returns the columns that map one to one onto the labels.

    ``rows``, ``(N,)``, are those of ``x`` that have a label; None for all.
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
    """Returns the columns of ``(N, D)`` that hold N whole numbers, one apart."""
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
