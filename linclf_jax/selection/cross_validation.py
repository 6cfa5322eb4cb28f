"""Penalties compared on rows that the fits did not see, for callers from Python.

The folds of a cross-validation are lanes over the one ``x``: the rows that a fold holds
out weigh 0 in its lane. One more lane weighs all rows alike, so that the classifier of
whichever penalty is chosen is there already. Of each penalty no more is kept than that
classifier, a few numbers a fold, and how each row fares with the fit that held it out.

Penalties are in the units of the mean loss, in every lane alike; scikit-learn's ``C``
depends on the number of rows, see ``regularization.inverse_strength``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import continuation, targets
from linclf_jax.exact import leave_one_out as loo_lib
from linclf_jax.exact.status import Info
from linclf_jax.params import Params
from linclf_jax.selection import choose as choose_lib
from linclf_jax.selection import held_out, ranking, resampling
from linclf_jax.selection.held_out import Scores
from linclf_jax.selection.resampling import Resampling, WeightedFit
from linclf_jax.selection.row_scores import Curve, FoldScores, RowScores


class CrossValidation(NamedTuple):
    """What is known of each penalty; NumPy arrays, in the order given."""

    l2: np.ndarray  # (K,) float64
    params: Params  # W (K, D, C), b (K, C), fitted to all rows
    info: Info  # (K, F + 1) each; the last lane is the fit to all rows
    train: Scores  # (K, F + 1) each, on the rows of the fit
    validation: FoldScores  # (K, F) each, on the rows that the fold held out
    loss: Curve  # of the loss on held-out rows
    accuracy: Curve
    loss_calibrated: Curve  # of the loss once one temperature divides all logits
    rows: RowScores  # loss, correct and calibrated (K, N), temperature (K,)
    held_out: np.ndarray  # (N,) boolean, rows that some fit did not see


class Choices(NamedTuple):
    """Which penalty each rule takes, as its index."""

    best: int
    one_standard_error: int  # the strongest that is no more than its error worse
    ties: tuple[int, ...]  # others whose mean is exactly the best, the next one first


def cross_validate(
    x: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    folds: int | ArrayLike,
    *,
    seed: int = 0,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
) -> CrossValidation:
    """Measures each penalty on the rows that its fits did not see, fold by fold.

    Args:
        x: Features ``(N, D)``. Rows scaled by statistics of them all take part in the
            scaling of the fits that hold them out.
        labels: ``(N,)`` integers from 0.
        l2s: ``(K,)``, at least 0, none twice, in any order.
        folds: How many, F: ``folds.assign`` gives each its share of every class. The
            only row of a class is in training in every fold, and a warning names the
            class. Or the fold of each row, ``(N,)`` integers in ``0..F-1``, and
            ``folds.NOT_HELD_OUT`` for a row that is never held out.
        seed: Of the assignment.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps of a lane at one penalty.

    Returns:
        Scores, and the fits to all rows. A curve is the mean over folds with its
        standard error, ``sd / sqrt(F)`` with the sample standard deviation.

    Raises:
        ValueError: An argument is out of range; nothing has been compiled.
    """
    labels = hard_labels(labels)
    by_folds = resampling.of_folds(resampling.fold_of_rows(labels, folds, seed=seed))
    fits = resampling.compared_fits([by_folds])
    points = continuation.follow(
        x,
        labels,
        l2s,
        weights=_weights([*fits, resampling.final_fit(0, by_folds)]),
        num_classes=num_classes,
        tol=tol,
        max_newton=max_newton,
    )
    fits.append(resampling.final_fit(0, by_folds))
    return _measured(points, x, labels, l2s, by_folds, fits)


def leave_one_out(
    x: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
) -> CrossValidation:
    """Estimates how each penalty does on a row that its fit did not see.

    A cross-validation with a fold for every row, for the price of a single fit at each
    penalty: see ``leave_one_out.approximate``. For few rows, which cannot spare any.
    The only row of a class is not left out, and a warning names the class.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers from 0.
        l2s: ``(K,)``, none twice, in any order. There is no estimate at 0: it is NaN.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps at one penalty.

    Returns:
        A cross-validation of no folds, F = 0: the curves are the estimates, with
        standard errors over rows.

    Raises:
        ValueError: An argument is out of range, or the estimate takes too much memory;
            no penalty has been solved.
    """
    labels = hard_labels(labels)
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    points = continuation.follow(
        x, labels, l2s, num_classes=num_classes, tol=tol, max_newton=max_newton
    )
    num_rows, num_features = np.shape(x)
    loo_lib.require_memory(num_rows, num_features, count)
    by_row = resampling.of_leave_one_out(labels)
    if not by_row.rows.any():
        raise ValueError(
            f"labels has {len(labels)} classes of one row each, none of which can be "
            "left out; expected two rows of some class"
        )
    resampling.warn_of_classes(labels, by_row.rows)
    found = _measured(
        points, x, labels, l2s, by_row, resampling.compared_fits([by_row])
    )
    nothing = np.empty((len(found.l2), 0))
    return found._replace(validation=FoldScores(nothing, nothing, nothing))


def choose(results: CrossValidation, metric: str = "val_loss") -> Choices:
    """Returns the best penalty and that of the one-standard-error rule.

    As a study does: see ``choose.select``. A penalty of which a fit is not usable
    cannot be chosen.

    Args:
        results: The measurements.
        metric: ``val_loss``, ``val_accuracy``, or ``val_loss_calibrated``: the loss at
            the best temperature of all held-out rows, to which it makes no difference
            that a strong penalty makes all logits small.

    Raises:
        ValueError: ``metric`` is another word, or no penalty has a finite score and
            fits that are all usable.
    """
    ranking.validate_metric(metric, name="metric")
    rows, lanes = _rows(results), results.info.status.shape[1]
    curve = getattr(results, metric.removeprefix("val_"))
    errors = {k * lanes: float(e) for k, e in enumerate(curve.standard_error)}
    selection = choose_lib.select(
        rows, metric=metric, errors={metric: errors}, edges=False
    )
    best = selection.rules[choose_lib.BEST]
    strongest = selection.rules.get(choose_lib.ONE_STANDARD_ERROR, best)
    ties = tuple(trial // lanes for trial in selection.ties)
    return Choices(best // lanes, strongest // lanes, ties)


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


def _weights(fits: Sequence[WeightedFit]) -> np.ndarray:
    return np.stack([fit.train for fit in fits]).astype(np.float64)


def _measured(
    points: Any,
    x: ArrayLike,
    labels: np.ndarray,
    l2s: ArrayLike,
    compared: Resampling,
    fits: Sequence[WeightedFit],
) -> CrossValidation:
    """Measures every point, and forgets all but the last fit and the scores."""
    measured = []
    for point in points:
        train, (scores,) = held_out.measure(point, x, labels, [compared], fits)
        params = jax.tree.map(lambda array: np.asarray(array[-1]), point.params)
        measured.append((params, point.info, train, scores))
    # Solved from the largest penalty on; returned in the order of ``l2s``.
    index = np.argsort(np.argsort(-np.asarray(l2s, np.float64)))
    params, info, train, scores = jax.tree.map(
        lambda *leaves: np.stack(leaves)[index], *measured
    )
    return CrossValidation(
        np.asarray(l2s, np.float64),
        params,
        info,
        train,
        scores.folds,
        scores.loss,
        scores.accuracy,
        scores.loss_calibrated,
        scores.rows,
        compared.compared,
    )


def _rows(results: CrossValidation) -> list[dict[str, Any]]:
    """Returns the fits as rows of results, as a selection takes them."""
    count, lanes = results.info.status.shape
    is_loo = results.validation.loss.shape[1] == 0
    curves = {name: getattr(results, name).mean for name in FoldScores._fields}
    return [
        {
            "trial": k * lanes + lane,
            "l2": float(results.l2[k]),
            "fold": None if lane == lanes - 1 else lane,
            "stage": ranking.FINAL if lane == lanes - 1 and not is_loo else None,
            "status": str(results.info.status[k, lane]),
            "relative_gap": float(results.info.relative_gap[k, lane]),
            **{
                f"val_{name}": float(curves[name][k])
                if is_loo
                else float(getattr(results.validation, name)[k, lane])
                if lane < lanes - 1
                else None
                for name in FoldScores._fields
            },
        }
        for k in range(count)
        for lane in range(lanes)
    ]
