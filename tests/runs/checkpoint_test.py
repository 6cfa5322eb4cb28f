"""Batches and states of a run: whole or absent, damage named, the older one used."""

import errno
import os
import pathlib
from typing import NamedTuple

import chex
import jax
import numpy as np
import pytest

from linclf_jax.runs import checkpoint, schema, store
from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.runs.store import Batch, MemoryStore

ROWS = [{"trial": 4, "val_loss": 0.1 + 0.2}, {"trial": 2, "val_loss": None}]
BATCH = Batch(ROWS, {"W": np.arange(6.0).reshape(2, 3), "trial": np.array([4, 2])})


class State(NamedTuple):
    weights: np.ndarray
    nested: tuple[np.ndarray, np.ndarray]


def state(step):
    return State(np.full((2, 3), float(step)), (np.array([step]), np.float32([0, 1])))


def names(run):
    return sorted(path.name for path in (run / "pieces").iterdir())


def flip_in(path, array):
    """Flips a bit of an array in a file."""
    data = bytearray(path.read_bytes())
    data[data.index(array.tobytes()) + 7] ^= 1
    path.write_bytes(data)


@pytest.fixture
def disk(tmp_path):
    return DiskStore(tmp_path)


@pytest.fixture(params=[DiskStore, lambda _: MemoryStore()], ids=["disk", "memory"])
def any_store(request, tmp_path):
    return request.param(tmp_path)


class TestAnyStore:
    def test_a_batch_comes_back_bit_for_bit_whatever_happens_to_it_later(
        self, any_store
    ):
        assert any_store.load_batch("000003") is None
        given = Batch([dict(row) for row in ROWS], {"W": BATCH.arrays["W"].copy()})
        any_store.save_batch("000003", given)
        given.rows[0]["trial"], given.arrays["W"][0] = 7, -1.0
        loaded = any_store.load_batch("000003")
        chex.assert_trees_all_equal(loaded, Batch(ROWS, {"W": BATCH.arrays["W"]}))
        any_store.save_batch("a", Batch([{"trial": 0, "val_loss": np.nan}], {}))
        assert any_store.load_batch("a") == ([{"trial": 0, "val_loss": None}], {})

    def test_trials_are_in_order_and_of_the_later_batch(self, any_store):
        def save(name, trials, epochs, value):
            rows = [{"trial": trial, "steps": epochs} for trial in trials]
            curves = np.full((len(trials), epochs), value) + np.array(trials)[:, None]
            arrays = {"trial": np.array(trials)} | dict.fromkeys(schema.CURVES, curves)
            any_store.save_batch(name, Batch(rows, arrays))

        save("r01-000000", [3], 3, 30.0)
        save("r00-000000", [3, 0], 2, 10.0)
        save("r00-000001", [1, 2], 1, 20.0)
        any_store.save_state("r01-000001", 7, state(7))
        rows, history = store.merged(any_store.batches(("trial", *schema.CURVES)))
        assert [(row["trial"], row["steps"]) for row in rows] == [
            *((0, 2), (1, 1), (2, 1), (3, 3))
        ]
        np.testing.assert_array_equal(history["trial"], [0, 1, 2, 3])
        nan = np.nan
        curves = [[10, 10, nan], [21, nan, nan], [22, nan, nan], [33, 33, 33]]
        for name in schema.CURVES:
            np.testing.assert_array_equal(history[name], curves)
        for trial, expected in ((0, [10, 10]), (1, [21]), (3, [33, 33, 33])):
            arrays = any_store.load_trial(trial, ("val_loss",))
            np.testing.assert_array_equal(arrays["val_loss"], expected)
        with pytest.raises(ValueError, match="no batch that holds trial 4"):
            any_store.load_trial(4, ())

    def test_a_batch_apart_is_read_by_its_name_alone(self, any_store):
        """It has no numbered trials, and is no part of the results."""
        batch = Batch([{"trial": None, "x": 0.1}], {"W": np.arange(3.0)})
        any_store.save_batch("refit", batch, apart=True)
        assert any_store.load_batch("refit") is None
        chex.assert_trees_all_equal(any_store.load_batch("refit", apart=True), batch)
        assert store.merged(any_store.batches(())) == ([], None)
        any_store.clear()
        assert any_store.load_batch("refit", apart=True) is None

    def test_the_newest_state_comes_back_until_it_is_dropped(self, any_store):
        like = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, state(0)))
        assert any_store.load_state("a", like) is None
        for step in (8, 9, 10, 100):
            any_store.save_state("a", step, state(step))
            chex.assert_trees_all_equal(
                any_store.load_state("a", like), (step, state(step))
            )
        any_store.save_state("a-b", 2, state(2))
        any_store.drop_states("a")
        any_store.drop_states("a")
        assert any_store.load_state("a", like) is None
        assert any_store.load_state("a-b", like)[0] == 2


class TestDamage:
    def test_a_damaged_batch_is_named_and_set_aside(self, disk, tmp_path, caplog):
        disk.save_batch("r00-000003", BATCH)
        path = tmp_path / "pieces" / "r00-000003.npz"
        path.write_bytes(path.read_bytes()[:100])
        assert disk.load_batch("r00-000003") is None
        (sentence,) = caplog.messages
        aside = "r00-000003.npz.damaged"
        assert sentence.startswith(f"{path}: ")
        assert sentence.endswith(f"; set aside as {aside}, it is trained again")
        assert names(tmp_path) == [aside]
        disk.save_batch("r00-000003", BATCH)
        assert disk.load_batch("r00-000003") is not None
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize(("code", "raised"), [(errno.EACCES, 1), (errno.EIO, 0)])
    def test_a_lack_of_rights_is_no_damage(
        self, code, raised, disk, monkeypatch, caplog
    ):
        disk.save_batch("a", BATCH)

        def broken(path, mode):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(pathlib.Path, "open", broken)
        with pytest.raises(OSError, match="denied") if raised else caplog.at_level(0):
            assert disk.load_batch("a") is None
        assert len(caplog.messages) == 1 - raised

    def test_other_arrays_are_not_read(self, disk, tmp_path, caplog):
        """Damage to them goes unseen here, and is seen by whoever loads the batch."""
        disk.save_batch("a", BATCH)
        path = tmp_path / "pieces" / "a.npz"
        flip_in(path, BATCH.arrays["W"])
        (batch,) = disk.batches(["trial", "absent"])
        assert (len(batch.rows), batch.arrays.keys()) == (2, {"trial"})
        assert list(disk.batches(["W"])) == []
        (sentence,) = caplog.messages
        assert sentence.startswith(f"{path}: no .npz or a damaged one")
        assert sentence.endswith("; it is left out here")
        assert names(tmp_path) == ["a.npz"]  # it stays where it is

    def test_behind_damaged_states_the_older_one_counts(self, disk, tmp_path, caplog):
        for step in (5, 10, 20):
            disk.save_state("a", step, state(step))
        assert names(tmp_path) == ["a.state-10.npz", "a.state-20.npz"]
        path = tmp_path / "pieces" / "a.state-20.npz"
        flip_in(path, state(20).weights)
        chex.assert_trees_all_equal(disk.load_state("a", state(0)), (10, state(10)))
        (sentence,) = caplog.messages
        assert sentence.startswith(f"{path}: ")
        assert sentence.endswith("a.state-20.npz.damaged, going on from step 10")
        (tmp_path / "pieces" / "a.state-10.npz").write_bytes(b"")
        assert disk.load_state("a", state(0)) is None
        assert caplog.messages[1].endswith("going on from the start")
        assert disk.load_state("a", state(0)) is None
        assert len(caplog.messages) == 2

    @pytest.mark.parametrize(
        "other",
        [
            state(0)._replace(weights=np.zeros((1, 3))),
            state(0)._replace(weights=np.zeros((2, 3), np.float32)),
            state(0)._replace(nested=(np.array([0]),)),
            (np.zeros((2, 3)),),
        ],
    )
    def test_other_names_shapes_or_dtypes_are_damage(self, other, disk, caplog):
        disk.save_state("a", 5, state(5))
        assert disk.load_state("a", other) is None
        assert ", expected " in caplog.messages[0]


def test_clear_leaves_nothing_and_may_be_repeated(disk, tmp_path):
    disk.save_batch("a", BATCH)
    disk.save_state("b", 1, state(1))
    (tmp_path / "pieces" / "c.npz.damaged").write_bytes(b"")
    disk.clear()
    disk.clear()
    assert not list(tmp_path.iterdir())


def test_data_reach_the_disk_before_older_states_go(disk, tmp_path, monkeypatch):
    fsync, flushed, seen = os.fsync, [], []

    def note(handle):
        flushed.append(os.fstat(handle).st_ino)
        seen.append((tmp_path / "pieces" / "a.state-1.npz").exists())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    disk.save_state("a", 1, state(1))
    assert flushed[0] == tmp_path.stat().st_ino  # a new folder is durable, too
    disk.save_state("a", 2, state(2))
    seen.clear()
    disk.save_state("a", 3, state(3))
    assert seen == [True, True]  # the file, and its name in the folder
    assert names(tmp_path) == ["a.state-2.npz", "a.state-3.npz"]


def test_what_is_no_sealed_run_is_not_tidied(tmp_path):
    (tmp_path / "pieces").mkdir()
    precious = tmp_path / "pieces" / "precious.png"
    precious.write_bytes(b"mine")
    for manifest in ('{"name": "webapp"}', "no json", '{"files": {"a.txt": {}}}'):
        (tmp_path / "manifest.json").write_text(manifest)
        checkpoint.tidy(tmp_path)
        assert precious.exists()
