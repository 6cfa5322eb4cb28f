"""Small sweeps that the tests of what can go wrong share."""

import contextlib
import functools
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from linclf_jax.config import flat
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.reports import render
from linclf_jax.runs.store import MemoryStore
from linclf_jax.scheduler.signals import Stop
from linclf_jax.studies import pipeline, sweep
from linclf_jax.studies.study import FitResults
from linclf_jax.studies.training import TrainingStudy
from linclf_jax.training import execution
from tests import small_studies

ROOT = Path(__file__).parents[1]
# What one process makes, and every other way of making it must make again.
FILES, contents = small_studies.SAME, small_studies.contents
# Sixteen trials in six batches of one program; twelve steps each.
SMALL = flat.build(
    SweepConfig(),
    {
        "dataset": "iris",
        "learning_rate": (0.01, 0.03, 0.1, 0.3),
        "l2": (0.0, 0.01),
        "seeds": (0, 1),
        "epochs": (12,),
        "trials_per_batch": 3,
    },
)
# Trials of which some are best in the middle.
BEST = {
    "keep": "best",
    "schedule": ("constant",),
    "batch_size": (16,),
    "learning_rate": (0.01, 0.3, 1.0, 3.0),
}


class Fitted(NamedTuple):
    """A study whose trials are all trained, in a store, without a selection."""

    study: TrainingStudy
    results: FitResults
    store: Any


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
        mock.patch.object(render, "write"),
        mock.patch.object(execution, "FIRST_STRIDE", 2),
        mock.patch.object(execution, "SEGMENT_SECONDS", 1e-9),
    ):
        yield


def prepare(config=SMALL, **flags):
    """Returns a sweep with some flags changed."""
    return sweep.prepare(flat.build(config, flags))


def fit(store=None, config=SMALL, **flags):
    """Trains a sweep in a store, in memory if there is none."""
    study, store = prepare(config, **flags), store or MemoryStore()
    with Stop() as stop:
        return Fitted(study, study.fit(store, stop), store)


def run(directory, config=SMALL, **flags):
    """Runs a sweep to the seal of its directory."""
    return pipeline.run(prepare(config, **flags), directory)


def same(first, second):
    """Checks that two sweeps have the same rows, curves and parameters, to the bit."""
    assert first.results.rows == second.results.rows
    np.testing.assert_equal(first.results.history, second.results.history)
    for row in first.results.rows:
        one, other = (f.store.load_trial(row["trial"], "Wb") for f in (first, second))
        np.testing.assert_equal(one, other)


def untouched(folder):
    """Returns all that a write to a folder changes; reading it changes nothing here."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def scores(rows, columns=("learning_rate", "l2", "seed")):
    """Returns the rows by what makes them experiments of their own."""
    return {
        tuple(row[name] for name in columns): {**row, "trial": None} for row in rows
    }
