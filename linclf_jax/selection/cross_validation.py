"""Regularisation paths, and the choice of a penalty on rows that the fits did not see.

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

from linclf_jax.exact import continuation, status
from linclf_jax.exact import leave_one_out as loo_lib
from linclf_jax.exact.status import Info
from linclf_jax.params import Params
from linclf_jax.selection import held_out, path_choice, ranking
from linclf_jax.selection.held_out import Curve, FoldScores, RowScores, Scores
from linclf_jax.selection.path_choice import Choices

WORST_GAP = 1e-3  # relative, of a fit that stalled and may still be chosen


class Path(NamedTuple):
    """Solutions along a path; NumPy arrays, in the order of the penalties given."""

    l2: np.ndarray  # (K,) float64
    params: Params  # W (K, L, D, C), b (K, L, C)
    info: Info  # (K, L) each


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
    rows: RowScores  # loss, right and calibrated (K, N), temperature (K,)
    held_out: np.ndarray  # (N,) boolean, rows that some fit did not see


def path(
    x: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    num_classes: int | None = None,
    tol: float = 1e-6,
    max_newton: int = 100,
) -> Path:
    """Solves all lanes at all penalties; see ``continuation.follow``.

    Args:
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers from 0, or soft targets ``(N, C)``.
        l2s: ``(K,)``, at least 0, none twice, in any order.
        weights: ``(L, N)`` for L lanes; ``(N,)`` or None for one.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps of a lane at one penalty.

    Returns:
        The solutions; of each of K L fits the gap says how far it may be off.

    Raises:
        ValueError: As ``continuation.follow``; nothing has been compiled.

    >>> x, labels = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> found = path(x, labels, [0.01, 1.0])
    >>> found.params.W.shape, found.info.status.ravel().tolist()
    ((2, 1, 1, 2), ['converged', 'converged'])
    """
    points = continuation.follow(
        x,
        labels,
        l2s,
        weights=weights,
        num_classes=num_classes,
        tol=tol,
        max_newton=max_newton,
    )
    solved = [(jax.tree.map(np.asarray, p.params), p.info) for p in points]
    return Path(np.asarray(l2s, np.float64), *_in_order(l2s, solved))


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
        folds: How many, F: ``folds.deal`` deals each class evenly. The only row of a
            class is in training in every fold, and a warning names the class. Or the
            fold of each row, ``(N,)`` integers in ``0..F-1``, and
            ``folds.NOT_HELD_OUT`` for a row that is never held out.
        seed: Of the dealing.
        num_classes: C; the largest label plus one if None.
        tol: Relative gap of every solution.
        max_newton: Steps of a lane at one penalty.

    Returns:
        Scores, and the fits to all rows. A curve is the mean over folds with its
        standard error, ``sd / sqrt(F)`` with the sample standard deviation.

    Raises:
        ValueError: An argument is out of range; nothing has been compiled.
    """
    labels = held_out.hard_labels(labels)
    unseen = held_out.masks(labels, folds, seed=seed)
    spared = np.asarray(unseen.any(axis=0))
    seen = np.concatenate([~unseen, np.ones((1, len(labels)), bool)])
    points = continuation.follow(
        x,
        labels,
        l2s,
        weights=seen.astype(np.float64),
        num_classes=num_classes,
        tol=tol,
        max_newton=max_newton,
    )
    measured = [
        (
            jax.tree.map(lambda array: np.asarray(array[-1]), point.params),
            point.info,
            held_out.train_scores(point, x, labels, seen),
            held_out.out_of_fold(
                jax.tree.map(lambda array: array[:-1], point.params), x, labels, unseen
            ),
        )
        for point in points
    ]
    measured = [(*found, held_out.fold_means(found[-1], unseen)) for found in measured]
    params, info, train, rows, scores = _in_order(l2s, measured)
    return CrossValidation(
        np.asarray(l2s, np.float64),
        params,
        info,
        train,
        scores,
        held_out.curve(scores.loss),
        held_out.curve(scores.accuracy),
        held_out.curve(scores.loss_calibrated),
        rows,
        spared,
    )


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
    labels = held_out.hard_labels(labels)
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    points = continuation.follow(
        x, labels, l2s, num_classes=num_classes, tol=tol, max_newton=max_newton
    )
    num_rows, num_features = np.shape(x)
    loo_lib.require_memory(num_rows, num_features, count)
    seen = np.ones((1, len(labels)), bool)
    left_out = held_out.spared(labels)
    measured = []
    for point in points:
        estimate = loo_lib.approximate(
            point.params, x, labels, np.array([point.l2]), counted=left_out
        )
        params = jax.tree.map(lambda array: np.asarray(array[0]), point.params)
        train = held_out.train_scores(point, x, labels, seen)
        loss = np.where(left_out, estimate.losses[0], np.nan)
        scaled = held_out.calibrated(estimate.logits[0], labels, loss, left_out)
        rows = RowScores(loss, estimate.right[0], *scaled)
        measured.append((params, point.info, train, estimate, rows))
    params, info, train, estimate, rows = _in_order(l2s, measured)
    share = estimate.accuracy[:, 0]
    deviation = np.sqrt(share * (1.0 - share))
    return CrossValidation(
        np.asarray(l2s, np.float64),
        params,
        info,
        train,
        FoldScores(*(np.empty((len(share), 0)) for _ in FoldScores._fields)),
        Curve(estimate.loss[:, 0], estimate.standard_error[:, 0]),
        Curve(share, deviation / np.sqrt(max(left_out.sum() - 1, 1))),
        held_out.curve(rows.calibrated[:, left_out]),
        rows,
        left_out,
    )


def choose(found: CrossValidation, by: str = "val_loss") -> Choices:
    """Returns the best penalty and that of the one-standard-error rule.

    Ties are broken as ``ranking.ranking`` says. A penalty of which a fit has not ended
    well cannot be chosen.

    Args:
        found: The measurements.
        by: ``val_loss``, ``val_accuracy``, or ``val_loss_calibrated``: the loss at the
            best temperature of all held-out rows, to which it makes no difference that
            a strong penalty makes all logits small.

    Raises:
        ValueError: ``by`` is another word, or no penalty has a finite score and fits
            that all ended well.
    """
    curve = criterion(found, by)
    choices = path_choice.choose(
        *curve,
        by=by,
        losses=found.loss.mean,
        l2s=found.l2,
        eligible=np.all(ended_well(found.info), axis=1),
    )
    if choices is None:
        statuses = sorted(set(found.info.status.ravel().tolist()))
        raise ValueError(
            f"found {np.isfinite(curve.mean).sum()} of {len(curve.mean)} penalties "
            f"with a finite held-out {path_choice.NAMES[by]}, and fits that are "
            f"{', '.join(statuses)}; expected a penalty with one of which all fits "
            "end well: try larger ones, or allow more steps"
        )
    return choices


def criterion(found: CrossValidation, by: str) -> Curve:
    """Returns the scores that a choice goes by.

    Args:
        found: The measurements.
        by: As for ``choose``; a ValueError if it is another word.
    """
    ranking.validate_criterion(by, name="by")
    return getattr(found, by.removeprefix("val_"))


def ended_well(info: Info) -> np.ndarray:
    """Returns which fits are as exact as was asked for, or nearly and stalled.

    Args:
        info: Of any fits.
    """
    stalled = (info.status == status.STALLED) & (info.relative_gap <= WORST_GAP)
    return np.isin(info.status, (status.CONVERGED, status.WITHOUT_BOUND)) | stalled


def _in_order(l2s: ArrayLike, found: Sequence[Any]) -> Any:
    """Stacks what was found from the largest penalty on, in the order of ``l2s``."""
    places = np.argsort(np.argsort(-np.asarray(l2s, np.float64)))
    return jax.tree.map(lambda *leaves: np.stack(leaves)[places], *found)
