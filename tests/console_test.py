"""What a script prints at its end: the answer, and a command that a shell takes."""

import shlex
from pathlib import Path

import pytest

from experiments import console


def row(lane):
    return {
        **{"lane": lane, "optimizer": "sgd", "l2": 0.1 * lane, "seed": 0, "fold": None},
        **{"status": "ok", "val_loss": 0.5, "val_accuracy": 0.75},
        **{"train_loss": 0.25, "train_accuracy": 0.875},
    }


def summary(folder="runs/one", ties=(), warnings=(), lanes=8):
    rows = [row(lane) for lane in range(lanes)]
    test = {"accuracy": 0.7, "accuracy_interval": (0.6, 0.8), "loss": 0.6, "size": 90}
    selected = {
        **{"lane": 0, "row": rows[0], "selected_by": "val_loss", "test": test},
        **{"reason": "the lowest val_loss", "ties": ties, "warnings": warnings},
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
    assert "  tied with   lane 3" in summary(ties=[3])
    (line,) = [line for line in summary(ties=[*range(1, 12)]) if "tied" in line]
    assert line == "  tied with   11 lanes, first 1, 2, 3, 4, 5"


def test_one_lane_has_no_ranking():
    assert "The 8 best lanes by val_loss" in summary()
    assert summary(lanes=1)[0] == "Chosen: lane 0, the lowest val_loss"


def test_warnings_are_told():
    assert "Warning: widen --l2" in summary(warnings=["widen --l2"])
