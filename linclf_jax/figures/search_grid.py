"""The settings of a search as cells of a grid or as points, for each optimizer.

Nothing here draws; ``search_map`` does.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

MOST_VALUES = 12  # of an axis that stays a grid though hardly any is met twice
FINISHED, RETIRED, DIVERGED = "ok", "retired", "diverged"


class Setting(NamedTuple):
    """What one setting came to, in each of its R repeats over seeds and folds."""

    optimizer: str
    learning_rate: float
    l2: float
    accuracy: np.ndarray  # (R,) on validation rows, NaN where unknown
    status: np.ndarray  # (R,) of words


class Panel(NamedTuple):
    """One optimizer's settings: a grid of cells (R, K), or points (P,)."""

    optimizer: str
    learning_rates: np.ndarray  # (K,) ascending, or (P,)
    l2s: np.ndarray  # (R,) ascending, or (P,)
    accuracy: np.ndarray  # (R, K) or (P,), NaN where there is none
    retired: np.ndarray  # bool: the accuracy is that of trials taken out early
    diverged: np.ndarray  # share of the trials; NaN of a cell without any


def is_scattered(settings: Sequence[Setting]) -> bool:
    """Whether settings are points rather than cells of a grid.

    They are where an axis has many values and hardly any of them is met twice: nearly
    all cells would be empty.
    """
    for _, members in _by_optimizer(settings):
        pairs = {(each.learning_rate, each.l2) for each in members}
        longest = max(len(set(values)) for values in zip(*pairs, strict=True))
        if longest > MOST_VALUES and len(pairs) < 1.5 * longest:
            return True
    return False


def _by_optimizer(settings: Sequence[Setting]) -> Iterator[tuple[str, list[Setting]]]:
    for name in dict.fromkeys(each.optimizer for each in settings):
        yield name, [each for each in settings if each.optimizer == name]


def points(settings: Sequence[Setting]) -> list[Panel]:
    """A point for each setting, in panels in the order of the optimizers.

    Where one of its repeats diverged the point did, and where one was retired the point
    was: a mean over the others would flatter it.
    """
    panels = []
    for name, members in _by_optimizer(settings):
        lost = np.array([(each.status == DIVERGED).any() for each in members])
        early = np.array([(each.status == RETIRED).any() for each in members])
        means = np.array([each.accuracy.mean() for each in members])
        rates = np.array([each.learning_rate for each in members])
        l2s = np.array([each.l2 for each in members])
        accuracy = np.where(lost, np.nan, means)
        panels.append(Panel(name, rates, l2s, accuracy, early & ~lost, lost * 1.0))
    return panels


def cells(settings: Sequence[Setting]) -> list[Panel]:
    """A grid for each optimizer, in the order in which they first appear.

    A cell has the mean over the repeats of its setting. Of settings that differ in
    something else (momentum, say) the best counts, for a user would pick it. Where no
    trial of a cell finished, those count that were taken out early.
    """
    panels = []
    for name, members in _by_optimizer(settings):
        rates = np.unique([each.learning_rate for each in members])
        l2s = np.unique([each.l2 for each in members])
        shape = l2s.size, rates.size
        finished, early = np.full(shape, np.nan), np.full(shape, np.nan)
        lost, trials = np.zeros(shape), np.zeros(shape)
        for each in members:
            cell = l2s.searchsorted(each.l2), rates.searchsorted(each.learning_rate)
            finished[cell] = np.fmax(finished[cell], _mean(each, FINISHED))
            early[cell] = np.fmax(early[cell], _mean(each, RETIRED))
            lost[cell] += (each.status == DIVERGED).sum()
            trials[cell] += len(each.status)
        retired = np.isnan(finished) & np.isfinite(early)
        share = np.divide(lost, trials, out=np.full(shape, np.nan), where=trials > 0)
        accuracy = np.where(retired, early, finished)
        panels.append(Panel(name, rates, l2s, accuracy, retired, share))
    return panels


def _mean(setting: Setting, status: str) -> float:
    """The mean accuracy of the repeats that ended so; NaN without any."""
    known = setting.accuracy[(setting.status == status) & np.isfinite(setting.accuracy)]
    return float(known.mean()) if known.size else float("nan")
