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
    call: Any  # a function, or several; see ``build``
    state: State  # shapes and dtypes of one batch's state
    last_step: int  # of a whole run
    memory: Any  # jax's analysis of the program on one device
    shared: int = 0  # bytes of its arguments that all batches have in common
    buffers: int = 0  # bytes that a batch takes beside the program


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
    program = on_each_device(mesh, _advance_batch(static, width), 3)
    batch, state = shapes(static, data, width)
    stacked = for_each_device((batch, state, np.zeros((), np.int32)), mesh)
    compiled = program.lower(*stacked, np.int32(0), np.bool_(False), data).compile()
    last_step = training.num_steps(data.x.shape[0], static)
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves(data))
    return Program(mesh, compiled, state, last_step, compiled.memory_analysis(), shared)


def shapes(static: Static, data: Data, width: int) -> tuple[BatchInputs, State]:
    """Returns a batch of ``width`` lanes, and the shapes and dtypes of its state."""
    dtype = np.result_type(data.x.dtype, np.float32)
    hparams = Hparams(*[np.zeros(width, dtype)] * len(Hparams._fields))
    batch = BatchInputs(np.zeros((), np.uint32), hparams, np.zeros(width, np.int32))
    return batch, jax.eval_shape(lambda: training.begin(static, lanes_of(batch), data))


def for_each_device(tree: Any, mesh: Mesh) -> Any:
    """Returns the shapes of arrays with the axis of the devices in front."""
    sharding = NamedSharding(mesh, PartitionSpec(_BATCHES))
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (mesh.size, *leaf.shape), leaf.dtype, sharding=sharding
        ),
        tree,
    )


def on_each_device(
    mesh: Mesh, function: Callable[..., Any], count: int
) -> Callable[..., Any]:
    """Returns a function jitted, of one batch on each device.

    The first ``count`` arguments, and what it returns, have the axis of the devices in
    front; the others are on every device. Nothing is exchanged.
    """
    each, everywhere = PartitionSpec(_BATCHES), PartitionSpec()

    def of_one(*arguments: Any) -> Any:
        own = jax.tree.map(lambda leaf: leaf[0], arguments[:count])
        return jax.tree.map(lambda leaf: leaf[None], function(*own, *arguments[count:]))

    def of_all(*arguments: Any) -> Any:
        specs = (*[each] * count, *[everywhere] * (len(arguments) - count))
        mapped = jax.shard_map(
            of_one, mesh=mesh, in_specs=specs, out_specs=each, check_vma=False
        )
        return mapped(*arguments)

    return jax.jit(of_all)


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
    batches, state = arguments(program, starts)
    steps = np.array([s.step for s in of_each_device(program, starts)], np.int32)
    stride = FIRST_STRIDE
    while True:
        stop = min(int(steps.min()) + stride, last)
        before = time.perf_counter()
        state, *scores = program.call(
            batches,
            state,
            per_device(steps, program.mesh),
            np.int32(stop),
            np.bool_(stop == last),
            data,
        )
        jax.block_until_ready(scores)
        if stop == last:
            outputs = jax.device_get(Output(state, *scores))
            return unstack(outputs, len(starts))
        steps = np.maximum(steps, np.int32(stop))
        faster = SEGMENT_SECONDS / max(time.perf_counter() - before, 1e-3)
        stride = max(1, int(stride * min(faster, 8.0)))
        on_segment(
            steps[: len(starts)].tolist(),
            lambda state=state: unstack(jax.device_get(state), len(starts)),
        )


def arguments(program: Program, starts: Sequence[Start]) -> tuple[BatchInputs, State]:
    """Returns batches and states as the program takes them, on the devices."""
    begin = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), program.state)
    trees = [(s.batch, s.state or begin) for s in of_each_device(program, starts)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    return per_device(stacked, program.mesh)


def per_device(tree: Any, mesh: Mesh) -> Any:
    """Returns arrays on the devices, their leading axis spread over these."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(_BATCHES)))


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
        lanes = lanes_of(batch)
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
        return state, *scores

    return advance_batch


def lanes_of(batch: BatchInputs) -> Lanes:
    """Returns what the runs of a batch differ in, as its program takes it."""
    return Lanes(jax.random.key(batch.seed), batch.hparams, jnp.asarray(batch.fold))


def of_each_device(program: Program, starts: Sequence[Start]) -> list[Start]:
    """Returns a start for each device; those that are missing repeat the last."""
    return [*starts, *[starts[-1]] * (program.mesh.size - len(starts))]


def unstack(tree: Any, count: int) -> list[Any]:
    """Returns trees without the axis of the devices, of so many of them."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]
