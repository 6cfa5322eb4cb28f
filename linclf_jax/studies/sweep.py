"""A sweep of hyper-parameters: data and trials as the flags say, none trained yet."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from linclf_jax.config import data, search_space
from linclf_jax.config import sweep as sweep_config
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.data import images
from linclf_jax.data.datasets import Dataset
from linclf_jax.scheduler import memory
from linclf_jax.selection import folds
from linclf_jax.studies import inputs, training
from linclf_jax.studies.study import Inputs, Key, Plan
from linclf_jax.studies.training import Resources, TrainingStudy
from linclf_jax.training import trials
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import RAW
from linclf_jax.training.trials import Trial


def prepare(config: SweepConfig, name: str = "sweep") -> TrainingStudy:
    """Loads and scales the data and lays out the trials, after checking every flag.

    The name is that of the script, for a replay.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    sweep_config.validate(config)
    resources = training.resources(config)
    dataset = data.load(config.data)
    in_memory = _fits_memory(dataset, resources)
    if config.training.shuffle is None:
        shuffle = "rows" if in_memory else "blocks"
        own = dataclasses.replace(config.training, shuffle=shuffle)
        config = dataclasses.replace(config, training=own)
    num_classes = len(dataset.class_names)
    fold = _fold(config, dataset)
    candidates = search_space.candidates(
        config,
        num_classes=num_classes,
        num_rows=len(fold) if config.selection.folds else len(dataset.train.labels),
    )
    search, every = config.search, _trials(config, candidates, fold)
    width = search.trials_per_batch
    if width is None:
        width = trials.default_width(num_classes)
    _check_shards(search.num_shards, every, width)
    # Nothing that results depend on is left open in it.
    search = dataclasses.replace(search, trials_per_batch=width)
    is_shard = search.num_shards > 1
    plan = Plan(
        name,
        dataclasses.replace(config, search=search),
        _inputs(dataset, candidates, fold, config.selection.folds > 0, in_memory),
        config.penalty.unit,
        group_by=config.select_per,
        has_edges=search.sample is None,
        shard=(search.shard_index, search.num_shards) if is_shard else None,
    )
    return TrainingStudy(plan, every, width, resources, search.halving)


def _fits_memory(dataset: Dataset, resources: Resources) -> bool:
    """Returns whether features, scaled and once more on the devices, take half of it.

    It does not depend on what is in use, and so is the same when a run goes on.
    """
    rows = len(dataset.train.labels) + len(dataset.validation.labels)
    size = 2 * 4 * rows * dataset.train.x.shape[1]
    budget = resources.limits.memory_budget or memory.limit(resources.devices)
    return size <= budget // 2


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
    config: SweepConfig, candidates: Sequence[Candidate], fold: np.ndarray
) -> tuple[Trial, ...]:
    count = config.selection.folds
    sizes: dict[int | None, int] = {
        number if count else None: int(np.sum(fold != number))
        for number in range(max(count, 1))
    }
    return trials.make_trials(candidates, config.training.seeds, count, sizes)


def _check_shards(num_shards: int, every: Sequence[Trial], width: int) -> None:
    batches = len(trials.make_batches(every, width))
    if num_shards > batches:
        raise ValueError(
            f"--num_shards is {num_shards}; expected at most {batches}, "
            f"for there are {batches} batches of --trials_per_batch={width} to share"
        )


def _inputs(
    dataset: Dataset,
    candidates: Sequence[Candidate],
    fold: np.ndarray,
    has_folds: bool,
    in_memory: bool,
) -> dict[Key, Inputs]:
    keys = dict.fromkeys(candidate.static.inputs for candidate in candidates)
    for features, _ in keys:
        if features != RAW:
            images.validate(features, dataset.image_shape)
    (features, scaling), *others = keys
    first = inputs.make(
        dataset.name,
        dataset,
        fold,
        features=features,
        scaling=scaling,
        is_own_split=not has_folds,
        in_memory=in_memory,
    )
    return {
        (features, scaling): first,
        **{key: inputs.scaled_otherwise(first, *key) for key in others},
    }
