"""A lane of a run, trained again alone, and how far it is from its row."""

import dataclasses
import json
import subprocess
import sys

import pytest

from experiments import train
from linclf_jax.runs import checkpoint, directory
from tests import sweeps


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    """A run with two scalings of the data, and lanes that diverge."""
    return sweeps.run(
        tmp_path_factory.mktemp("runs") / "run",
        preprocessing=("standardize", "none"),
        learning_rate=(0.1, 1e30),
    )


def assert_same(folder, row):
    found = train.replay(folder, row["trial"])
    assert [found.row[name] for name in train.COMPARED] == [
        found.again[name] for name in train.COMPARED
    ]
    told = train.report(found)
    assert told.endswith(f"lane {row['trial']} has the bits of its row")
    return found


def test_every_lane_of_a_run_has_the_bits_of_its_row(finished):
    kinds = {(row["preprocessing"], row["status"]) for row in finished.rows}
    assert len(kinds) == 4
    before = sweeps.untouched(finished.folder)
    for row in finished.rows:
        assert_same(finished.folder, row)
    assert sweeps.untouched(finished.folder) == before


def test_a_lane_whose_scores_are_not_finite_has_them_again(tmp_path):
    """They are null in the file, and null they are in both columns."""
    outcome = sweeps.run(
        tmp_path / "run", optimizer=("sgd",), learning_rate=(0.1, 3e38), epochs=(4,)
    )
    rows = directory.read(outcome.folder / "results.jsonl")
    nulls = [row for row in rows if row["train_loss"] is None]
    assert nulls
    assert_same(outcome.folder, nulls[0])


def test_a_retired_lane_is_trained_as_far_as_it_came(tmp_path):
    outcome = sweeps.run(tmp_path / "run", halving=3, learning_rate=(0.03, 0.1, 1e30))
    by_status = {row["status"]: row for row in outcome.rows}
    assert set(by_status) == {"ok", "retired", "diverged"}
    for row in by_status.values():
        assert_same(outcome.folder, row)
    assert by_status["retired"]["steps"] < 12


def test_a_lane_that_holds_a_fold_out(tmp_path):
    outcome = sweeps.run(tmp_path / "run", folds=3, l2=(0.0,))
    for row in outcome.rows[::5]:
        assert_same(outcome.folder, row)


def test_a_lane_of_an_unfinished_run_and_of_a_shard(tmp_path, monkeypatch):
    save, calls = checkpoint.save_piece, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_piece", failing)
        with pytest.raises(KeyboardInterrupt):
            sweeps.run(tmp_path / "run", tiles_at_once=1)
    for row in checkpoint.rows(tmp_path / "run", print)[::3]:
        assert_same(tmp_path / "run", row)
    with pytest.raises(ValueError, match=r"--lane is 15; .*run has 6 lanes from 0 to"):
        train.replay(tmp_path / "run", 15)
    shard = sweeps.run(tmp_path / "shard", num_shards=2, shard_index=1)
    assert_same(shard.folder, shard.rows[0])


def test_a_row_that_is_another_one_is_told_with_the_distance(finished, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    rows = directory.read(folder / "results.jsonl")
    rows[0]["val_loss"] += 0.25
    directory.write(folder / "results.jsonl", rows)
    told = train.report(train.replay(folder, 0))
    assert "lane 0 differs from its row in val_loss; scores by 0.25 at most" in told


def test_other_data_or_a_lane_that_is_not_there_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match=r"--lane is 99; .* 16 lanes from 0 to 15"):
        train.replay(finished.folder, 99)
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["data"]["fingerprint"] = "another"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"is of other data or flags: data\.fingerpr"):
        train.replay(folder, 0)


def test_a_run_made_elsewhere_says_so(finished, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["environment"]["jaxlib"] = "0.0.1"
    (folder / "config.json").write_text(json.dumps(config))
    told = train.report(train.replay(folder, 0))
    assert 'Made elsewhere: environment.jaxlib is "0.0.1" there' in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lane=0", "--epochs=3", "--l2=0"], "expected no --epochs, --l2 beside it"),
        (["--lane=0", "--out_dir=somewhere"], "expected no --out_dir beside it"),
        ([], "expected --replay=RUN_FOLDER and --lane=NUMBER together"),
    ],
)
def test_flags_that_a_replay_would_not_heed_are_refused(arguments, message, finished):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.train"),
            *(f"--replay={finished.folder}", *arguments),
        ],
        cwd=sweeps.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_one_lane_is_a_sweep_of_its_own_with_the_same_bits(finished, tmp_path):
    row = finished.rows[finished.selected["trial"]]
    single = {
        name: (row[name],) for name in ("preprocessing", "learning_rate", "l2")
    } | {"seeds": (row["seed"],), "out_dir": str(tmp_path / "run")}
    alone = train.run(dataclasses.replace(sweeps.SMALL, **single))
    assert alone.rows == [{**row, "trial": 0}]
