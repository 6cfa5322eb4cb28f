"""A penalty in the unit in which it is given: ``--l2``, or ``--C`` of scikit-learn."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from linclf_jax import regularization
from linclf_jax.training import search_space, settings
from linclf_jax.training.search_space import Axis, Range

# By unit, which is the flag's name too.
HELP = {
    "l2": "Penalties: (l2 / 2) ||W||^2, mean loss.",
    "C": "In place of --l2, scikit-learn's: 1 / (l2 n) of n training rows, 2 / (l2 n) "
    "for two classes of a softmax.",
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

    Raises:
        ValueError: It is given in both units.
    """
    given = {u: values[u] for u in HELP if values.get(u) is not None}
    if len(given) > 1:
        raise ValueError("of --l2 and --C both are given; expected one of the two")
    return next((Penalty(unit, axis) for unit, axis in given.items()), None)


def to_l2(
    penalty: Penalty, *, num_rows: int, num_classes: int, separate: bool = False
) -> Axis:
    """Returns the penalties in units of l2, in the order in which they are given.

    Args:
        penalty: In any unit.
        num_rows: That a fit sees.
        num_classes: C.
        separate: Whether each class is a regression of its own.

    Raises:
        ValueError: A C is no strength, or two are one in float32.
    """
    axis = penalty.axis
    if penalty.unit == "l2":
        return axis

    def convert(C: float) -> float:
        if not C > 0:
            raise ValueError(f"--C holds {C:.9g}; expected above 0, inf for no penalty")
        l2 = regularization.from_inverse_strength(
            C, num_rows, num_classes, separate=separate
        )
        try:
            settings.validate_hparam("l2", l2)
        except ValueError as error:
            what = f"--C holds {C:.9g}, as l2 out of range"
            raise ValueError(f"{what}: {error}") from error
        return l2

    # A range of logarithms is one in the other unit too, and can be drawn from.
    if isinstance(axis, Range) and axis.kind == "log":
        return dataclasses.replace(axis, low=convert(axis.low), high=convert(axis.high))
    values = tuple(map(convert, search_space.values(axis)))
    _require_distinct("C", values, list(map(settings.to_float32, values)))
    return values


def descending(penalty: Penalty, *, num_rows: int, num_classes: int) -> np.ndarray:
    """Returns the values of l2 for exact fits, ``(K,)`` float64, the largest first.

    Args:
        penalty: In any unit.
        num_rows: Of the fit to all rows, which ``--C`` is meant for.
        num_classes: C.

    Raises:
        ValueError: There are none, or one is out of range or comes twice.
    """
    axis = to_l2(penalty, num_rows=num_rows, num_classes=num_classes)
    values = search_space.values(axis)
    for value in values:
        settings.validate_hparam("l2", value)
    _require_distinct("l2", values, values)
    return np.sort(np.asarray(values, np.float64))[::-1]


def _require_distinct(name: str, values: Any, compared: Any) -> None:
    distinct = len(set(compared))
    if distinct < max(len(values), 1):
        as_what = " as l2 in float32" if name == "C" else ""
        raise ValueError(
            f"--{name} has {len(values)} values, {distinct} of them distinct{as_what}; "
            "expected at least one, and no repetition"
        )
