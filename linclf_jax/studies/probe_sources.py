"""The feature sets of a probe: their files, and how their rows are dealt."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.config import data
from linclf_jax.config.probe import Config
from linclf_jax.config.protocols import Protocol
from linclf_jax.data import datasets, files, preprocessing
from linclf_jax.data.datasets import Dataset, Files
from linclf_jax.data.duplicates import Counts
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import shots as shots_lib
from linclf_jax.studies import leakage, rare_classes

NOT_HELD_OUT = folds_lib.NOT_HELD_OUT
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROLES = ("train", "val", "test")
_KINDS = (".npy", ".parquet", ".safetensors", ".csv", ".tsv", ".h5", ".pt")


class FeatureSet(NamedTuple):
    """Features of all rows but the test's; the test split is there, unread."""

    name: str
    dataset: Dataset
    scaling: Preprocessing
    x: np.ndarray  # (N, D) float32, scaled
    labels: np.ndarray  # (N,)
    index: np.ndarray  # (N,), row numbers in the files
    fold: np.ndarray  # (N,), the fold that holds a row out, or NOT_HELD_OUT
    dealt: np.ndarray  # (G, N) boolean, the rows of each draw of shots, or no draw
    given: bool  # whether validation rows have a file of their own
    duplicates: Counts  # of rows that are held out

    @property
    def warnings(self) -> tuple[str, ...]:
        """What scores do not say of rare classes, and of rows that are twice."""
        held_out = self.fold != NOT_HELD_OUT
        found = (
            *leakage.of_validation(self.duplicates),
            *rare_classes.of_splits(self.dataset, validates=False),
        )
        if self.given or not held_out.any():
            return found
        return (*rare_classes.of_folds(self.dataset, self.labels, held_out), *found)

    @property
    def num_classes(self) -> int:
        """C, of the names of the classes."""
        return len(self.dataset.class_names)


def load(config: Config, protocol: Protocol) -> tuple[FeatureSet, ...]:
    """Loads and scales all feature sets and deals their rows.

    Args:
        config: All flags.
        protocol: As it is in force.

    Raises:
        ValueError: A file is missing or bad, or sets cannot be of the same test rows.
    """
    loaded = [
        (name, *_loaded(config, files)) for name, files in _sources(config).items()
    ]
    _check_alike([(name, dataset) for name, dataset, _ in loaded])
    return tuple(_feature_set(config, protocol, *one) for one in loaded)


def _sources(config: Config) -> dict[str, Files | None]:
    """Returns the files of each feature set; None where the flags name its data."""
    sources: dict[str, Files | None] = {}
    for text in config.features:
        name, separator, path = text.partition("=")
        if not separator or not _NAME.fullmatch(name) or name in {"selected", *sources}:
            raise ValueError(
                f"--features holds {text!r}; expected NAME=PATH with a name of its own "
                r"of letters, digits, dots and dashes; a comma in PATH is written \,"
            )
        sources[name] = _files(Path(path))
    _check_flags(config)
    return sources or {config.dataset: None}


def _check_flags(config: Config) -> None:
    """Refuses flags of data that ``--features`` would leave unread."""
    given = [name for name in Files._fields if getattr(config, name) is not None]
    if config.dataset != "features":
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


def _files(path: Path) -> Files:
    """Returns the files of a feature set by the names that they have."""
    names = [f"{role}_{what}" for role in _ROLES for what in ("features", "labels")]
    if path.is_dir():
        parts = {name: _file(path, name) for name in names}
    else:
        known = files.members(path)
        parts = {name: f"{path}:{name}" if name in known else None for name in names}
    missing = [
        name
        for name, found in parts.items()
        if found is None and not name.startswith("val_")
    ]
    if missing:
        raise ValueError(
            f"{path}: {', '.join(missing)} missing; expected a folder with these as "
            f"{', '.join(_KINDS)}, or an .npz, .safetensors, .h5 or .pt with arrays of "
            "these names"
        )
    return Files(**parts)


def _file(folder: Path, stem: str) -> str | None:
    """Returns a part of a feature set, whatever its format."""
    parts = [folder / f"{stem}{kind}" for kind in _KINDS]
    return next((str(part) for part in parts if part.is_file()), None)


def _loaded(config: Config, files: Files | None) -> tuple[Dataset, bool]:
    """Returns a dataset, and whether its validation rows come from a file."""
    if files is None:
        return data.load(config), config.val_features is not None
    named = dataclasses.replace(config, **files._asdict())
    return data.load(named), files.val_features is not None


def _check_alike(loaded: Sequence[tuple[str, Dataset]]) -> None:
    """Refuses feature sets that cannot be of the same test rows."""
    (first, one), *others = loaded
    for name, other in others:
        if other.class_names != one.class_names:
            raise ValueError(
                f"--features: {name} has the classes {other.class_names}; expected "
                f"{one.class_names}, those of {first}"
            )
        if other.test.size != one.test.size:
            raise ValueError(
                f"--features: {name} has {other.test.size} test rows; expected "
                f"{one.test.size}, as many as {first}"
            )
        pair = one.test.labels, other.test.labels
        if pair[0] is not None and pair[1] is not None:
            check_same(first, pair[0], name, pair[1])


def check_same(first: str, labels: np.ndarray, name: str, others: np.ndarray) -> None:
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


def _feature_set(
    config: Config, protocol: Protocol, name: str, dataset: Dataset, given: bool
) -> FeatureSet:
    rows = datasets.joined(dataset.train, dataset.validation)
    try:
        fold, dealt = _dealt(config, protocol, rows.labels, given, dataset)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    # Of several folds all rows take part in the scaling, without labels.
    folds = fold.max() > 0
    scaling = preprocessing.fit(
        protocol.preprocessing, rows.x if folds else rows.x[fold == NOT_HELD_OUT]
    )
    x = preprocessing.apply(scaling, rows.x)
    # Shots are compared on rows of their own draw; validation rows take no part.
    held_out = np.full_like(fold, NOT_HELD_OUT) if protocol.shots else fold
    repeated = leakage.across_folds(rows.x, rows.labels, held_out)
    return FeatureSet(
        name, dataset, scaling, x, rows.labels, rows.index, fold, dealt, given, repeated
    )


def _dealt(
    config: Config,
    protocol: Protocol,
    labels: np.ndarray,
    given: bool,
    dataset: Dataset,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fold of each row, and the rows of each draw of shots."""
    fold = np.full(len(labels), NOT_HELD_OUT, np.int32)
    nothing = np.zeros((0, len(labels)), bool)
    if given:
        if len(dataset.validation.labels) < 2:
            raise ValueError("found one validation row; expected at least two")
        fold[len(dataset.train.labels) :] = 0
    if protocol.shots:
        # Validation rows of a file are nobody's shots; they take no part at all.
        pool = np.flatnonzero(fold == NOT_HELD_OUT)
        drawn = shots_lib.masks(labels[pool], protocol.shots, range(config.seeds))
        dealt = np.zeros((len(drawn), len(labels)), bool)
        dealt[:, pool] = drawn
        return fold, dealt
    if not given:
        count = protocol.hold_out or config.folds
        held = f"hold_out of --protocol={config.protocol}"
        said = held if protocol.hold_out else "--folds"
        dealt = folds_lib.assign(labels, count, seed=config.split_seed, name=said)
        fold = np.where(dealt == 0, 0, fold) if protocol.hold_out else dealt
        if np.sum(fold != NOT_HELD_OUT) < 2:
            raise ValueError(
                f"{said} is {count}, which holds out a single row; expected at least "
                "two: more rows, or --val_features and --val_labels"
            )
    return fold, nothing
