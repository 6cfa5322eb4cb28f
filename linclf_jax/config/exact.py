"""How penalised fits are solved exactly, and the penalties that they are solved for."""

import dataclasses
import math

import numpy as np

from linclf_jax.config import penalty as penalty_config
from linclf_jax.config.fields import flag
from linclf_jax.config.penalty import Penalty
from linclf_jax.training import search_space, settings


@dataclasses.dataclass(frozen=True)
class ExactConfig:
    """When a fit ends."""

    tol: float = flag(1e-6, "Relative duality gap of every exact fit.")
    max_newton_steps: int = flag(100, "Newton steps of an exact fit.")


def validate(config: ExactConfig) -> None:
    """Checks both limits.

    Raises:
        ValueError: One is out of range.
    """
    if not 0 < config.tol < math.inf:
        raise ValueError(f"--tol is {config.tol}; expected a number above 0")
    if config.max_newton_steps < 0:
        raise ValueError(
            f"--max_newton_steps is {config.max_newton_steps}; expected at least 0"
        )


def penalties(penalty: Penalty, *, num_rows: int, num_classes: int) -> np.ndarray:
    """Returns the values of l2, ``(K,)`` float64, the largest first.

    Args:
        penalty: In any unit.
        num_rows: Of the fit to all rows, which ``--C`` is meant for.
        num_classes: C.

    Raises:
        ValueError: There are none, or one is out of range or comes twice.
    """
    axis = penalty_config.to_l2(penalty, num_rows=num_rows, num_classes=num_classes)
    values = search_space.values(axis)
    for value in values:
        settings.validate_hparam("l2", value)
    if len(set(values)) < max(len(values), 1):
        raise ValueError(
            f"--l2 has {len(values)} values, {len(set(values))} of them distinct; "
            "expected at least one, and no repetition"
        )
    return np.sort(np.asarray(values, np.float64))[::-1]
