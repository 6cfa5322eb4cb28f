"""Tables of text, ``.csv`` and ``.tsv``: a row a line, numbers as they are written.

A first line that is not all numbers has the names of the columns. So has
``0,1,2,...``, which pandas writes for an array, and a line with the names that training
had; ``0,1`` alone may be either, and is refused. In a file of one column a first line
that comes again is a label. Numbers are float64, since decimals are exact in no smaller
dtype. Fields may be quoted; the text is UTF-8, with or without a byte order mark.
"""

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from linclf_jax.data import columns as columns_lib
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import Columns, ReadOptions
from linclf_jax.data.formats import Array, Format, Table

_EXPECTED = "a table of text, comma-separated (.csv) or tab-separated (.tsv)"
_MISSING = {"", "nan", "NaN"}
_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_ZEROS = re.compile(r"-?0\d")
_SEPARATORS = (";", "\t", ",", "|")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
# As pandas, JSON and R or spreadsheets write them.
_BOOLEANS = (("False", "True"), ("false", "true"), ("FALSE", "TRUE"))


def _table(path: Path, options: ReadOptions) -> Table:
    first, second = _first_two(path)
    has_header, named = _header(path, first, second, options.feature_names)
    names = tuple(name.strip() for name in first) if named else _numbers(first)
    table = _Text(path, names, has_header, options.label_texts)
    return Table(Columns(names, named), table.features, table.labels)


def _header(
    path: Path, first: list[str], second: list[str], trained: Sequence[str]
) -> tuple[bool, bool]:
    """Returns whether the first line is no row, and whether it has names."""
    names = tuple(name.strip() for name in first)
    numeric, below = ([*map(_is_number, row)] for row in (first, second))
    if columns_lib.are_header(names, trained):
        return True, True
    if all(numeric):
        counted = len(first) > 1 and names == _numbers(first)
        if counted and len(first) == 2:
            raise BadFileError(
                f"{path} begins with '0,1', which may be a row or the numbers of the "
                "columns; expected a first line of names that are no numbers"
            )
        return counted, False
    if len(first) == 1 and any(row == first for _, row in _records(path, skip=1)):
        return False, False
    numbers = tuple(itertools.compress(names, numeric))
    if numbers and numeric == below and numbers != _numbers(numbers):
        raise BadFileError(
            f"{path} begins with {','.join(first[:5])!r}, which has numbers and texts "
            "where the second line has them; expected a first line of names, none of "
            "which is a number: rename such columns"
        )
    return True, True


@dataclasses.dataclass(frozen=True)
class _Text:
    """A file, by what its first two lines tell."""

    path: Path
    names: tuple[str, ...]  # of the columns, or their numbers
    has_header: bool
    label_texts: bool  # labels are texts, whatever they look like

    def features(self, names: tuple[str, ...]) -> Array:
        """Returns the features, float64; the lines are counted."""
        if len(self.names) == 1:
            self._check_separator()
        shape, dtype = (self._count(), len(names)), np.dtype(np.float64)
        indices = [self.names.index(name) for name in names]

        def read() -> np.ndarray:
            x = np.empty(shape, dtype)
            for row, line, record in self._rows(len(x)):
                texts = [record[index] for index in indices]
                try:
                    if "_" in "".join(texts):  # which Python would read in 1_000
                        raise ValueError
                    x[row] = np.fromiter(map(float, texts), dtype, len(texts))
                except ValueError:
                    where = f"{self.path}: row {row}, line {line}"
                    raise _not_a_number(names, texts, where) from None
            return x

        return Array(shape, dtype, read)

    def labels(self, name: str) -> Array:
        """Returns the labels as ``_typed`` has them, or texts as they are."""
        index, count = self.names.index(name), self._count()

        def read() -> np.ndarray:
            labels = []
            for row, line, record in self._rows(count):
                label = record[index].strip()
                if label in _MISSING:
                    raise BadFileError(
                        f"{self.path}: row {row}, line {line}: column {name} is "
                        f"{label!r}; expected a label in every row"
                    )
                labels.append(label)
            return np.array(labels) if self.label_texts else _typed(labels)

        # Counted as eight bytes each: nothing tells how long the texts are.
        return Array((count,), np.dtype(np.int64), read)

    def _check_separator(self) -> None:
        """Refuses a single column whose fields look like many, with another mark."""
        name, second = self.names[0], "".join(_first_two(self.path)[1])
        marks = [mark for mark in _SEPARATORS if mark in name and mark in second]
        if marks:
            raise BadFileError(
                f"{self.path} has one column, {name!r}, whose separator may be "
                f"{marks[0]!r}; expected {_EXPECTED}, numbers with a decimal point"
            )

    def _count(self) -> int:
        """Returns how many rows there are; parses fields where some are quoted."""
        with _open(self.path) as stream:
            count = 0
            for line in stream:
                if '"' in line:  # a field may go on in the next line
                    break
                count += line not in ("\n", "\r\n", "\r")
            else:
                return count - self.has_header
        return sum(1 for _, record in _records(self.path) if record) - self.has_header

    def _rows(self, count: int) -> Iterator[tuple[int, int, list[str]]]:
        """Yields index, line and fields of each row; there must be ``count``."""
        row, width, empty = 0, len(self.names), None
        for line, record in _records(self.path, skip=self.has_header):
            if not record:
                empty = empty or line
                continue
            if empty is not None:
                raise BadFileError(
                    f"{self.path}: line {empty} is empty; expected a row"
                )
            if len(record) != width or row >= count:
                raise BadFileError(
                    f"{self.path}: row {row}, line {line}, has {len(record)} fields; "
                    f"expected {width}, as in the first line, and {count} rows"
                )
            yield row, line, record
            row += 1
        if row < count:
            raise BadFileError(f"{self.path} ends after {row} rows; expected {count}")


def _open(path: Path) -> IO[str]:
    return path.open(encoding="utf-8-sig", newline="")


def _records(path: Path, skip: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yields the fields of each line, or lines, with the number of the last one."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with _open(path) as stream:
        reader = csv.reader(
            stream, delimiter=delimiter, strict=True, skipinitialspace=True
        )
        for record in itertools.islice(reader, skip, None):
            yield reader.line_num, record


def _first_two(path: Path) -> tuple[list[str], list[str]]:
    records = [record for _, record in itertools.islice(_records(path), 2)]
    if not records or not records[0]:
        what = "begins with an empty line" if records else "is empty"
        raise BadFileError(f"{path} {what}; expected {_EXPECTED}")
    return records[0], records[1] if len(records) > 1 else []


def _numbers(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, range(len(fields))))


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


FORMAT = Format(_EXPECTED, table=_table)
