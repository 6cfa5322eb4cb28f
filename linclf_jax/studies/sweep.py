"""A sweep of hyper-parameters: data and trials as the flags say, none trained yet."""

import dataclasses

import numpy as np

from linclf_jax.config import data, search_space
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.data import images
from linclf_jax.data.datasets import Dataset
from linclf_jax.scheduler import memory, programs, tensorboard
from linclf_jax.scheduler.scheduler import Limits
from linclf_jax.selection import folds, resampling
from linclf_jax.studies import inputs
from linclf_jax.studies.study import Inputs, Key
from linclf_jax.studies.training import TrainingStudy
from linclf_jax.training import trials
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import RAW
from linclf_jax.training.trials import Trial


def prepare(config: SweepConfig, name: str = "sweep") -> TrainingStudy:
    """Loads and scales the data and lays out the trials, after checking every flag.

    Args:
        config: All flags.
        name: Of the script, which a replay command names.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    search_space.validate(config)
    limits = _limits(config)
    programs.choose_devices(config.scheduler.devices)
    if config.scheduler.tensorboard:
        tensorboard.require()
    dataset = data.load(config.data)
    fold = _fold(config, dataset)
    candidates = search_space.candidates(
        config,
        num_classes=len(dataset.class_names),
        num_rows=len(fold) if config.selection.folds else len(dataset.train.labels),
    )
    search = config.search
    width = search.trials_per_batch
    if width is None:
        width = trials.default_width(len(dataset.class_names))
    every = _trials(config, candidates, fold)
    _check_shards(config, every, width)
    search = dataclasses.replace(search, trials_per_batch=width)
    return TrainingStudy(
        name=name,
        # Nothing that results depend on is left open in it.
        config=dataclasses.replace(config, search=search),
        inputs=_inputs(config, dataset, candidates, fold),
        trials=every,
        width=width,
        metric=config.selection.metric,
        rule=config.selection.rule,
        group_by=config.select_per,
        has_edges=search.sample is None,
        selection_flags={"l2": config.penalty.unit},
        shard=(search.shard_index, search.num_shards)
        if search.num_shards > 1
        else None,
        halving=search.halving,
        devices=config.scheduler.devices,
        limits=limits,
    )


def _limits(config: SweepConfig) -> Limits:
    given, budget = config.scheduler.memory_budget, None
    if given is not None:
        budget = memory.parse_size(given)
    return Limits(
        memory_budget=budget,
        concurrent_batches=config.scheduler.concurrent_batches,
        checkpoint_every=config.runtime.checkpoint_every,
    )


def _fold(config: SweepConfig, dataset: Dataset) -> np.ndarray:
    """Returns the fold of each row but the test's."""
    if not config.selection.folds:
        return inputs.of_split(dataset)
    return folds.assign(
        inputs.joined(dataset).labels,
        config.selection.folds,
        seed=config.data.split_seed,
        name="--folds",
    )


def _trials(
    config: SweepConfig, candidates: tuple[Candidate, ...], fold: np.ndarray
) -> tuple[Trial, ...]:
    held_out = range(config.selection.folds) if config.selection.folds else (0,)
    sizes: dict[int | None, int] = {
        number if config.selection.folds else None: int(np.sum(fold != number))
        for number in held_out
    }
    return trials.make_trials(
        candidates, config.training.seeds, config.selection.folds, sizes
    )


def _check_shards(config: SweepConfig, every: tuple[Trial, ...], width: int) -> None:
    batches = len(trials.make_batches(every, width))
    if config.search.num_shards > batches:
        raise ValueError(
            f"--num_shards is {config.search.num_shards}; expected at most {batches}, "
            f"for there are {batches} batches of --trials_per_batch={width} to share"
        )


def _inputs(
    config: SweepConfig,
    dataset: Dataset,
    candidates: tuple[Candidate, ...],
    fold: np.ndarray,
) -> dict[Key, Inputs]:
    keys = dict.fromkeys(candidate.static.inputs for candidate in candidates)
    for features, _ in keys:
        if features != RAW:
            images.validate(features, dataset.image_shape)
    kind = resampling.FOLDS if config.selection.folds else resampling.SPLIT
    count = len(fold) if config.selection.folds else len(dataset.train.labels)
    rows = inputs.joined(dataset)
    repeated = inputs.count_repeated(rows, fold, kind)
    return {
        (features, scaling): inputs.make(
            dataset.name,
            dataset,
            features=features,
            scaling=scaling,
            fold=fold,
            resampling=kind,
            scaled_by=slice(count),
            rows=rows,
            repeated=repeated,
            is_own_split=not config.selection.folds,
        )
        for features, scaling in keys
    }
