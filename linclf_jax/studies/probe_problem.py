"""What a probe is made of, and what it comes to before anything is tested."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.cli import options as shared_flags
from linclf_jax.config import probe
from linclf_jax.config.probe import Config
from linclf_jax.config.protocols import Protocol
from linclf_jax.data import datasets
from linclf_jax.params import Params
from linclf_jax.runs import checkpoint, directory
from linclf_jax.studies import folders, probe_sources
from linclf_jax.studies.probe_sources import FeatureSet


class Problem(NamedTuple):
    """All that a probe needs to know."""

    config: Config
    protocol: Protocol  # with what flags override
    overridden: tuple[str, ...]
    sets: tuple[FeatureSet, ...]


class Fit(NamedTuple):
    """A classifier that was chosen without the test split, and on what grounds."""

    params: Params  # W (D, C), b (C,)
    place: int  # of its row in the results of the set
    num_rows: int  # that it was fitted to
    reason: str
    validation: dict[str, Any]  # see probe_outcome
    logits: np.ndarray | None  # (M, C) of held-out rows, by fits that did not see them
    labels: np.ndarray | None  # (M,) of those
    warnings: tuple[str, ...]
    # What ties with the best on held-out rows: penalties, or lanes that were trained.
    ties: tuple[float, ...] = ()


class Found(NamedTuple):
    """What came of one feature set."""

    rows: list[dict[str, Any]]  # of results.jsonl
    history: dict[str, np.ndarray]
    fits: tuple[Fit, ...]  # by shots, then by seeds; a single one of all rows


def prepare(config: Config) -> Problem:
    """Loads and scales all feature sets and deals their rows, after checking flags.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    protocol, overridden = probe.in_force(config)
    sets = probe_sources.load(config, protocol)
    for features in sets:  # a C out of range shows where the rows are known
        count = len(features.labels)
        probe.penalties(protocol, count, features.num_classes)
    return Problem(config, protocol, overridden, sets)


def open_run(folder: Path, problem: Problem) -> None:
    """Makes the run folder or takes it up again, with its ``flags.txt``.

    Raises:
        ValueError: It is finished, or of another configuration.
    """
    first = problem.sets[0]
    described = folders.describe(problem.config, first.dataset, "probe")
    described["data"]["sets"] = {
        features.name: {
            "fingerprint": datasets.fingerprint(features.dataset),
            "num_features": features.x.shape[1],
        }
        for features in problem.sets
    }
    checkpoint.tidy(folder)
    directory.open_run(folder, described)
    flagfile = shared_flags.to_flagfile(problem.config)
    directory.write(folder / "flags.txt", flagfile)
