"""The configuration of a sweep: what is searched, how, and how to select of it."""

import dataclasses

from linclf_jax.config import grid_file
from linclf_jax.config.data import DataConfig
from linclf_jax.config.fields import flag, part
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.runtime import RuntimeConfig, SchedulerConfig
from linclf_jax.config.selection import SelectionConfig
from linclf_jax.config.training import TrainingConfig


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Which candidates are trained, how far, and in which shares."""

    sample: int | None = flag(
        None, "Draw this many candidates at random; the whole grid if unset."
    )
    sample_seed: int = flag(0, "Which candidates --sample draws.")
    halving: int | None = flag(
        None,
        "Successive halving: one setting in this many, at least 2, trains on after "
        "each rung. All train to the end if unset.",
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
    num_shards: int = flag(1, "Independent jobs that share the trials of one sweep.")
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
        "Select and test one setting for each combination of these: features,loss for "
        "instance.",
    )
    runtime: RuntimeConfig = part(RuntimeConfig())
    scheduler: SchedulerConfig = part(SchedulerConfig())
