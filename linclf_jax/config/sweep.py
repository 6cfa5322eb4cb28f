"""The configuration of a sweep: what is searched, how, and how to select of it."""

import dataclasses
from collections.abc import Sequence

from linclf_jax.config import flat, grid_file
from linclf_jax.config.data import DataConfig
from linclf_jax.config.fields import SEED, at_least, flag, part
from linclf_jax.config.parts import (
    RuntimeConfig,
    SchedulerConfig,
    SelectionConfig,
    TrainingConfig,
)
from linclf_jax.config.penalty import Penalty
from linclf_jax.data import preprocessing
from linclf_jax.selection import ranking
from linclf_jax.training import search_space
from linclf_jax.training.search_space import Range
from linclf_jax.training.settings import Hparams

# Flags that only many trials have a use for.
_OF_SEVERAL = ("sample", "folds", "halving", "grid_file", "num_shards", "select_per")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Which candidates are trained, how far, and in which shares."""

    sample: int | None = flag(
        None,
        "Draw this many candidates at random; the whole grid if unset.",
        check=at_least(1),
    )
    sample_seed: int = flag(0, "Which candidates --sample draws.", check=SEED)
    halving: int | None = flag(
        None,
        "Successive halving: one setting in this many, at least 2, trains on after "
        "each rung. All train to the end if unset.",
        check=at_least(2),
    )
    grid_file: str | None = flag(
        None,
        "JSON, or the path of a file of it, with several grids; each overrides flags "
        'that are swept: {"grids": [{"optimizer": "lars", "learning_rate": [1, 3]}]}.',
        read=grid_file.read,
    )
    trials_per_batch: int | None = flag(
        None,
        "Trials of one compiled program; a trial's bits depend on it. By the number of "
        "classes if unset, 128 for ten.",
    )
    num_shards: int = flag(
        1, "Independent jobs that share the trials of one sweep.", check=at_least(1)
    )
    shard_index: int = flag(0, "Which of them this is, from 0.")


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Data, what is trained on it, and how one setting is selected."""

    data: DataConfig = part(DataConfig())
    training: TrainingConfig = part(TrainingConfig())
    penalty: Penalty = part(Penalty("l2", (1e-3,)))
    search: SearchConfig = part(SearchConfig())
    selection: SelectionConfig = part(SelectionConfig())
    select_per: tuple[str, ...] = flag(
        (),
        "Select and test one setting for each combination of these.",
        names=(*grid_file.GROUPS, *Hparams._fields),
    )
    runtime: RuntimeConfig = part(RuntimeConfig(), is_compared=False)
    scheduler: SchedulerConfig = part(SchedulerConfig(), is_compared=False)


def validate(config: SweepConfig) -> None:
    """Checks what can be checked of the flags before there is any data.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    flat.validate(config)
    validate_training(config.training)
    search, selection = config.search, config.selection
    _require_distinct("select_per", config.select_per)
    if not 0 <= search.shard_index < search.num_shards:
        raise ValueError(
            f"--shard_index is {search.shard_index}; expected 0 to "
            f"{search.num_shards - 1}, below --num_shards"
        )
    if search.halving is not None and search.num_shards > 1:
        raise ValueError(
            f"--halving ranks all trials after each rung, which {search.num_shards} "
            "jobs cannot; expected --num_shards=1 with it"
        )
    if selection.folds != 0 and selection.folds < 2:
        raise ValueError(
            f"--folds is {selection.folds}; expected at least 2, or 0 for the "
            "validation split"
        )
    if selection.metric not in ranking.TRIAL_METRICS:
        raise ValueError(
            f"--metric is {selection.metric!r}, which takes the logits of all "
            "validation rows, and a sweep keeps none; expected one of "
            f"{', '.join(ranking.TRIAL_METRICS)}; experiments.path and "
            "experiments.probe go by it"
        )


def validate_training(training: TrainingConfig) -> None:
    """Checks the static choices of the flags, or of one grid of a grid file.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    flat.validate(training)
    for name in (*grid_file.GROUPS, "seeds"):
        values = getattr(training, name)
        if values is None:  # the batch size has no value to check yet
            continue
        if len(values) == 0:
            raise ValueError(f"--{name} is empty; expected at least one value")
        _require_distinct(name, values)
    for name in training.preprocessing:
        preprocessing.validate(name)


def _require_distinct(name: str, values: Sequence) -> None:
    if len(set(values)) < len(values):
        raise ValueError(
            f"--{name} is {','.join(map(str, values))}; expected no repetition"
        )


def validate_single(config: SweepConfig) -> None:
    """Refuses flags that make several trials.

    Raises:
        ValueError: With the flag, how many values it has, and what was expected.
    """
    pairs = zip(flat.flags(config), flat.flags(SweepConfig()), strict=True)
    for given, default in pairs:
        if given.name in _OF_SEVERAL and given.value != default.value:
            raise ValueError(
                f"--{given.name} is for experiments.sweep; expected it unset"
            )
    searched = {given.name: given.value for given in flat.flags(config.training)}
    searched[config.penalty.unit] = config.penalty.axis
    for name, value in searched.items():
        if isinstance(value, Range):
            value = search_space.values(value)
        if isinstance(value, tuple) and len(value) != 1:
            raise ValueError(
                f"--{name} has {len(value)} values; expected one, or use "
                "experiments.sweep"
            )
