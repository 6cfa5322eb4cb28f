"""Shards of a sweep, joined, are the directory that one process makes."""

import shutil

import pytest

from linclf_jax.runs import configuration, directory
from linclf_jax.scheduler import signals
from linclf_jax.scheduler.scheduler import Scheduler
from linclf_jax.scheduler.worker import Halted
from linclf_jax.studies import merge, pipeline
from tests import sweeps

FILES = (*sweeps.FILES, "flags.txt")


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


def make_shards(base, count, **flags):
    """Returns the directories of all shards of a sweep."""
    for index in range(count):
        sweeps.run(base / f"part-{index}", num_shards=count, shard_index=index, **flags)
    return [base / f"part-{index}" for index in range(count)]


def join(shards, path):
    return pipeline.run(merge.prepare(shards), path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, _quick):
    """Three of them, with two batches each."""
    return make_shards(tmp_path_factory.mktemp("shards"), 3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("whole") / "run")


def test_joined_shards_are_the_bytes_of_one_process(shards, finished, tmp_path):
    before = [sweeps.contents(path, ("manifest.json",)) for path in shards]
    # In any order, for a shell sorts part-10 before part-2.
    joined = join([shards[2], shards[0], shards[1]], tmp_path / "joined")
    expected = sweeps.contents(finished.directory, FILES)
    assert sweeps.contents(joined.directory, FILES) == expected
    assert joined.rows == finished.rows
    directory.verify(joined.directory)
    assert not (joined.directory / "pieces").exists()
    assert [sweeps.contents(path, ("manifest.json",)) for path in shards] == before
    for path in shards:
        directory.verify(path)


def test_each_trial_is_in_one_shard_and_no_shard_selects(shards, finished):
    rows = [row for path in shards for row in directory.read(path / "results.jsonl")]
    assert sorted(rows, key=lambda row: row["trial"]) == finished.rows
    assert not any((path / "selected.json").exists() for path in shards)


def test_shards_with_folds_and_trials_that_diverge(tmp_path):
    """The setting is trained again on all rows once, by whoever joins the shards."""
    flags = {"folds": 3, "learning_rate": (0.1, 1e30), "l2": (0.0,)}
    flags |= {"trials_per_batch": 2}
    whole = sweeps.run(tmp_path / "whole", **flags)
    joined = join(make_shards(tmp_path, 2, **flags), tmp_path / "joined")
    expected = sweeps.contents(whole.directory, FILES)
    assert sweeps.contents(joined.directory, FILES) == expected
    assert joined.selected["entries"][0]["refit"]


def test_more_shards_than_batches_are_refused_by_every_shard():
    for index in (0, 6):
        with pytest.raises(
            ValueError,
            match="--num_shards is 7; expected at most 6, for there are 6 batches of "
            "--trials_per_batch=3 to share",
        ):
            sweeps.prepare(num_shards=7, shard_index=index)


def test_a_finished_shard_keeps_its_batches_when_its_command_is_given_again(shards):
    with pytest.raises(ValueError, match="is complete"):
        sweeps.run(shards[1], num_shards=3, shard_index=1)
    assert list((shards[1] / "pieces").glob("r00-*.npz"))
    directory.verify(shards[1])


def test_a_shard_that_is_missing_or_there_twice_is_named(shards, tmp_path):
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    for given, message in (
        ([shards[0], shards[2]], "found 2 shards of 3; missing shards are 1"),
        ([], "expected the run directories of all shards"),
        ([*shards, copy], "part-0 and .*copy are both shard 0"),
        ([*shards, shards[0]], "part-0 is there twice"),
        ([tmp_path], r"is no run directory: it has no config\.json"),
    ):
        with pytest.raises(ValueError, match=message):
            merge.prepare(given)


def test_shards_of_other_sweeps_are_refused_with_the_differences(
    shards, finished, tmp_path
):
    other = shutil.copytree(shards[1], tmp_path / "other")
    config = directory.read(other / "config.json")
    config["flags"]["l2"] = [0.0, 0.02]
    directory.write(other / "config.json", config)
    with pytest.raises(
        ValueError, match=r"differs in 1: flags\.l2 is \[0\.0, 0\.01\] there"
    ):
        merge.prepare([shards[0], other, shards[2]])
    config["flags"]["num_shards"] = 2
    directory.write(other / "config.json", config)
    with pytest.raises(ValueError, match=r"found numbers of shards .*: 3.*: 2"):
        merge.prepare([shards[0], other])
    with pytest.raises(ValueError, match=r"found numbers of shards .*: 1; expected"):
        merge.prepare([finished.directory])


def test_shards_of_data_that_has_changed_since_are_refused(shards, monkeypatch):
    describe = merge.run_files.describe

    def changed(study):
        described = describe(study)
        described["data"]["fingerprint"] = "0"
        return described

    monkeypatch.setattr(merge.run_files, "describe", changed)
    with pytest.raises(
        ValueError, match=r"differs in 1: data\.fingerprint is \"0\" there"
    ):
        merge.prepare(shards)


def test_a_shard_that_is_not_finished_or_damaged_is_named(shards, tmp_path):
    copies = [shutil.copytree(path, tmp_path / path.name) for path in shards]
    batch = next((copies[1] / "pieces").iterdir())
    data = bytearray(batch.read_bytes())
    data[len(data) // 2] ^= 1
    batch.write_bytes(data)
    with pytest.raises(ValueError, match=f"part-1 .*pieces/{batch.name} has changed"):
        merge.prepare(copies)
    (copies[1] / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"part-1 has no manifest\.json"):
        merge.prepare(copies)


def test_the_directory_to_make_must_be_new_or_its_own(shards, finished, tmp_path):
    with pytest.raises(ValueError, match="is complete"):
        join(shards, finished.directory)
    with pytest.raises(ValueError, match=r"differs in 1: flags\.num_shards"):
        join(shards, shards[0])
    directory.verify(shards[0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"found notes\.txt"):
        join(shards, tmp_path)


def test_a_merge_that_was_stopped_goes_on(tmp_path, monkeypatch):
    flags = {"folds": 2, "learning_rate": (0.1,), "l2": (0.0,), "trials_per_batch": 2}
    whole = sweeps.run(tmp_path / "whole", **flags)
    parts = make_shards(tmp_path, 2, **flags)

    def stopped(*arguments):
        raise Halted

    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "train_single", stopped)
        with pytest.raises(signals.Interrupted, match="4 of 4 trials are done"):
            join(parts, tmp_path / "joined")
    joined = join(parts, tmp_path / "joined")
    assert sweeps.contents(joined.directory) == sweeps.contents(whole.directory)


def test_a_damaged_batch_is_refused_and_stays_where_it_is(shards, tmp_path):
    """As when a disk fails between the comparison with the seal and the reading."""
    copies = [shutil.copytree(path, tmp_path / path.name) for path in shards]
    file = next((copies[1] / "pieces").iterdir())
    file.write_bytes(file.read_bytes()[:-9])
    directory.seal(copies[1], without="progress.html")
    before = sweeps.untouched(copies[1])
    with pytest.raises(ValueError, match=f"part-1/pieces/{file.name}"):
        join(copies, tmp_path / "joined")
    assert sweeps.untouched(copies[1]) == before


@pytest.mark.parametrize(
    "config", [[], {"flags": {}}, dict.fromkeys(configuration.SECTIONS)]
)
def test_an_odd_configuration_is_refused_by_its_file(config, shards, tmp_path):
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    directory.write(copy / "config.json", config)
    with pytest.raises(ValueError, match=r"copy/config\.json is damaged; expected the"):
        merge.prepare([copy, *shards[1:]])
