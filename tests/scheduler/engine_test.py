"""Bits that depend on nothing but the lane: memory, tiles at a time, order, devices."""

import dataclasses
import random
import subprocess
import sys
import threading
import time
import weakref

import jax
import numpy as np
import pytest

from linclf_jax.scheduler import scheduler as engine_lib
from linclf_jax.scheduler import worker
from linclf_jax.training import execution, planning, search_space
from linclf_jax.training import program as training
from tests import sweeps

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    return sweeps.run(tmp_path_factory.mktemp("clean") / "run", tiles_at_once=1)


@pytest.mark.parametrize("at_once", [2, 6])
def test_tiles_at_a_time_change_no_byte(at_once, finished, tmp_path):
    other = sweeps.run(tmp_path / "run", tiles_at_once=at_once)
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


def test_the_memory_budget_decides_how_many_and_changes_no_byte(
    finished, tmp_path, monkeypatch
):
    """What is in use is held still, for a tile of iris is small beside its changes."""
    monkeypatch.setattr(engine_lib.memory, "resident", lambda _: 1000)
    plans, plan = [], planning.plan

    def noted(**sizes):
        plans.append(sizes["per_tile"])
        plans.append(plan(**sizes).tiles_at_once)
        return plan(**sizes)

    monkeypatch.setattr(planning, "plan", noted)
    sweeps.run(tmp_path / "first", tiles_at_once=6)
    per_tile, at_once = plans
    assert at_once == 6
    for count in (1, 3):
        budget = 1000 + count * per_tile + per_tile // 2
        other = sweeps.run(
            tmp_path / str(count), tiles_at_once=6, memory_budget=str(budget)
        )
        assert plans[-1] == count
        assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)
    with pytest.raises(ValueError, match=r"one tile takes .* make --tile_width small"):
        sweeps.run(tmp_path / "none", memory_budget=str(1000 + per_tile // 2))


def test_the_order_of_the_lanes_changes_no_bit(finished, tmp_path):
    other = sweeps.run(
        tmp_path / "run",
        learning_rate=(0.3, 0.01, 0.1, 0.03),
        l2=(0.01, 0.0),
        seeds=(1, 0),
    )
    assert sweeps.scores(other) == sweeps.scores(finished)


@pytest.mark.slow
def test_eight_devices_write_the_bytes_of_one(tmp_path):
    config = sweeps.SMALL
    flags = [
        *(f"--{k}={v}" for k, v in (("dataset", "iris"), ("tile_width", 3))),
        "--learning_rate=0.01,0.03,0.1,0.3",
        "--l2=0,0.01",
        "--seeds=0,1",
        f"--epochs={config.epochs[0]}",
    ]
    for devices in ("1", "all"):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "experiments.sweep", *flags),
                f"--out_dir={tmp_path / devices}",
                f"--devices={devices}",
                f"--compilation_cache={tmp_path / 'cache'}",
            ],
            cwd=sweeps.ROOT,
            env={
                "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
                "HOME": str(tmp_path),
                "JAX_PLATFORMS": "cpu",
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert sweeps.contents(tmp_path / "all") == sweeps.contents(tmp_path / "1")


@pytest.mark.parametrize("by", ["val_loss", "val_accuracy"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "weston_watkins_hinge"])
def test_diverged_lanes_leave_the_others_alone_and_win_nothing(loss, by, tmp_path):
    """One lane in ten: nine good learning rates and one beside them in the tiles."""
    rates = tuple(np.geomspace(0.01, 0.3, 9).tolist())
    changes = {"loss": (loss,), "select_by": by, "l2": (0.0,)}
    clean = sweeps.run(tmp_path / "clean", learning_rate=rates, **changes)
    mixed_rates = (*rates[:4], 1e30, *rates[4:])
    mixed = sweeps.run(tmp_path / "mixed", learning_rate=mixed_rates, **changes)
    good = {key: row for key, row in sweeps.scores(mixed).items() if key[0] != 1e30}
    assert good == sweeps.scores(clean)
    bad = [row for row in mixed.rows if row["learning_rate"] == 1e30]
    assert len(bad) == 2
    for row in bad:
        assert row["status"] == "diverged"
        assert row["reason"] in ("nonfinite_loss", "exploded")
        assert 1 <= row["steps"] < 12
    assert mixed.selected["row"]["learning_rate"] != 1e30
    model = ("selected.safetensors",)
    assert sweeps.contents(mixed.folder, model) == sweeps.contents(clean.folder, model)


def test_weights_that_are_nan_are_diverged_lanes(finished, tmp_path, monkeypatch):
    """As a broken step would leave them, in one lane of a tile, after some steps."""
    run = execution.run

    def poisoned(program, starts, data, last, look):
        if last != program.last_step:
            return run(program, starts, data, last, look)
        (middle,) = run(program, starts, data, 5, look)
        W = np.array(middle.state.params.W)
        W[:, :, 0] = np.nan
        params = middle.state.params._replace(W=W)
        state = middle.state._replace(params=params)
        return run(program, [starts[0]._replace(step=5, state=state)], data, last, look)

    monkeypatch.setattr(execution, "run", poisoned)
    other = sweeps.run(tmp_path / "run")
    bad = [row for row in other.rows if row["status"] != "ok"]
    assert len(bad) == 6  # the first lane of each tile
    for row in bad:
        assert (row["reason"], row["steps"]) == ("nonfinite_loss", 5)
        assert other.selected["lane"] != row["lane"]
    lost = {row["lane"] for row in bad}
    assert [row for row in other.rows if row["lane"] not in lost] == [
        row for row in finished.rows if row["lane"] not in lost
    ]


def exhausting(seed, share):
    """Returns an ``execution.run`` that runs out of memory, at once or later."""
    run, draws, lock = execution.run, random.Random(seed), threading.Lock()

    def run_or_not(program, starts, data, last, look):
        with lock:
            after = draws.randrange(5) if draws.random() < share else None

        def failing_look(steps, states):
            nonlocal after
            look(steps, states)
            if after is not None:
                after -= 1
                if after <= 0:
                    raise jax.errors.JaxRuntimeError(EXHAUSTED)

        if after == 0:
            raise jax.errors.JaxRuntimeError(EXHAUSTED)
        return run(program, starts, data, last, failing_look)

    return run_or_not


@pytest.mark.parametrize("every", [0.0, 60.0])
@pytest.mark.parametrize("seed", range(3))
def test_out_of_memory_at_random_tiles_changes_no_byte(
    seed, every, finished, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(execution, "run", exhausting(seed, share=0.4))
    monkeypatch.setattr(engine_lib, "RETRIES", 100)
    other = sweeps.run(tmp_path / "run", tiles_at_once=6, checkpoint_every=every)
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)
    told = capsys.readouterr().err
    assert "out of memory at tile r00-00000" in told
    assert "going on with 3 at a time" in told
    assert "16 of 16 lanes" in told


def test_a_tile_that_never_fits_ends_the_run_and_says_what_to_do(
    finished, tmp_path, monkeypatch
):
    with monkeypatch.context() as broken:
        broken.setattr(execution, "run", exhausting(0, share=1.0))
        with pytest.raises(
            ValueError, match="alone is too much for the memory, 4 times; make --tile_w"
        ):
            sweeps.run(tmp_path / "run", tiles_at_once=4)
    other = sweeps.run(tmp_path / "run")
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


def test_memory_that_ran_out_beside_others_does_not_count_as_alone(
    finished, tmp_path, monkeypatch
):
    train, failed = worker.Worker.train, threading.Event()
    left = [1 + engine_lib.RETRIES]

    def failing(self, program, call):
        if call[0].name.endswith("0"):
            if left[0]:
                left[0] -= 1
                failed.set()
                raise jax.errors.JaxRuntimeError(EXHAUSTED)
        else:
            assert failed.wait(60)
        return train(self, program, call)

    monkeypatch.setattr(worker.Worker, "train", failing)
    other = sweeps.run(tmp_path / "run", tiles_at_once=2)
    assert left == [0]
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


def test_what_a_failed_tile_held_is_free_when_it_is_tried_again(tmp_path, monkeypatch):
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
    sweeps.run(tmp_path / "run", tiles_at_once=1)
    assert held


def test_an_error_in_one_tile_leaves_the_finished_ones(finished, tmp_path, monkeypatch):
    run, calls = execution.run, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise RuntimeError("a fault")
        return run(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(execution, "run", failing)
        with pytest.raises(RuntimeError, match="a fault"):
            sweeps.run(tmp_path / "run", tiles_at_once=1)
    calls.clear()
    monkeypatch.setattr(
        execution, "run", lambda *given: (calls.append(given), run(*given))[1]
    )
    other = sweeps.run(tmp_path / "run", tiles_at_once=1)
    assert len(calls) == 3
    assert sweeps.contents(other.folder) == sweeps.contents(finished.folder)


def test_an_error_in_one_tile_stops_the_others_with_their_states_saved(
    tmp_path, monkeypatch
):
    run, started = execution.run, threading.Event()

    def failing(program, starts, data, last, look):
        if starts[0].batch.seed == 1:
            assert started.wait(60)
            raise RuntimeError("a fault")

        def patient_look(steps, states):
            started.set()
            deadline = time.monotonic() + 20
            while True:
                look(steps, states)
                assert time.monotonic() < deadline
                time.sleep(0.01)

        return run(program, starts, data, last, patient_look)

    monkeypatch.setattr(execution, "run", failing)
    with pytest.raises(RuntimeError, match="a fault"):
        sweeps.run(tmp_path / "run", tile_width=8, tiles_at_once=2)
    (saved,) = (tmp_path / "run" / "pieces").iterdir()
    assert saved.name == "r00-000000.state-2.npz"


OUT_OF_MEMORY = """
import jax
from linclf_jax.cli import main as start
def main():
    raise {error}
start.launch(main)
"""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 8 bytes')", 2),
        ("MemoryError('8 bytes')", 2),
        ("RuntimeError('8 bytes')", 1),
    ],
)
def test_memory_that_runs_out_elsewhere_is_one_line_and_status_2(error, status):
    """In compilation for instance; another error stays one, with its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY.format(error=error)],
        cwd=sweeps.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert "8 bytes" in done.stderr
    assert (done.stderr.count("\n") == 1) == (status == 2)


def test_ten_thousand_lanes_compile_one_program(tmp_path, monkeypatch):
    """Two scalings of the data share it, for a program depends on neither."""
    traces, advance = [], training.advance

    def counted(*arguments):
        traces.append(arguments)
        return advance(*arguments)

    monkeypatch.setattr(training, "advance", counted)
    grid = dataclasses.replace(
        sweeps.SMALL,
        preprocessing=("standardize", "none"),
        learning_rate=tuple(np.geomspace(1e-3, 1.0, 50).tolist()),
        l2=tuple(np.geomspace(1e-6, 1.0, 100).tolist()),
        seeds=(0,),
        epochs=(3,),
        tile_width=500,
    )
    outcome = sweeps.run(tmp_path / "run", grid)
    assert len(outcome.rows) == 10_000
    assert len(traces) == 1


def test_a_larger_sample_extends_a_smaller_one(tmp_path):
    rates = search_space.parse("log:1e-3:1:16")
    small, large = (
        sweeps.run(tmp_path / str(count), sample=count, learning_rate=rates)
        for count in (3, 5)
    )
    assert len(small.rows) == 3 * 2
    assert len(large.rows) == 5 * 2
    assert large.rows[:6] == small.rows
    again = sweeps.run(tmp_path / "again", sample=5, learning_rate=rates)
    assert sweeps.contents(again.folder) == sweeps.contents(large.folder)
