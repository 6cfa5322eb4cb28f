"""Trains one linear classifier: the sweep's flags, each with a single value.

    python -m experiments.train --optimizer=adam --learning_rate=0.1 --l2=1e-3

It is a sweep of one lane: the same program at the same ``--tile_width``, filled up with
copies whose results are dropped. So the lane's row has the same bits as in the sweep
that it comes from; with ``--tile_width=1`` it takes a fraction of the time.

    python -m experiments.train --replay=runs/my-sweep --lane=174

trains that lane of a run again, alone, and says how far it is from its row: by no bit,
on the machine that made the run.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments import sweep
from linclf_jax.cli import compilation_cache, console
from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.cli.options import Config
from linclf_jax.config.data import DataFlags
from linclf_jax.runs import configuration, directory, formats, record
from linclf_jax.scheduler import signals
from linclf_jax.scheduler.scheduler import Engine
from linclf_jax.selection import ranking
from linclf_jax.studies import folders, outcome
from linclf_jax.studies import problem as problem_lib
from linclf_jax.training import search_space
from linclf_jax.training import trials as sweep_lib

_REPLAY = flags.DEFINE_string("replay", None, "A run folder, a lane of which to train.")
_LANE = flags.DEFINE_integer("lane", None, "Which lane of --replay.")
# Flags that only many lanes have a use for.
_OF_SEVERAL = ("sample", "folds", "halving", "sweep_file", "num_shards", "table")
COMPARED = ("status", "reason", "steps", "epoch", *ranking.SCORES)


class Replay(NamedTuple):
    """A lane as its run has it, and as it came out now."""

    lane: int
    row: Mapping[str, Any]
    again: Mapping[str, Any]
    environment: list[str]  # in what the two differ


def run(config: Config) -> outcome.Outcome:
    """Trains the one lane that ``config`` describes and writes its run folder.

    Raises:
        ValueError: A flag has several values; or as ``sweep.run`` does.
    """
    of_data = {field.name for field in dataclasses.fields(DataFlags)}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in of_data:  # names of columns are no values to compare
            continue
        if field.name in _OF_SEVERAL:
            if value != field.default:
                raise ValueError(
                    f"--{field.name} is for experiments.sweep; expected it unset"
                )
            continue
        if isinstance(value, search_space.Range):
            value = search_space.values(value)
        if isinstance(value, tuple) and len(value) != 1:
            raise ValueError(
                f"--{field.name} has {len(value)} values; expected one, or use "
                "experiments.sweep"
            )
    return sweep.run(config, experiment="train")


def replay(folder: Path, lane: int) -> Replay:
    """Trains a lane of a run again, as far as the run trained it, and writes nothing.

    Raises:
        ValueError: There is no such lane, or data and flags are no longer the same.
    """
    run_record = record.read(folder)
    rows = {row["trial"]: row for row in run_record.rows}
    if lane not in rows:
        raise ValueError(
            f"--lane is {lane}; {folder} has {len(rows)} lanes from {min(rows)} to "
            f"{max(rows)}"
        )
    row = rows[lane]
    config = shared_flags.read(folder / "flags.txt")
    problem = problem_lib.prepare(config)
    here = folders.describe(
        problem.config, problem.dataset, run_record.config["experiment"]
    )
    differences = configuration.differences(run_record.config, here)
    environment = [d for d in differences if d.startswith("environment.")]
    if len(environment) < len(differences):
        raise ValueError(
            f"{folder} is of other data or flags: "
            f"{'; '.join(d for d in differences if d not in environment)}"
        )
    # Nothing is written, so there is nothing to save when a signal comes.
    with Engine(folder, problem, signals.Stop(), folders.tell) as engine:
        found = problem.lanes[lane]
        tile = sweep_lib.TrialBatch(found.static, found.seed, (found,))
        retired = row["status"] == ranking.RETIRED
        output = engine.alone(tile, row["steps"] if retired else None)
        (again,) = sweep_lib.make_rows(tile, output, finished=not retired)
    return Replay(lane, row, formats.plain(again, "row"), environment)


def report(found: Replay) -> str:
    """Returns both rows side by side, and how far apart they are."""
    differ = [name for name in COMPARED if found.row[name] != found.again[name]]
    lines = [
        {"": name, "row": found.row[name], "again": found.again[name]}
        for name in COMPARED
    ]
    verdict = f"lane {found.lane} has the bits of its row"
    if differ:
        distances = [
            abs(found.row[name] - found.again[name])
            for name in ranking.SCORES
            if None not in (found.row[name], found.again[name])
        ]
        verdict = (
            f"lane {found.lane} differs from its row in {', '.join(differ)}; scores by "
            f"{max(distances, default=float('nan')):.3g} at most"
        )
    notes = [f"Made elsewhere: {line}" for line in found.environment]
    return "\n".join([console.table(lines, ["", "row", "again"]), *notes, verdict])


def curves(outcome: outcome.Outcome) -> str:
    """Returns the learning curve, ten epochs of it and the last, as a table."""
    history = directory.read(outcome.folder / "history.npz")
    names = ("train_loss", "val_loss", "val_accuracy")
    epochs = history["val_loss"].shape[1]
    shown = sorted({*range(0, epochs, max(1, epochs // 10)), epochs - 1})
    rows = [
        {"epoch": epoch + 1, **{name: float(history[name][0, epoch]) for name in names}}
        for epoch in shown
    ]
    return console.table(rows, ["epoch", *names])


def _check_no_others() -> None:
    """Refuses flags that a replay would not heed."""
    names = [field.name for field in dataclasses.fields(Config)]
    given = [f"--{name}" for name in names if flags.FLAGS[name].present]
    if ignored := [flag for flag in given if flag != "--compilation_cache"]:
        raise ValueError(
            f"--replay takes all flags from its run folder; expected no "
            f"{', '.join(ignored)} beside it"
        )


def main() -> None:
    """Trains the classifier that the flags describe, or a lane of a run again."""
    config = shared_flags.from_flags()
    compilation_cache.enable_cache(config.compilation_cache)
    folder, lane = _REPLAY.value, _LANE.value
    if folder is not None and lane is not None:
        _check_no_others()
        print(report(replay(Path(folder), lane)))
        return
    if folder is not None or lane is not None:
        raise ValueError("expected --replay=RUN_FOLDER and --lane=NUMBER together")
    outcome = run(config)
    print(curves(outcome))
    print()
    print(console.summary(*outcome))


if __name__ == "__main__":
    shared_flags.define(Config())
    launch.launch(main)
