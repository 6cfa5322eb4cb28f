"""A trial of a run, trained again alone, and how far it is from its row."""

import json
import shutil

import pytest

from linclf_jax.runs import directory
from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.studies import replay
from tests import sweeps


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    """A run with two scalings of the data, and trials that diverge."""
    return sweeps.run(
        tmp_path_factory.mktemp("runs") / "run",
        preprocessing=("standardize", "none"),
        learning_rate=(0.1, 1e30),
    )


def same(path, row):
    """Returns the replay of a trial, which has the bits of its row."""
    result = replay.run(path, row["trial"])
    assert (result.trial, result.row) == (row["trial"], row)
    assert result.differing == []
    assert len(result.compared) == 8
    return result


def test_every_trial_of_a_run_has_the_bits_of_its_row(finished):
    kinds = {(row["preprocessing"], row["status"]) for row in finished.rows}
    assert len(kinds) == 4
    before = sweeps.untouched(finished.directory)
    for row in finished.rows:
        assert same(finished.directory, row).environment == []
    assert sweeps.untouched(finished.directory) == before


def test_a_trial_whose_scores_are_not_finite_has_them_again(tmp_path):
    """They are null in the file, and null they are in both rows."""
    flags = {"optimizer": ("sgd",), "learning_rate": (0.1, 3e38), "epochs": (4,)}
    sweeps.run(tmp_path / "run", **flags)
    rows = directory.read(tmp_path / "run" / "results.jsonl")
    nulls = [row for row in rows if row["train_loss"] is None]
    assert same(tmp_path / "run", nulls[0]).distance == 0


def test_a_retired_trial_is_trained_as_far_as_it_came(tmp_path):
    result = sweeps.run(tmp_path / "run", halving=3, learning_rate=(0.03, 0.1, 1e30))
    by_status = {row["status"]: row for row in result.rows}
    assert set(by_status) == {"ok", "retired", "diverged"}
    for row in by_status.values():
        same(tmp_path / "run", row)
    assert by_status["retired"]["steps"] < 12


def test_a_trial_of_an_unfinished_run_by_folds_and_of_a_shard(tmp_path, monkeypatch):
    save, calls = DiskStore.save_batch, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(*arguments)

    flags = {"folds": 3, "l2": (0.0,)}
    with monkeypatch.context() as patch:
        patch.setattr(DiskStore, "save_batch", failing)
        with pytest.raises(KeyboardInterrupt):
            sweeps.run(tmp_path / "run", concurrent_batches=1, **flags)
    batches = [*DiskStore(tmp_path / "run").batches(())]
    for row in [row for batch in batches for row in batch.rows][::3]:
        same(tmp_path / "run", row)
    shard = sweeps.run(tmp_path / "shard", num_shards=3, shard_index=1)
    same(tmp_path / "shard", shard.rows[0])


def test_rows_of_another_machine_differ_and_are_said_to(finished, tmp_path):
    path = shutil.copytree(finished.directory, tmp_path / "run")
    config = json.loads((path / "config.json").read_text())
    config["environment"]["jax"] = "0.0.1"
    (path / "config.json").write_text(json.dumps(config))
    rows = [dict(row) for row in finished.rows]
    rows[0]["val_loss"] += 0.25
    directory.write(path / "results.jsonl", rows)
    result = replay.run(path, 0)
    assert result.differing == ["val_loss"]
    assert result.distance == pytest.approx(0.25)
    (line,) = result.environment
    assert line.startswith('environment.jax is "0.0.1" there and ')


@pytest.mark.parametrize("trial", [-1, 16, 10**9])
def test_a_trial_that_is_not_there_is_refused(trial, finished):
    with pytest.raises(
        ValueError, match=f"--trial is {trial}; .*run has 16 trials fro"
    ):
        replay.run(finished.directory, trial)


def test_other_data_is_refused(finished, monkeypatch):
    describe = replay.run_files.describe

    def changed(study):
        described = describe(study)
        described["data"]["fingerprint"] = "0"
        return described

    monkeypatch.setattr(replay.run_files, "describe", changed)
    with pytest.raises(
        ValueError, match=r"is of other data or flags: data\.fingerprint is "
    ):
        replay.run(finished.directory, 0)


def test_what_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"is not a complete run directory: config\.json"
    ):
        replay.run(tmp_path, 0)
