"""How each row fares with a fit that has not seen it, and means of that."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import calibration, losses
from linclf_jax.params import Params


class FoldScores(NamedTuple):
    """How fits do on the rows that they held out; float64 NumPy arrays of one shape."""

    loss: np.ndarray  # mean, without the penalty
    accuracy: np.ndarray  # share of right predictions
    loss_calibrated: np.ndarray  # mean, of all logits divided by one temperature


class RowScores(NamedTuple):
    """How each row fares with a fit that has not seen it; NumPy arrays."""

    loss: np.ndarray  # (N,) float64, NaN where every fit has seen it
    correct: np.ndarray  # (N,) boolean
    # (), what the logits of all rows are to be divided by for calibrated probabilities;
    # NaN where a class was absent from a fit, so that its rows have a probability of 0.
    temperature: np.ndarray
    calibrated: np.ndarray  # (N,) float64, the loss of the logits so divided


class Curve(NamedTuple):
    """A score on held-out rows; float64, one of each or for K penalties ``(K,)``."""

    mean: np.ndarray
    standard_error: np.ndarray  # of that mean, NaN where it is not known


def out_of_fold(
    params: Params, x: ArrayLike, labels: np.ndarray, held_out: np.ndarray
) -> RowScores:
    """Returns how each row fares with the fit that holds it out, in float64.

    Args:
        params: ``W (F, D, C)`` and ``b (F, C)``.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        held_out: ``(F, N)`` boolean, each row True once, or nowhere: then its loss is
            NaN, and it is not correct.
    """
    features, weights = np.asarray(x), np.asarray(params.W, np.float64)
    bias = np.asarray(params.b, np.float64)
    logits = np.full((len(labels), bias.shape[1]), np.nan)
    for fold, rows in enumerate(held_out):
        logits[rows] = features[rows].astype(np.float64) @ weights[fold] + bias[fold]
    loss = _row_losses(logits, labels)
    correct = (np.argmax(logits, axis=1) == labels) & ~np.isnan(loss)
    rows = np.asarray(held_out.any(axis=0))
    return RowScores(loss, correct, *calibrated(logits, labels, loss, rows))


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


def fold_means(rows: RowScores, held_out: np.ndarray) -> FoldScores:
    """Returns the mean scores of each fold on the rows that it holds out, ``(F,)``."""
    return FoldScores(
        *(
            np.array([np.mean(values[own]) for own in held_out])
            for values in (rows.loss, rows.correct, rows.calibrated)
        )
    )


def curve(values: np.ndarray) -> Curve:
    """Returns the mean of values ``(F,)``, and its standard error ``sd / sqrt(F)``.

    The standard deviation is that of a sample, which a single value does not have.
    """
    mean = np.asarray(np.mean(values))
    if len(values) == 1:
        return Curve(mean, np.asarray(np.nan))
    with np.errstate(invalid="ignore"):  # a loss may be infinite
        spread = np.std(values, ddof=1, dtype=np.float64)
    return Curve(mean, np.asarray(spread / np.sqrt(len(values))))
