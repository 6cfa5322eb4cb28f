"""Tables as comma-separated text that a spreadsheet shows and does not obey.

Spreadsheets take a cell that begins with one of ``= + - @``, a tab or an end of line
for a formula, and names of classes come from files of others. Such a text gets an
apostrophe in front, and so does one that begins with an apostrophe: dropping one
apostrophe from the texts that begin with one gives back every text as it was. Numbers
are left alone, also those among the texts.
"""

import re
from collections.abc import Mapping

import numpy as np

# The last four are the wide forms of the first, which East Asian keyboards type.
_OBEYED = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_MARK = "'"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTED = re.compile(r'[",\r\n]|^$')


def encode(columns: Mapping[str, np.ndarray]) -> bytes:
    """Returns ``(N,)`` texts or numbers as UTF-8, their names in the first line.

    >>> table = {"class": np.array(["=1+1", "a,b"]), "score": np.array([-0.5, 2.0])}
    >>> print(encode(table).decode(), end="")
    class,score
    '=1+1,-0.5
    "a,b",2.0
    """
    # item() would write a float32 as the float64 beside it: seventeen digits.
    texts = ([str(value) for value in column] for column in columns.values())
    lines = [list(columns), *zip(*texts, strict=True)]
    return "".join(",".join(map(_cell, line)) + "\n" for line in lines).encode()


def _cell(text: str) -> str:
    # The writer of csv leaves a lone carriage return unquoted before Python 3.13.
    text = marked(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def marked(text: str) -> str:
    """Returns a text with an apostrophe in front where a spreadsheet would obey it.

    >>> [marked(text) for text in ("=A1", "-0.5", "-x", "'s", "cat")]
    ["'=A1", '-0.5', "'-x", "''s", 'cat']
    """
    is_obeyed = text.startswith(_OBEYED) and not _NUMBER.fullmatch(text)
    return _MARK + text if is_obeyed or text.startswith(_MARK) else text


def unmarked(text: str) -> str:
    """Returns the text that ``marked`` was given.

    >>> unmarked("'=A1"), unmarked("-0.5"), unmarked("''s")
    ('=A1', '-0.5', "'s")
    """
    return text.removeprefix(_MARK)
