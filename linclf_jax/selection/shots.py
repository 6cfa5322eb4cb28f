"""A few rows of each class, dealt by a seed: who they are, and lanes to fit to them.

The first rows of a class in the order of a seed are its shots, so that five shots hold
the one shot of the same seed.
"""

from collections.abc import Sequence

import numpy as np

from linclf_jax import validation
from linclf_jax.selection import folds as folds_lib


def validate(shots: Sequence[int], seeds: int) -> None:
    """Refuses numbers that nobody can deal.

    Args:
        shots: Rows of each class.
        seeds: How many draws.

    Raises:
        ValueError: One is below 1, or comes twice.
    """
    if any(count < 1 for count in shots) or len(set(shots)) < len(shots):
        raise ValueError(
            f"--shots is {','.join(map(str, shots))}; expected numbers of at least 1, "
            "no repetition"
        )
    if seeds < 1:
        raise ValueError(f"--draws is {seeds}; expected at least 1")


def deal(labels: np.ndarray, shots: int, *, seed: int) -> np.ndarray:
    """Returns the places of ``shots`` rows of every class, int64, from the lowest.

    Args:
        labels: ``(N,)``, integers from 0.
        shots: Rows of each class.
        seed: In ``0..2^32-1``; of a stream apart from those of splits and folds.

    Raises:
        ValueError: The seed is out of range, or a class has fewer rows.
    """
    validation.validate_seed(seed, name="seed")
    keys = np.random.PCG64([seed, 2]).random_raw(len(labels))
    found, counts = np.unique(labels, return_counts=True)
    if (few := counts < shots).any():
        raise ValueError(
            f"--shots is {shots}; expected at least as many training rows of each "
            f"class; fewer has {folds_lib.listed(found[few].tolist(), counts[few])}: "
            "lower --shots, or leave these classes out"
        )
    dealt = []
    for label in found:
        rows = np.flatnonzero(labels == label)
        dealt.append(rows[np.argsort(keys[rows], kind="stable")][:shots])
    return np.sort(np.concatenate(dealt))


def masks(labels: np.ndarray, shots: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
    """Returns which rows each lane is given, boolean ``(S R, N)``, seeds side by side.

    Args:
        labels: ``(N,)``, integers from 0.
        shots: S numbers of rows of each class.
        seeds: R seeds.

    Raises:
        ValueError: As ``deal``.
    """
    lanes = np.zeros((len(shots) * len(seeds), len(labels)), bool)
    draws = ((count, seed) for count in shots for seed in seeds)
    for lane, (count, seed) in zip(lanes, draws, strict=True):
        lane[deal(labels, count, seed=seed)] = True
    return lanes
