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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import columns as columns_lib
from linclf_jax.data import door, feature_names, text_values
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.door import BadFileError

_EXPECTED = "a table of text, comma-separated (.csv) or tab-separated (.tsv)"
_NONE = ReadOptions()
_MISSING = {"", "nan", "NaN"}


class _Table(NamedTuple):
    """What the first lines say."""

    names: tuple[str, ...]  # of the columns, or their numbers
    named: bool
    header: bool  # whether the first line is no row


def columns(path: str | Path, options: ReadOptions = _NONE) -> tuple[str, ...]:
    """Returns the names of all columns, or their numbers, from the first line.

    Args:
        path: The file.
        options: Which names training had.

    Raises:
        BadFileError: It is missing or damaged.
    """
    with door.reading(path, _EXPECTED):
        return _table(path, options).names


def feature_columns(path: str | Path, options: ReadOptions = _NONE) -> FeatureColumns:
    """Returns the columns of the features, from the first line.

    Args:
        path: The file.
        options: Which columns are meant.

    Raises:
        BadFileError: As ``columns``, or there are none.
    """
    with door.reading(path, _EXPECTED):
        table = _table(path, options)
        return FeatureColumns(_features(table, options, path), table.named)


def peek(
    path: str | Path, options: ReadOptions = _NONE
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the features; the lines are counted.

    Args:
        path: The file.
        options: Which columns are meant.

    Raises:
        BadFileError: As ``feature_columns``.
    """
    with door.reading(path, _EXPECTED):
        table = _table(path, options)
        names = _features(table, options, path)
        return (_count(path, table), len(names)), np.dtype(np.float64)


def peek_labels(
    path: str | Path, options: ReadOptions = _NONE
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns how many labels there are, and that they are texts; lines are counted.

    Args:
        path: The file.
        options: Which column is meant.

    Raises:
        BadFileError: As ``columns``, or there is no column of labels.
    """
    with door.reading(path, _EXPECTED):
        table = _table(path, options)
        columns_lib.label(table.names, options, path)
        return (_count(path, table),), np.dtype(str)


def read(
    path: str | Path, max_bytes: int | None = None, options: ReadOptions = _NONE
) -> np.ndarray:
    """Returns the features.

    Args:
        path: The file.
        max_bytes: Most that they may take; what the machine has if None.
        options: Which columns are meant.

    Returns:
        ``(N, D)`` float64.

    Raises:
        BadFileError: As ``peek``; a row has more or fewer fields than the first line,
            or a field is no number.
    """
    with door.reading(path, _EXPECTED):
        table = _table(path, options)
        names = _features(table, options, path)
        count = _count(path, table)
        shape, dtype = (count, len(names)), np.dtype(np.float64)
        door.check_size(shape, dtype, path, max_bytes=max_bytes)
        x = np.empty(shape, dtype)
        fields = operator.itemgetter(*(table.names.index(name) for name in names))
        for row, line, record in _rows(path, table, count):
            taken = fields(record) if len(names) > 1 else (fields(record),)
            try:
                if "_" in "".join(taken):  # which Python would read in 1_000
                    raise ValueError
                x[row] = np.fromiter(map(float, taken), dtype, len(taken))
            except ValueError:
                raise _not_a_number(
                    names, taken, f"{path}: row {row}, line {line}"
                ) from None
        return x


def read_labels(
    path: str | Path, max_bytes: int | None = None, options: ReadOptions = _NONE
) -> np.ndarray:
    """Returns the column of the labels, or the only one.

    Args:
        path: The file.
        max_bytes: Most that they may take; what the machine has if None.
        options: Which column is meant.

    Returns:
        ``(N,)``, as ``text_values.typed`` makes them, or texts for ``label_texts``.

    Raises:
        BadFileError: As ``peek_labels``, or a label is missing.
    """
    with door.reading(path, _EXPECTED):
        table = _table(path, options)
        name, count = columns_lib.label(table.names, options, path), _count(path, table)
        # As if of eight bytes each; how long texts are stands nowhere.
        door.check_size((count,), np.dtype(np.int64), path, max_bytes=max_bytes)
        place, labels = table.names.index(name), []
        for row, line, record in _rows(path, table, count):
            label = record[place].strip()
            if label in _MISSING:
                raise BadFileError(
                    f"{path}: row {row}, line {line}: column {name} is {label!r}; "
                    "expected a label in every row"
                )
            labels.append(label)
        return np.array(labels) if options.label_texts else text_values.typed(labels)


def _table(path: str | Path, options: ReadOptions) -> _Table:
    first, second = _first_two(path)
    numbers = tuple(map(str, range(len(first))))
    names = tuple(name.strip() for name in first)
    numeric, below = ([*map(text_values.is_number, row)] for row in (first, second))
    if feature_names.are_known(names, options.feature_names):
        return _Table(names, named=True, header=True)
    if all(numeric):
        counted = len(first) > 1 and names == numbers
        if counted and len(first) == 2:
            raise BadFileError(
                f"{path} begins with '0,1', which may be a row or the numbers of the "
                "columns; expected a first line of names that are no numbers"
            )
        return _Table(numbers, named=False, header=counted)
    if len(first) == 1 and _comes_again(path, first):
        return _Table(numbers, named=False, header=False)
    of_numbers = tuple(
        name for name, is_one in zip(names, numeric, strict=True) if is_one
    )
    if of_numbers and numeric == below and of_numbers != numbers[: len(of_numbers)]:
        raise BadFileError(
            f"{path} begins with {','.join(first[:5])!r}, which has numbers and texts "
            "where the second line has them; expected a first line of names, none of "
            "which is a number: rename such columns"
        )
    return _Table(names, named=True, header=True)


def _first_two(path: str | Path) -> tuple[list[str], list[str]]:
    records = [record for _, record in itertools.islice(_records(path), 2)]
    if not records or not records[0]:
        found = "begins with an empty line" if records else "is empty"
        raise BadFileError(f"{path} {found}; expected {_EXPECTED}")
    return records[0], records[1] if len(records) > 1 else []


def _comes_again(path: str | Path, first: list[str]) -> bool:
    records = _records(path)
    next(records)
    return any(record == first for _, record in records)


def _features(table: _Table, options: ReadOptions, path: str | Path) -> tuple[str, ...]:
    names = columns_lib.features(table.names, options, path)
    if not names:
        raise BadFileError(
            f"{path} has the columns {[*table.names]}, none of which is a feature; "
            "expected at least one"
        )
    if len(table.names) == 1:
        _check_separator(table.names[0], path)
    return names


def _check_separator(name: str, path: str | Path) -> None:
    """Refuses what looks like many columns but is one, and no numbers."""
    found = text_values.separator(name, "".join(_first_two(path)[1]))
    if found is not None:
        raise BadFileError(
            f"{path} has one column, {name!r}, whose separator may be {found!r}; "
            f"expected {_EXPECTED}, numbers with a decimal point"
        )


def _count(path: str | Path, table: _Table) -> int:
    """Returns how many rows there are, as fast as lines can be told apart."""
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
    """Yields number, line and fields of each row, of which there must be so many."""
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
    names: Sequence[str], taken: Sequence[str], where: str
) -> BadFileError:
    wrong = next(k for k, text in enumerate(taken) if not text_values.is_number(text))
    found = repr(taken[wrong]) if taken[wrong].strip() else "empty"
    name = names[wrong]
    comma = text_values.has_decimal_comma(taken[wrong])
    expected = "a number with a decimal point" if comma else "a number"
    return BadFileError(
        f"{where}: column {name} is {found}; expected {expected}, or that drop_columns "
        f"({columns_lib.flag('drop_columns', name)}) leaves the column out"
    )
