"""What a study is: a plan, and a way to fit.

There are two ways to fit, ``training`` by minibatches and ``exact``; whatever comes
before and after them, ``pipeline`` does alike for both.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from linclf_jax.data.datasets import Dataset
from linclf_jax.data.duplicates import Counts
from linclf_jax.data.preprocessing import Preprocessing, ScaledRows
from linclf_jax.params import Params
from linclf_jax.runs.store import Store
from linclf_jax.scheduler.signals import Stop
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.selection.ranking import Row

Key = tuple[str, str]  # the columns ``features`` and ``preprocessing`` of a row


class Inputs(NamedTuple):
    """The rows of one feature set, scaled; its test rows are unread.

    Training rows come first, then validation rows.
    """

    name: str
    dataset: Dataset
    features: str  # ``raw``, or an image recipe of ``images.NAMES``
    scaling: Preprocessing
    x: np.ndarray | ScaledRows  # (N, D) float32
    labels: np.ndarray  # (N,) int
    index: np.ndarray  # (N,), row numbers in the files
    fold: np.ndarray  # (N,) int32, which fold holds a row out, or NOT_HELD_OUT
    resampling: str  # a name in ``resampling.NAMES``; for draws of shots, of the rest
    draws: np.ndarray  # (G, N) boolean, the rows of each draw of shots; (0, N) without
    duplicates: Counts  # of rows that are held out
    warnings: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """C, of the names of the classes."""
        return len(self.dataset.class_names)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study is about, however it fits; all flags and data are checked."""

    name: str  # the script: sweep, train, course, path or probe
    config: Any  # all flags, as nested dataclasses
    inputs: Mapping[Key, Inputs]
    unit: str  # of the penalties, l2 or C: the flag that widens them
    group_by: tuple[str, ...] = ()  # one setting is selected for each combination
    has_edges: bool = True  # whether the search space has ends that can be widened
    protocol: Mapping[str, Any] | None = None  # of a paper, as ``selected.json`` has it
    shard: tuple[int, int] | None = None  # index and number of shards: none selects

    @property
    def metric(self) -> str:
        """What a selection ranks by, a name in ``ranking.METRICS``."""
        return self.config.selection.metric


class FitResults(NamedTuple):
    """What came of all trials."""

    rows: list[Row]  # of results.jsonl
    history: dict[str, np.ndarray]  # of history.npz
    # How settings do on each row that is held out, for each set of such rows; none
    # where not all settings were fitted to the end, or each has rows of its own.
    held_out: tuple[HeldOut, ...]
    # By metric, then by the first trial of a setting: the standard error of its score,
    # where the rows that are held out, and not folds, say how sure it is.
    standard_errors: Mapping[str, Mapping[int, float]]
    given: tuple[Selection, ...] = ()  # of groups in which nothing can be compared
    left_out: int = 0  # penalties, weaker than those whose scores had passed the best


class Classifier(NamedTuple):
    """A classifier that was chosen without the test rows."""

    selection: Selection
    params: Params  # W (D, C), b (C,)
    row: Row  # whose trial is None if it was trained again after the selection
    refit: bool  # to all rows but the test's, once its setting was chosen
    num_rows: int  # that it was fitted to
    temperature: float | None  # fitted on rows that its comparison held out
    resampling: str | None  # how rows were held out; None where nothing was compared
    num_held_out: int  # rows
    loss: str = "softmax_cross_entropy"
    precision: str = "highest"
    curves: Mapping[str, np.ndarray] | None = None  # (E,) each
    new_rows: tuple[Row, ...] = ()  # of fits that were made for it, for results.jsonl


class Study(Protocol):
    """One command's work. What takes a ``stop`` raises ``signals.Stopped`` for it."""

    @property
    def plan(self) -> Plan:
        """What it is about."""
        ...

    def fit(self, store: Store, stop: Stop) -> FitResults:
        """Fits all trials but those that the store holds; all states are kept there."""
        ...

    def classifiers(
        self,
        selections: Sequence[Selection],
        results: FitResults,
        store: Store,
        stop: Stop,
    ) -> Sequence[Classifier | Failure]:
        """Returns the classifier of each selection: loaded, fitted again, or solved.

        A failure is a setting that is not usable when it is fitted again.
        """
        ...

    def replay(self, row: Row, stop: Stop) -> Row:
        """Returns the row of a trial that is fitted once more; writes nothing."""
        ...


def key_of(row: Row) -> Key:
    """Returns which inputs a trial or a setting is of."""
    return row["features"], row["preprocessing"]
