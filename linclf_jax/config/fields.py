"""Fields of a configuration, each of which is a flag of the same name."""

import dataclasses
from collections.abc import Iterable
from typing import Any


def flag(default: Any, help_text: str) -> Any:
    """Returns a field of a configuration, which is a flag too."""
    return dataclasses.field(default=default, metadata={"help": help_text})


def some_of(names: Iterable[str]) -> str:
    """Returns the help text of a flag that takes several names."""
    return f"One or more of {', '.join(names)}."


def one_of(names: Iterable[str]) -> str:
    """Returns the help text of a flag that takes one name."""
    return f"One of {', '.join(names)}."
