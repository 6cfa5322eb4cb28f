"""Trains more than a thousand linear classifiers at once and says which one to use.

    python -m experiments.sweep

With no flag: scikit-learn's digits, four optimizers x 16 learning rates x 8 penalties
x 2 seeds, in half a minute on two cores. It prints the ten best lanes, the choice by
validation loss, the test accuracy of that one lane (0.967, with a 95 % interval of
0.942 to 0.981), and the run folder, in which ``report.html`` is the page to open.

The same flags with ``--out_dir`` on an unfinished folder go on where it stopped.
"""

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import console, evaluation
from experiments import flags as shared_flags
from experiments.flags import Config
from linclf_jax import results
from linclf_jax.data import datasets, preprocessing
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.fit import optimizers, selection, settings, sweep, training
from linclf_jax.fit.sweep import Lane, Tile, TileResult
from linclf_jax.params import Params
from linclf_jax.runs import checkpoint, configuration, directory, model, report

DEFAULTS = Config(
    optimizer=("sgd", "momentum", "adam", "lion"),
    learning_rate=shared_flags.parse_grid("log:1e-3:100:16"),
    l2=(0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1),
    seeds=(0, 1),
)


class Outcome(NamedTuple):
    """What a finished sweep leaves in memory; the folder holds all of it."""

    experiment: str
    folder: Path
    rows: list[dict[str, Any]]
    selected: dict[str, Any]


class Trained(NamedTuple):
    """All lanes of a sweep, in the order of their numbers."""

    rows: list[dict[str, Any]]
    lanes: TileResult  # NumPy arrays, lanes in front


def run(config: Config, *, experiment: str = "sweep") -> Outcome:
    """Trains, chooses, tests once, and writes the run folder.

    Args:
        config: All flags.
        experiment: The script, which the replay command names.

    Raises:
        ValueError: Before anything is compiled, when a flag or the data is bad or the
            folder belongs to another configuration; after training, when all lanes
            diverged.
    """
    report.require()
    dataset = datasets.load(config.dataset, split_seed=config.split_seed)
    scaling = preprocessing.fit(config.preprocessing, dataset.train.x)
    data = training.Data(
        *scaled(scaling, dataset.train), *scaled(scaling, dataset.validation)
    )
    lanes = plan(config, dataset)
    sweep.validate_data(data, len(dataset.class_names))
    tiles = sweep.make_tiles(lanes, config.tile_width)
    folder = open_folder(config, dataset, experiment)
    trained = collect(tiles, train(tiles, data, config, folder))
    directory.write_rows(folder / "results.jsonl", trained.rows)
    directory.write_arrays(folder / "history.npz", curves(trained))
    if not results.rank(trained.rows, by=config.select_by):
        finish(folder)  # the page says that all lanes diverged; so does choose()
    choice = selection.choose(
        trained.rows, by=config.select_by, axes=shared_flags.axes(config)
    )
    chosen = Params(*(array[choice.lane] for array in trained.lanes.params))
    model.save(
        folder / "selected.safetensors",
        model.Model(chosen, scaling, dataset.class_names),
    )
    selected = {
        "lane": choice.lane,
        "selected_by": config.select_by,
        "reason": choice.reason,
        "ties": choice.ties,
        "warnings": choice.warnings,
        "row": trained.rows[choice.lane],
        # The test split is touched here and nowhere else.
        "test": evaluation.measure(
            chosen, *scaled(scaling, dataset.test), lanes[choice.lane].static
        ),
    }
    directory.write_json(folder / "selected.json", selected)
    finish(folder)
    return Outcome(experiment, folder, trained.rows, selected)


def finish(folder: Path) -> None:
    """Draws the report, drops what was kept for a resumption, and seals the folder."""
    report.write(folder)
    checkpoint.clear(folder)
    directory.seal(folder)


def plan(config: Config, dataset: Dataset) -> tuple[Lane, ...]:
    """Returns the lanes to train, after checking every flag."""
    num_rows, num_classes = len(dataset.train.labels), len(dataset.class_names)
    statics = shared_flags.statics(config, num_classes=num_classes, num_rows=num_rows)
    for static in statics:
        settings.validate_static(
            static, num_rows=num_rows, optimizers=optimizers.OPTIMIZERS
        )
    results.validate_criterion(config.select_by)
    return sweep.make_lanes(statics, shared_flags.axes(config), config.seeds)


def open_folder(config: Config, dataset: Dataset, experiment: str) -> Path:
    """Returns the run folder, new or taken up again, with its ``flags.txt``."""
    now = time.strftime("%Y%m%d-%H%M%S")
    # Jobs that start in the same second do not share a folder.
    default = f"runs/{experiment}-{config.dataset}-{now}-{secrets.token_hex(2)}"
    flags = {
        k: v for k, v in vars(config).items() if k not in shared_flags.NOT_COMPARED
    }
    folder = directory.open_run(
        config.out_dir or default,
        {
            "experiment": experiment,
            "flags": flags,
            "data": describe(dataset),
            "environment": configuration.environment(),
        },
    )
    directory.write_text(folder / "flags.txt", shared_flags.to_flagfile(config))
    return folder


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


def scaled(scaling: Preprocessing, split: Split) -> tuple[jax.Array, jax.Array]:
    """Returns features, scaled by training statistics, and labels of a split."""
    x = preprocessing.apply(scaling, split.x)
    return jnp.asarray(x), jnp.asarray(split.labels)


def train(
    tiles: Sequence[Tile], data: training.Data, config: Config, folder: Path
) -> Iterator[TileResult]:
    """Yields the results of the tiles in order, each durable before the next begins."""
    lanes = sum(len(tile.lanes) for tile in tiles)
    best, diverged = np.inf, 0
    # A log file gets a line a minute.
    interval = 0.1 if sys.stderr.isatty() else 60.0
    with tqdm(total=lanes, unit=" lanes", mininterval=interval) as bar:
        for number, tile in enumerate(tiles):
            result = restore(folder, number, tile, data, config)
            if result is None:
                result = sweep.run_tile(tile, data, config.tile_width)
                checkpoint.save(folder, number, result)
            ended_well = np.asarray(result.history.status) == training.OK
            best = min([best, *np.asarray(result.scores.val_loss)[ended_well]])
            diverged += int(np.sum(~ended_well))
            bar.set_postfix_str(f"best val_loss {best:.4f}, {diverged} diverged", False)
            bar.update(len(tile.lanes))
            yield result


def restore(
    folder: Path, number: int, tile: Tile, data: training.Data, config: Config
) -> TileResult | None:
    """Returns the result of a tile that was trained before a stop, or None.

    Raises:
        ValueError: The file is damaged, or holds other lanes.
    """
    like = sweep.result_like(tile, data, config.tile_width)
    result = checkpoint.load(folder, number, like)
    if result is not None and not np.array_equal(result.lanes, like.lanes):
        raise ValueError(
            f"{folder}: piece {number} holds lanes {result.lanes.tolist()}, expected "
            f"{like.lanes.tolist()}; delete it to train them again"
        )
    return result


def collect(tiles: Sequence[Tile], tile_results: Iterator[TileResult]) -> Trained:
    """Returns all lanes in the order of their numbers."""
    parts = list(tile_results)
    rows = [
        row
        for tile, part in zip(tiles, parts, strict=True)
        for row in sweep.make_rows(tile, part)
    ]
    order = np.argsort([row["lane"] for row in rows])
    lanes = jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *parts)
    return Trained([rows[index] for index in order], lanes)


def curves(trained: Trained) -> dict[str, np.ndarray]:
    """Returns the arrays of ``history.npz``: curves (L, E), and the lane numbers."""
    names = ("train_loss", "val_loss", "val_accuracy")
    history = {name: getattr(trained.lanes.history, name) for name in names}
    return {"lane": trained.lanes.lanes, **history}


def main() -> None:
    """Runs the sweep that the flags describe."""
    print(console.summary(*run(shared_flags.from_flags())))


if __name__ == "__main__":
    shared_flags.define(DEFAULTS)
    shared_flags.launch(main)
