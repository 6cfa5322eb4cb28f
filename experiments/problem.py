"""What a sweep trains on and what it trains: scaled data, and lanes, from the flags."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import swept
from experiments.flags import Config
from linclf_jax import folds as folds_lib
from linclf_jax.data import datasets, preprocessing
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.fit import sweep
from linclf_jax.fit.states import Data
from linclf_jax.fit.sweep import Lane
from linclf_jax.runs import memory


class Problem(NamedTuple):
    """All that a sweep needs to know; the test split is there, unscaled, unread."""

    config: Config  # nothing that results depend on is left open in it
    dataset: Dataset
    scalings: dict[str, Preprocessing]  # by name
    data: dict[str, Data]  # by name of the scaling
    lanes: tuple[Lane, ...]


def prepare(config: Config) -> Problem:
    """Loads and scales the data and lays out the lanes, after checking every flag.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    swept.validate(config)
    if config.memory_budget is not None:
        memory.parse_size(config.memory_budget)
    dataset = datasets.load(config.dataset, split_seed=config.split_seed)
    training = dataset.train
    if config.folds:
        training = datasets.joined(dataset.train, dataset.validation)
    points = swept.points(
        config, num_classes=len(dataset.class_names), num_rows=len(training.labels)
    )
    lanes = sweep.make_lanes(points, config.seeds, config.folds)
    width = config.tile_width
    if width is None:
        width = sweep.default_width(len(dataset.class_names))
    sweep.validate_width(width)
    tiles = len(sweep.make_tiles(lanes, width))
    if config.num_shards > tiles:
        raise ValueError(
            f"--num_shards is {config.num_shards}; expected at most {tiles}, for there "
            f"are {tiles} tiles of --tile_width={width} to share"
        )
    config = dataclasses.replace(config, tile_width=width)
    names = dict.fromkeys(point.static.preprocessing for point in points)
    scalings = {name: preprocessing.fit(name, training.x) for name in names}
    data = {name: _data(config, dataset, training, scalings[name]) for name in names}
    for seen in data.values():
        sweep.validate_data(seen, len(dataset.class_names))
    return Problem(config, dataset, scalings, data, lanes)


def _data(
    config: Config, dataset: Dataset, training: Split, scaling: Preprocessing
) -> Data:
    x, labels = scaled(scaling, training)
    if config.folds:
        dealt = folds_lib.deal(training.labels, config.folds, seed=config.split_seed)
        folds = jnp.asarray(dealt)
        return Data(x, labels, x, labels, folds, folds)
    return Data(x, labels, *scaled(scaling, dataset.validation))


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
        "test": len(dataset.test.labels),
        "num_features": dataset.train.x.shape[1],
        "num_classes": len(dataset.class_names),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
    }
