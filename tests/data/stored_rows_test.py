"""Rows of memory maps: the same numbers and messages as of arrays, less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import validation
from linclf_jax.data import datasets, files, preprocessing, stored_rows
from linclf_jax.data.stored_rows import StoredRows
from linclf_jax.scheduler import memory
from tests.data import own_files

X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float16)
LABELS = np.arange(60) % 3


def mapped(folder, x=X, name="x.npy"):
    np.save(folder / name, x)
    return stored_rows.stored(np.load(folder / name, mmap_mode="r"))


@pytest.mark.parametrize(
    "index",
    [
        slice(3, 17),
        slice(None, None, 7),
        np.array([5, 59, 5, 0]),
        np.arange(60) % 4 == 1,
        np.array([], int),
        4,
        (4, 2),
        (slice(2, 9), 1),
        (slice(2, 9), slice(1, 3)),
    ],
)
def test_an_index_means_what_it_means_of_an_array(tmp_path, index):
    rows = mapped(tmp_path)
    assert isinstance(rows, StoredRows)
    np.testing.assert_array_equal(rows[index], X[index], strict=True)


def test_some_rows_of_two_tables_are_those_of_one(tmp_path):
    first, second = mapped(tmp_path), X[::-1].astype(np.float32)
    both = stored_rows.concatenate(first, second, np.dtype(np.float32))
    array = np.concatenate([X.astype(np.float32), second])
    picked = np.array([119, 3, 60, 61, 3])
    assert isinstance(both, StoredRows)
    np.testing.assert_array_equal(both.take(picked), array[picked], strict=True)
    np.testing.assert_array_equal(both[50:70], array[50:70], strict=True)
    assert both.shape == array.shape
    assert isinstance(stored_rows.concatenate(second, second, second.dtype), np.ndarray)


@pytest.mark.parametrize("dtype", ["u1", "f2", "bfloat16", "f4"])
def test_a_dataset_of_maps_is_that_of_arrays(tmp_path, dtype):
    x = np.abs(10 * X).astype(jnp.dtype(dtype))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", LABELS)
    paths = datasets.Files(
        train_features=tmp_path / "x.npy", train_labels=tmp_path / "y.npy"
    )
    stored = datasets.load("features", split_seed=0, files=paths)
    source = datasets.Source(x, LABELS, ("0", "1", "2"))
    dataset = datasets.split(source, name="features", split_seed=0)
    for one, other in zip(stored[:2], dataset[:2], strict=True):
        assert isinstance(one.x, StoredRows)
        np.testing.assert_array_equal(one.x, other.x, strict=True)
    assert datasets.fingerprint(stored) == datasets.fingerprint(dataset)
    rows = datasets.joined(stored.train, stored.validation).x
    array = datasets.joined(dataset.train, dataset.validation).x
    for name in ("standardize", "l2_normalize", "pca:2"):
        scaling = preprocessing.fit(name, rows)
        same = preprocessing.fit(name, array)
        for one, other in zip(scaling[1:], same[1:], strict=True):
            np.testing.assert_array_equal(one, other)
        expected = preprocessing.apply(scaling, array)
        scaled = preprocessing.ScaledRows(scaling, rows)
        np.testing.assert_array_equal(preprocessing.apply(scaling, rows), expected)
        np.testing.assert_array_equal(scaled[7:30], expected[7:30], strict=True)
        np.testing.assert_array_equal(
            scaled.take(np.array([9, 2]))[:], expected[[9, 2]]
        )
        assert scaled.shape == expected.shape


def test_constant_columns_of_a_map(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_rows, "_BLOCK", 20)  # four rows
    x = X.copy()
    x[:, 1] = 2.0
    x[:-1, 3] = 5.0
    np.save(tmp_path / "y.npy", LABELS)
    dataset = datasets.split(
        datasets.Source(mapped(tmp_path, x), LABELS, ("0", "1", "2")),
        datasets.Source(x, LABELS, ("0", "1", "2")),
        datasets.Unread(1, lambda: None),
        name="features",
        split_seed=0,
    )
    assert len(dataset.train.x) == 60
    assert datasets.constant_columns(dataset).tolist() == [1]


def test_a_number_of_a_late_block_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "_BLOCK", 10)  # two rows
    x = X.copy()
    x[43, 2] = np.nan
    mapped(tmp_path, x)
    own_files.refuse("x.npy: 1 of 300 .* row 43, column 2, is nan", tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"first is x\[43, 2\] = nan"):
        validation.validate_features(mapped(tmp_path, x))
    scaled = preprocessing.ScaledRows(
        preprocessing.fit("none", np.ones((2, 5))), mapped(tmp_path, x)
    )
    with pytest.raises(ValueError, match=r"first is x\[43, 2\] = nan"):
        scaled[40:50]


def test_a_map_is_read_in_little_memory(tmp_path):
    """200 MB, checked and hashed; the last row of it is read as well."""
    path = tmp_path / "x.npy"
    shape = 400_000, 256
    x = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    x[-1] = 1.0
    x.flush()
    del x
    memory.forget_peak()
    before = memory.resident(jax.devices())
    rows = stored_rows.stored(files.read_features(path))
    labels = np.zeros(len(rows), np.int32)
    datasets.split_fingerprint(datasets.Split(rows, labels, labels))
    scaling = preprocessing.fit("none", rows)
    assert preprocessing.ScaledRows(scaling, rows)[-1:][0, 0] == 1.0
    assert memory.peak(jax.devices()) - before < 100 * 2**20
