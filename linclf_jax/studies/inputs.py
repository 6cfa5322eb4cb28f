"""Feature sets as studies see them: scaled rows, and which of them are held out."""

import logging
import time
from collections.abc import Iterable, Iterator

import numpy as np

from linclf_jax.data import datasets, duplicates, image_cache, preprocessing
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.duplicates import Counts, Duplicates
from linclf_jax.data.images import ImageShape
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.studies.study import Inputs
from linclf_jax.training.settings import RAW

REPORT_EVERY = 10.0  # seconds between two lines on how far features are
ALL = slice(None)
logger = logging.getLogger(__name__)


def joined(dataset: Dataset) -> Split:
    """Returns all rows but the test's, training rows first.

    Args:
        dataset: Its test split stays closed.
    """
    return datasets.joined(dataset.train, dataset.validation)


def of_split(dataset: Dataset) -> np.ndarray:
    """Returns the fold of each row where validation rows are held out as they are.

    Args:
        dataset: Its test split stays closed.

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
    *,
    features: str = RAW,
    scaling: str,
    fold: np.ndarray,
    resampling: str,
    scaled_by: np.ndarray | slice = ALL,
    draws: np.ndarray | None = None,
    rows: Split | None = None,
    repeated: Counts | None = None,
    is_own_split: bool = False,
) -> Inputs:
    """Computes and scales the features of all rows but the test's.

    Args:
        name: Of the data's source.
        dataset: Its test split stays closed.
        features: ``raw``, or an image recipe.
        scaling: A name that ``preprocessing.fit`` takes.
        fold: ``(N,)``, the fold that holds a row out, or ``folds.NOT_HELD_OUT``.
        resampling: A name in ``resampling.NAMES``; for draws of shots, of the rest.
        scaled_by: The rows whose statistics scale, a slice or ``(N,)`` boolean.
        draws: ``(G, N)`` boolean, the rows of each draw of shots.
        rows: ``joined(dataset)``, where it is there already.
        repeated: ``count_repeated`` of these, where it is there already.
        is_own_split: Whether the rows that are held out are the validation split.

    Raises:
        ValueError: The rows have no such features.
    """
    rows = joined(dataset) if rows is None else rows
    has_draws = draws is not None and len(draws) > 0
    # Shots are compared on rows of their own draw; validation rows take no part.
    held_out = np.full_like(fold, NOT_HELD_OUT) if has_draws else fold
    if repeated is None:
        repeated = count_repeated(rows, held_out, resampling)
    raw = image_features(features, rows, dataset.image_shape)
    fitted = preprocessing.fit(scaling, raw.x[scaled_by])
    return Inputs(
        name=name,
        dataset=dataset,
        features=features,
        scaling=fitted,
        x=preprocessing.apply(fitted, raw.x),
        labels=rows.labels,
        index=rows.index,
        fold=fold,
        resampling=resampling,
        draws=np.zeros((0, len(rows.labels)), bool) if draws is None else draws,
        duplicates=repeated,
        warnings=tuple(
            _warnings(dataset, rows, held_out, resampling, repeated, is_own_split)
        ),
        num_train=len(dataset.train.labels),
    )


def image_features(features: str, rows: Split, image_shape: ImageShape | None) -> Split:
    """Returns rows with features of their images in place of the pixels.

    Args:
        features: ``raw``, or one of ``images.NAMES``.
        rows: Of the data.
        image_shape: ``(H, W)`` or ``(H, W, 3)``; None of rows that are no images.

    Raises:
        ValueError: The rows have no such features.
    """
    if features == RAW:
        return rows
    reported = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal reported
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            logger.info("computed %s of %d of %d images", features, done, total)

    x = image_cache.features(features, rows.x, image_shape, tell=report)
    return rows._replace(x=x)


def count_repeated(rows: Split, fold: np.ndarray, resampling: str) -> Counts:
    """Returns how many held-out rows are equal to one that is trained on meanwhile.

    Args:
        rows: All but the test's, as they came.
        fold: ``(N,)``, the fold that holds a row out, or ``folds.NOT_HELD_OUT``.
        resampling: A name in ``resampling.NAMES``.
    """
    if resampling == resampling_lib.LEAVE_ONE_OUT:
        every = np.arange(len(rows.labels))
        fold = np.where(folds_lib.alone(rows.labels), NOT_HELD_OUT, every)
    return duplicates.counts(duplicates.across(rows.x, rows.labels, fold), fold)


def repeated_in_test(dataset: Dataset, test: Split) -> Duplicates:
    """Returns which test rows are equal to one of training or validation.

    All those count, whichever of them a classifier was fitted to: the others chose it.

    Args:
        dataset: Whose test split has been read.
        test: That.
    """
    parts = (dataset.train, dataset.validation)
    return duplicates.between(
        [(part.x, part.labels) for part in parts], test.x, test.labels
    )


def _warnings(
    dataset: Dataset,
    rows: Split,
    fold: np.ndarray,
    resampling: str,
    repeated: Counts,
    is_own_split: bool,
) -> Iterator[str]:
    """Yields what scores do not say of rare classes, and of rows that are twice."""
    held_out = fold != NOT_HELD_OUT
    if resampling == resampling_lib.LEAVE_ONE_OUT:
        held_out = ~folds_lib.alone(rows.labels)
    if held_out.any() and not is_own_split:
        sentence = folds_lib.warning(rows.labels, held_out, dataset.class_names)
        if sentence is not None:
            yield sentence
    if repeated.rows:
        yield (
            f"{repeated.rows} of {repeated.size} held-out rows are byte-equal to a row "
            f"that is trained on meanwhile{another_label(repeated.another_label)}; "
            "scores on them are too good"
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


def another_label(count: int) -> str:
    """Returns a clause on rows whose equals all have another label; empty for none.

    Args:
        count: Of these.
    """
    return f"; {count} of them with another label" if count else ""
