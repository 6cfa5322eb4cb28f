"""Features of images as an axis of a sweep, a setting selected in each group."""

from unittest import mock

import numpy as np
import pytest

from experiments import course
from linclf_jax.config import flat
from linclf_jax.data import datasets, image_cache, images
from linclf_jax.runs import model
from linclf_jax.studies import pipeline, sweep
from tests import sweeps

SMALL = flat.build(
    course.DEFAULTS,
    {
        "dataset": "digits",
        "features": ("raw", "hog"),
        "loss": ("softmax_cross_entropy", "weston_watkins_hinge"),
        "learning_rate": (0.01, 0.1),
        "l2": (1e-3,),
        "epochs": (3,),
        "batch_size": (64,),
        "trials_per_batch": 2,
    },
)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Computes the features of the same rows once."""
    known, features = {}, image_cache.features

    def once(name, x, *arguments, **options):
        key = name, x.tobytes()
        if key not in known:
            known[key] = features(name, x, *arguments, **options)
        return known[key]

    with sweeps.quick(), mock.patch.object(image_cache, "features", once):
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("course") / "run", SMALL)


@pytest.fixture(scope="module")
def alone(_quick):
    return pipeline.run(sweeps.prepare(SMALL, features=("hog",)))


def test_each_kind_of_features_trains_as_it_would_alone(finished, alone):
    own = [row for row in finished.rows if row["features"] == "hog"]
    for row, expected in zip(own, alone.rows, strict=True):
        assert {**row, "trial": expected["trial"]} == expected
    others = [row for row in finished.rows if row["features"] == "raw"]
    assert not {r["val_loss"] for r in own} & {r["val_loss"] for r in others}


def test_each_group_has_its_best_trial_by_validation_data(finished):
    entries = finished.selected["entries"]
    assert [entry["group"] for entry in entries] == [
        {"features": features, "loss": loss}
        for features in SMALL.training.features
        for loss in SMALL.training.loss
    ]
    for entry in entries:
        rows = [r for r in finished.rows if entry["group"].items() <= r.items()]
        best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
        assert entry["row"] == best
        assert entry["trials"] == [best["trial"]] == [entry["trial"]]
        assert entry["validation"]["val_accuracy"] == best["val_accuracy"]
        assert entry["validation"]["size"] == 360
    chosen = entries[finished.selected["chosen"]]
    accuracies = [entry["validation"]["val_accuracy"] for entry in entries]
    assert chosen["validation"]["val_accuracy"] == max(accuracies)


def test_the_stored_classifier_takes_raw_images(alone):
    test = datasets.load("digits", split_seed=0).test.read()
    stored = alone.models["selected.safetensors"]
    assert stored.features == "hog"
    chosen = alone.selected["entries"][alone.selected["chosen"]]
    correct = model.predict(stored, test.x) == test.labels
    assert correct.mean() == chosen["test"]["accuracy"]


def test_by_folds_each_setting_is_trained_again():
    flags = {"features": ("hog",), "loss": SMALL.training.loss[:1], "folds": 2}
    study = sweeps.prepare(SMALL, l2=(0.0, 0.1), select_per=("l2",), **flags)
    result = pipeline.run(study)
    assert len(result.selected["entries"]) == 2
    for entry in result.selected["entries"]:
        assert (entry["trial"], len(entry["trials"])) == (None, 2)
        assert entry["row"]["val_loss"] is None
        assert entry["row"]["l2"] == entry["group"]["l2"]
        assert (entry["num_rows"], entry["validation"]["size"]) == (1438, 1438)
    one, other = (result.models[entry["model"]] for entry in result.selected["entries"])
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
