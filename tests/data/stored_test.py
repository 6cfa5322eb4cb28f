"""Datasets from files: which rows go where, what is checked, and what is read when."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from linclf_jax.data import cifar, datasets, idx, official, sources
from linclf_jax.data.datasets import Files
from tests import feature_files
from tests.data import own_files
from tests.fuzz import valid_files

FASHION = Path("/usr/share/datasets/fashion-mnist")
needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
ALL = ("train", "val", "test")


@pytest.fixture
def files(tmp_path):
    return feature_files.write(tmp_path / "set", val=True)


def load(folder, *parts, **changes):
    fields = [f"{part}_{what}" for part in parts for what in ("features", "labels")]
    paths = {field: str(folder / f"{field}.npy") for field in fields}
    return own_files.load(None, None, {**paths, **changes})


def raw(folder, field):
    return np.load(folder / f"{field}.npy")


@pytest.mark.parametrize("parts", [ALL, ("train", "test"), ("train", "val")])
def test_files_are_splits_and_others_are_drawn_from_training(parts, files):
    dataset = load(files, *parts)
    x, labels = (
        np.concatenate([raw(files, f"{part}_{what}") for part in parts])
        for what in ("features", "labels")
    )
    splits = dict(zip(ALL, dataset[:2], strict=False)) | {"test": dataset.test.read()}
    for split in splits.values():
        assert split.x.dtype == np.float32
        np.testing.assert_array_equal(split.x, x[split.index])
        np.testing.assert_array_equal(split.labels, labels[split.index])
    start = feature_files.SIZES["train"]
    for part in parts[1:]:  # the numbers go on counting
        stop = start + feature_files.SIZES[part]
        assert splits[part].index.tolist() == [*range(start, stop)]
        start = stop
    for part in {*ALL[1:]} - {*parts}:
        assert np.bincount(splits[part].labels).tolist() == [3] * 6
    assert dataset.test.size == len(splits["test"].labels)
    assert dataset.class_names == tuple("012345")


def test_one_file_is_split_like_any_table(files):
    dataset = load(files, "train")
    x, labels = raw(files, "train_features"), raw(files, "train_labels")
    rows = sources.Source(x, labels, tuple("012345"))
    expected = datasets.split(rows, name="features", split_seed=0)
    assert datasets.fingerprint(dataset) == datasets.fingerprint(expected)
    np.testing.assert_array_equal(dataset.test.read().x, expected.test.read().x)


def test_images_are_columns_row_by_row(files):
    images = np.random.default_rng(0).integers(0, 256, (90, 4, 6, 3), np.uint8)
    np.save(files / "train_features.npy", images)
    dataset = load(files, "train")
    assert dataset.image_shape == (4, 6, 3)
    expected = images[dataset.train.index].reshape(-1, 72)
    np.testing.assert_array_equal(dataset.train.x, expected)
    assert dataset.train.x.dtype == np.uint8
    for shape in ((4, 6, 3), (72,)):
        np.save(files / "test_features.npy", np.ones((60, *shape)))
        assert load(files, "train", "test").test.read().x.shape == (60, 72)
    np.save(files / "test_features.npy", np.ones((60, 6, 4, 3)))
    with pytest.raises(ValueError, match=r"images of shape \(6, 4, 3\); exp"):
        load(files, "train", "test")


def test_the_test_file_is_read_when_it_is_asked_for(files):
    """Headers and labels before: damage in the rows shows when they are read."""
    x, labels = raw(files, "test_features"), raw(files, "test_labels")
    x[3, 2], labels[5] = np.nan, 9
    np.save(files / "test_features.npy", x)
    np.save(files / "test_labels.npy", labels)
    with pytest.raises(ValueError, match=r"test_labels\.npy: 1 of 60 .* row 5"):
        load(files, "train", "test")
    np.save(files / "test_labels.npy", labels % 6)
    dataset = load(files, "train", "test")
    with pytest.raises(ValueError, match=r"test_features\.npy: 1 of 300 .* row 3"):
        dataset.test.read()
    np.save(files / "test_features.npy", np.nan_to_num(x))
    assert dataset.test.read().x[3, 2] == 0
    np.save(files / "test_features.npy", np.ones((60, 4)))
    with pytest.raises(ValueError, match="has 4 columns; expected 5"):
        dataset.test.read()


def test_class_names_are_those_of_training(files):
    names = np.array(["f", "e", "d", "c", "b", "a"])
    for part in ("train", "test"):
        labels = raw(files, f"{part}_labels")
        np.save(files / f"{part}_labels.npy", names[labels])
    dataset = load(files, "train", "test")
    assert dataset.class_names == tuple("abcdef")
    np.testing.assert_array_equal(dataset.test.read().labels, 5 - np.arange(60) % 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": "train_labels"}, "has 90 labels; expected 36, one"),
        ({"test_labels": "train_labels"}, "has 90 labels; expected 60, one"),
        ({"train_labels": "val_labels"}, "has 36 labels; expected 90"),
        ({"test_features": "narrow"}, "has 4 columns; expected 5, as in training"),
        ({"val_features": "narrow"}, "has 4 columns; expected 5, as in training"),
        ({"test_features": "empty"}, r"shape \(0, 5\); expected at least one"),
        ({"test_features": "../set/train_features"}, "--test_features is .*, as --tra"),
        ({"val_features": "../set/train_features"}, "--val_features is .*, as --train"),
        ({"val_labels": None}, "--val_labels is missing; expected --val_features"),
        ({"test_features": None}, "--test_features is missing"),
        ({"train_features": None}, "--train_features is missing"),
        ({"data_dir": "somewhere"}, "takes no --data_dir; expected --train_f"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_training(changes, message, files):
    np.save(files / "narrow.npy", np.ones((60, 4)))
    np.save(files / "empty.npy", np.ones((0, 5)))
    changes = {
        field: stem and str(files / f"{stem}.npy") for field, stem in changes.items()
    }
    with pytest.raises(ValueError, match=message):
        load(files, *ALL, **changes)


def write_idx(path, array):
    content = valid_files.idx(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A Fashion-MNIST of 40 and 20 images, with sums of its own."""
    rng, sums = np.random.default_rng(0), {}
    for part, rows in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (rows, 4, 4), np.uint8)
        labels = np.arange(rows, dtype=np.uint8) % 10
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
        sums[f"{part}-images-idx3-ubyte"] = idx.sha256(images)
        sums[f"{part}-labels-idx1-ubyte"] = idx.sha256(labels)
    monkeypatch.setitem(official.SHA256, "fashion_mnist", sums)
    return tmp_path


def official_load(name, folder=None, **options):
    return datasets.load(name, split_seed=0, files=Files(data_dir=folder), **options)


class TestOfficial:
    def test_its_test_set_stays_one(self, small):
        fractions = (0.5, 0.25, 0.25)
        dataset = official_load("fashion_mnist", small, fractions=fractions)
        sizes = len(dataset.train.labels), len(dataset.validation.labels)
        assert (*sizes, dataset.test.size) == (30, 10, 20)
        assert dataset.image_shape == (4, 4)
        assert dataset.class_names[9] == "ankle boot"
        assert dataset.train.x.dtype == np.uint8
        expected = idx.read(small / "t10k-images-idx3-ubyte.gz").reshape(20, 16)
        np.testing.assert_array_equal(dataset.test.read().x, expected)

    @pytest.mark.parametrize("part", ["train", "t10k"])
    def test_another_file_is_refused(self, part, small):
        write_idx(small / f"{part}-labels-idx1-ubyte", np.zeros(40, np.uint8))
        message = r"SHA-256 .*; expected .* of fashion_mnist"
        with pytest.raises(ValueError, match=message):
            official_load("fashion_mnist", small).test.read()

    @pytest.mark.parametrize("name", official.NAMES)
    def test_says_which_files_are_expected(self, name, tmp_path, monkeypatch):
        monkeypatch.setattr(official, "_FASHION_FOLDER", str(tmp_path / "absent"))
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte and|cifar-10-b"):
            official_load(name, tmp_path)
        with pytest.raises(ValueError, match=r"apt install|--data_dir, a folder with"):
            official_load(name)
        with pytest.raises(ValueError, match="takes no --val_labels; expected --data"):
            datasets.load(name, split_seed=0, files=Files(val_labels="x.npy"))

    @pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "data_batch_1.bin"])
    def test_cifar_is_read_from_its_folder(self, name, tmp_path, monkeypatch):
        rows, calls = np.zeros((40, 32, 32, 3), np.uint8), []

        def read(path, part, md5):
            calls.append((path, part, md5))
            return cifar.Images(rows, np.arange(40, dtype=np.uint8) % 10)

        monkeypatch.setattr(cifar, "read", read)
        (tmp_path / name).touch()
        dataset = official_load("cifar10", tmp_path)
        path = tmp_path / name if name.endswith("gz") else tmp_path
        assert calls == [(path, "train", official.MD5)]
        assert dataset.image_shape == (32, 32, 3)
        assert dataset.train.x.shape == (30, 3072)
        assert dataset.test.size == 10_000
        dataset.test.read()
        assert calls[1:] == [(path, "test", official.MD5)]

    @needs_fashion
    def test_the_real_images(self):
        dataset = official_load("fashion_mnist")
        assert np.bincount(dataset.train.labels).tolist() == [4800] * 10
        assert np.bincount(dataset.validation.labels).tolist() == [1200] * 10
        test = dataset.test.read()
        assert test.x.shape == (10_000, 784)
        # The first test image is an ankle boot.
        assert dataset.class_names[test.labels[0]] == "ankle boot"
