"""What the files of a run directory hold, alike for all studies.

``results.jsonl`` has one row per trial; ``Row`` lists its columns. ``selected.json`` is
a ``Selected``: an entry for each group in which one setting was chosen. A value without
meaning is null.

``history.npz`` has, of trials that were trained, ``trial (L,)`` and the ``CURVES``
``(L, E)``. Of exact fits it has, for the group of entry G, the arrays of ``PATH`` as
``G.NAME (K,)``, the largest penalty first, and those of ``FOLDS`` as ``G.folds.NAME``
``(K, F)`` where folds were held out; of a path also ``coefficients (K, D, C)`` and the
arrays of ``WORK`` ``(K, F + 1)``, the fit to all rows last.

``splits.npz`` has, of each set of exact fits, ``NAME.index (N,)``, the rows but the
test's by their number in the files, ``NAME.fold (N,)``, the fold that holds a row out,
-1 for none, and ``NAME.draws (G, N)``, which rows were drawn for few shots.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Spread

RESULTS, HISTORY, SPLITS = "results.jsonl", "history.npz", "splits.npz"
SELECTED, MODEL = "selected.json", "selected.safetensors"
CURVES = ("train_loss", "val_loss", "val_accuracy")
PATH = (
    "l2s",
    "val_loss",
    "val_loss_se",
    "val_accuracy",
    "val_accuracy_se",
    "val_loss_calibrated",
    "val_loss_calibrated_se",
)
FOLDS = ("val_loss", "val_accuracy", "val_loss_calibrated")
WORK = ("newton_steps", "products", "relative_gap")
SELECTION, FINAL = "selection", "final"  # stages of an exact fit


class Row(TypedDict):
    """One trial. Columns that a way to fit does not know are absent."""

    trial: int
    features: str  # the feature set, or what was computed of images
    preprocessing: str
    shots: int | None  # rows of each class; None where all were used
    seed: int | None  # of weights and minibatches, or of the draw of shots
    fold: int | None  # that was held out
    stage: str  # SELECTION, or FINAL of a fit whose classifier is tested
    optimizer: str  # and the other choices and numbers of ``training.settings``
    learning_rate: float
    l2: float
    C: float | None  # scikit-learn's, for the rows of this very fit
    status: str  # ``status.NOT_CERTIFIED`` of a fit that the selection does not rest on
    reason: str | None  # of a status that is no success
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_loss_calibrated: float | None  # of logits at the best temperature of them all
    epoch: int  # whose parameters a trained trial ended with
    steps: int
    objective: float
    gap: float
    relative_gap: float
    gradient_norm: float
    products: int  # of the Hessian with a vector


class Validation(TypedDict):
    """How a chosen setting did on rows that its fits did not see."""

    resampling: str | None  # a name in ``resampling.NAMES``; None without comparison
    size: int | None
    val_loss: float | None
    standard_error: float | None  # of ``val_loss``
    val_accuracy: float | None
    accuracy_interval: tuple[float, float] | None  # of 95 %, Wilson's
    val_loss_calibrated: float | None
    # Rows that are equal to one trained on: ``rows`` of ``size``, ``another_label``.
    duplicates: Mapping[str, int]


class Entry(TypedDict):
    """One group of trials, the setting chosen in it, and what its classifier does."""

    group: Mapping[str, Any]  # by column; empty where there is one group
    failure: str | None  # why no setting is usable: then there is nothing else
    trial: int | None  # the classifier's row; None if it was fitted again on all rows
    trials: Sequence[int]  # the repeats of the setting that were compared
    row: Row  # of the classifier
    model: str  # its file
    reason: str
    best: int  # first trial of the setting that the rule ``best`` takes
    standard_error: float | None  # of its mean, for ``one_standard_error``
    ties: Sequence[int]  # first trials of settings whose score is exactly the best
    warnings: Sequence[str]
    # What each rule takes: trial, l2, C and the scores; where both are known.
    rules: Mapping[str, Mapping[str, Any]]
    repeats: Mapping[str, Mapping[str, Any]]  # mean, sd, count by metric
    validation: Validation
    # How much the best score owes to having been chosen: settings, rows, resamples,
    # stability, accuracy, accuracy_error, loss, loss_error.
    selection_bias: Mapping[str, Any] | None
    refit: bool
    num_rows: int  # that the classifier was fitted to
    num_features: int
    temperature: float | None  # fitted on rows that the comparison held out
    test: Mapping[str, Any]  # what ``studies.testing.evaluate`` returns


class Selected(TypedDict):
    """``selected.json``."""

    metric: str
    rule: str
    select_per: Sequence[str]  # the columns of the groups
    protocol: Mapping[str, Any] | None  # name, source, sets, overridden, changed
    entries: Sequence[Entry]
    chosen: int  # the entry whose classifier is in ``MODEL``
    chosen_ties: Sequence[int]  # entries with exactly its score
    # Paired tests on the same test rows: first, second, difference, low, high, p_value,
    # only_a, only_b, size, adjusted.
    comparisons: Sequence[Mapping[str, Any]]
    # Of exact fits: fits, certified, worst_relative_gap of these, tol,
    # penalties_left_out, weaker than those by which scores had passed their best.
    certificates: Mapping[str, Any] | None
    test_data: Mapping[str, Mapping[str, Any]]  # sha256, rows, opened; by name of data
    warnings: Sequence[str]  # of the whole run


class Average(NamedTuple):
    """Entries that differ in their seed alone."""

    group: Mapping[str, Any]  # without the seed
    indices: tuple[int, ...]  # of the entries, by seed
    entries: tuple[Entry, ...]

    def validation(self, name: str) -> Spread | None:
        """Returns a held-out score over the seeds; None where one is unknown."""
        return _spread([entry["validation"] for entry in self.entries], name)

    def test(self, name: str) -> Spread | None:
        """Returns a test score over the seeds; None where one has no meaning."""
        return _spread([entry["test"] for entry in self.entries], name)


def across_seeds(entries: Sequence[Entry]) -> list[Average]:
    """Returns the entries that were tested, those that differ in their seed as one."""
    groups: dict[tuple, list[int]] = {}
    for index, entry in enumerate(entries):
        if not entry["failure"]:
            key = tuple((k, v) for k, v in entry["group"].items() if k != "seed")
            groups.setdefault(key, []).append(index)
    return [
        Average(dict(key), tuple(indices), tuple(entries[i] for i in indices))
        for key, indices in groups.items()
    ]


def name(group: Mapping[str, Any]) -> str:
    """Returns what a group is called, without its seed; empty of the only one.

    >>> name({"features": "clip", "shots": 5, "seed": 0}), name({"shots": None})
    ('clip, 5 shots', '')
    """
    texts = (_text(column, value) for column, value in _known(group).items())
    return ", ".join(texts)


def file_name(group: Mapping[str, Any]) -> str:
    """Returns the file of a group's classifier, of its first seed where it has several.

    >>> file_name({"features": "clip", "shots": 5, "seed": 0}), file_name({})
    ('clip-5shots.safetensors', 'selected.safetensors')
    """
    stems = (_stem(column, value) for column, value in _known(group).items())
    stem = re.sub(r"[^\w.-]", "_", "-".join(stems) or "selected")
    return f"{stem}.safetensors"


def _known(group: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that name a group; None is a value, but for all rows."""
    return {
        k: v
        for k, v in group.items()
        if k != "seed" and not (k == "shots" and v is None)
    }


def _text(column: str, value: Any) -> str:
    if column == "shots":
        return f"{value} shot{'' if value == 1 else 's'}"
    if value is None:
        return f"{column} none"
    return f"{column} {value:g}" if isinstance(value, float) else str(value)


def _stem(column: str, value: Any) -> str:
    if column == "shots":
        return f"{value}shots"
    return value if isinstance(value, str) else f"{column}-{value}"


def _spread(parts: Sequence[Mapping[str, Any]], name: str) -> Spread | None:
    if any(part.get(name) is None for part in parts):
        return None
    return ranking.spread(parts, name)
