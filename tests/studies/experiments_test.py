"""The scripts as their users meet them: folders, replays, resumption, refusals."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import sweep, train
from linclf_jax.cli import console
from linclf_jax.cli.options import Config
from linclf_jax.cli.progress import Progress
from linclf_jax.data import datasets
from linclf_jax.runs import directory, model
from linclf_jax.scheduler import scheduler, tensorboard
from linclf_jax.selection import choose as selection
from linclf_jax.selection import ranking
from linclf_jax.studies import last_step
from linclf_jax.training import execution, search_space
from tests.scheduler import events_test

ROOT = Path(__file__).parents[2]
SMALL = Config(
    dataset="iris",
    optimizer=("momentum", "adam"),
    learning_rate=(0.01, 0.1, 1e30),
    l2=(0.0, 0.01),
    seeds=(0, 1),
    loss=("weston_watkins_hinge",),
    epochs=(4,),
    tile_width=4,
)
FILES = {
    *("config.json", "flags.txt", "results.jsonl", "history.npz", "selected.json"),
    *("selected.safetensors", "report.html", "manifest.json"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    return sweep.run(dataclasses.replace(SMALL, out_dir=str(folder)))


def again(folder, **changes):
    return sweep.run(dataclasses.replace(SMALL, out_dir=str(folder), **changes))


def test_the_run_folder_is_complete_and_sealed(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names >= FILES
    assert {path.suffix for path in finished.folder.iterdir()} >= {".png"}
    assert set(directory.verify(finished.folder)) == names - {"manifest.json"}


def test_every_lane_has_a_row_with_the_columns_of_the_contract(finished):
    rows = directory.read(finished.folder / "results.jsonl")
    assert [row["trial"] for row in rows] == list(range(2 * 3 * 2 * 2))
    for row in rows:
        assert {
            *("trial", "optimizer", "learning_rate", "l2", "seed", "fold", "status"),
            *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "steps"),
        } <= set(row)
        assert (row["status"] == "ok") == (row["learning_rate"] < 1)
    history = directory.read(finished.folder / "history.npz")
    assert history["val_loss"].shape == (24, 4)
    best = finished.selected["trial"]
    for name in ("val_loss", "val_accuracy"):
        np.testing.assert_allclose(history[name][best, -1], rows[best][name], rtol=1e-6)
    assert history["train_loss"].shape == (24, 4)
    assert not np.allclose(history["train_loss"][best], history["val_loss"][best])


def test_the_same_command_gives_the_same_bytes(finished, tmp_path):
    second = again(tmp_path / "second")
    for name in ("results.jsonl", "history.npz", "selected.json", "flags.txt"):
        expected = (finished.folder / name).read_bytes()
        assert (second.folder / name).read_bytes() == expected, name


def test_the_stored_model_gives_the_stored_test_accuracy_from_raw_features(finished):
    loaded = model.load(finished.folder / "selected.safetensors")
    dataset = datasets.load("iris", split_seed=0)
    test = dataset.test.read()
    accuracy = np.mean(model.predict(loaded, test.x) == test.labels)
    assert accuracy == finished.selected["test"]["accuracy"]
    assert loaded.class_names == ("setosa", "versicolor", "virginica")
    # Statistics of the training rows, and of no other.
    x = dataset.train.x.astype(np.float64)
    np.testing.assert_allclose(loaded.scaling.shift, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(loaded.scaling.scale, x.std(axis=0), rtol=1e-12)


def test_seeds_make_different_runs(finished):
    scores = {
        seed: [row["train_loss"] for row in finished.rows if row["seed"] == seed]
        for seed in (0, 1)
    }
    assert scores[0] != scores[1]


@pytest.mark.parametrize("by", ranking.LANE_CRITERIA)
def test_the_choice_follows_its_criterion(by, finished, tmp_path):
    chosen = again(tmp_path / by, select_by=by).selected
    assert chosen["trial"] == ranking.rank(finished.rows, by=by)[0]["trial"]
    assert by in chosen["reason"]


def test_the_two_criteria_differ_here(finished):
    """Or the test above would show nothing."""
    winners = {
        ranking.rank(finished.rows, by=by)[0]["trial"] for by in ranking.LANE_CRITERIA
    }
    assert len(winners) == 2


def test_a_choice_at_the_edge_of_the_grid_is_a_warning(tmp_path):
    outcome = again(tmp_path / "edge", learning_rate=(1e-5, 1e-4), l2=(0.0,))
    (warning,) = outcome.selected["warnings"]
    assert "learning_rate, 0.0001, is the largest" in warning
    assert f"Warning: {warning}" in console.summary(*outcome)


def test_the_test_split_cannot_influence_the_choice(finished, tmp_path, monkeypatch):
    load, choose, seen = datasets.load, selection.choose, []

    def with_other_test_labels(*args, **kwargs):
        dataset = load(*args, **kwargs)
        test = dataset.test.read()
        other = test._replace(x=-test.x, labels=(test.labels + 1) % 3)
        read = lambda: (seen.append("test"), other)[1]  # noqa: E731
        return dataset._replace(test=datasets.Held(dataset.test.size, read))

    def watch(*args, **kwargs):
        seen.append("choice")
        return choose(*args, **kwargs)

    monkeypatch.setattr(datasets, "load", with_other_test_labels)
    monkeypatch.setattr(selection, "choose", watch)
    other = again(tmp_path / "other")
    assert seen == ["choice", "test"]
    opened, before = (run.selected["test_data"] for run in (other, finished))
    assert opened["sha256"] != before["sha256"]
    assert {opened["opened"], before["opened"]} == {"after the choice"}
    assert opened["rows"] == before["rows"] == 30
    assert other.rows == finished.rows
    assert other.selected["trial"] == finished.selected["trial"]
    assert other.selected["test"]["accuracy"] != finished.selected["test"]["accuracy"]


def test_an_interrupted_sweep_goes_on_where_it_stopped(finished, tmp_path, monkeypatch):
    run, trained = execution.run, []

    def stop_after_two(*args):
        if len(trained) == 2:
            raise OSError("the power went out")
        trained.append(args)
        return run(*args)

    folder = tmp_path / "interrupted"
    monkeypatch.setattr(execution, "run", stop_after_two)
    with pytest.raises(last_step.Unfinished, match=r"^the power went out; what was"):
        again(folder, tiles_at_once=1)
    assert not (folder / "results.jsonl").exists()

    monkeypatch.setattr(
        execution, "run", lambda *args: (trained.append(args), run(*args))[1]
    )
    resumed = again(folder, tiles_at_once=1)
    assert len(trained) == 8  # two tiles before, six after: none was trained twice
    for name in ("results.jsonl", "history.npz", "selected.json"):
        expected = (finished.folder / name).read_bytes()
        assert (resumed.folder / name).read_bytes() == expected, name
    assert not (folder / "pieces").exists()


def test_a_folder_of_another_configuration_is_refused(finished):
    with pytest.raises(ValueError, match=r"flags.epochs is \[4\] there and \[5\] here"):
        again(finished.folder, epochs=(5,))
    with pytest.raises(ValueError, match="is complete"):
        again(finished.folder)
    directory.verify(finished.folder)


def test_all_lanes_diverged_is_an_error_that_keeps_the_rows(tmp_path):
    folder = tmp_path / "diverged"
    with pytest.raises(ValueError, match="all 8 lanes diverged"):
        again(folder, learning_rate=(1e30,))
    assert len(directory.read(folder / "results.jsonl")) == 8
    assert (folder / "report.html").exists()
    directory.verify(folder)


def test_a_piece_of_other_lanes_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "swapped"
    monkeypatch.setattr(sweep.outcome, "close", lambda _: None)
    again(folder)
    pieces = folder / "pieces"
    first = (pieces / "r00-000000.npz").read_bytes()
    (pieces / "r00-000002.npz").write_bytes(first)
    with pytest.raises(ValueError, match="piece r00-000002 holds lanes"):
        again(folder)


def read_scalars(folder):
    return events_test.scalars(folder / tensorboard.NAME)


def test_tensorboard_gets_one_file_that_is_whole_when_the_folder_is_sealed(tmp_path):
    outcome = again(tmp_path / "watched", tensorboard=True)
    directory.verify(outcome.folder)
    assert len(list(outcome.folder.glob("*tfevents*"))) == 1
    found = read_scalars(outcome.folder)
    history = directory.read(outcome.folder / "history.npz")
    chosen = outcome.selected["trial"]
    for name in ("train_loss", "val_loss", "val_accuracy"):
        curve = list(found[f"chosen/{name}"].values())
        np.testing.assert_allclose(curve, history[name][chosen], rtol=1e-6)
    assert found["sweep/share_diverged"][24] == pytest.approx(8 / 24)


def test_tensorboard_leaves_a_whole_folder_where_all_lanes_diverge(tmp_path):
    folder = tmp_path / "watched"
    with pytest.raises(ValueError, match="all 8 lanes diverged"):
        again(folder, tensorboard=True, learning_rate=(1e30,))
    directory.verify(folder)


def test_folds_choose_a_setting_that_is_trained_again_on_all_their_rows(tmp_path):
    outcome = again(tmp_path / "folds", folds=3, seeds=(0,), learning_rate=(0.01, 0.1))
    assert [row["fold"] for row in outcome.rows] == [0, 1, 2] * 8
    selected = outcome.selected
    assert selected["refit"]
    assert selected["trial"] is None
    assert selected["repeats"]["val_loss"]["count"] == 3
    row = selected["row"]
    assert row["fold"] is row["val_loss"] is row["val_accuracy"] is None
    best = ranking.rank_settings(outcome.rows, by="val_loss")[0]
    assert ranking.settings(row) == ranking.settings(best[0])
    # A loaded model is the refit one: of no fold, on training and validation rows.
    dataset = datasets.load("iris", split_seed=0)
    loaded = model.load(outcome.folder / "selected.safetensors")
    x = np.concatenate([dataset.train.x, dataset.validation.x])
    np.testing.assert_allclose(loaded.scaling.shift, x.mean(axis=0), rtol=1e-12)
    labels = np.concatenate([dataset.train.labels, dataset.validation.labels])
    right = np.mean(model.predict(loaded, x) == labels)
    np.testing.assert_allclose(right, row["train_accuracy"], rtol=1e-6)
    assert "trained again on all rows" in console.summary(*outcome)


def test_every_preprocessing_trains_on_features_of_its_own(tmp_path):
    both = again(
        tmp_path / "both",
        preprocessing=("standardize", "mean_range"),
        optimizer=("momentum",),
        learning_rate=(0.1,),
        seeds=(0,),
    )
    alone = again(
        tmp_path / "alone",
        preprocessing=("mean_range",),
        optimizer=("momentum",),
        learning_rate=(0.1,),
        seeds=(0,),
    )
    rows = [row for row in both.rows if row["preprocessing"] == "mean_range"]
    assert [{**row, "trial": n} for n, row in enumerate(rows)] == alone.rows
    losses = {row["preprocessing"]: row["train_loss"] for row in both.rows}
    assert len(set(losses.values())) == 2


def test_a_sweep_file_says_what_flags_cannot(tmp_path):
    text = (
        '{"grids": [{"optimizer": "sgd", "learning_rate": [0.1]}, '
        '{"optimizer": "adam", "batch_size": [8, 16], "l2": [0.5]}]}'
    )
    outcome = again(tmp_path / "file", sweep_file=text, learning_rate=(0.01,))
    found = [
        (row["optimizer"], row["batch_size"], row["learning_rate"], row["l2"])
        for row in outcome.rows[::2]
    ]
    assert found == [
        *(("sgd", 90, 0.1, l2) for l2 in (0.0, 0.01)),
        *(("adam", size, 0.01, 0.5) for size in (8, 16)),
    ]
    flagfile = (outcome.folder / "flags.txt").read_text(encoding="utf-8")
    assert text in flagfile or "--sweep_file={" in flagfile


def test_smoothed_lanes_leave_the_others_their_program(finished, tmp_path):
    outcome = again(
        tmp_path / "smooth",
        loss=("softmax_cross_entropy",),
        label_smoothing=(0.0, 0.2),
        learning_rate=(0.1,),
    )
    plain = again(
        tmp_path / "plain", loss=("softmax_cross_entropy",), learning_rate=(0.1,)
    )
    kept = [row for row in outcome.rows if row["label_smoothing"] == 0]
    assert [{**row, "trial": n} for n, row in enumerate(kept)] == plain.rows
    assert {row["label_smoothing"] for row in outcome.rows} == {0.0, 0.2}
    smooth = [row for row in outcome.rows if row["label_smoothing"] == 0.2]
    assert all(
        a["train_loss"] != b["train_loss"] for a, b in zip(smooth, kept, strict=True)
    )


def test_a_refit_that_fails_leaves_a_folder_that_is_whole(tmp_path, monkeypatch):
    def diverge(*_):
        raise ValueError("the chosen setting diverged")

    folder = tmp_path / "refit"
    monkeypatch.setattr(sweep.outcome.refit_lib, "refit", diverge)
    with pytest.raises(ValueError, match="the chosen setting diverged"):
        again(folder, folds=2, seeds=(0,), optimizer=("adam",), learning_rate=(0.1,))
    assert "results.jsonl" in directory.verify(folder)
    assert (folder / "report.html").exists()


def test_a_piece_that_cannot_be_read_at_the_end_costs_no_other(tmp_path, monkeypatch):
    def damaged(*_):
        raise ValueError("pieces/r00-000000.npz: a damaged one")

    folder = tmp_path / "damaged"
    with monkeypatch.context() as patch:
        patch.setattr(sweep.outcome.checkpoint, "load_lane", damaged)
        with pytest.raises(last_step.Unfinished, match="a damaged one"):
            again(folder)
    assert len(list((folder / "pieces").glob("*.npz"))) == 8
    assert not (folder / "manifest.json").exists()
    again(folder)
    directory.verify(folder)


def test_whoever_watches_is_told_while_nothing_finishes(tmp_path, monkeypatch):
    seen = []
    update = Progress.update

    def watch(self, rows, **how):
        seen.append(len(rows))
        update(self, rows, **how)

    monkeypatch.setattr(Progress, "update", watch)
    monkeypatch.setattr(scheduler, "TICK", 1e-3)
    again(tmp_path / "watched", epochs=(200,))
    assert 0 in seen
    assert sum(seen) == 24


def test_too_few_devices_are_refused_and_leave_nothing(tmp_path):
    folder = tmp_path / "refused"
    with pytest.raises(ValueError, match="--devices is 999; expected 1 to "):
        again(folder, devices="999")
    assert not folder.exists()


def test_one_lane_trained_alone_has_the_bits_of_its_row(finished, tmp_path):
    lane = finished.selected["trial"]
    row = finished.rows[lane]
    config = dataclasses.replace(
        SMALL,
        optimizer=(row["optimizer"],),
        learning_rate=(row["learning_rate"],),
        l2=(row["l2"],),
        seeds=(row["seed"],),
        out_dir=str(tmp_path / "alone"),
    )
    alone = train.run(config)
    assert alone.rows == [{**row, "trial": 0}]
    model = "selected.safetensors"
    expected = (finished.folder / model).read_bytes()
    assert (alone.folder / model).read_bytes() == expected
    assert "epoch" in train.curves(alone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_shards": 2}, "--num_shards is for experiments.sweep"),
        ({"optimizer": ("sgd", "adam")}, "--optimizer has 2 values; expected one"),
        (
            {"l2": search_space.Range("log", 0.1, 1.0, 3)},
            "--l2 has 3 values; expected one",
        ),
        ({"sample": 1}, "--sample is for experiments.sweep; expected it unset"),
        ({"folds": 2}, "--folds is for experiments.sweep"),
        ({"halving": 2}, "--halving is for experiments.sweep"),
        ({"sweep_file": '{"grids":[{}]}'}, "--sweep_file is for experiments.sweep"),
    ],
)
def test_train_refuses_what_makes_several_lanes(changes, message):
    with pytest.raises(ValueError, match=message):
        train.run(Config(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "imagenet"}, "imagenet.*digits, iris"),
        ({"optimizer": ("adams",)}, "--optimizer is 'adams'; expected one of sgd"),
        ({"optimizer": ()}, "--optimizer is empty"),
        ({"schedule": ("step",)}, "--schedule is 'step'"),
        ({"gradient": "numerical"}, "--gradient is 'numerical'"),
        ({"precision": "half"}, "--precision is 'half'"),
        ({"loss": ("mse",)}, "--loss is 'mse'"),
        ({"preprocessing": ("zca",)}, "zca"),
        ({"select_by": "test_accuracy"}, "--select_by is 'test_accuracy'"),
        ({"batch_size": (91,)}, "--batch_size is 91; expected 1 to 90"),
        ({"epochs": (0,)}, "--epochs is 0"),
        ({"tile_width": 0}, "--tile_width is 0"),
        ({"seeds": (-1,)}, "--seeds is -1"),
        ({"split_seed": -1}, "-1"),
        ({"l2": (-0.1,)}, "--l2 holds -0.1"),
        ({"l2": (0.1, 0.1000000001)}, "--l2 has 2 values, 1 of them distinct"),
        ({"learning_rate": (1e39,)}, "--learning_rate holds 1e.39, in float32 inf"),
        ({"b2": (0.99999999,)}, "--b2 holds 0.99999999, in float32 1; .* below 1"),
        ({"tile_width": 10**9}, "--tile_width is 1000000000; expected 1 to"),
    ],
)
def test_bad_flags_are_refused_and_leave_nothing(changes, message, tmp_path):
    folder = tmp_path / "refused"
    with pytest.raises(ValueError, match=message):
        again(folder, **changes)
    assert not folder.exists()


def run_script(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_flagfile_of_a_run_replays_it_from_the_shell(finished, tmp_path):
    flagfile = finished.folder / "flags.txt"
    done = run_script("sweep", f"--flagfile={flagfile}", f"--out_dir={tmp_path / 'r'}")
    assert done.returncode == 0, done.stderr
    expected = (finished.folder / "results.jsonl").read_bytes()
    assert (tmp_path / "r" / "results.jsonl").read_bytes() == expected
    assert f"Chosen: lane {finished.selected['trial']};" in done.stdout
    assert f"{finished.selected['test']['accuracy']:.4f}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer=adams"], "--optimizer is 'adams'"),
        (["--learning_rate=fast"], "--learning_rate=fast"),
        (["--lr=1"], "'lr'"),
        (["digits"], "unexpected arguments: digits"),
        (["--out_dir=/dev/null/run"], "/dev/null"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(arguments, message):
    done = run_script("train", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback():
    done = run_script("train", "--epochs=0", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_the_readmes_examples_run(tmp_path, capsys):
    config = Config(learning_rate=(0.5,), tile_width=1, out_dir=str(tmp_path / "run"))
    folder = train.run(config).folder
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for code in examples:
        exec(compile(code, "README.md", "exec"), {"run_folder": folder})
    printed = capsys.readouterr().out
    assert "Params(W=" in printed
    assert "[0 1 2 3 4 " in printed  # the sixth, a broken 5, is hard


def test_a_table_is_aligned():
    rows = [{"trial": 0, "momentum": None}, {"trial": 12, "momentum": 0.9}]
    assert console.table(rows, ["trial", "momentum"]) == (
        "  lane  momentum\n     0         -\n    12       0.9"
    )
