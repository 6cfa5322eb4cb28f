"""What studies fit: scaled rows, rows held out, rare classes, rows that are twice."""

import numpy as np
import pytest

from linclf_jax.data import datasets, duplicates, formats, preprocessing
from linclf_jax.params import Params
from linclf_jax.runs import schema
from linclf_jax.selection import folds
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies import pipeline, testing
from linclf_jax.studies.study import Classifier
from tests import small_studies, sweeps

TRAINED = {"optimizer": ("adam",), "learning_rate": (0.3,), "l2": (1e-3,)}
KEY = ("raw", "standardize")


@pytest.fixture
def spoil(monkeypatch):
    """Returns a function that changes the rows of some splits, and hides the test's."""
    load = datasets.load

    def spoilt(*names):
        def changed(*arguments, **options):
            dataset = load(*arguments, **options)
            rows = {n: getattr(dataset, n) for n in names}
            spoilt = {n: s._replace(x=1000 * s.x + 7) for n, s in rows.items()}
            return dataset._replace(**spoilt, test=None)

        monkeypatch.setattr(datasets, "load", changed)

    return spoilt


def assert_same(first, second):
    for statistic, other in zip(first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(statistic, other)


def test_neither_validation_nor_test_rows_scale_a_sweep(spoil):
    names = ("standardize", "mean_range", "pca:2")
    before = sweeps.prepare(preprocessing=names).plan.inputs
    spoil("validation")
    after = sweeps.prepare(preprocessing=names).plan.inputs
    assert {*after} == {("raw", name) for name in names}
    for key, inputs in after.items():
        assert_same(inputs.scaling, before[key].scaling)
        np.testing.assert_array_equal(inputs.x[:90], before[key].x[:90])
        assert not np.array_equal(inputs.x, before[key].x)


def test_test_rows_do_not_scale_a_path(spoil):
    flags = {"dataset": "iris", "preprocessing": "whiten"}
    (before,) = small_studies.prepare("path", **flags).plan.inputs.values()
    spoil()
    (after,) = small_studies.prepare("path", **flags).plan.inputs.values()
    assert_same(after.scaling, before.scaling)
    np.testing.assert_array_equal(after.x, before.x)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_split_is_trained_on_the_rows_that_it_does_not_hold_out(in_order):
    inputs = sweeps.prepare().plan.inputs[KEY]
    fold = inputs.fold if in_order else np.roll(inputs.fold, 7)
    inputs = inputs._replace(fold=fold)
    data, held_out = inputs_lib.data(inputs), fold != NOT_HELD_OUT
    assert isinstance(inputs_lib.side_by_side(held_out), slice) == in_order
    for name, rows in (("", ~held_out), ("val_", held_out)):
        np.testing.assert_array_equal(getattr(data, f"{name}x"), inputs.x[rows])
        labels = getattr(data, f"{name}labels")
        np.testing.assert_array_equal(labels, inputs.labels[rows])
    assert data.folds is None
    assert inputs_lib.num_train_rows(inputs) == (~held_out).sum()


def test_a_row_that_no_fold_holds_out_is_in_training_in_all_of_them():
    inputs = sweeps.prepare(folds=3).plan.inputs[KEY]
    inputs = inputs._replace(fold=np.where(np.arange(120) == 5, -1, inputs.fold))
    data = inputs_lib.data(inputs)
    assert data.folds[5] == 3
    assert not inputs_lib.is_held_out(inputs)[5]
    for fold in range(3):
        own = inputs_lib.is_held_out(inputs, fold)
        np.testing.assert_array_equal(own, np.asarray(data.val_folds) == fold)
        assert inputs_lib.num_train_rows(inputs, fold) == (~own).sum()
    assert inputs_lib.num_train_rows(inputs) == 120


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
    ("name", "flags", "rows", "size"),
    [
        ("sweep", {"folds": 0, **TRAINED}, 3, 20),
        # Equal rows of one fold are held out together.
        ("path", {"folds": 4}, 4, 80),
        ("path", {"leave_one_out": True}, 6, 80),
        ("probe", {"l2": (0.1,)}, 3, 20),
        ("shots", {}, 0, 0),  # the rows of each draw are compared on its own
    ],
)
def test_held_out_rows_that_are_twice_are_counted(
    name, flags, rows, size, twice, tmp_path
):
    study = small_studies.prepare(name, **{**write(tmp_path, twice), **flags})
    (inputs,) = study.plan.inputs.values()
    assert (inputs.duplicates.rows, inputs.duplicates.size) == (rows, size)
    start = f"{rows} of {size} held-out rows are byte-equal to a row that is trained on"
    assert [w[: len(start)] for w in inputs.warnings] == [start] * (rows > 0)


def test_test_rows_that_are_twice_are_counted(twice, tmp_path):
    flags = {**write(tmp_path, twice), **TRAINED, "folds": 0}
    (inputs,) = small_studies.prepare("sweep", **flags).plan.inputs.values()
    test, W = inputs.dataset.test.read(), np.random.default_rng(0).normal(size=(4, 3))
    one = Classifier(None, Params(W, np.zeros(3)), {}, False, 60, None, None, 0)
    counted = testing.evaluate(one, inputs, test).scores["duplicates"]
    assert (counted["rows"], counted["another_label"]) == (6, 1)
    others = counted["without"]
    assert others["size"] == 24
    predicted = np.argmax(preprocessing.apply(inputs.scaling, test.x) @ W, axis=1)
    assert others["accuracy"] == np.mean((predicted == test.labels)[6:])
    low, high = others["accuracy_interval"]
    assert low < others["accuracy"] < high


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
def test_classes_of_one_row_are_named(name, flags, tail):
    study = small_studies.prepare(name, **{**tail, **flags})
    (inputs,) = study.plan.inputs.values()
    (warning,) = inputs.warnings
    assert NEVER in warning
    assert warning.endswith("and 22 more")


def test_classes_of_one_row_stay_in_training(tail):
    study = small_studies.prepare("sweep", **tail, **TAIL, folds=3)
    (data,), (inputs,) = study.data.values(), study.plan.inputs.values()
    np.testing.assert_allclose(inputs.x.mean(axis=0), 0.0, atol=1e-5)
    in_folds = np.asarray(data.folds)
    stays = np.isin(np.asarray(data.labels), ONE_ROW)
    np.testing.assert_array_equal(stays, in_folds == 3)
    for trial in study.trials:
        assert trial.num_rows == np.sum(in_folds != trial.fold)
    result = pipeline.run(study)
    (entry,) = result.selected["entries"]
    assert entry["validation"]["size"] == COUNTS.sum() - 25
    recall = entry["test"]["per_class_recall"]
    assert [value is None for value in recall] == [False] * 50 + [True] * 50
    known = np.nanmean(np.array(recall, float))
    assert entry["test"]["mean_per_class_recall"] == pytest.approx(known)
    # The tested classifier has seen them.
    weights = np.asarray(result.models[schema.MODEL].params.W)
    assert np.abs(weights[:, ONE_ROW]).max(axis=0).min() > 0.01


def test_a_split_that_lacks_classes_says_so(tail):
    given = {name: path for name, path in tail.items() if name.startswith("train")}
    study = small_studies.prepare("sweep", **given, **TAIL, folds=0)
    (inputs,) = study.plan.inputs.values()
    first, second = inputs.warnings
    assert first.startswith("validation scores contain no row of 25 classes with too")
    assert second.startswith("test scores contain no row of 50 classes")


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


def test_a_feature_set_has_files_of_any_kind(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name in small_studies.data_flags(tmp_path):
        size = 12 if name.startswith("train") else 4
        rows = np.arange(2.0 * size).reshape(size, 2)
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["data"] = rows if name.endswith("features") else np.arange(size) % 2
    study = small_studies.prepare("probe", features=(f"one={tmp_path}",))
    assert study.plan.inputs["one", "standardize"].x.shape == (12, 2)


def test_more_rows_than_the_memory_holds_are_refused(monkeypatch):
    dataset = datasets.load("iris", split_seed=0)
    monkeypatch.setattr(formats, "memory", lambda: 4 * 120 * 4 - 1)
    with pytest.raises(ValueError, match="iris: 120 rows of 4 features take 1920 byte"):
        inputs_lib.make("iris", dataset, inputs_lib.of_split(dataset), scaling="none")
