"""The script that draws a page again: which page it is, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import report as script
from linclf_jax.reports import sweep_page
from linclf_jax.runs import checkpoint, directory, store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    data = {
        **{"name": "pets", "class_names": ["cat", "dog"], "num_classes": 2},
        **{"image_shape": None, "validation": 20},
    }
    config = {"experiment": "sweep", "flags": {}, "data": data, "environment": {}}
    run = directory.open_run(tmp_path / "run", config)
    directory.write_text(run / "flags.txt", "--dataset=pets\n")
    row = {
        **{"trial": 0, "optimizer": "sgd", "learning_rate": 0.1, "l2": 0.0, "seed": 0},
        **{"fold": None, "status": "ok", "reason": None, "steps": 3, "val_loss": 0.5},
        **{"val_accuracy": 0.9, "train_loss": 0.4, "train_accuracy": 0.95},
    }
    curves = {name: np.full((1, 3), 0.5) for name in ("train_loss", "val_loss")}
    arrays = {"trial": np.array([0]), **curves, "val_accuracy": np.full((1, 3), 0.9)}
    checkpoint.DiskStore(run).save_piece("000000", store.Piece([row], arrays))
    return run


def finish(run):
    rows = store.merged_rows(checkpoint.DiskStore(run).pieces(()))
    directory.write(run / "results.jsonl", rows)
    checkpoint.DiskStore(run).clear()
    sweep_page.write(run)
    directory.seal(run)


def test_an_unfinished_run_has_a_page_of_its_progress(folder):
    assert script.run(folder) == folder / "progress.html"
    assert "the run is unfinished" in (folder / "progress.html").read_text("utf-8")
    assert not (folder / "report.html").exists()


def test_a_finished_run_stays_sealed(folder):
    script.run(folder)
    finish(folder)
    before = (folder / "manifest.json").read_bytes()
    assert script.run(str(folder)) == folder / "report.html"
    assert (folder / "manifest.json").read_bytes() == before
    assert not (folder / "progress.html").exists()


def run_script(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.report", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_prints_the_path(folder):
    done = run_script(str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder / 'progress.html'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "RUN_FOLDER"),
        (["one", "two"], "one two"),
        (["nowhere"], "nowhere is not a complete run folder: config.json, flags.txt"),
        (["--lr=1", "nowhere"], "'lr'"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(arguments, message):
    done = run_script(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_is_no_failure():
    command = [sys.executable, "-m", "experiments.report", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Draws the page of a run folder again" in done.stdout + done.stderr
