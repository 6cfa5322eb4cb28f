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
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import Hparams, Static

WIDTH = 4
STATIC = Static(3, batch_size=8, epochs=3)
LAST = 9  # steps of 21 rows
# Of four tiles; the last diverges as a whole.
RATES = ([0.01, 0.02, 0.04, 0.08], [0.1, 0.2, 0.4, 0.8], [0.3] * 4, [1e30] * 4)


def make_data(folds=False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(33, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 33).astype(np.int32)
    if folds:
        dealt = np.arange(21, dtype=np.int32) % 3
        return states.Data(x[:21], labels[:21], x[:21], labels[:21], dealt, dealt)
    return states.Data(x[:21], labels[:21], x[21:], labels[21:])


def make_tile(rates, seed=0):
    hparams = Hparams(*(np.full(WIDTH, value, np.float32) for value in Hparams()))
    hparams = hparams._replace(learning_rate=np.array(rates, np.float32))
    fold = np.full(WIDTH, states.NO_FOLD, np.int32)
    return execution.BatchInputs(np.array(seed, np.uint32), hparams, fold)


TILES = tuple(make_tile(rates, seed) for seed, rates in enumerate(RATES))


def build(devices, static=STATIC):
    mesh = execution.make_mesh(devices)
    data = execution.place(make_data(), mesh)
    return execution.build(static, data, WIDTH, mesh), data


def ignore(steps, states):
    """Goes on."""


def run(program, data, starts, last=LAST, look=ignore):
    return execution.run(program, starts, data, last, look)


@pytest.fixture(scope="module")
def one_device():
    return build(jax.devices()[:1])


@pytest.fixture(scope="module")
def whole(one_device):
    return [run(*one_device, [execution.Start(tile)])[0] for tile in TILES]


def digest(tree):
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()[:16]


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


def test_ten_thousand_lanes_are_one_compile():
    """And a run compiles nothing: no array is made by a program of its own."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(6, 2)).astype(np.float32), np.arange(6) % 2
    static = Static(2, batch_size=6, epochs=1)
    rates = np.geomspace(1e-3, 1.0, 5000).tolist()
    lanes = trials.make_trials([Candidate(static, Hparams(r)) for r in rates], (0, 1))
    tiles, rows = trials.make_batches(lanes, 128), []
    mesh = execution.make_mesh(jax.devices()[:1])
    with counted_compiles() as compiles:
        data = execution.place(states.Data(x, labels, x, labels), mesh)
        program = execution.build(static, data, 128, mesh)
        assert len(compiles) == 1
        for tile in tiles:
            start = execution.Start(trials.filled(tile, 128, np.dtype(np.float32)))
            (output,) = run(program, data, [start], program.last_step)
            rows += trials.make_rows(tile, output)
        assert len(compiles) == 1
    assert len(rows) == len(lanes) == 10_000
    assert {row["status"] for row in rows} == {"ok"}


def test_a_tile_is_what_training_makes_of_its_lanes(whole):
    train = jax.jit(training.make_train(STATIC))
    for seed, output in enumerate(whole[:3]):
        for lane, rate in enumerate(RATES[seed]):
            params, history = train(jax.random.key(seed), Hparams(rate), make_data())
            mine = (output.state.params.W[..., lane], output.state.params.b[0, :, lane])
            mine += tuple(curve[:, lane] for curve in output.state.curves)
            chex.assert_trees_all_close(
                mine, (*params, *history[:3]), rtol=1e-4, atol=1e-6
            )
            close = {"rtol": 1e-5}
            val = (output.validation.loss[lane], history.val_loss[-1])
            np.testing.assert_allclose(*val, **close)
    assert np.all(whole[3].state.status != states.OK)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_segments_of_any_length_are_the_whole(one_device, whole, stride, monkeypatch):
    monkeypatch.setattr(execution, "FIRST_STRIDE", stride)
    seen = []

    def look(steps, states):
        seen.append((steps, states()))

    (output,) = run(*one_device, [execution.Start(TILES[0])], look=look)
    assert seen
    chex.assert_trees_all_equal(output, whole[0])
    for (step,), (state,) in seen:
        assert state.steps.tolist() == [step] * WIDTH
        (resumed,) = run(*one_device, [execution.Start(TILES[0], step, state)])
        chex.assert_trees_all_equal(resumed, whole[0])


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 8, 9])
def test_cut_and_resumed_is_the_whole_bit_for_bit(one_device, whole, stop):
    for number in (1, 3):
        tile = TILES[number]
        (first,) = run(*one_device, [execution.Start(tile)], last=stop)
        start = execution.Start(tile, stop, first.state)
        (output,) = run(*one_device, [start])
        chex.assert_trees_all_equal(output, whole[number])


def test_what_look_raises_stops_the_run(one_device):
    class Stopped(Exception):  # noqa: N818
        pass

    def look(steps, states):
        raise Stopped(steps)

    with pytest.raises(Stopped) as stopped:
        run(*one_device, [execution.Start(TILES[0])], look=look)
    assert stopped.value.args == ([execution.FIRST_STRIDE],)


def test_each_lane_of_a_tile_holds_out_its_own_fold(one_device):
    mesh = execution.make_mesh(jax.devices()[:1])
    data = execution.place(make_data(folds=True), mesh)
    program = execution.build(STATIC, data, WIDTH, mesh)
    fold = np.array([0, 1, 2, states.NO_FOLD], np.int32)
    (output,) = run(program, data, [execution.Start(TILES[2]._replace(fold=fold))])
    W = output.state.params.W
    assert len({W[..., lane].tobytes() for lane in range(WIDTH)}) == WIDTH
    assert len(set(output.validation.loss.tolist())) == WIDTH


SCRIPT = """
import jax
from tests.training import execution_test as test
from linclf_jax.training import execution
from linclf_jax.training.execution import Start

execution.FIRST_STRIDE = 1  # the first segment ends before some of the tiles stand

assert len(jax.devices()) == 8
starts = [Start(tile) for tile in test.TILES]
for count in (8, 3):
    program, data = test.build(jax.devices()[:count])
    outputs = []
    for first in range(0, len(starts), count):
        outputs += test.run(program, data, starts[first : first + count])
    print(*map(test.digest, outputs))
    # Tiles that stand at different steps, in a mesh with devices to spare.
    parts = [test.run(program, data, [s], last=n)[0] for n, s in enumerate(starts[1:])]
    uneven = [Start(s.batch, n, part.state)
              for n, (s, part) in enumerate(zip(starts[1:], parts, strict=True))]
    print(test.digest(outputs[0]), *map(test.digest, test.run(program, data, uneven)))
"""


def test_several_devices_change_no_bit(whole):
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    expected = " ".join(map(digest, whole))
    assert found.stdout.splitlines() == [expected] * 4
