"""Fields of a configuration: flags of the same name, and parts that hold flags."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple


class Check(NamedTuple):
    """What a flag may be, or each item of its list."""

    holds: Callable[[Any], bool]
    expected: str  # in words


SEED = Check(lambda seed: 0 <= seed < 2**32, "an integer in 0..4294967295")


def at_least(least: int) -> Check:
    """Returns the check of a number that has no upper bound."""
    return Check(lambda value: value >= least, f"at least {least}")


def flag(
    default: Any,
    help_text: str = "",
    *,
    names: Collection[str] = (),
    check: Check | None = None,
    read: Callable[[str], str] | None = None,
) -> Any:
    """Returns a field of a configuration, which is a flag too.

    Args:
        default: Its value; None where the flag is unset.
        help_text: A sentence.
        names: The values that are allowed, if it takes names; they end the help.
        check: Or what else is allowed; ``flat.validate`` checks it.
        read: Makes the value of the text that a command line gives, a path for
            instance; a flagfile that was written by a study holds the value.
    """
    if names:
        listed, several = ", ".join(names), isinstance(default, tuple)
        count = "One or more" if several else "One"
        help_text = f"{help_text} {count} of {listed}.".lstrip()
        check = Check(lambda value: value in names, f"one of {listed}")
    metadata = {"help": help_text, "check": check, "read": read}
    return dataclasses.field(default=default, metadata=metadata)


def part(default: Any, *, is_compared: bool = True) -> Any:
    """Returns a field that is a configuration itself, whose fields are flags.

    Args:
        default: The configuration.
        is_compared: Whether results depend on it.
    """
    metadata = {"is_compared": is_compared}
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)
