"""What a sweep comes to, once its pieces are finished: results, choice, test, report.

Everything is read from the pieces in the run folder, so that it makes no difference
whether one process trained them, several one after the other, or several shards.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments import evaluation
from experiments import problem as problem_lib
from experiments.jobs import Rows
from experiments.problem import Problem
from linclf_jax.fit import selection, sweep
from linclf_jax.fit.execution import Output
from linclf_jax.fit.selection import Choice
from linclf_jax.fit.sweep import Lane, Tile
from linclf_jax.params import Params
from linclf_jax.runs import checkpoint, directory, model, record, report

Report = Callable[[str], None]
Curves = Mapping[str, np.ndarray]


class Outcome(NamedTuple):
    """What a finished sweep leaves in memory; the folder holds all of it."""

    experiment: str
    folder: Path
    rows: Rows
    selected: dict[str, Any] | None  # None of a shard, which chooses nothing


class Chosen(NamedTuple):
    """The classifier that the test split is for."""

    lane: int | None  # None of one that was trained again on all rows
    row: dict[str, Any]
    params: Params  # W (D, C), b (C,)
    curves: Curves  # each (E,)


def finish(
    folder: Path,
    problem: Problem,
    lanes: list[int],
    experiment: str,
    *,
    train_alone: Callable[[Tile], Output],
    before_seal: Callable[[Curves | None], None],
    tell: Report,
) -> Outcome:
    """Writes rows and curves, chooses, tests once, draws the report and seals.

    Args:
        folder: The run folder, all of whose pieces are finished.
        problem: Flags, data and lanes.
        lanes: The numbers of the lanes that the pieces must hold.
        experiment: The script, which the replay command names.
        train_alone: Trains the chosen setting on all rows, after cross-validation.
        before_seal: Called once, with the curves of the chosen lane if there is one,
            before the folder is sealed.
        tell: Takes a sentence for a person.

    Raises:
        ValueError: A piece is missing or damaged, or all lanes diverged.
    """
    config = problem.config
    rows, history = _write_results(folder, lanes, tell)
    if config.num_shards > 1:
        before_seal(None)
        # With its pieces, which the merged run needs.
        directory.seal(folder, without=report.PROGRESS)
        return Outcome(experiment, folder, rows, None)
    try:
        choice = selection.choose(
            rows, by=config.select_by, edges=config.sample is None
        )
        refit = _refit(choice, problem, train_alone) if config.folds else None
    except ValueError:
        before_seal(None)
        close(folder)  # the page shows the lanes; there is nothing to choose
        raise
    # Not above: a piece that cannot be read is trained again, so all must stay.
    chosen = refit or _trained(choice, folder, history)
    before_seal(chosen.curves)
    selected = _measured(choice, chosen, problem)
    static = problem.lanes[choice.rows[0]["lane"]].static
    scaling = problem.scalings[static.preprocessing]
    stored = model.Model(chosen.params, scaling, problem.dataset.class_names)
    model.save(folder / "selected.safetensors", stored)
    directory.write_json(folder / "selected.json", selected)
    close(folder)
    return Outcome(experiment, folder, rows, selected)


def _write_results(folder: Path, lanes: list[int], tell: Report) -> tuple[Rows, Curves]:
    """Puts the rows and curves of all pieces together, if no lane is missing."""
    pieces = checkpoint.finished(folder, ("lane", *record.CURVES), tell)
    rows = checkpoint.merged_rows(pieces)
    missing = sorted({*lanes} - {row["lane"] for row in rows})
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} lanes, the first is {missing[0]}; the same "
            "command trains them again"
        )
    directory.write_rows(folder / "results.jsonl", rows)
    history = record.merged_curves(piece.arrays for piece in pieces)
    directory.write_arrays(folder / "history.npz", history)
    return rows, history


def close(folder: Path) -> None:
    """Draws the report, seals the folder, drops what was kept for a resumption.

    In this order: a run that is killed in between is finished, and not trained again.
    """
    report.write(folder)
    directory.seal(folder, without=(checkpoint.FOLDER, report.PROGRESS))
    checkpoint.clear(folder)


def _measured(choice: Choice, chosen: Chosen, problem: Problem) -> dict[str, Any]:
    """Returns what ``selected.json`` says: the choice, and then the test."""
    static = problem.lanes[choice.rows[0]["lane"]].static
    scaling = problem.scalings[static.preprocessing]
    return {
        "lane": chosen.lane,
        "selected_by": problem.config.select_by,
        "reason": choice.reason,
        "ties": choice.ties,
        "warnings": choice.warnings,
        "repeats": {name: s._asdict() for name, s in choice.repeats.items()},
        "refit": chosen.lane is None,
        "row": chosen.row,
        # The test split is touched here and nowhere else.
        "test": evaluation.measure(
            chosen.params, *problem_lib.scaled(scaling, problem.dataset.test), static
        ),
    }


def _trained(choice: Choice, folder: Path, history: Curves) -> Chosen:
    """Returns the chosen setting's first lane, from its piece."""
    row = dict(choice.rows[0])
    lane = row["lane"]
    arrays = checkpoint.load_lane(folder, lane, ("W", "b"))
    index = history["lane"].tolist().index(lane)
    curves = {name: history[name][index] for name in record.CURVES}
    return Chosen(
        lane,
        row,
        Params(*(jnp.asarray(arrays[name]) for name in Params._fields)),
        curves,
    )


def _refit(
    choice: Choice, problem: Problem, train_alone: Callable[[Tile], Output]
) -> Chosen:
    """Returns the chosen setting trained once more, on all rows but the test's.

    It has seen its validation rows, so that its scores there say nothing.
    """
    first: Lane = problem.lanes[choice.rows[0]["lane"]]
    lane = first._replace(fold=None)
    tile = Tile(lane.static, lane.seed, (lane,))
    output = train_alone(tile)
    (row,) = sweep.make_rows(tile, output)
    arrays = sweep.make_arrays(tile, output)
    row |= {"lane": None, "val_loss": None, "val_accuracy": None}
    if row["status"] != "ok":
        raise ValueError(
            f"the chosen setting diverged ({row['reason']}) when it was trained on all "
            "rows; lower --learning_rate"
        )
    params = Params(*(jnp.asarray(arrays[name][0]) for name in Params._fields))
    return Chosen(None, row, params, {"train_loss": arrays["train_loss"][0]})
