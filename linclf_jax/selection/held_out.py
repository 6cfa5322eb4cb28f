"""Rows that a fit did not see: which they are, and how well it does on them."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import calibration, losses, validation
from linclf_jax.exact import targets
from linclf_jax.exact.continuation import Point
from linclf_jax.params import Params
from linclf_jax.selection import folds as folds_lib
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static


class Scores(NamedTuple):
    """How fits do on some rows; float64 NumPy arrays of one shape."""

    loss: np.ndarray  # mean, without the penalty
    accuracy: np.ndarray  # share of right predictions


class FoldScores(NamedTuple):
    """How fits do on the rows that they held out; float64 NumPy arrays of one shape."""

    loss: np.ndarray  # mean, without the penalty
    accuracy: np.ndarray  # share of right predictions
    loss_calibrated: np.ndarray  # mean, of all logits divided by one temperature


class RowScores(NamedTuple):
    """How each row fares with a fit that has not seen it; NumPy arrays."""

    loss: np.ndarray  # (N,) float64, NaN where every fit has seen it
    right: np.ndarray  # (N,) boolean
    # (), what the logits of all rows are to be divided by for calibrated probabilities;
    # NaN where a class was absent from a fit, so that its rows have a probability of 0.
    temperature: np.ndarray
    calibrated: np.ndarray  # (N,) float64, the loss of the logits so divided


class HeldOut(NamedTuple):
    """How S settings do on each of M rows that their fits did not see.

    Means over seeds; of folds, each row is scored by the fit that holds it out.
    """

    trials: tuple[int, ...]  # the first of each setting
    loss: np.ndarray  # (S, M) float32
    correct: np.ndarray  # (S, M) float32
    calibrated: np.ndarray | None  # (S, M), the loss at the best temperature of each


class Curve(NamedTuple):
    """A score on rows that were held out, for each penalty; float64 NumPy arrays."""

    mean: np.ndarray  # (K,)
    standard_error: np.ndarray  # (K,), of that mean


def hard_labels(labels: ArrayLike) -> np.ndarray:
    """Returns labels that are one class a row: soft targets cannot be right or wrong.

    Args:
        labels: ``(N,)``.

    Raises:
        ValueError: They have another shape.
    """
    array = np.asarray(labels)
    targets.require_numbers(array)
    if array.ndim == 2 and array.shape[1] == 1:
        raise ValueError(
            f"labels has shape {array.shape}; expected ({len(array)},), the class of "
            "each row: pass labels.ravel()"
        )
    if array.ndim != 1:
        raise ValueError(
            f"labels has shape {array.shape}; expected (N,), the class of each row: of "
            "soft targets labels.argmax(axis=1)"
        )
    return array


def masks(labels: np.ndarray, folds: int | ArrayLike, *, seed: int) -> np.ndarray:
    """Returns which rows each fold holds out, boolean ``(F, N)``.

    Args:
        labels: ``(N,)`` integers from 0.
        folds: How many, F, or the fold of each row, ``(N,)`` integers in ``0..F-1``,
            and ``folds.NOT_HELD_OUT`` for rows that every fit sees.
        seed: Of the dealing, where the folds are a number.

    Raises:
        ValueError: The folds do not fit the labels, or are fewer than two, or one of
            them is empty.
    """
    if isinstance(folds, int | np.integer):
        folds = folds_lib.assign(labels, int(folds), seed=seed, name="folds")
        _warn(labels, folds != folds_lib.NOT_HELD_OUT)
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
    return held_out


def spared(labels: np.ndarray) -> np.ndarray:
    """Returns the rows without which a fit still knows their class, ``(N,)`` boolean.

    A warning names the classes of the others.

    Args:
        labels: ``(N,)`` integers from 0.

    Raises:
        ValueError: There are none.
    """
    rows = ~folds_lib.alone(labels)
    if not rows.any():
        raise ValueError(
            f"labels has {len(labels)} classes of one row each, none of which can be "
            "left out; expected two rows of some class"
        )
    _warn(labels, rows)
    return rows


def _warn(labels: np.ndarray, rows: np.ndarray) -> None:
    """Warns whoever called the caller of classes that held-out rows do not contain."""
    sentence = folds_lib.warning(labels, rows)
    if sentence is not None:
        warnings.warn(sentence, stacklevel=4)


def train_scores(
    point: Point, x: ArrayLike, labels: np.ndarray, seen: np.ndarray
) -> Scores:
    """Returns each lane's scores on the rows that it was fitted to.

    Args:
        point: The fits.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        seen: ``(L, N)`` boolean, the rows of each fit.

    Returns:
        NumPy arrays ``(L,)``, float64.
    """
    squares = np.sum(np.square(np.asarray(point.params.W, np.float64)), axis=(1, 2))
    # The objective that the fit ended at, of which the penalty is taken away, and not a
    # loss measured again: the two are rounded differently.
    loss = point.info.objective - 0.5 * point.l2 * squares
    return Scores(loss, scores(point.params, x, labels, seen).accuracy)


def scores(
    params: Params, x: ArrayLike, labels: np.ndarray, rows: np.ndarray
) -> Scores:
    """Returns each lane's mean loss and accuracy on rows of its own.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        rows: ``(L, N)`` boolean, at least one row for each lane.

    Returns:
        NumPy arrays ``(L,)``, computed in float64.
    """
    with jax.enable_x64(True):
        wide = Params(*(jnp.asarray(array, jnp.float64) for array in params))
        found = _evaluate(
            stack.lanes_last(wide),
            jnp.asarray(x),
            jnp.asarray(labels, jnp.int32),
            jnp.asarray(rows.T, jnp.float64),
            Static(num_classes=wide.b.shape[1]),
        )
    return Scores(*map(np.asarray, found))


_evaluate = jax.jit(evaluation.evaluate, static_argnames="static")


def out_of_fold(
    params: Params, x: ArrayLike, labels: np.ndarray, unseen: np.ndarray
) -> RowScores:
    """Returns how each row fares with the fit that holds it out, in float64.

    Args:
        params: ``W (F, D, C)`` and ``b (F, C)``.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        unseen: ``(F, N)`` boolean, each row True once, or nowhere: then its loss is
            NaN, and it is not right.
    """
    features, weights = np.asarray(x), np.asarray(params.W, np.float64)
    bias = np.asarray(params.b, np.float64)
    logits = np.full((len(labels), bias.shape[1]), np.nan)
    for fold, rows in enumerate(unseen):
        logits[rows] = features[rows].astype(np.float64) @ weights[fold] + bias[fold]
    loss = _row_losses(logits, labels)
    right = (np.argmax(logits, axis=1) == labels) & ~np.isnan(loss)
    held = np.asarray(unseen.any(axis=0))
    return RowScores(loss, right, *calibrated(logits, labels, loss, held))


def calibrated(
    logits: np.ndarray, labels: np.ndarray, loss: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the temperature of out-of-sample logits, and the losses at it.

    One temperature serves all rows, whichever fit held them out, as it serves the
    classifier of all rows that is made of them.

    Args:
        logits: ``(N, C)`` float64, of fits that have not seen the row.
        labels: ``(N,)`` integers in ``0..C-1``.
        loss: ``(N,)``, of the logits as they are.
        rows: ``(N,)`` boolean, those that some fit did not see.

    Returns:
        () and ``(N,)``, float64. Where a loss of the rows is not finite no temperature
        mends it: NaN, and the losses as they are.
    """
    scaled = np.array(loss, np.float64)
    if not np.isfinite(loss[rows]).all():
        return np.asarray(np.nan), scaled
    scale = calibration.fit_temperature(logits[rows], labels[rows])
    scaled[rows] = _row_losses(logits[rows] / scale, labels[rows])
    return np.asarray(scale), scaled


def _row_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(_losses(jnp.asarray(logits), jnp.asarray(labels, jnp.int32)))


_losses = jax.jit(losses.softmax_cross_entropy)


def fold_means(rows: RowScores, unseen: np.ndarray) -> FoldScores:
    """Returns the mean scores of each fold on the rows that it holds out, ``(F,)``.

    Args:
        rows: From ``out_of_fold``.
        unseen: ``(F, N)`` boolean, at least one row for each fold.
    """
    return FoldScores(
        *(
            np.array([np.mean(values[held]) for held in unseen])
            for values in (rows.loss, rows.right, rows.calibrated)
        )
    )


def curve(values: np.ndarray) -> Curve:
    """Returns the mean over folds, and ``sd / sqrt(F)``, its standard error.

    Args:
        values: ``(K, F)``; the standard deviation is that of a sample.
    """
    with np.errstate(invalid="ignore"):  # a loss may be infinite
        spread = np.std(values, axis=1, ddof=1)
    return Curve(np.mean(values, axis=1), spread / np.sqrt(values.shape[1]))
