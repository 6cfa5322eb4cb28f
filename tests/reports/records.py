"""Records of small studies, made of numbers that a test can check by hand."""

from pathlib import Path

import numpy as np

from linclf_jax.runs import checkpoint, directory
from linclf_jax.runs.record import Record

NASTY = "<script>alert('x')</script> & $\\frac"
NAMES = ("cat", NASTY, "dog")
EPOCHS = 3
L2S = (1.0, 0.1, 0.01, 0.001)
LOSSES = (0.9, 0.5, 0.25, 0.375)
BINS = {
    "edges": [0.0, 0.5, 1.0],
    "count": [0, 8],
    "confidence": [None, 0.9],
    "accuracy": [None, 0.8],
}


def config(study, *, names=NAMES, image_shape=None, **flags):
    return {
        "experiment": study,
        "flags": {"dataset": "pets", "metric": "val_loss", "secret": "<i>", **flags},
        "data": {
            "name": "pets & co",
            "fingerprint": "0f1e2d",
            "num_features": 4,
            "train": 60,
            "validation": 20,
            "test": 18,
            "num_classes": len(names),
            "class_names": list(names),
            "image_shape": image_shape,
        },
        "environment": {"jax": "0.10.2", "git": {"commit": "c0ffee", "dirty": False}},
    }


def measured(classes=3, accuracy=0.8125, **changes):
    """Scores on 18 test rows of three classes, of which three are taken for another."""
    counts = np.diag(np.full(classes, 5))
    counts[0, 1] = 3
    return {
        "size": int(counts.sum()),
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.25, accuracy + 0.125],
        "loss": 0.5678,
        "top5_accuracy": None,
        "mean_per_class_recall": 0.875,
        "per_class_recall": [0.625, *[1.0] * (classes - 1)],
        "confusion": counts.tolist(),
        "nll": 0.5,
        "calibration_error": 0.0432,
        "calibration_error_scaled": None,
        "reliability": BINS,
        "reliability_scaled": None,
        "temperature": None,
        "duplicates": {"rows": 0, "another_label": 0, "without": None},
        **changes,
    }


def entry(own, /, **changes):
    """A group's selection; without changes, of one trial and on validation rows."""
    made = {
        "group": {},
        "failure": None,
        "trial": own["trial"],
        "trials": [own["trial"]],
        "row": own,
        "reason": "the lowest val_loss",
        "best": own["trial"],
        "standard_error": None,
        "ties": [],
        "warnings": [],
        "rules": {},
        "repeats": {},
        "validation": {
            "resampling": "split",
            "size": 20,
            "val_loss": own["val_loss"],
            "standard_error": None,
            "val_accuracy": own["val_accuracy"],
            "accuracy_interval": [0.75, 0.96875],
            "val_loss_calibrated": None,
            "duplicates": {"rows": 0, "another_label": 0, "size": 20},
        },
        "selection_bias": None,
        "refit": False,
        "num_rows": 60,
        "num_features": 4,
        "temperature": None,
        "test": measured(),
    }
    validation = made["validation"] | changes.pop("validation", {})
    return {**made, **changes, "validation": validation}


def selected(entries, **changes):
    return {
        "metric": "val_loss",
        "rule": "best",
        "select_per": [],
        "protocol": None,
        "entries": list(entries),
        "chosen": 0,
        "chosen_ties": [],
        "comparisons": [],
        "certificates": None,
        "test_data": {},
        "warnings": [],
        **changes,
    }


def training_rows(*, diverged=(), retired=()):
    """Two optimizers x 3 rates x 2 penalties x 2 seeds; trial 17 is the best."""
    grid = [
        (optimizer, rate, l2, seed)
        for optimizer in ("sgd", "adam")
        for rate in (0.01, 0.1, 1.0)
        for l2 in (0.0, 0.001234567)
        for seed in (0, 1)
    ]
    rows = []
    for trial, (optimizer, rate, l2, seed) in enumerate(grid):
        lost, distance = trial in diverged, abs(trial - 17)
        status = "diverged" if lost else "retired" if trial in retired else "ok"
        rows.append(
            {
                "trial": trial,
                "optimizer": optimizer,
                "learning_rate": rate,
                "l2": l2,
                "momentum": 0.9 if optimizer == "sgd" else None,
                "batch_size": 32,
                "seed": seed,
                "fold": None,
                "steps": 12,
                "epoch": 2,
                "status": status,
                "reason": "nonfinite_loss" if lost else None,
                "train_loss": None if lost else 0.2 + distance / 64,
                "train_accuracy": None if lost else 0.97,
                "val_loss": None if lost else 0.25 + distance / 32,
                "val_accuracy": None if lost else 0.9375 - distance / 64,
            }
        )
    return rows


def curves(rows):
    loss = np.tile([1.0, 0.7, 0.5], (len(rows), 1))
    loss[[row["status"] != "ok" for row in rows], 1:] = np.nan
    trials = np.array([row["trial"] for row in rows], int)
    return {"trial": trials, "train_loss": loss, "val_loss": loss} | {
        "val_accuracy": 1 - loss / 2
    }


def made(study, rows, history, chosen, settings=None, **state):
    """A record, as if read of a finished run directory."""
    settings = settings or config(study)
    classes = settings["data"]["num_classes"]
    W = np.arange(4.0 * classes, dtype=np.float32).reshape(4, classes)
    finished = {"fitting": False, "notes": (), "sealed": True} | state
    where, weights = Path("my runs/one"), None if chosen is None else W
    return Record(where, settings, rows, history, chosen, weights, **finished)


def sweep(rows=None, *, trial=17, settings=None, change=None, **state):
    """A sweep; ``trial=None`` leaves it without a selection."""
    rows = training_rows(diverged=(4, 5)) if rows is None else rows
    chosen = None
    if trial is not None:
        row = next(row for row in rows if row["trial"] == trial)
        changes = {"ties": [3], "warnings": ["trial <b> is odd"], **(change or {})}
        chosen = selected([entry(row, **changes)])
    return made("sweep", rows, curves(rows), chosen, settings, **state)


def folds(*, refit):
    """Three penalties x three folds, the middle one chosen by its mean."""
    losses = {0.0: (0.5, 0.1, 0.6), 0.01: (0.2, 0.3, 0.4), 0.1: (0.9, 0.8, 0.7)}
    pairs = [(l2, fold) for l2 in losses for fold in range(3)]
    rows = [
        row
        | {"trial": trial, "optimizer": "sgd", "momentum": None, "learning_rate": 0.1}
        | {"l2": l2, "seed": 0, "fold": fold, "label_smoothing": 0.0}
        | {"val_loss": losses[l2][fold], "val_accuracy": 1 - losses[l2][fold] / 2}
        for trial, ((l2, fold), row) in enumerate(
            zip(pairs, training_rows(), strict=False)
        )
    ]
    accuracy = {"mean": 0.85, "sd": 0.05, "count": 3}
    change = {
        "trials": [3, 4, 5],
        "repeats": {"val_accuracy": accuracy},
        "validation": {"resampling": "folds", "val_loss": 0.3, "val_accuracy": 0.85},
        "refit": refit,
    }
    if refit:
        change |= {"trial": None, "row": rows[3] | {"trial": None, "fold": None}}
    return sweep(rows, trial=3, change={"ties": [], "warnings": [], **change})


def path(
    *,
    l2s=L2S,
    losses=LOSSES,
    num_folds=3,
    names=NAMES,
    features=4,
    rule="best",
    at=(2, 1),
    ends=None,
    metric="val_loss",
    certificates=True,
):
    """A path; ``at`` are the places of what the two rules select."""
    shape = len(l2s), num_folds + 1
    rows = []
    history = path_arrays(l2s, losses, num_folds)
    W = np.linspace(-1, 1, features * len(names)).reshape(1, features, len(names))
    history["coefficients"] = np.arange(1, len(l2s) + 1).reshape(-1, 1, 1) * W
    history["newton_steps"] = np.arange(np.prod(shape)).reshape(shape) % 3 + 1
    history["products"] = np.arange(np.prod(shape)).reshape(shape)
    gaps = np.geomspace(1e-8, 4e-7, np.prod(shape)).reshape(shape)
    for trial, (place, fold) in enumerate(np.ndindex(*shape)):
        known = ("converged", float(gaps[place, fold]))
        status, gap = (ends or {}).get((place, fold), known)
        gaps[place, fold] = np.nan if gap is None else gap
        l2 = l2s[place]
        row = {"trial": trial, "l2": l2, "C": 1 / (80 * l2) if l2 else None}
        row |= {"fold": fold if fold < num_folds else None, "status": status}
        row |= {"features": "raw", "preprocessing": "standardize"}
        row |= {"steps": int(history["newton_steps"][place, fold])}
        row |= {"relative_gap": gap, "val_loss": None, "val_accuracy": None}
        row["stage"] = "selection" if fold < num_folds or not num_folds else "final"
        rows.append(row)
    history["relative_gap"] = gaps
    rules = {
        name: {
            "l2": l2s[i],
            "C": rows[i * shape[1]]["C"],
            "val_loss": losses[i],
            "standard_error": history["0.val_loss_se"][i],
            "val_accuracy": 0.93,
            "val_loss_calibrated": losses[i] / 2,
        }
        for name, i in zip(("best", "one_standard_error"), at, strict=True)
    }
    place = at[rule != "best"]
    chosen = entry(
        rows[(place + 1) * shape[1] - 1],
        trials=[place * shape[1]],
        reason="the lowest mean loss",
        warnings=["the best l2 is <b> at the edge"],
        rules=rules,
        validation={
            "resampling": "folds" if num_folds else "leave_one_out",
            "val_loss": losses[place],
            "standard_error": rules[rule]["standard_error"],
            "val_accuracy": 0.93,
        },
        refit=True,
        test=measured(len(names)),
    )
    proof = {"fits": len(rows), "worst_relative_gap": float(gaps.max()), "tol": 1e-6}
    certified = proof if certificates else None
    answer = selected([chosen], metric=metric, rule=rule, certificates=certified)
    return made("path", rows, history, answer, config("path", names=names))


def path_arrays(l2s, losses, num_folds, index=0):
    """Means as given, and folds that are spread evenly around them."""
    spread = np.linspace(-0.1, 0.1, max(num_folds, 1))
    loss = np.array(losses)[:, None] + (spread if num_folds else 0)
    error = np.std(spread, ddof=1) / np.sqrt(num_folds) if num_folds else 0.03
    scores = {"val_loss": loss, "val_accuracy": 1 - loss / 4}
    scores["val_loss_calibrated"] = loss / 2
    arrays = {f"{index}.l2s": np.array(l2s)}
    for name, values in scores.items():
        arrays[f"{index}.{name}"] = values.mean(1)
        arrays[f"{index}.{name}_se"] = np.full(len(l2s), error)
        if num_folds:
            arrays[f"{index}.folds.{name}"] = values
    return arrays


def pair(first, second, adjusted):
    return {
        "first": first,
        "second": second,
        "difference": -0.0625,
        "low": -0.125,
        "high": 0.03125,
        "p_value": adjusted / 2,
        "adjusted": adjusted,
        "only_a": 7,
        "only_b": 11,
        "size": 100,
    }


def probe(groups, *, settings=None, **changes):
    """A probe; ``groups`` are pairs of a group and the test accuracy of its entry."""
    rows, history, entries = [], {}, []
    l2s, losses = (1.0, 0.1, 0.01), (0.75, 0.5, 0.625)
    for index, (group, accuracy) in enumerate(groups):
        fits = [
            {
                "trial": len(rows) + i,
                "features": "raw",
                **group,
                "l2": l2,
                "C": 1.5,
                "preprocessing": "standardize",
                "status": "converged",
                "steps": 2,
                "fold": None,
                "stage": "selection",
                "relative_gap": 1e-7,
                "val_loss": loss,
                "val_accuracy": 0.875,
            }
            for i, (l2, loss) in enumerate(zip(l2s, losses, strict=True))
        ]
        rows += fits
        history |= path_arrays(l2s, losses, 0, index)
        scaled = {"calibration_error_scaled": 0.03125, "reliability_scaled": BINS}
        test = measured(accuracy=accuracy, temperature=1.75, **scaled)
        where = {"resampling": "folds", "standard_error": 0.0625}
        seed = group.get("seed")
        row = fits[1 if seed is None else seed]
        entries.append(entry(row, group=group, refit=True, test=test, validation=where))
    protocol = {
        "name": "clip",
        "source": "a paper & its <code>.",
        "sets": {"unit": "C", "grid": [1e-6, 1.0]},
        "overridden": ["l2"],
        "changed": ["every penalty is solved; the original <stops>"],
    }
    proof = {"fits": len(rows), "worst_relative_gap": 1e-7, "tol": 1e-6}
    known = {
        "select_per": ["features", "shots", "seed"],
        "protocol": protocol,
        "certificates": proof,
    }
    chosen = selected(entries, **known | changes)
    return made("probe", rows, history, chosen, settings or config("probe"))


def sets(*names, **changes):
    """A probe of feature sets on all rows, each better than the one before."""
    groups = [
        ({"features": name, "shots": None, "seed": None}, 0.75 + i / 16)
        for i, name in enumerate(names)
    ]
    return probe(groups, **changes)


def shots(**changes):
    """A probe of two feature sets, two numbers of shots, three draws."""
    groups = [
        ({"features": name, "shots": count, "seed": seed}, base + seed / 64)
        for name, base in (("clip", 0.5), ("dino", 0.625))
        for count in (1, 10)
        for seed in range(3)
    ]
    return probe(groups, **changes)


def changed(record, **changes):
    """The record with other words in its ``selected.json``."""
    return record._replace(selected={**record.selected, **changes})


def write(record, folder):
    """Writes a record as a run directory, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    directory.write(folder / "config.json", record.config)
    directory.write(folder / "flags.txt", "--dataset=pets\n")
    directory.write(folder / "results.jsonl", record.rows)
    if record.history is not None:
        directory.write(folder / "history.npz", record.history)
    if record.selected is not None:
        directory.write(folder / "selected.json", record.selected)
        tensors = {"W": record.weights, "b": np.zeros(record.weights.shape[1])}
        directory.write(folder / "selected.safetensors", (tensors, {}))
    return folder


def to_batches(folder, *, cut):
    """Turns the results of a run directory into two finished batches of it."""
    rows = directory.read(folder / "results.jsonl")
    history = directory.read(folder / "history.npz")
    store = checkpoint.DiskStore(folder)
    for number, part in enumerate((slice(0, cut), slice(cut, None))):
        arrays = {name: array[part] for name, array in history.items()}
        store.save_batch(f"{number:06d}", checkpoint.Batch(rows[part], arrays))
    (folder / "results.jsonl").unlink()
    (folder / "history.npz").unlink()
