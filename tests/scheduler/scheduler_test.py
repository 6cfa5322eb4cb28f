"""Bits that depend on nothing but the trial: memory, batches at a time, order."""

import random
import threading
import time
import weakref

import jax
import pytest

from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.scheduler import memory, programs, scheduler, worker
from linclf_jax.training import execution
from linclf_jax.training import program as training
from tests import sweeps

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(_quick):
    return sweeps.fit(concurrent_batches=1)


@pytest.mark.parametrize("at_once", [2, 6])
def test_batches_at_a_time_change_no_bit(at_once, finished):
    sweeps.same(sweeps.fit(concurrent_batches=at_once), finished)


def test_the_memory_budget_decides_how_many_and_changes_no_bit(finished, monkeypatch):
    """What is in use is held still, for a batch of iris is small beside its changes."""
    monkeypatch.setattr(memory, "resident", lambda _: 1000)
    plans, plan = [], memory.plan

    def noted(**sizes):
        plans.append((sizes["per_batch"], plan(**sizes).at_once))
        return plan(**sizes)

    monkeypatch.setattr(memory, "plan", noted)
    sweeps.fit(concurrent_batches=6)
    ((per_batch, at_once),) = plans
    assert at_once == 6
    for count in (1, 3):
        budget = str(1000 + count * per_batch + per_batch // 2)
        other = sweeps.fit(concurrent_batches=6, memory_budget=budget)
        assert plans[-1][1] == count
        sweeps.same(other, finished)
    with pytest.raises(ValueError, match=r"one batch of trials takes .* make --trials"):
        sweeps.fit(memory_budget=str(1000 + per_batch // 2))


def test_the_order_of_the_trials_changes_no_bit(finished):
    other = sweeps.fit(
        learning_rate=(0.3, 0.01, 0.1, 0.03), l2=(0.01, 0.0), seeds=(1, 0)
    )
    rows, expected = (sweeps.scores(f.results.rows) for f in (other, finished))
    assert rows == expected


def exhausting(seed, share):
    """Returns an ``execution.run`` that runs out of memory, at once or later."""
    run, draws, lock = execution.run, random.Random(seed), threading.Lock()

    def run_or_not(program, starts, data, last, on_segment):
        with lock:
            after = draws.randrange(5) if draws.random() < share else None

        def failing_segment(steps, states):
            nonlocal after
            on_segment(steps, states)
            if after is not None:
                after -= 1
                if after <= 0:
                    raise jax.errors.JaxRuntimeError(EXHAUSTED)

        if after == 0:
            raise jax.errors.JaxRuntimeError(EXHAUSTED)
        return run(program, starts, data, last, failing_segment)

    return run_or_not


@pytest.mark.parametrize(("seed", "every"), [(0, 0.0), (1, 60.0), (2, 0.0)])
def test_out_of_memory_at_random_batches_changes_no_bit(
    seed, every, finished, monkeypatch, caplog
):
    monkeypatch.setattr(execution, "run", exhausting(seed, share=0.4))
    monkeypatch.setattr(scheduler, "RETRIES", 100)
    other = sweeps.fit(concurrent_batches=6, checkpoint_every=every)
    sweeps.same(other, finished)
    assert "out of memory at batch r00-00000" in caplog.text
    assert "going on with 3 at a time" in caplog.text


def test_a_batch_that_never_fits_ends_the_run_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(execution, "run", exhausting(0, share=1.0))
    with pytest.raises(
        ValueError, match="alone is too much for the memory, 4 times; make --trials_per"
    ):
        sweeps.fit(concurrent_batches=4)


def test_memory_that_ran_out_beside_others_does_not_count_as_alone(
    finished, monkeypatch
):
    run_batch, failed = worker.Worker.run_batch, threading.Event()
    left = [1 + scheduler.RETRIES]

    def failing(self, program, call):
        if call[0].name.endswith("0"):
            if left[0]:
                left[0] -= 1
                failed.set()
                raise jax.errors.JaxRuntimeError(EXHAUSTED)
        else:
            assert failed.wait(60)
        return run_batch(self, program, call)

    monkeypatch.setattr(worker.Worker, "run_batch", failing)
    sweeps.same(sweeps.fit(concurrent_batches=2), finished)
    assert left == [0]


def test_what_a_failed_batch_held_is_free_when_it_is_tried_again(monkeypatch):
    run, held = execution.run, []

    class Buffer:
        """Stands for arrays on a device."""

    def failing(*arguments):
        if not held:
            buffer = Buffer()
            held.append(weakref.ref(buffer))
            raise jax.errors.JaxRuntimeError(EXHAUSTED)
        assert held[0]() is None
        return run(*arguments)

    monkeypatch.setattr(execution, "run", failing)
    sweeps.fit(concurrent_batches=1)
    assert held


def test_an_error_in_one_batch_leaves_the_finished_ones(
    finished, tmp_path, monkeypatch
):
    run, calls = execution.run, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise RuntimeError("a fault")
        return run(*arguments)

    store = DiskStore(tmp_path)
    monkeypatch.setattr(execution, "run", failing)
    with pytest.raises(RuntimeError, match="a fault"):
        sweeps.fit(store, concurrent_batches=1)
    sweeps.same(sweeps.fit(store, concurrent_batches=1), finished)
    assert len(calls) == 4 + 3


def test_an_error_in_one_batch_stops_the_others_with_their_states_saved(
    tmp_path, monkeypatch
):
    run, started = execution.run, threading.Event()

    def failing(program, starts, data, last, on_segment):
        if starts[0].batch.seed == 1:
            assert started.wait(60)
            raise RuntimeError("a fault")

        def patient_segment(steps, states):
            started.set()
            deadline = time.monotonic() + 20
            while True:
                on_segment(steps, states)
                assert time.monotonic() < deadline
                time.sleep(0.01)

        return run(program, starts, data, last, patient_segment)

    monkeypatch.setattr(execution, "run", failing)
    with pytest.raises(RuntimeError, match="a fault"):
        sweeps.fit(DiskStore(tmp_path), trials_per_batch=8, concurrent_batches=2)
    (saved,) = (tmp_path / "pieces").iterdir()
    assert saved.name == "r00-000000.state-2.npz"


def test_a_batch_of_other_trials_is_refused(tmp_path):
    store = DiskStore(tmp_path)
    sweeps.fit(store)
    store.save_batch("r00-000001", store.load_batch("r00-000000"))
    with pytest.raises(
        ValueError, match=rf"{tmp_path}/pieces: batch r00-000001 holds trials \[0, 2, 4"
    ):
        sweeps.fit(store)


def test_trials_of_two_scalings_of_the_data_share_one_program(monkeypatch):
    traces, advance = [], training.advance

    def counted(*arguments):
        traces.append(arguments)
        return advance(*arguments)

    monkeypatch.setattr(training, "advance", counted)
    fitted = sweeps.fit(preprocessing=("standardize", "none"), epochs=(3,))
    assert len(fitted.results.rows) == 2 * 16
    assert len(traces) == 1


def test_too_few_devices_are_refused():
    with pytest.raises(ValueError, match="--devices is 999; expected 1 to "):
        sweeps.prepare(devices="999")
    assert len(programs.choose_devices("all")) == len(jax.devices())
