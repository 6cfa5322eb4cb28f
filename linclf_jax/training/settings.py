"""The choices of a fit: what is compiled into it, and what is traced through it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from linclf_jax import losses

SCHEDULES = ("constant", "cosine", "linear")
GRADIENTS = ("manual", "autodiff")
KEPT = ("last", "best")  # epochs
RAW = "raw"  # features: the columns of the data as they are
PRECISIONS = ("default", "high", "highest")
SMOOTHED_LOSS = "softmax_cross_entropy"  # the one that takes label_smoothing

Scalar = float | jax.Array | np.ndarray


class Hparams(NamedTuple):
    """Numbers that a program takes as arguments: changing one compiles nothing.

    Scalars for one run; arrays ``(L,)`` for a stack of lanes.
    """

    learning_rate: Scalar = 0.1  # the peak of the schedule
    l2: Scalar = 0.0  # (l2 / 2) ||W||^2 in the objective
    momentum: Scalar = 0.9  # momentum, nesterov, lars
    b1: Scalar = 0.9  # decay of the first moment: adam, adamw, lion
    b2: Scalar = 0.999  # of the second: adam, adamw, lion, rmsprop
    weight_decay: Scalar = 0.0  # decoupled, of W alone: adamw, lion
    warmup: Scalar = 0.0  # share of all steps with a rising learning rate
    init_scale: Scalar = 1e-3  # W starts uniform in +-init_scale
    label_smoothing: Scalar = 0.0  # share of each target spread over all classes


@dataclasses.dataclass(frozen=True)
class Static:
    """Choices that shape the program: one compile for each distinct value."""

    num_classes: int
    loss: str = "softmax_cross_entropy"
    optimizer: str = "momentum"
    schedule: str = "cosine"
    batch_size: int = 128
    epochs: int = 60
    gradient: str = "manual"
    precision: str = "highest"
    keep: str = "last"  # the epoch whose parameters a run ends with; see ``keeping``
    features: str = RAW  # what the program is given: these columns or image features,
    preprocessing: str = "standardize"  # scaled like this
    # Whether label smoothing is part of the program. A run without it has its own
    # program, whose bits do not depend on whether other runs of a sweep smooth.
    smoothed: bool = False

    @property
    def inputs(self) -> tuple[str, str]:
        """What the program is given: the features, and how they are scaled."""
        return self.features, self.preprocessing


# name: (lowest value, whether it is allowed, first value too high)
_BOUNDS = {
    "learning_rate": (0.0, False, math.inf),
    "l2": (0.0, True, math.inf),
    "momentum": (0.0, True, 1.0),
    "b1": (0.0, True, 1.0),
    "b2": (0.0, True, 1.0),
    "weight_decay": (0.0, True, math.inf),
    "warmup": (0.0, True, 1.0),
    "init_scale": (0.0, True, math.inf),
    "label_smoothing": (0.0, True, 1.0),
}


def validate_static(static: Static, *, num_rows: int, optimizers: Mapping) -> None:
    """Checks every choice before anything is compiled.

    Names of features and preprocessing are checked where the features are made.

    Args:
        static: The choices.
        num_rows: Rows of the training split; a batch cannot be larger.
        optimizers: The optimizers that exist, by name.

    Raises:
        ValueError: Naming the choice, what was found, and the values allowed.
    """
    allowed = {
        "loss": losses.LOSSES,
        "optimizer": optimizers,
        "schedule": SCHEDULES,
        "gradient": GRADIENTS,
        "precision": PRECISIONS,
        "keep": KEPT,
    }
    for name, values in allowed.items():
        value = getattr(static, name)
        if value not in values:
            raise ValueError(
                f"--{name} is {value!r}; expected one of {', '.join(values)}"
            )
    for name, highest in (("batch_size", num_rows), ("epochs", 10**6)):
        value = getattr(static, name)
        if not 1 <= value <= highest:
            why = " (the training rows)" if name == "batch_size" else ""
            raise ValueError(f"--{name} is {value}; expected 1 to {highest}{why}")
    if static.smoothed and static.loss != SMOOTHED_LOSS:
        raise ValueError(
            f"--loss is {static.loss!r}, whose labels cannot be smoothed; expected "
            f"{SMOOTHED_LOSS!r} with --label_smoothing"
        )


def validate_hparam(name: str, value: float) -> None:
    """Checks one hyper-parameter, as a run will see it: rounded to float32.

    Args:
        name: A field of ``Hparams``.
        value: A concrete number.

    Raises:
        ValueError: The number is not finite or not in its range.
    """
    low, low_allowed, too_high = _BOUNDS[name]
    rounded = to_float32(value)
    # As it was given, too: rounding makes a zero of -1e-50.
    above = value >= low and (rounded >= low if low_allowed else rounded > low)
    if not (math.isfinite(rounded) and above and rounded < too_high):
        lower = f"at least {low:g}" if low_allowed else f"above {low:g}"
        upper = "finite" if too_high == math.inf else f"below {too_high:g}"
        seen = "" if rounded == value else f", in float32 {rounded:g}"
        raise ValueError(
            f"--{name} holds {value:.9g}{seen}; expected {lower} and {upper}"
        )


def to_float32(value: float) -> float:
    """Returns the float32 nearest to a number, infinity where it is too large.

    Args:
        value: A concrete number.
    """
    with np.errstate(over="ignore"):
        return float(np.float32(value))
