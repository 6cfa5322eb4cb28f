"""A few rows of each class, drawn by a seed.

The first rows of a class in the order of a seed are its shots, so that five shots hold
the one shot of the same seed.
"""

from collections.abc import Sequence

import numpy as np

from linclf_jax import validation
from linclf_jax.selection import folds as folds_lib


def validate(shots: Sequence[int], seeds: int) -> None:
    """Refuses numbers of shots below 1 or given twice, and fewer seeds than one."""
    if any(count < 1 for count in shots) or len(set(shots)) < len(shots):
        raise ValueError(
            f"--shots is {','.join(map(str, shots))}; expected numbers of at least 1, "
            "no repetition"
        )
    if seeds < 1:
        raise ValueError(f"--draws is {seeds}; expected at least 1")


def draw(labels: np.ndarray, shots: int, *, seed: int) -> np.ndarray:
    """Returns which rows are drawn, ``shots`` of every class, boolean ``(N,)``.

    Args:
        labels: ``(N,)``, integers from 0.
        shots: Rows of each class.
        seed: In ``0..2^32-1``; of a stream apart from those of splits and folds.

    Raises:
        ValueError: The seed is out of range, or a class has fewer rows.
    """
    validation.validate_seed(seed, name="seed")
    keys = np.random.PCG64([seed, 2]).random_raw(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    if (few := counts < shots).any():
        raise ValueError(
            f"--shots is {shots}; expected at least as many training rows of each "
            f"class; fewer has {folds_lib.listed(classes[few].tolist(), counts[few])}: "
            "lower --shots, or leave these classes out"
        )
    drawn = np.zeros(len(labels), bool)
    for label in classes:
        rows = np.flatnonzero(labels == label)
        drawn[rows[np.argsort(keys[rows], kind="stable")][:shots]] = True
    return drawn
