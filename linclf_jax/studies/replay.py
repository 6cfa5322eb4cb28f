"""A trial of a finished or unfinished run, trained again and compared with its row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from linclf_jax.config import flat
from linclf_jax.config.path import PathConfig
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.runs import configuration, record
from linclf_jax.scheduler import signals
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import path as path_study
from linclf_jax.studies import probe, run_files, sweep
from linclf_jax.studies.study import Study

COMPARED = ("status", "reason", "steps", "epoch", *ranking.SCORES, "objective", "gap")


class Replay(NamedTuple):
    """A trial as its run has it, and as it came out now."""

    trial: int
    row: Row
    again: Row
    environment: list[str]  # in what the two differ

    @property
    def differing(self) -> list[str]:
        """The columns in which the two rows differ."""
        return [name for name in self.compared if self.row[name] != self.again[name]]

    @property
    def compared(self) -> list[str]:
        """The columns that are compared: what came of the trial."""
        return [name for name in COMPARED if name in self.row and name in self.again]

    @property
    def distance(self) -> float:
        """The largest difference of a score that both have; NaN without one."""
        distances = [
            abs(self.row[name] - self.again[name])
            for name in ranking.SCORES
            if name in self.compared and None not in (self.row[name], self.again[name])
        ]
        return max(distances, default=float("nan"))


def run(path: Path, trial: int) -> Replay:
    """Trains a trial of a run again, as far as the run trained it; writes nothing.

    Raises:
        ValueError: There is no such trial, or data and flags are no longer the same.
    """
    run_record = record.read(path)
    row = _row(path, run_record.rows, trial)
    study = _prepare(run_record.config["experiment"], path / run_files.FLAGS)
    here = run_files.describe(study.plan)
    environment = _differences(path, run_record.config, here)
    # Nothing is written, so there is nothing to save when a signal comes.
    return Replay(trial, row, study.replay(row, signals.Stop()), environment)


def _prepare(name: str, flagfile: Path) -> Study:
    if name == "path":
        return path_study.prepare(flat.read(flagfile, PathConfig))
    if name == "probe":
        return probe.prepare(flat.read(flagfile, ProbeConfig))
    return sweep.prepare(flat.read(flagfile, SweepConfig), name)


def _row(path: Path, rows: Sequence[Row], trial: int) -> Row:
    by_number = {row["trial"]: row for row in rows}
    if trial not in by_number:
        raise ValueError(
            f"--trial is {trial}; {path} has {len(by_number)} trials from "
            f"{min(by_number)} to {max(by_number)}"
        )
    return by_number[trial]


def _differences(
    path: Path, there: Mapping[str, Any], here: Mapping[str, Any]
) -> list[str]:
    """Returns in what environments differ; refuses other differences."""
    differences = configuration.differences(there, here)
    environment = [d for d in differences if d.startswith("environment.")]
    if others := [d for d in differences if d not in environment]:
        raise ValueError(f"{path} is of other data or flags: {'; '.join(others)}")
    return environment
