"""What a sweep trains on and what it trains: scaled data, and lanes, from the flags."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.cli.options import Config
from linclf_jax.config import data as data_flags
from linclf_jax.config import search_space
from linclf_jax.data import datasets, images, preprocessing
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.duplicates import Counts
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.scheduler import memory
from linclf_jax.selection import folds as folds_lib
from linclf_jax.studies import featured, leakage, rare_classes
from linclf_jax.training import trials
from linclf_jax.training.settings import RAW
from linclf_jax.training.states import Data
from linclf_jax.training.trials import Trial

Inputs = tuple[str, str]  # see ``Static.inputs``


class Problem(NamedTuple):
    """All that a sweep needs to know; the test split is there, unread."""

    config: Config  # nothing that results depend on is left open in it
    dataset: Dataset
    scalings: dict[Inputs, Preprocessing]
    data: dict[Inputs, Data]
    lanes: tuple[Trial, ...]
    duplicates: Counts  # of validation rows


def prepare(config: Config) -> Problem:
    """Loads and scales the data and lays out the lanes, after checking every flag.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    search_space.validate(config)
    if config.memory_budget is not None:
        memory.parse_size(config.memory_budget)
    dataset = data_flags.load(config)
    seen = [dataset.train, dataset.validation]
    if config.folds:
        seen = [datasets.joined(*seen)]
    elif len(dataset.validation.labels) < 2:
        raise ValueError(
            f"found {len(dataset.validation.labels)} validation rows; expected at "
            "least two: give --val_features and --val_labels, or --folds"
        )
    points = search_space.points(
        config, num_classes=len(dataset.class_names), num_rows=len(seen[0].labels)
    )
    inputs = dict.fromkeys(point.static.inputs for point in points)
    for features, _ in inputs:
        if features != RAW:
            images.validate(features, dataset.image_shape)
    lanes = trials.make_trials(
        points, config.seeds, config.folds, _rows_seen(config, seen[0].labels)
    )
    width = config.tile_width
    if width is None:
        width = trials.default_width(len(dataset.class_names))
    trials.validate_width(width)
    tiles = len(trials.make_batches(lanes, width))
    if config.num_shards > tiles:
        raise ValueError(
            f"--num_shards is {config.num_shards}; expected at most {tiles}, for there "
            f"are {tiles} tiles of --trials_per_batch={width} to share"
        )
    config = dataclasses.replace(config, tile_width=width)
    scalings, data = {}, {}
    for features in dict.fromkeys(features for features, _ in inputs):
        shape = dataset.image_shape
        rows = [featured.split(features, split, shape) for split in seen]
        for key in (key for key in inputs if key[0] == features):
            scalings[key] = preprocessing.fit(key[1], rows[0].x)
            data[key] = _data(config, scalings[key], *rows)
            trials.validate_data(data[key], len(dataset.class_names))
    return Problem(
        config, dataset, scalings, data, lanes, _duplicates(config, dataset, seen[0])
    )


def _duplicates(config: Config, dataset: Dataset, training: Split) -> Counts:
    if not config.folds:
        return leakage.in_validation(dataset)
    fold = _deal(config, training.labels)
    fold[fold == config.folds] = folds_lib.NOT_HELD_OUT
    return leakage.across_folds(training.x, training.labels, fold)


def _data(
    config: Config, scaling: Preprocessing, training: Split, *rest: Split
) -> Data:
    x, labels = scaled(scaling, training)
    if config.folds:
        folds = jnp.asarray(_deal(config, training.labels))
        return Data(x, labels, x, labels, folds, folds)
    (validation,) = rest
    return Data(x, labels, *scaled(scaling, validation))


def _deal(config: Config, labels: np.ndarray) -> np.ndarray:
    folds = folds_lib.assign(
        labels, config.folds, seed=config.split_seed, name="--folds"
    )
    # No lane holds out a fold of this number; that of no fold is a lane of all rows.
    return np.where(folds == folds_lib.NOT_HELD_OUT, config.folds, folds)


def held_out(problem: Problem) -> np.ndarray:
    """Returns which validation rows some lane is validated on, ``(M,)`` boolean."""
    (data, *_) = problem.data.values()
    if data.val_folds is None:
        return np.ones(len(data.val_labels), bool)
    return np.asarray(data.val_folds) < problem.config.folds


def warnings(problem: Problem) -> tuple[str, ...]:
    """Returns what scores do not say of rare classes, and of rows that are twice."""
    (data, *_), dataset = problem.data.values(), problem.dataset
    by_folds = data.val_folds is not None
    found = (
        *leakage.of_validation(problem.duplicates),
        *rare_classes.of_splits(dataset, validates=not by_folds),
    )
    if not by_folds:
        return found
    labels = np.asarray(data.val_labels)
    return (*rare_classes.of_folds(dataset, labels, held_out(problem)), *found)


def _rows_seen(config: Config, labels: np.ndarray) -> dict[int | None, int]:
    """Returns how many rows a lane trains on, by the fold that it holds out."""
    if not config.folds:
        return {None: len(labels)}
    sizes = np.bincount(_deal(config, labels)).tolist()
    return {fold: len(labels) - size for fold, size in enumerate(sizes)}


def scaled(scaling: Preprocessing, split: Split) -> tuple[jax.Array, jax.Array]:
    """Returns features, scaled by training statistics, and labels of a split."""
    x = preprocessing.apply(scaling, split.x)
    return jnp.asarray(x), jnp.asarray(split.labels)


def describe(dataset: Dataset) -> dict[str, Any]:
    """Returns what ``config.json`` says of the data."""
    return {
        "name": dataset.name,
        "fingerprint": datasets.fingerprint(dataset),
        "train": len(dataset.train.labels),
        "validation": len(dataset.validation.labels),
        "test": dataset.test.size,
        "num_features": dataset.train.x.shape[1],
        "num_classes": len(dataset.class_names),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
    }


def describe_test(split: Split) -> dict[str, Any]:
    """Returns what ``selected.json`` says of the test rows, once they are open."""
    return {
        "sha256": datasets.split_fingerprint(split),
        "rows": len(split.labels),
        "opened": "after the choice",
    }
