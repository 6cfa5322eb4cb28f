"""Features of images as an axis of a sweep, a setting selected in each group."""

import numpy as np
import pytest

from experiments import course
from linclf_jax.config import flat
from linclf_jax.data import datasets, images
from linclf_jax.runs import model
from linclf_jax.studies import pipeline, sweep
from tests import small_studies, sweeps

LOSSES = ("weston_watkins_hinge",)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A few images of digits."""
    folder = tmp_path_factory.mktemp("files")
    dataset = datasets.load("digits", split_seed=0)
    splits = {"train": dataset.train, "val": dataset.validation}
    for role, split in {**splits, "test": dataset.test.read()}.items():
        np.save(folder / f"{role}_features.npy", split.x[:80].reshape(-1, 8, 8))
        np.save(folder / f"{role}_labels.npy", split.labels[:80])
    return folder


@pytest.fixture(scope="module")
def small(files):
    flags = {
        **small_studies.data_flags(files, val=True),
        "dataset": "features",
        "features": ("raw", "hog"),
        "loss": LOSSES,
        "learning_rate": (0.01, 0.1),
        "l2": (1e-3,),
        "epochs": (3,),
        "batch_size": (64,),
        "trials_per_batch": 2,
    }
    return flat.build(course.DEFAULTS, flags)


@pytest.fixture(scope="module")
def finished(small):
    return pipeline.run(sweeps.prepare(small))


@pytest.fixture(scope="module")
def alone(small):
    return pipeline.run(sweeps.prepare(small, features=("hog",)))


def test_each_kind_of_features_trains_as_it_would_alone(finished, alone):
    own = [row for row in finished.rows if row["features"] == "hog"]
    for row, expected in zip(own, alone.rows, strict=True):
        assert {**row, "trial": expected["trial"]} == expected
    others = [row for row in finished.rows if row["features"] == "raw"]
    assert not {r["val_loss"] for r in own} & {r["val_loss"] for r in others}


def test_each_group_has_its_best_trial_by_validation_data(finished):
    entries = finished.selected["entries"]
    groups = [tuple(entry["group"].values()) for entry in entries]
    assert groups == [(name, loss) for name in ("raw", "hog") for loss in LOSSES]
    for entry in entries:
        rows = [r for r in finished.rows if entry["group"].items() <= r.items()]
        best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
        assert entry["row"] == best
        assert entry["trials"] == [best["trial"]] == [entry["trial"]]
        assert entry["validation"]["val_accuracy"] == best["val_accuracy"]
        assert entry["validation"]["size"] == 80
    chosen = entries[finished.selected["chosen"]]
    accuracies = [entry["validation"]["val_accuracy"] for entry in entries]
    assert chosen["validation"]["val_accuracy"] == max(accuracies)


def test_the_stored_classifier_takes_raw_images(alone, files):
    stored = alone.models["selected.safetensors"]
    assert stored.features == "hog"
    x, labels = (np.load(files / f"test_{what}.npy") for what in ("features", "labels"))
    correct = model.predict(stored, x.reshape(80, 64)) == labels
    chosen = alone.selected["entries"][alone.selected["chosen"]]
    assert correct.mean() == chosen["test"]["accuracy"]


def test_by_folds_each_setting_is_trained_again(small):
    flags = {"features": ("raw",), "folds": 2}
    study = sweeps.prepare(small, l2=(0.0, 0.1), select_per=("l2",), **flags)
    result = pipeline.run(study)
    entries = result.selected["entries"]
    assert len(entries) == 2
    for entry in entries:
        assert (entry["trial"], len(entry["trials"])) == (None, 2)
        assert entry["row"]["val_loss"] is None
        assert entry["row"]["l2"] == entry["group"]["l2"]
        assert (entry["num_rows"], entry["validation"]["size"]) == (160, 160)
    one, other = (result.models[entry["model"]] for entry in entries)
    assert not np.array_equal(one.params.W, other.params.W)


@pytest.mark.parametrize(
    ("dataset", "features"),
    [("fashion_mnist", ("rgb", "hog")), ("cifar10", images.NAMES)],
)
def test_images_get_the_features_that_they_have(dataset, features, monkeypatch):
    class PreparedError(Exception):
        pass

    def prepare(config, name):
        raise PreparedError(config.training.features, name)

    monkeypatch.setattr(sweep, "prepare", prepare)
    for given, expected in (((), tuple(features)), (("raw",), ("raw",))):
        flags = {"dataset": dataset, "features": given, "compilation_cache": "none"}
        with pytest.raises(PreparedError) as prepared:
            course.run(flat.build(course.DEFAULTS, flags))
        assert prepared.value.args == (expected, "course")
