"""The compiled program of a static choice, and batches of trials advanced by it.

A program advances one batch on each device of a mesh: all arrays of the batches have an
axis of devices in front, sharded along it; the data is on every device. Nothing is
exchanged between devices, so a batch's bits do not depend on how many there are. First
and last step are arguments: one program serves every segment of a run, and it may stop
after any step.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from linclf_jax.training import program as training
from linclf_jax.training.evaluation import Scores
from linclf_jax.training.program import Lanes
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import Data, State, final_params

_BATCHES = "batches"  # the axis of the mesh
# Between two calls of ``on_segment``; the steps of the first segment show how many that
# are.
SEGMENT_SECONDS = 1.0
FIRST_STRIDE = 8  # steps


class BatchInputs(NamedTuple):
    """What differs between batches of a static choice, as NumPy arrays."""

    seed: jax.Array | np.ndarray  # (), uint32
    hparams: Hparams  # arrays (L,)
    fold: jax.Array | np.ndarray  # (L,), int32: the fold held out, or NO_FOLD


class Start(NamedTuple):
    """Where a batch starts: ``state`` came out of step ``step - 1``; None at step 0."""

    batch: BatchInputs
    step: int = 0
    state: State | None = None  # NumPy arrays


class Output(NamedTuple):
    """A batch after its last step, as NumPy arrays, lanes last."""

    state: State
    train: Scores  # each (L,), on the rows that a lane trains on
    validation: Scores  # each (L,)


class Program(NamedTuple):
    """A compiled program and what must be known to call it."""

    mesh: Mesh
    call: Callable[..., Any]  # see ``build``
    state: State  # shapes and dtypes of one batch's state
    last_step: int  # of a whole run
    memory: Any  # jax's analysis of the program on one device


def make_mesh(devices: Sequence[Any]) -> Mesh:
    """Returns the mesh that batches are spread over, of devices of one kind."""
    return Mesh(np.asarray(devices), (_BATCHES,), axis_types=(AxisType.Auto,))


def place(data: Data, mesh: Mesh) -> Data:
    """Returns the data as it lies on every device of the mesh."""
    return jax.device_put(data, NamedSharding(mesh, PartitionSpec()))


def build(static: Static, data: Data, width: int, mesh: Mesh) -> Program:
    """Compiles the one program of a static choice, for batches of ``width`` lanes.

    Of the data, which is from ``place``, shapes and dtypes are used.
    """
    per_batch, everywhere = PartitionSpec(_BATCHES), PartitionSpec()
    program = jax.shard_map(
        _advance_batch(static, width),
        mesh=mesh,
        in_specs=(per_batch, per_batch, per_batch, everywhere, everywhere, everywhere),
        out_specs=per_batch,
        check_vma=False,  # nothing is exchanged: each device loops for itself
    )
    dtype = np.result_type(data.x.dtype, np.float32)
    hparams = Hparams(*[np.zeros(width, dtype)] * len(Hparams._fields))
    batch = BatchInputs(np.zeros((), np.uint32), hparams, np.zeros(width, np.int32))
    state = jax.eval_shape(lambda: training.begin(static, _lanes(batch), data))
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (mesh.size, *leaf.shape),
            leaf.dtype,
            sharding=NamedSharding(mesh, per_batch),
        ),
        (batch, state, np.zeros((), np.int32)),
    )
    lowered = jax.jit(program).lower(*stacked, np.int32(0), np.bool_(False), data)
    compiled = lowered.compile()
    last_step = training.num_steps(data.x.shape[0], static)
    return Program(mesh, compiled, state, last_step, compiled.memory_analysis())


def run(
    program: Program,
    starts: Sequence[Start],
    data: Data,
    last: int,
    on_segment: Callable[[list[int], Callable[[], list[State]]], None],
) -> list[Output]:
    """Advances batches to a step, one on each device, and returns their outputs.

    Args:
        program: From ``build``.
        starts: At most one batch for each device of the program's mesh.
        data: That the program was built with.
        last: One past the last step to make.
        on_segment: Called about once in ``SEGMENT_SECONDS`` with the steps that each
            batch has made, and a function that returns the states after them. What it
            raises, to stop for instance, passes through.
    """
    sharding = NamedSharding(program.mesh, PartitionSpec(_BATCHES))
    batches, state = arguments(program, starts)
    steps = np.array([s.step for s in _for_each_device(program, starts)], np.int32)
    stride = FIRST_STRIDE
    while True:
        stop = min(int(steps.min()) + stride, last)
        before = time.perf_counter()
        state, *scores = program.call(
            batches,
            state,
            jax.device_put(steps, sharding),
            np.int32(stop),
            np.bool_(stop == last),
            data,
        )
        jax.block_until_ready(scores)
        if stop == last:
            outputs = jax.device_get(Output(state, *scores))
            return _unstack(outputs, len(starts))
        steps = np.maximum(steps, np.int32(stop))
        faster = SEGMENT_SECONDS / max(time.perf_counter() - before, 1e-3)
        stride = max(1, int(stride * min(faster, 8.0)))
        on_segment(
            steps[: len(starts)].tolist(),
            lambda state=state: _unstack(jax.device_get(state), len(starts)),
        )


def arguments(program: Program, starts: Sequence[Start]) -> tuple[BatchInputs, State]:
    """Returns batches and states as the program takes them, on the devices."""
    begin = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), program.state)
    trees = [(s.batch, s.state or begin) for s in _for_each_device(program, starts)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    return jax.device_put(stacked, NamedSharding(program.mesh, PartitionSpec(_BATCHES)))


def _advance_batch(static: Static, width: int) -> Callable[..., Any]:
    """Returns what each device does: its batch alone, without the axis of the mesh."""

    def advance_batch(
        batch: BatchInputs,
        state: State,
        first: jax.Array,
        last: jax.Array,
        scored: jax.Array,
        data: Data,
    ) -> tuple[State, Scores, Scores]:
        batch, state, first = jax.tree.map(lambda leaf: leaf[0], (batch, state, first))
        lanes = _lanes(batch)
        state = jax.lax.cond(
            first == 0,
            lambda _: training.begin(static, lanes, data),
            lambda state: state,
            state,
        )
        state = training.advance(static, lanes, data, state, first, last)
        unknown = Scores(*[jnp.full(width, jnp.nan, state.params.W.dtype)] * 2)
        scores = jax.lax.cond(
            scored,
            lambda params: training.score(static, lanes, data, params),
            lambda _: (unknown, unknown),
            final_params(state),
        )
        return jax.tree.map(lambda leaf: leaf[None], (state, *scores))

    return advance_batch


def _lanes(batch: BatchInputs) -> Lanes:
    return Lanes(jax.random.key(batch.seed), batch.hparams, jnp.asarray(batch.fold))


def _for_each_device(program: Program, starts: Sequence[Start]) -> list[Start]:
    """Returns a start for each device; those that are missing repeat the last."""
    return [*starts, *[starts[-1]] * (program.mesh.size - len(starts))]


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]
