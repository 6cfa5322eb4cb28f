"""Successive halving: which trials go on after the first few epochs, as pure decisions.

All trials train for a few epochs, the best part of them for more, and so on, until what
is left trains to the end: many settings are tried for the price of a few. Whoever
trains asks ``rungs`` when to stop and ``survivors`` who goes on.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016.
"""

from collections.abc import Sequence

from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row


def rungs(epochs: int, eta: int) -> tuple[int, ...]:
    """Returns the epochs after which trials are ranked, the last one being the end.

    They are ``ceil(epochs / eta**k)`` for k from as large as makes it 1, down to 0.

    Args:
        epochs: Of a whole run, at least 1.
        eta: How many times longer each rung is than the one before, at least 2.

    >>> rungs(60, 4)
    (1, 4, 15, 60)
    """
    _validate_eta(eta)
    if epochs < 1:
        raise ValueError(f"--epochs is {epochs}; expected at least 1")
    epochs_of_rungs = [epochs]
    while epochs_of_rungs[-1] > 1:
        # The ceiling of a ceiling is the ceiling of the whole quotient.
        epochs_of_rungs.append(_divide_up(epochs_of_rungs[-1], eta))
    return tuple(reversed(epochs_of_rungs))


def survivors(rows: Sequence[Row], *, metric: str, eta: int) -> set[int]:
    """Returns the trials that train on after a rung, by the scores they have there.

    Of the n settings in the rung the best ``ceil(n / eta)`` go on, with all their
    repeats over seeds and folds, or fewer where fewer ended well: none where all of
    them diverged. Settings are in the order of ``ranking.rank_settings``.
    """
    _validate_eta(eta)
    count = _divide_up(ranking.count_settings(rows), eta)
    best = ranking.rank_settings(rows, metric=metric)[:count]
    return {row["trial"] for group in best for row in group}


def _divide_up(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _validate_eta(eta: int) -> None:
    if eta < 2:
        raise ValueError(f"--halving is {eta}; expected at least 2")
