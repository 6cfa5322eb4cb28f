"""Datasets from files: which rows go where, what is checked, and what is read when."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from linclf_jax.data import cifar, datasets, idx, official, sources
from linclf_jax.data.datasets import Files
from tests import feature_files
from tests.fuzz import valid_files

FASHION = Path("/usr/share/datasets/fashion-mnist")
needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)


@pytest.fixture
def files(tmp_path):
    return feature_files.write(tmp_path / "set", val=True)


def paths(folder, *parts):
    kinds = [f"{part}_{what}" for part in parts for what in ("features", "labels")]
    return {kind: str(folder / f"{kind}.npy") for kind in kinds}


def load(folder, *parts, **changes):
    given = Files(**{**paths(folder, *parts), **changes})
    return datasets.load("features", split_seed=0, files=given)


def raw(folder, kind):
    return np.load(folder / f"{kind}.npy")


class TestFeatures:
    def test_files_are_splits(self, files):
        dataset = load(files, "train", "val", "test")
        splits = (dataset.train, dataset.validation, dataset.test.read())
        start = 0
        for part, split in zip(feature_files.SIZES, splits, strict=True):
            np.testing.assert_array_equal(split.x, raw(files, f"{part}_features"))
            np.testing.assert_array_equal(split.labels, raw(files, f"{part}_labels"))
            assert split.x.dtype == np.float32
            size = feature_files.SIZES[part]
            assert split.index.tolist() == [*range(start, start + size)]
            start += size
        assert dataset.test.size == feature_files.SIZES["test"]
        assert dataset.class_names == tuple("012345")
        assert dataset.image_shape is None

    def test_without_validation_rows_they_are_drawn(self, files):
        dataset = load(files, "train", "test")
        assert np.bincount(dataset.validation.labels).tolist() == [3] * 6
        both = datasets.joined(dataset.train, dataset.validation)
        assert sorted(both.index) == [*range(90)]
        x = raw(files, "train_features")
        np.testing.assert_array_equal(both.x, x[both.index])
        assert dataset.test.read().index.tolist() == [*range(90, 150)]

    def test_without_test_rows_they_are_drawn(self, files):
        dataset = load(files, "train", "val")
        assert dataset.test.size == 18
        test = dataset.test.read()
        assert sorted([*dataset.train.index, *test.index]) == [*range(90)]
        assert dataset.validation.index.tolist() == [*range(90, 126)]

    def test_one_file_is_split_like_any_table(self, files):
        dataset = load(files, "train")
        x, labels = raw(files, "train_features"), raw(files, "train_labels")
        rows = sources.Source(x, labels, tuple("012345"))
        expected = datasets.split(rows, name="features", split_seed=0)
        assert datasets.fingerprint(dataset) == datasets.fingerprint(expected)
        np.testing.assert_array_equal(dataset.test.read().x, expected.test.read().x)

    def test_images_are_columns_row_by_row(self, files):
        images = np.random.default_rng(0).integers(0, 256, (90, 4, 5, 3), np.uint8)
        np.save(files / "train_features.npy", images)
        dataset = load(files, "train")
        assert dataset.image_shape == (4, 5, 3)
        expected = images[dataset.train.index].reshape(-1, 60)
        np.testing.assert_array_equal(dataset.train.x, expected)
        assert dataset.train.x.dtype == np.uint8

    def test_the_test_file_is_read_when_it_is_asked_for(self, files):
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

    def test_class_names_are_those_of_training(self, files):
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
            ({"val_labels": "SHORT"}, r"labels\.npy has 90 labels; expected 36, one"),
            ({"test_labels": "SHORT"}, r"labels\.npy has 90 labels; expected 60, one"),
            ({"train_labels": "OTHER"}, "has 36 labels; expected 90"),
            ({"test_features": "NARROW"}, "has 4 columns; expected 5, as in training"),
            ({"val_features": "NARROW"}, "has 4 columns; expected 5, as in training"),
            ({"test_features": "EMPTY"}, r"shape \(0, 5\); expected at least one"),
            ({"test_features": "TRAIN"}, "--test_features is .*, as --train_features"),
            ({"val_features": "TRAIN"}, "--val_features is .*, as --train_features"),
            ({"val_labels": None}, "--val_labels is missing; expected --val_features"),
            ({"test_features": None}, "--test_features is missing"),
            ({"train_features": None}, "--train_features is missing"),
            ({"data_dir": "somewhere"}, "takes no --data_dir; expected --train_f"),
        ],
    )
    def test_files_that_do_not_fit_are_refused_before_training(
        self, changes, message, files
    ):
        np.save(files / "narrow.npy", np.ones((60, 4)))
        np.save(files / "empty.npy", np.ones((0, 5)))
        stems = {"SHORT": "train_labels", "OTHER": "val_labels", "NARROW": "narrow"}
        stems |= {"EMPTY": "empty", "TRAIN": "../set/train_features"}
        given = {
            name: str(files / f"{stems[value]}.npy") if value in stems else value
            for name, value in changes.items()
        }
        with pytest.raises(ValueError, match=message):
            load(files, "train", "val", "test", **given)

    def test_images_of_another_shape_are_refused(self, files):
        np.save(files / "train_features.npy", np.ones((90, 4, 6)))
        for shape in ((4, 6), (24,)):
            np.save(files / "test_features.npy", np.ones((60, *shape)))
            assert load(files, "train", "test").test.read().x.shape == (60, 24)
        np.save(files / "test_features.npy", np.ones((60, 6, 4)))
        with pytest.raises(ValueError, match=r"images of shape \(6, 4\); exp"):
            load(files, "train", "test")


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


def small_load(folder):
    options = {"fractions": (0.5, 0.25, 0.25), "files": Files(data_dir=folder)}
    return datasets.load("fashion_mnist", split_seed=0, **options)


class TestOfficial:
    def test_its_test_set_stays_one(self, small):
        dataset = small_load(small)
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
            small_load(small).test.read()

    @pytest.mark.parametrize("name", official.NAMES)
    def test_says_which_files_are_expected(self, name, tmp_path, monkeypatch):
        monkeypatch.setattr(official, "_FASHION_FOLDER", str(tmp_path / "absent"))
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte and|cifar-10-b"):
            datasets.load(name, split_seed=0, files=Files(data_dir=tmp_path))
        with pytest.raises(ValueError, match=r"apt install|--data_dir, a folder with"):
            datasets.load(name, split_seed=0)
        with pytest.raises(ValueError, match="takes no --val_labels; expected --data"):
            datasets.load(name, split_seed=0, files=Files(val_labels="x.npy"))

    @pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "data_batch_1.bin"])
    def test_cifar_is_found_in_its_folder(self, name, tmp_path, monkeypatch):
        rng, calls = np.random.default_rng(0), []

        def read(path, part, md5):
            calls.append((path, part, md5))
            rows = rng.integers(0, 256, (40, 32, 32, 3), np.uint8)
            return cifar.Images(rows, np.arange(40, dtype=np.uint8) % 10)

        monkeypatch.setattr(cifar, "read", read)
        (tmp_path / name).touch()
        files = Files(data_dir=tmp_path)
        dataset = datasets.load("cifar10", split_seed=0, files=files)
        path = tmp_path / name if name.endswith("gz") else tmp_path
        assert calls == [(path, "train", official.MD5)]
        assert dataset.image_shape == (32, 32, 3)
        assert dataset.train.x.shape == (30, 3072)
        assert dataset.test.size == 10_000
        dataset.test.read()
        assert calls[1:] == [(path, "test", official.MD5)]

    @needs_fashion
    def test_the_real_images(self):
        dataset = datasets.load("fashion_mnist", split_seed=0)
        assert np.bincount(dataset.train.labels).tolist() == [4800] * 10
        assert np.bincount(dataset.validation.labels).tolist() == [1200] * 10
        test = dataset.test.read()
        assert test.x.shape == (10_000, 784)
        assert test.x.dtype == np.uint8
        # The first test image is an ankle boot.
        assert dataset.class_names[test.labels[0]] == "ankle boot"
