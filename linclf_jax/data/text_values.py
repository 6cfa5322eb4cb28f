"""Fields of a table of text: numbers, labels of every kind, and what separates them."""

import re
from collections.abc import Sequence

import numpy as np

_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_ZEROS = re.compile(r"-?0\d")
_SEPARATORS = (";", "\t", ",", "|")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
# As pandas, JSON and R or spreadsheets write them.
_BOOLEANS = (("False", "True"), ("false", "true"), ("FALSE", "TRUE"))


def is_number(text: str) -> bool:
    """Whether a field is a number as files have them, without underscores.

    Args:
        text: The field.

    >>> is_number(" 1e3"), is_number("1_000")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def has_decimal_comma(text: str) -> bool:
    """Whether a field is a number but for a comma where the point should be.

    Args:
        text: The field.
    """
    return _DECIMAL_COMMA.fullmatch(text.strip()) is not None


def separator(first: str, second: str) -> str | None:
    """Returns what may separate columns in two lines that were read as one field each.

    Args:
        first: The only field of the first line.
        second: The second line.

    >>> separator("a;b", "1,5;2,5")
    ';'
    """
    both = (mark for mark in _SEPARATORS if mark in first and mark in second)
    return next(both, None)


def typed(labels: Sequence[str]) -> np.ndarray:
    """Returns labels as what all of them are.

    Args:
        labels: N fields, none of them empty.

    Returns:
        ``(N,)`` integers, numbers or booleans, else texts.

    >>> typed(["True", "False"]), typed(["1", "01"]), typed(["1", "2.0"])
    (array([ True, False]), array(['1', '01'], dtype='<U2'), array([1., 2.]))
    """
    if all(map(_INTEGER.fullmatch, labels)):
        found = np.array([int(label) for label in labels])
        return found if found.dtype.kind in "iu" else np.array(labels)
    for words in _BOOLEANS:
        if {*labels} <= {*words}:
            return np.array(labels) == words[1]
    # Leading zeros are of names, such as those of postal codes.
    plain = all(is_number(label) and not _ZEROS.match(label) for label in labels)
    return np.array(labels, float if plain else str)
