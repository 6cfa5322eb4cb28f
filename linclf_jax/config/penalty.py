"""The penalties of a script: ``--l2``, or ``--C`` of scikit-learn in its place."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from linclf_jax import regularization
from linclf_jax.training import search_space, settings

_OTHER = {"l2": "C", "C": "l2"}


def settled(values: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Returns flags in which the penalty that is given is the only one, if one is.

    Args:
        values: Of all flags, defaults among them.
        given: Names of those that are no defaults.
    """
    replaced = {name for name in given if _OTHER.get(name) not in given}
    return {k: None if _OTHER.get(k) in replaced else v for k, v in values.items()}


def validate(l2: search_space.Axis | None, C: search_space.Axis | None) -> None:
    """Checks that the penalty is given, and in one unit.

    Raises:
        ValueError: It is given twice, or not at all.
    """
    if (l2 is None) == (C is None):
        found = "neither is given" if l2 is None else "both are given"
        raise ValueError(f"of --l2 and --C {found}; expected one of the two")


def axis(
    l2: search_space.Axis | None,
    C: search_space.Axis | None,
    *,
    num_rows: int,
    num_classes: int,
) -> search_space.Axis:
    """Returns the penalties in units of l2, in the order in which they are given.

    Args:
        l2: As it is, or None.
        C: The inverse strength of scikit-learn, or None.
        num_rows: That a fit sees.
        num_classes: The number of classes.

    Raises:
        ValueError: Both or neither are given, or C holds what is no strength.
    """
    validate(l2, C)
    if C is None:
        return l2 or ()
    ends = (C.low, C.high) if isinstance(C, search_space.Range) else C
    for value in ends:
        _validate(value, num_rows, num_classes)

    def convert(value: float) -> float:
        return regularization.from_inverse_strength(value, num_rows, num_classes)

    # A range of logarithms is one in the other unit too, and can be drawn from.
    if isinstance(C, search_space.Range) and C.kind == "log":
        return dataclasses.replace(C, low=convert(C.low), high=convert(C.high))
    found = tuple(map(convert, search_space.values(C)))
    distinct = len(set(map(settings.to_float32, found)))
    if distinct < max(len(found), 1):
        raise ValueError(
            f"--C has {len(found)} values, {distinct} of them distinct as l2 in "
            "float32; expected at least one, and no repetition"
        )
    return found


def flag(C: search_space.Axis | None) -> str:
    """Returns the flag that the penalties come from, without its dashes."""
    return "l2" if C is None else "C"


def columns(config: Any) -> tuple[str, ...]:
    """Returns the columns of rows that a table shows beside those of settings."""
    # The folds of one setting have a C each.
    return ("C",) if config.C is not None and not config.folds else ()


def _validate(C: float, num_rows: int, num_classes: int) -> None:
    if not C > 0:
        raise ValueError(f"--C holds {C:.9g}; expected above 0, inf for no penalty")
    l2 = regularization.from_inverse_strength(C, num_rows, num_classes)
    try:
        settings.validate_hparam("l2", l2)
    except ValueError as error:
        raise ValueError(f"--C holds {C:.9g}, as l2 out of range: {error}") from error
