"""Rows in chunks of one size, which every pass reads one after the other.

A pass adds up in float64 what each chunk gives. A chunk stays in the processor's cache
from one product to the next: at 16,000 x 768, five lanes and 100 classes a product with
the Hessian took 139 ms in chunks and 200 ms with all rows at once, where its two matrix
products take 120. The sums are the same bits however many chunks a block holds.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CHUNK = 1024  # rows; fewer where there are fewer rows
LEAST_CHUNK = 64
SLAB = 2**20  # entries of float64 that host code widens at once


class Block(NamedTuple):
    """K chunks of M rows; those that fill up the last have weight 0."""

    x: jax.Array  # (K, M, D) as stored, or the columns of a pass
    labels: jax.Array  # (K, 1 or L, M) int32, the first class of the largest target
    targets: jax.Array | None  # (K, 1 or L, C, M); None where each row has one class
    sample_weights: jax.Array  # (K, L, M)
    num_rows: jax.Array  # () int32, of which the others are filled up


class Lazy(Sequence[Any]):
    """Blocks that are made each time they are read."""

    def __init__(self, count: int, make: Callable[[int], Any]):
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        if index >= self._count:
            raise IndexError(index)
        return self._make(index)


class Data(NamedTuple):
    """Rows and what belongs to them, NumPy arrays but for the features."""

    x: Any  # (N, D), of which slices are arrays
    labels: np.ndarray  # (1 or L, N)
    targets: np.ndarray | None  # (1 or L, N, C)
    sample_weights: np.ndarray  # (L, N), normalised


def in_memory(data: Data) -> tuple[Block]:
    """Returns all rows as one block."""
    return (_block(data, *shape(data.labels.shape[1])),)


def streamed(data: Data, chunks: int) -> Sequence[Block]:
    """Returns blocks of some chunks, whose features are read each time."""
    num_rows = data.labels.shape[1]
    size = shape(num_rows)[1]
    step = chunks * size

    def make(index: int) -> Block:
        rows = slice(index * step, min((index + 1) * step, num_rows))
        weights = data.sample_weights[:, rows]
        x = np.array(data.x[rows])
        x[~(weights != 0.0).any(axis=0)] = 0  # whatever they hold, they take no part
        targets = None if data.targets is None else data.targets[:, rows]
        return _block(Data(x, data.labels[:, rows], targets, weights), chunks, size)

    return Lazy(-(-num_rows // step), make)


def _block(data: Data, count: int, size: int) -> Block:
    """Returns rows in so many chunks of a size."""
    targets = None
    if data.targets is not None:
        chunks = _chunks(data.targets, 1, count, size)
        targets = jnp.asarray(np.swapaxes(chunks, 2, 3))
    return Block(
        x=jnp.asarray(_chunks(_on_device(data.x), 0, count, size)),
        labels=jnp.asarray(_chunks(data.labels, 1, count, size)),
        targets=targets,
        sample_weights=jnp.asarray(_chunks(data.sample_weights, 1, count, size)),
        num_rows=jnp.asarray(data.labels.shape[1], jnp.int32),
    )


def _on_device(x: np.ndarray) -> np.ndarray:
    """Returns features in a dtype that the device has."""
    if x.dtype.kind in "iu" and x.dtype.itemsize > 1:
        return x.astype(np.float64)
    return x.astype(np.float64) if x.dtype.itemsize > 8 else x


def shape(num_rows: int) -> tuple[int, int]:
    """Returns how many chunks a block of so many rows has, and their size.

    Few numbers serve all: a program for one count of rows serves its neighbours.
    """
    size = min(CHUNK, max(LEAST_CHUNK, 1 << (num_rows - 1).bit_length()))
    count = -(-num_rows // size)
    unit = 1 << max(count.bit_length() - 4, 0)
    return -(-count // unit) * unit, size


def _chunks(array: np.ndarray, axis: int, count: int, size: int) -> np.ndarray:
    """Returns the chunks of an axis in front, zeros in those rows that fill up."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    whole = np.zeros((*before, count * size, *after), array.dtype)
    whole[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
    laid = whole.reshape(*before, count, size, *after)
    return np.ascontiguousarray(np.moveaxis(laid, axis, 0))


def take(block: Block, lanes: np.ndarray) -> Block:
    """Returns a block of some lanes."""
    if np.array_equal(lanes, np.arange(block.sample_weights.shape[1])):
        return block
    labels, targets, weights = taken(
        (block.labels, block.targets, block.sample_weights), lanes
    )
    return block._replace(labels=labels, targets=targets, sample_weights=weights)


@jax.jit
def taken(arrays, lanes: np.ndarray):
    """Returns lanes of arrays ``(K, L, ...)``; those that all lanes share stay."""
    return jax.tree.map(lambda a: a if a.shape[1] == 1 else a[:, lanes], arrays)


@jax.jit
def replaced(arrays, lanes: np.ndarray, part):
    """Returns arrays ``(K, L, ...)`` with some of their lanes replaced."""
    return jax.tree.map(lambda old, new: old.at[:, lanes].set(new), arrays, part)


def mapped(blocks: Sequence[Any], function: Callable[[Any], Any]) -> Sequence[Any]:
    """Applies a function to blocks: at once in memory, else when one is read."""
    if isinstance(blocks, tuple):
        return tuple(map(function, blocks))
    return lazily(blocks, function)


def lazily(blocks: Sequence[Any], function: Callable[[Any], Any]) -> Lazy:
    """Applies a function to blocks whenever one is read."""
    return Lazy(len(blocks), lambda index: function(blocks[index]))


def zeros(shape: int | tuple[int, ...]) -> Any:
    """Returns the float64 sums over no rows; NumPy's, which compile nothing."""
    return np.zeros(shape)


def add_up(block: Block, zero: Any, add: Callable[[Block, jax.Array, Any], Any]) -> Any:
    """Calls ``add(chunk, number, sums)`` for each chunk of a block, without its K."""
    size = block.x.shape[1]

    def step(number: jax.Array, sums: Any) -> Any:
        arrays = block._replace(num_rows=None)
        chunk = jax.tree.map(lambda array: array[number], arrays)
        return add(chunk, number, sums)

    return jax.lax.fori_loop(0, (block.num_rows + size - 1) // size, step, zero)


def slabs(blocks: Sequence[Block]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows ``(S, D)`` in float64, few at a time, and weights ``(L, S)``.

    Those that have weight in some lane.
    """
    for block in blocks:
        num_rows, features = int(block.num_rows), block.x.shape[2]
        x = np.asarray(block.x).reshape(-1, features)[:num_rows]
        weights = np.moveaxis(np.asarray(block.sample_weights), 1, 0)
        weights = weights.reshape(len(weights), -1)[:, :num_rows]
        step = max(1, SLAB // max(features, 1))
        for start in range(0, num_rows, step):
            own = weights[:, start : start + step]
            used = (own != 0.0).any(axis=0)
            rows = x[start : start + step].astype(np.float64)
            yield (rows, own) if used.all() else (rows[used], own[:, used])
