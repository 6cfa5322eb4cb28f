"""The path script as its users meet it: its folder, the choice, replays, refusals."""

import contextlib
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import path
from linclf_jax import metrics
from linclf_jax.cli import options as shared_flags
from linclf_jax.data import datasets
from linclf_jax.exact import status
from linclf_jax.exact.leave_one_out import Estimate
from linclf_jax.reports import validation_text
from linclf_jax.runs import directory, model
from linclf_jax.selection import bias, ranking
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.studies import last_step, path_outcome, path_problem
from linclf_jax.studies.path_problem import Config

ROOT = Path(__file__).parents[2]
SMALL = Config(dataset="iris", l2=(1e-3, 1.0, 1e-4, 3e-3), folds=3)
FILES = {
    *("config.json", "flags.txt", "results.jsonl", "history.npz", "selected.json"),
    *("selected.safetensors", "report.html", "manifest.json"),
}
SAME = ("results.jsonl", "history.npz", "selected.json", "selected.safetensors")
COLUMNS = [
    *("lane", "l2", "C", "fold", "preprocessing", "status"),
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *(
        "val_loss_calibrated",
        "steps",
        "objective",
        "gap",
        "relative_gap",
        "gradient_norm",
        "products",
    ),
]


def run(folder, **changes):
    return path.run(dataclasses.replace(SMALL, out_dir=str(folder), **changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(autouse=True)
def _draw_no_more(finished, monkeypatch):
    """One page is enough to see that it is drawn and sealed."""
    monkeypatch.setattr(path_outcome.path_report, "write", lambda _: None)


def from_flagfile(flagfile) -> Config:
    values = absl_flags.FlagValues()
    shared_flags.define(Config(), values)
    values(["path", *flagfile.read_text(encoding="utf-8").splitlines()])
    return Config(**shared_flags.values(Config, values))


def test_the_folder_is_complete_and_sealed(finished):
    names = {item.name for item in finished.folder.iterdir()}
    assert names >= FILES
    assert set(directory.verify(finished.folder)) == names - {"manifest.json"}
    config = directory.read_json(finished.folder / "config.json")
    assert config["experiment"] == "path"
    assert config["flags"]["tol"] == 1e-6


def test_every_fit_has_a_row_with_its_gap(finished):
    rows = directory.read_rows(finished.folder / "results.jsonl")
    assert rows == finished.rows
    assert [list(row) for row in rows] == [COLUMNS] * 16
    assert [row["lane"] for row in rows] == list(range(16))
    assert [row["fold"] for row in rows] == [0, 1, 2, None] * 4
    assert [row["l2"] for row in rows[::4]] == [1.0, 3e-3, 1e-3, 1e-4]
    for row in rows:
        assert row["status"] == status.CONVERGED
        assert 0 <= row["relative_gap"] <= 1e-6
        assert (row["val_loss"] is None) == (row["fold"] is None)
        # Of 120 rows a fold holds out 40.
        count = 120 if row["fold"] is None else 80
        assert row["C"] == pytest.approx(1 / (row["l2"] * count), rel=1e-15)


def test_the_history_says_what_the_rows_say(finished):
    history = directory.read_arrays(finished.folder / "history.npz")
    assert history["l2s"].tolist() == [1.0, 3e-3, 1e-3, 1e-4]
    assert history["coefficients"].shape == (4, 4, 3)
    assert history["coefficients"].dtype == np.float32
    for array, column in (
        ("val_loss", "val_loss"),
        ("val_accuracy", "val_accuracy"),
        ("val_loss_calibrated", "val_loss_calibrated"),
        ("newton_steps", "steps"),
        ("products", "products"),
        ("relative_gap", "relative_gap"),
    ):
        values = [row[column] for row in finished.rows if row[column] is not None]
        assert history[array].ravel().tolist() == values
    for name in ("val_loss", "val_accuracy", "val_loss_calibrated"):
        mean, error = history[f"{name}_mean"], history[f"{name}_se"]
        np.testing.assert_allclose(mean, history[name].mean(axis=1), rtol=1e-15)
        spread = history[name].std(axis=1, ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(error, spread, rtol=1e-12)


def test_the_flags_of_a_run_give_its_bytes_again(finished, tmp_path):
    config = from_flagfile(finished.folder / "flags.txt")
    assert config == dataclasses.replace(SMALL)
    again = path.run(dataclasses.replace(config, out_dir=str(tmp_path / "again")))
    for name in SAME:
        expected = (finished.folder / name).read_bytes()
        assert (again.folder / name).read_bytes() == expected, name


def test_the_order_of_the_penalties_changes_nothing(finished, tmp_path):
    again = run(tmp_path / "again", l2=(1.0, 3e-3, 1e-3, 1e-4))
    assert again.rows == finished.rows


def test_the_folds_of_a_penalty_are_its_repeats_and_nothing_else_is(finished):
    settings = [frozenset(ranking.settings(row).items()) for row in finished.rows]
    assert len(set(settings)) == 4
    for row, setting in zip(finished.rows, settings, strict=True):
        assert setting == {("l2", row["l2"]), ("preprocessing", "standardize")}


@pytest.mark.parametrize("by", ["val_accuracy", "val_loss_calibrated"])
def test_the_criterion_is_a_flag(by, finished, tmp_path):
    outcome = run(tmp_path / by, select_by=by)
    assert outcome.rows == finished.rows
    history = directory.read_arrays(outcome.folder / "history.npz")
    mean, l2s = history[f"{by}_mean"], history["l2s"]
    best = mean.max() if by == "val_accuracy" else mean.min()
    (tied,) = np.nonzero(mean == best)
    first = min(tied, key=lambda place: (history["val_loss_mean"][place], place))
    selected = outcome.selected
    assert (selected["selected_by"], selected["l2"]) == (by, l2s[first])
    assert sorted(selected["ties"]) == sorted({*l2s[tied]} - {l2s[first]})
    assert selected["minimum"]["temperature"] == history["temperature"][first]
    assert f"{len(tied)} tie for it" in selected["reason"] or len(tied) == 1


def test_both_choices_are_told_and_one_is_tested(finished, tmp_path):
    other = run(tmp_path / "other", choice="one_standard_error")
    for outcome, name in ((finished, "minimum"), (other, "one_standard_error")):
        selected = outcome.selected
        assert selected == directory.read_json(outcome.folder / "selected.json")
        assert selected["l2"] == selected[name]["l2"]
        assert selected["row"] == outcome.rows[selected["lane"]]
        assert selected["row"]["fold"] is None
        assert selected["row"]["l2"] == selected["l2"]
        assert selected["row"]["C"] == selected["C"]
        text = path_outcome.summary(outcome)
        assert f"accuracy {selected['test']['accuracy']:.4f}" in text
        assert "Chosen: l2 " in text
        assert "16 fits in " in text
    for name in ("minimum", "one_standard_error"):
        assert finished.selected[name] == other.selected[name]
    assert finished.selected["l2"] < other.selected["l2"]


def test_what_selected_says_of_luck_follows_from_rows_held_out(finished):
    problem = path_problem.prepare(SMALL)
    again = path.solve(problem)
    place = finished.selected["lane"] // 4
    luck, judged = finished.selected["optimism"], finished.selected["validation"]
    estimate = bias.estimate(again.rows.loss, again.rows.right)
    assert luck["accuracy"] == 0.0 - estimate.correction
    assert luck["loss"] == bias.estimate(again.rows.loss).correction >= 0
    assert (luck["settings"], luck["rows"]) == (4, 120)
    assert judged["accuracy"] == again.accuracy.mean[place]
    assert judged["accuracy"] == pytest.approx(again.rows.right[place].mean())
    low, high = metrics.wilson_interval(judged["accuracy"], 120)
    assert judged["accuracy_interval"] == [low, high]
    test = finished.selected["test"]
    assert test["temperature"] == again.rows.temperature[place]
    assert test["nll_scaled"] != test["nll"] == pytest.approx(test["loss"])
    text = path_outcome.summary(finished)
    assert validation_text.flattery(finished.selected) in text
    assert f"95 % interval {low:.4f} to {high:.4f}" in text


def test_the_stored_model_gives_the_stored_test_accuracy(finished):
    loaded = model.load(finished.folder / "selected.safetensors")
    dataset = datasets.load("iris", split_seed=0)
    test = dataset.test.read()
    right = np.mean(model.predict(loaded, test.x) == test.labels)
    assert right == finished.selected["test"]["accuracy"]
    x = np.concatenate([dataset.train.x, dataset.validation.x])
    np.testing.assert_allclose(loaded.scaling.shift, x.mean(axis=0), rtol=1e-12)
    history = directory.read_arrays(finished.folder / "history.npz")
    place = history["l2s"].tolist().index(finished.selected["l2"])
    np.testing.assert_array_equal(history["coefficients"][place], loaded.params.W)


def test_the_test_split_cannot_influence_the_choice(finished, tmp_path, monkeypatch):
    load = datasets.load

    def with_another_test_split(*args, **kwargs):
        dataset = load(*args, **kwargs)
        test = dataset.test.read()
        other = test._replace(x=-test.x, labels=(test.labels + 1) % 3)
        return dataset._replace(test=datasets.Held(dataset.test.size, lambda: other))

    monkeypatch.setattr(datasets, "load", with_another_test_split)
    other = run(tmp_path / "other")
    assert other.rows == finished.rows
    ignored = {"test": None, "test_data": None}
    assert {**other.selected, **ignored} == {**finished.selected, **ignored}
    assert other.selected["test"]["accuracy"] != finished.selected["test"]["accuracy"]


def test_the_test_split_is_read_once_and_after_the_choice(tmp_path, monkeypatch):
    seen, dataset = [], datasets.load("iris", split_seed=0)
    choose = path_lib.choose

    def watch():
        seen.append("test")
        return dataset.test.read()

    held = dataset._replace(test=datasets.Held(dataset.test.size, watch))
    monkeypatch.setattr(datasets, "load", lambda *_, **__: held)
    monkeypatch.setattr(
        path_lib, "choose", lambda *given: (seen.append("choice"), choose(*given))[1]
    )
    outcome = run(tmp_path / "watched")
    assert seen == ["choice", "test"]
    assert outcome.selected["test_data"] == {
        "sha256": datasets.split_fingerprint(dataset.test.read()),
        "rows": 30,
        "opened": "after the choice",
    }


def test_penalties_may_be_given_as_scikit_learns(finished, tmp_path):
    """The fit to all 120 rows has the C that was asked for, a fold's 80 have more."""
    C = tuple(1 / (120 * l2) for l2 in (1e-4, 3e-3))
    outcome = run(tmp_path / "C", l2=None, C=C)
    whole = [row for row in outcome.rows if row["fold"] is None]
    assert [row["C"] for row in whole] == pytest.approx(C[::-1], rel=1e-15)
    expected = [row for row in finished.rows if row["l2"] in (1e-4, 3e-3)]
    for row, other in zip(outcome.rows, expected, strict=True):
        assert row["C"] == pytest.approx(other["C"], rel=1e-14)
        assert row["objective"] == pytest.approx(other["objective"], rel=2e-6)
    config = from_flagfile(outcome.folder / "flags.txt")
    assert (config.l2, config.C) == (None, C)
    assert "of the grid; widen --C" in outcome.selected["warnings"][0]


@pytest.mark.parametrize(
    ("l2", "end"), [((1.0, 10.0), "smallest"), ((1e-6, 1e-5), "largest")]
)
def test_the_best_value_at_an_edge_is_a_warning(l2, end, tmp_path):
    outcome = run(tmp_path / "edge", l2=l2)
    first = outcome.selected["warnings"][0]
    assert "the best l2, " in first
    assert f"is the {end} of the grid; widen --l2" in first
    assert f"Warning: {first}" in path_outcome.summary(outcome)


def test_a_choice_inside_the_grid_has_no_warning(finished):
    assert finished.selected["warnings"] == []


def test_fits_that_did_not_end_well_are_told_and_not_chosen(tmp_path):
    folder = tmp_path / "short"
    with pytest.raises(ValueError, match="fits that are max_steps;"):
        run(folder, max_newton=0)
    assert len(directory.read_rows(folder / "results.jsonl")) == 16
    assert not (folder / "selected.json").exists()
    outcome = run(tmp_path / "mixed", l2=(1e-5, 0.0, 1e-3, 0.1))
    bad = [row for row in outcome.rows if row["l2"] == 0]
    assert {row["status"] for row in bad} >= {status.NO_FINITE_OPTIMUM}
    assert outcome.selected["l2"] > 0
    assert {row["C"] for row in bad} == {None}
    (warning,) = outcome.selected["warnings"]
    assert "fits ended as no_finite_optimum" in warning
    assert "were not eligible" in warning


def test_an_unfinished_folder_is_run_again_and_a_finished_one_refused(
    finished, tmp_path, monkeypatch
):
    def stopped(*_, **__):
        raise OSError("the power went out")

    folder = tmp_path / "unfinished"
    with monkeypatch.context() as patch:
        patch.setattr(path_outcome.directory, "seal", stopped)
        with pytest.raises(last_step.Unfinished, match=r"^the power went out; what"):
            run(folder)
    again = run(folder)
    directory.verify(folder)
    assert again.rows == finished.rows
    with pytest.raises(ValueError, match="is complete"):
        run(finished.folder)
    with pytest.raises(ValueError, match=r"flags.folds is 3 there and 4 here"):
        run(finished.folder, folds=4)
    directory.verify(finished.folder)


@contextlib.contextmanager
def estimated(monkeypatch, losses):
    """Makes up what leave-one-out says, one loss a penalty, the largest first."""
    left = iter(losses)

    def approximate(params, x, labels, l2, *, counted):
        assert counted.all()
        assert params.W.shape == (1, 4, 3)
        each = np.full((1, len(labels)), next(left))
        right = np.arange(len(labels))[None] % 4 > 0
        logits = np.zeros((1, len(labels), 3))
        return Estimate(
            each[:, 0], np.array([0.02]), np.array([0.75]), each, right, logits
        )

    with monkeypatch.context() as patch:
        patch.setattr(path_lib.loo_lib, "approximate", approximate)
        yield


def test_leave_one_out_needs_no_folds(tmp_path, monkeypatch):
    with estimated(monkeypatch, [0.9, 0.52, 0.51, 0.6]):
        outcome = run(tmp_path / "loo", loo=True)
    assert [row["fold"] for row in outcome.rows] == [None] * 4
    assert {row["val_loss"] for row in outcome.rows} == {None}
    selected = outcome.selected
    assert selected["selected_by"] == "loo_loss"
    assert selected["l2"] == selected["minimum"]["l2"] == 1e-3
    assert selected["one_standard_error"]["l2"] == 3e-3
    assert "estimated leave-one-out loss, 0.5100" in selected["reason"]
    history = directory.read_arrays(outcome.folder / "history.npz")
    assert history["loo_loss"].tolist() == [0.9, 0.52, 0.51, 0.6]
    assert history["loo_se"].tolist() == [0.02] * 4
    assert history["newton_steps"].shape == (4, 1)
    assert not any(name.startswith("val_") for name in history)
    assert "4 fits in " in path_outcome.summary(outcome)


def test_the_path_of_leave_one_out_is_that_of_all_rows(finished, tmp_path, monkeypatch):
    with estimated(monkeypatch, [0.9, 0.52, 0.51, 0.6]):
        outcome = run(tmp_path / "loo", loo=True)
    for row, whole in zip(outcome.rows, finished.rows[3::4], strict=True):
        assert row["l2"] == whole["l2"]
        assert row["objective"] == pytest.approx(whole["objective"], rel=2e-6)
        assert row["train_accuracy"] == pytest.approx(whole["train_accuracy"], abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "imagenet"}, "imagenet.*digits, iris"),
        ({"preprocessing": "zca"}, "zca"),
        ({"split_seed": -1}, "--split_seed is -1"),
        ({"l2": ()}, "--l2 has 0 values, 0 of them distinct; expected at least one"),
        ({"l2": (0.1, 0.1)}, "--l2 has 2 values, 1 of them distinct"),
        ({"l2": (-0.1,)}, "--l2 holds -0.1.*; expected at least 0"),
        ({"l2": (-1e-50,)}, "--l2 holds -1e-50, in float32 -0; expected at least 0"),
        ({"C": (1.0,)}, "of --l2 and --C both are given; expected one of the two"),
        ({"l2": None, "C": (0.0,)}, "--C holds 0; expected above 0"),
        ({"folds": 1}, "--folds is 1; expected at least 2"),
        ({"folds": 121}, "--folds is 121; 120 rows are of classes"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"max_newton": -1}, "max_newton is -1"),
        ({"choice": "max"}, "--choice is 'max'; expected one of min, one_standard_err"),
    ],
)
def test_bad_flags_are_refused_and_leave_nothing(
    changes, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(path, "solve", None)
    folder = tmp_path / "refused"
    with pytest.raises(ValueError, match=message):
        run(folder, **changes)
    assert not folder.exists()


def test_bad_flags_are_one_line_and_status_2():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.path", "--choice=max"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: --choice is 'max'")
    assert done.stderr.count("\n") == 1
