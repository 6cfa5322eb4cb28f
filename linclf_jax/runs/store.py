"""Where a study keeps what it has done so far; here in memory, writing nothing.

A *batch* is what came of trials that were fitted together: rows and arrays. It is
either numbered, and its rows are a part of the results, or it is kept apart, and only
who knows its name sees it. While a batch is in the making, its *state* is what it goes
on from.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from linclf_jax.runs import formats


class Batch(NamedTuple):
    """Finished trials: their rows of results, and arrays with trials in front."""

    rows: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]


class Store(Protocol):
    """What studies, the scheduler and its workers ask of a store."""

    def save_batch(self, name: str, batch: Batch, *, apart: bool = False) -> None:
        """Keeps a finished batch; from the moment this returns it is durable.

        Args:
            name: Letters, digits, ``-`` and ``_``. Of two batches that hold
                a trial, the one whose name sorts later is the later one.
            batch: None of its arrays is called ``rows``.
            apart: Of no numbered trials: only ``load_batch`` sees it.
        """
        ...

    def load_batch(self, name: str, *, apart: bool = False) -> Batch | None:
        """Returns a finished batch, or None if it is not there or was damaged.

        Args:
            name: Of the batch.
            apart: As in ``save_batch``.
        """
        ...

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Yields the finished batches that are not apart, in the order of their names.

        Args:
            names: Of the arrays to read; the others, which may be large, are left out.
        """
        ...

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns what the latest finished batch that holds a trial has of it.

        Args:
            trial: Its number.
            names: Of the arrays; each result has no axis of trials.

        Raises:
            ValueError: No batch holds the trial, or the one that does is damaged.
        """
        ...

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Keeps what an unfinished batch goes on from.

        Args:
            name: Of the batch.
            step: The updates made so far, more than at the last save.
            tree: A pytree of arrays, without typed keys.
        """
        ...

    def load_state(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Returns the step and the tree of the newest state that is whole, or None.

        Args:
            name: Of the batch.
            like: A pytree of the same structure; its leaves have shapes and dtypes. A
                state that holds other arrays is as good as a damaged one.
        """
        ...

    def drop_states(self, name: str) -> None:
        """Removes the states of a batch, once it is finished.

        Args:
            name: Of the batch.
        """
        ...

    def clear(self) -> None:
        """Removes all batches and states, once what they held is written elsewhere."""
        ...


class MemoryStore(Store):
    """Keeps batches and states for as long as the process lives."""

    def __init__(self) -> None:
        """Begins empty."""
        self._batches: dict[tuple[str, bool], Batch] = {}
        self._states: dict[str, tuple[int, Any]] = {}

    def __str__(self) -> str:
        return "the store in memory"

    def save_batch(self, name: str, batch: Batch, *, apart: bool = False) -> None:
        """Keeps copies of the arrays, and the rows as JSON would return them."""
        rows = formats.decode_rows(formats.encode_rows(batch.rows))  # as a file would
        arrays = {key: np.array(array) for key, array in batch.arrays.items()}
        self._batches[name, apart] = Batch(rows, arrays)

    def load_batch(self, name: str, *, apart: bool = False) -> Batch | None:
        """Returns a batch; none is ever damaged."""
        return self._batches.get((name, apart))

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Yields the batches that are not apart."""
        names = tuple(names)
        for name, apart in sorted(self._batches):
            if not apart:
                rows, arrays = self._batches[name, apart]
                yield Batch(rows, {key: arrays[key] for key in names})

    def load_trial(self, trial: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns what the latest batch that holds a trial has of it."""
        for batch in reversed([*self.batches(names)]):
            index = index_of(trial, batch)
            if index is not None:
                return {key: array[index] for key, array in batch.arrays.items()}
        raise ValueError(f"found no batch that holds trial {trial}")

    def save_state(self, name: str, step: int, tree: Any) -> None:
        """Keeps a state in place of the one before."""
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


def index_of(trial: int, batch: Batch) -> int | None:
    """Returns the row of a batch that is a trial's, or None.

    Args:
        trial: Its number.
        batch: Not apart.
    """
    numbers = [row["trial"] for row in batch.rows]
    return numbers.index(trial) if trial in numbers else None


def merged_rows(batches: Iterable[Batch]) -> list[dict[str, Any]]:
    """Returns the rows of batches in the order of their trials.

    Args:
        batches: From the earliest to the latest, which has the last word on a trial.
    """
    latest = {row["trial"]: row for batch in batches for row in batch.rows}
    return [latest[trial] for trial in sorted(latest)]


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by names that say where they stand in it.

    Args:
        tree: Any pytree.

    >>> flatten({"a": (1, 2)})
    {'a.0': 1, 'a.1': 2}
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """Returns arrays as a pytree, the other way round than ``flatten``.

    Args:
        arrays: By name.
        like: The pytree, of leaves with shape and dtype.

    Raises:
        ValueError: Names, shapes or dtypes differ.
    """
    leaves = flatten(like)
    shapes, expected = _shapes(arrays), _shapes(leaves)
    wrong = {n for n in {*shapes, *expected} if shapes.get(n) != expected.get(n)}
    if wrong:
        name = min(wrong)
        raise ValueError(
            f"{len(wrong)} arrays are not as expected, the first is {name}: found "
            f"{shapes.get(name)}, expected {expected.get(name)}"
        )
    ordered: Sequence[np.ndarray] = [arrays[name] for name in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), ordered)


def _shapes(arrays: dict[str, Any]) -> dict[str, tuple]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}
