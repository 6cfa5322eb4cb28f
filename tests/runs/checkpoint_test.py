"""Batches and states of a run: whole or absent, damage named, the older one used."""

import contextlib
import errno
import os
import pathlib
from typing import NamedTuple

import chex
import jax
import numpy as np
import pytest

from linclf_jax.runs import checkpoint, store
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


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.fixture
def disk(tmp_path):
    return DiskStore(tmp_path)


@pytest.fixture(params=["disk", "memory"])
def any_store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else DiskStore(tmp_path)


class TestAnyStore:
    def test_a_batch_comes_back_bit_for_bit(self, any_store):
        assert any_store.load_batch("000003") is None
        any_store.save_batch("000003", BATCH)
        chex.assert_trees_all_equal(any_store.load_batch("000003"), BATCH)
        assert any_store.load_batch("000004") is None
        any_store.save_batch("a", Batch([], {}))
        assert any_store.load_batch("a") == ([], {})

    def test_what_is_changed_afterwards_is_not_in_it(self, any_store):
        rows, arrays = [{"trial": 0, "val_loss": np.nan}], {"W": np.zeros(1)}
        any_store.save_batch("a", Batch(rows, arrays))
        rows[0]["trial"], arrays["W"][0] = 1, 1.0
        loaded = any_store.load_batch("a")
        assert loaded.rows == [{"trial": 0, "val_loss": None}]  # as JSON has it
        assert loaded.arrays["W"] == 0.0

    def test_trials_are_in_order_and_the_later_batch_counts(self, any_store):
        def batch(*pairs):
            steps = np.array([steps for _, steps in pairs])
            return Batch([{"trial": t, "steps": s} for t, s in pairs], {"W": steps})

        any_store.save_batch("r00-000001-b", batch((3, 20), (1, 20)))
        any_store.save_batch("r00-000000", batch((0, 10), (3, 10)))
        any_store.save_batch("r00-000001", batch((2, 10), (1, 10)))
        rows = store.merged_rows(any_store.batches(()))
        pairs = [(row["trial"], row["steps"]) for row in rows]
        assert pairs == [(0, 10), (1, 20), (2, 10), (3, 20)]
        for trial, steps in pairs:
            assert any_store.load_trial(trial, ("W",)) == {"W": steps}
        with pytest.raises(ValueError, match="no batch that holds trial 4"):
            any_store.load_trial(4, ())

    def test_without_batches_there_are_no_rows(self, any_store):
        any_store.save_state("a", 7, state(7))
        assert any_store.load_batch("a") is None
        assert list(any_store.batches(())) == []

    def test_a_batch_apart_is_read_by_its_name_alone(self, any_store):
        """It has no numbered trials, and is no part of the results."""
        batch = Batch([{"trial": None, "x": 0.1}], {"W": np.arange(3.0)})
        any_store.save_batch("refit", batch, apart=True)
        assert any_store.load_batch("refit") is None
        chex.assert_trees_all_equal(any_store.load_batch("refit", apart=True), batch)
        assert list(any_store.batches(())) == []
        any_store.clear()
        assert any_store.load_batch("refit", apart=True) is None

    def test_the_newest_state_comes_back_until_it_is_dropped(self, any_store):
        assert any_store.load_state("a", state(0)) is None
        for step in (8, 9, 10, 100):
            any_store.save_state("a", step, state(step))
            newest, tree = any_store.load_state("a", state(0))
            assert newest == step
            assert isinstance(tree, State)
            chex.assert_trees_all_equal(tree, state(step))
        any_store.save_state("a-b", 2, state(2))
        any_store.drop_states("a")
        any_store.drop_states("a")
        assert any_store.load_state("a", state(0)) is None
        assert any_store.load_state("a-b", state(0))[0] == 2

    def test_what_a_state_is_like_needs_no_values(self, any_store):
        tree = jax.tree.map(jax.numpy.asarray, state(1))
        any_store.save_state("a", 1, tree)
        found = any_store.load_state("a", jax.eval_shape(lambda: tree))
        chex.assert_trees_all_equal(found, (1, state(1)))


class TestDamage:
    def test_every_flipped_bit_is_harmless_or_seen(self, disk, tmp_path, caplog):
        small = Batch(ROWS[:1], {"W": np.arange(2.0)})
        disk.save_batch("a", small)
        path = tmp_path / "pieces" / "a.npz"
        data, seen = path.read_bytes(), 0
        for bit in range(0, 8 * len(data), 7):
            path.write_bytes(data)
            flip(path, bit)
            caplog.clear()
            loaded = disk.load_batch("a")
            assert len(caplog.messages) == (loaded is None)
            if loaded is None:
                seen += 1
                assert names(tmp_path) == ["a.npz.damaged"]
            else:
                chex.assert_trees_all_equal(loaded, small)
        # What is left over: dates, attributes, padding.
        assert seen > 0.5 * 8 * len(data) / 7

    @pytest.mark.parametrize("cut", [0, 1, 100, -1])
    def test_a_damaged_batch_is_named_and_set_aside(self, cut, disk, tmp_path, caplog):
        disk.save_batch("r00-000003", BATCH)
        path = tmp_path / "pieces" / "r00-000003.npz"
        path.write_bytes(path.read_bytes()[:cut])
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

        def broken(path):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(pathlib.Path, "read_bytes", broken)
        with pytest.raises(OSError, match="denied") if raised else caplog.at_level(0):
            assert disk.load_batch("a") is None
        assert len(caplog.messages) == 1 - raised

    def test_other_arrays_are_not_read(self, disk, tmp_path, caplog):
        """Damage to them goes unseen here, and is seen by whoever loads the batch."""
        disk.save_batch("a", BATCH)
        path = tmp_path / "pieces" / "a.npz"
        flip(path, 8 * path.read_bytes().index(np.arange(6.0).tobytes()) + 60)
        (batch,) = disk.batches(["trial"])
        assert (len(batch.rows), batch.arrays.keys()) == (2, {"trial"})
        assert list(disk.batches(["W"])) == []
        (sentence,) = caplog.messages
        assert sentence.startswith(f"{path}: no .npz or a damaged one")
        assert sentence.endswith("; it is left out here")
        assert names(tmp_path) == ["a.npz"]  # whoever looks on moves nothing

    def test_behind_damaged_states_the_older_one_counts(self, disk, tmp_path, caplog):
        for step in (5, 10, 20):
            disk.save_state("a", step, state(step))
        assert names(tmp_path) == ["a.state-10.npz", "a.state-20.npz"]
        path = tmp_path / "pieces" / "a.state-20.npz"
        flip(path, 8 * path.read_bytes().index(state(20).weights.tobytes()) + 7)
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
        assert "arrays are not as expected, the first is" in caplog.messages[0]


@pytest.mark.parametrize("name", ["", "a.b", "../a", "a/b", "a.state-1"])
def test_a_name_that_is_no_name_is_refused(name, disk, tmp_path):
    with pytest.raises(ValueError, match="expected letters, digits"):
        disk.save_batch(name, BATCH)
    assert not list(tmp_path.iterdir())


def test_an_array_called_rows_is_refused(disk):
    with pytest.raises(ValueError, match="'rows', a name that is taken"):
        disk.save_batch("a", Batch([], {"rows": np.ones(1)}))


def test_clear_leaves_nothing_and_may_be_repeated(disk, tmp_path):
    disk.save_batch("a", BATCH)
    disk.save_state("b", 1, state(1))
    (tmp_path / "pieces" / "c.npz.damaged").write_bytes(b"")
    disk.clear()
    disk.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old_steps", [(), (1,), (1, 2)])
def test_a_full_disk_harms_nothing_older(old_steps, tmp_path, monkeypatch, caplog):
    """Whichever flush fails; all that is written is flushed."""
    older, fsync = Batch([{"trial": 0}], {"W": np.zeros(3)}), os.fsync
    for passing in range(5 if old_steps else 6):  # the new folder is flushed, too
        run, left = tmp_path / str(passing), [passing]
        run.mkdir()
        disk = DiskStore(run)
        for step in old_steps:
            disk.save_batch("new", older)
            disk.save_state("new", step, state(step))

        def full(handle, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        with monkeypatch.context() as patch, contextlib.suppress(OSError):
            patch.setattr(os, "fsync", full)
            disk.save_batch("new", BATCH)
            disk.save_state("new", 3, state(3))
        assert left[0] == (0 if passing == 4 + (not old_steps) else -1)
        batch, last = disk.load_batch("new"), disk.load_state("new", state(0))
        if batch is None or last is None:
            assert not old_steps
        if batch is not None:
            expected = BATCH if batch.rows == ROWS else older
            chex.assert_trees_all_equal(batch, expected)
        if last is not None:
            chex.assert_trees_all_equal(last[1], state(last[0]))
            assert last[0] >= max(old_steps, default=0)
        assert not list(run.rglob(".*.tmp"))
    assert caplog.messages == []


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
