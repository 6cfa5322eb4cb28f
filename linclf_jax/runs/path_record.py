"""What the run folder of a regularisation path says, checked and put in order.

Arrays have the penalties in front, the largest first. Of the fits at a penalty, the
folds come first and the fit to all rows last; leave-one-out has that one alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.runs import directory, record

EXPERIMENT = "path"
REQUIRED = (
    *record.REQUIRED,
    *record.REQUIRED_ONCE_TRAINED,
    *record.REQUIRED_ONCE_CHOSEN,
    "selected.json",
)
CONVERGED = "converged"
RULES = ("minimum", "one_standard_error")  # by their names in selected.json
_BEST = {
    "loss": "the lowest loss",
    "accuracy": "the highest accuracy",
    "loss_calibrated": "the lowest calibrated loss",
}


class Curve(NamedTuple):
    """A score on rows that were held out, over the path."""

    mean: np.ndarray  # (K,)
    standard_error: np.ndarray  # (K,), NaN where it is unknown
    folds: np.ndarray  # (K, F), without columns where there are no folds


def read(folder: Path) -> record.Record:
    """Reads the run folder of a path that has made its choice.

    Args:
        folder: a run folder with all the files in ``REQUIRED``.

    Raises:
        ValueError: a file is missing or damaged, or files do not fit each other.
    """
    record.require(folder, REQUIRED)
    run = record.Record(
        folder=folder,
        config=directory.read(folder / "config.json"),
        rows=directory.read(folder / "results.jsonl"),
        history=directory.read(folder / "history.npz"),
        selected=directory.read(folder / "selected.json"),
        weights=record.weights(folder),
        training=False,
        notes=(),
        sealed=(folder / directory.MANIFEST).exists(),
    )
    _check(run)
    return run


def arrays(run: record.Record) -> Mapping[str, np.ndarray]:
    """What ``history.npz`` holds.

    Args:
        run: of a path.
    """
    if run.history is None:
        raise ValueError(f"{run.folder}: the path has no history")
    return run.history


def l2s(run: record.Record) -> np.ndarray:
    """The penalties (K,), the largest first.

    Args:
        run: of a path.
    """
    return arrays(run)["l2s"]


def is_leave_one_out(run: record.Record) -> bool:
    """Whether penalties were judged without folds, by approximate leave-one-out.

    Args:
        run: of a path.
    """
    return "loo_loss" in arrays(run)


def loss(run: record.Record) -> Curve:
    """The log-loss on rows that were held out.

    Args:
        run: of a path.
    """
    return _curve(arrays(run), "loss")


def accuracy(run: record.Record) -> Curve:
    """The accuracy on rows that were held out.

    Args:
        run: of a path.
    """
    return _curve(arrays(run), "accuracy")


def loss_calibrated(run: record.Record) -> Curve | None:
    """The log-loss at the best temperature, where the choice went by it.

    Args:
        run: of a path.
    """
    score = criterion(run)
    return _curve(arrays(run), score) if score == "loss_calibrated" else None


def criterion(run: record.Record) -> str:
    """What the choice went by: loss, accuracy or loss_calibrated.

    Args:
        run: of a path.
    """
    return run.selected_by.split("_", 1)[1]


def rules(run: record.Record) -> dict[str, str]:
    """What each rule takes, in plain text, by the names in ``RULES``.

    Args:
        run: of a path.
    """
    return dict(zip(RULES, (_BEST[criterion(run)], "one standard error"), strict=True))


def _curve(history: Mapping[str, np.ndarray], score: str) -> Curve:
    unknown = np.full(len(history["l2s"]), np.nan)
    if "loo_loss" in history:
        name = "loo_se" if score == "loss" else f"loo_{score}_se"
        return Curve(
            history.get(f"loo_{score}", unknown),
            history.get(name, unknown),
            unknown[:, None][:, :0],
        )
    names = f"val_{score}_mean", f"val_{score}_se", f"val_{score}"
    return Curve(*(history[name] for name in names))


def statuses(run: record.Record) -> np.ndarray:
    """How each fit ended, (K, F + 1) of words.

    Args:
        run: of a path.
    """
    known = {(row["l2"], row["fold"]): row["status"] for row in run.rows}
    count = arrays(run)["relative_gap"].shape[1] - 1
    return np.array(
        [
            [known[l2, fold] for fold in (*range(count), None)]
            for l2 in l2s(run).tolist()
        ]
    )


def inverses(run: record.Record) -> dict[float, float | None]:
    """scikit-learn's C of the fits to all rows, by l2, the largest l2 first.

    Args:
        run: of a path.
    """
    known = {row["l2"]: row["C"] for row in run.rows if row["fold"] is None}
    return {l2: known[l2] for l2 in l2s(run).tolist()}


def choices(run: record.Record) -> dict[str, Mapping[str, Any]]:
    """What each rule would choose, by the name of the rule; see ``RULES``.

    Args:
        run: of a path.
    """
    return {name: run.choice[name] for name in RULES}


def chosen_rule(run: record.Record) -> str:
    """The rule that was asked for, a name in ``RULES``.

    Args:
        run: of a path.
    """
    return "minimum" if run.choice["choice"] == "min" else "one_standard_error"


def _check(run: record.Record) -> None:
    """Refuses files that speak of different runs."""
    history = arrays(run)
    shape = len(history["l2s"]), history["relative_gap"].shape[-1]
    expected = {name: shape for name in ("newton_steps", "products", "relative_gap")}
    scores = ("loo_loss", "loo_se") if is_leave_one_out(run) else ()
    expected |= {name: shape[:1] for name in scores}
    if not scores:
        for score in ("loss", "accuracy"):
            expected[f"val_{score}"] = shape[0], shape[1] - 1
            expected |= {f"val_{score}_{x}": shape[:1] for x in ("mean", "se")}
    where = run.folder / "history.npz"
    for name, size in expected.items():
        found = history[name].shape if name in history else None
        if found != size:
            raise ValueError(f"{where}: found {name} of shape {found}, expected {size}")
    _check_rows(run, shape)
    for name, choice in {**choices(run), "the choice": run.choice}.items():
        if choice["l2"] not in history["l2s"]:
            raise ValueError(
                f"{run.folder / 'selected.json'}: {name} is l2 {choice['l2']}, "
                "expected one of the penalties of history.npz"
            )


def _check_rows(run: record.Record, shape: tuple[int, int]) -> None:
    folds = *range(shape[1] - 1), None
    expected = {(l2, fold) for l2 in l2s(run).tolist() for fold in folds}
    odd = expected ^ {(row["l2"], row["fold"]) for row in run.rows}
    if odd:
        raise ValueError(
            f"{run.folder / 'results.jsonl'}: found {len(run.rows)} fits, expected the "
            f"{len(expected)} of history.npz; either lacks (l2, fold) "
            f"{min(odd, key=str)}"
        )
