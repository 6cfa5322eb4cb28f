"""Feature sets as studies see them: scaled rows, and which of them are held out."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.data import (
    datasets,
    duplicates,
    formats,
    image_cache,
    preprocessing,
    stored_rows,
)
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.duplicates import Counts
from linclf_jax.data.images import ImageShape
from linclf_jax.data.preprocessing import Preprocessing, ScaledRows
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.selection.resampling import FOLDS, LEAVE_ONE_OUT, SPLIT
from linclf_jax.studies.study import Inputs
from linclf_jax.training import evaluation, segments
from linclf_jax.training.settings import RAW
from linclf_jax.training.states import Data

logger = logging.getLogger(__name__)


def joined(dataset: Dataset) -> Split:
    """Returns all rows but the test's, training rows first."""
    return datasets.joined(dataset.train, dataset.validation)


def of_split(dataset: Dataset) -> np.ndarray:
    """Returns the fold of each row where validation rows are held out as they are.

    Raises:
        ValueError: There are fewer than two validation rows.
    """
    count = len(dataset.validation.labels)
    if count < 2:
        raise ValueError(
            f"found {count} validation rows; expected at least two: give "
            "--val_features and --val_labels, or --folds"
        )
    return np.repeat(
        np.array([NOT_HELD_OUT, 0], np.int32), [len(dataset.train.labels), count]
    )


def make(
    name: str,
    dataset: Dataset,
    fold: np.ndarray,
    *,
    features: str = RAW,
    scaling: str,
    draws: np.ndarray | None = None,
    leave_one_out: bool = False,
    is_own_split: bool = False,
    in_memory: bool = True,
) -> Inputs:
    """Computes and scales the features of all rows but the test's.

    Args:
        name: Of the data's source.
        dataset: Its test split stays closed.
        fold: ``(N,)``, the fold that holds a row out, or ``folds.NOT_HELD_OUT``. Where
            there is one alone, only the others say how to scale.
        features: ``raw``, or an image recipe.
        scaling: A name that ``preprocessing.fit`` takes.
        draws: ``(G, N)`` boolean, the rows of each draw of shots.
        leave_one_out: Whether each row is held out by itself, and ``fold`` has none.
        is_own_split: Whether the rows that are held out are the validation split.
        in_memory: Whether all rows are scaled here; else each where it is read.

    Raises:
        ValueError: The rows have no such features.
    """
    rows = joined(dataset)
    resampling = FOLDS if fold.max() > 0 else SPLIT
    if draws is None:
        draws = np.zeros((0, len(fold)), bool)
    # Shots are compared on rows of their own draw; validation rows take no part.
    held_out = np.full_like(fold, NOT_HELD_OUT) if len(draws) else fold
    if leave_one_out:
        resampling = LEAVE_ONE_OUT
        alone = folds_lib.alone(rows.labels)
        held_out = np.where(alone, NOT_HELD_OUT, np.arange(len(alone)))
    repeated = duplicates.counts(
        duplicates.across(rows.x, rows.labels, held_out), held_out
    )
    by = _scaled_by(resampling, fold)
    fitted, x = _scaled(dataset, rows, by, features, scaling, in_memory)
    return Inputs(
        name=name,
        dataset=dataset,
        features=features,
        scaling=fitted,
        x=x,
        labels=rows.labels,
        index=rows.index,
        fold=fold,
        resampling=resampling,
        draws=draws,
        duplicates=repeated,
        warnings=tuple(_warnings(dataset, rows, held_out, repeated, is_own_split)),
    )


def scaled_otherwise(inputs: Inputs, features: str, scaling: str) -> Inputs:
    """Returns the same rows with other features or another scaling; see ``make``."""
    dataset, by = inputs.dataset, _scaled_by(inputs.resampling, inputs.fold)
    in_memory = isinstance(inputs.x, np.ndarray)
    fitted, x = _scaled(dataset, joined(dataset), by, features, scaling, in_memory)
    return inputs._replace(features=features, scaling=fitted, x=x)


def _scaled_by(resampling: str, fold: np.ndarray) -> np.ndarray | slice:
    """Returns the rows whose statistics scale: of a single split those of training."""
    return side_by_side(fold == NOT_HELD_OUT) if resampling == SPLIT else slice(None)


def _scaled(
    dataset: Dataset,
    rows: Split,
    by: np.ndarray | slice,
    features: str,
    scaling: str,
    in_memory: bool,
) -> tuple[Preprocessing, np.ndarray | ScaledRows]:
    raw = image_features(features, rows, dataset.image_shape)
    size = 4 * raw.x.size
    if in_memory and size > formats.memory():
        raise ValueError(
            f"{dataset.name}: {raw.x.shape[0]} rows of {raw.x.shape[1]} features take "
            f"{size} bytes in float32; expected at most {formats.memory()}, the memory"
        )
    fitted = preprocessing.fit(scaling, stored_rows.take(raw.x, by))
    scaled = ScaledRows(fitted, raw.x)
    return fitted, scaled[:] if in_memory else scaled


def scaled(inputs: Inputs, rows: Split) -> np.ndarray | ScaledRows:
    """Returns other rows with the features of the inputs, as these in memory or not."""
    raw = image_features(inputs.features, rows, inputs.dataset.image_shape)
    x = ScaledRows(inputs.scaling, raw.x)
    return x[:] if isinstance(inputs.x, np.ndarray) else x


def by_part(
    function: Callable[..., Any], x: np.ndarray | jax.Array | ScaledRows, *columns: Any
) -> Any:
    """Returns what a function says of rows: of many that are not in memory, in parts.

    It takes rows ``(n, D)`` and their entries of columns ``(N,)``, and returns arrays
    of as many rows; parts are filled up with zeros to one shape.
    """
    if not isinstance(x, ScaledRows):
        return function(jnp.asarray(x), *columns)
    size = evaluation.spans(len(x), segments.SIZE // (4 * x.shape[1]))[0].stop
    parts = []
    for start in range(0, len(x), size):
        own = [np.asarray(each[start : start + size]) for each in (x, *columns)]
        count = len(own[0])
        filled = [np.pad(a, ((0, size - count), (0, 0))[: a.ndim]) for a in own]
        outcome = function(*map(jnp.asarray, filled))
        parts.append(jax.tree.map(lambda a, n=count: np.asarray(a)[:n], outcome))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def side_by_side(rows: np.ndarray) -> np.ndarray | slice:
    """Returns rows, ``(N,)`` boolean, as a slice if they are one: it copies nothing."""
    return stored_rows.side_by_side(np.flatnonzero(rows))


def data(inputs: Inputs) -> Data:
    """Returns training and validation rows; with folds both are all rows."""
    x, labels, fold = inputs.x, inputs.labels, inputs.fold
    if inputs.resampling == FOLDS:
        rows = _on_device(x), jnp.asarray(labels)
        # A number that no trial holds out: these rows are in training in every fold.
        folds = jnp.asarray(np.where(fold == NOT_HELD_OUT, fold.max() + 1, fold))
        return Data(*rows, *rows, folds, folds)
    train = side_by_side(fold == NOT_HELD_OUT)
    held_out = side_by_side(fold != NOT_HELD_OUT)
    take = x.take if isinstance(x, ScaledRows) else x.__getitem__
    parts = (take(train), labels[train], take(held_out), labels[held_out])
    return Data(*map(_on_device, parts))


def _on_device(x: np.ndarray | ScaledRows) -> Any:
    return x if isinstance(x, ScaledRows) else jnp.asarray(x)


def is_held_out(inputs: Inputs, fold: int | None = None) -> np.ndarray:
    """Returns which validation rows of ``data`` are held out, ``(M,)`` boolean.

    Args:
        inputs: With folds, of which all rows are validation rows, or with a split.
        fold: By the trial of this fold; by any if None.
    """
    if inputs.resampling != FOLDS:
        return np.ones(np.count_nonzero(inputs.fold != NOT_HELD_OUT), bool)
    return inputs.fold != NOT_HELD_OUT if fold is None else inputs.fold == fold


def num_train_rows(inputs: Inputs, fold: int | None = None) -> int:
    """Returns how many rows a trial is trained on that holds out a fold, or none."""
    if inputs.resampling != FOLDS:
        return int(np.count_nonzero(inputs.fold == NOT_HELD_OUT))
    if fold is None:
        return len(inputs.fold)
    return int(np.count_nonzero(inputs.fold != fold))


def image_features(features: str, rows: Split, image_shape: ImageShape | None) -> Split:
    """Returns rows with features of their images in place of the pixels.

    Raises:
        ValueError: The rows have no such features, as those without an image shape.
    """
    if features == RAW:
        return rows
    x = image_cache.features(features, np.asarray(rows.x), image_shape)
    return rows._replace(x=x)


def _warnings(
    dataset: Dataset,
    rows: Split,
    fold: np.ndarray,
    repeated: Counts,
    is_own_split: bool,
) -> Iterator[str]:
    """Yields what scores do not say of rare classes, and of rows that are twice."""
    held_out = fold != NOT_HELD_OUT
    if held_out.any() and not is_own_split:
        sentence = folds_lib.warning(rows.labels, held_out, dataset.class_names)
        if sentence is not None:
            yield sentence
    if repeated.rows:
        others = ""
        if repeated.another_label:
            others = f"; {repeated.another_label} of them with another label"
        yield (
            f"{repeated.rows} of {repeated.size} held-out rows are byte-equal to a row "
            f"that is trained on meanwhile{others}; scores on them are too good"
        )
    yield from _lacking(dataset, ("validation", "test") if is_own_split else ("test",))


def _lacking(dataset: Dataset, splits: Iterable[str]) -> Iterator[str]:
    for name in splits:
        if missing := getattr(dataset.lacking, name):
            labels, counts = zip(*missing, strict=True)
            names = [dataset.class_names[label] for label in labels]
            classes = "1 class" if len(names) == 1 else f"{len(names)} classes"
            yield (
                f"{name} scores contain no row of {classes} with too few to be in "
                f"every split: {folds_lib.listed(names, counts)}"
            )
