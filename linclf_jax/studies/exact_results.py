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
from linclf_jax.selection.choose import Selection
from linclf_jax.selection.held_out import GroupScores, HeldOut, Measured, Scores
from linclf_jax.selection.resampling import FOLDS, WeightedFit
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import FitResults

SCORES = ("loss", "accuracy", "loss_calibrated")


def batch(problem: Problem, index: int, point: Point, measured: Measured) -> Batch:
    """Returns what the penalty of an index came to, as a store keeps it."""
    first = problem.first_trial + index * len(problem.fits)
    l2s, groups = np.full(len(problem.fits), point.l2), measured.groups
    rows = make_rows(
        problem, problem.fits, first, l2s, measured.train, point.info, groups
    )
    arrays = {
        "curves": np.array(
            [[getattr(group, name) for name in SCORES] for group in groups]
        ),
        "temperature": np.array([group.rows.temperature for group in groups]),
    }
    if problem.resamplings[0].shots is None:
        scores, compared = groups[0].rows, problem.resamplings[0].compared
        values = scores.loss, scores.correct, scores.calibrated
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
    """Returns one row of results for each of L fits, numbered from ``first``.

    Without ``groups``, the scores on rows that the fits did not see, they are fits that
    are made after the selection. The others have ``(L,)`` entries each.
    """
    rows = []
    for i, fit in enumerate(fits):
        resampling = problem.resamplings[fit.group]
        compared = None if groups is None or fit.is_final else groups[fit.group].folds
        row = {
            "trial": first + i,
            "features": problem.key[0],
            "shots": resampling.shots,
            "seed": resampling.seed,
            "fold": fit.fold,
            "stage": schema.FINAL if compared is None else schema.SELECTION,
            "preprocessing": problem.key[1],
            "l2": l2s[i],
            "C": regularization.inverse_strength(
                float(l2s[i]), int(fit.train.sum()), problem.inputs.num_classes
            ),
            "status": info.status[i],
            "train_loss": train.loss[i],
            "train_accuracy": train.accuracy[i],
            **dict.fromkeys(schema.FOLDS),
            "steps": info.newton_steps[i],
            "objective": info.objective[i],
            "gap": info.gap[i],
            "relative_gap": info.relative_gap[i],
            "gradient_norm": info.gradient_norm[i],
            "products": info.products[i],
        }
        if compared is not None:
            own = problem.compared(fit.group).index(i)
            row |= {f"val_{name}": getattr(compared, name)[own] for name in SCORES}
        rows.append(formats.plain(row))
    return rows


def collect(problems: Sequence[Problem], batches: Sequence[list[Batch]]) -> FitResults:
    """Returns what all fits came to: of each feature set a batch for each penalty."""
    history: dict[str, np.ndarray] = {}
    held_out: list[HeldOut] = []
    errors: dict[str, dict[int, float]] = {name: {} for name in schema.FOLDS}
    entry = 0
    for problem, own in zip(problems, batches, strict=True):
        for group in range(len(problem.resamplings)):
            history |= _curves(problem, own, group, entry)
            _add_errors(problem, own, group, errors)
            entry += 1
        if problem.keep_path:
            history |= _path_arrays(own)
        if problem.resamplings[0].shots is None:
            trials = tuple(batch.rows[0]["trial"] for batch in own)
            scores = np.stack([batch.arrays["row_scores"] for batch in own], axis=1)
            held_out.append(HeldOut(trials, *scores))
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
        features, preprocessing = problem.key
        for draw in problem.resamplings:
            if draw.kind is None:
                l2 = regularization.inverse_strength(
                    1.0, int(draw.rows.sum()), problem.inputs.num_classes
                )
                yield choose.without_comparison(
                    {"features": features, "shots": draw.shots, "seed": draw.seed},
                    {"features": features, "preprocessing": preprocessing, "l2": l2},
                    "scikit-learn's C = 1: one row a class spares none",
                )


def _curves(
    problem: Problem, batches: Sequence[Batch], group: int, entry: int
) -> dict[str, np.ndarray]:
    """Returns the scores of one group over the path, by their names in history.npz."""
    curves = np.stack([batch.arrays["curves"][group] for batch in batches])  # (K, 3, 2)
    arrays = {f"{entry}.l2s": problem.l2s}
    for number, name in enumerate(schema.FOLDS):
        arrays[f"{entry}.{name}"] = curves[:, number, 0]
        arrays[f"{entry}.{name}_se"] = curves[:, number, 1]
    if problem.resamplings[group].kind == FOLDS:
        index = problem.compared(group)
        for name in schema.FOLDS:
            arrays[f"{entry}.folds.{name}"] = _column(batches, name, index)
    return arrays


def _path_arrays(batches: Sequence[Batch]) -> dict[str, np.ndarray]:
    weights = [np.asarray(batch.arrays["W"], np.float32) for batch in batches]
    index = range(len(batches[0].rows))
    return {
        "coefficients": np.stack(weights),
        "newton_steps": _column(batches, "steps", index, int),
        "products": _column(batches, "products", index, int),
        "relative_gap": _column(batches, "relative_gap", index),
    }


def _column(
    batches: Sequence[Batch], name: str, index: Sequence[int], dtype: type = float
) -> np.ndarray:
    """Returns a column of some fits at each penalty, NaN where it is unknown."""
    return np.array([[p.rows[i][name] for i in index] for p in batches], dtype)


def _add_errors(
    problem: Problem,
    batches: Sequence[Batch],
    group: int,
    errors: dict[str, dict[int, float]],
) -> None:
    """Adds the standard errors of settings that no folds are there to tell."""
    if problem.resamplings[group].kind == FOLDS:
        return
    first = problem.compared(group)[0]
    for batch in batches:
        trial = batch.rows[first]["trial"]
        for number, name in enumerate(schema.FOLDS):
            errors[name][trial] = float(batch.arrays["curves"][group, number, 1])
