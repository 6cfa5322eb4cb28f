"""Where a study keeps what it has done so far; here in memory, writing nothing.

A *batch* is what came of trials that were fitted together: rows and arrays. Its name
has letters, digits, ``-`` and ``_``; of two batches that hold a trial, that counts
whose name sorts later. A batch *apart* is no part of the results: ``load_batch`` alone
returns it. While a batch is in the making, its *state* is what it goes on from: a
pytree of arrays without typed keys.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from linclf_jax.runs import formats, schema


class Batch(NamedTuple):
    """Finished trials: their rows of results, and arrays with trials in front."""

    rows: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]  # none of them is called ``rows``

    def index_of(self, trial: int) -> int | None:
        """Returns the index of a trial, or None."""
        numbers = [row["trial"] for row in self.rows]
        return numbers.index(trial) if trial in numbers else None


class Store(Protocol):
    """What studies, the scheduler and its workers ask of a store."""

    def save_batch(self, name: str, batch: Batch, *, apart: bool = False) -> None:
        """Keeps a finished batch; from the moment this returns it is durable."""
        ...

    def load_batch(self, name: str, *, apart: bool = False) -> Batch | None:
        """Returns a finished batch, or None if it is not there or was damaged."""
        ...

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Yields the results in the order of the names of their batches.

        Args:
            names: Of the arrays to read, where a batch has them; the others, which may
                be large, are left out.
        """
        ...

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns arrays of a trial, without the axis of trials.

        Raises:
            ValueError: No batch holds the trial, or the one that does is damaged.
        """
        ...

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Keeps the state of a batch after so many updates, more than at the last."""
        ...

    def load_state(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Returns step and tree of the newest state that is whole, or None.

        Args:
            name: Of the batch.
            like: A pytree whose leaves have shapes and dtypes. A state that holds other
                arrays is as good as a damaged one.
        """
        ...

    def drop_states(self, name: str) -> None:
        """Removes the states of a batch, once it is finished."""
        ...

    def clear(self) -> None:
        """Removes all batches and states, once what they held is written elsewhere."""
        ...


class MemoryStore(Store):
    """Keeps batches and states for as long as the process lives."""

    def __init__(self) -> None:
        self._batches: dict[tuple[str, bool], Batch] = {}
        self._states: dict[str, tuple[int, Any]] = {}

    def __str__(self) -> str:
        return "the store in memory"

    def save_batch(self, name: str, batch: Batch, *, apart: bool = False) -> None:
        """Keeps copies of the arrays, and the rows as a file of JSON has them."""
        rows = formats.decode_rows(formats.encode_rows(batch.rows))
        arrays = {key: np.array(array) for key, array in batch.arrays.items()}
        self._batches[name, apart] = Batch(rows, arrays)

    def load_batch(self, name: str, *, apart: bool = False) -> Batch | None:
        """Returns a batch; none is ever damaged."""
        return self._batches.get((name, apart))

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Yields the results."""
        names = tuple(names)
        for (_, apart), (rows, arrays) in sorted(self._batches.items()):
            if not apart:
                yield Batch(rows, {key: arrays[key] for key in names if key in arrays})

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns arrays of a trial."""
        for batch in reversed([*self.batches(names)]):
            index = batch.index_of(trial)
            if index is not None:
                return {key: array[index] for key, array in batch.arrays.items()}
        raise ValueError(f"found no batch that holds trial {trial}")

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Keeps a state instead of the one before."""
        self._states[name] = step, jax.tree.map(np.asarray, tree)

    def load_state(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Returns the newest state."""
        del like  # nothing but this process has made it
        return self._states.get(name)

    def drop_states(self, name: str) -> None:
        """Forgets the state of a batch."""
        self._states.pop(name, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._batches.clear()
        self._states.clear()


def merged(
    batches: Iterable[Batch],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray] | None]:
    """Returns the rows of batches and their curves, in the order of the trials.

    Args:
        batches: As a store yields them, with the arrays ``trial (L,)`` and ``CURVES
            (L, E)`` where trials have curves; E may differ.

    Returns:
        The rows; and ``trial`` and the curves of all, shorter ones ending in NaN, or
        None where there are none.
    """
    latest = {
        row["trial"]: (batch, index)
        for batch in batches
        for index, row in enumerate(batch.rows)
    }
    in_order = [latest[trial] for trial in sorted(latest)]
    rows = [batch.rows[index] for batch, index in in_order]
    if not rows or any("trial" not in batch.arrays for batch, _ in in_order):
        return rows, None
    history = {"trial": np.array([int(b.arrays["trial"][i]) for b, i in in_order])}
    for name in schema.CURVES:
        curves = [batch.arrays[name][index] for batch, index in in_order]
        shape = len(curves), max(map(len, curves))
        history[name] = np.full(shape, np.nan, np.result_type(*curves))
        for row, curve in zip(history[name], curves, strict=True):
            row[: len(curve)] = curve
    return rows, history


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by names that say where they stand in it.

    >>> flatten({"a": (1, 2)})
    {'a.0': 1, 'a.1': 2}
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """Returns a pytree that ``flatten`` took apart.

    Raises:
        ValueError: Names, shapes or dtypes are not those of ``like``.
    """
    leaves = flatten(like)
    for name in sorted({*arrays, *leaves}):
        found, expected = (
            (each[name].shape, each[name].dtype) if name in each else None
            for each in (arrays, leaves)
        )
        if found != expected:
            raise ValueError(f"array {name} is {found}, expected {expected}")
    ordered = [arrays[name] for name in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), ordered)
