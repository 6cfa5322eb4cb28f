"""Shards of a sweep, joined, are the folder that one process makes."""

import shutil

import pytest

from experiments import merge
from linclf_jax.runs import directory
from linclf_jax.scheduler import signals
from linclf_jax.scheduler.scheduler import Engine
from linclf_jax.scheduler.worker import Stopped
from tests import sweeps

FILES = (*sweeps.FILES, "flags.txt")


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


def make_shards(base, count, **changes):
    """Returns the folders of all shards of a sweep."""
    return [
        sweeps.run(
            base / f"part-{index}", num_shards=count, shard_index=index, **changes
        ).folder
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory, _quick):
    """Three of them, with two tiles each."""
    return make_shards(tmp_path_factory.mktemp("shards"), 3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("whole") / "run")


def test_joined_shards_are_the_bytes_of_one_process(shards, finished, tmp_path):
    before = [sweeps.contents(path, ("manifest.json",)) for path in shards]
    # In any order, for a shell sorts part-10 before part-2.
    joined = merge.run([shards[2], shards[0], shards[1]], tmp_path / "joined")
    expected = sweeps.contents(finished.folder, FILES)
    assert sweeps.contents(joined.folder, FILES) == expected
    assert joined.rows == finished.rows
    directory.verify(joined.folder)
    assert not (joined.folder / "pieces").exists()
    assert [sweeps.contents(path, ("manifest.json",)) for path in shards] == before
    for path in shards:
        directory.verify(path)


def test_each_lane_is_in_one_shard_and_no_shard_chooses(shards, finished):
    lanes = [
        row["trial"]
        for path in shards
        for row in directory.read(path / "results.jsonl")
    ]
    assert sorted(lanes) == [row["trial"] for row in finished.rows]
    for path in shards:
        assert not (path / "selected.json").exists()


@pytest.mark.parametrize("count", [2, 6])
def test_any_number_of_shards_with_folds_and_lanes_that_diverge(count, tmp_path):
    """The setting is trained again on all rows once, by whoever joins the shards."""
    changes = {"folds": 3, "learning_rate": (0.1, 1e30), "l2": (0.0,)}
    whole = sweeps.run(tmp_path / "whole", tile_width=2, **changes)
    parts = make_shards(tmp_path, count, tile_width=2, **changes)
    joined = merge.run(parts, tmp_path / "joined")
    expected = sweeps.contents(whole.folder, FILES)
    assert sweeps.contents(joined.folder, FILES) == expected
    assert joined.selected["refit"]


def test_more_shards_than_tiles_are_refused_by_every_shard(tmp_path):
    for index in (0, 6):
        with pytest.raises(
            ValueError, match="--num_shards is 7; expected at most 6, for there are 6"
        ):
            sweeps.run(tmp_path / "part", num_shards=7, shard_index=index)
    assert not (tmp_path / "part").exists()


def test_a_finished_shard_keeps_its_pieces_when_its_command_is_given_again(shards):
    with pytest.raises(ValueError, match="is complete"):
        sweeps.run(shards[1], num_shards=3, shard_index=1)
    assert list((shards[1] / "pieces").glob("r00-*.npz"))
    directory.verify(shards[1])


def test_a_missing_shard_is_named(shards, tmp_path):
    with pytest.raises(ValueError, match="found 2 shards of 3; missing shards are 1"):
        merge.run([shards[0], shards[2]], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_shard_given_twice_is_named(shards, tmp_path):
    shutil.copytree(shards[0], tmp_path / "copy")
    with pytest.raises(ValueError, match=r"part-0 and .*copy are both shard 0"):
        merge.run([*shards, tmp_path / "copy"], tmp_path / "joined")
    with pytest.raises(ValueError, match="part-0 is there twice"):
        merge.run([*shards, shards[0]], tmp_path / "joined")


def test_shards_of_other_sweeps_are_refused_with_the_differences(shards, tmp_path):
    other = sweeps.run(
        tmp_path / "other", num_shards=3, shard_index=1, l2=(0.0, 0.02)
    ).folder
    with pytest.raises(
        ValueError, match=r"differs in 1: flags\.l2 is \[0\.0, 0\.01\] there"
    ):
        merge.run([shards[0], other, shards[2]], tmp_path / "joined")
    two = sweeps.run(tmp_path / "two", num_shards=2, shard_index=1).folder
    with pytest.raises(ValueError, match=r"found numbers of shards .*: 3.*: 2"):
        merge.run([shards[0], two], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_whole_run_is_no_shard(finished, tmp_path):
    with pytest.raises(ValueError, match=r"found numbers of shards .*: 1; expected"):
        merge.run([finished.folder], tmp_path / "joined")


def test_a_shard_that_is_not_finished_or_damaged_is_named(shards, tmp_path):
    copies = [shutil.copytree(path, tmp_path / path.name) for path in shards]
    piece = next((copies[1] / "pieces").iterdir())
    data = bytearray(piece.read_bytes())
    data[len(data) // 2] ^= 1
    piece.write_bytes(data)
    with pytest.raises(ValueError, match=f"part-1 .*pieces/{piece.name} has changed"):
        merge.run(copies, tmp_path / "joined")
    (copies[1] / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"part-1 has no manifest\.json"):
        merge.run(copies, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_the_folder_to_make_must_be_new_or_its_own(shards, finished, tmp_path):
    with pytest.raises(ValueError, match="is complete"):
        merge.run(shards, finished.folder)
    with pytest.raises(ValueError, match=r"differs in 1: flags\.num_shards"):
        merge.run(shards, shards[0])
    directory.verify(shards[0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is no run folder: found notes\.txt"):
        merge.run(shards, tmp_path)


def test_a_merge_that_was_stopped_goes_on(tmp_path, monkeypatch):
    changes = {"folds": 2, "learning_rate": (0.1,), "l2": (0.0,), "tile_width": 2}
    whole = sweeps.run(tmp_path / "whole", **changes)
    parts = make_shards(tmp_path, 2, **changes)

    def stopped(*arguments):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "alone", stopped)
        with pytest.raises(signals.Interrupted, match="4 of 4 lanes are done"):
            merge.run(parts, tmp_path / "joined")
    joined = merge.run(parts, tmp_path / "joined")
    assert sweeps.contents(joined.folder) == sweeps.contents(whole.folder)
