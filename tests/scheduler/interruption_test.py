"""Runs that are stopped, killed, damaged, short of disk: all come to the same bytes."""

import errno
import math
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from linclf_jax.data import datasets
from linclf_jax.runs import checkpoint, directory, lock
from linclf_jax.scheduler import signals
from linclf_jax.studies import last_step
from linclf_jax.training import execution
from tests import kill_sweep, sweeps

HALVING = {"halving": 3}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("clean") / "run")


@pytest.fixture(scope="module")
def halved(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("clean") / "run", **HALVING)


@pytest.fixture
def trained(monkeypatch):
    """Notes from which step to which each tile is trained."""
    run, noted = execution.run, []

    def noting(program, starts, data, last, look):
        noted.extend((start.step, last) for start in starts)
        return run(program, starts, data, last, look)

    monkeypatch.setattr(execution, "run", noting)
    return noted


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


def dying(function, number, *, after=False, name=""):
    """Returns the function, which at its call of that number ends the process.

    Calls with a path count where it ends in ``name``.
    """
    calls = []

    def call(*arguments, **options):
        if name and not str(arguments[0]).endswith(name):
            return function(*arguments, **options)
        calls.append(arguments)
        if len(calls) == number and not after:
            raise Died
        result = function(*arguments, **options)
        if len(calls) == number:
            raise Died
        return result

    return call


def stop_in(folder, **changes):
    """Runs a sweep that gets a SIGTERM when it has saved its third state."""
    save, calls = checkpoint.save_state, []

    def signalling(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_state", signalling)
        with pytest.raises(signals.Interrupted) as stopped:
            sweeps.run(folder, checkpoint_every=0.0, tiles_at_once=1, **changes)
    return stopped.value


def test_a_run_that_was_stopped_inside_a_tile_goes_on_from_the_saved_step(
    finished, tmp_path, trained
):
    stopped = stop_in(tmp_path / "run")
    assert (stopped.name, stopped.done, stopped.total) == ("SIGTERM", 0, 16)
    (state,) = sorted((tmp_path / "run" / "pieces").iterdir())[-1:]
    saved = int(state.name.removesuffix(".npz").split("-")[-1])
    assert 1 < saved < 12
    trained.clear()
    other = sweeps.run(tmp_path / "run", tiles_at_once=1)
    assert trained == [(saved, 12)] + 5 * [(0, 12)]
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


def test_a_run_that_was_stopped_remembers_the_best_epochs(tmp_path):
    whole = sweeps.run(tmp_path / "whole", **sweeps.BEST)
    assert len({row["epoch"] for row in whole.rows}) > 1
    stop_in(tmp_path / "run", **sweeps.BEST)
    other = sweeps.run(tmp_path / "run", **sweeps.BEST)
    assert sweeps.contents(other.folder) == sweeps.contents(whole.folder)


def test_halving_goes_on_in_the_middle_of_a_rung(halved, tmp_path, trained):
    for stop_at, left in ((1, 11), (4, 8), (7, 5), (9, 3), (11, 2)):
        folder = tmp_path / str(stop_at)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                checkpoint, "save_piece", dying(checkpoint.save_piece, stop_at)
            )
            with pytest.raises(Died):
                sweeps.run(folder, tiles_at_once=1, **HALVING)
        trained.clear()
        other = sweeps.run(folder, tiles_at_once=1, **HALVING)
        assert sweeps.contents(other.folder) == sweeps.contents(halved.folder)
        # What ends a rung without a piece starts from its last step, which is saved.
        assert len([1 for first, last in trained if first < last]) == left


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_command_with_75_within_ten_seconds(name, tmp_path):
    # What a shell runs in the background is told to ignore Ctrl-C: this one is not.
    heeding = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = [
        *(sys.executable, "-c", heeding),
        *("-m", "experiments.sweep", "--dataset=iris"),
        *("--epochs=100000", "--tile_width=1", "--checkpoint_every=0"),
        *(f"--out_dir={tmp_path / 'run'}", "--compilation_cache=none"),
    ]

    process = subprocess.Popen(
        command,
        cwd=sweeps.ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started = kill_sweep.wait_for(process, tmp_path / "run", "pieces/*.npz")
        assert started, process.stderr.read()
        began = time.monotonic()
        process.send_signal(getattr(signal, name))
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()  # or a failure would wait for it
        process.wait()
    assert process.returncode == signals.EXIT_STATUS == 75, told
    assert time.monotonic() - began < 10
    assert f"{name}: stopping as soon as the state is saved" in told
    assert told.splitlines()[-1] == (
        f"stopped by {name}: 0 of 1024 lanes are done and saved; the same command "
        f"with --out_dir={tmp_path / 'run'} goes on"
    )
    assert list((tmp_path / "run" / "pieces").glob("*.state-*.npz"))


def damage(path):
    """Flips a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_flipped_bit_in_a_piece_is_found_and_it_is_trained_again(
    finished, tmp_path, capsys, trained, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_piece", dying(checkpoint.save_piece, 4))
        with pytest.raises(Died):
            sweeps.run(tmp_path / "run", tiles_at_once=1)
    damaged = tmp_path / "run" / "pieces" / "r00-000001.npz"
    damage(damaged)
    trained.clear()
    other = sweeps.run(tmp_path / "run", tiles_at_once=1)
    told = capsys.readouterr().err
    assert f"{damaged}: " in told
    assert "set aside as r00-000001.npz.damaged, it is trained again" in told
    assert len(trained) == 4
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


def test_a_flipped_bit_in_a_state_is_found_and_the_one_before_is_used(
    finished, tmp_path, capsys, trained
):
    stop_in(tmp_path / "run")
    before, newest = sorted(
        (tmp_path / "run" / "pieces").iterdir(),
        key=lambda path: int(path.stem.split("-")[-1]),
    )
    damage(newest)
    trained.clear()
    other = sweeps.run(tmp_path / "run", tiles_at_once=1)
    step = int(before.stem.split("-")[-1])
    told = capsys.readouterr().err
    assert f"{newest}: " in told
    assert f"set aside as {newest.name}.damaged, going on from step {step}" in told
    assert trained[0] == (step, 12)
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


@pytest.mark.parametrize(
    ("pieces", "state", "start"),
    [
        (6, "r00-*.state-1.npz", "the start"),
        (8, "r01-*.state-2.npz", "the start"),
        (10, "r02-*.state-4.npz", "step 3"),
    ],
)
def test_a_flipped_bit_in_the_state_of_a_rung_is_found(
    pieces, state, start, halved, tmp_path, capsys, monkeypatch
):
    """The next rung starts from it; so the rung's tile is trained again."""
    monkeypatch.setattr(execution, "FIRST_STRIDE", 1)
    with monkeypatch.context() as patch:
        save = dying(checkpoint.save_piece, pieces + 1)
        patch.setattr(checkpoint, "save_piece", save)
        with pytest.raises(Died):
            sweeps.run(
                tmp_path / "run", tiles_at_once=1, checkpoint_every=0.0, **HALVING
            )
    folder = tmp_path / "run" / "pieces"
    assert len(list(folder.glob(state))) >= 2
    for path in folder.glob(state):
        damage(path)
    for path in folder.glob(f"r{int(state[1:3]) + 1:02d}-*"):  # begun from it already
        path.unlink()
    other = sweeps.run(tmp_path / "run", **HALVING)
    assert f".damaged, going on from {start}" in capsys.readouterr().err
    assert sweeps.contents(other.folder) == sweeps.contents(halved.folder)


@pytest.mark.parametrize("changes", [{}, HALVING], ids=["all", "halving"])
def test_a_full_disk_at_any_write_harms_nothing(
    changes, finished, halved, tmp_path, monkeypatch
):
    expected = sweeps.contents((halved if changes else finished).folder)
    fsync, calls = os.fsync, []

    def fill_at(moment):
        """Lets the disk be full from a flush on; all that is written is flushed."""
        calls.clear()

        def flush(handle):
            calls.append(handle)
            if len(calls) >= moment:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", flush)

    fill_at(math.inf)
    sweeps.run(tmp_path / "count", checkpoint_every=0.0, **changes)
    total = len(calls)
    assert total > 40
    draw = random.Random(0)
    # The first, the last few, at which the run is wound up, and some between.
    moments = {1, *range(total - 7, total + 1), *draw.sample(range(2, total - 7), 8)}
    for moment in sorted(moments):
        folder = tmp_path / str(moment)
        fill_at(moment)
        # Before there is a run to go on with, the disk's error is all there is to say.
        kinds = OSError, last_step.Unfinished
        with pytest.raises(kinds, match="No space left on device"):
            sweeps.run(folder, checkpoint_every=0.0, tiles_at_once=1, **changes)
        fill_at(math.inf)
        if not (folder / "manifest.json").exists():  # as the very last flush finds it
            sweeps.run(folder, **changes)
        assert sweeps.contents(folder) == expected
        directory.verify(folder)


FULL = """
import errno, os, runpy, sys
fsync, calls = os.fsync, []
def full(handle):
    calls.append(handle)
    if len(calls) > 8:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fsync(handle)
os.fsync = full
sys.argv[0] = "sweep"
runpy.run_module("experiments.sweep", run_name="__main__", alter_sys=True)
"""


def test_a_full_disk_is_one_line_and_status_2(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-c", FULL, "--dataset=iris", "--optimizer=sgd"),
            *("--epochs=2", f"--out_dir={tmp_path / 'run'}"),
            "--compilation_cache=none",
        ],
        cwd=sweeps.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr
    line = done.stderr.splitlines()[-1]
    assert re.search(r"^error: \S*/run\S*: No space left on device", line)
    assert f"--out_dir={tmp_path / 'run'} does the rest" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (directory, "write", True),
        (directory, "seal", False),
        (directory, "seal", True),
        (checkpoint, "clear", False),
    ],
    ids=["rows are written", "before the seal", "sealed", "before pieces go"],
)
def test_a_run_that_is_killed_while_it_is_wound_up_trains_nothing_again(
    module, name, after, finished, tmp_path, trained, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        file = "results.jsonl" if name == "write" else ""
        ending = dying(getattr(module, name), 1, after=after, name=file)
        patch.setattr(module, name, ending)
        with pytest.raises(Died):
            sweeps.run(folder)
    trained.clear()
    if (folder / "manifest.json").exists():
        with pytest.raises(ValueError, match="is complete"):
            sweeps.run(folder)
    else:
        sweeps.run(folder)
    assert trained == []
    assert sweeps.contents(folder) == sweeps.contents(finished.folder)
    assert not (folder / "pieces").exists()
    directory.verify(folder)


@pytest.mark.slow
def test_a_sweep_survives_kills_at_random_moments(tmp_path):
    """Five of them; ``python -m tests.kill_sweep`` does fifty."""
    assert kill_sweep.run(tmp_path, kills=5).total() == 5


def test_another_configuration_is_refused_with_all_differences(tmp_path):
    stop_in(tmp_path / "run")
    before = sweeps.untouched(tmp_path / "run")
    with pytest.raises(ValueError, match="another configuration") as refused:
        sweeps.run(tmp_path / "run", l2=(0.0, 0.02), tile_width=4, **HALVING)
    for difference in (
        "differs in 3: ",
        "flags.l2 is [0.0, 0.01] there and [0.0, 0.02] here",
        "flags.tile_width is 3 there and 4 here",
        "flags.halving is null there and 3 here",
    ):
        assert difference in str(refused.value)
    assert sweeps.untouched(tmp_path / "run") == before


def test_other_data_is_refused(tmp_path, monkeypatch):
    stop_in(tmp_path / "run")
    load = datasets.load

    def changed(*arguments, **options):
        dataset = load(*arguments, **options)
        x = np.array(dataset.train.x)
        x[0, 0] += 0.1
        return dataset._replace(train=dataset.train._replace(x=x))

    monkeypatch.setattr(datasets, "load", changed)
    with pytest.raises(ValueError, match=r"differs in 1: data\.fingerprint is "):
        sweeps.run(tmp_path / "run")


def test_a_second_process_in_the_folder_is_refused(tmp_path):
    with lock.locked(tmp_path / "run"):
        with pytest.raises(ValueError, match="is being written by another process"):
            sweeps.run(tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == []


def test_survivors_of_halving_have_the_rows_and_curves_of_a_run_without(
    finished, halved
):
    whole, history = (
        {row["trial"]: row for row in finished.rows},
        directory.read(finished.folder / "history.npz"),
    )
    curves = directory.read(halved.folder / "history.npz")
    by_status = {"ok": 0, "retired": 0}
    for row in halved.rows:
        lane, steps = row["trial"], row["steps"]
        by_status[row["status"]] += 1
        for name in ("val_loss", "val_accuracy", "train_loss"):
            np.testing.assert_array_equal(
                curves[name][lane][:steps], history[name][lane][:steps]
            )
            assert np.isnan(curves[name][lane][steps:]).all()
        if row["status"] == "ok":
            assert row == whole[lane]
        else:
            assert steps in (1, 2)
            assert np.float32(row["val_loss"]) == np.float32(
                history["val_loss"][lane][steps - 1]
            )
    # Rungs of 1, 2, 4 and 12 epochs: of 8 settings 3, 1 and 1 train on, with 2 seeds.
    assert by_status == {"ok": 2, "retired": 14}
    assert halved.selected["row"]["status"] == "ok"


def test_halving_takes_no_lane_on_that_diverged(tmp_path):
    """By accuracy one that has just diverged may be the best of its rung."""
    rates = (1e-6, 1e30)
    changes = {"learning_rate": rates, "l2": (0.0,), "select_by": "val_accuracy"}
    outcome = sweeps.run(tmp_path / "run", **changes, **HALVING)
    best = max(outcome.rows, key=lambda row: row["val_accuracy"])
    assert best["status"] == "diverged"
    assert [row["status"] for row in outcome.rows] == 2 * ["ok"] + 2 * ["diverged"]
    assert outcome.selected["row"]["learning_rate"] == 1e-6


def test_halving_ends_well_where_all_lanes_diverge(tmp_path):
    with pytest.raises(ValueError, match="all 4 lanes diverged"):
        sweeps.run(tmp_path / "run", learning_rate=(1e30,), **HALVING)
    rows = directory.read(tmp_path / "run" / "results.jsonl")
    assert [row["status"] for row in rows] == ["diverged"] * 4
    directory.verify(tmp_path / "run")
    with pytest.raises(ValueError, match="is complete"):
        sweeps.run(tmp_path / "run", learning_rate=(1e30,), **HALVING)
