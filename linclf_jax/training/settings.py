"""The choices of a fit: what is compiled into it, and what is traced through it."""

import dataclasses
import math
from typing import NamedTuple

import jax
import numpy as np

SCHEDULES = ("constant", "cosine", "linear")
GRADIENTS = ("manual", "autodiff")
KEPT = ("last", "best")  # epochs
SHUFFLES = ("rows", "blocks")  # how an epoch orders the rows; see ``row_order``
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
    keep: str = "last"  # the epoch whose parameters a run ends with; see ``states``
    shuffle: str = "rows"
    features: str = RAW  # what the program is given: these columns or image features,
    preprocessing: str = "standardize"  # scaled like this
    # Whether label smoothing is part of the program. A run without it has its own
    # program, whose bits do not depend on whether other runs of a sweep smooth.
    smoothed: bool = False

    @property
    def inputs(self) -> tuple[str, str]:
        """What the program is given: the features, and how they are scaled."""
        return self.features, self.preprocessing


_BELOW_1 = ("momentum", "b1", "b2", "warmup", "label_smoothing")


def validate_hparam(name: str, value: float) -> None:
    """Refuses a hyper-parameter that is not finite or not in its range.

    Checked is what a run will see: the number rounded to float32.
    """
    rounded = to_float32(value)
    is_positive, is_share = name == "learning_rate", name in _BELOW_1
    # As it was given, too: rounding makes a zero of -1e-50.
    above = value >= 0 and (rounded > 0 or not is_positive)
    below = rounded < (1.0 if is_share else math.inf)
    if not (above and below):
        lower = "above 0" if is_positive else "at least 0"
        upper = "below 1" if is_share else "finite"
        seen = "" if rounded == value else f", in float32 {rounded:g}"
        raise ValueError(
            f"--{name} holds {value:.9g}{seen}; expected {lower} and {upper}"
        )


def to_float32(value: float) -> float:
    """Returns the float32 nearest to a number, infinity where it is too large."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
