"""What a script prints at its end: the answer, and a command that a shell takes."""

import shlex
from pathlib import Path

import pytest

from linclf_jax.cli import console


def row(lane):
    return {
        **{
            "trial": lane,
            "optimizer": "sgd",
            "l2": 0.1 * lane,
            "seed": 0,
            "fold": None,
        },
        **{"status": "ok", "val_loss": 0.5, "val_accuracy": 0.75},
        **{"train_loss": 0.25, "train_accuracy": 0.875},
    }


SCORES = ("val_loss", "val_accuracy")


def spread(mean, sd=None, count=1):
    return {"mean": mean, "sd": sd, "count": count}


def summary(folder="runs/one", ties=(), warnings=(), lanes=8, *, refit=False):
    rows = [row(lane) for lane in range(lanes)]
    test = {"accuracy": 0.7, "accuracy_interval": (0.6, 0.8), "loss": 0.6, "size": 90}
    selected = {
        **{"trial": 0, "row": rows[0], "selected_by": "val_loss", "test": test},
        **{"reason": "the lowest val_loss", "ties": ties, "warnings": warnings},
        **{"refit": refit, "repeats": {n: spread(rows[0][n]) for n in SCORES}},
    }
    return console.summary("sweep", Path(folder), rows, selected).splitlines()


@pytest.mark.parametrize("folder", ["runs/one", "a b/c", "it's/$HOME"])
def test_the_replay_command_is_words_of_a_shell(folder):
    (line,) = [line for line in summary(folder) if line.startswith("Replay")]
    assert shlex.split(line)[1:] == [
        *("python", "-m", "experiments.sweep"),
        *(f"--flagfile={folder}/flags.txt", f"--out_dir={folder}-replay"),
    ]


def test_ties_are_one_line():
    assert not [line for line in summary() if "tied" in line]
    assert "  tied        for the best val_loss: lane 3" in summary(ties=[3])
    (line,) = [line for line in summary(ties=[*range(1, 12)]) if "tied" in line]
    what = "  tied        for the best val_loss: "
    assert line == f"{what}11 lanes, first 1, 2, 3, 4, 5"


def test_one_lane_has_no_ranking():
    assert "The 8 best lanes by val_loss" in summary()
    assert summary(lanes=1)[0] == "Chosen: lane 0; the lowest val_loss"


def test_warnings_are_told():
    assert "Warning: widen --l2" in summary(warnings=["widen --l2"])


def test_repeats_are_ranked_by_their_means():
    rows = [{**row(lane), "l2": 0.1, "seed": lane, "val_loss": lane} for lane in (0, 1)]
    rows += [
        {**row(lane), "l2": 0.2, "seed": lane - 2, "val_loss": 0.25} for lane in (2, 3)
    ]
    test = {"accuracy": 0.7, "accuracy_interval": (0.6, 0.8), "loss": 0.6, "size": 90}
    repeats = {name: spread(0.25, 0.125, 2) for name in SCORES}
    lines = console.summary(
        "sweep",
        Path("runs/one"),
        rows,
        {
            **{"trial": None, "row": rows[2], "selected_by": "val_loss", "test": test},
            **{"reason": "the lowest mean", "ties": (), "warnings": ()},
            **{"refit": True, "repeats": repeats},
        },
    ).splitlines()
    assert lines[0] == "The 2 best settings by val_loss, means over 2 repeats"
    assert [line.split()[0] for line in lines[2:4]] == ["2", "0"]
    assert lines[3].split()[2] == "0.5"
    assert "Chosen: a setting, trained again on all rows but the test's" in lines[5]
    assert "loss 0.2500 (standard deviation 0.1250), means over 2 repeats" in lines[7]


def test_a_shard_chooses_nothing_and_names_the_command_that_does():
    lines = console.summary("sweep", Path("runs/part-0"), [row(0)], None)
    assert "experiments.merge runs/part-0" in lines
    assert "Chosen" not in lines
