"""Small studies of every kind on the same few rows, prepared and not yet run."""

import contextlib
from unittest import mock

from linclf_jax.config import flat
from linclf_jax.config.path import PathConfig
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.reports import render
from linclf_jax.runs import directory
from linclf_jax.studies import path, probe, sweep

CONFIGS = {
    "sweep": SweepConfig,
    "path": PathConfig,
    "probe": ProbeConfig,
    "protocol": ProbeConfig,
    "shots": ProbeConfig,
}
PREPARE = {"sweep": sweep.prepare, "path": path.prepare}
FLAGS = {
    # By folds, with a fit after the selection.
    "sweep": {
        "dataset": "features",
        "learning_rate": (0.01, 0.1),
        "l2": (0.1, 0.01),
        "epochs": (2,),
        "folds": 2,
        "trials_per_batch": 4,
    },
    "path": {"dataset": "features", "l2": (0.1, 0.01, 0.001), "folds": 2},
    "probe": {"l2": (0.1, 0.01), "folds": 2},
    # One that trains.
    "protocol": {"protocol": "dinov2_linear", "epochs": 2},
    "shots": {"protocol": "fewshot", "shots": (1, 2), "draws": 2, "l2": (0.1, 0.01)},
}
NAMES = tuple(FLAGS)
# What must not depend on how often or where a study was stopped.
SAME = ("results.jsonl", "history.npz", "selected.json", "selected.safetensors")


def data_flags(files, *, val=False):
    """Returns the flags of the files in a folder; see ``feature_files``."""
    roles = ("train", "val", "test") if val else ("train", "test")
    return {
        f"{role}_{what}": str(files / f"{role}_{what}.npy")
        for role in roles
        for what in ("features", "labels")
    }


def config(name, files=None, **flags):
    """Returns the configuration of a small study, with some flags changed."""
    given = {} if files is None or flags.get("features") else data_flags(files)
    return flat.build(CONFIGS[name](), {**given, **FLAGS[name], **flags})


def prepare(name, files=None, **flags):
    """Returns a small study, with some flags changed."""
    return PREPARE.get(name, probe.prepare)(config(name, files, **flags))


@contextlib.contextmanager
def blank_pages():
    """Draws nothing: a page of one word in place of figures."""

    def write(path):
        directory.write(path / render.PAGE, "blank")
        return path / render.PAGE

    with mock.patch.object(render, "write", write):
        yield


def contents(path, names=SAME):
    """Returns the bytes of files by name."""
    return {name: (path / name).read_bytes() for name in names}
