"""What settings do on each single validation row, and what follows from it.

Rows of results hold means. How sure a mean is, how much the best of many flatters
itself, and which temperature makes a classifier calibrated, takes the rows one by one:
here they are gone through once more, before the choice, and never those of the test.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import metrics
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.runs import checkpoint
from linclf_jax.scheduler.jobs import Rows
from linclf_jax.selection import bias, ranking
from linclf_jax.selection.choose import Choice
from linclf_jax.studies import evaluation
from linclf_jax.studies import problem as problem_lib
from linclf_jax.studies.problem import Problem
from linclf_jax.training import evaluation as lanes_evaluation
from linclf_jax.training import stack
from linclf_jax.training.evaluation import RowScores
from linclf_jax.training.settings import Static

Report = Callable[[str], None]


class Validated(NamedTuple):
    """How S settings that ended well do on each of M rows that some lane is judged on.

    Means over seeds; with folds, each row is judged by the lane that holds it out.
    """

    lanes: tuple[int, ...]  # the first of each setting, in their order
    loss: np.ndarray  # (S, M) float32
    right: np.ndarray  # (S, M) float32


def read(folder: Path, problem: Problem, rows: Rows, tell: Report) -> Validated:
    """Scores all settings that can be chosen, from their pieces in the run folder.

    Args:
        folder: The run folder, all of whose pieces are finished.
        problem: Validation data, and what the lanes are.
        rows: Of all lanes.
        tell: Is told of a damaged piece.
    """
    ranked = ranking.rank_settings(rows, by=problem.config.select_by)
    groups = sorted(ranked, key=lambda group: group[0]["trial"])
    place = {row["trial"]: at for at, group in enumerate(groups) for row in group}
    (data, *_) = problem.data.values()
    shape = len(groups), len(data.val_labels)
    found = Validated(
        tuple(group[0]["trial"] for group in groups),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    for piece in checkpoint.each(folder, ("W", "b"), tell):
        # A lane that halving let train on is in earlier pieces too, as retired; one of
        # which a repeat did not end well cannot be chosen.
        kept = [
            i
            for i, row in enumerate(piece.rows)
            if row["status"] == "ok" and row["trial"] in place
        ]
        if kept:
            lanes = [piece.rows[i]["trial"] for i in kept]
            stacks = [piece.arrays[name][kept] for name in Params._fields]
            scores = _score(problem, lanes, stacks)
            for index, lane in enumerate(lanes):
                _add(problem, found, lane, place[lane], index, scores)
    held = problem_lib.held_out(problem)
    if held.all():
        return found
    return found._replace(loss=found.loss[:, held], right=found.right[:, held])


def standard_errors(found: Validated, by: str) -> dict[int, float]:
    """Returns the standard error of each setting's mean over the rows.

    Args:
        found: All settings.
        by: ``val_loss`` or ``val_accuracy``.

    Returns:
        By the first lane of the setting.
    """
    scores = found.loss if by == "val_loss" else found.right
    count = scores.shape[1]
    spread = (np.std(row, ddof=1, dtype=np.float64) for row in scores)
    return {
        lane: float(sd) / np.sqrt(count)
        for lane, sd in zip(found.lanes, spread, strict=True)
    }


def flattery(
    loss: np.ndarray,
    right: np.ndarray,
    *,
    by: str,
    calibrated: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """Returns what ``selected.json`` says of how much the best setting flatters itself.

    Args:
        loss: ``(S, M)``, of each setting on each row.
        right: ``(S, M)``, whether the row is right, or how often over seeds.
        by: What the best is the best by, a name in ``ranking.CRITERIA``.
        calibrated: ``(S, M)``, the loss at the best temperature of each setting, where
            ``by`` is that.

    Returns:
        How much the accuracy of the best falls, and its loss rises, on rows that chose
        nothing; None where there was nothing to choose.
    """
    lowest = ranking.CRITERIA[by] > 0
    known = {"val_loss": loss, "val_accuracy": right, "val_loss_calibrated": calibrated}
    scores = known[by]
    if scores is None:
        raise ValueError(f"by is {by!r}; expected calibrated, the losses, with it")
    usable = np.isfinite(loss).all(axis=1)  # a class that a fold had all rows of
    count, size = int(usable.sum()), scores.shape[1]
    if count < 2 or size < 2:
        return None
    if count < len(scores):
        scores, loss, right = scores[usable], loss[usable], right[usable]
    if by == "val_accuracy":
        # The estimate takes the first of equal means: here, too, the lower loss.
        order = np.argsort(np.mean(loss, axis=1, dtype=np.float64), kind="stable")
        scores, loss, right = scores[order], loss[order], right[order]
    accuracy = bias.estimate(scores, right, lowest=lowest)
    in_loss = bias.estimate(scores, loss, lowest=lowest)
    return {
        "settings": count,
        "rows": size,
        "resamples": accuracy.resamples,
        "stability": accuracy.stability,
        "accuracy": 0.0 - accuracy.correction,
        "accuracy_error": accuracy.error,
        "loss": in_loss.correction,
        "loss_error": in_loss.error,
    }


def interval(accuracy: float, size: int) -> dict[str, Any]:
    """Returns an accuracy on validation rows and Wilson's interval, as of a test.

    Args:
        accuracy: A share, or the mean of several over the same rows.
        size: How many rows.
    """
    return {
        "size": size,
        "accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, size),
    }


def temperature(folder: Path, problem: Problem, choice: Choice) -> float | None:
    """Returns the temperature that calibrates a chosen setting on validation rows.

    Of several seeds the first is taken. With folds each row has the logits of the lane
    that holds it out, and their temperature serves the classifier of all rows.

    Args:
        folder: The run folder.
        problem: Validation data, and what the lanes are.
        choice: The setting.
    """
    first = problem.lanes[choice.rows[0]["trial"]]
    if first.static.loss != "softmax_cross_entropy":
        return None
    data = problem.data[first.static.inputs]
    logits = np.zeros((len(data.val_labels), first.static.num_classes), np.float32)
    for row in choice.rows:
        if row["seed"] == first.seed:
            arrays = checkpoint.load_lane(folder, row["trial"], Params._fields)
            params = Params(*(jnp.asarray(arrays[name]) for name in Params._fields))
            own = _held_out(problem, row["trial"])
            scores = params_lib.logits(
                params, data.val_x, precision=first.static.precision
            )
            logits[own] = np.asarray(scores)[own]
    held = problem_lib.held_out(problem)
    return evaluation.temperature(logits[held], np.asarray(data.val_labels)[held])


def _score(
    problem: Problem, lanes: Sequence[int], stacks: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns loss and correctness of one tile's lanes on validation rows, (M, L)."""
    static = problem.lanes[lanes[0]].static
    data = problem.data[static.inputs]
    # One width for all tiles is one program.
    missing = (problem.config.tile_width or len(lanes)) - len(lanes)
    filled = Params(
        *(
            jnp.asarray(np.concatenate([array, *[array[-1:]] * missing]))
            for array in stacks
        )
    )
    same = Static(static.num_classes, loss=static.loss, precision=static.precision)
    found = _by_row(filled, data.val_x, data.val_labels, same)
    return np.asarray(found.loss), np.asarray(found.right)


@functools.partial(jax.jit, static_argnames="static")
def _by_row(
    params: Params, x: jax.Array, labels: jax.Array, static: Static
) -> RowScores:
    return lanes_evaluation.by_row(stack.lanes_last(params), x, labels, static)


def _add(
    problem: Problem,
    found: Validated,
    lane: int,
    place: int,
    index: int,
    scores: tuple[np.ndarray, np.ndarray],
) -> None:
    """Adds a lane's share to its setting, on the rows that are its to judge."""
    held = _held_out(problem, lane)
    seeds = len(problem.config.seeds)
    for total, values in zip((found.loss, found.right), scores, strict=True):
        total[place, held] += values[held, index].astype(np.float32) / seeds


def _held_out(problem: Problem, lane: int) -> np.ndarray:
    """Returns which validation rows a lane has not been trained on, ``(M,)``."""
    (data, *_) = problem.data.values()
    if data.val_folds is None:
        return np.ones(len(data.val_labels), bool)
    return np.asarray(data.val_folds) == problem.lanes[lane].fold
