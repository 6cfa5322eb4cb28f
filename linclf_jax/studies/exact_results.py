"""What exact fits come to: rows of results, curves over the path, held-out scores."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from linclf_jax import regularization
from linclf_jax.exact.path import Point
from linclf_jax.exact.status import Info
from linclf_jax.runs import formats, schema
from linclf_jax.runs.store import Batch
from linclf_jax.selection import choose
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.choose import Selection
from linclf_jax.selection.held_out import GroupScores, HeldOut, Measured, Scores
from linclf_jax.selection.resampling import WeightedFit
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import FitResults

SCORES = ("loss", "accuracy", "loss_calibrated")


def batch(problem: Problem, index: int, point: Point, measured: Measured) -> Batch:
    """Returns what one penalty came to, as a store keeps it.

    Args:
        problem: Of the feature set.
        index: Of the penalty.
        point: The solutions.
        measured: How they do.
    """
    first = problem.first_trial + index * len(problem.fits)
    rows = make_rows(
        problem,
        problem.fits,
        first,
        np.full(len(problem.fits), point.l2),
        measured.train,
        point.info,
        measured.groups,
    )
    arrays = {
        "curves": np.array(
            [[getattr(group, name) for name in SCORES] for group in measured.groups]
        ),
        "temperature": np.array([group.rows.temperature for group in measured.groups]),
    }
    if problem.resamplings[0].shots is None:
        (group,), compared = measured.groups, problem.resamplings[0].compared
        values = group.rows.loss, group.rows.correct, group.rows.calibrated
        # In single precision: of every row at every penalty.
        arrays["row_scores"] = np.stack(
            [v[compared].astype(np.float32) for v in values]
        )
    if problem.keep_path:
        W, b = point.params
        arrays |= {"W": np.asarray(W[-1]), "b": np.asarray(b[-1])}
    return Batch(rows, arrays)


def make_rows(
    problem: Problem,
    fits: Sequence[WeightedFit],
    first: int,
    l2s: np.ndarray,
    train: Scores,
    info: Info,
    groups: Sequence[GroupScores] | None = None,
) -> list[dict[str, Any]]:
    """Returns one row of results for each fit.

    Args:
        problem: Of the feature set.
        fits: L fits.
        first: The number of the first one.
        l2s: ``(L,)``.
        train: ``(L,)`` each, on the rows of the fit.
        info: ``(L,)`` each.
        groups: How the fits of each resampling do on rows they did not see; None of
            fits that are made after the selection.
    """
    return [
        formats.plain(
            {
                "trial": first + i,
                "features": problem.key[0],
                "shots": problem.resamplings[fit.group].shots,
                "seed": problem.resamplings[fit.group].seed,
                "fold": fit.fold,
                "stage": _stage(fit, groups),
                "preprocessing": problem.key[1],
                "l2": l2s[i],
                "C": regularization.inverse_strength(
                    float(l2s[i]), int(fit.train.sum()), problem.inputs.num_classes
                ),
                "status": info.status[i],
                "train_loss": train.loss[i],
                "train_accuracy": train.accuracy[i],
                **_held_out_scores(problem, fits, i, groups),
                "steps": info.newton_steps[i],
                "objective": info.objective[i],
                "gap": info.gap[i],
                "relative_gap": info.relative_gap[i],
                "gradient_norm": info.gradient_norm[i],
                "products": info.products[i],
            }
        )
        for i, fit in enumerate(fits)
    ]


def collect(problems: Sequence[Problem], batches: Sequence[list[Batch]]) -> FitResults:
    """Returns what all fits came to.

    Args:
        problems: Of the feature sets.
        batches: Of each, one for each penalty, the largest first.
    """
    history: dict[str, np.ndarray] = {}
    held_out: list[HeldOut] = []
    errors: dict[str, dict[int, float]] = {f"val_{name}": {} for name in SCORES}
    entry = 0
    for problem, own in zip(problems, batches, strict=True):
        for group in range(len(problem.resamplings)):
            history |= _curves(problem, own, group, entry)
            _add_errors(problem, own, group, errors)
            entry += 1
        if problem.keep_path:
            history |= _path_arrays(own)
        if problem.resamplings[0].shots is None:
            held_out.append(_held_out(own))
    return FitResults(
        rows=[row for own in batches for batch in own for row in batch.rows],
        history=history,
        held_out=tuple(held_out),
        standard_errors=errors,
        given=tuple(_given(problems)),
    )


def _given(problems: Sequence[Problem]) -> Iterator[Selection]:
    """Yields the selections of draws that spare no row to compare penalties on."""
    for problem in problems:
        for resampling in problem.resamplings:
            if resampling.kind is None:
                features, preprocessing = problem.key
                num_rows = int(resampling.rows.sum())
                l2 = regularization.inverse_strength(
                    1.0, num_rows, problem.inputs.num_classes
                )
                yield choose.without_comparison(
                    {
                        "features": features,
                        "shots": resampling.shots,
                        "seed": resampling.seed,
                    },
                    {"features": features, "preprocessing": preprocessing, "l2": l2},
                    "scikit-learn's C = 1: one row a class spares none",
                )


def _stage(fit: WeightedFit, groups: Sequence[GroupScores] | None) -> str:
    return schema.FINAL if groups is None or fit.is_final else schema.SELECTION


def _held_out_scores(
    problem: Problem,
    fits: Sequence[WeightedFit],
    index: int,
    groups: Sequence[GroupScores] | None,
) -> dict[str, Any]:
    fit = fits[index]
    if groups is None or fit.is_final:
        return {f"val_{name}": None for name in SCORES}
    folds = groups[fit.group].folds
    own = index - problem.first_fit(fit.group)
    return {f"val_{name}": getattr(folds, name)[own] for name in SCORES}


def _curves(
    problem: Problem, batches: Sequence[Batch], group: int, entry: int
) -> dict[str, np.ndarray]:
    """Returns the scores of one group over the path, by their names in history.npz."""
    curves = np.stack([batch.arrays["curves"][group] for batch in batches])  # (K, 3, 2)
    arrays = {f"{entry}.l2s": problem.l2s}
    for number, name in enumerate(SCORES):
        arrays[f"{entry}.val_{name}"] = curves[:, number, 0]
        arrays[f"{entry}.val_{name}_se"] = curves[:, number, 1]
    if problem.resamplings[group].kind == resampling_lib.FOLDS:
        first = problem.first_fit(group)
        own = range(first, first + len(problem.resamplings[group].held_out))
        for name in SCORES:
            arrays[f"{entry}.folds.val_{name}"] = np.array(
                [[_number(p.rows[i][f"val_{name}"]) for i in own] for p in batches]
            )
    return arrays


def _path_arrays(batches: Sequence[Batch]) -> dict[str, np.ndarray]:
    columns = {"newton_steps": "steps", "products": "products"}
    work = {
        name: np.array([[row[column] for row in batch.rows] for batch in batches])
        for name, column in columns.items()
    }
    gaps = [[_number(row["relative_gap"]) for row in batch.rows] for batch in batches]
    weights = [np.asarray(batch.arrays["W"], np.float32) for batch in batches]
    return {"coefficients": np.stack(weights), **work, "relative_gap": np.array(gaps)}


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _add_errors(
    problem: Problem,
    batches: Sequence[Batch],
    group: int,
    errors: dict[str, dict[int, float]],
) -> None:
    """Adds the standard errors of settings that no folds are there to tell."""
    if problem.resamplings[group].kind == resampling_lib.FOLDS:
        return
    first = problem.first_fit(group)
    for batch in batches:
        trial = batch.rows[first]["trial"]
        for number, name in enumerate(SCORES):
            error = batch.arrays["curves"][group, number, 1]
            errors[f"val_{name}"][trial] = float(error)


def _held_out(batches: Sequence[Batch]) -> HeldOut:
    trials = tuple(batch.rows[0]["trial"] for batch in batches)
    loss, correct, calibrated = np.stack(
        [batch.arrays["row_scores"] for batch in batches], axis=1
    )
    return HeldOut(trials, loss, correct, calibrated)
