"""Trials that are stopped, killed, damaged: all come to the same bits."""

import os
import signal

import numpy as np
import pytest

from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.scheduler import signals
from linclf_jax.training import execution
from tests import sweeps

HALVING = {"halving": 3}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(_quick):
    return sweeps.fit()


@pytest.fixture(scope="module")
def halved(_quick):
    return sweeps.fit(**HALVING)


@pytest.fixture
def trained(monkeypatch):
    """Notes from which step to which each batch is trained."""
    run, noted = execution.run, []

    def noting(program, starts, data, last, on_segment):
        noted.extend((start.step, last) for start in starts)
        return run(program, starts, data, last, on_segment)

    monkeypatch.setattr(execution, "run", noting)
    return noted


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


def die_at(number, name, **flags):
    """Trains in a store whose method ends the process at its call of that number."""
    calls, method = [], getattr(DiskStore, name)

    def dying(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            raise Died
        return method(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiskStore, name, dying)
        with pytest.raises(Died):
            sweeps.fit(concurrent_batches=1, **flags)


def stop_in(store, **flags):
    """Trains until a SIGTERM comes, when the third state has been saved."""
    save, calls = DiskStore.save_state, []

    def signalling(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiskStore, "save_state", signalling)
        with pytest.raises(signals.Stopped) as stopped:
            sweeps.fit(store, checkpoint_every=0.0, concurrent_batches=1, **flags)
    return stopped.value


def damage(path):
    """Flips a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def step_of(path):
    return int(path.stem.split("-")[-1])


def test_what_was_stopped_inside_a_batch_goes_on_from_the_saved_step(
    finished, tmp_path, trained
):
    store = DiskStore(tmp_path)
    stopped = stop_in(store)
    assert (stopped.name, stopped.done, stopped.total) == ("SIGTERM", 0, 16)
    saved = max(map(step_of, (tmp_path / "pieces").iterdir()))
    assert 1 < saved < 12
    trained.clear()
    other = sweeps.fit(store, concurrent_batches=1)
    assert trained == [(saved, 12)] + 5 * [(0, 12)]
    sweeps.same(other, finished)


def test_what_was_stopped_remembers_the_best_epochs(tmp_path):
    whole, store = sweeps.fit(**sweeps.BEST), DiskStore(tmp_path)
    assert len({row["epoch"] for row in whole.results.rows}) > 1
    stop_in(store, **sweeps.BEST)
    sweeps.same(sweeps.fit(store, **sweeps.BEST), whole)


@pytest.mark.parametrize(
    ("stop_at", "left"), [(1, 11), (4, 8), (7, 5), (9, 3), (11, 2)]
)
def test_halving_goes_on_in_the_middle_of_a_rung(
    stop_at, left, halved, tmp_path, trained
):
    store = DiskStore(tmp_path)
    die_at(stop_at, "save_batch", store=store, **HALVING)
    trained.clear()
    sweeps.same(sweeps.fit(store, concurrent_batches=1, **HALVING), halved)
    # What ends a rung without a batch starts from its last step, which is saved.
    assert len([1 for first, last in trained if first < last]) == left


def test_a_flipped_bit_in_a_batch_is_seen_and_it_is_trained_again(
    finished, tmp_path, caplog, trained
):
    store = DiskStore(tmp_path)
    die_at(4, "save_batch", store=store)
    damaged = tmp_path / "pieces" / "r00-000001.npz"
    damage(damaged)
    trained.clear()
    sweeps.same(sweeps.fit(store, concurrent_batches=1), finished)
    assert f"{damaged}: " in caplog.text
    assert "set aside as r00-000001.npz.damaged, it is trained again" in caplog.text
    assert len(trained) == 4


def test_a_flipped_bit_in_a_state_is_seen_and_the_one_before_is_used(
    finished, tmp_path, caplog, trained
):
    store = DiskStore(tmp_path)
    stop_in(store)
    before, newest = sorted((tmp_path / "pieces").iterdir(), key=step_of)
    damage(newest)
    trained.clear()
    sweeps.same(sweeps.fit(store, concurrent_batches=1), finished)
    aside = f"set aside as {newest.name}.damaged, going on from step {step_of(before)}"
    assert aside in caplog.text
    assert trained[0] == (step_of(before), 12)


@pytest.mark.parametrize(
    ("batches", "state", "start"),
    [
        (6, "r00-*.state-1.npz", "the start"),
        (8, "r01-*.state-2.npz", "the start"),
        (10, "r02-*.state-4.npz", "step 3"),
    ],
)
def test_a_flipped_bit_in_the_state_of_a_rung_is_seen(
    batches, state, start, halved, tmp_path, caplog, monkeypatch
):
    """The next rung starts from it; so the rung's batch is trained again."""
    monkeypatch.setattr(execution, "FIRST_STRIDE", 1)
    store, folder = DiskStore(tmp_path), tmp_path / "pieces"
    die_at(batches + 1, "save_batch", store=store, checkpoint_every=0.0, **HALVING)
    assert len(list(folder.glob(state))) >= 2
    for path in folder.glob(state):
        damage(path)
    for path in folder.glob(f"r{int(state[1:3]) + 1:02d}-*"):  # begun from it already
        path.unlink()
    sweeps.same(sweeps.fit(store, **HALVING), halved)
    assert f".damaged, going on from {start}" in caplog.text


def test_survivors_of_halving_have_the_rows_and_curves_of_a_run_without(
    finished, halved
):
    whole, history = finished.results.rows, finished.results.history
    curves, statuses = halved.results.history, []
    for row in halved.results.rows:
        trial, steps = row["trial"], row["steps"]
        statuses.append(row["status"])
        for name in ("val_loss", "val_accuracy", "train_loss"):
            own, expected = curves[name][trial], history[name][trial]
            np.testing.assert_array_equal(own[:steps], expected[:steps])
            assert np.isnan(own[steps:]).all()
        if row["status"] == "ok":
            assert row == whole[trial]
        else:
            assert steps in (1, 2)
            last = np.float32(history["val_loss"][trial][steps - 1])
            assert np.float32(row["val_loss"]) == last
    # Rungs of 1, 2, 4 and 12 epochs: of 8 settings 3, 1 and 1 train on, with 2 seeds.
    assert sorted(statuses) == ["ok"] * 2 + ["retired"] * 14


def test_halving_takes_no_trial_on_that_diverged():
    """By accuracy one that has just diverged may be the best of its rung."""
    flags = {"learning_rate": (1e-6, 1e30), "l2": (0.0,), "metric": "val_accuracy"}
    rows = sweeps.fit(**flags, **HALVING).results.rows
    best = max(rows, key=lambda row: row["val_accuracy"])
    assert best["status"] == "diverged"
    assert [row["status"] for row in rows] == 2 * ["ok"] + 2 * ["diverged"]


def test_halving_ends_well_where_all_trials_diverge():
    rows = sweeps.fit(learning_rate=(1e30,), **HALVING).results.rows
    assert [row["status"] for row in rows] == ["diverged"] * 4
