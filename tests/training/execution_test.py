"""Programs: one compile each, and cuts and devices that change no bit."""

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from linclf_jax.training import execution, states, trials
from linclf_jax.training import program as training
from linclf_jax.training.execution import Start
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import Hparams, Static
from tests.training import small
from tests.training.small import WIDTH

STATIC = Static(3, batch_size=8, epochs=3)
LAST = 9  # steps of 21 rows
# Of four batches; the last diverges as a whole.
RATES = ([0.01, 0.02, 0.04, 0.08], [0.1, 0.2, 0.4, 0.8], [0.3] * 4, [1e30] * 4)


def make_batch(rates, seed=0):
    hparams = Hparams(*(np.full(WIDTH, value, np.float32) for value in Hparams()))
    hparams = hparams._replace(learning_rate=np.array(rates, np.float32))
    fold = np.full(WIDTH, states.NO_FOLD, np.int32)
    return execution.BatchInputs(np.array(seed, np.uint32), hparams, fold)


BATCHES = tuple(make_batch(rates, seed) for seed, rates in enumerate(RATES))


@pytest.fixture(scope="module")
def built():
    return small.compiled(STATIC)


@pytest.fixture(scope="module")
def whole(built):
    return [small.run(built, [Start(batch)])[0] for batch in BATCHES]


@contextlib.contextmanager
def counted_compiles():
    """Gathers what XLA compiles, of any program whatever."""
    compiles = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiles.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiles
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_ten_thousand_trials_are_one_compile():
    """And a run compiles nothing: no array is made by a program of its own."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(6, 2)).astype(np.float32), np.arange(6) % 2
    static = Static(2, batch_size=6, epochs=1)
    rates = np.geomspace(1e-3, 1.0, 5000).tolist()
    every = trials.make_trials([Candidate(static, Hparams(r)) for r in rates], (0, 1))
    mesh, rows = execution.make_mesh(jax.devices()[:1]), []
    with counted_compiles() as compiles:
        data = execution.place(states.Data(x, labels, x, labels), mesh)
        program = execution.build(static, data, 128, mesh)
        assert len(compiles) == 1
        for batch in trials.make_batches(every, 128):
            start = Start(trials.filled(batch, 128, np.dtype(np.float32)))
            (output,) = small.run((program, data), [start])
            rows += trials.make_rows(batch, output)
        assert len(compiles) == 1
    assert len(rows) == len(every) == 10_000
    assert {row["status"] for row in rows} == {"ok"}


def test_a_batch_is_what_training_makes_of_its_trials(whole):
    train = jax.jit(training.make_train(STATIC))
    data = small.make_data(dtype=np.float32)
    for seed, output in enumerate(whole[:3]):
        for lane, rate in enumerate(RATES[seed]):
            params, history = train(jax.random.key(seed), Hparams(rate), data)
            chex.assert_trees_all_close(
                small.run_of(output.state, lane),
                (*params, *history[:3]),
                rtol=1e-4,
                atol=1e-6,
            )
            val_loss = output.validation.loss[lane]
            np.testing.assert_allclose(val_loss, history.val_loss[-1], rtol=1e-5)
    assert np.all(whole[3].state.status != states.OK)


def test_what_comes_back_is_what_is_expected_of_a_state(built, whole):
    chex.assert_trees_all_equal_shapes_and_dtypes(whole[0].state, built[0].state)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_segments_of_any_length_are_the_whole(built, whole, stride, monkeypatch):
    monkeypatch.setattr(execution, "FIRST_STRIDE", stride)
    segments = []

    def note(steps, reached):
        segments.append((steps, reached()))

    (output,) = small.run(built, [Start(BATCHES[0])], on_segment=note)
    assert segments
    chex.assert_trees_all_equal(output, whole[0])
    for (step,), (state,) in segments:
        assert state.steps.tolist() == [step] * WIDTH
        (resumed,) = small.run(built, [Start(BATCHES[0], step, state)])
        chex.assert_trees_all_equal(resumed, whole[0])


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 8, 9])
def test_cut_and_resumed_is_the_whole_bit_for_bit(built, whole, stop):
    for number in (1, 3):
        batch = BATCHES[number]
        (first,) = small.run(built, [Start(batch)], last=stop)
        (output,) = small.run(built, [Start(batch, stop, first.state)])
        chex.assert_trees_all_equal(output, whole[number])


def test_what_on_segment_raises_stops_the_run(built):
    class Stopped(Exception):  # noqa: N818
        pass

    def stop(steps, _):
        raise Stopped(steps)

    with pytest.raises(Stopped) as stopped:
        small.run(built, [Start(BATCHES[0])], on_segment=stop)
    assert stopped.value.args == ([execution.FIRST_STRIDE],)


def test_each_lane_of_a_batch_holds_out_its_own_fold():
    fold = np.array([0, 1, 2, states.NO_FOLD], np.int32)
    built = small.compiled(STATIC, folds=True)
    (output,) = small.run(built, [Start(BATCHES[2]._replace(fold=fold))])
    W = output.state.params.W
    assert len({W[..., lane].tobytes() for lane in range(WIDTH)}) == WIDTH
    assert len(set(output.validation.loss.tolist())) == WIDTH


def digest(tree):
    sha256 = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        sha256.update(np.ascontiguousarray(leaf).tobytes())
    return sha256.hexdigest()[:16]


SCRIPT = """
from linclf_jax.training import execution
from linclf_jax.training.execution import Start
from tests.training import small
from tests.training.execution_test import BATCHES, STATIC, digest

execution.FIRST_STRIDE = 1  # the first segment ends before some of the batches stand
built = small.compiled(STATIC, devices=3)
starts = [Start(batch) for batch in BATCHES]
outputs = small.run(built, starts[:3]) + small.run(built, starts[3:])
print(*map(digest, outputs))
# Batches that stand at different steps.
parts = [small.run(built, [start], last=n)[0] for n, start in enumerate(starts[1:])]
uneven = [Start(start.batch, n, part.state)
          for n, (start, part) in enumerate(zip(starts[1:], parts, strict=True))]
print(digest(outputs[0]), *map(digest, small.run(built, uneven)))
"""


def test_several_devices_change_no_bit(whole):
    """With more devices than batches in the second call."""
    flags = "--xla_force_host_platform_device_count=3"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"}
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    expected = " ".join(map(digest, whole))
    assert child.stdout.splitlines() == [expected] * 2
