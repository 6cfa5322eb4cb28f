"""Rows that are gathered in segments: the bits of the program that holds all rows."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from linclf_jax.training import evaluation, row_order, segments, states, streaming
from linclf_jax.training.execution import Start
from linclf_jax.training.settings import Static
from tests.training import small
from tests.training.execution_test import BATCHES, digest
from tests.training.small import WIDTH

STATIC = Static(3, batch_size=8, epochs=3)
LAST = 9  # steps of 21 rows
HELD_OUT = BATCHES[2]._replace(fold=np.array([0, 1, 2, states.NO_FOLD], np.int32))


@pytest.fixture(autouse=True)
def short(monkeypatch, request):
    """Segments of two steps of the three of an epoch, spans and blocks of few rows."""
    if "devices" in request.node.name:  # which are those of another process
        return
    monkeypatch.setattr(segments, "SIZE", 4 * 4 * 16)
    monkeypatch.setattr(evaluation, "BLOCK", 4)


@functools.cache
def built(static=STATIC, *, folds=False, streamed=False):
    """Returns a program, in memory or not, and its data."""
    program, data = small.compiled.__wrapped__(static, folds=folds)
    if streamed:
        data = jax.tree.map(np.asarray, data)
        program = streaming.build(static, data, WIDTH, program.mesh)
    return program, data


def run(built, starts, last=None, on_segment=lambda *_: None):
    program, data = built
    last = program.last_step if last is None else last
    return streaming.run(program, starts, data, last, on_segment)


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_bits_are_those_of_rows_in_memory(shuffle, keep, monkeypatch):
    monkeypatch.setattr(row_order, "BLOCK", 2)
    monkeypatch.setattr(row_order, "GROUP", 3)
    static = dataclasses.replace(STATIC, shuffle=shuffle, keep=keep)
    memory, streamed = built(static), built(static, streamed=True)
    for batch in BATCHES[1], BATCHES[3]:
        (expected,) = small.run(memory, [Start(batch)])
        (output,) = run(streamed, [Start(batch)])
        chex.assert_trees_all_equal(output, expected, strict=True)
        assert np.isfinite(output.validation.loss).all()


def test_lanes_hold_out_their_own_folds():
    (expected,) = small.run(built(folds=True), [Start(HELD_OUT)])
    (output,) = run(built(folds=True, streamed=True), [Start(HELD_OUT)])
    chex.assert_trees_all_equal(output, expected, strict=True)


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 8, 9])
def test_cut_and_resumed_is_the_whole_in_memory_or_not(stop):
    memory, streamed = built(), built(streamed=True)
    start = Start(BATCHES[1])
    (whole,) = small.run(memory, [start])
    (first,) = run(streamed, [start], last=stop)
    (there,) = small.run(memory, [start], last=stop)
    chex.assert_trees_all_equal(first, there)
    resumed = Start(BATCHES[1], stop, first.state)
    chex.assert_trees_all_equal(run(streamed, [resumed])[0], whole)
    chex.assert_trees_all_equal(small.run(memory, [resumed])[0], whole)


def test_every_segment_can_be_gone_on_from():
    segments, streamed = [], built(streamed=True)
    (whole,) = run(
        streamed,
        [Start(BATCHES[0])],
        on_segment=lambda steps, reached: segments.append((steps, reached())),
    )
    assert [steps for steps, _ in segments] == [[2], [3], [5], [6], [8]]
    for (step,), (state,) in segments:
        assert state.steps.tolist() == [step] * WIDTH
        (resumed,) = run(streamed, [Start(BATCHES[0], step, state)])
        chex.assert_trees_all_equal(resumed, whole)


def test_what_reading_raises_stops_the_run():
    program, data = built(streamed=True)

    class Broken(np.ndarray):
        def __getitem__(self, rows):
            raise OSError("no such row")

    with pytest.raises(OSError, match="no such row"):
        run((program, data._replace(x=data.x.view(Broken))), [Start(BATCHES[0])])


SCRIPT = """
import jax, numpy as np
from linclf_jax.training import segments, streaming
from linclf_jax.training.execution import Start
from tests.training import small
from tests.training.execution_test import BATCHES, STATIC, digest

segments.SIZE = 4 * 4 * 16
program, data = small.compiled(STATIC, devices=3)
program = streaming.build(STATIC, jax.tree.map(np.asarray, data), 4, program.mesh)

def run(starts, last=9):
    return streaming.run(program, starts, data, last, lambda *_: None)

starts = [Start(batch) for batch in BATCHES]
outputs = run(starts[:3]) + run(starts[3:])
print(*map(digest, outputs))
# Batches that stand at different steps, one of them at the end of an epoch.
parts = [run([start], n)[0] for n, start in zip((3, 0, 5), starts[1:], strict=True)]
uneven = [Start(start.batch, n, part.state)
          for n, start, part in zip((3, 0, 5), starts[1:], parts, strict=True)]
print(digest(outputs[0]), *map(digest, run(uneven)))
"""


def test_several_devices_change_no_bit():
    whole = [small.run(small.compiled(STATIC), [Start(batch)])[0] for batch in BATCHES]
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
