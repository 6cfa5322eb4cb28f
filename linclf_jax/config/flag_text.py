r"""The text of a flag: numbers, names, lists of either, and the axes of a search.

A list has commas between its items. Within an item a comma is written ``\,`` and a
backslash ``\\``; an item that is empty, or has blanks at its ends, stands in double
quotes.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from linclf_jax.data import columns
from linclf_jax.training import search_space
from linclf_jax.training.search_space import Axis, Range

_ITEM = re.compile(r"(?:\\[\\,]|[^,])+")  # what stands between commas
_ESCAPED = re.compile(r"\\([\\,])")


def parse(argument: str, kind: Any) -> Any:
    """Returns the value that a text means in a field of that type, or ValueError."""
    return PARSERS[kind](argument)


def text(value: Any) -> str:
    r"""Returns the text of which ``parse`` makes the value again.

    >>> text(("a,b", "c", ""))
    'a\\,b,c,""'
    """
    if isinstance(value, Range):
        return search_space.text(value)
    if isinstance(value, tuple):
        return ",".join(columns.list_item(str(item)) for item in value)
    return str(value)


def _items(convert: type, items: str, argument: str) -> tuple:
    parts = [part.strip() for part in _ITEM.findall(argument) if part.strip()]
    try:
        return tuple(convert(_ESCAPED.sub(r"\1", _unquoted(part))) for part in parts)
    except ValueError as error:
        raise ValueError(
            f"found {argument!r}; expected {items}, with commas"
        ) from error


def _unquoted(item: str) -> str:
    return item[1:-1] if len(item) > 1 and item[0] == item[-1] == '"' else item


def _boolean(argument: str) -> bool:
    words = {"true": True, "false": False}
    if argument.lower() not in words:
        raise ValueError(f"found {argument!r}; expected true or false")
    return words[argument.lower()]


_PARSERS: Mapping[Any, Callable[[str], Any]] = {
    bool: _boolean,
    int: int,
    float: float,
    str: str,
    Axis: search_space.parse,
    tuple[str, ...]: functools.partial(_items, str, "names"),
    tuple[int, ...]: functools.partial(_items, int, "integers"),
}
# By the type of a field, which may be unset.
PARSERS = {**_PARSERS, **{kind | None: parser for kind, parser in _PARSERS.items()}}
