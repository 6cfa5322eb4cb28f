"""What exact fits come to: rows of results, curves over the path, held-out scores."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linclf_jax import regularization
from linclf_jax.exact.path import Point
from linclf_jax.exact.status import Info
from linclf_jax.params import Params
from linclf_jax.runs import formats, schema
from linclf_jax.runs.store import Batch
from linclf_jax.selection import choose
from linclf_jax.selection.choose import Selection
from linclf_jax.selection.held_out import GroupScores, HeldOut, Measured, Scores
from linclf_jax.selection.resampling import FOLDS, WeightedFit
from linclf_jax.selection.row_scores import FoldScores
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import FitResults

SCORES = ("loss", "accuracy", "loss_calibrated")


def batch(problem: Problem, index: int, point: Point, measured: Measured) -> Batch:
    """Returns what the penalty of an index came to, as a store keeps it."""
    first = problem.first_trial + index * len(problem.fits)
    rows = make_rows(
        problem,
        problem.fits,
        range(first, first + len(problem.fits)),
        np.full(len(problem.fits), point.l2),
        measured.train,
        point.info,
        {group: scores.folds for group, scores in enumerate(measured.groups)},
    )
    arrays = {
        **group_arrays(problem, dict(enumerate(measured.groups))),
        "W": np.asarray(point.params.W),
        "b": np.asarray(point.params.b),
    }
    return Batch(rows, arrays)


def group_arrays(
    problem: Problem, groups: Mapping[int, GroupScores]
) -> dict[str, np.ndarray]:
    """Returns the held-out scores of some resamplings at one penalty each."""
    scores = [group.rows for group in groups.values()]
    compared = [problem.resamplings[group].compared for group in groups]
    return {
        "curves": np.array(
            [[getattr(group, name) for name in SCORES] for group in groups.values()]
        ),
        "temperature": np.array([own.temperature for own in scores]),
        # In single precision: of every row at every penalty.
        "row_scores": np.concatenate(
            [
                np.stack([own.loss, own.correct, own.calibrated])[:, rows]
                for own, rows in zip(scores, compared, strict=True)
            ],
            axis=1,
        ).astype(np.float32),
    }


def without_params(problem: Problem, batch: Batch) -> Batch:
    """Returns what stays in memory: of the parameters those to all rows, if kept."""
    arrays = {k: v for k, v in batch.arrays.items() if k not in Params._fields}
    if problem.keep_path:
        arrays["coefficients"] = np.array(batch.arrays["W"][-1], np.float32)
    return Batch(batch.rows, arrays)


def make_rows(
    problem: Problem,
    fits: Sequence[WeightedFit],
    trials: Sequence[int],
    l2s: np.ndarray,
    train: Scores,
    info: Info,
    folds: Mapping[int, FoldScores],
) -> list[dict[str, Any]]:
    """Returns one row of results for each of L fits; the others have ``(L,)`` entries.

    ``folds`` are the scores on rows that fits did not see, by resampling; a fit of
    another is made after the selection.
    """
    rows = []
    for i, fit in enumerate(fits):
        resampling = problem.resamplings[fit.group]
        compared = None if fit.is_final else folds.get(fit.group)
        row = {
            "trial": trials[i],
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
            own = fit.fold or 0  # one split, and leave-one-out, are no fold
            row |= {f"val_{name}": getattr(compared, name)[own] for name in SCORES}
        rows.append(formats.plain(row))
    return rows


def collect(problems: Sequence[Problem], batches: Sequence[list[Batch]]) -> FitResults:
    """Returns what all fits came to: of each feature set a batch for each penalty."""
    history: dict[str, np.ndarray] = {}
    held_out: list[HeldOut] = []
    errors: dict[str, dict[int, float]] = {name: {} for name in schema.FOLDS}
    entry, left_out = 0, 0
    for problem, own in zip(problems, batches, strict=True):
        left_out += len(problem.l2s) - len(own)
        for group in problem.groups:
            history |= _curves(problem, own, group, entry)
            for name, known in standard_errors(problem, own, group).items():
                errors[name] |= known
            entry += 1
        if problem.keep_path:
            history |= _path_arrays(own)
        if problem.resamplings[0].shots is None:
            trials = tuple(batch.rows[0]["trial"] for batch in own)
            held_out.append(HeldOut(trials, *row_scores(problem, own, 0)))
    return FitResults(
        rows=[row for own in batches for batch in own for row in batch.rows],
        history=history,
        held_out=tuple(held_out),
        standard_errors=errors,
        given=tuple(_given(problems)),
        left_out=left_out,
    )


def row_scores(problem: Problem, batches: Sequence[Batch], group: int) -> np.ndarray:
    """Returns ``SCORES`` of the M compared rows of a resampling, ``(3, K, M)``."""
    rows = rows_of(problem, problem.groups)[group]
    return np.stack([batch.arrays["row_scores"][:, rows] for batch in batches], axis=1)


def rows_of(problem: Problem, groups: Collection[int]) -> dict[int, slice]:
    """Returns where the array ``row_scores`` has the rows of each resampling."""
    sizes = [int(problem.resamplings[group].compared.sum()) for group in groups]
    ends = np.cumsum(sizes).tolist()
    return {
        group: slice(end - size, end)
        for group, size, end in zip(groups, sizes, ends, strict=True)
    }


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
    arrays = {f"{entry}.l2s": problem.l2s[: len(batches)]}
    for number, name in enumerate(schema.FOLDS):
        arrays[f"{entry}.{name}"] = curves[:, number, 0]
        arrays[f"{entry}.{name}_se"] = curves[:, number, 1]
    if problem.resamplings[group].kind == FOLDS:
        index = problem.compared(group)
        for name in schema.FOLDS:
            arrays[f"{entry}.folds.{name}"] = _column(batches, name, index)
    return arrays


def _path_arrays(batches: Sequence[Batch]) -> dict[str, np.ndarray]:
    index = range(len(batches[0].rows))
    return {
        "coefficients": np.stack([b.arrays["coefficients"] for b in batches]),
        "newton_steps": _column(batches, "steps", index, int),
        "products": _column(batches, "products", index, int),
        "relative_gap": _column(batches, "relative_gap", index),
    }


def _column(
    batches: Sequence[Batch], name: str, index: Sequence[int], dtype: type = float
) -> np.ndarray:
    """Returns a column of some fits at each penalty, NaN where it is unknown."""
    return np.array([[p.rows[i][name] for i in index] for p in batches], dtype)


def standard_errors(
    problem: Problem, batches: Sequence[Batch], group: int
) -> dict[str, dict[int, float]]:
    """Returns errors by metric and first trial, where no folds are there to tell."""
    errors: dict[str, dict[int, float]] = {name: {} for name in schema.FOLDS}
    if problem.resamplings[group].kind != FOLDS:
        first = problem.compared(group)[0]
        for batch in batches:
            trial = batch.rows[first]["trial"]
            for number, name in enumerate(schema.FOLDS):
                errors[name][trial] = float(batch.arrays["curves"][group, number, 1])
    return errors
