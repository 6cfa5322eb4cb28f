"""Columns that are features, labels or an index, and those that leak the labels."""

import json

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from linclf_jax.data import datasets, files, leakage
from linclf_jax.data.columns import ReadOptions
from tests.data.own_files import load

N = 60
X = np.random.default_rng(5).normal(size=(N, 3)).astype(np.float32)
LABELS = np.random.default_rng(6).permutation(np.arange(N) % 3)
NAMES = ("f0", "f1", "f2")


@pytest.fixture
def write(tmp_path):
    """Writes a Parquet file of the features and more columns."""

    def write_table(index=(), **more):
        table = pa.table({**dict(zip(NAMES, X.T, strict=True)), **more})
        if index:
            pandas = {"index_columns": index, "columns": [], "pandas_version": "2.2.0"}
            table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
        parquet.write_table(table, tmp_path / "x.parquet")
        return tmp_path / "x.parquet"

    return write_table


@pytest.fixture
def save(tmp_path):
    """Writes features and labels as arrays."""

    def save_arrays(x, labels=LABELS):
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "y.npy", labels)
        return tmp_path / "x.npy", tmp_path / "y.npy"

    return save_arrays


def width(*paths, **options):
    return load(*paths, **options).train.x.shape[1]


@pytest.mark.parametrize(
    ("name", "in_metadata"),
    [
        ("__index_level_0__", True),
        ("anything at all", True),
        ("", False),
        ("Unnamed: 0", False),
        ("__index_level_1__", False),
    ],
)
def test_an_index_is_no_feature_unless_it_is_kept(name, in_metadata, write):
    index = {name: np.random.default_rng(0).permutation(N)}
    path = write([name] if in_metadata else (), **index, label=LABELS)
    np.testing.assert_array_equal(files.read_features(path), X)
    assert files.DataFile(path).feature_names == NAMES
    kept = ReadOptions(keep_columns=(name,))
    assert files.read_features(path, options=kept).shape == (N, 4)
    assert files.DataFile(path, kept).feature_names == (*NAMES, name)


def test_a_range_in_the_metadata_is_no_column(write):
    assert files.DataFile(write([{"kind": "range", "stop": N}])).feature_names == NAMES


@pytest.mark.parametrize("name", ["label", "labels", "target", "y"])
def test_labels_by_a_usual_name_are_no_feature(name, write):
    path = write(**{name: LABELS})
    dataset = load(path)
    assert dataset.feature_names == NAMES
    np.testing.assert_array_equal(dataset.train.labels, LABELS[dataset.train.index])
    kept = ReadOptions(keep_columns=(name,))
    assert files.DataFile(path, kept).feature_names[-1] == name


def test_two_usual_names_are_refused_until_one_is_named(write):
    path = write(y=np.linspace(0, 1, N), target=LABELS)
    with pytest.raises(ValueError, match=r"columns target, y, any .*--label_c"):
        load(path)
    assert width(path, label_column="target") == 4
    assert width(path, keep_columns=("y",)) == 4
    assert width(path, drop_columns=("y",)) == 3


def test_labels_of_any_name(write):
    path = write(species=LABELS.astype(str))
    with pytest.raises(ValueError, match=r"f2', 'species'\]; expected one of l"):
        files.read_labels(path)
    assert load(path, label_column="species").feature_names == NAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "lable"}, r"'lable'; expected a column of \S*x.parquet: f0"),
        ({"drop_columns": ("f9",)}, "--drop_columns holds 'f9'; .*parquet: f0, f"),
        ({"keep_columns": ("f9",)}, "--keep_columns holds 'f9'; expected columns"),
        (
            {"drop_columns": ("f1",), "keep_columns": ("f1",)},
            "'f1' is in keep_columns, and dropped",
        ),
        ({"drop_columns": NAMES}, "none of which is a feature"),
    ],
)
def test_columns_that_are_misspelt_or_contradict(options, message, write):
    with pytest.raises(ValueError, match=message):
        load(write(label=LABELS), **options)


def test_columns_of_an_array_are_numbers(save):
    paths = save(X)
    options = ReadOptions(drop_columns=("1",))
    assert files.DataFile(paths[0], options).shape == (N, 2)
    assert files.DataFile(paths[0], options).feature_names is None
    dataset = load(*paths, drop_columns=("1",))
    np.testing.assert_array_equal(dataset.train.x, X[dataset.train.index][:, [0, 2]])
    with pytest.raises(ValueError, match=r"--drop_columns holds '3'; .*: 0\.\.2"):
        load(*paths, drop_columns=("3",))
    with pytest.raises(ValueError, match=r"drop_columns is 0, 1, 2; expected columns"):
        load(*paths, drop_columns=("0", "1", "2"))


def test_other_data_has_no_columns_to_name():
    options = ReadOptions(drop_columns=("x",))
    with pytest.raises(ValueError, match="'iris' takes no --drop_columns"):
        datasets.load("iris", split_seed=0, options=options)


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (LABELS, LABELS),
        (LABELS.astype(np.float32), LABELS),
        (np.array([7, -2, 0.5])[LABELS], LABELS),
        (np.array([1, 0, 0])[LABELS], (LABELS > 0) * 1),
    ],
)
def test_a_column_that_is_the_labels(column, labels, write, save):
    paths = write(group=column), save(X, labels)[1]
    with pytest.raises(ValueError, match=r"column group has one .*columns=group"):
        load(*paths)
    assert width(*paths, drop_columns=("group",)) == 3
    assert width(*paths, keep_columns=("group",)) == 4


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, jnp.bfloat16])
def test_a_column_that_numbers_the_rows(dtype, save):
    shuffled = np.random.default_rng(0).permutation(N) + 100
    for numbers in (np.arange(N), N - np.arange(N), shuffled):
        paths = save(np.column_stack([X, numbers]).astype(dtype))
        with pytest.raises(ValueError, match=r"column 3 numbers .*columns=3\)"):
            load(*paths)
        assert width(*paths, drop_columns=("3",)) == 3


@pytest.mark.parametrize(
    "column",
    [
        np.arange(N) * 2,
        np.arange(N) // 2,
        np.r_[np.arange(N - 1), N],
        np.arange(N) + 0.5,
        np.where(np.arange(N) == 7, 1 - LABELS, LABELS),
        np.minimum(LABELS, 1),
        np.zeros(N),
    ],
)
def test_columns_that_tell_less_are_features(column):
    x = np.column_stack([X, column])
    assert leakage.row_numbers(x) == []
    assert leakage.label_columns(x, LABELS) == []


def test_all_columns_that_leak_are_named_at_once(write):
    leaks = {"a,b": LABELS, "group": LABELS + 5, "id": np.arange(N)}
    path = write(**leaks, label=LABELS)
    message = r"column a,b has one .*, and 2 more such .*; .*='a\\,b,group,id'\)"
    with pytest.raises(ValueError, match=message):
        load(path)
    options = {"drop_columns": ("a,b", "id"), "keep_columns": ("group",)}
    assert load(path, **options).feature_names == (*NAMES, "group")


def test_few_rows_may_be_chance(save):
    rows = leakage.FEWEST - 1
    assert width(*save(np.column_stack([X, LABELS])[:rows], LABELS[:rows])) == 4


def test_all_rows_count_not_a_sample_alone(monkeypatch):
    monkeypatch.setattr(leakage, "_SAMPLE", 4)
    x = np.column_stack([LABELS, np.arange(N)])
    assert leakage.label_columns(x, LABELS) == [0]
    assert leakage.row_numbers(x) == [1]
    x[30] += 1  # neither of the sample nor the first of its class
    assert leakage.label_columns(x, LABELS) == []
    assert leakage.row_numbers(x) == []
    x[:, 1] = np.where(np.arange(N) == 30, N + 5, np.arange(N))  # one apart is not
    assert leakage.row_numbers(x) == []


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_no_bundled_data_is_refused(name, save):
    dataset = datasets.load(name, split_seed=0)
    load(*save(dataset.train.x, dataset.train.labels))
