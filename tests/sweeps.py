"""Small sweeps that the tests of what can go wrong share."""

import contextlib
import dataclasses
import functools
from pathlib import Path
from unittest import mock

from experiments import sweep
from linclf_jax.cli.options import Config
from linclf_jax.reports import sweep_page
from linclf_jax.training import execution

ROOT = Path(__file__).parents[1]
# What one process makes, and every other way of making it must make again.
FILES = ("results.jsonl", "history.npz", "selected.json", "selected.safetensors")
# Sixteen lanes in six tiles of one program; twelve steps each.
SMALL = Config(
    dataset="iris",
    learning_rate=(0.01, 0.03, 0.1, 0.3),
    l2=(0.0, 0.01),
    seeds=(0, 1),
    epochs=(12,),
    tile_width=3,
)

# Lanes of which some are best in the middle.
BEST = {
    "keep": "best",
    "schedule": ("constant",),
    "batch_size": (16,),
    "learning_rate": (0.01, 0.3, 1.0, 3.0),
}


@contextlib.contextmanager
def quick():
    """Compiles each program once for all sweeps, draws nothing, looks at every step."""
    build, programs = execution.build, {}

    @functools.wraps(build)
    def build_once(static, data, width, mesh):
        shapes = data.x.shape, data.folds is None, len(mesh.devices)
        key = static, width, shapes
        if key not in programs:
            programs[key] = build(static, data, width, mesh)
        return programs[key]

    with (
        mock.patch.object(execution, "build", build_once),
        mock.patch.object(sweep_page, "write"),
        mock.patch.object(execution, "FIRST_STRIDE", 2),
        mock.patch.object(execution, "SEGMENT_SECONDS", 1e-9),
    ):
        yield


def run(folder, config=SMALL, **changes):
    """Runs a sweep in-process, with some flags changed."""
    return sweep.run(dataclasses.replace(config, out_dir=str(folder), **changes))


def contents(folder, names=FILES):
    """Returns the bytes of the files that must not depend on how they came about."""
    return {name: (Path(folder) / name).read_bytes() for name in names}


def untouched(folder):
    """Returns all that a write to a folder changes; reading it changes nothing here."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def scores(outcome, columns=("learning_rate", "l2", "seed")):
    """Returns the rows by what makes them experiments of their own."""
    return {
        tuple(row[name] for name in columns): {**row, "trial": None}
        for row in outcome.rows
    }
