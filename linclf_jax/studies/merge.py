"""Joins the shards of a sweep into the run directory that one process would have made.

Shards train a share of the trials each, in jobs that need not know of one another. The
selection is made here, among all trials, and the test rows are read here, once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linclf_jax.config import flat
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.runs import checkpoint, configuration, directory
from linclf_jax.studies import run_files, sweep
from linclf_jax.studies.training import TrainingStudy


def prepare(shards: Sequence[Path]) -> TrainingStudy:
    """Returns the study that the shards are all of, which takes over what they trained.

    Args:
        shards: Run directories of all shards, in any order; they are left as they are.

    Raises:
        ValueError: A shard is missing, there twice, unfinished, damaged, or of another
            configuration or other data than is there now.
    """
    for path in shards:
        if shards.count(path) > 1:
            raise ValueError(f"{path} is there twice; expected each shard once")
        if not (path / directory.CONFIG).is_file():
            raise ValueError(f"{path} is no run directory: it has no config.json")
    configs = {path: directory.read(path / directory.CONFIG) for path in shards}
    validate(configs)
    for path in shards:
        directory.verify(path)
    config = flat.read(shards[0] / run_files.FLAGS, SweepConfig)
    whole = dataclasses.replace(config.search, num_shards=1, shard_index=0)
    study = sweep.prepare(
        dataclasses.replace(config, search=whole), configs[shards[0]]["experiment"]
    )
    _check_same(configs, configuration.checked(run_files.describe(study)))
    origins = tuple(map(checkpoint.DiskStore, shards))
    return dataclasses.replace(study, origins=origins)


def validate(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Checks that directories are the shards of one sweep, each of them once.

    Args:
        configs: What the ``config.json`` of each directory holds.

    Raises:
        ValueError: With the directories, what was found and what was expected.
    """
    if not configs:
        raise ValueError("expected the run directories of all shards")
    counts = {path: c["flags"].get("num_shards", 1) for path, c in configs.items()}
    first, count = next(iter(counts.items()))
    if set(counts.values()) != {count} or count < 2:
        listed = ", ".join(f"{path}: {n}" for path, n in counts.items())
        raise ValueError(f"found numbers of shards {listed}; expected one, above 1")
    by_index: dict[int, Path] = {}
    for path, config in configs.items():
        index = config["flags"]["shard_index"]
        if index in by_index:
            raise ValueError(f"{by_index[index]} and {path} are both shard {index}")
        by_index[index] = path
    missing = sorted(set(range(count)) - set(by_index))
    if missing:
        raise ValueError(
            f"found {len(by_index)} shards of {count}; missing shards are "
            f"{', '.join(map(str, missing))}"
        )
    _check_same(configs, configs[first])


def _check_same(
    configs: Mapping[Path, Mapping[str, Any]], like: Mapping[str, Any]
) -> None:
    """Refuses shards that differ in more than which shard they are."""
    for path, config in configs.items():
        flags = {**config["flags"]}
        flags |= {k: like["flags"].get(k) for k in ("num_shards", "shard_index")}
        differences = configuration.differences(like, {**config, "flags": flags})
        if differences:
            raise ValueError(
                f"{path} is of another configuration, it differs in "
                f"{len(differences)}: {'; '.join(differences)}"
            )
