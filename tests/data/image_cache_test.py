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

    def count(name, x, image_shape, **options):
        calls.append(name)
        return compute(name, x, image_shape, workers=1, **options)

    monkeypatch.setattr(images, "ROWS", 2)
    monkeypatch.setattr(images, "compute", count)
    return calls


def pictures(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, 192)).astype(np.uint8)


def features(folder, x=None, name=NAME, shape=SHAPE):
    x = pictures() if x is None else x
    return image_cache.features(name, x, shape, folder=folder)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_was_computed_is_read(tmp_path, computed):
    first = features(tmp_path / "new")
    second = features(tmp_path / "new", np.asfortranarray(pictures()))
    assert computed == [NAME]
    assert second.dtype == np.float32
    np.testing.assert_array_equal(second, first)
    (entry,) = (tmp_path / "new").iterdir()
    if os.name != "nt":
        assert (mode(entry.parent), mode(entry)) == (0o700, 0o600)


def test_all_that_decides_the_values_decides_the_entry(tmp_path, computed, monkeypatch):
    x = pictures()
    changed = x.copy()
    changed[4, 191] ^= 1
    whole = x.astype(np.int32)
    for other in (x, changed, x[::-1], x[:4], whole, whole.view(np.float32)):
        features(tmp_path, other)
    features(tmp_path, shape=(4, 16, 3))
    features(tmp_path, name="hog")
    monkeypatch.setattr(image_recipes, "VERSION", -1)
    features(tmp_path)
    monkeypatch.setattr(image_cache.importlib.metadata, "version", lambda _: "0.1")
    features(tmp_path)
    assert len(computed) == len(list(tmp_path.iterdir())) == 10


def test_every_damaged_byte_is_harmless(tmp_path, computed):
    expected = features(tmp_path)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 0xFF
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(features(tmp_path), expected)
    # And most of the damage was noticed: all but that of unused fields of the format.
    assert len(computed) > 0.7 * len(whole)
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"no archive"):
        before = len(computed)
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(features(tmp_path), expected)
        assert len(computed) == before + 1
        assert entry.read_bytes() == whole
    before = len(computed)
    for wrong in (np.zeros((5, 15), np.float32), np.zeros((5, 16))):
        np.savez(entry, features=wrong)  # of another shape, and of another dtype
        np.testing.assert_array_equal(features(tmp_path), expected)
    assert len(computed) == before + 2


def test_pixels_and_a_few_images_are_not_cached(tmp_path, computed):
    features(tmp_path, name="rgb")
    features(tmp_path, pictures(2))
    assert not list(tmp_path.iterdir())


def test_the_default_is_the_cache_of_the_user(tmp_path, computed, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    features(None)
    assert len(list((tmp_path / "linclf_jax" / "images").iterdir())) == 1


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, computed, monkeypatch):
    (tmp_path / "home").write_text("no folder can be made below a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert features(None).shape == (5, 16)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert features(tmp_path / "full").shape == (5, 16)
    assert not list((tmp_path / "full").iterdir())


def test_a_named_folder_that_is_none_is_refused(tmp_path, computed):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder; expected a folder of your own"):
        features(tmp_path / "file")
    with pytest.raises(ValueError, match="cannot keep features of images"):
        features(tmp_path / "file" / "below")
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
