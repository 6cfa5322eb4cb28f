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
from linclf_jax.config.fields import Check
from linclf_jax.config.penalty import Penalty
from linclf_jax.training.search_space import Axis, Range

Config = TypeVar("Config")
_PENALTY = (Penalty, Penalty | None)  # types of a field


class Flag(NamedTuple):
    """One flag of a configuration; see ``fields.flag``."""

    name: str
    type: Any  # of the field
    value: Any
    is_compared: bool  # whether results depend on it
    help: str
    check: Check | None = None
    read: Callable[[str], str] | None = None


def flags(config: Any, *, is_compared: bool = True) -> Iterator[Flag]:
    """Yields all flags of a configuration, in the order of its fields."""
    for field in dataclasses.fields(config):
        value, about = getattr(config, field.name), field.metadata
        if field.type in _PENALTY:
            for unit, help_text in penalty.HELP.items():
                axis = value.axis if value is not None and value.unit == unit else None
                yield Flag(unit, Axis | None, axis, is_compared, help_text)
        elif "help" in about:
            yield Flag(field.name, field.type, value, is_compared, **about)
        else:
            part_is_compared = is_compared and about["is_compared"]
            yield from flags(value, is_compared=part_is_compared)


def validate(config: Any) -> None:
    """Checks every flag by itself, and that ``flags.txt`` can hold it.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    to_flagfile(config)
    for flag in flags(config):
        if flag.check is None or flag.value is None:
            continue
        for item in flag.value if isinstance(flag.value, tuple) else (flag.value,):
            if not flag.check.holds(item):
                raise ValueError(
                    f"--{flag.name} is {item!r}; expected {flag.check.expected}"
                )


def compared(config: Any) -> dict[str, Any]:
    """Returns the flags that results depend on, as ``config.json`` holds them."""
    values = {flag.name: flag.value for flag in flags(config) if flag.is_compared}
    return {
        name: flag_text.text(value) if isinstance(value, Range) else value
        for name, value in values.items()
    }


def to_flagfile(config: Any) -> str:
    """Returns the lines of a flagfile that makes what is compared of ``config``.

    Raises:
        ValueError: A text has a line break, or a blank at its end, which a reader of
            flagfiles takes away, or is no UTF-8.
    """
    values = {flag.name: flag.value for flag in flags(config) if flag.is_compared}
    lines = []
    for name, value in values.items():
        line = f"--{name}={flag_text.text(value)}"
        read_back = line.encode("utf-8", "ignore").decode("utf-8").rstrip()
        if line != read_back or "\n" in line or "\r" in line:
            raise ValueError(
                f"--{name} is {value!r}, which flags.txt cannot hold; expected UTF-8 "
                "with no line break, and no blank at the end"
            )
        lines += [] if value is None else [f"{line}\n"]
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
        if field.type in _PENALTY:
            changes[field.name] = penalty.from_units(values) or part
        elif "help" not in field.metadata:
            changes[field.name] = build(part, values)
        elif field.name in values:
            value, read_text = values[field.name], field.metadata["read"]
            if read_text is not None and value is not None:
                value = read_text(value)
            changes[field.name] = value
    return dataclasses.replace(default, **changes)  # pyright: ignore


def read(path: Path, kind: type[Config]) -> Config:
    """Returns the configuration that ``flags.txt`` makes, apart from a command line.

    Raises:
        ValueError: The file is missing, or holds something else.
    """
    types_by_name = {flag.name: flag.type for flag in flags(kind())}
    values = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in (line.removesuffix("\n") for line in lines):
                name, separator, argument = line.removeprefix("--").partition("=")
                if not separator or name not in types_by_name:
                    raise ValueError(f"found {line!r}, which is no flag of this study")
                values[name] = flag_text.parse(argument, types_by_name[name])
        return build(kind(), values)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
