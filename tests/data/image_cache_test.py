"""Cached features are those that would be computed, or are computed."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from linclf_jax.data import image_cache, image_recipes, images, private_folder

SHAPE = (8, 8, 3)
NAME = "h_histogram"
posix = pytest.mark.skipif(os.name == "nt", reason="no modes")


@pytest.fixture
def computed(monkeypatch):
    """Counts what is computed; more than two rows are cached."""
    calls, compute = [], images.compute

    def count(name, x, image_shape):
        calls.append(name)
        return compute(name, x, image_shape, workers=1)

    monkeypatch.setattr(images, "ROWS", 2)
    monkeypatch.setattr(images, "compute", count)
    return calls


@pytest.fixture
def folder(computed, tmp_path, monkeypatch):
    """The folder of the entries in the user's cache, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "linclf_jax" / "images"


def pictures(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, 192)).astype(np.uint8)


def features(x=None, name=NAME, shape=SHAPE):
    return image_cache.features(name, pictures() if x is None else x, shape)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_was_computed_is_read(folder, computed):
    first = features()
    second = features(np.asfortranarray(pictures()))
    assert computed == [NAME]
    assert second.dtype == np.float32
    np.testing.assert_array_equal(second, first)
    (entry,) = folder.iterdir()
    if os.name != "nt":
        assert (mode(folder), mode(entry)) == (0o700, 0o600)


def test_all_that_decides_the_values_decides_the_entry(folder, computed, monkeypatch):
    x = pictures()
    changed = x.copy()
    changed[4, 191] ^= 1
    whole = x.astype(np.int32)
    for other in (x, changed, x[::-1], x[:4], whole, whole.view(np.float32)):
        features(other)
    features(shape=(4, 16, 3))
    features(name="hog")
    monkeypatch.setattr(image_recipes, "VERSION", -1)
    features()
    monkeypatch.setattr(image_cache.importlib.metadata, "version", lambda _: "0.1")
    features()
    assert len(computed) == len(list(folder.iterdir())) == 10


def test_damaged_bytes_are_harmless(folder, computed):
    expected = features()
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    indices = range(0, len(whole), 3)
    for index in indices:
        damaged = bytearray(whole)
        damaged[index] ^= 0xFF
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(features(), expected)
    # And most of the damage was noticed: all but that of unused fields of the format.
    assert len(computed) > 0.7 * len(indices)
    wrong = []
    for array in (np.zeros((5, 15), np.float32), np.zeros((5, 16))):
        np.savez(entry, features=array)  # of another shape, and of another dtype
        wrong.append(entry.read_bytes())
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"no archive", *wrong):
        before = len(computed)
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(features(), expected)
        assert len(computed) == before + 1
        assert entry.read_bytes() == whole


def test_pixels_and_a_few_images_are_not_cached(folder):
    features(name="rgb")
    features(pictures(2))
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_stops_nothing(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(np, "savez", full)
        assert features().shape == (5, 16)
    assert not list(folder.iterdir())
    folder.rmdir()
    folder.parent.rmdir()
    folder.parent.write_text("no folder can be made below a file")
    assert features().shape == (5, 16)


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_that_is_none_or_a_link_is_refused(link, folder, computed):
    folder.parent.mkdir()
    if link:
        folder.symlink_to(folder.parent)
    else:
        folder.write_text("")
    message = "is (no folder|a symbolic link to .*); expected a folder of your own"
    with pytest.raises(ValueError, match=message):
        features()
    assert not computed


@posix
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_new_folder_is_private_from_its_first_moment(tmp_path, monkeypatch, umask):
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("closed too late"))
    before = os.umask(umask)
    try:
        private_folder.make(tmp_path / "new" / "cache")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new" / "cache") == 0o700


@posix
@pytest.mark.parametrize("loose", [0o777, 0o755, 0o770, 0o701])
def test_a_folder_that_is_open_to_others_is_closed(tmp_path, loose):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(loose)
    private_folder.make(tmp_path / "cache")
    assert mode(tmp_path / "cache") == 0o700
