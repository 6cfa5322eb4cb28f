"""Many runs at once: lanes, the tiles that they are trained in, and their rows.

A *lane* is one run: its static choices, a point of hyper-parameters, a seed, and the
fold that it holds out, if any. Lanes that share static choices and seed share their
minibatches, so a *tile* of them is one program whose product with ``x`` is one matrix
product. Every tile has the same width: a product of another width may round otherwise,
so a lane keeps its bits only in tiles of equal width. Short tiles are filled up with
copies of their last lane, and the copies' results are dropped.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import regularization, validation
from linclf_jax.training import execution, keeping, optimizers, states
from linclf_jax.training.execution import Output
from linclf_jax.training.search_space import Point
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import NO_FOLD, Data

MAX_WIDTH = 65536  # lanes of one program; far beyond what gains speed

RETIRED = "retired"  # the status of a lane that successive halving took out


class Lane(NamedTuple):
    """One run of a sweep."""

    lane: int  # its number, and its row in every result
    static: Static
    hparams: Hparams  # Python floats
    seed: int
    fold: int | None  # held out; None trains on all training rows
    num_rows: int | None = None  # that it trains on, for the ``C`` of its row


class Tile(NamedTuple):
    """Lanes that are trained together: one static choice, one seed."""

    static: Static
    seed: int
    lanes: tuple[Lane, ...]


def make_lanes(
    points: Iterable[Point],
    seeds: Sequence[int],
    folds: int = 0,
    num_rows: Mapping[int | None, int] | None = None,
) -> tuple[Lane, ...]:
    """Returns a lane for each point, seed and fold, repeats of a point side by side.

    Args:
        points: Static choices with hyper-parameters.
        seeds: Each in uint32.
        folds: K of a K-fold cross-validation; 0 is none.
        num_rows: How many a lane trains on, by the fold that it holds out; None where
            none is. Not known if not given.

    Raises:
        ValueError: No seed, one twice, or one out of range; a single fold.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds is {list(seeds)}; expected one or more, none twice")
    for seed in seeds:
        validation.validate_seed(seed, name="--seeds")
    if folds < 0 or folds == 1:
        raise ValueError(f"--folds is {folds}; expected 0, or at least 2")
    held_out, known = range(folds) if folds else (None,), num_rows or {}
    runs = itertools.product(points, seeds, held_out)
    return tuple(
        Lane(number, point.static, point.hparams, seed, fold, known.get(fold))
        for number, (point, seed, fold) in enumerate(runs)
    )


def make_tiles(lanes: Iterable[Lane], width: int) -> tuple[Tile, ...]:
    """Returns the lanes in tiles of at most ``width``, tiles of a static side by side.

    Args:
        lanes: In any order.
        width: Lanes of one compiled program.

    Raises:
        ValueError: The width is out of range.
    """
    validate_width(width)
    groups: dict[Static, dict[int, list[Lane]]] = {}
    for lane in lanes:
        groups.setdefault(lane.static, {}).setdefault(lane.seed, []).append(lane)
    return tuple(
        Tile(static, seed, tuple(group[start : start + width]))
        for static, by_seed in groups.items()
        for seed, group in by_seed.items()
        for start in range(0, len(group), width)
    )


def default_width(num_classes: int) -> int:
    """Returns a tile width at which its program is fast, and short tiles waste little.

    A product is fast from about a thousand columns, ``C T`` of them, on; see
    docs/performance.md.

    Args:
        num_classes: C.

    >>> default_width(10), default_width(100), default_width(1000)
    (128, 32, 4)
    """
    return min(128, 1 << max(0, (4096 // num_classes).bit_length() - 1))


def validate_width(width: int) -> None:
    """Checks the width of a tile.

    Args:
        width: Lanes of one compiled program.

    Raises:
        ValueError: It is out of range.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"--tile_width is {width}; expected 1 to {MAX_WIDTH}")


def filled(tile: Tile, width: int, dtype: np.dtype) -> execution.BatchInputs:
    """Returns a tile as its program takes it, filled up with its last lane.

    Args:
        tile: At most ``width`` lanes.
        width: Of the compiled program.
        dtype: Of the parameters.

    Raises:
        ValueError: The tile holds more lanes than ``width``.
    """
    missing = width - len(tile.lanes)
    if missing < 0:
        raise ValueError(f"a tile holds {len(tile.lanes)} lanes; its width is {width}")
    lanes = tile.lanes + tile.lanes[-1:] * missing
    columns = zip(*(lane.hparams for lane in lanes), strict=True)
    hparams = Hparams(*(np.array(column, dtype) for column in columns))
    folds = [NO_FOLD if lane.fold is None else lane.fold for lane in lanes]
    return execution.BatchInputs(
        np.array(tile.seed, np.uint32), hparams, np.array(folds, np.int32)
    )


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


def make_rows(
    tile: Tile, output: Output, *, finished: bool = True
) -> list[dict[str, Any]]:
    """Returns one row per lane: its choices, its hyper-parameters, what came of it.

    A hyper-parameter that the lane does not use is None.

    Args:
        tile: The lanes.
        output: What ``execution.run`` returned for them.
        finished: Whether the lanes made all their steps; where they did not, those
            that have not diverged are retired.
    """
    return list(_rows(tile, output, "ok" if finished else RETIRED))


def _rows(tile: Tile, output: Output, well: str) -> Iterator[dict[str, Any]]:
    scores = {
        f"{split}_{name}": values.tolist()
        for split, part in (("train", output.train), ("val", output.validation))
        for name, values in part._asdict().items()
    }
    epochs = keeping.epochs(output.state).tolist()
    for index, lane in enumerate(tile.lanes):
        status = int(output.state.status[index])
        used = optimizers.uses(lane.static)
        yield {
            "lane": lane.lane,
            **{name: getattr(lane.static, name) for name in _STATIC_COLUMNS},
            **{k: v if k in used else None for k, v in lane.hparams._asdict().items()},
            "C": inverse_strength(lane),
            "seed": lane.seed,
            "fold": lane.fold,
            "status": well if status == states.OK else "diverged",
            "reason": states.REASONS.get(status),
            **{name: values[index] for name, values in scores.items()},
            "epoch": epochs[index],
            "steps": int(output.state.steps[index]),
        }


def inverse_strength(lane: Lane) -> float | None:
    """Returns scikit-learn's ``C`` for the penalty of a lane.

    Args:
        lane: Of any loss.

    Returns:
        None without a penalty, for a loss that is not logistic regression's, and where
        it is not known how many rows the lane trains on.
    """
    logistic = lane.static.loss == "softmax_cross_entropy"
    if lane.num_rows is None or lane.hparams.l2 == 0 or not logistic:
        return None
    return regularization.inverse_strength(
        float(lane.hparams.l2), lane.num_rows, lane.static.num_classes
    )


# Every choice that makes a setting is a column of its row: two settings that differ in
# what is none would be averaged as repeats of one.
_STATIC_COLUMNS = (
    *("features", "preprocessing", "optimizer", "schedule", "loss"),
    *("batch_size", "epochs", "keep", "gradient", "precision"),
    *("num_classes", "smoothed"),
)


def make_arrays(tile: Tile, output: Output) -> dict[str, np.ndarray]:
    """Returns what a tile's lanes came to as arrays, lanes in front, without copies.

    Args:
        tile: The lanes.
        output: What ``execution.run`` returned for them.

    Returns:
        ``lane (L,)``, ``W (L, D, C)``, ``b (L, C)``, and the curves ``(L, E)``.
    """
    count, state = len(tile.lanes), output.state
    W, b = map(np.asarray, keeping.params(state))
    curves = {k: np.asarray(v).T[:count] for k, v in state.curves._asdict().items()}
    return {
        "lane": np.array([lane.lane for lane in tile.lanes]),
        "W": np.moveaxis(W, -1, 0)[:count],
        "b": b[0].T[:count],
        **curves,
    }
