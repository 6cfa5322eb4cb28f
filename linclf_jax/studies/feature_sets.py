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
from linclf_jax.data import files
from linclf_jax.data.datasets import Dataset, Files
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import resampling, shots
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies.study import Inputs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROLES = ("train", "val", "test")
_SUFFIXES = (".npy", ".parquet", ".safetensors", ".csv", ".tsv", ".h5", ".pt")


class Source(NamedTuple):
    """One feature set as it was read."""

    name: str
    dataset: Dataset
    has_validation: bool  # whether validation rows have a file of their own


def load(config: ProbeConfig, protocol: Protocol) -> list[Inputs]:
    """Loads and scales all feature sets and deals their rows.

    Args:
        config: All flags.
        protocol: With what flags override.

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
    """Refuses the test labels of two sets that are not those of the same rows.

    Args:
        first: The name of a set.
        labels: Its test labels, ``(M,)``.
        name: The name of another one.
        others: Its test labels, ``(M,)``.

    Raises:
        ValueError: They differ.
    """
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
    _check_flags(config)
    return sets or {config.data.dataset: None}


def _check_flags(config: ProbeConfig) -> None:
    """Refuses flags of data that ``--features`` would leave unread."""
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


def _files_at(path: Path) -> Files:
    """Returns the files of a feature set by the names that they have."""
    names = [f"{role}_{what}" for role in _ROLES for what in ("features", "labels")]
    if path.is_dir():
        parts = {name: _file(path, name) for name in names}
    else:
        members = files.members(path)
        parts = {name: f"{path}:{name}" if name in members else None for name in names}
    missing = [
        name
        for name, part in parts.items()
        if part is None and not name.startswith("val_")
    ]
    if missing:
        raise ValueError(
            f"{path}: {', '.join(missing)} missing; expected a folder with these as "
            f"{', '.join(_SUFFIXES)}, or an .npz, .safetensors, .h5 or .pt with arrays "
            "of these names"
        )
    return Files(**parts)


def _file(folder: Path, stem: str) -> str | None:
    """Returns a part of a feature set, whatever its format."""
    parts = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES]
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
    rows = inputs_lib.joined(source.dataset)
    try:
        fold = _fold_of_rows(config, protocol, source, rows.labels)
        draws = _draws(config, protocol, fold, rows.labels)
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from error
    has_folds = fold.max() > 0
    return inputs_lib.make(
        source.name,
        source.dataset,
        scaling=protocol.preprocessing,
        fold=fold,
        resampling=resampling.FOLDS if has_folds else resampling.SPLIT,
        # Of several folds all rows take part in the scaling, without labels.
        scaled_by=inputs_lib.ALL if has_folds else fold == NOT_HELD_OUT,
        draws=draws,
        rows=rows,
        is_own_split=source.has_validation,
    )


def _fold_of_rows(
    config: ProbeConfig, protocol: Protocol, source: Source, labels: np.ndarray
) -> np.ndarray:
    """Returns the fold that holds each row out, ``(N,)`` int32."""
    if source.has_validation:
        if len(source.dataset.validation.labels) < 2:
            raise ValueError("found one validation row; expected at least two")
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
    if not protocol.shots:
        return np.zeros((0, len(labels)), bool)
    # Validation rows of a file are nobody's shots; they take no part at all.
    pool = np.flatnonzero(fold == NOT_HELD_OUT)
    drawn = shots.masks(labels[pool], protocol.shots, range(config.draws))
    draws = np.zeros((len(drawn), len(labels)), bool)
    draws[:, pool] = drawn
    return draws
