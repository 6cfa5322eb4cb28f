"""Records of small studies, made of numbers that a test can check by hand."""

import itertools
from pathlib import Path

import numpy as np

from linclf_jax.data.datasets import Split
from linclf_jax.runs import checkpoint, directory, examples
from linclf_jax.runs.record import Record
from linclf_jax.selection import ranking

NASTY = "<script>alert('x')</script> & $\\frac"
NAMES = ("cat", NASTY, "dog")
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
    grid = itertools.product(
        ("sgd", "adam"), (0.01, 0.1, 1.0), (0.0, 0.001234567), (0, 1)
    )
    rows = []
    for trial, (optimizer, rate, l2, seed) in enumerate(grid):
        distance = abs(trial - 17)
        row = {
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
            "status": "retired" if trial in retired else "ok",
            "reason": None,
            "train_loss": 0.2 + distance / 64,
            "train_accuracy": 0.97,
            "val_loss": 0.25 + distance / 32,
            "val_accuracy": 0.9375 - distance / 64,
        }
        if trial in diverged:
            row |= {"status": "diverged", "reason": "nonfinite_loss"}
            row |= dict.fromkeys(ranking.SCORES)
        rows.append(row)
    return rows


def curves(rows):
    loss = np.tile([1.0, 0.7, 0.5], (len(rows), 1))
    loss[[row["status"] != "ok" for row in rows], 1:] = np.nan
    trials = np.array([row["trial"] for row in rows], int)
    accuracy = 1 - loss / 2
    return dict(trial=trials, train_loss=loss, val_loss=loss, val_accuracy=accuracy)


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


def unfinished(rows=None, **state):
    """A sweep that is still trained."""
    return sweep(rows, trial=None, fitting=True, sealed=False, **state)


def grouped(**settings):
    """A sweep that selects for each optimizer; that of the second is chosen."""
    rows = training_rows()
    entries = [
        entry(rows[trial], group={"optimizer": rows[trial]["optimizer"]})
        for trial in (11, 17)
    ]
    chosen = selected(entries, chosen=1, select_per=["optimizer"])
    return made("sweep", rows, curves(rows), chosen, config("sweep", **settings))


def folds(*, refit):
    """Three penalties x three folds, the middle one chosen by its mean."""
    losses = {0.0: (0.5, 0.1, 0.6), 0.01: (0.2, 0.3, 0.4), 0.1: (0.9, 0.8, 0.7)}
    pairs = itertools.product(losses, range(3))
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


def fit(trial, l2, **changes):
    """The row of an exact fit."""
    return {
        "trial": trial,
        "features": "raw",
        "preprocessing": "standardize",
        "l2": l2,
        "C": 1 / (80 * l2) if l2 else None,
        "fold": None,
        "stage": "selection",
        "status": "converged",
        "steps": 2,
        "relative_gap": 1e-7,
        "val_loss": None,
        "val_accuracy": None,
        **changes,
    }


def certificates(rows, left_out=0):
    """What is certified of exact fits."""
    known = [r["relative_gap"] for r in rows if r["status"] != "not_certified"]
    return {
        "fits": len(rows),
        "certified": len(known),
        "worst_relative_gap": None if None in known else max(known),
        "tol": 1e-6,
        "penalties_left_out": left_out,
    }


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
    left_out=0,
):
    """A path; ``at`` are the indices of what the two rules select.

    ``ends`` has status and gap of fits that end badly, by indices of penalty and fold.
    """
    shape = len(l2s), num_folds + 1
    order = np.arange(np.prod(shape)).reshape(shape)
    gaps = np.geomspace(1e-8, 4e-7, order.size).reshape(shape)
    rows = []
    for (index, fold), trial in np.ndenumerate(order):
        status, gap = (ends or {}).get((index, fold), ("converged", gaps[index, fold]))
        gaps[index, fold] = np.nan if gap is None else gap
        is_final = num_folds and fold == num_folds
        row = fit(int(trial), l2s[index], status=status, relative_gap=gap)
        row |= {"steps": int(trial) % 3 + 1, "fold": fold if fold < num_folds else None}
        rows.append(row | {"stage": "final" if is_final else "selection"})
    history = path_arrays(l2s, losses, num_folds)
    W = np.linspace(-1, 1, features * len(names)).reshape(1, features, len(names))
    history["coefficients"] = np.arange(1, len(l2s) + 1).reshape(-1, 1, 1) * W
    history |= {"newton_steps": order % 3 + 1, "products": order, "relative_gap": gaps}
    rules = {
        name: {
            "l2": l2s[i],
            "C": rows[order[i, 0]]["C"],
            "val_loss": losses[i],
            "standard_error": history["0.val_loss_se"][i],
            "val_accuracy": 0.93,
            "val_loss_calibrated": losses[i] / 2,
        }
        for name, i in zip(("best", "one_standard_error"), at, strict=True)
    }
    first, *_, last = order[at[rule != "best"]].tolist() * 2
    scores = {k: rules[rule][k] for k in ("val_loss", "standard_error", "val_accuracy")}
    chosen = entry(
        rows[last],
        trials=[first],
        reason="the lowest mean loss",
        warnings=["the best l2 is <b> at the edge"],
        rules=rules,
        validation={"resampling": "folds" if num_folds else "leave_one_out", **scores},
        refit=True,
        test=measured(len(names)),
    )
    proof = certificates(rows, left_out)
    answer = selected([chosen], metric=metric, rule=rule, certificates=proof)
    return made("path", rows, history, answer, config("path", names=names))


def with_more_rows():
    """A path whose final fits have the C that was compared, and so another l2."""
    record = path()
    for row in record.rows:
        if row["stage"] == "final":
            row["l2"] *= 0.8
    return record


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
    scaled = {"calibration_error_scaled": 0.03125, "reliability_scaled": BINS}
    where = {"resampling": "folds", "standard_error": 0.0625}
    for index, (group, accuracy) in enumerate(groups):
        fits = [
            fit(len(rows) + i, l2, C=1.5, val_loss=loss, val_accuracy=0.875, **group)
            for i, (l2, loss) in enumerate(zip(l2s, losses, strict=True))
        ]
        rows += fits
        history |= path_arrays(l2s, losses, 0, index)
        test = measured(accuracy=accuracy, temperature=1.75, **scaled)
        row = fits[1 if group.get("seed") is None else group["seed"]]
        entries.append(entry(row, group=group, refit=True, test=test, validation=where))
    known = {
        "select_per": ["features", "shots", "seed"],
        "protocol": {
            "name": "clip",
            "source": "a paper & its <code>.",
            "sets": {"unit": "C", "grid": [1e-6, 1.0]},
            "overridden": ["l2"],
            "changed": ["every penalty is solved; the original <stops>"],
        },
        "certificates": certificates(rows),
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


def shots(counts=(1, 10), **changes):
    """A probe of two feature sets, two numbers of shots, three draws."""
    groups = [
        ({"features": name, "shots": count, "seed": seed}, base + seed / 64)
        for name, base in (("clip", 0.5), ("dino", 0.625))
        for count in counts
        for seed in range(3)
    ]
    return probe(groups, **changes)


def keep_examples(folder, *, image_shape=(2, 2), calibrated=True, perfect=False):
    """Eight test rows of each class, one in four taken for the next class."""
    labels = np.arange(24) % 3
    wrong = (np.arange(24) % 4 == 0) & (not perfect)
    logits = 3.0 * np.eye(3)[(labels + wrong) % 3]
    logits[2] *= 0.1
    x = np.arange(96, dtype=np.uint8).reshape(24, 4)
    split = Split(x, labels.astype(np.int32), 1000 + np.arange(24))
    collected = examples.collect(
        logits, split, image_shape=image_shape, calibrated=calibrated
    )
    folder.mkdir(exist_ok=True)
    examples.write(folder, collected)
    return collected


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


def write_unfinished(record, folder):
    """Writes a record as a run directory with two finished batches."""
    write(record, folder)
    store = checkpoint.DiskStore(folder)
    for number, part in enumerate((slice(0, 10), slice(10, None))):
        arrays = {name: array[part] for name, array in record.history.items()}
        store.save_batch(f"{number:06d}", checkpoint.Batch(record.rows[part], arrays))
    (folder / "results.jsonl").unlink()
    (folder / "history.npz").unlink()
    return folder
