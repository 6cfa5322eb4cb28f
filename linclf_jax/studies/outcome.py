"""What a sweep comes to, once its pieces are finished: results, choice, test, report.

Everything is read from the pieces in the run folder, so that it makes no difference
whether one process trained them, several one after the other, or several shards.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from linclf_jax.config import penalty
from linclf_jax.data.datasets import Split
from linclf_jax.data.duplicates import Duplicates
from linclf_jax.params import Params
from linclf_jax.reports import sweep_page
from linclf_jax.runs import checkpoint, directory, model, record
from linclf_jax.scheduler.jobs import Rows
from linclf_jax.selection import choose
from linclf_jax.selection.choose import Choice
from linclf_jax.studies import (
    cells,
    evaluation,
    exhibits,
    featured,
    last_step,
    leakage,
    validated,
)
from linclf_jax.studies import problem as problem_lib
from linclf_jax.studies import refit as refit_lib
from linclf_jax.studies.cells import Cell, Decision
from linclf_jax.studies.problem import Problem
from linclf_jax.studies.refit import Chosen, Curves
from linclf_jax.training.execution import Output
from linclf_jax.training.settings import Static
from linclf_jax.training.trials import TrialBatch

Report = Callable[[str], None]


class Outcome(NamedTuple):
    """What a finished sweep leaves in memory; the folder holds all of it."""

    experiment: str
    folder: Path
    rows: Rows
    selected: dict[str, Any] | None  # None of a shard, which chooses nothing
    table: Sequence[dict[str, Any]] = ()  # the cells of ``--table``


def finish(
    folder: Path,
    problem: Problem,
    lanes: list[int],
    experiment: str,
    *,
    train_alone: Callable[[TrialBatch, int | None], Output],
    before_seal: Callable[[Curves | None], None],
    tell: Report,
) -> Outcome:
    """Writes rows and curves, chooses, tests once, draws the report and seals.

    Args:
        folder: The run folder, all of whose pieces are finished.
        problem: Flags, data and lanes.
        lanes: The numbers of the lanes that the pieces must hold.
        experiment: The script, which the replay command names.
        train_alone: Trains the chosen setting on all rows, after cross-validation, to a
            step or the end.
        before_seal: Called once, with the curves of the chosen lane if there is one,
            before the folder is sealed.
        tell: Takes a sentence for a person.

    Raises:
        ValueError: A piece is missing or damaged, or all lanes diverged.
        last_step.Unfinished: The test file or the page failed, or the disk is full.
    """
    config = problem.config
    rows, history = _write_results(folder, lanes, tell)
    if config.num_shards > 1:
        before_seal(None)
        # With its pieces, which the merged run needs.
        directory.seal(folder, without=sweep_page.PROGRESS)
        return Outcome(experiment, folder, rows, None)
    # Before the choice, which may need it, and from pieces: the test is far away.
    by_row = validated.read(folder, problem, rows, tell)
    errors = validated.standard_errors(by_row, config.select_by)
    refit = functools.partial(refit_lib.refit, folder, problem, train_alone, tell)
    decide = functools.partial(_decide, problem, errors, refit)
    try:
        decision = decide(rows)
    except ValueError:
        with last_step.guarded(experiment, folder):
            before_seal(None)
            close(folder)  # the page shows the lanes; there is nothing to choose
        raise
    decided = cells.decide(rows, config.table, decide, decision)
    with last_step.guarded(experiment, folder):
        selected, table = _conclude(
            folder, problem, history, by_row, decision, decided, before_seal
        )
    return Outcome(experiment, folder, rows, selected, table)


def _conclude(
    folder: Path,
    problem: Problem,
    history: Curves,
    by_row: validated.Validated,
    decision: Decision,
    decided: Sequence[Cell],
    before_seal: Callable[[Curves | None], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tests what is chosen, draws the page and seals; may be done again if it fails."""
    config = problem.config
    # All choices are made: here, and nowhere before, the test split is looked at.
    test, test_data = last_step.opened(problem.dataset.test, folder)
    duplicates = leakage.in_test(problem.dataset, test)
    measure = functools.partial(_measured, folder, problem, history, test, duplicates)
    # Not before: a piece that cannot be read is trained again, so all must stay.
    chosen, selected = measure(decision)
    before_seal(chosen.curves)
    selected["test_data"] = test_data
    table = cells.describe(
        decided, lambda d: selected if d is decision else measure(d)[1]
    )
    # What is added from here on describes the whole run: cells do not have it.
    selected["warnings"] = [*problem_lib.warnings(problem), *selected["warnings"]]
    if config.halving is None:
        # What lanes that were retired would have come to cannot be known.
        luck = validated.flattery(by_row.loss, by_row.right, by=config.select_by)
        selected["optimism"] = luck
    stored, static = _model(decision, chosen, problem), _static(decision, problem)
    model.save(folder / "selected.safetensors", stored)
    exhibits.keep(folder, stored, test, static, problem.dataset.image_shape)
    if table:
        directory.write(folder / record.TABLE, {"cells": table})
    directory.write(folder / "selected.json", selected)
    close(folder)
    return selected, table


def _decide(
    problem: Problem,
    errors: Mapping[int, float],
    refit: Callable[[Choice], Chosen],
    rows: Rows,
) -> Decision:
    """Returns what is chosen among lanes, by validation data alone."""
    config = problem.config
    choice = choose.choose(
        rows,
        by=config.select_by,
        rule=config.choice,
        errors=errors,
        edges=config.sample is None,
        flags={"l2": penalty.flag(config.C)},
    )
    return Decision(choice, refit(choice) if config.folds else None)


def _model(decision: Decision, chosen: Chosen, problem: Problem) -> model.Model:
    static, dataset = _static(decision, problem), problem.dataset
    return model.Model(
        chosen.params,
        problem.scalings[static.inputs],
        dataset.class_names,
        static.features,
        dataset.image_shape,
        dataset.feature_names,
    )


def _static(decision: Decision, problem: Problem) -> Static:
    return problem.lanes[decision.choice.rows[0]["trial"]].static


def _write_results(folder: Path, lanes: list[int], tell: Report) -> tuple[Rows, Curves]:
    """Puts the rows and curves of all pieces together, if no lane is missing."""
    pieces = list(checkpoint.each(folder, ("trial", *record.CURVES), tell))
    rows = checkpoint.merged_rows(pieces)
    missing = sorted({*lanes} - {row["trial"] for row in rows})
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} lanes, the first is {missing[0]}; the same "
            "command trains them again"
        )
    directory.write(folder / "results.jsonl", rows)
    history = record.merged_curves(piece.arrays for piece in pieces)
    directory.write(folder / "history.npz", history)
    return rows, history


def close(folder: Path) -> None:
    """Draws the report, seals the folder, drops what was kept for a resumption.

    In this order: a run that is killed in between is finished, and not trained again.
    """
    last_step.draw_page(sweep_page.write, folder)
    directory.seal(folder, without=(checkpoint.FOLDER, sweep_page.PROGRESS))
    checkpoint.clear(folder)


def _measured(
    folder: Path,
    problem: Problem,
    history: Curves,
    test: Split,
    duplicates: Duplicates,
    decision: Decision,
) -> tuple[Chosen, dict[str, Any]]:
    """Returns a classifier, and what ``selected.json`` says of it: also of the test."""
    choice, static = decision.choice, _static(decision, problem)
    chosen = decision.refit or _trained(choice, folder, history)
    temperature = validated.temperature(folder, problem, choice)
    accuracy = choice.repeats["val_accuracy"].mean
    validation_rows = int(problem_lib.held_out(problem).sum())
    rows = featured.split(static.features, test, problem.dataset.image_shape)
    measured = evaluation.measure(
        chosen.params,
        *problem_lib.scaled(problem.scalings[static.inputs], rows),
        static,
        temperature=temperature,
        duplicates=duplicates,
    )
    return chosen, {
        "trial": chosen.lane,
        "selected_by": problem.config.select_by,
        "choice": problem.config.choice,
        "reason": choice.reason,
        "best": choice.best,
        "standard_error": choice.standard_error,
        "ties": choice.ties,
        "warnings": choice.warnings,
        "repeats": {name: s._asdict() for name, s in choice.repeats.items()},
        "refit": chosen.lane is None,
        "row": chosen.row,
        "validation": {
            **validated.interval(accuracy, validation_rows),
            "duplicates": problem.duplicates._asdict(),
        },
        "optimism": None,
        "test": measured,
    }


def _trained(choice: Choice, folder: Path, history: Curves) -> Chosen:
    """Returns the chosen setting's first lane, from its piece."""
    row = dict(choice.rows[0])
    lane = row["trial"]
    arrays = checkpoint.load_lane(folder, lane, ("W", "b"))
    index = history["trial"].tolist().index(lane)
    curves = {name: history[name][index] for name in record.CURVES}
    return Chosen(
        lane,
        row,
        Params(*(jnp.asarray(arrays[name]) for name in Params._fields)),
        curves,
    )
