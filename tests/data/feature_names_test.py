"""Names of features: columns meet by them, between files and in stored models."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from linclf_jax.config import data as data_config
from linclf_jax.config import flat
from linclf_jax.config.data import DataConfig
from linclf_jax.config.path import PathConfig
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.data import checks, datasets, files
from linclf_jax.data import columns as columns_lib
from linclf_jax.data.datasets import Files
from linclf_jax.data.sources import Source, UnreadSource
from linclf_jax.runs import directory, model
from linclf_jax.studies import path, pipeline, predictions, probe
from linclf_jax.studies.predictions import PredictConfig

NAMES = ("height", "width", "mass")
SIZES = {"train": 40, "val": 20, "test": 30}


def table(rows, seed):
    """Returns columns by name, of very different sizes, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    x = rng.normal(size=(rows, 3)) * [1, 10, 100] + labels[:, None] * [1, -5, 80]
    return dict(zip(NAMES, x.T, strict=True)) | {"label": labels}


def write(file, columns, order):
    table = pa.table({name: columns[name] for name in order})
    if file.suffix == ".csv":
        lines = [order, *zip(*(table[name].to_pylist() for name in order), strict=True)]
        file.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    else:
        parquet.write_table(table, file)
    return str(file)


@pytest.fixture
def parts(tmp_path):
    """The flags of three files, the validation and test columns in other orders."""
    orders = {
        "train": (*NAMES, "label"),
        "val": ("label", "mass", "height", "width"),
        "test": ("width", "label", "mass", "height"),
    }
    flags = {}
    for seed, (part, size) in enumerate(SIZES.items()):
        name = write(tmp_path / f"{part}.parquet", table(size, seed), orders[part])
        flags |= {f"{part}_features": name, f"{part}_labels": name}
    return flags


def rows_of(columns):
    return np.stack([columns[name] for name in NAMES], axis=1)


def prepared_probe(*sets):
    return probe.prepare(flat.build(ProbeConfig(), {"features": sets, "folds": 2}))


def load(flags, options=None):
    paths = Files(**flags)
    return datasets.load("features", split_seed=0, files=paths, options=options)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_columns_are_put_in_the_order_of_the_training_file(ending, parts, tmp_path):
    order = ("mass", "label", "width", "height")
    name = write(tmp_path / f"other.{ending}", table(30, 2), order)
    dataset = load(parts | {"test_features": name, "test_labels": name})
    assert dataset.feature_names == NAMES
    splits = (dataset.train, dataset.validation, dataset.test.read())
    for seed, (size, split) in enumerate(zip(SIZES.values(), splits, strict=True)):
        np.testing.assert_array_equal(split.x, rows_of(table(size, seed)))
        np.testing.assert_array_equal(split.labels, table(size, seed)["label"])


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("mass", "height", "label"), "found no column 'width'; expected the 3"),
        ((*NAMES, "age", "label"), "found the unknown column 'age'; expected"),
        (("mass", "age", "height", "label"), "found no column 'width' and the unk"),
    ],
)
def test_missing_and_unknown_names_are_refused_from_the_header(
    part, order, message, parts, tmp_path, monkeypatch
):
    columns = table(20, 9) | {"age": np.ones(20)}
    name = write(tmp_path / "other.parquet", columns, order)
    read = files.read_features

    def only_training_rows(path, **options):
        assert str(path) == parts["train_features"]
        return read(path, **options)

    monkeypatch.setattr(files, "read_features", only_training_rows)
    if part == "test":
        parts = {k: v for k, v in parts.items() if not k.startswith("val")}
    with pytest.raises(checks.BadFileError, match=f"other.parquet: {message}") as error:
        load(parts | {f"{part}_features": name, f"{part}_labels": name})
    assert "--drop_columns" in str(error.value)


def test_a_column_of_the_test_file_alone_can_be_dropped(parts, tmp_path):
    columns = table(30, 2) | {"age": np.ones(30)}
    name = write(tmp_path / "wide.parquet", columns, ("age", "label", *NAMES[::-1]))
    parts |= {"test_features": name, "test_labels": name}
    with pytest.raises(ValueError, match="unknown column 'age'"):
        load(parts)
    dataset = load(parts, files.ReadOptions(drop_columns=("age",)))
    np.testing.assert_array_equal(dataset.test.read().x, rows_of(columns))


def test_files_without_names_meet_by_place_and_say_so(parts, tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(30, 3))
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "y.npy", np.arange(30) % 2)
    paths = (str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    unnamed = dict(zip(("test_features", "test_labels"), paths, strict=True))
    dataset = data_config.load(DataConfig("features", **(parts | unnamed)))
    np.testing.assert_array_equal(dataset.test.read().x, rows)
    (warning,) = caplog.messages
    assert "x.npy has no names of features, as other files have" in warning


def test_files_all_of_which_have_no_names_say_nothing(tmp_path, caplog):
    for part, rows in SIZES.items():
        np.save(tmp_path / f"{part}_features.npy", rows_of(table(rows, 0)))
        np.save(tmp_path / f"{part}_labels.npy", np.arange(rows) % 2)
    prepared_probe(f"a={tmp_path}")
    assert not caplog.messages


def test_each_feature_set_has_names_of_its_own(tmp_path):
    for seed, name in enumerate(("one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        for part, order in (("train", NAMES), ("test", NAMES[::-1])):
            columns = table(SIZES[part], seed)
            renamed = {f"{name}_{key}": columns[key] for key in order}
            parquet.write_table(pa.table(renamed), folder / f"{part}_features.parquet")
            np.save(folder / f"{part}_labels.npy", columns["label"])
    sets = tuple(f"{name}={tmp_path / name}" for name in ("one", "two"))
    for seed, inputs in enumerate(prepared_probe(*sets).plan.inputs.values()):
        names = tuple(f"{inputs.name}_{name}" for name in NAMES)
        assert inputs.dataset.feature_names == names
        test = inputs.dataset.test.read()
        np.testing.assert_array_equal(test.x, rows_of(table(30, seed)))


def test_sources_of_a_program_meet_by_names_too():
    def source(seed, names):
        x = np.stack([table(20, seed)[name] for name in names], axis=1)
        return Source(x, table(20, seed)["label"], ("a", "b"), names)

    other = source(1, NAMES[::-1])
    unread = UnreadSource(20, lambda: other)
    options = {"name": "mine", "split_seed": 0}
    dataset = datasets.split(source(0, NAMES), other, unread, **options)
    for split in (dataset.validation, dataset.test.read()):
        np.testing.assert_array_equal(split.x, rows_of(table(20, 1)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    name = write(folder / "all.parquet", table(60, 3), (*NAMES, "label"))
    return solved(folder / "path", train_features=name, train_labels=name)


def solved(out_dir, **files):
    """Returns the run directory of a path on some files."""
    flags = {"dataset": "features", "l2": (1e-1,), "folds": 2, **files}
    study = path.prepare(flat.build(PathConfig(), flags))
    return pipeline.run(study, out_dir).directory


def predicted(finished, name, **changes):
    config = PredictConfig(run=str(finished), features=str(name), out=f"{name}.out.npy")
    return predictions.run(dataclasses.replace(config, **changes)).classes.tolist()


def test_predictions_do_not_depend_on_the_order_of_columns(finished, tmp_path):
    columns = table(25, 4)
    stored = model.load(finished / "selected.safetensors")
    assert stored.feature_names == NAMES
    classes = np.array(stored.class_names)
    expected = classes[model.predict(stored, rows_of(columns))].tolist()
    assert len({*expected}) == 2
    for number, order in enumerate([NAMES, NAMES[::-1], ("mass", "label", *NAMES[:2])]):
        name = write(tmp_path / f"{number}.parquet", columns, order)
        assert predicted(finished, name) == expected


def test_rows_with_other_names_are_not_predicted(finished, tmp_path):
    columns = table(25, 4) | {"age": np.ones(25)}
    few = write(tmp_path / "few.parquet", columns, NAMES[1:])
    with pytest.raises(ValueError, match=r"few\.parquet: found no column 'height'"):
        predicted(finished, few)
    more = write(tmp_path / "more.parquet", columns, ("age", *NAMES))
    with pytest.raises(ValueError, match=r"more\.parquet: .* unknown column 'age'"):
        predicted(finished, more)
    exact = write(tmp_path / "exact.parquet", columns, NAMES)
    dropped = predicted(finished, more, drop_columns=("age",))
    assert dropped == predicted(finished, exact)


def test_rows_without_names_are_predicted_by_place(finished, tmp_path, caplog):
    columns = table(25, 4)
    np.save(tmp_path / "x.npy", rows_of(columns))
    named = write(tmp_path / "x.parquet", columns, NAMES)
    assert predicted(finished, tmp_path / "x.npy") == predicted(finished, named)
    (warning,) = caplog.messages
    assert "x.npy has no names of features, as the model" in warning


def test_a_model_predicts_by_names(finished, tmp_path):
    stored = model.load(finished / "selected.safetensors")
    x = rows_of(table(25, 4))
    names = NAMES[::-1]
    for function in (model.predict, model.predict_proba, model.logits):
        expected = function(stored, x)
        np.testing.assert_array_equal(function(stored, x[:, ::-1], names), expected)
    assert not np.array_equal(model.logits(stored, x[:, ::-1]), expected)
    with pytest.raises(ValueError, match="2 feature names for 3 columns"):
        model.predict(stored, x, names[:2])
    # Stored before names were, it takes the columns as they stand.
    old = stored._replace(feature_names=None)
    model.save(tmp_path / "old.safetensors", old)
    assert "feature_names" not in directory.read(tmp_path / "old.safetensors")[1]
    old = model.load(tmp_path / "old.safetensors")
    assert old.feature_names is None
    np.testing.assert_array_equal(model.logits(old, x, names), expected)


def test_a_stored_list_of_names_must_fit(finished, tmp_path):
    stored = model.load(finished / "selected.safetensors")
    wrong = stored._replace(feature_names=("a", "b"))
    model.save(tmp_path / "wrong.safetensors", wrong)
    with pytest.raises(ValueError, match=r"wrong\.safetensors: found feature names"):
        model.load(tmp_path / "wrong.safetensors")


def test_numbers_that_are_not_finite_are_named(tmp_path):
    columns = table(20, 0)
    columns["width"][7] = np.nan
    name = write(tmp_path / "x.parquet", columns, NAMES)
    with pytest.raises(ValueError, match=r"row 7, column 1, is nan, of .* 'width'"):
        files.read_features(name)


def test_constant_columns_are_named(parts, tmp_path, caplog):
    columns = table(40, 0) | {"width": np.ones(40)}
    name = write(tmp_path / "flat.parquet", columns, (*NAMES, "label"))
    parts |= {"train_features": name, "train_labels": name}
    data_config.load(DataConfig("features", **parts))
    (warning,) = caplog.messages
    assert "the first is column 'width'" in warning


def test_many_names_are_cut_short_in_a_message():
    names = tuple(f"f{number}" for number in range(9))
    with pytest.raises(ValueError, match="'f4' and 4 more; expected the 9 features"):
        columns_lib.order((), names)


def test_names_that_are_numbers_meet_in_any_order(tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    rows[::2] += 3
    lines = [f"{a!r},{b!r},{k % 2}" for k, (a, b) in enumerate(rows.tolist())]
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("\n".join(["2019,2020,label", *lines]))
    swapped = [",".join((b, a)) for a, b, _ in (line.split(",") for line in lines)]
    test.write_text("\n".join(["2020,2019", *swapped]))
    labels = tmp_path / "y.csv"
    labels.write_text("\n".join(["label", *(line[-1] for line in lines)]))
    flags = {"train_features": str(train), "train_labels": str(train)}
    of_test = {"test_features": str(test), "test_labels": str(labels)}
    dataset = data_config.load(DataConfig("features", **flags, **of_test))
    np.testing.assert_array_equal(dataset.test.read().x, rows)
    assert not caplog.messages
    folder, out = str(solved(tmp_path / "run", **flags)), str(tmp_path / "out.csv")
    predicted = [
        predictions.run(PredictConfig(folder, str(file), out)).classes
        for file in (train, test)
    ]
    assert predicted[0].tolist() == predicted[1].tolist()
    assert len(predicted[0]) == 30
    test.write_text("\n".join(["0,1", *swapped]))
    with pytest.raises(ValueError, match="begins with '0,1', which may be a row"):
        predictions.run(PredictConfig(folder, str(test), out))


def test_predict_takes_the_column_of_labels(finished, tmp_path):
    columns = table(20, 9)
    file = write(tmp_path / "x.parquet", columns, ("label", *NAMES))
    expected = predicted(finished, file)
    both = columns | {"y": columns["label"]}
    file = write(tmp_path / "y.parquet", both, ("label", "y", *NAMES))
    with pytest.raises(ValueError, match="--label_column=label") as refused:
        predicted(finished, file)
    assert "label, y, any of which" in str(refused.value)
    with pytest.raises(ValueError, match=r"unknown column 'y'.*--drop_columns"):
        predicted(finished, file, label_column="label")
    found = predicted(finished, file, label_column="label", drop_columns=("y",))
    assert found == expected
