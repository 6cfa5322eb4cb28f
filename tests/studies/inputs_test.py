"""What studies say of rows that are there twice, and of classes with few rows."""

import numpy as np
import pytest

from linclf_jax.data import duplicates
from linclf_jax.runs import model, schema
from linclf_jax.selection import folds
from linclf_jax.studies import pipeline
from tests import small_studies

TRAINED = {"optimizer": ("adam",), "learning_rate": (0.3,), "l2": (1e-3,)}


def write(folder, parts):
    """Writes arrays by role; returns the flags of their files."""
    flags = {}
    for role, (x, labels) in parts.items():
        for what, array in (("features", x.astype(np.float32)), ("labels", labels)):
            flags[f"{role}_{what}"] = str(folder / f"{role}_{what}.npy")
            np.save(flags[f"{role}_{what}"], array)
    return flags


@pytest.fixture(scope="module")
def twice():
    """Of 60 training, 20 validation and 30 test rows some are the same.

    Four test rows are training rows, one of them with another label, two test rows are
    validation rows, and three validation rows are training rows.
    """
    rng = np.random.default_rng(6)
    means = rng.normal(size=(3, 4))
    labels = {
        role: np.arange(n) % 3 for role, n in (("train", 60), ("val", 20), ("test", 30))
    }
    x = {role: means[y] + rng.normal(size=(len(y), 4)) for role, y in labels.items()}
    x["val"][:3], labels["val"][:3] = x["train"][30:33], labels["train"][30:33]
    x["test"][:4], labels["test"][:4] = x["train"][:4], labels["train"][:4]
    labels["test"][3] = (labels["test"][3] + 1) % 3
    x["test"][4:6], labels["test"][4:6] = x["val"][5:7], labels["val"][5:7]
    return {role: (x[role], labels[role]) for role in x}


@pytest.mark.parametrize(
    ("name", "flags", "held_out"),
    [
        ("sweep", {"folds": 0, **TRAINED}, (3, 20)),
        ("path", {"folds": 4}, (None, 80)),
        ("path", {"leave_one_out": True}, (6, 80)),
        ("probe", {"l2": (0.1,)}, (3, 20)),
    ],
)
def test_rows_that_are_twice_are_counted(name, flags, held_out, twice, tmp_path):
    given = {**write(tmp_path, twice), **flags}
    result = pipeline.run(small_studies.prepare(name, **given))
    (entry,) = result.selected["entries"]
    counted = entry["test"]["duplicates"]
    x, labels = (array[6:] for array in twice["test"])
    accuracy = np.mean(model.predict(result.models[schema.MODEL], x) == labels)
    assert (counted["rows"], counted["another_label"]) == (6, 1)
    assert counted["without"]["size"] == 24
    assert counted["without"]["accuracy"] == accuracy
    low, high = counted["without"]["accuracy_interval"]
    assert low < accuracy < high
    rows, size = held_out
    validation = entry["validation"]["duplicates"]
    assert validation["size"] == size
    # Equal rows of one fold are held out together.
    assert validation["rows"] == rows if rows else 0 < validation["rows"] <= 6
    (warning,) = result.selected["warnings"]
    sentence = (
        f"{validation['rows']} of {size} held-out rows are byte-equal to a row that is "
        "trained on meanwhile"
    )
    prefix = "features: " if name == "probe" else ""
    assert warning.startswith(f"{prefix}{sentence}")


def test_fitted_rows_have_one_number_in_data_and_folds():
    assert duplicates.FITTED == folds.NOT_HELD_OUT


CLASSES, COLUMNS = 100, 6
COUNTS = np.repeat([5, 1, 2], [50, 25, 25])
ONE_ROW = list(range(50, 75))
NEVER = "held-out scores contain no row of 25 classes, which stay in training: 50 (1 r"
TAIL = {**TRAINED, "epochs": (3,), "batch_size": (32,), "trials_per_batch": 6}


@pytest.fixture(scope="module")
def tail(tmp_path_factory):
    """A hundred classes, half of one or two rows; test rows are of the others alone."""
    rng = np.random.default_rng(3)
    means = 3.0 * rng.normal(size=(CLASSES, COLUMNS))
    labels = {
        "train": np.repeat(np.arange(CLASSES), COUNTS)[rng.permutation(COUNTS.sum())],
        "test": np.arange(50),
    }
    parts = {
        role: (means[y] + rng.normal(size=(len(y), COLUMNS)), y)
        for role, y in labels.items()
    }
    return write(tmp_path_factory.mktemp("tail"), parts)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("sweep", {**TAIL, "folds": 3}),
        ("path", {"folds": 3}),
        ("path", {"leave_one_out": True}),
        ("probe", {"folds": 3}),
    ],
)
def test_classes_of_one_row_stay_in_training_and_are_named(name, flags, tail):
    result = pipeline.run(small_studies.prepare(name, **{**tail, **flags}))
    (warning,) = result.selected["warnings"]
    assert NEVER in warning
    assert warning.endswith("and 22 more")
    (entry,) = result.selected["entries"]
    size = int(COUNTS.sum()) - 25
    assert entry["validation"]["size"] == size
    assert entry["selection_bias"] is None or entry["selection_bias"]["rows"] == size
    recall = entry["test"]["per_class_recall"]
    assert [value is None for value in recall] == [False] * 50 + [True] * 50
    # The tested classifier has seen them.
    weights = np.asarray(result.models[schema.MODEL].params.W)
    assert np.abs(weights[:, ONE_ROW]).max(axis=0).min() > 0.01


def test_a_split_that_lacks_classes_says_so(tail):
    given = {name: path for name, path in tail.items() if name.startswith("train")}
    result = pipeline.run(small_studies.prepare("sweep", **given, **TAIL, folds=0))
    first, second = result.selected["warnings"]
    assert first.startswith("validation scores contain no row of 25 classes with too")
    assert second.startswith("test scores contain no row of 50 classes")
    test = result.selected["entries"][0]["test"]
    recall = np.array(test["per_class_recall"], float)
    assert test["mean_per_class_recall"] == pytest.approx(np.nanmean(recall))


def test_folds_that_hold_not_all_rows_out_scale_and_train_all(tail):
    study = small_studies.prepare("sweep", **tail, **TAIL, folds=3)
    (data,), (one,) = study.data.values(), study.plan.inputs.values()
    np.testing.assert_allclose(one.x.mean(axis=0), 0.0, atol=1e-5)
    in_folds = np.asarray(data.folds)
    assert (
        np.isin(np.asarray(data.labels), ONE_ROW).tolist() == (in_folds == 3).tolist()
    )
    for trial in study.trials:
        assert trial.num_rows == np.sum(in_folds != trial.fold)


def test_draws_of_more_shots_than_a_class_has_name_classes_and_remedy(tail):
    with pytest.raises(ValueError, match=r"50 \(1 row\), .* 47 more: lower --shots"):
        small_studies.prepare("shots", **tail, shots=(1, 5))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(30) // 2, "no class with a row to spare for the test split"),
        (np.array([0, 0, 0, 0, *range(1, 27)]), "found 1 validation rows; .*--val_fea"),
    ],
)
def test_a_split_without_rows_names_the_flags(labels, message, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 3))
    flags = write(tmp_path, {"train": (x, labels)})
    with pytest.raises(ValueError, match=message):
        small_studies.prepare("sweep", **flags, folds=0)
