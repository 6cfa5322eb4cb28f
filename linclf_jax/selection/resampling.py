"""How rows are held out: which fits are compared, on which rows.

A ``Resampling`` is what one selection compares settings on: all rows, or the rows of
one draw of few shots. Its fits at a setting differ in their weights alone: the rows
that a fit holds out weigh 0. So the fits of all resamplings of a feature set are solved
together.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from linclf_jax import validation
from linclf_jax.selection import folds as folds_lib

FOLDS, SPLIT, LEAVE_ONE_OUT = NAMES = ("folds", "split", "leave_one_out")
# Of a Hessian of the leave-one-out estimate: a fifth of a second a fit on two cores.
MOST_UNKNOWNS = 2000
SHOT_FOLDS = 5  # at most, of a draw of shots that is too large for the estimate


class Resampling(NamedTuple):
    """What one selection may use, and what each of its fits holds out."""

    shots: int | None
    seed: int | None  # of the draw of shots
    kind: str | None  # a name in ``NAMES``; None where no row can be spared
    rows: np.ndarray  # (N,) boolean, all that it may use
    # (F, N) boolean, held out by each fit; no rows of the one of leave-one-out.
    held_out: np.ndarray

    @property
    def compared(self) -> np.ndarray:
        """The rows that settings are compared on, ``(N,)`` boolean."""
        if self.kind == LEAVE_ONE_OUT:
            return self.rows
        return np.asarray(self.held_out.any(axis=0))


class WeightedFit(NamedTuple):
    """One fit at each setting."""

    group: int  # index of its resampling
    fold: int | None  # that it holds out
    train: np.ndarray  # (N,) boolean, rows of weight 1
    is_final: bool = False  # its classifier is to be tested, and nothing compared


def of_folds(fold: np.ndarray) -> Resampling:
    """Returns a comparison by the folds of all rows, or by one split.

    Args:
        fold: ``(N,)``, which fold holds a row out, or ``folds.NOT_HELD_OUT``; a single
            fold is a validation split.
    """
    held_out = fold == np.arange(fold.max() + 1)[:, None]
    kind = SPLIT if len(held_out) == 1 else FOLDS
    return Resampling(None, None, kind, np.ones(len(fold), bool), held_out)


def of_leave_one_out(labels: np.ndarray) -> Resampling:
    """Returns a comparison by the rows without which a fit still knows their class."""
    return Resampling(
        None,
        None,
        LEAVE_ONE_OUT,
        ~folds_lib.alone(labels),
        np.zeros((1, len(labels)), bool),
    )


def of_draw(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    shots: int,
    seed: int,
    num_features: int,
    num_classes: int,
) -> Resampling:
    """Returns how a penalty is chosen from the rows of one draw alone.

    Args:
        rows: ``(N,)`` boolean, the draw.
        shots: Rows of each class.
        seed: Of the draw, and of its folds.
    """
    nothing = np.zeros((1, len(rows)), bool)
    if shots == 1:
        return Resampling(shots, seed, None, rows, nothing)
    rank = min(int(rows.sum()) - 1, num_features)
    if (rank + 1) * (num_classes - 1) <= MOST_UNKNOWNS:
        return Resampling(shots, seed, LEAVE_ONE_OUT, rows, nothing)
    count = min(shots, SHOT_FOLDS)
    held_out = np.repeat(nothing, count, axis=0)
    fold = folds_lib.assign(labels[rows], count, seed=seed)
    held_out[:, rows] = fold == np.arange(count)[:, None]
    return Resampling(shots, seed, FOLDS, rows, held_out)


def compared_fits(resamplings: Sequence[Resampling]) -> list[WeightedFit]:
    """Returns the fits that are compared, those of a resampling side by side."""
    return [
        WeightedFit(
            group,
            fold if resampling.kind == FOLDS else None,
            train_rows(resampling) & ~held_out,
        )
        for group, resampling in enumerate(resamplings)
        for fold, held_out in enumerate(resampling.held_out)
    ]


def final_fit(group: int, resampling: Resampling) -> WeightedFit:
    """Returns the fit to all rows of a resampling, whose index is ``group``."""
    return WeightedFit(group, None, train_rows(resampling), is_final=True)


def train_rows(resampling: Resampling) -> np.ndarray:
    """Returns the rows that fits of a resampling may see, ``(N,)`` boolean.

    Of shots, the rows of the draw; else all, those too that leave-one-out cannot spare.
    """
    if resampling.shots is None:
        return np.ones_like(resampling.rows)
    return resampling.rows


def fold_of_rows(
    labels: np.ndarray, folds: int | ArrayLike, *, seed: int
) -> np.ndarray:
    """Returns which fold holds each row out, ``(N,)``.

    Args:
        folds: How many, F, or the fold of each row, ``(N,)`` integers in ``0..F-1``,
            and ``folds.NOT_HELD_OUT`` for rows that every fit sees.
        seed: Of the assignment, where the folds are a number.

    Raises:
        ValueError: The folds do not fit the labels, or are fewer than two, or one of
            them is empty.
    """
    if isinstance(folds, int | np.integer):
        folds = folds_lib.assign(labels, int(folds), seed=seed, name="folds")
        warn_of_classes(labels, folds != folds_lib.NOT_HELD_OUT)
    folds = np.asarray(folds)
    if folds.shape != labels.shape:
        raise ValueError(
            f"folds has shape {folds.shape}; expected {labels.shape}, the fold of each "
            "row, or their number"
        )
    count = int(np.max(folds, initial=-1)) + 1
    is_held_out = folds != folds_lib.NOT_HELD_OUT
    validation.validate_labels(
        np.where(is_held_out, folds, 0), max(count, 1), name="folds"
    )
    held_out = folds == np.arange(count)[:, None]
    empty = np.flatnonzero(~held_out.any(axis=1))
    if count < 2 or empty.size:
        which = f", and no row in fold {empty[0]}" if empty.size else ""
        raise ValueError(
            f"folds goes up to {count - 1}{which}; expected at least two folds, each "
            "with a row"
        )
    return folds


def warn_of_classes(labels: np.ndarray, rows: np.ndarray) -> None:
    """Warns whoever called the caller of classes that held-out rows do not contain."""
    sentence = folds_lib.warning(labels, rows)
    if sentence is not None:
        warnings.warn(sentence, stacklevel=4)
