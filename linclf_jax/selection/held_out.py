"""How well fits do on rows that they did not see."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import leave_one_out, status
from linclf_jax.exact.path import Point
from linclf_jax.params import Params
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection import row_scores
from linclf_jax.selection.resampling import Resampling, WeightedFit
from linclf_jax.selection.row_scores import Curve, FoldScores, RowScores
from linclf_jax.training import evaluation, stack
from linclf_jax.training.settings import Static


class Scores(NamedTuple):
    """How fits do on some rows; float64 NumPy arrays of one shape."""

    loss: np.ndarray  # mean, without the penalty
    accuracy: np.ndarray  # share of right predictions


class GroupScores(NamedTuple):
    """How the fits of one resampling at one penalty do on rows they did not see.

    NaN where nothing is compared, or no estimate exists.
    """

    folds: FoldScores  # (F,) each
    loss: Curve  # () each
    accuracy: Curve
    loss_calibrated: Curve
    rows: RowScores  # of all N rows


class HeldOut(NamedTuple):
    """How S settings do on each of M rows that their fits did not see.

    Means over seeds; of folds, each row is scored by the fit that holds it out.
    """

    trials: tuple[int, ...]  # the first of each setting
    loss: np.ndarray  # (S, M) float32
    correct: np.ndarray  # (S, M) float32
    calibrated: np.ndarray | None  # (S, M), the loss at the best temperature of each

    @property
    def by_metric(self) -> dict[str, np.ndarray | None]:
        """The scores by the metrics of ``ranking.METRICS``, which are means of them."""
        return {
            "val_loss": self.loss,
            "val_accuracy": self.correct,
            "val_loss_calibrated": self.calibrated,
        }


class Measured(NamedTuple):
    """How the fits of one penalty do."""

    train: Scores  # (L,) each, on the rows of the fit
    groups: tuple[GroupScores, ...]  # of each resampling


def measure(
    point: Point,
    x: ArrayLike,
    labels: np.ndarray,
    resamplings: Sequence[Resampling],
    fits: Sequence[WeightedFit],
) -> Measured:
    """Returns how the fits of one penalty do, on the rows of each and on the others.

    Args:
        point: The solutions of all fits.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        resamplings: Of these rows.
        fits: L fits; those of a resampling that are compared stand side by side.
    """
    groups = []
    for group, resampling in enumerate(resamplings):
        index = [
            i for i, fit in enumerate(fits) if fit.group == group and not fit.is_final
        ]
        params = jax.tree.map(lambda array, i=index: array[np.array(i)], point.params)
        groups.append(score(params, x, labels, resampling, point.l2))
    train_rows = np.stack([fit.train for fit in fits])
    # Of fits that are not certified the objective is no more than float32 either.
    is_near = bool(np.any(point.info.status == status.NOT_CERTIFIED))
    train = train_scores(
        point.params,
        point.info.objective,
        point.l2,
        x,
        labels,
        train_rows,
        is_wide=not is_near or np.asarray(x).dtype != np.float32,
    )
    return Measured(train, tuple(groups))


def train_scores(
    params: Params,
    objective: np.ndarray,
    l2: np.ndarray | float,
    x: ArrayLike,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    is_wide: bool = True,
) -> Scores:
    """Returns the scores of L fits on the rows that each was fitted to, ``(L,)``.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``.
        objective: ``(L,)``, where the fits ended.
        l2: The penalty of all, or ``(L,)``.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        rows: ``(L, N)`` boolean, at least one row for each fit.
        is_wide: Whether predictions are computed in float64, not float32.
    """
    squares = np.sum(np.square(np.asarray(params.W, np.float64)), axis=(1, 2))
    dtype = np.float64 if is_wide else np.float32
    with jax.enable_x64(True):
        own = Params(*(jnp.asarray(array, dtype) for array in params))
        _, accuracy = _evaluate(
            stack.lanes_last(own),
            jnp.asarray(x),
            jnp.asarray(labels, jnp.int32),
            jnp.asarray(rows.T, dtype),
            Static(num_classes=own.b.shape[1]),
        )
    # The objective that the fit ended at, of which the penalty is taken away, and not a
    # loss measured again: the two are rounded differently.
    count = rows.sum(axis=1)
    right = np.rint(np.asarray(accuracy, np.float64) * count)
    return Scores(objective - 0.5 * l2 * squares, right / count)


_evaluate = jax.jit(evaluation.evaluate, static_argnames="static")


def score(
    params: Params, x: ArrayLike, labels: np.ndarray, resampling: Resampling, l2: float
) -> GroupScores:
    """Returns how the fits of one resampling do on rows that they did not see.

    Args:
        params: ``W (F, D, C)`` and ``b (F, C)``, one fit for each of the resampling.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers in ``0..C-1``.
        resampling: Of these rows.
        l2: The penalty.
    """
    if resampling.kind == resampling_lib.LEAVE_ONE_OUT and l2 > 0:
        return _left_out(params, x, labels, resampling, l2)
    if not resampling.held_out.any():
        return _unknown(resampling)
    rows = row_scores.out_of_fold(params, x, labels, resampling.held_out)
    folds = row_scores.fold_means(rows, resampling.held_out)
    samples = folds
    if resampling.kind == resampling_lib.SPLIT:
        # Of a single fit the rows alone say how sure a mean is; folds differ by their
        # fits too.
        compared = resampling.compared
        values = (rows.loss, rows.correct, rows.calibrated)
        samples = FoldScores(*(value[compared] for value in values))
    loss, accuracy, calibrated = map(row_scores.curve, samples)
    return GroupScores(folds, loss, accuracy, calibrated, rows)


def _unknown(resampling: Resampling) -> GroupScores:
    """Returns the scores of a resampling that holds out nothing."""
    count, num_rows = resampling.held_out.shape
    nan, of_folds, of_rows = (np.full(s, np.nan) for s in ((), count, num_rows))
    rows = RowScores(of_rows, np.zeros(num_rows, bool), nan, of_rows)
    unknown = Curve(nan, nan)
    folds = FoldScores(of_folds, of_folds, of_folds)
    return GroupScores(folds, unknown, unknown, unknown, rows)


def _left_out(
    params: Params, x: ArrayLike, labels: np.ndarray, resampling: Resampling, l2: float
) -> GroupScores:
    own = resampling_lib.train_rows(resampling)
    counted = resampling.rows[own]
    estimate = leave_one_out.approximate(
        params, np.asarray(x)[own], labels[own], np.array([l2]), counted=counted
    )
    loss = np.where(counted, estimate.losses[0], np.nan)
    temperature, calibrated = row_scores.calibrated(
        estimate.logits[0], labels[own], loss, counted
    )
    share = estimate.accuracy[0]
    # A sum of shares may be above 1 by rounding.
    variance = np.maximum(share * (1.0 - share), 0.0)
    with np.errstate(invalid="ignore"):  # of a single row the error is not known
        error = np.sqrt(variance) / np.sqrt(counted.sum() - 1)
    curves = (
        Curve(estimate.loss[0], estimate.standard_error[0]),
        Curve(share, error),
        row_scores.curve(calibrated[counted]),
    )
    rows = RowScores(
        _spread_out(loss, own, np.nan),
        _spread_out(estimate.right[0], own, False),
        temperature,
        _spread_out(calibrated, own, np.nan),
    )
    folds = FoldScores(*(np.atleast_1d(curve.mean) for curve in curves))
    return GroupScores(folds, *curves, rows)


def _spread_out(values: np.ndarray, rows: np.ndarray, other: float) -> np.ndarray:
    """Returns values at their rows, and another value at all others."""
    whole = np.full(len(rows), other, values.dtype)
    whole[rows] = values
    return whole
