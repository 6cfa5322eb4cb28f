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
from linclf_jax.runs import configuration, directory
from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.studies import run_files, sweep
from linclf_jax.studies.training import TrainingStudy


def prepare(shards: Sequence[Path]) -> TrainingStudy:
    """Returns the study that the shards are all of, which takes over what they trained.

    The shards are run directories, in any order; they are left as they are.

    Raises:
        ValueError: A shard is missing, there twice, unfinished, damaged, or of another
            configuration or other data than is there now.
    """
    if not shards:
        raise ValueError("expected the run directories of all shards")
    for path in shards:
        if shards.count(path) > 1:
            raise ValueError(f"{path} is there twice; expected each shard once")
    configs = {path: _read_config(path) for path in shards}
    _check_complete(configs)
    _check_same(configs, configs[shards[0]])
    for path in shards:
        directory.verify(path)
    config = flat.read(shards[0] / run_files.FLAGS, SweepConfig)
    whole = dataclasses.replace(config.search, num_shards=1, shard_index=0)
    study = sweep.prepare(
        dataclasses.replace(config, search=whole), configs[shards[0]]["experiment"]
    )
    _check_same(configs, run_files.describe(study.plan))
    origins = tuple(DiskStore(path, sealed=True) for path in shards)
    return dataclasses.replace(study, origins=origins)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / directory.CONFIG
    if not file.is_file():
        raise ValueError(f"{path} is no run directory: it has no config.json")
    config = directory.read(file)
    is_config = isinstance(config, dict) and {*config} == {*configuration.SECTIONS}
    flags = config["flags"] if is_config else None
    if not isinstance(flags, dict) or not isinstance(flags.get("num_shards", 1), int):
        raise ValueError(
            f"{file} is damaged; expected the sections "
            f"{', '.join(configuration.SECTIONS)} of a sweep"
        )
    return config


def _check_complete(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuses directories that are not the shards of one sweep, each of them once."""
    counts = {path: c["flags"].get("num_shards", 1) for path, c in configs.items()}
    count = max(counts.values())
    if {*counts.values()} != {count} or count < 2:
        listed = ", ".join(f"{path}: {n}" for path, n in counts.items())
        raise ValueError(f"found numbers of shards {listed}; expected one, above 1")
    by_index: dict[Any, Path] = {}
    for path, config in configs.items():
        index = config["flags"].get("shard_index")
        if index in by_index:
            raise ValueError(f"{by_index[index]} and {path} are both shard {index}")
        by_index[index] = path
    missing = [str(index) for index in range(count) if index not in by_index]
    if missing:
        raise ValueError(
            f"found {len(by_index)} shards of {count}; missing shards are "
            f"{', '.join(missing)}"
        )


def _check_same(
    configs: Mapping[Path, Mapping[str, Any]], like: Mapping[str, Any]
) -> None:
    """Refuses shards that differ in more than which shard they are."""
    shard = {name: like["flags"].get(name) for name in ("num_shards", "shard_index")}
    for path, config in configs.items():
        flags = {**config["flags"], **shard}
        differences = configuration.differences(like, {**config, "flags": flags})
        if differences:
            raise ValueError(
                f"{path} is of another configuration, it differs in "
                f"{len(differences)}: {'; '.join(differences)}"
            )
