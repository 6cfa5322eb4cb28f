"""Rows that are not in memory, gathered on the host while the devices are at work.

Those of training come in *segments*, some steps of one epoch in its order, those that
are scored in *spans*, in the order of the file. All have one shape: what is missing at
an end weighs nothing.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from linclf_jax.training import evaluation, row_order
from linclf_jax.training import program as training
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data

T = TypeVar("T")
SIZE = 2**22  # bytes of float32 rows that are gathered at a time


class Table(NamedTuple):
    """Training or validation rows, of which the features alone are not in memory."""

    x: Any  # (N, D) float32, an array where it is indexed
    labels: np.ndarray  # (N,)
    folds: np.ndarray | None  # (N,)

    def read(self, rows: slice | np.ndarray) -> "Table":
        """Returns some rows, in memory."""
        folds = None if self.folds is None else self.folds[rows]
        return Table(self.x[rows], self.labels[rows], folds)

    def zeros(self, count: int) -> "Table":
        """Returns rows of the same columns and dtypes."""
        labels = np.zeros(count, self.labels.dtype)
        folds = None if self.folds is None else np.zeros(count, self.folds.dtype)
        return Table(np.zeros((count, self.x.shape[1]), np.float32), labels, folds)

    def data(self) -> Data:
        """Returns rows in memory as data, which validates on none."""
        x, labels, folds = self
        return Data(x, labels, x[:0], labels[:0], folds)  # pyright: ignore

    @property
    def span(self) -> int:
        """How many rows are scored at a time."""
        most = SIZE // (4 * self.x.shape[1])
        return evaluation.spans(len(self.labels), most)[0].stop


class Segment(NamedTuple):
    """Steps ``start`` to ``stop`` of an epoch, and their rows in order."""

    number: int  # of the epoch
    start: int
    stop: int
    rows: Data  # x (devices, S B, D)
    weights: np.ndarray  # (devices, S, B)


class SpanRows(NamedTuple):
    """The rows of an ``evaluation.Span``, filled up with zeros."""

    rows: Table
    repeated: int  # of them, at the beginning
    count: int  # of them, without those that fill up


def tables(data: Data) -> tuple[Table, Table]:
    """Returns training and validation rows."""
    parts = (data.labels, data.folds, data.val_labels, data.val_folds)
    labels, folds, *others = (None if a is None else np.asarray(a) for a in parts)
    return Table(data.x, labels, folds), Table(data.val_x, *others)  # pyright: ignore


def num_steps(static: Static, num_rows: int, num_columns: int) -> int:
    """Returns the steps of a segment."""
    most = SIZE // (4 * num_columns * static.batch_size)
    return min(max(most, 1), training.steps_per_epoch(num_rows, static))


def segments(
    static: Static, train: Table, seeds: Sequence[int], first: int, last: int
) -> Iterator[Segment]:
    """Yields what leads from a step to another, a segment without steps if nothing.

    Each device has the order of its own seed.
    """
    num_rows, num_columns = train.x.shape
    per_epoch = training.steps_per_epoch(num_rows, static)
    length, ordered = num_steps(static, num_rows, num_columns), None
    orders: list[tuple[jax.Array, jax.Array]] = []
    while True:
        number, start = divmod(first, per_epoch)
        stop = min(start + length, per_epoch, start + last - first)
        if number != ordered:
            ordered, keys = number, map(jax.random.key, seeds)
            orders = [_order(static, key, np.int32(number), num_rows) for key in keys]
        steps = slice(start, stop)
        parts = [_gathered(train, *each, steps, length) for each in orders]
        own = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
        yield Segment(number, start, stop, *own)
        first += stop - start
        if first >= last:
            return


_order = jax.jit(row_order.of_epoch, static_argnames=("static", "num_rows"))


def _gathered(
    train: Table,
    rows: jax.Array,
    weights: jax.Array,
    steps: slice,
    length: int,
) -> tuple[Data, np.ndarray]:
    """Returns rows and weights of steps, filled up to a number of steps."""
    missing = ((0, length - (steps.stop - steps.start)), (0, 0))
    index, own = (np.pad(np.asarray(a)[steps], missing) for a in (rows, weights))
    return train.read(index.reshape(-1)).data(), own


def spans(table: Table) -> Iterator[SpanRows]:
    """Yields all rows of a table in the order in which they are scored."""
    size = table.span
    for start, stop, repeated in evaluation.spans(len(table.labels), size):
        rows, count = table.read(slice(start, stop)), stop - start
        filled = [
            None if a is None else np.pad(a, ((0, size - count), (0, 0))[: a.ndim])
            for a in rows
        ]
        yield SpanRows(Table(*filled), repeated, count)  # pyright: ignore


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields items while a thread makes the next one."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
