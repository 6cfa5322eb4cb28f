"""How the text of a flag becomes a value that takes more than a number, and back."""

import re
from collections.abc import Mapping
from typing import Any

from absl import flags

from linclf_jax.training import search_space

_ITEM = re.compile(r"(?:\\[\\,]|[^,])+")  # what stands between commas
_ESCAPED = re.compile(r"\\([\\,])")
_TO_ESCAPE = re.compile(r"([\\,])")


class _AxisParser(flags.ArgumentParser):
    """Turns ``0.1,0.3`` into a tuple of numbers; a range stays one."""

    syntactic_help = "numbers, or log:LOW:HIGH:COUNT, or lin:LOW:HIGH:COUNT"

    def parse(self, argument: str) -> search_space.Axis:
        """Returns the numbers or the range."""
        return search_space.parse(argument)


class _ListParser(flags.ArgumentParser):
    r"""Turns comma-separated text into a tuple of names or integers.

    A comma within a name is written ``\,`` and a backslash before one ``\\``.
    """

    def __init__(self, convert: type, items: str) -> None:
        self._convert, self._items = convert, items
        self.syntactic_help = rf"{items}, with commas; one within an item is \,"

    def parse(self, argument: str) -> tuple:
        """Returns the items."""
        parts = [part.strip() for part in _ITEM.findall(argument) if part.strip()]
        try:
            return tuple(self._convert(_ESCAPED.sub(r"\1", part)) for part in parts)
        except ValueError as error:
            raise ValueError(
                f"found {argument!r}; expected {self._items}, with commas"
            ) from error


class Serializer(flags.ArgumentSerializer):
    """Turns a value into the text that its parser takes."""

    def serialize(self, value: Any) -> str:
        """Returns the text."""
        return str(text(value))


_AXES = _AxisParser()
_INTEGERS = _ListParser(int, "integers")
# By the type of a field; numbers and texts of their own are absl's business.
PARSERS: Mapping[Any, flags.ArgumentParser] = {
    search_space.Axis: _AXES,
    search_space.Axis | None: _AXES,
    tuple[str, ...]: _ListParser(str, "names"),
    tuple[int, ...]: _INTEGERS,
    tuple[int, ...] | None: _INTEGERS,
}


def text(value: Any) -> Any:
    """Returns axes and tuples as the text of a flag, and other values as they are."""
    if isinstance(value, search_space.Range):
        return search_space.text(value)
    if isinstance(value, tuple):
        return ",".join(_TO_ESCAPE.sub(r"\\\1", str(item)) for item in value)
    return value
