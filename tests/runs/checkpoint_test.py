"""Pieces and states of a run: whole or absent, damage named, the older one used."""

import contextlib
import errno
import os
import pathlib
from typing import NamedTuple

import chex
import jax
import numpy as np
import pytest

from linclf_jax.runs import checkpoint

ROWS = [{"trial": 4, "val_loss": 0.1 + 0.2}, {"trial": 2, "val_loss": None}]
PIECE = checkpoint.Piece(ROWS, {"W": np.arange(6.0).reshape(2, 3), "trial": [4, 2]})


class State(NamedTuple):
    weights: np.ndarray
    nested: tuple[np.ndarray, np.ndarray]


def state(step):
    return State(np.full((2, 3), float(step)), (np.array([step]), np.float32([0, 1])))


def refuse(sentence):
    raise AssertionError(sentence)


def names(run):
    return sorted(path.name for path in (run / "pieces").iterdir())


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


class TestPieces:
    def test_a_piece_comes_back_bit_for_bit(self, tmp_path):
        checkpoint.save_piece(tmp_path, "000003", PIECE)
        loaded = checkpoint.load_piece(tmp_path, "000003", refuse)
        assert loaded.rows == ROWS
        assert set(loaded.arrays) == {"W", "trial"}
        np.testing.assert_array_equal(loaded.arrays["W"], PIECE.arrays["W"])

    def test_a_piece_without_rows_or_arrays_is_one(self, tmp_path):
        checkpoint.save_piece(tmp_path, "a", checkpoint.Piece([], {}))
        assert checkpoint.load_piece(tmp_path, "a", refuse) == ([], {})

    def test_a_piece_that_is_not_there_is_none(self, tmp_path):
        assert checkpoint.load_piece(tmp_path, "000000", refuse) is None
        checkpoint.save_piece(tmp_path, "000001", PIECE)
        assert checkpoint.load_piece(tmp_path, "000000", refuse) is None

    def test_a_state_is_no_piece(self, tmp_path):
        checkpoint.save_state(tmp_path, "a", 7, state(7))
        assert checkpoint.load_piece(tmp_path, "a", refuse) is None
        assert checkpoint.rows(tmp_path, refuse) == []

    def test_every_flipped_bit_is_harmless_or_found(self, tmp_path):
        small = checkpoint.Piece(ROWS[:1], {"W": np.arange(2.0)})
        checkpoint.save_piece(tmp_path, "a", small)
        path = tmp_path / "pieces" / "a.npz"
        data, found = path.read_bytes(), 0
        for bit in range(0, 8 * len(data), 7):
            path.write_bytes(data)
            flip(path, bit)
            told = []
            loaded = checkpoint.load_piece(tmp_path, "a", told.append)
            if loaded is None:
                found += 1
                assert names(tmp_path) == ["a.npz.damaged"]
                assert len(told) == 1
            else:
                assert told == []
                chex.assert_trees_all_equal(loaded, small)
        # What is left over: dates, attributes, padding.
        assert found > 0.5 * 8 * len(data) / 7

    @pytest.mark.parametrize("cut", [0, 1, 100, -1])
    def test_a_damaged_piece_is_named_set_aside_and_trained_again(self, cut, tmp_path):
        checkpoint.save_piece(tmp_path, "r00-000003", PIECE)
        path = tmp_path / "pieces" / "r00-000003.npz"
        path.write_bytes(path.read_bytes()[:cut])
        told = []
        assert checkpoint.load_piece(tmp_path, "r00-000003", told.append) is None
        (sentence,) = told
        assert sentence.startswith(f"{path}: ")
        aside = "r00-000003.npz.damaged"
        assert sentence.endswith(f"; set aside as {aside}, it is trained again")
        assert names(tmp_path) == [aside]
        assert checkpoint.load_piece(tmp_path, "r00-000003", refuse) is None
        checkpoint.save_piece(tmp_path, "r00-000003", PIECE)
        assert checkpoint.load_piece(tmp_path, "r00-000003", refuse) is not None

    def test_a_disk_that_cannot_read_is_damage_and_a_lack_of_rights_is_none(
        self, tmp_path, monkeypatch
    ):
        checkpoint.save_piece(tmp_path, "a", PIECE)
        for code, raised in ((errno.EACCES, True), (errno.EIO, False)):

            def broken(path, code=code):
                raise OSError(code, os.strerror(code))

            monkeypatch.setattr(pathlib.Path, "read_bytes", broken)
            told = []
            if raised:
                with pytest.raises(OSError, match="denied"):
                    checkpoint.load_piece(tmp_path, "a", told.append)
            else:
                assert checkpoint.load_piece(tmp_path, "a", told.append) is None
            assert bool(told) is not raised

    @pytest.mark.parametrize("name", ["", "a.b", "../a", "a/b", "a.state-1"])
    def test_a_name_that_is_no_name_is_refused(self, name, tmp_path):
        with pytest.raises(ValueError, match="expected letters, digits"):
            checkpoint.save_piece(tmp_path, name, PIECE)
        assert not list(tmp_path.iterdir())

    def test_an_array_called_rows_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="'rows', a name that is taken"):
            checkpoint.save_piece(
                tmp_path, "a", checkpoint.Piece([], {"rows": np.ones(1)})
            )


class TestRows:
    def test_lanes_are_in_order_and_the_later_piece_counts(self, tmp_path):
        def piece(*pairs):
            rows = [{"trial": lane, "steps": steps} for lane, steps in pairs]
            return checkpoint.Piece(rows, {})

        checkpoint.save_piece(tmp_path, "r00-000001-b", piece((3, 20), (1, 20)))
        checkpoint.save_piece(tmp_path, "r00-000000", piece((0, 10), (3, 10)))
        checkpoint.save_piece(tmp_path, "r00-000001", piece((2, 10), (1, 10)))
        rows = checkpoint.rows(tmp_path, refuse)
        assert [(row["trial"], row["steps"]) for row in rows] == [
            *((0, 10), (1, 20), (2, 10), (3, 20))
        ]

    def test_a_folder_without_pieces_has_none(self, tmp_path):
        assert checkpoint.rows(tmp_path, refuse) == []

    def test_other_arrays_are_not_read(self, tmp_path):
        """Damage to them goes unseen here, and is found by whoever loads the piece."""
        checkpoint.save_piece(tmp_path, "a", PIECE)
        path = tmp_path / "pieces" / "a.npz"
        flip(path, 8 * path.read_bytes().index(np.arange(6.0).tobytes()) + 60)
        assert len(checkpoint.rows(tmp_path, refuse)) == 2
        assert next(checkpoint.each(tmp_path, ["trial"], refuse)).arrays.keys() == {
            "trial"
        }
        told = []
        assert list(checkpoint.each(tmp_path, ["W"], told.append)) == []
        (sentence,) = told
        assert sentence.startswith(f"{path}: no .npz or a damaged one")
        assert sentence.endswith("; it is left out here")
        assert names(tmp_path) == ["a.npz"]  # whoever looks on moves nothing


class TestStates:
    def test_the_newest_comes_back_and_two_are_kept(self, tmp_path):
        assert checkpoint.load_state(tmp_path, "a", state(0), refuse) is None
        for step in (8, 9, 10, 100):
            checkpoint.save_state(tmp_path, "a", step, state(step))
            found, tree = checkpoint.load_state(tmp_path, "a", state(0), refuse)
            assert found == step
            assert isinstance(tree, State)
            chex.assert_trees_all_equal(tree, state(step))
        assert names(tmp_path) == ["a.state-10.npz", "a.state-100.npz"]

    def test_what_it_is_like_needs_no_values(self, tmp_path):
        checkpoint.save_state(
            tmp_path, "a", 1, jax.tree.map(jax.numpy.asarray, state(1))
        )
        like = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, state(0)))
        found, tree = checkpoint.load_state(tmp_path, "a", like, refuse)
        chex.assert_trees_all_equal((found, tree), (1, state(1)))

    def test_pieces_keep_to_themselves(self, tmp_path):
        checkpoint.save_state(tmp_path, "a", 1, state(1))
        checkpoint.save_state(tmp_path, "a-b", 2, state(2))
        assert checkpoint.load_state(tmp_path, "a", state(0), refuse)[0] == 1
        checkpoint.drop_states(tmp_path, "a")
        assert names(tmp_path) == ["a-b.state-2.npz"]
        checkpoint.drop_states(tmp_path, "a")

    def test_behind_a_damaged_state_the_older_one_counts(self, tmp_path):
        for step in (10, 20):
            checkpoint.save_state(tmp_path, "a", step, state(step))
        path = tmp_path / "pieces" / "a.state-20.npz"
        flip(path, 8 * path.read_bytes().index(state(20).weights.tobytes()) + 7)
        told = []
        found, tree = checkpoint.load_state(tmp_path, "a", state(0), told.append)
        assert found == 10
        chex.assert_trees_all_equal(tree, state(10))
        (sentence,) = told
        assert sentence.startswith(f"{path}: ")
        assert sentence.endswith("a.state-20.npz.damaged, going on from step 10")
        assert names(tmp_path) == ["a.state-10.npz", "a.state-20.npz.damaged"]

    def test_behind_two_damaged_states_it_is_the_start(self, tmp_path):
        for step in (10, 20):
            checkpoint.save_state(tmp_path, "a", step, state(step))
            (tmp_path / "pieces" / f"a.state-{step}.npz").write_bytes(b"")
        told = []
        assert checkpoint.load_state(tmp_path, "a", state(0), told.append) is None
        assert len(told) == 2
        assert all(sentence.endswith("going on from the start") for sentence in told)
        assert checkpoint.load_state(tmp_path, "a", state(0), refuse) is None

    @pytest.mark.parametrize(
        "other",
        [
            state(0)._replace(weights=np.zeros((1, 3))),
            state(0)._replace(weights=np.zeros((2, 3), np.float32)),
            state(0)._replace(nested=(np.array([0]),)),
            (np.zeros((2, 3)),),
        ],
    )
    def test_other_names_shapes_or_dtypes_do_not_pass_for_it(self, other, tmp_path):
        checkpoint.save_state(tmp_path, "a", 5, state(5))
        told = []
        assert checkpoint.load_state(tmp_path, "a", other, told.append) is None
        assert "arrays are not as expected, the first is" in told[0]


def test_clear_leaves_nothing_and_may_be_repeated(tmp_path):
    checkpoint.save_piece(tmp_path, "a", PIECE)
    checkpoint.save_state(tmp_path, "b", 1, state(1))
    (tmp_path / "pieces" / "c.npz.damaged").write_bytes(b"")
    checkpoint.clear(tmp_path)
    checkpoint.clear(tmp_path)
    assert not list(tmp_path.iterdir())


class FullDisk:
    """Lets so many writes, flushes and renames pass, and fails the next one."""

    def __init__(self, monkeypatch, passing):
        self.passing, self.failed = passing, False
        for module, name in ((os, "fsync"), (os, "replace"), (os, "mkdir")):
            monkeypatch.setattr(module, name, self.limited(getattr(module, name)))
        opened = pathlib.Path.open

        def open_limited(path, *args, **kwargs):
            file = opened(path, *args, **kwargs)
            return LimitedFile(file, self) if file.writable() else file

        monkeypatch.setattr(pathlib.Path, "open", open_limited)

    def limited(self, call):
        def one(*args, **kwargs):
            if self.passing == 0:
                self.failed = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.passing -= 1
            return call(*args, **kwargs)

        return one


class LimitedFile:
    def __init__(self, file, disk):
        self.file, self.write = file, disk.limited(file.write)
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize("old_steps", [(), (1,), (1, 2)])
def test_a_full_disk_harms_nothing_older(old_steps, tmp_path, monkeypatch):
    """Whichever call it is that fails, first of the piece, then of the state."""
    older = checkpoint.Piece([{"trial": 0}], {"W": np.zeros(3)})
    failures = 0
    for passing in range(20):
        run = tmp_path / str(passing)
        run.mkdir()
        for step in old_steps:
            checkpoint.save_piece(run, "new", older)
            checkpoint.save_state(run, "new", step, state(step))
        with monkeypatch.context() as patch:
            disk = FullDisk(patch, passing)
            with contextlib.suppress(OSError):
                checkpoint.save_piece(run, "new", PIECE)
                checkpoint.save_state(run, "new", 3, state(3))
        if not disk.failed:
            break
        failures += 1
        piece = checkpoint.load_piece(run, "new", refuse)
        if piece is None:
            assert not old_steps
        else:
            new = piece.rows == ROWS
            expected = (PIECE if new else older).arrays["W"]
            np.testing.assert_array_equal(piece.arrays["W"], expected)
        last = checkpoint.load_state(run, "new", state(0), refuse)
        if last is None:
            assert not old_steps
        else:
            chex.assert_trees_all_equal(last[1], state(last[0]))
            assert last[0] >= max(old_steps, default=0)
        assert not list(run.rglob(".*.tmp"))
    else:
        pytest.fail("the disk was never large enough")
    assert failures >= 8


def test_data_reach_the_disk_before_older_states_go(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save_state(tmp_path, "a", step, state(step))
    fsync, seen = os.fsync, []

    def note(handle):
        seen.append((tmp_path / "pieces" / "a.state-1.npz").exists())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    checkpoint.save_state(tmp_path, "a", 3, state(3))
    assert seen == [True, True]  # the file, and its name in the folder
    assert names(tmp_path) == ["a.state-2.npz", "a.state-3.npz"]


def test_a_new_folder_of_pieces_is_durable_too(tmp_path, monkeypatch):
    fsync, flushed = os.fsync, []

    def note(handle):
        flushed.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    checkpoint.save_piece(tmp_path, "a", PIECE)
    assert flushed[0] == tmp_path.stat().st_ino


def test_what_is_no_sealed_run_is_not_tidied(tmp_path):
    (tmp_path / "pieces").mkdir()
    precious = tmp_path / "pieces" / "precious.png"
    precious.write_bytes(b"mine")
    for manifest in ('{"name": "webapp"}', "no json", '{"files": {"a.txt": {}}}'):
        (tmp_path / "manifest.json").write_text(manifest)
        checkpoint.tidy(tmp_path)
        assert precious.exists()


def test_a_piece_apart_is_read_by_its_name_alone(tmp_path):
    """It has no numbered lanes, and is no part of what the others come to."""
    piece = checkpoint.Piece([{"trial": None, "x": 0.1}], {"W": np.arange(3.0)})
    checkpoint.save_piece(tmp_path, "refit", piece, apart=True)
    assert checkpoint.load_piece(tmp_path, "refit", print) is None
    found = checkpoint.load_piece(tmp_path, "refit", print, apart=True)
    assert found is not None
    assert found.rows == piece.rows
    np.testing.assert_array_equal(found.arrays["W"], piece.arrays["W"])
    assert list(checkpoint.each(tmp_path, (), print)) == []
    checkpoint.clear(tmp_path)
    assert checkpoint.load_piece(tmp_path, "refit", print, apart=True) is None
