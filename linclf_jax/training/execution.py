"""The compiled program of a static choice, and tiles driven through it in segments.

A program advances one tile on each device of a mesh: all arrays of the tiles stand
behind an axis of devices, sharded along it; the data is on every device. Nothing is
exchanged between devices, so a tile's bits do not depend on how many there are. First
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

from linclf_jax.training import keeping
from linclf_jax.training import program as training
from linclf_jax.training.evaluation import Scores
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import Data, State

_TILES = "tiles"  # the axis of the mesh
# Between two looks at whether to stop; how fast a program is, the first steps show.
SEGMENT_SECONDS = 1.0
FIRST_STRIDE = 8  # steps


class Tile(NamedTuple):
    """What tells a tile from others of its static choice, as NumPy arrays."""

    seed: jax.Array | np.ndarray  # (), uint32
    hparams: Hparams  # arrays (L,)
    fold: jax.Array | np.ndarray  # (L,), int32: the fold held out, or NO_FOLD


class Start(NamedTuple):
    """Where a tile stands: ``state`` came out of step ``step - 1``; None at step 0."""

    tile: Tile
    step: int = 0
    state: State | None = None  # NumPy arrays


class Output(NamedTuple):
    """A tile after its last step, as NumPy arrays, lanes last."""

    state: State
    train: Scores  # each (L,), on the rows that a lane trains on
    validation: Scores  # each (L,)


class Program(NamedTuple):
    """A compiled program and what must be known to call it."""

    mesh: Mesh
    call: Callable[..., Any]  # see ``build``
    state: State  # shapes and dtypes of one tile's state
    last_step: int  # of a whole run
    memory: Any  # jax's analysis of the program on one device


def make_mesh(devices: Sequence[Any]) -> Mesh:
    """Returns the mesh that tiles are spread over.

    Args:
        devices: One or more of a kind.
    """
    return Mesh(np.asarray(devices), (_TILES,), axis_types=(AxisType.Auto,))


def place(data: Data, mesh: Mesh) -> Data:
    """Returns the data as it lies on every device of the mesh.

    Args:
        data: Training and validation rows.
        mesh: From ``make_mesh``.
    """
    return jax.device_put(data, NamedSharding(mesh, PartitionSpec()))


def build(static: Static, data: Data, width: int, mesh: Mesh) -> Program:
    """Compiles the one program of a static choice.

    Args:
        static: What is compiled in; see ``settings.validate_static``.
        data: From ``place``; its shapes and dtypes are used.
        width: L, lanes of a tile.
        mesh: From ``make_mesh``.
    """
    per_tile, everywhere = PartitionSpec(_TILES), PartitionSpec()
    program = jax.shard_map(
        _advance_tile(static, width),
        mesh=mesh,
        in_specs=(*[per_tile] * 3, *[everywhere] * 3),
        out_specs=per_tile,
        check_vma=False,  # nothing is exchanged: each device loops for itself
    )
    tile = _tile_like(width, data)
    state = jax.eval_shape(
        lambda: training.begin(static, jax.random.key(0), tile.hparams, data)
    )
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (mesh.size, *leaf.shape),
            leaf.dtype,
            sharding=NamedSharding(mesh, per_tile),
        ),
        (tile, state, np.zeros((), np.int32)),
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
    look: Callable[[list[int], Callable[[], list[State]]], None],
) -> list[Output]:
    """Drives tiles to a step, one on each device, and returns what they came to.

    Args:
        program: From ``build``.
        starts: At most one tile for each device of the program's mesh.
        data: From ``place``.
        last: One past the last step to make.
        look: Called about once in ``SEGMENT_SECONDS`` as ``look(steps, states)``, with
            the steps that each tile has made; ``states()`` returns the states that
            they led to. What it raises, to stop for instance, passes through.
    """
    sharding = NamedSharding(program.mesh, PartitionSpec(_TILES))
    tiles, state = arguments(program, starts)
    filled = _filled(program, starts)
    steps = np.array([start.step for start in filled], np.int32)
    stride = FIRST_STRIDE
    while True:
        stop = min(int(steps.min()) + stride, last)
        before = time.perf_counter()
        state, *scores = program.call(
            tiles,
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
        look(
            steps[: len(starts)].tolist(),
            lambda state=state: _unstack(jax.device_get(state), len(starts)),
        )


def arguments(program: Program, starts: Sequence[Start]) -> tuple[Tile, State]:
    """Returns tiles and states as the program takes them, on the devices.

    Args:
        program: From ``build``.
        starts: At most one for each device; the last one fills up what is missing.
    """
    begin = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), program.state)
    pairs = [(start.tile, start.state or begin) for start in _filled(program, starts)]
    sharding = NamedSharding(program.mesh, PartitionSpec(_TILES))
    return jax.device_put(_stack(pairs), sharding)


def _advance_tile(static: Static, width: int) -> Callable[..., Any]:
    """Returns what each device does: its tile alone, without the axis of the mesh."""

    def advance_tile(
        tile: Tile,
        state: State,
        first: jax.Array,
        last: jax.Array,
        scored: jax.Array,
        data: Data,
    ) -> tuple[State, Scores, Scores]:
        tile, state, first = jax.tree.map(lambda leaf: leaf[0], (tile, state, first))
        key, hparams = jax.random.key(tile.seed), tile.hparams
        fold = jnp.asarray(tile.fold)
        state = jax.lax.cond(
            first == 0,
            lambda _: training.begin(static, key, hparams, data),
            lambda state: state,
            state,
        )
        state = training.advance(static, state, key, hparams, fold, data, first, last)
        unknown = Scores(*[jnp.full(width, jnp.nan, state.params.W.dtype)] * 2)
        scores = jax.lax.cond(
            scored,
            lambda params: training.score(static, params, fold, data),
            lambda _: (unknown, unknown),
            keeping.params(state),
        )
        return jax.tree.map(lambda leaf: leaf[None], (state, *scores))

    return advance_tile


def _filled(program: Program, starts: Sequence[Start]) -> list[Start]:
    return [*starts, *[starts[-1]] * (program.mesh.size - len(starts))]


def _tile_like(width: int, data: Data) -> Tile:
    dtype = np.result_type(data.x.dtype, np.float32)
    hparams = Hparams(*[np.zeros(width, dtype)] * len(Hparams._fields))
    return Tile(np.zeros((), np.uint32), hparams, np.zeros(width, np.int32))


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]
