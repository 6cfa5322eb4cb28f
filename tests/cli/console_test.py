"""What is printed at the end of a study, read back from what its directory says."""

import shlex
import shutil
from pathlib import Path

import pytest

from linclf_jax.cli import console
from linclf_jax.config import flat
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.reports.tables import Table
from linclf_jax.runs import directory
from linclf_jax.studies import pipeline, replay, sweep
from linclf_jax.studies.replay import Replay
from tests import small_studies, sweeps

SWEEP = {
    "dataset": "iris",
    "optimizer": ("momentum", "adam"),
    "learning_rate": (0.01, 0.1),
    "l2": (0.0, 0.01),
    "epochs": (4,),
    "trials_per_batch": 4,
}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


def run_sweep(out_dir, **changes):
    config = flat.build(SweepConfig(), {**SWEEP, **changes})
    return pipeline.run(sweep.prepare(config), out_dir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    folder = tmp_path_factory.mktemp("runs")
    of_path = small_studies.prepare("path", dataset="iris", C=(1.0, 0.1), l2=None)
    return {
        "sweep": run_sweep(folder / "a b" / "it's/$HOME"),
        "seeds": run_sweep(folder / "seeds", seeds=(0, 1)),
        "groups": run_sweep(
            folder / "groups",
            loss=("softmax_cross_entropy", "weston_watkins_hinge"),
            metric="val_accuracy",
            select_per=("loss",),
        ),
        "path": pipeline.run(of_path, folder / "path"),
    }


def lines(finished, name):
    return console.summary(finished[name]).splitlines()


def line(finished, name, start):
    (found,) = [one for one in lines(finished, name) if one.strip().startswith(start)]
    return found


@pytest.mark.parametrize("name", ["sweep", "seeds", "groups", "path"])
def test_an_answer_names_the_directory_the_page_and_a_command(name, finished):
    *_, where, page, again = lines(finished, name)
    out_dir = finished[name].directory
    assert where == f"Run directory  {out_dir}"
    assert page == f"Report         {out_dir / 'report.html'}"
    script = "path" if name == "path" else "sweep"
    assert shlex.split(again)[1:] == [
        *("python", "-m", f"experiments.{script}"),
        *(f"--flagfile={out_dir}/flags.txt", f"--out_dir={out_dir}-replay"),
    ]


def test_the_best_trials_are_ranked_and_repeats_by_their_means(finished):
    title, header, best, *_ = lines(finished, "sweep")
    assert title == "The 8 best trials by val_loss"
    assert header.split()[:2] == ["trial", "optimizer"]
    entry = finished["sweep"].selected["entries"][0]
    assert best.split()[0] == str(entry["trial"])
    chosen = f"Chosen: trial {entry['trial']}; {entry['reason']}"
    assert chosen in lines(finished, "sweep")
    title, _, best, *_ = lines(finished, "seeds")
    assert title == "The 8 best settings by val_loss"
    repeats = finished["seeds"].selected["entries"][0]["repeats"]["val_loss"]
    assert f"{repeats['mean']:.4f} ± " in best
    validation = line(finished, "seeds", "validation")
    assert f"loss {repeats['mean']:.4f} (standard deviation " in validation
    assert "means over 2 repeats; accuracy's 95 % interval" in validation


def test_what_was_tested_is_said_with_how_sure_it_is(finished):
    test = finished["sweep"].selected["entries"][0]["test"]
    low, high = test["accuracy_interval"]
    assert line(finished, "sweep", "test") == (
        f"  test        accuracy {test['accuracy']:.4f} (95 % interval {low:.3f} to "
        f"{high:.3f}), loss {test['loss']:.4f}; 30 rows, read once, after the selection"
    )


def test_groups_have_a_line_each_and_their_own_warnings(finished):
    title, header, *rest = lines(finished, "groups")
    assert title == (
        "The settings selected by loss, each tested once after all of them"
    )
    assert header.split()[0] == "loss"
    names = ["softmax_cross_entropy", "weston_watkins_hinge"]
    assert [row.split()[0] for row in rest[:2]] == names
    remarks = [row for row in rest if row.startswith("  ") and "is the largest" in row]
    assert {row.split(":")[0].strip() for row in remarks} == set(names)
    selected = finished["groups"].selected
    chosen = selected["entries"][selected["chosen"]]["group"]["loss"]
    assert line(finished, "groups", "Chosen").startswith(f"Chosen: {chosen}, trial ")
    assert not [row for row in rest if row.startswith("Warning: the best")]


def test_a_path_says_what_each_rule_takes_and_that_it_is_certified(finished):
    title, header, *rest = lines(finished, "path")
    assert title == "What each rule selects, with loss and accuracy on rows held out"
    assert header.split()[:3] == ["rule", "l2", "C"]
    assert rest[0].lstrip().startswith("the lowest loss")
    assert rest[1].lstrip().startswith("one standard error")
    assert "means over 2 folds" in line(finished, "path", "validation")
    assert line(finished, "path", "certified").startswith("  certified   6 fits in ")
    assert "(asked for 1e-06)" in line(finished, "path", "certified")


def test_what_is_certified_of_a_path_and_what_was_left_out_is_said():
    known = {"fits": 9, "certified": 6, "worst_relative_gap": 2e-7, "tol": 1e-6}
    selected = {"certificates": known | {"penalties_left_out": 1}}
    assert console._certified(selected, 1.0) == (
        "9 fits in 1.0 s, 6 of them certified, the worst relative gap 2e-7 (asked for "
        "1e-06); 1 value of a weaker penalty left out: held-out scores had passed the "
        "best"
    )


def test_warnings_follow_the_answer(finished):
    warnings = [row for row in lines(finished, "sweep") if row.startswith("Warning: ")]
    assert any(
        "is the largest of the grid; widen --learning_rate" in w for w in warnings
    )
    assert "widen --C" in "".join(lines(finished, "path"))


def test_ties_are_one_line(finished, tmp_path):
    result = finished["sweep"]
    copy = shutil.copytree(result.directory, tmp_path / "copy")
    for ties, words in (
        ([3], "trial 3"),
        ([*range(8)], "8 trials, first 0, 1, 2, 3, 4"),
    ):
        result.selected["entries"][0]["ties"] = ties
        directory.write(copy / "selected.json", result.selected)
        shown = result._replace(directory=copy)
        tied = [r for r in console.summary(shown).splitlines() if "tied" in r]
        assert tied == [f"  tied        for the best val_loss: {words}"]


def test_one_trial_has_no_ranking(tmp_path):
    one = {"optimizer": ("adam",), "learning_rate": (0.1,), "l2": (0.0,)}
    result = run_sweep(tmp_path / "one", **one)
    assert console.summary(result).startswith("Chosen: trial 0; ")
    header, *rows = console.curves(result.history).splitlines()
    assert header.split() == ["epoch", "train_loss", "val_loss", "val_accuracy"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]


def test_a_shard_selects_nothing_and_names_the_command_that_does(finished):
    shard = finished["sweep"]._replace(directory=Path("runs/part-0"), selected=None)
    text = console.summary(shard)
    assert text.startswith("8 trials of this shard are trained")
    assert "experiments.merge runs/part-0 ..." in text
    assert "Chosen" not in text


def test_a_replay_says_how_far_it_is_from_its_row(finished):
    again = replay.run(finished["sweep"].directory, 3)
    *rows, verdict = console.replayed(again).splitlines()
    assert verdict == "trial 3 has the bits of its row"
    assert any(row.split()[0] == "val_loss" for row in rows)
    row = {**again.row, "val_loss": again.row["val_loss"] + 0.25, "steps": 0}
    other = Replay(3, again.row, row, ["environment.jax is 1 there and 2 here"])
    *_, made, verdict = console.replayed(other).splitlines()
    assert made == "Made elsewhere: environment.jax is 1 there and 2 here"
    assert verdict == (
        "trial 3 differs from its row in steps, val_loss; scores by 0.25 at most"
    )


def test_a_table_is_aligned():
    shown = Table(("trial", "momentum"), [("0", "none"), ("12", "0.9")])
    assert (
        console.table(shown)
        == "  trial  momentum\n      0      none\n     12       0.9"
    )
