"""A whole probe of stored features, beside ``LogisticRegressionCV``: problem f.

This package's is that of ``experiments.probe`` with its defaults, from files to the
report: 45 penalties, five folds, refit, test; compilation is part of it. scikit-learn
reads the same files, standardises the features, and compares ten penalties, its own
default, or the same 45, with its default solver and tolerance. That proves nothing of
its fits, so all are certified afterwards, as those are that this package's choice rests
on. Where its seconds exceed the limit after a fold, it is stopped; what all fits would
have taken is then an estimate.
"""

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks import passes, problems
from experiments.benchmarks.problems import FOLDS, PROBE_ROWS, Problem
from experiments.benchmarks.turns import LEAST_LIMIT, LIMIT
from linclf_jax.config.data import DataConfig
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.params import Params
from linclf_jax.studies import pipeline, probe
from linclf_jax.studies.exact import ExactStudy

PEER = "LogisticRegressionCV"
PENALTIES = 10  # its default
COLUMNS = (
    *("problem", "solver", "penalties", "measured", "seconds", "estimate", "ratio"),
    *("l2", "worst_gap", "accuracy", "status"),
)


class Files(NamedTuple):
    """Where the features and labels are, as .npy."""

    train_features: str
    train_labels: str
    test_features: str
    test_labels: str


class _Stopped(Exception):  # noqa: N818
    """Too many seconds are spent; a scorer can only raise."""


def run(
    scale: int = 1, limit: float | None = None, *, with_peers: bool = True
) -> list[dict[str, Any]]:
    """Returns a row for this package and for each grid of the peer.

    Args:
        scale: Divides rows and features.
        limit: Seconds after which the peer is stopped; by those of this package if
            None.
        with_peers: Whether there are others.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), scale)
        row, l2s = _probe(files, Path(folder))
        seconds = row["seconds"]
        most = max(LIMIT * seconds, LEAST_LIMIT) if limit is None else limit
        grids = (None, l2s) if with_peers else ()
        rows = [row, *(peer_row(files, grid, most, seconds) for grid in grids)]
    x, labels = problems.probe_data(scale)
    shape = f"{PROBE_ROWS // scale},{x.shape[1]},{labels.max() + 1}"
    device = jax.devices()[0].device_kind
    about = {"problem": "probe", "shape": shape, "device": device}
    return [dict.fromkeys(COLUMNS) | about | row for row in rows]


def write(folder: Path, scale: int) -> Files:
    """Writes the features and labels of training and test rows."""
    files = Files(*(str(folder / f"{name}.npy") for name in Files._fields))
    count = PROBE_ROWS // scale
    x, labels = problems.probe_data(scale)
    arrays = x[:count], labels[:count], x[count:], labels[count:]
    for path, array in zip(files, arrays, strict=True):
        np.save(path, array)
    return files


def _probe(files: Files, folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the row of this package, and its penalties."""
    start = time.perf_counter()
    data = DataConfig(dataset="features", **files._asdict())
    study = probe.prepare(ProbeConfig(data=data))
    result = pipeline.run(study, folder / "probe")
    seconds = time.perf_counter() - start
    assert isinstance(study, ExactStudy)
    assert result.selected is not None
    l2s = study.problems[0].l2s
    (entry,), proof = result.selected["entries"], result.selected["certificates"]
    assert proof is not None
    row = {
        "solver": "linclf_jax",
        "penalties": len(l2s),
        "measured": f"{len(result.rows)} of {len(result.rows)} fits",
        "seconds": seconds,
        "ratio": 1.0,
        "l2": entry["row"]["l2"],
        "worst_gap": proof["worst_relative_gap"],
        "accuracy": entry["test"]["accuracy"],
        "status": "ok" if proof["worst_relative_gap"] <= passes.TARGET else "misses",
    }
    return row, l2s


def peer_row(
    files: Files, l2s: np.ndarray | None, limit: float, ours: float
) -> dict[str, Any]:
    """Returns what scikit-learn takes for a grid.

    Args:
        files: Of both.
        l2s: In the objective of a fold's training rows; its own grid if None.
        limit: Seconds, checked after each fold but the last.
        ours: Seconds of this package.
    """
    from sklearn import exceptions, linear_model, preprocessing

    penalties = PENALTIES if l2s is None else len(l2s)
    fits, done = penalties * FOLDS, 0
    start = time.perf_counter()

    def score(model: Any, x: np.ndarray, labels: np.ndarray) -> float:
        nonlocal done
        done += 1  # A fold is scored after all of its fits.
        is_complete = done % penalties == 0 and done < fits
        if is_complete and time.perf_counter() - start > limit:
            raise _Stopped
        return _accuracy(model, x, labels)

    scaler = preprocessing.StandardScaler()
    x = scaler.fit_transform(np.load(files.train_features).astype(np.float32))
    labels = np.load(files.train_labels)
    rows = len(x) * (FOLDS - 1) / FOLDS
    options: dict[str, Any] = {"cv": FOLDS, "scoring": score}
    if l2s is not None:
        options["Cs"] = 1.0 / (l2s * rows)
    model: Any = linear_model.LogisticRegressionCV(**options)
    row: dict[str, Any] = {"solver": PEER, "penalties": penalties}
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            model.fit(x, labels)
        except _Stopped:
            seconds = time.perf_counter() - start
            return row | {
                "measured": f"{done} of {fits + 1} fits",
                "estimate": seconds * (fits + 1) / done,
                "status": f"stopped after {seconds:.1f} s",
            }
    seconds = time.perf_counter() - start
    early = sum(issubclass(w.category, exceptions.ConvergenceWarning) for w in caught)
    test_x: Any = scaler.transform(np.load(files.test_features).astype(np.float32))
    return row | {
        "measured": f"{fits + 1} of {fits + 1} fits",
        "seconds": seconds,
        "ratio": seconds / ours,
        "l2": 1.0 / (float(model.C_[0]) * len(x)),
        "worst_gap": _worst_gap(model, x, labels),
        "accuracy": _accuracy(model, test_x, np.load(files.test_labels)),
        "status": f"{early} fits ended at max_iter" if early else "ok",
    }


def _accuracy(model: Any, x: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(model.predict(x) == labels))


def _worst_gap(model: Any, x: np.ndarray, labels: np.ndarray) -> float:
    """Returns the largest relative gap of the fits of a grid and of the last one."""
    from sklearn import model_selection

    folds = np.empty(len(x), np.int32)
    splits = model_selection.StratifiedKFold(FOLDS).split(x, labels)
    for fold, (_, rows) in enumerate(splits):
        folds[rows] = fold
    problem = Problem("probe", x, labels, folds, ())
    # (K, F, D + 1, C), the bias in the last row of each.
    coefficients = np.stack([model.coefs_paths_[c] for c in model.classes_], axis=-1)
    coefficients = np.swapaxes(coefficients, 0, 1)
    gaps = [
        _relative_gaps(problem, one[:, :-1], one[:, -1], C)
        for one, C in zip(coefficients, model.Cs_, strict=True)
    ]
    last = problem._replace(folds=None)
    gaps.append(
        _relative_gaps(last, model.coef_.T[None], model.intercept_[None], model.C_[0])
    )
    return float(np.max(np.concatenate(gaps)))


def _relative_gaps(problem: Problem, W: Any, b: Any, C: float) -> np.ndarray:
    weights = problem.weights
    l2s = 1.0 / (C * weights.sum(axis=1))
    return passes.relative_gaps(problem, Params(W, b), l2s, weights)[0]
