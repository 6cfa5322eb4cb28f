"""Names of features: columns meet by them, between files and in stored models."""

import dataclasses

import numpy as np
import pytest

from linclf_jax.config import data as data_config
from linclf_jax.config.data import DataConfig
from linclf_jax.data import checks, columns, datasets, files, preprocessing
from linclf_jax.data.sources import Source, Unread
from linclf_jax.params import Params
from linclf_jax.runs import directory, model
from linclf_jax.runs.model import Model
from linclf_jax.studies import predictions
from linclf_jax.studies.predictions import PredictConfig
from tests.data import own_files

NAMES = ("height", "width", "mass")
SIZES = {"train": 40, "val": 20, "test": 30}


def table(rows, seed):
    """Returns columns by name, of very different sizes, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    x = rng.normal(size=(rows, 3)) * [1, 10, 100] + labels[:, None] * [1, -5, 80]
    return dict(zip(NAMES, x.T, strict=True)) | {"label": labels}


def rows_of(named):
    return np.stack([named[name] for name in NAMES], axis=1)


@pytest.fixture
def write(tmp_path):
    """Writes some columns of a table, in an order, as text."""

    def write_columns(name, named, order):
        rows = zip(*(named[column].tolist() for column in order), strict=True)
        lines = [",".join(map(str, line)) for line in (order, *rows)]
        (tmp_path / name).write_text("\n".join(lines))
        return str(tmp_path / name)

    return write_columns


def part(name, path):
    return {f"{name}_features": path, f"{name}_labels": path}


@pytest.fixture
def parts(write):
    """The flags of three files, the validation and test columns in other orders."""
    orders = {
        "train": (*NAMES, "label"),
        "val": ("label", "mass", "height", "width"),
        "test": ("width", "label", "mass", "height"),
    }
    flags = {}
    for seed, (name, size) in enumerate(SIZES.items()):
        file = write(f"{name}.csv", table(size, seed), orders[name])
        flags |= part(name, file)
    return flags


def load(flags, **options):
    return own_files.load(None, None, flags, **options)


def test_columns_are_put_in_the_order_of_the_training_file(parts):
    dataset = load(parts)
    assert dataset.feature_names == NAMES
    splits = (dataset.train, dataset.validation, dataset.test.read())
    for seed, (size, split) in enumerate(zip(SIZES.values(), splits, strict=True)):
        np.testing.assert_array_equal(split.x, rows_of(table(size, seed)))
        np.testing.assert_array_equal(split.labels, table(size, seed)["label"])


@pytest.mark.parametrize("name", ["val", "test"])
@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("mass", "height", "label"), "found no column 'width'; expected the 3"),
        ((*NAMES, "age", "label"), "found the unknown column 'age'; expected"),
        (("mass", "age", "height", "label"), "found no column 'width' and the unk"),
    ],
)
def test_missing_and_unknown_names_are_refused_from_the_header(
    name, order, message, parts, write, monkeypatch
):
    other = write("other.csv", table(20, 9) | {"age": np.ones(20)}, order)
    read = files.read_features

    def only_training_rows(path, **options):
        assert str(path) == parts["train_features"]
        return read(path, **options)

    monkeypatch.setattr(files, "read_features", only_training_rows)
    if name == "test":
        parts = {k: v for k, v in parts.items() if not k.startswith("val")}
    with pytest.raises(checks.BadFileError, match=f"other.csv: {message}") as error:
        load(parts | part(name, other))
    assert "--drop_columns" in str(error.value)


def test_a_column_of_the_test_file_alone_can_be_dropped(parts, write):
    wide = table(30, 2) | {"age": np.ones(30)}
    parts |= part("test", write("x.csv", wide, ("age", "label", *NAMES[::-1])))
    dataset = load(parts, drop_columns=("age",))
    np.testing.assert_array_equal(dataset.test.read().x, rows_of(wide))


def test_files_without_names_meet_by_position_and_say_so(parts, tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(30, 3))
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "y.npy", np.arange(30) % 2)
    unnamed = {
        "test_features": str(tmp_path / "x.npy"),
        "test_labels": str(tmp_path / "y.npy"),
    }
    dataset = data_config.load(DataConfig("features", **(parts | unnamed)))
    np.testing.assert_array_equal(dataset.test.read().x, rows)
    (warning,) = caplog.messages
    assert "x.npy has no names of features, as other files have" in warning
    caplog.clear()  # where no file has any, there is nothing to say
    unnamed |= {
        "train_features": str(tmp_path / "train.npy"),
        "train_labels": unnamed["test_labels"],
    }
    np.save(tmp_path / "train.npy", rows + 1)
    data_config.load(DataConfig("features", **unnamed))
    assert not caplog.messages


def test_sources_of_a_program_meet_by_names_too():
    def source(seed, names):
        x = np.stack([table(20, seed)[name] for name in names], axis=1)
        return Source(x, table(20, seed)["label"], ("a", "b"), names)

    other = source(1, NAMES[::-1])
    unread = Unread(20, lambda: other)
    dataset = datasets.split(source(0, NAMES), other, unread, name="m", split_seed=0)
    for split in (dataset.validation, dataset.test.read()):
        np.testing.assert_array_equal(split.x, rows_of(table(20, 1)))


def make_model(names=NAMES):
    x = rows_of(table(60, 3))[:, : len(names)]
    weights = np.random.default_rng(0).normal(size=(len(names), 2))
    params = Params(weights.astype(np.float32), np.zeros(2, np.float32))
    scaling = preprocessing.fit("standardize", x)
    return Model(params, scaling, ("0", "1"), feature_names=names)


@pytest.fixture
def finished(tmp_path):
    """A sealed run directory, of which no more than this is read."""

    def seal(stored):
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        directory.write(run / directory.CONFIG, {"flags": {}})
        model.save(run / "selected.safetensors", stored)
        directory.seal(run)
        return run

    return seal


@pytest.fixture
def predicted(finished):
    run = finished(make_model())

    def predict(path, **changes):
        config = PredictConfig(run=str(run), features=str(path), out=f"{path}.out.npy")
        config = dataclasses.replace(config, **changes)
        return predictions.run(config).classes.tolist()

    return predict


def test_predictions_do_not_depend_on_the_order_of_columns(predicted, write, caplog):
    named = table(25, 4)
    expected = model.predict(make_model(), rows_of(named)).tolist()
    assert len({*expected}) == 2
    for order in [NAMES, NAMES[::-1], ("mass", "label", *NAMES[:2])]:
        file = write("x.csv", named, order)
        assert predicted(file) == [str(label) for label in expected]
    assert not caplog.messages
    path = file.replace("x.csv", "x.npy")
    np.save(path, rows_of(named))  # without names they meet by position
    assert predicted(path) == [str(label) for label in expected]
    (warning,) = caplog.messages
    assert "x.npy has no names of features, as the model" in warning


def test_rows_with_other_names_are_not_predicted(predicted, write):
    named = table(25, 4) | {"age": np.ones(25)}
    few = write("few.csv", named, NAMES[1:])
    with pytest.raises(ValueError, match=r"few\.csv: found no column 'height'"):
        predicted(few)
    more = write("more.csv", named, ("age", *NAMES))
    with pytest.raises(ValueError, match=r"more\.csv: .* unknown column 'age'"):
        predicted(more)
    exact = write("exact.csv", named, NAMES)
    assert predicted(more, drop_columns=("age",)) == predicted(exact)


def test_predict_takes_the_column_of_labels(predicted, write):
    named = table(20, 9)
    expected = predicted(write("x.csv", named, ("label", *NAMES)))
    both = named | {"y": named["label"]}
    file = write("y.csv", both, ("label", "y", *NAMES))
    with pytest.raises(ValueError, match=r"label, y, any of .*--label_column=label"):
        predicted(file)
    with pytest.raises(ValueError, match=r"unknown column 'y'.*--drop_columns"):
        predicted(file, label_column="label")
    options = {"label_column": "label", "drop_columns": ("y",)}
    assert predicted(file, **options) == expected


def test_names_that_are_numbers_meet_in_any_order(finished, tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    pairs = [(repr(a), repr(b)) for a, b in rows.tolist()]
    lines = [f"{a},{b},{k % 2}" for k, (a, b) in enumerate(pairs)]
    train, test, labels = (tmp_path / f"{name}.csv" for name in ("train", "test", "y"))
    train.write_text("\n".join(["2019,2020,label", *lines]))
    test.write_text("\n".join(["2020,2019", *(f"{b},{a}" for a, b in pairs)]))
    labels.write_text("\n".join(["label", *(line[-1] for line in lines)]))
    flags = part("train", str(train))
    flags |= {"test_features": str(test), "test_labels": str(labels)}
    dataset = data_config.load(DataConfig("features", **flags))
    np.testing.assert_array_equal(dataset.test.read().x, rows)
    assert not caplog.messages
    run, out = finished(make_model(("2019", "2020"))), str(tmp_path / "out.csv")
    of_train, of_test = (
        predictions.run(PredictConfig(str(run), str(file), out)).classes.tolist()
        for file in (train, test)
    )
    assert of_train == of_test
    assert len(of_train) == 30
    test.write_text("\n".join(["0,1", *(f"{b},{a}" for a, b in pairs)]))
    with pytest.raises(ValueError, match="begins with '0,1', which may be a row"):
        predictions.run(PredictConfig(str(run), str(test), out))


def test_a_model_predicts_by_names(tmp_path):
    stored, x = make_model(), rows_of(table(25, 4))
    names = NAMES[::-1]
    for function in (model.predict, model.predict_proba, model.logits):
        expected = function(stored, x)
        np.testing.assert_array_equal(function(stored, x[:, ::-1], names), expected)
    assert not np.array_equal(model.logits(stored, x[:, ::-1]), expected)
    with pytest.raises(ValueError, match="2 feature names for 3 columns"):
        model.predict(stored, x, names[:2])
    # Stored before names were, it takes the columns as they stand.
    model.save(tmp_path / "old.safetensors", stored._replace(feature_names=None))
    assert "feature_names" not in directory.read(tmp_path / "old.safetensors")[1]
    old = model.load(tmp_path / "old.safetensors")
    assert old.feature_names is None
    np.testing.assert_array_equal(model.logits(old, x, names), expected)
    wrong = stored._replace(feature_names=("a", "b"))
    model.save(tmp_path / "wrong.safetensors", wrong)
    with pytest.raises(ValueError, match=r"wrong\.safetensors: found feature names"):
        model.load(tmp_path / "wrong.safetensors")


def test_numbers_that_are_not_finite_and_constant_columns_are_named(
    parts, write, caplog
):
    named = table(40, 0) | {"width": np.ones(40)}
    parts |= part("train", write("flat.csv", named, (*NAMES, "label")))
    data_config.load(DataConfig("features", **parts))
    (warning,) = caplog.messages
    assert "the first is column 'width'" in warning
    named["width"][7] = np.nan
    file = write("x.csv", named, NAMES)
    own_files.refuse(r"row 7, column 1, is nan, of .* 'width'", file)


def test_many_names_are_cut_short_in_a_message():
    names = tuple(f"f{number}" for number in range(9))
    with pytest.raises(ValueError, match="'f4' and 4 more; expected the 9 features"):
        columns.order((), names)
