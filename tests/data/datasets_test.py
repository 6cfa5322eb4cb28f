"""Datasets: what is in them, how they are split, and what is refused."""

import sys

import ml_dtypes
import numpy as np
import pytest

from linclf_jax.data import datasets, preprocessing
from linclf_jax.data.sources import UnreadSource

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


@pytest.mark.parametrize("name", SHAPES)
def test_splits_partition_the_source_and_keep_the_class_shares(name):
    dataset = datasets.load(name, split_seed=0)
    rows, columns, classes = SHAPES[name]
    index = np.concatenate([part.index for part in splits(dataset)])
    np.testing.assert_array_equal(np.sort(index), np.arange(rows))
    labels = np.concatenate([part.labels for part in splits(dataset)])
    whole = np.bincount(labels) / rows
    assert len(dataset.class_names) == len(whole) == classes
    for part, share in zip(splits(dataset), (0.6, 0.2, 0.2), strict=True):
        assert part.x.shape == (len(part.index), columns)
        assert (part.x.dtype, part.labels.dtype) == (np.float64, np.int32)
        assert part.index.dtype == np.int64
        # Each class is cut at two rounded places, so it is off by one row at most.
        counts = np.bincount(part.labels, minlength=classes)
        assert np.all(np.abs(counts - share * whole * rows) <= 1)


def test_rows_are_those_of_the_source():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    bunch = sklearn_datasets.load_wine()
    dataset = datasets.load("wine", split_seed=5)
    for part in splits(dataset):
        np.testing.assert_array_equal(part.x, bunch.data[part.index])
        np.testing.assert_array_equal(part.labels, bunch.target[part.index])
    assert dataset.feature_names == tuple(bunch.feature_names)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.int64])
def test_every_dtype_stays_with_its_values(dtype):
    x = (np.arange(60).reshape(20, 3) * 4).astype(dtype)
    dataset = datasets.split(source(x=x), name="small", split_seed=0)
    for part in splits(dataset):
        assert part.x.dtype == dtype
        np.testing.assert_array_equal(part.x, x[part.index])


def test_a_small_spread_about_a_large_value_survives():
    """In float32 the neighbours of 1e8 are 8 apart, and this column is constant."""
    generator = np.random.Generator(np.random.PCG64(0))
    noise = generator.standard_normal((20, 3))
    dataset = datasets.split(source(x=1e8 + noise), name="small", split_seed=0)
    fitted = preprocessing.fit("standardize", dataset.train.x)
    exact = noise[dataset.train.index]
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    scaled = preprocessing.apply(fitted, dataset.train.x)
    np.testing.assert_allclose(scaled, expected, atol=1e-7)  # 1e8 has an ulp of 1.5e-8


def test_a_value_beyond_float32_is_scaled_and_not_refused():
    x = np.arange(60.0).reshape(20, 3) * 1e39
    dataset = datasets.split(source(x=x), name="small", split_seed=0)
    fitted = preprocessing.fit("mean_range", dataset.train.x)
    assert np.abs(preprocessing.apply(fitted, dataset.train.x)).max() <= 1
    fitted = preprocessing.fit("none", dataset.train.x)
    with pytest.raises(ValueError, match=r"x after none\[0, 0\] = inf"):
        preprocessing.apply(fitted, dataset.train.x[1:])


def test_names_and_images():
    digits = datasets.load("digits", split_seed=0)
    assert digits.image_shape == (8, 8)
    assert digits.class_names == tuple("0123456789")
    iris = datasets.load("iris", split_seed=0)
    assert iris.image_shape is None
    assert iris.class_names == ("setosa", "versicolor", "virginica")
    assert iris.feature_names is not None
    assert iris.feature_names[0] == "sepal length (cm)"
    assert datasets.load("synthetic", split_seed=0).feature_names is None


def test_a_seed_names_the_same_split_for_ever():
    dataset = datasets.split(source(), name="small", split_seed=7)
    assert [part.index.tolist() for part in splits(dataset)] == PINNED_INDEX
    digits = datasets.load("digits", split_seed=0)
    assert datasets.fingerprint(digits) == PINNED_FINGERPRINT


def test_another_seed_is_another_split():
    first, second = (datasets.load("iris", split_seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.train.index, second.train.index)
    assert datasets.fingerprint(first) != datasets.fingerprint(second)


def test_split_does_not_depend_on_the_features():
    plain = datasets.split(source(), name="small", split_seed=0)
    other = datasets.split(source(x=np.ones((20, 3))), name="small", split_seed=0)
    np.testing.assert_array_equal(plain.train.index, other.train.index)


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("field", ["x", "labels", "index"])
def test_fingerprint_sees_one_changed_value(part, field):
    dataset = datasets.split(source(), name="small", split_seed=0)
    before = datasets.fingerprint(dataset)
    split = getattr(dataset, part)
    array = getattr(split, field).copy()
    array.flat[-1] += 1
    changed = dataset._replace(**{part: split._replace(**{field: array})})
    assert datasets.fingerprint(changed) != before
    copied = dataset._replace(**{part: split._replace(x=np.asfortranarray(split.x))})
    assert datasets.fingerprint(copied) == before


def test_fingerprint_sees_dtype_and_shape():
    dataset = datasets.split(source(), name="small", split_seed=0)
    train = dataset.train
    views = [train.x.view(np.int64), train.x.reshape(-1, 1)]
    prints = {
        datasets.fingerprint(dataset._replace(train=train._replace(x=x)))
        for x in (train.x, *views)
    }
    assert len(prints) == 3


def test_fractions():
    dataset = datasets.load("digits", split_seed=0, fractions=(0.8, 0.1, 0.1))
    assert abs(len(dataset.train.labels) - 0.8 * 1797) <= 10
    assert abs(dataset.test.size - 0.1 * 1797) <= 10


def test_mixture_sets_the_sizes_and_the_difficulty():
    mixture = datasets.Mixture(300, 5, 3, separation=50.0, seed=3)
    dataset = datasets.load("synthetic", split_seed=0, mixture=mixture)
    x, labels = dataset.train.x, dataset.train.labels
    assert x.shape == (180, 5)
    means = np.stack([x[labels == label].mean(axis=0) for label in range(3)])
    test = dataset.test.read()
    distances = np.linalg.norm(test.x[:, None] - means[None], axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), test.labels)
    again = datasets.load("synthetic", split_seed=0, mixture=mixture)
    assert datasets.fingerprint(again) == datasets.fingerprint(dataset)


def refuse(message, changes=None, **options):
    options = {"name": "small", "split_seed": 0, **options}
    with pytest.raises(ValueError, match=message):
        datasets.split(source(**(changes or {})), **options)


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="'imagenet', expected one of digits, iris"):
        datasets.load("imagenet", split_seed=0)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[experiments\]'"):
        datasets.load("iris", split_seed=0)
    assert datasets.load("synthetic", split_seed=0).name == "synthetic"


def test_refuses_a_mixture_that_would_be_ignored():
    with pytest.raises(ValueError, match="takes no mixture"):
        datasets.load("iris", split_seed=0, mixture=datasets.Mixture())


@pytest.mark.parametrize(
    "mixture",
    [
        datasets.Mixture(num_features=0),
        datasets.Mixture(separation=float("nan")),
        datasets.Mixture(seed=-1),
    ],
)
def test_refuses_an_impossible_mixture(mixture):
    with pytest.raises(ValueError, match="expected"):
        datasets.load("synthetic", split_seed=0, mixture=mixture)


def test_refuses_features_that_are_not_finite():
    x = np.ones((20, 3))
    x[4, 1] = np.nan
    refuse(r"1 of 60 .*x\[4, 1\] = nan", {"x": x})
    x[4, 1] = -np.inf
    refuse(r"1 of 60 .*x\[4, 1\] = -inf", {"x": x})
    refuse("dtype", {"x": np.full((20, 3), "1.5")})


def test_refuses_labels_that_do_not_fit():
    refuse(r"10 of 20 .*labels\[1\] = 2", {"labels": np.arange(20) % 2 * 2})
    refuse("dtype float64", {"labels": np.zeros(20)})
    refuse("20 rows but labels has 19", {"labels": np.zeros(19, int)})


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1))],
)
def test_a_rare_class_is_trained_on_first(rows, sizes):
    labels = np.array([*[0] * 30, *[1] * rows])
    rare = source(x=np.zeros((30 + rows, 3)), labels=labels)
    dataset = datasets.split(rare, name="small", split_seed=0)
    parts = (dataset.train, dataset.validation, dataset.test.read())
    assert tuple((part.labels == 1).sum() for part in parts) == sizes
    assert [(part.labels == 0).sum() for part in parts] == [18, 6, 6]
    said = [((1, rows),) if size == 0 else () for size in sizes[1:]]
    assert dataset.lacking == tuple(said)


def test_training_has_every_class_whatever_its_share():
    labels = np.array([*[0] * 30, 1])
    rare = source(x=np.zeros((31, 3)), labels=labels)
    for fractions in ((0.1, 0.1, 0.8), (0.1, 0.8, 0.1)):
        dataset = datasets.split(rare, name="s", split_seed=0, fractions=fractions)
        assert (dataset.train.labels == 1).sum() == 1


def test_a_file_may_lack_a_class_that_a_dealt_split_would_be_said_to_lack():
    labels = np.array([*[0] * 9, 1])
    rare = source(x=np.zeros((10, 3)), labels=labels)
    rows = source(x=np.ones((2, 3)), labels=np.zeros(2, int))
    test = UnreadSource(2, lambda: rows)
    dataset = datasets.split(rare, rows, test, name="small", split_seed=0)
    assert dataset.lacking == ((), ())
    assert len(dataset.train.labels) == 10


def test_refuses_a_class_without_a_row_and_a_test_split_without_any():
    refuse(r"found no row of class 1 \(odd\)", {"labels": np.zeros(20, int)})
    pairs = np.repeat(np.arange(10), 2)
    names = tuple("abcdefghij")
    refuse(
        "no class with a row to spare .* --test_features",
        {"labels": pairs, "class_names": names},
    )


@pytest.mark.parametrize(
    "fractions",
    [(0.6, 0.2, 0.1), (0.8, 0.2, 0.0), (0.6, 0.4), (1.2, -0.1, -0.1), (0.5, np.nan, 1)],
)
def test_refuses_fractions(fractions):
    refuse("expected three positive ones that sum to 1", fractions=fractions)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_refuses_seeds(seed):
    refuse("split_seed is", split_seed=seed)


def test_refuses_names_and_images_of_other_sizes():
    refuse("found 2 feature names for 3 columns", {"feature_names": ("a", "b")})
    refuse("image shape .* for 3 columns", {"image_shape": (2, 2)})


def test_joined_splits_hold_the_rows_of_both_in_order():
    dataset = datasets.split(source(), name="small", split_seed=7)
    both = datasets.joined(dataset.train, dataset.validation)
    assert both.index.tolist() == PINNED_INDEX[0] + PINNED_INDEX[1]
    np.testing.assert_array_equal(both.x, source().x[both.index])
    np.testing.assert_array_equal(both.labels, source().labels[both.index])
    assert both.labels.dtype == np.int32


@pytest.mark.parametrize("other", [np.float16, np.int64, np.uint8])
def test_joined_splits_of_two_files_may_differ_in_dtype(other):
    whole = datasets.split(source(), name="small", split_seed=7)
    first = whole.train._replace(x=whole.train.x.astype(ml_dtypes.bfloat16))
    second = whole.validation._replace(x=whole.validation.x.astype(other))
    for pair in ((first, second), (second, first)):
        both = datasets.joined(*pair)
        expected = np.concatenate([split.x.astype(np.float64) for split in pair])
        np.testing.assert_array_equal(both.x.astype(np.float64), expected)
