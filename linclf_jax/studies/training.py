"""A study whose trials are trained by minibatches, many as one program."""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linclf_jax.params import Params
from linclf_jax.runs import formats, record, schema, store
from linclf_jax.runs.store import Store
from linclf_jax.scheduler import jobs, programs, progress, signals
from linclf_jax.scheduler.jobs import Job, Rungs
from linclf_jax.scheduler.programs import Programs
from linclf_jax.scheduler.scheduler import Limits, Scheduler
from linclf_jax.scheduler.signals import Stop
from linclf_jax.scheduler.worker import Halted
from linclf_jax.selection import halving, ranking
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.selection.ranking import Row
from linclf_jax.selection.resampling import FOLDS
from linclf_jax.studies import refit, training_data, validation
from linclf_jax.studies.study import Classifier, FitResults, Inputs, Key
from linclf_jax.training import trials
from linclf_jax.training.states import Data
from linclf_jax.training.trials import Trial, TrialBatch

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainingStudy:
    """What is trained, on what, and how a setting is chosen; see ``study.Study``."""

    name: str
    config: Any
    inputs: Mapping[Key, Inputs]
    trials: tuple[Trial, ...]  # numbered from 0
    width: int  # trials of a batch, on which their bits depend
    metric: str
    rule: str
    group_by: tuple[str, ...] = ()
    has_edges: bool = True
    selection_flags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    protocol: Mapping[str, Any] | None = None
    shard: tuple[int, int] | None = None  # index and number of shards
    halving: int | None = None  # one in how many settings goes on after a rung
    devices: str = "1"
    limits: Limits = dataclasses.field(default_factory=Limits)
    # Whether rows have val_loss_calibrated, and held-out rows are scored in float64.
    is_calibrated: bool = False
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of all rows
    origins: Sequence[Store] = ()  # of shards, whose batches are taken over

    def __post_init__(self) -> None:
        for key, data in self.data.items():
            trials.validate_data(data, self.inputs[key].num_classes)
        programs.choose_devices(self.devices)

    @functools.cached_property
    def data(self) -> dict[Key, Data]:
        """Training and validation rows, by ``inputs`` of a static choice."""
        return {key: training_data.make(each) for key, each in self.inputs.items()}

    @functools.cached_property
    def programs(self) -> Programs:
        """What is compiled, and lies on the devices."""
        devices = programs.choose_devices(self.devices)
        return Programs(self.data, self.width, devices)

    @functools.cached_property
    def jobs(self) -> tuple[Job, ...]:
        """What is trained first: all batches, or this shard's share of them."""
        batches = trials.make_batches(self.trials, self.width)
        every = jobs.first(batches, self.rungs)
        return every if self.shard is None else jobs.share(every, *self.shard)

    @property
    def rungs(self) -> Rungs | None:
        """When trials are ranked; None where all are trained to the end."""
        if self.halving is None:
            return None
        epochs = halving.rungs(self.trials[0].static.epochs, self.halving)
        return Rungs(epochs, self.halving, self.metric)

    def fit(self, store: Store, stop: Stop) -> FitResults:
        """Trains what the store does not hold, rung by rung, and reads all of it."""
        total, done = len(jobs.numbers(self.jobs)), 0
        self._take_over(store)
        progress.begin(total, self.metric)
        try:
            with self._scheduler(store, stop) as scheduler:
                for rows, restored in scheduler.train(self.jobs, self.rungs):
                    done += len(rows)
                    progress.update(rows, restored=restored)
                _logger.info(scheduler.memory_line())
        except Halted:
            raise signals.Stopped(_reason(stop), done, total) from None
        finally:
            progress.end()
        return self._results(store)

    def classifiers(
        self,
        selections: Sequence[Selection],
        results: FitResults,
        store: Store,
        stop: Stop,
    ) -> list[Classifier | Failure]:
        """Returns what was trained last; with folds, what is trained on all rows.

        A failure is a setting that diverges on all rows.
        """
        return [
            self._refitted(selection, store, stop)
            if self._inputs(selection).resampling == FOLDS
            else self._loaded(selection, results, store)
            for selection in selections
        ]

    def replay(self, row: Row, stop: Stop) -> Row:
        """Returns the row of a trial that is trained once more, as far as it was.

        Args:
            row: Of the results.
            stop: Says whether to stop.
        """
        trial = self.trials[row["trial"]]
        ended_early = row["status"] == ranking.RETIRED
        batch = TrialBatch(trial.static, trial.seed, (trial,))
        with self._scheduler(store.MemoryStore(), stop) as scheduler:
            steps = row["steps"] if ended_early else None
            output = scheduler.train_single(batch, steps)
        (again,) = trials.make_rows(batch, output, finished=not ended_early)
        return formats.plain(again)

    def _take_over(self, store: Store) -> None:
        """Copies the batches of shards that the store lacks."""
        for origin in self.origins:
            for job in self.jobs:
                batch = origin.load_batch(job.name)
                if batch is not None and store.load_batch(job.name) is None:
                    store.save_batch(job.name, batch)

    def _scheduler(self, store: Store, stop: Stop) -> Scheduler:
        return Scheduler(self.programs, store, self.limits, stop)

    def _results(self, run_store: Store) -> FitResults:
        batches = [*run_store.batches(("trial", *schema.CURVES))]
        rows: list[Row] = [*store.merged_rows(batches)]
        missing = sorted({*jobs.numbers(self.jobs)} - {row["trial"] for row in rows})
        if missing:
            raise ValueError(
                f"{run_store} lacks {len(missing)} trials, the first is {missing[0]}; "
                "the same command trains them again"
            )
        history = record.merged_curves(batch.arrays for batch in batches)
        if self.shard is not None:
            return FitResults(rows, history, (), {})
        rows, held_out = self._scored(rows, run_store)
        errors: dict[str, dict[int, float]] = {}
        for part in held_out:
            for metric, by_trial in validation.standard_errors(part).items():
                errors.setdefault(metric, {}).update(by_trial)
        # What trials that were retired would have come to on other rows is unknown.
        known = () if self.halving is not None else held_out
        return FitResults(rows, history, known, errors)

    def _scored(
        self, rows: Sequence[Row], store: Store
    ) -> tuple[list[Row], tuple[HeldOut, ...]]:
        """Returns rows with all their columns, and scores of each source of data."""
        scored, parts = [], []
        for name in dict.fromkeys(each.name for each in self.inputs.values()):
            keys = [key for key, each in self.inputs.items() if each.name == name]
            own = [row for row in rows if self._key(row) in keys]
            if self.is_calibrated:
                own, part = self._calibrated(own, store)
            else:
                inputs, width = self.inputs[keys[0]], self.width
                part = validation.score_settings(
                    store, self.trials, inputs, self.data, own, width=width
                )
            scored += [{**row, **self.columns} for row in own]
            parts.append(part)
        return sorted(scored, key=lambda row: row["trial"]), tuple(parts)

    def _calibrated(
        self, rows: Sequence[Row], store: Store
    ) -> tuple[list[Row], HeldOut]:
        members = [self.trials[row["trial"]] for row in rows]
        data = self.data[self._key(rows[0])]
        scores = validation.score_trials(store, members, data)
        means = [np.mean(scores[row["trial"]].calibrated) for row in rows]
        calibrated = [
            formats.plain({**row, "val_loss_calibrated": mean})
            for row, mean in zip(rows, means, strict=True)
        ]
        return calibrated, validation.settings_of_trials(scores, calibrated)

    def _key(self, row: Row) -> Key:
        return self.trials[row["trial"]].static.inputs

    def _inputs(self, selection: Selection) -> Inputs:
        return self.inputs[self._key(selection.rows[0])]

    def _first(self, selection: Selection) -> Trial:
        return self.trials[selection.rows[0]["trial"]]

    def _loaded(
        self, selection: Selection, results: FitResults, store: Store
    ) -> Classifier:
        row = selection.rows[0]
        arrays = store.load_trial(row["trial"], Params._fields)
        index = results.history["trial"].tolist().index(row["trial"])
        curves = {name: results.history[name][index] for name in schema.CURVES}
        return self._classifier(selection, store, arrays, row, curves)

    def _refitted(
        self, selection: Selection, store: Store, stop: Stop
    ) -> Classifier | Failure:
        num_rows = len(self._inputs(selection).labels)
        try:
            with self._scheduler(store, stop) as scheduler:
                (row,), arrays = refit.refit(
                    store,
                    self._first(selection),
                    selection,
                    num_rows,
                    scheduler.train_single,
                )
        except Halted:
            total = len(self.trials)
            raise signals.Stopped(_reason(stop), total, total) from None
        if row["status"] != "ok":
            return Failure(selection.group, refit.diverged(row))
        first = {name: array[0] for name, array in arrays.items()}
        curves = {"train_loss": first.pop("train_loss")}
        return self._classifier(selection, store, first, row, curves)

    def _classifier(
        self,
        selection: Selection,
        store: Store,
        arrays: Mapping[str, np.ndarray],
        row: Row,
        curves: Mapping[str, np.ndarray],
    ) -> Classifier:
        first, inputs = self._first(selection), self._inputs(selection)
        return Classifier(
            params=Params(*(jnp.asarray(arrays[name]) for name in Params._fields)),
            row=row,
            trial=row["trial"],
            refit=row["trial"] is None,
            num_rows=training_data.num_train_rows(inputs, row["fold"]),
            temperature=validation.temperature(
                store,
                self.trials,
                inputs,
                self.data[first.static.inputs],
                selection.rows,
            ),
            resampling=inputs.resampling,
            num_held_out=int(training_data.is_held_out(inputs).sum()),
            loss=first.static.loss,
            precision=first.static.precision,
            curves=curves,
        )


def _reason(stop: Stop) -> str:
    return stop.requested() or "a signal"
