"""Tables of text, ``.csv`` and ``.tsv``: a row a line, numbers as they are written.

A first line that is not all numbers has the names of the columns. So has
``0,1,2,...``, which pandas writes for an array, and a line with the names that training
had; ``0,1`` alone may be either, and is refused. In a file of one column a first line
that comes again is a label. Numbers are float64, since decimals are exact in no smaller
dtype. Fields may be quoted; the text is UTF-8, with or without a byte order mark.
"""

import csv
import itertools
import operator
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import columns as columns_lib
from linclf_jax.data import feature_names
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.formats import Array, Format

_EXPECTED = "a table of text, comma-separated (.csv) or tab-separated (.tsv)"
_MISSING = {"", "nan", "NaN"}
_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_ZEROS = re.compile(r"-?0\d")
_SEPARATORS = (";", "\t", ",", "|")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
# As pandas, JSON and R or spreadsheets write them.
_BOOLEANS = (("False", "True"), ("false", "true"), ("FALSE", "TRUE"))


class _Table(NamedTuple):
    """What the first two lines tell of a file."""

    names: tuple[str, ...]  # of the columns, or their numbers
    named: bool
    header: bool  # whether the first line is no row


def _columns(path: str | Path, options: ReadOptions) -> tuple[str, ...]:
    return _table(path, options).names


def _feature_columns(path: str | Path, options: ReadOptions) -> FeatureColumns:
    table = _table(path, options)
    return FeatureColumns(_feature_names(table, options, path), table.named)


def _features(path: str | Path, options: ReadOptions) -> Array:
    """Returns the features, float64; the lines are counted."""
    table = _table(path, options)
    names = _feature_names(table, options, path)
    shape, dtype = (_count(path, table), len(names)), np.dtype(np.float64)
    indices = [table.names.index(name) for name in names]

    def read() -> np.ndarray:
        x = np.empty(shape, dtype)
        fields = operator.itemgetter(*indices)
        for row, line, record in _rows(path, table, len(x)):
            texts = fields(record) if len(names) > 1 else (fields(record),)
            try:
                if "_" in "".join(texts):  # which Python would read in 1_000
                    raise ValueError
                x[row] = np.fromiter(map(float, texts), dtype, len(texts))
            except ValueError:
                where = f"{path}: row {row}, line {line}"
                raise _not_a_number(names, texts, where) from None
        return x

    return Array(shape, dtype, read)


def _labels(path: str | Path, options: ReadOptions) -> Array:
    """Returns the labels as ``_typed`` has them, or texts as they are."""
    table = _table(path, options)
    name = columns_lib.label(table.names, options, path)
    index, count = table.names.index(name), _count(path, table)

    def read() -> np.ndarray:
        labels = []
        for row, line, record in _rows(path, table, count):
            label = record[index].strip()
            if label in _MISSING:
                raise BadFileError(
                    f"{path}: row {row}, line {line}: column {name} is {label!r}; "
                    "expected a label in every row"
                )
            labels.append(label)
        return np.array(labels) if options.label_texts else _typed(labels)

    # Counted as eight bytes each: nothing tells how long the texts are.
    return Array((count,), np.dtype(np.int64), read)


def _table(path: str | Path, options: ReadOptions) -> _Table:
    first, second = _first_two(path)
    numbers = tuple(map(str, range(len(first))))
    names = tuple(name.strip() for name in first)
    numeric, below = ([*map(_is_number, row)] for row in (first, second))
    if feature_names.are_header(names, options.feature_names):
        return _Table(names, named=True, header=True)
    if all(numeric):
        counted = len(first) > 1 and names == numbers
        if counted and len(first) == 2:
            raise BadFileError(
                f"{path} begins with '0,1', which may be a row or the numbers of the "
                "columns; expected a first line of names that are no numbers"
            )
        return _Table(numbers, named=False, header=counted)
    if len(first) == 1 and _repeats(path, first):
        return _Table(numbers, named=False, header=False)
    numbered = tuple(itertools.compress(names, numeric))
    if numbered and numeric == below and numbered != numbers[: len(numbered)]:
        raise BadFileError(
            f"{path} begins with {','.join(first[:5])!r}, which has numbers and texts "
            "where the second line has them; expected a first line of names, none of "
            "which is a number: rename such columns"
        )
    return _Table(names, named=True, header=True)


def _first_two(path: str | Path) -> tuple[list[str], list[str]]:
    records = [record for _, record in itertools.islice(_records(path), 2)]
    if not records or not records[0]:
        what = "begins with an empty line" if records else "is empty"
        raise BadFileError(f"{path} {what}; expected {_EXPECTED}")
    return records[0], records[1] if len(records) > 1 else []


def _repeats(path: str | Path, first: list[str]) -> bool:
    records = _records(path)
    next(records)
    return any(record == first for _, record in records)


def _feature_names(
    table: _Table, options: ReadOptions, path: str | Path
) -> tuple[str, ...]:
    names = columns_lib.features(table.names, options, path)
    if not names:
        raise BadFileError(
            f"{path} has the columns {[*table.names]}, none of which is a feature; "
            "expected at least one"
        )
    if len(table.names) == 1:
        _check_separator(names[0], path)
    return names


def _check_separator(name: str, path: str | Path) -> None:
    """Refuses a single column whose fields look like many, with another separator."""
    second = "".join(_first_two(path)[1])
    separators = [mark for mark in _SEPARATORS if mark in name and mark in second]
    if separators:
        raise BadFileError(
            f"{path} has one column, {name!r}, whose separator may be "
            f"{separators[0]!r}; expected {_EXPECTED}, numbers with a decimal point"
        )


def _count(path: str | Path, table: _Table) -> int:
    """Returns how many rows there are; parses fields only where some are quoted."""
    with Path(path).open(encoding="utf-8-sig", newline="") as stream:
        count = 0
        for line in stream:
            if '"' in line:  # a field may go on in the next line
                break
            count += line not in ("\n", "\r\n", "\r")
        else:
            return count - table.header
    return sum(1 for _, record in _records(path) if record) - table.header


def _records(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the fields of each line, or lines, with the number of the last one."""
    delimiter = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    with Path(path).open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(
            stream, delimiter=delimiter, strict=True, skipinitialspace=True
        )
        for record in reader:
            yield reader.line_num, record


def _rows(
    path: str | Path, table: _Table, count: int
) -> Iterator[tuple[int, int, list[str]]]:
    """Yields index, line and fields of each row, of which there must be ``count``."""
    row, width, empty = 0, len(table.names), None
    records = _records(path)
    if table.header:
        next(records)
    for line, record in records:
        if not record:
            empty = empty or line
            continue
        if empty is not None:
            raise BadFileError(f"{path}: line {empty} is empty; expected a row")
        if len(record) != width or row >= count:
            raise BadFileError(
                f"{path}: row {row}, line {line}, has {len(record)} fields; expected "
                f"{width}, as in the first line, and {count} rows"
            )
        yield row, line, record
        row += 1
    if row < count:
        raise BadFileError(f"{path} ends after {row} rows; expected {count}")


def _not_a_number(
    names: Sequence[str], texts: Sequence[str], where: str
) -> BadFileError:
    index = [_is_number(text) for text in texts].index(False)
    name, text = names[index], texts[index]
    comma = _DECIMAL_COMMA.fullmatch(text.strip())
    expected = "a number with a decimal point" if comma else "a number"
    return BadFileError(
        f"{where}: column {name} is {repr(text) if text.strip() else 'empty'}; "
        f"expected {expected}, or that drop_columns "
        f"({columns_lib.flag('drop_columns', name)}) leaves the column out"
    )


def _is_number(text: str) -> bool:
    """Whether a field is a number; Python would also read underscores, 1_000."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _typed(labels: Sequence[str]) -> np.ndarray:
    """Returns labels as integers, booleans or numbers if all of them are, or texts."""
    if all(map(_INTEGER.fullmatch, labels)):
        integers = np.array([int(label) for label in labels])
        return integers if integers.dtype.kind in "iu" else np.array(labels)
    for words in _BOOLEANS:
        if {*labels} <= {*words}:
            return np.array(labels) == words[1]
    # Leading zeros are of names, such as those of postal codes.
    plain = all(_is_number(label) and not _ZEROS.match(label) for label in labels)
    return np.array(labels, float if plain else str)


FORMAT = Format(
    _EXPECTED, _features, _labels, columns=_columns, feature_columns=_feature_columns
)
