"""The chosen setting once more, on all rows but the test's, after a cross-validation.

It is kept in the run folder: what comes after it may fail, and it is trained once.
"""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from linclf_jax.params import Params
from linclf_jax.runs import checkpoint, formats
from linclf_jax.runs.checkpoint import Piece, Report
from linclf_jax.selection.choose import Choice
from linclf_jax.studies.problem import Problem
from linclf_jax.training import program, trials
from linclf_jax.training.execution import Output
from linclf_jax.training.trials import Trial, TrialBatch

Curves = Mapping[str, np.ndarray]


class Chosen(NamedTuple):
    """The classifier that the test split is for."""

    lane: int | None  # None of one that was trained again on all rows
    row: dict[str, Any]
    params: Params  # W (D, C), b (C,)
    curves: Curves  # each (E,)


def refit(
    folder: Path,
    problem: Problem,
    train_alone: Callable[[TrialBatch, int | None], Output],
    tell: Report,
    choice: Choice,
) -> Chosen:
    """Returns the chosen setting trained once more, on all rows but the test's.

    It has seen its validation rows, so that its scores there say nothing.

    Args:
        folder: The run folder, where it is kept until the run is sealed.
        problem: Data and lanes.
        train_alone: Trains a tile to a step or the end.
        tell: Takes a sentence for a person.
        choice: The setting.

    Raises:
        ValueError: It diverged.
    """
    name = f"refit-{choice.rows[0]['trial']:06d}"
    piece = checkpoint.load_piece(folder, name, tell, apart=True)
    if piece is None:
        piece = _trained_alone(problem, train_alone, choice)
        checkpoint.save_piece(folder, name, piece, apart=True)
    (row,), arrays = piece
    if row["status"] != "ok":
        raise ValueError(
            f"the chosen setting diverged ({row['reason']}) when it was trained on all "
            "rows; lower --learning_rate"
        )
    params = Params(*(jnp.asarray(arrays[name][0]) for name in Params._fields))
    return Chosen(None, row, params, {"train_loss": arrays["train_loss"][0]})


def _trained_alone(
    problem: Problem,
    train_alone: Callable[[TrialBatch, int | None], Output],
    choice: Choice,
) -> Piece:
    first: Trial = problem.lanes[choice.rows[0]["trial"]]
    static, steps = first.static, None
    num_rows = len(problem.data[static.inputs].labels)
    if static.keep == "best":
        # No rows are left to find its best epoch on: it ends where its folds did.
        kept = statistics.median_high(row["epoch"] for row in choice.rows)
        steps = kept * program.steps_per_epoch(num_rows, static)
        static = dataclasses.replace(static, keep="last")
    lane = first._replace(static=static, fold=None, num_rows=num_rows)
    tile = TrialBatch(lane.static, lane.seed, (lane,))
    output = train_alone(tile, steps)
    (row,) = trials.make_rows(tile, output)
    row |= {"trial": None, "val_loss": None, "val_accuracy": None}
    arrays = trials.make_arrays(tile, output)
    kept_arrays = {name: arrays[name] for name in (*Params._fields, "train_loss")}
    return Piece([formats.plain(row)], kept_arrays)
