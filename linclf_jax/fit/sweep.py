"""Many runs at once: a grid of lanes, cut into stacks of one width.

A *lane* is one run: its static choices, a seed and a point of hyper-parameters. Lanes
that share static choices and seed share their minibatches, so a *tile* of them is one
program whose product with ``x`` is one matrix product. Every tile has the same width:
a product of another width may round otherwise, so a lane keeps its bits only in
tiles of equal width. Short tiles are filled up with copies of their last lane, and the
copies' results are dropped.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from linclf_jax import validation
from linclf_jax.fit import optimizers, settings, stack, training
from linclf_jax.fit.settings import Hparams, Static
from linclf_jax.fit.training import Data, History
from linclf_jax.params import Params

MAX_WIDTH = 65536  # lanes of one program; far beyond what gains speed


class Lane(NamedTuple):
    """One run of a sweep."""

    lane: int  # its number, and its row in every result
    static: Static
    seed: int
    hparams: Hparams  # Python floats


Program = Callable[[jax.Array, Hparams, Data], tuple[Params, History, "Scores"]]


class Tile(NamedTuple):
    """Lanes that are trained together: one static choice, one seed."""

    static: Static
    seed: int
    lanes: tuple[Lane, ...]


class Scores(NamedTuple):
    """How a trained lane does on what it may see; losses are without the penalty."""

    train_loss: jax.Array
    train_accuracy: jax.Array
    val_loss: jax.Array
    val_accuracy: jax.Array


class TileResult(NamedTuple):
    """What a tile's lanes came to, lanes in front, in the order of the tile."""

    lanes: np.ndarray  # (L,), int64: their numbers
    params: Params  # W (L, D, C), b (L, C)
    history: History  # curves (L, E), status and steps (L,)
    scores: Scores  # each (L,)


def make_lanes(
    statics: Sequence[Static],
    axes: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
) -> tuple[Lane, ...]:
    """Returns the product of static choices, seeds and hyper-parameter values.

    An axis that an optimizer does not use stays at its first value for that optimizer,
    so that no run is made twice under two names.

    Args:
        statics: The static choices.
        axes: Values for fields of ``Hparams``; fields left out keep their default.
        seeds: Each in uint32.

    Raises:
        ValueError: An unknown field, an empty axis, a repeated value, a value out of
            range, a bad seed.
    """
    _validate_axes(statics, axes, seeds)
    points = (
        (static, seed, hparams)
        for static in statics
        for seed in seeds
        for hparams in _points(axes, optimizers.uses(static.optimizer))
    )
    return tuple(Lane(number, *point) for number, point in enumerate(points))


def _points(
    axes: Mapping[str, Sequence[float]], used: tuple[str, ...]
) -> Iterator[Hparams]:
    values = [axes[name] if name in used else axes[name][:1] for name in axes]
    for point in itertools.product(*values):
        yield Hparams(**dict(zip(axes, map(float, point), strict=True)))


def _validate_axes(
    statics: Sequence[Static],
    axes: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
) -> None:
    for name, values in axes.items():
        if name not in Hparams._fields:
            raise ValueError(
                f"no hyper-parameter is named {name!r}; expected one of "
                f"{', '.join(Hparams._fields)}"
            )
        for value in values:
            settings.validate_hparam(name, value)
    for seed in seeds:
        validation.validate_seed(seed)
    for name, values in {**axes, "seeds": seeds, "optimizer": statics}.items():
        if len(values) == 0:
            raise ValueError(f"--{name} is empty; expected at least one value")
        distinct = set(map(settings.to_float32, values) if name in axes else values)
        if len(distinct) < len(values):
            raise ValueError(
                f"--{name} has {len(values)} values, {len(distinct)} of them distinct "
                "in float32; expected no repetition"
            )


def make_tiles(lanes: Sequence[Lane], width: int) -> tuple[Tile, ...]:
    """Returns the lanes in tiles of at most ``width``, each of one static and seed.

    Args:
        lanes: In any order.
        width: Lanes of one compiled program.

    Raises:
        ValueError: The width is below 1.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"--tile_width is {width}; expected 1 to {MAX_WIDTH}")
    groups: dict[tuple[Static, int], list[Lane]] = {}
    for lane in lanes:
        groups.setdefault((lane.static, lane.seed), []).append(lane)
    return tuple(
        Tile(static, seed, tuple(group[start : start + width]))
        for (static, seed), group in groups.items()
        for start in range(0, len(group), width)
    )


def run_tile(tile: Tile, data: Data, width: int) -> TileResult:
    """Trains the lanes of one tile and returns what they came to, as NumPy arrays.

    Args:
        tile: At most ``width`` lanes.
        data: Training and validation rows, once checked by ``validate_data``.
        width: Of the compiled program.

    Raises:
        ValueError: The tile holds more lanes than ``width``.
    """
    hparams = _hparams(tile, data, width)
    trained = _program(tile.static)(jax.random.key(tile.seed), hparams, data)
    lanes = np.array([lane.lane for lane in tile.lanes])
    return TileResult(
        lanes, *jax.tree.map(lambda array: np.asarray(array)[: len(lanes)], trained)
    )


def result_like(tile: Tile, data: Data, width: int) -> TileResult:
    """Returns what ``run_tile`` will return in structure, shapes and lane numbers.

    Nothing is trained or compiled; leaves other than ``lanes`` have no values.

    Args:
        tile: At most ``width`` lanes.
        data: Training and validation rows.
        width: Of the compiled program.
    """
    hparams = _hparams(tile, data, width)
    key = jax.random.key(tile.seed)
    shapes = jax.eval_shape(_program(tile.static), key, hparams, data)
    lanes = np.array([lane.lane for lane in tile.lanes])

    def cut(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((len(lanes), *leaf.shape[1:]), leaf.dtype)

    return TileResult(lanes, *jax.tree.map(cut, shapes))


def validate_data(data: Data, num_classes: int) -> None:
    """Checks training and validation rows, before anything is compiled.

    Args:
        data: What the lanes will see.
        num_classes: C.

    Raises:
        ValueError: Bad entries, or lengths or widths that do not match.
    """
    validation.validate_batch(data.x, data.labels, num_classes)
    validation.validate_batch(data.val_x, data.val_labels, num_classes)
    if data.x.shape[1] != data.val_x.shape[1]:
        raise ValueError(
            f"training rows have {data.x.shape[1]} columns, validation rows "
            f"{data.val_x.shape[1]}; expected equal numbers"
        )


def _hparams(tile: Tile, data: Data, width: int) -> Hparams:
    """Returns the lanes' hyper-parameters, filled up to ``width`` with the last."""
    missing = width - len(tile.lanes)
    if missing < 0:
        raise ValueError(f"a tile holds {len(tile.lanes)} lanes; its width is {width}")
    points = [lane.hparams for lane in tile.lanes + tile.lanes[-1:] * missing]
    dtype = np.result_type(data.x.dtype, np.float32)
    return Hparams(*(np.array(column, dtype) for column in zip(*points, strict=True)))


@functools.cache
def _program(static: Static) -> Program:
    """Returns the jitted program of all tiles with these static choices."""
    train = training.make_stacked_train(static)

    @jax.jit
    def run(
        key: jax.Array, hparams: Hparams, data: Data
    ) -> tuple[Params, History, Scores]:
        params, history = train(key, hparams, data)
        stacked = stack.lanes_last(params)
        scores = Scores(
            *training.evaluate(stacked, data.x, data.labels, static),
            *training.evaluate(stacked, data.val_x, data.val_labels, static),
        )
        return params, history, scores

    return run


def make_rows(tile: Tile, result: TileResult) -> list[dict[str, Any]]:
    """Returns one row per lane: its choices, its hyper-parameters, what came of it.

    A hyper-parameter that the lane's optimizer does not use is None.

    Args:
        tile: The lanes.
        result: What ``run_tile`` returned for them.
    """
    columns = {
        name: values.tolist() for name, values in result.scores._asdict().items()
    }
    rows = []
    for index, lane in enumerate(tile.lanes):
        used = optimizers.uses(lane.static.optimizer)
        status = int(result.history.status[index])
        rows.append(
            {
                "lane": lane.lane,
                **{name: getattr(lane.static, name) for name in _STATIC_COLUMNS},
                **{
                    k: v if k in used else None
                    for k, v in lane.hparams._asdict().items()
                },
                "seed": lane.seed,
                "fold": None,
                "status": "ok" if status == training.OK else "diverged",
                "reason": training.REASONS.get(status),
                **{name: values[index] for name, values in columns.items()},
                "steps": int(result.history.steps[index]),
            }
        )
    return rows


_STATIC_COLUMNS = ("optimizer", "schedule", "loss", "batch_size", "epochs")
