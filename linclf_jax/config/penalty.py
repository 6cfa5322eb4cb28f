"""A penalty in the unit in which it is given: ``--l2``, or ``--C`` of scikit-learn."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from linclf_jax import regularization
from linclf_jax.training import search_space, settings
from linclf_jax.training.search_space import Axis, Range

# By unit, which is the flag's name too.
HELP = {
    "l2": "Penalties: (l2 / 2) ||W||^2, mean loss.",
    "C": "In place of --l2, scikit-learn's: 1 / (l2 n) of n training rows, 2 / (l2 n) "
    "for two classes.",
}


@dataclasses.dataclass(frozen=True)
class Penalty:
    """Values of a penalty. As a field it makes both flags, one of which may be given.

    Raises:
        ValueError: The unit is unknown.
    """

    unit: str
    axis: Axis

    def __post_init__(self) -> None:
        if self.unit not in HELP:
            raise ValueError(
                f"the unit of a penalty is {self.unit!r}; expected one of "
                f"{', '.join(HELP)}"
            )


def from_units(values: Mapping[str, Any]) -> Penalty | None:
    """Returns the penalty of flags, None where neither of the two is set.

    Args:
        values: By the names of flags; None of one that is unset.

    Raises:
        ValueError: It is given in both units.
    """
    given = {u: values[u] for u in HELP if values.get(u) is not None}
    if len(given) > 1:
        raise ValueError("of --l2 and --C both are given; expected one of the two")
    return next((Penalty(unit, axis) for unit, axis in given.items()), None)


def to_l2(penalty: Penalty, *, num_rows: int, num_classes: int) -> Axis:
    """Returns the penalties in units of l2, in the order in which they are given.

    Args:
        penalty: In any unit.
        num_rows: That a fit sees.
        num_classes: The number of classes.

    Raises:
        ValueError: A C is no strength, or two are one in float32.
    """
    axis = penalty.axis
    if penalty.unit == "l2":
        return axis
    for value in (axis.low, axis.high) if isinstance(axis, Range) else axis:
        _validate_inverse(value, num_rows, num_classes)

    def convert(value: float) -> float:
        return regularization.from_inverse_strength(value, num_rows, num_classes)

    # A range of logarithms is one in the other unit too, and can be drawn from.
    if isinstance(axis, Range) and axis.kind == "log":
        return dataclasses.replace(axis, low=convert(axis.low), high=convert(axis.high))
    values = tuple(map(convert, search_space.values(axis)))
    distinct = len(set(map(settings.to_float32, values)))
    if distinct < max(len(values), 1):
        raise ValueError(
            f"--C has {len(values)} values, {distinct} of them distinct as l2 in "
            "float32; expected at least one, and no repetition"
        )
    return values


def _validate_inverse(C: float, num_rows: int, num_classes: int) -> None:
    if not C > 0:
        raise ValueError(f"--C holds {C:.9g}; expected above 0, inf for no penalty")
    l2 = regularization.from_inverse_strength(C, num_rows, num_classes)
    try:
        settings.validate_hparam("l2", l2)
    except ValueError as error:
        raise ValueError(f"--C holds {C:.9g}, as l2 out of range: {error}") from error
