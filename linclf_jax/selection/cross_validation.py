"""Penalties compared on rows that the fits did not see, for callers from Python.

The fits of all folds are solved together over the one ``x``: the rows that a fold holds
out weigh 0 in its fit. One more fit weighs all rows alike, so that the classifier of
whichever penalty is chosen is there already. Of each penalty no more is returned than
that classifier, a few numbers a fold, and how each row fares with the fit that held it
out; until it is known which are to be certified, all fits are kept.

Penalties are in the units of the mean loss, in every fit alike; scikit-learn's ``C``
depends on the number of rows, see ``regularization.inverse_strength``.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from linclf_jax.exact import leave_one_out as loo_lib
from linclf_jax.exact import path, targets
from linclf_jax.exact.newton import Solver
from linclf_jax.exact.path import Point
from linclf_jax.exact.status import Info
from linclf_jax.params import Params
from linclf_jax.selection import certainty, held_out, ranking, resampling
from linclf_jax.selection import choose as choose_lib
from linclf_jax.selection.certainty import ALL, SELECTION
from linclf_jax.selection.held_out import Scores
from linclf_jax.selection.resampling import Resampling, WeightedFit
from linclf_jax.selection.row_scores import Curve, FoldScores, RowScores


class CrossValidation(NamedTuple):
    """What is known of each penalty; NumPy arrays, in the order given."""

    l2: np.ndarray  # (K,) float64
    params: Params  # W (K, D, C), b (K, C), fitted to all rows
    info: Info  # (K, F + 1) each; the last is the fit to all rows
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
    certify: str = SELECTION,
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
        tol: Relative gap of every solution that is certified.
        max_newton: Steps of a fit at one penalty.
        certify: ``selection``, the fits that ``choose`` rests on, or ``all``.

    Returns:
        Scores, and the fits to all rows. A curve is the mean over folds with its
        standard error, the sample standard deviation over ``sqrt(F)``.

    Raises:
        ValueError: An argument is out of range; nothing has been compiled.
    """
    labels = hard_labels(labels)
    by_folds = resampling.of_folds(resampling.fold_of_rows(labels, folds, seed=seed))
    fits = resampling.compared_fits([by_folds])
    fits.append(resampling.final_fit(0, by_folds))
    if certify not in (SELECTION, ALL):
        raise ValueError(f"certify is {certify!r}; expected {SELECTION} or {ALL}")
    ordered = path.descending(l2s)
    solver = path.prepare(
        x,
        labels,
        len(ordered),
        weights=np.stack([fit.train for fit in fits]).astype(np.float64),
        num_classes=num_classes,
        tol=tol,
        max_newton=max_newton,
    )
    measure = functools.partial(
        _measured, x=x, labels=labels, compared=by_folds, fits=fits
    )
    points = path.points(solver, ordered, None, certified=certify == ALL)
    if certify == ALL:
        return measure(points, l2s=l2s)
    kept = {point.l2: point._replace(state=None) for point in points}
    return _certified(solver, kept, measure(kept.values(), l2s=l2s), measure)


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

    There is no estimate at l2 = 0: it is NaN. Arguments are those of
    ``cross_validate``.

    Returns:
        A cross-validation of no folds, F = 0: the curves are the estimates, with
        standard errors over rows.

    Raises:
        ValueError: An argument is out of range, or the estimate takes too much memory;
            no penalty has been solved.
    """
    labels = hard_labels(labels)
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    points = path.follow(
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
    fits = resampling.compared_fits([by_row])
    results = _measured(points, x, labels, l2s, by_row, fits)
    nothing = np.empty((len(results.l2), 0))
    return results._replace(validation=FoldScores(nothing, nothing, nothing))


def choose(results: CrossValidation, metric: str = "val_loss") -> Choices:
    """Returns the best penalty and that of the one-standard-error rule.

    As a study does: see ``choose.select``. A penalty of which a fit is not usable
    cannot be chosen.

    Args:
        metric: ``val_loss``, ``val_accuracy``, or ``val_loss_calibrated``: the loss at
            the best temperature of all held-out rows, to which it makes no difference
            that a strong penalty makes all logits small.

    Raises:
        ValueError: ``metric`` is another word, or no penalty has a finite score and
            fits that are all usable.
    """
    ranking.validate_metric(metric, name="metric")
    count = results.info.status.shape[1]
    rows, errors = list(_rows(results)), _errors(results, metric)
    selection = choose_lib.select(rows, metric=metric, errors=errors, edges=False)
    best = selection.rules[choose_lib.BEST]
    strongest = selection.rules.get(choose_lib.ONE_STANDARD_ERROR, best)
    ties = tuple(trial // count for trial in selection.ties)
    return Choices(best // count, strongest // count, ties)


def hard_labels(labels: ArrayLike) -> np.ndarray:
    """Returns labels that are one class a row: soft targets cannot be right or wrong.

    Raises:
        ValueError: They have another shape than ``(N,)``.
    """
    array = np.asarray(labels)
    targets.require_numbers(array)
    if array.ndim != 1:
        remedy = "of soft targets labels.argmax(axis=1)"
        if array.shape[1:] == (1,):
            remedy = "pass labels.ravel()"
        raise ValueError(
            f"labels has shape {array.shape}; expected (N,), the class of each row: "
            f"{remedy}"
        )
    return array


def _measured(
    points: Iterable[Point],
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
    scores: held_out.GroupScores
    params, info, train, scores = path.as_given(l2s, measured)
    l2s = np.asarray(l2s, np.float64)
    return CrossValidation(l2s, params, info, train, *scores, compared.compared)


def _certified(
    solver: Solver,
    points: Mapping[float, Point],
    results: CrossValidation,
    measure: Callable[..., CrossValidation],
) -> CrossValidation:
    """Certifies the fits that a choice by any metric rests on, until it is certain."""
    moved = dict.fromkeys(ranking.METRICS, 0.0)
    while l2s := _undecided(results, moved):
        index, point = results.l2.tolist().index(l2s[0]), points[l2s[0]]
        lanes = np.full(len(point.info.status), point.l2)
        params, info = path.certify(solver, lanes, point.params)
        info = info._replace(
            newton_steps=info.newton_steps + point.info.newton_steps,
            products=info.products + point.info.products,
        )
        one = measure([point._replace(params=params, info=info)], l2s=l2s[:1])
        for metric in moved:
            curves = zip(_curve(results, metric), _curve(one, metric), strict=True)
            change = [abs(new[0] - old[index]) for old, new in curves]
            moved[metric] = float(np.nanmax([moved[metric], *change]))
        # But for l2 and held_out, which are first and last.
        parts = zip(*map(jax.tree.leaves, (results[1:-1], one[1:-1])), strict=True)
        for whole, part in parts:
            whole[index] = part[0]
    return results


def _undecided(results: CrossValidation, moved: Mapping[str, float]) -> list[float]:
    rows = list(_rows(results))
    return [
        l2
        for metric in ranking.METRICS
        for l2 in certainty.undecided(rows, metric, _errors(results, metric), moved)
    ]


def _curve(results: CrossValidation, metric: str) -> Curve:
    return getattr(results, metric.removeprefix("val_"))


def _errors(results: CrossValidation, metric: str) -> choose_lib.Errors:
    count = results.info.status.shape[1]
    errors = _curve(results, metric).standard_error
    return {metric: {k * count: float(e) for k, e in enumerate(errors)}}


def _rows(results: CrossValidation) -> Iterator[dict[str, Any]]:
    """Yields the fits as rows of results, as a selection takes them."""
    count, fits = results.info.status.shape
    by_fold = results.validation._asdict()
    if not by_fold["loss"].shape[1]:  # leave-one-out: the one fit has the estimates
        by_fold = {name: getattr(results, name).mean[:, None] for name in by_fold}
    for k in range(count):
        for fit in range(fits):
            is_final = fit >= by_fold["loss"].shape[1]
            yield {
                "trial": k * fits + fit,
                "l2": float(results.l2[k]),
                "fold": None if fit == fits - 1 else fit,
                "stage": ranking.FINAL if is_final else None,
                "status": str(results.info.status[k, fit]),
                "relative_gap": float(results.info.relative_gap[k, fit]),
                **{
                    f"val_{name}": None if is_final else float(scores[k, fit])
                    for name, scores in by_fold.items()
                },
            }
