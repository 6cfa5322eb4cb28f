"""Fields of a configuration: flags of the same name, and parts that hold flags."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any


def flag(
    default: Any, help_text: str, *, read: Callable[[str], str] | None = None
) -> Any:
    """Returns a field of a configuration, which is a flag too.

    Args:
        default: Its value; None where the flag is unset.
        help_text: A sentence.
        read: Makes the value of the text that a command line gives, a path for
            instance; a flagfile that was written by a study holds the value.
    """
    metadata = {"help": help_text, "read": read}
    return dataclasses.field(default=default, metadata=metadata)


def part(default: Any) -> Any:
    """Returns a field that is a configuration itself, whose fields are flags."""
    return dataclasses.field(default_factory=lambda: default)


def some_of(names: Iterable[str]) -> str:
    """Returns the help text of a flag that takes several names."""
    return f"One or more of {', '.join(names)}."


def one_of(names: Iterable[str]) -> str:
    """Returns the help text of a flag that takes one name."""
    return f"One of {', '.join(names)}."
