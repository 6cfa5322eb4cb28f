"""A configuration as flags: nested dataclasses as one list of names with values.

A field is a flag of the same name, and names are unique within a configuration. A
``Penalty`` is two flags, one of which is set. A flag becomes a line of ``flags.txt``,
and that file makes the same configuration again.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from linclf_jax.config import flag_text, penalty
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.runtime import NOT_COMPARED
from linclf_jax.training.search_space import Axis, Range

Config = TypeVar("Config")


class Flag(NamedTuple):
    """One flag of a configuration."""

    name: str
    type: Any  # of the field
    value: Any
    help: str
    read: Callable[[str], str] | None  # see ``fields.flag``
    is_compared: bool  # whether results depend on it


def flags(config: Any) -> Iterator[Flag]:
    """Yields all flags of a configuration, in the order of its fields."""
    yield from _flags(config, is_compared=True)


def compared(config: Any) -> dict[str, Any]:
    """Returns the flags that results depend on, as ``config.json`` holds them."""
    values = {flag.name: flag.value for flag in flags(config) if flag.is_compared}
    return {
        name: flag_text.text(value) if isinstance(value, Range) else value
        for name, value in values.items()
    }


def to_flagfile(config: Any) -> str:
    """Returns the lines of a flagfile that makes what is compared of ``config``."""
    lines = (
        f"--{flag.name}={flag_text.text(flag.value)}\n"
        for flag in flags(config)
        if flag.is_compared and flag.value is not None
    )
    return "".join(lines)


def build(default: Config, values: Mapping[str, Any]) -> Config:
    """Returns a configuration with these values, and defaults where there is none.

    Args:
        default: A dataclass whose fields are flags, penalties, or parts like itself.
        values: By the names of flags; None of a flag that is unset.

    Raises:
        ValueError: A penalty is given in both units, or a text cannot be read.
    """
    changes = {}
    for field in dataclasses.fields(default):  # pyright: ignore[reportArgumentType]
        part = getattr(default, field.name)
        if _is_penalty(field.type):
            changes[field.name] = penalty.from_units(values) or part
        elif not field.metadata:
            changes[field.name] = build(part, values)
        elif field.name in values:
            changes[field.name] = _value(field, values[field.name])
    return dataclasses.replace(default, **changes)  # pyright: ignore


def read(path: Path, kind: type[Config]) -> Config:
    """Returns the configuration that a flagfile makes, apart from any command line.

    Args:
        path: ``flags.txt`` of a run directory.
        kind: Of the study; see ``build``.

    Raises:
        ValueError: The file is missing, or holds something else.
    """
    types_by_name = {flag.name: flag.type for flag in flags(kind())}
    values = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, separator, argument = line.removeprefix("--").partition("=")
            if not separator or name not in types_by_name:
                raise ValueError(f"found {line!r}, which is no flag of this study")
            values[name] = flag_text.parse(argument, types_by_name[name])
        return build(kind(), values)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _flags(config: Any, is_compared: bool) -> Iterator[Flag]:
    is_compared = is_compared and not isinstance(config, NOT_COMPARED)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if _is_penalty(field.type):
            for unit, help_text in penalty.HELP.items():
                axis = value.axis if value is not None and value.unit == unit else None
                yield Flag(unit, Axis | None, axis, help_text, None, is_compared)
        elif field.metadata:
            about = field.metadata
            yield Flag(
                field.name, field.type, value, about["help"], about["read"], is_compared
            )
        else:
            yield from _flags(value, is_compared)


def _is_penalty(kind: Any) -> bool:
    return kind in (Penalty, Penalty | None)


def _value(field: dataclasses.Field, value: Any) -> Any:
    read_text = field.metadata["read"]
    return value if read_text is None or value is None else read_text(value)
