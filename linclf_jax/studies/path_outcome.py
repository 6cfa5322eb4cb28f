"""What a path comes to, once it is solved: results, choice, test, report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.cli import console
from linclf_jax.config import penalty
from linclf_jax.exact import status
from linclf_jax.reports import answer, path_page, validation_text, warning_text
from linclf_jax.runs import checkpoint, directory, formats, model
from linclf_jax.selection import choose, path_choice
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.selection.cross_validation import CrossValidation
from linclf_jax.selection.path_choice import Choices
from linclf_jax.studies import (
    evaluation,
    exhibits,
    last_step,
    leakage,
    path_rows,
    validated,
)
from linclf_jax.studies import problem as problem_lib
from linclf_jax.studies.path_problem import Problem
from linclf_jax.training.settings import Static

Rows = path_rows.Rows


class Outcome(NamedTuple):
    """What a finished path leaves in memory; the folder holds all but the time."""

    folder: Path
    rows: Rows
    selected: dict[str, Any]
    seconds: float  # of all fits, compilation and scores included


def finish(
    folder: Path, problem: Problem, found: CrossValidation, seconds: float
) -> Outcome:
    """Writes rows and curves, chooses, tests once, draws the report and seals.

    Args:
        folder: The run folder.
        problem: Flags and data.
        found: All fits, and how well they do.
        seconds: What they took.

    Raises:
        ValueError: No penalty has fits that ended well; rows and curves are written.
        last_step.Unfinished: The test file or the page failed, or the disk is full.
    """
    found_rows = path_rows.rows(problem, found)
    directory.write_rows(folder / "results.jsonl", found_rows)
    directory.write_arrays(folder / "history.npz", path_rows.history(found))
    choices = path_lib.choose(found, problem.config.select_by)
    with last_step.guarded("path", folder):
        selected = _conclude(folder, problem, found, choices, found_rows)
    return Outcome(folder, found_rows, formats.plain(selected), seconds)


def _conclude(
    folder: Path,
    problem: Problem,
    found: CrossValidation,
    choices: Choices,
    found_rows: Rows,
) -> dict[str, Any]:
    """Tests what is chosen, draws the page and seals; may be done again if it fails."""
    dataset, place = problem.dataset, getattr(choices, problem.config.choice)
    static = Static(num_classes=len(dataset.class_names))
    params = jax.tree.map(lambda array: jnp.asarray(array[place]), found.params)
    test, test_data = last_step.opened(dataset.test, folder)  # here and nowhere else
    selected = {
        **describe(problem, found, choices),
        "row": found_rows[(place + 1) * found.info.status.shape[1] - 1],
        "test": evaluation.measure(
            params,
            *problem_lib.scaled(problem.scaling, test),
            static,
            temperature=_known(float(found.rows.temperature[place])),
            duplicates=leakage.in_test(dataset, test),
        ),
        "test_data": test_data,
    }
    stored = model.Model(
        params,
        problem.scaling,
        dataset.class_names,
        feature_names=dataset.feature_names,
    )
    model.save(folder / "selected.safetensors", stored)
    exhibits.keep(folder, stored, test, static, dataset.image_shape)
    directory.write_json(folder / "selected.json", selected)
    last_step.draw_page(path_page.write, folder)
    directory.seal(folder, without=checkpoint.FOLDER)
    checkpoint.clear(folder)
    return selected


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def describe(
    problem: Problem, found: CrossValidation, choices: Choices
) -> dict[str, Any]:
    """Returns what ``selected.json`` says before the test: the choice, and why."""
    rule, num_rows = problem.config.choice, len(problem.labels)
    held_out, by = problem.held_out, problem.config.select_by

    def told(place: int) -> dict[str, Any]:
        l2 = float(found.l2[place])
        return {
            "l2": l2,
            "C": path_rows.inverse_strength(problem, l2, num_rows),
            "loss": found.loss.mean[place],
            "standard_error": found.loss.standard_error[place],
            "accuracy": found.accuracy.mean[place],
            "loss_calibrated": found.loss_calibrated.mean[place],
            "temperature": found.rows.temperature[place],
        }

    place = getattr(choices, rule)
    eligible = path_lib.ended_well(found.info).all(axis=1)
    return {
        "lane": (place + 1) * found.info.status.shape[1] - 1,
        "selected_by": by if problem.folds is not None else by.replace("val", "loo"),
        "l2": told(place)["l2"],
        "C": told(place)["C"],
        "choice": rule,
        "reason": _reason(problem, found, choices),
        "ties": found.l2[list(choices.ties)],
        "minimum": told(choices.min),
        "one_standard_error": told(choices.one_standard_error),
        "validation": {
            **validated.interval(
                float(found.accuracy.mean[place]), int(held_out.sum())
            ),
            "duplicates": problem.duplicates._asdict(),
        },
        "optimism": validated.flattery(
            *(
                values[eligible][:, held_out]
                for values in (found.rows.loss, found.rows.right)
            ),
            by=by,
            calibrated=found.rows.calibrated[eligible][:, held_out],
        ),
        "warnings": list(warnings(problem, found, choices)),
        "fits": found.info.status.size,
        "worst_relative_gap": np.max(found.info.relative_gap),
        "tol": problem.config.tol,
    }


def _reason(problem: Problem, found: CrossValidation, choices: Choices) -> str:
    by = problem.config.select_by
    what = f"estimated leave-one-out {path_choice.NAMES[by]}"
    if problem.folds is not None:
        what = f"mean {path_choice.NAMES[by]} over {problem.config.folds} folds"
    return path_choice.reason(
        choices,
        *(float(array[choices.min]) for array in path_lib.criterion(found, by)),
        by=by,
        what=what,
        rule=problem.config.choice,
        count=len(problem.l2s),
    )


def warnings(
    problem: Problem, found: CrossValidation, choices: Choices
) -> Iterator[str]:
    """Yields what a person should know before trusting the choice."""
    yield from problem.warnings
    last = len(found.l2) - 1
    for what, place in (
        ("best l2", choices.min),
        ("strongest l2 within one standard error", choices.one_standard_error),
    ):
        # l2 = 0 cannot be lowered, so it is not an edge.
        if last and found.l2[place] > 0 and place in (0, last):
            end = "smallest" if place else "largest"
            yield (
                f"the {what}, {found.l2[place]:g}, is the {end} of the grid; widen "
                f"--{penalty.flag(problem.config.C)}"
            )
    failed = ~path_lib.ended_well(found.info)
    if failed.any():
        ends = ", ".join(sorted(set(found.info.status[failed].tolist())))
        yield (
            f"{failed.sum()} of {failed.size} fits ended as {ends}; their penalties, "
            f"{failed.any(axis=1).sum()} of {len(failed)}, were not eligible"
        )
    stalled = found.info.status == status.STALLED
    if stalled.any():
        yield (
            f"{stalled.sum()} of {stalled.size} fits made no further progress in this "
            "arithmetic; what is known of them is a relative gap of up to "
            f"{found.info.relative_gap[stalled].max():.1e}"
        )


def summary(outcome: Outcome) -> str:
    """Returns what is printed at the end."""
    folder, _, selected, seconds = outcome
    columns = ["choice", "l2", "C", "loss", "standard_error", "accuracy"]
    if selected["selected_by"].endswith("calibrated"):
        columns.append("loss_calibrated")
    both = [
        {"choice": rule, **selected[name]}
        for rule, name in zip(
            choose.RULES, ("minimum", "one_standard_error"), strict=True
        )
    ]
    flattery = validation_text.flattery(selected)
    gap, tol = (console.number(selected[k]) for k in ("worst_relative_gap", "tol"))
    return "\n".join(
        [
            "Both choices, with the loss and accuracy on rows that were held out",
            console.table(both, columns),
            "",
            f"Chosen: l2 {console.number(selected['l2'])}; {selected['reason']}",
            f"  held out    accuracy {selected['validation']['accuracy']:.4f} "
            f"({validation_text.interval(selected)})",
            *([f"  optimism    {flattery}"] if flattery else []),
            f"  test        {console.test_line(selected['test'])}",
            f"  certified   {selected['fits']} fits in {seconds:.1f} s, the worst "
            f"relative gap {gap} (asked for {tol})",
            *(f"Warning: {text}" for text in warning_text.warnings(selected)),
            "",
            f"Run folder  {folder}",
            f"Report      {folder / 'report.html'}",
            f"Replay      {' '.join(answer.replay('path', folder))}",
        ]
    )
