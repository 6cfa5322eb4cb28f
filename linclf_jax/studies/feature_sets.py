"""The feature sets of a probe: their files, and how their rows are held out."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.config import data as data_config
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.protocols import Protocol
from linclf_jax.data import files, formats
from linclf_jax.data.datasets import Dataset, Files
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import shots
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies.study import Inputs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROLES = ("train", "val", "test")
_PARTS = [f"{role}_{what}" for role in _ROLES for what in ("features", "labels")]


class Source(NamedTuple):
    """One feature set as it was read."""

    name: str
    dataset: Dataset
    has_validation: bool  # whether validation rows have a file of their own


def load(config: ProbeConfig, protocol: Protocol) -> list[Inputs]:
    """Loads and scales all feature sets and assigns their rows.

    Raises:
        ValueError: A file is missing or bad, or sets cannot be of the same test rows.
    """
    sources = [
        _read(config, name, paths) for name, paths in _files_of_sets(config).items()
    ]
    _check_alike(sources)
    return [_inputs(config, protocol, source) for source in sources]


def check_same_labels(
    first: str, labels: np.ndarray, name: str, others: np.ndarray
) -> None:
    """Refuses the test labels of two named sets that are not those of the same rows."""
    different = np.flatnonzero(labels != others)
    if different.size:
        raise ValueError(
            f"--features: the test labels of {name} differ from those of {first} in "
            f"{different.size} rows, the first is {different[0]}; expected the same "
            "rows in the same order"
        )


def _files_of_sets(config: ProbeConfig) -> dict[str, Files | None]:
    """Returns the files of each feature set; None where the flags name its data."""
    sets: dict[str, Files | None] = {}
    for text in config.features:
        name, separator, path = text.partition("=")
        if not separator or not _NAME.fullmatch(name) or name in {"selected", *sets}:
            raise ValueError(
                f"--features holds {text!r}; expected NAME=PATH with a name of its own "
                r"of letters, digits, dots and dashes; a comma in PATH is written \,"
            )
        sets[name] = _files_at(Path(path))
    # Flags of data that --features would leave unread.
    given = [name for name in Files._fields if getattr(config.data, name) is not None]
    if config.data.dataset != "features":
        given.append("dataset")
    if config.features and given:
        raise ValueError(
            f"--features and --{given[0]} are both given; expected one of them"
        )
    if not config.features and not given:
        raise ValueError(
            "no features are given; expected --features=NAME=PATH,NAME=PATH, or "
            "--train_features and --train_labels, or --dataset=digits"
        )
    return sets or {config.data.dataset: None}


def _files_at(path: Path) -> Files:
    """Returns the files of a feature set by the names that they have."""
    if path.is_dir():
        parts = {name: _file(path, name) for name in _PARTS}
    else:
        members = files.DataFile(path).members
        parts = {n: f"{path}:{n}" if n in members else None for n in _PARTS}
    missing = [n for n in _PARTS if parts[n] is None and not n.startswith("val_")]
    if missing:
        raise ValueError(
            f"{path}: {', '.join(missing)} missing; expected a folder with these as "
            f"{', '.join(files.ENDINGS)}, or a file with arrays of these names, as "
            f"{', '.join(formats.ARCHIVES)}"
        )
    return Files(**parts)


def _file(folder: Path, stem: str) -> str | None:
    """Returns a part of a feature set, whatever its format."""
    parts = [folder / f"{stem}{ending}" for ending in files.ENDINGS]
    return next((str(part) for part in parts if part.is_file()), None)


def _read(config: ProbeConfig, name: str, paths: Files | None) -> Source:
    data = config.data
    if paths is not None:
        data = dataclasses.replace(data, **paths._asdict())
    return Source(name, data_config.load(data), data.val_features is not None)


def _check_alike(sources: Sequence[Source]) -> None:
    """Refuses feature sets that cannot be of the same test rows."""
    first, *others = sources
    classes, test = first.dataset.class_names, first.dataset.test
    for other in others:
        if other.dataset.class_names != classes:
            raise ValueError(
                f"--features: {other.name} has the classes "
                f"{other.dataset.class_names}; expected {classes}, those of "
                f"{first.name}"
            )
        if other.dataset.test.size != test.size:
            raise ValueError(
                f"--features: {other.name} has {other.dataset.test.size} test rows; "
                f"expected {test.size}, as many as {first.name}"
            )
        labels = other.dataset.test.labels
        if test.labels is not None and labels is not None:
            check_same_labels(first.name, test.labels, other.name, labels)


def _inputs(config: ProbeConfig, protocol: Protocol, source: Source) -> Inputs:
    labels = inputs_lib.joined(source.dataset).labels
    try:
        fold = _fold_of_rows(config, protocol, source, labels)
        draws = _draws(config, protocol, fold, labels) if protocol.shots else None
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from error
    return inputs_lib.make(
        source.name,
        source.dataset,
        fold,
        scaling=protocol.preprocessing,
        draws=draws,
        is_own_split=source.has_validation,
    )


def _fold_of_rows(
    config: ProbeConfig, protocol: Protocol, source: Source, labels: np.ndarray
) -> np.ndarray:
    """Returns the fold that holds each row out, ``(N,)`` int32."""
    if source.has_validation:
        return inputs_lib.of_split(source.dataset)
    fold = np.full(len(labels), NOT_HELD_OUT, np.int32)
    if protocol.shots:
        return fold
    count, name = config.selection.folds, "--folds"
    if protocol.hold_out is not None:
        count, name = protocol.hold_out, f"hold_out of --protocol={config.protocol}"
    assigned = folds_lib.assign(labels, count, seed=config.data.split_seed, name=name)
    fold = np.where(assigned == 0, 0, fold) if protocol.hold_out else assigned
    if np.sum(fold != NOT_HELD_OUT) < 2:
        raise ValueError(
            f"{name} is {count}, which holds out a single row; expected at least two: "
            "more rows, or --val_features and --val_labels"
        )
    return fold


def _draws(
    config: ProbeConfig, protocol: Protocol, fold: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Returns the rows of each draw of shots, ``(G, N)`` boolean."""
    # Validation rows of a file are nobody's shots; they take no part at all.
    pool = np.flatnonzero(fold == NOT_HELD_OUT)
    drawn = [
        shots.draw(labels[pool], count, seed=seed)
        for count in protocol.shots
        for seed in range(config.draws)
    ]
    draws = np.zeros((len(drawn), len(labels)), bool)
    draws[:, pool] = drawn
    return draws
