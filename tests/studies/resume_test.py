"""Runs that end early by a signal, a kill, a full disk: the same command goes on."""

import errno
import math
import os
import random
import signal
import time

import numpy as np
import pytest

from experiments import sweep as sweep_script
from linclf_jax.cli import main
from linclf_jax.runs import directory
from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.scheduler import signals, tensorboard
from linclf_jax.studies import run_files
from linclf_jax.training import execution
from tests import sweeps
from tests.scheduler import tensorboard_test
from tests.scheduler.interruption_test import HALVING, Died

FSYNC = os.fsync


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("clean") / "run")


def stopping(monkeypatch, name="SIGTERM"):
    """Lets a signal come when the third state has been saved."""
    save, calls = DiskStore.save_state, []

    def signalling(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.1)  # the main thread handles it, before the batch goes on

    monkeypatch.setattr(DiskStore, "save_state", signalling)


def command(path, *more):
    """Returns the exit status of the sweep's script."""
    flags = (
        "--dataset=iris",
        "--learning_rate=0.01,0.03,0.1,0.3",
        "--l2=0,0.01",
        "--optimizer=momentum",
        "--epochs=12",
        "--trials_per_batch=3",
        "--compilation_cache=none",
    )
    return main.run(sweep_script.SCRIPT, [*flags, *more, f"--out_dir={path}"])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_command_with_75_and_it_goes_on(
    name, finished, tmp_path, monkeypatch, capfd
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        stopping(patch, name)
        status = command(
            tmp_path / "run", "--checkpoint_every=0", "--concurrent_batches=1"
        )
    signal.signal(signal.SIGINT, before)
    assert status == signals.EXIT_STATUS == 75
    printed = capfd.readouterr().err
    assert f"{name}: stopping as soon as the state is saved" in printed
    assert printed.splitlines()[-1] == (
        f"stopped by {name}: 0 of 16 trials are done and saved; the same command with "
        f"--out_dir={tmp_path / 'run'} goes on"
    )
    assert command(tmp_path / "run") == 0
    expected = sweeps.contents(finished.directory)
    assert sweeps.contents(tmp_path / "run") == expected


def fill_disk(monkeypatch, moment):
    """Lets the disk be full from a flush on, as all that is written is; counts them."""
    calls = []

    def flush(handle):
        calls.append(handle)
        if len(calls) >= moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        FSYNC(handle)

    monkeypatch.setattr(os, "fsync", flush)
    return calls


@pytest.mark.parametrize("flags", [{}, HALVING], ids=["all", "halving"])
def test_a_full_disk_at_any_write_harms_nothing(flags, finished, tmp_path, monkeypatch):
    calls = fill_disk(monkeypatch, math.inf)
    expected = sweeps.contents(finished.directory)
    # One batch at a time, as below: the number of writes then hangs on no other batch.
    alone = {**flags, "checkpoint_every": 0.0, "concurrent_batches": 1}
    counted = sweeps.run(tmp_path / "count", **alone)
    if flags:
        expected = sweeps.contents(counted.directory)
    total = len(calls)
    assert total > 40
    draw = random.Random(0)
    # The first, the last few, at which the run is wound up, and some between.
    moments = {1, *range(total - 7, total + 1), *draw.sample(range(2, total - 7), 4)}
    for moment in sorted(moments):
        path = tmp_path / str(moment)
        fill_disk(monkeypatch, moment)
        # Before there is a run to go on with, the disk's error is all there is to say.
        kinds = OSError, run_files.Unfinished
        with pytest.raises(kinds, match="No space left on device"):
            sweeps.run(path, **alone)
        fill_disk(monkeypatch, math.inf)
        if not (path / "manifest.json").exists():  # as the very last flush finds it
            sweeps.run(path, **flags)
        assert sweeps.contents(path) == expected
        directory.verify(path)


def test_a_full_disk_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    fill_disk(monkeypatch, 9)
    assert command(tmp_path / "run") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {tmp_path / 'run'}/")
    assert "No space left on device" in line
    assert f"--out_dir={tmp_path / 'run'} does the rest" in line


def dying(function, *, after, name):
    """Returns a function that ends the process at its first call, or behind it.

    Calls with a path count where it ends in ``name``.
    """

    def call(*arguments, **options):
        counts = str(arguments[0]).endswith(name)
        if after or not counts:
            function(*arguments, **options)
        if counts:
            raise Died

    return call


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (directory, "write", True),
        (directory, "seal", False),
        (directory, "seal", True),
        (DiskStore, "clear", False),
    ],
    ids=["rows are written", "before the seal", "sealed", "before batches go"],
)
def test_a_run_that_is_killed_while_it_is_wound_up_trains_nothing_again(
    owner, name, after, finished, tmp_path, monkeypatch
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        file = "results.jsonl" if name == "write" else ""
        ending = dying(getattr(owner, name), after=after, name=file)
        patch.setattr(owner, name, ending)
        with pytest.raises(Died):
            sweeps.run(path)
    monkeypatch.setattr(execution, "run", pytest.fail)
    if (path / "manifest.json").exists():
        with pytest.raises(ValueError, match="is complete"):
            sweeps.run(path)
    else:
        sweeps.run(path)
    assert sweeps.contents(path) == sweeps.contents(finished.directory)
    assert not (path / "pieces").exists()
    directory.verify(path)


def test_a_batch_that_cannot_be_read_at_the_end_costs_no_other(tmp_path, monkeypatch):
    def damaged(*_):
        raise ValueError("pieces/r00-000000.npz: a damaged one")

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(DiskStore, "load_trial", damaged)
        with pytest.raises((ValueError, run_files.Unfinished), match="a damaged one"):
            sweeps.run(path)
    assert len(list((path / "pieces").glob("*.npz"))) == 6
    assert not (path / "manifest.json").exists()
    sweeps.run(path)
    directory.verify(path)


def test_a_second_process_in_the_directory_is_refused(tmp_path):
    with directory.locked(tmp_path / "run"):
        with pytest.raises(ValueError, match="is being written by another process"):
            sweeps.run(tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("flags", [HALVING, {"tensorboard": True}])
def test_where_all_trials_diverge_the_rows_are_kept(flags, tmp_path):
    path, rates = tmp_path / "run", (1e30,)
    with pytest.raises(ValueError, match="all 4 trials diverged"):
        sweeps.run(path, learning_rate=rates, **flags)
    rows = directory.read(path / "results.jsonl")
    assert [row["status"] for row in rows] == ["diverged"] * 4
    assert "results.jsonl" in directory.verify(path)
    with pytest.raises(ValueError, match="is complete"):
        sweeps.run(path, learning_rate=rates, **flags)


def test_tensorboard_gets_one_file_that_is_whole_when_the_run_is_sealed(tmp_path):
    path = tmp_path / "run"
    result = sweeps.run(path, tensorboard=True, learning_rate=(0.1, 1e30))
    assert tensorboard.NAME in directory.verify(path)
    assert len(list(path.glob("*tfevents*"))) == 1
    scalars = tensorboard_test.scalars(path / tensorboard.NAME)
    chosen = result.selected["entries"][0]["trial"]
    for name in ("train_loss", "val_loss", "val_accuracy"):
        curve = list(scalars[f"chosen/{name}"].values())
        np.testing.assert_allclose(curve, result.history[name][chosen], rtol=1e-6)
    assert scalars["sweep/share_diverged"][8] == pytest.approx(4 / 8)
