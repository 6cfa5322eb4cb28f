"""A study whose trials are trained by minibatches, many as one program."""

import dataclasses
import functools
import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.params import Params
from linclf_jax.runs import formats, schema, store
from linclf_jax.runs.store import Batch, Store
from linclf_jax.scheduler import jobs, memory, programs, progress, signals, tensorboard
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
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies import validation
from linclf_jax.studies.study import Classifier, FitResults, Key, Plan
from linclf_jax.training import program, trials
from linclf_jax.training.states import Data
from linclf_jax.training.trials import Trial, TrialBatch

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Resources:
    """What trains, and how much it may take. Nothing of it changes a result."""

    devices: Sequence[Any]
    limits: Limits


def resources(config: SweepConfig | ProbeConfig) -> Resources:
    """Returns what the flags name, before any data is read.

    Raises:
        ValueError: There are not so many devices, a size cannot be read, or a package
            is missing.
    """
    scheduler = config.scheduler
    budget = scheduler.memory_budget
    limits = Limits(
        memory_budget=None if budget is None else memory.parse_size(budget),
        concurrent_batches=scheduler.concurrent_batches,
        checkpoint_every=config.runtime.checkpoint_every,
    )
    if scheduler.tensorboard:
        tensorboard.require()
    return Resources(programs.choose_devices(scheduler.devices), limits)


@dataclasses.dataclass(frozen=True)
class TrainingStudy:
    """What is trained, on what, and how a setting is chosen; see ``study.Study``."""

    plan: Plan
    trials: tuple[Trial, ...]  # numbered from 0
    width: int  # trials of a batch, on which their bits depend
    resources: Resources
    halving: int | None = None  # one in how many settings goes on after a rung
    origins: Sequence[Store] = ()  # of shards, whose batches are taken over

    def __post_init__(self) -> None:
        for key, data in self.data.items():
            trials.validate_data(data, self.plan.inputs[key].num_classes)

    @functools.cached_property
    def data(self) -> dict[Key, Data]:
        """Training and validation rows, by ``inputs`` of a static choice."""
        return {key: inputs_lib.data(each) for key, each in self.plan.inputs.items()}

    @functools.cached_property
    def programs(self) -> Programs:
        """What is compiled, and lies on the devices."""
        return Programs(self.data, self.width, self.resources.devices)

    @functools.cached_property
    def jobs(self) -> tuple[Job, ...]:
        """What is trained first: all batches, or those of this shard.

        A batch is the same batch in every shard, so that shards together train what one
        process would have trained.
        """
        batches = trials.make_batches(self.trials, self.width)
        index, count = self.plan.shard or (0, 1)
        return jobs.first(batches, self.rungs)[index::count]

    @property
    def rungs(self) -> Rungs | None:
        """When trials are ranked; None where all are trained to the end."""
        if self.halving is None:
            return None
        epochs = halving.rungs(self.trials[0].static.epochs, self.halving)
        return Rungs(epochs, self.halving, self.plan.metric)

    def fit(self, store: Store, stop: Stop) -> FitResults:
        """Trains what the store does not hold, rung by rung, and reads all of it."""
        total, done = len(jobs.numbers(self.jobs)), 0
        self._take_over(store)
        progress.begin(total, self.plan.metric)
        try:
            with self._scheduler(store, stop) as scheduler:
                for rows, restored in scheduler.train(self.jobs, self.rungs):
                    done += len(rows)
                    progress.update(rows, restored=restored)
                _logger.info(scheduler.memory_line())
        except Halted:
            raise _stopped(stop, done, total) from None
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
        outcomes = []
        for selection in selections:
            row = selection.rows[0]
            if self.plan.inputs[self._key(row)].resampling == FOLDS:
                outcomes.append(self._refitted(selection, store, stop))
                continue
            arrays = store.load_trial(row["trial"], Params._fields)
            index = results.history["trial"].tolist().index(row["trial"])
            arrays |= {name: results.history[name][index] for name in schema.CURVES}
            outcomes.append(self._classifier(selection, store, row, arrays))
        return outcomes

    def replay(self, row: Row, stop: Stop) -> Row:
        """Returns the row of a trial that is trained once more, as far as it was."""
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
        return Scheduler(self.programs, store, self.resources.limits, stop)

    def _results(self, run_store: Store) -> FitResults:
        batches = run_store.batches(("trial", *schema.CURVES))
        merged, history = store.merged(batches)
        rows: list[Row] = [*merged]
        missing = sorted({*jobs.numbers(self.jobs)} - {row["trial"] for row in rows})
        if missing:
            raise ValueError(
                f"{run_store} lacks {len(missing)} trials, the first is {missing[0]}; "
                "the same command trains them again"
            )
        assert history is not None  # every trial that is trained has curves
        if self.plan.shard is not None:
            return FitResults(rows, history, (), {})
        rows, held_out = self._scored(rows, run_store)
        errors = validation.standard_errors(held_out)
        # What trials that were retired would have come to on other rows is unknown.
        known = () if self.halving is not None else held_out
        return FitResults(rows, history, known, errors)

    def _scored(
        self, rows: Sequence[Row], store: Store
    ) -> tuple[list[Row], tuple[HeldOut, ...]]:
        """Returns rows with all their columns, and scores of each source of data."""
        if self.plan.protocol is None:  # one source, whose rows are scaled otherwise
            inputs, width = next(iter(self.plan.inputs.values())), self.width
            scores = validation.score_settings(
                store, self.trials, inputs, self.data, rows, width=width
            )
            return [*rows], (scores,)
        calibrated, parts = [], []
        for key, data in self.data.items():
            own = [row for row in rows if self._key(row) == key]
            own, scores = validation.calibrate_trials(store, own, data)
            calibrated += own
            parts.append(scores)
        return calibrated, tuple(parts)

    def _key(self, row: Row) -> Key:
        return self.trials[row["trial"]].static.inputs

    def _refitted(
        self, selection: Selection, store: Store, stop: Stop
    ) -> Classifier | Failure:
        """Trains a setting on all rows, once: what comes after it may fail."""
        name = f"refit-{selection.rows[0]['trial']:06d}"
        batch = store.load_batch(name, apart=True)
        if batch is None:
            batch = self._train_on_all_rows(selection, store, stop)
            store.save_batch(name, batch, apart=True)
        (row,), arrays = batch
        if row["status"] != "ok":
            return Failure(
                selection.group,
                f"the chosen setting diverged ({row['reason']}) when it was trained on "
                "all rows; lower --learning_rate",
            )
        first = {name: array[0] for name, array in arrays.items()}
        return self._classifier(selection, store, row, first)

    def _train_on_all_rows(
        self, selection: Selection, store: Store, stop: Stop
    ) -> Batch:
        """Returns what came of a setting that may have diverged.

        It has seen its held-out rows, so that its scores there say nothing.
        """
        trial = self.trials[selection.rows[0]["trial"]]
        static, steps = trial.static, None
        num_rows = len(self.plan.inputs[static.inputs].labels)
        if static.keep == "best":
            # No rows are left to find its best epoch on: it ends where its folds did.
            epochs = statistics.median_high(row["epoch"] for row in selection.rows)
            steps = epochs * program.steps_per_epoch(num_rows, static)
            static = dataclasses.replace(static, keep="last")
        trial = trial._replace(static=static, fold=None, num_rows=num_rows)
        batch = TrialBatch(static, trial.seed, (trial,))
        try:
            with self._scheduler(store, stop) as scheduler:
                output = scheduler.train_single(batch, steps)
        except Halted:
            raise _stopped(stop, len(self.trials), len(self.trials)) from None
        (row,) = trials.make_rows(batch, output)
        row |= {"trial": None, "val_loss": None, "val_accuracy": None}
        arrays = trials.make_arrays(batch, output)
        names = (*Params._fields, "train_loss")
        return Batch([formats.plain(row)], {name: arrays[name] for name in names})

    def _classifier(
        self,
        selection: Selection,
        store: Store,
        row: Row,
        arrays: Mapping[str, np.ndarray],
    ) -> Classifier:
        """Returns a classifier of parameters, and of curves by the names of them."""
        static = self.trials[selection.rows[0]["trial"]].static
        inputs, data = self.plan.inputs[static.inputs], self.data[static.inputs]
        return Classifier(
            selection=selection,
            params=Params(*(jnp.asarray(arrays[name]) for name in Params._fields)),
            row=row,
            refit=row["trial"] is None,
            num_rows=inputs_lib.num_train_rows(inputs, row["fold"]),
            temperature=validation.temperature(
                store, static, inputs, data, selection.rows
            ),
            resampling=inputs.resampling,
            num_held_out=int(inputs_lib.is_held_out(inputs).sum()),
            loss=static.loss,
            precision=static.precision,
            curves={name: arrays[name] for name in schema.CURVES if name in arrays},
        )


def _stopped(stop: Stop, done: int, total: int) -> signals.Stopped:
    return signals.Stopped(stop.requested() or "a signal", done, total)
