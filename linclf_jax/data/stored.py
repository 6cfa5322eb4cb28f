"""Datasets that are read from files, whose test rows wait until they are asked for."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from linclf_jax.data import feature_names, leaking_columns, official
from linclf_jax.data import files as files_lib
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.official import Later
from linclf_jax.data.sources import FileRows, Source

NAMES = (*official.NAMES, "features")
_PARTS = ("train", "val", "test")
Parts = tuple[Source, Source | None, Later | None]  # training, validation, test


class Files(NamedTuple):
    """Paths, as far as a dataset has them."""

    data_dir: str | Path | None = None  # of the datasets of ``official``
    # Of ``features``; validation and test rows may be dealt from the training file.
    train_features: str | Path | None = None
    train_labels: str | Path | None = None
    val_features: str | Path | None = None
    val_labels: str | Path | None = None
    test_features: str | Path | None = None
    test_labels: str | Path | None = None


def open_parts(name: str, files: Files, options: ReadOptions) -> Parts:
    """Reads training and validation rows; of the test rows headers and labels.

    Args:
        name: One of ``NAMES``.
        files: Where they are.
        options: What the files of ``features`` cannot say of themselves.

    Raises:
        ValueError: A file is missing or bad, is of no use to this dataset, or does not
            fit the others.
    """
    _check_fields(name, files)
    if name in official.NAMES:
        train, test = official.open_parts(name, files.data_dir)
        return train, None, test
    _check_columns(files, options)
    train = _read(*_pair(files, "train"), None, options)
    names = train.class_names
    options = options._replace(feature_names=train.feature_names or ())
    rest = test = None
    if files.val_features is not None:
        _check_headers(*_pair(files, "val"), train, options)
        rest = _read(*_pair(files, "val"), names, options)
    if files.test_features is not None:
        paths = _pair(files, "test")
        _check_headers(*paths, train, options)
        labels = files_lib.read_labels(paths[1], names, options=options).labels

        def later() -> Source:
            _check_headers(*paths, train, options)  # the file may be another one now
            return _read(*paths, names, options)

        test = Later(len(labels), later, labels)
    return train, rest, test


def check_options(name: str, options: ReadOptions) -> None:
    """Refuses options of files for data that has none of the user's.

    Args:
        name: Of the dataset.
        options: As they are given.

    Raises:
        ValueError: There are any, and the dataset is another than ``features``.
    """
    given = [field for field, value in options._asdict().items() if value]
    given = [f"--{field}" for field in given if field != "label_values"]
    if given and name != "features":
        raise ValueError(
            f"dataset {name!r} takes no {given[0]}; expected it with the files of "
            "--dataset=features"
        )


def _check_fields(name: str, files: Files) -> None:
    given = {field for field, path in files._asdict().items() if path is not None}
    known = {"data_dir"} if name in official.NAMES else {*Files._fields[1:]}
    if given - known:
        raise ValueError(
            f"dataset {name!r} takes no --{min(given - known)}; expected "
            f"{', '.join(f'--{field}' for field in Files._fields if field in known)}"
        )
    if name in official.NAMES:
        return
    for part in _PARTS:
        both = {f"{part}_features", f"{part}_labels"}
        if len(both & given) == 1 or (part == "train" and not both & given):
            raise ValueError(
                f"dataset 'features': --{min(both - given)} is missing; expected "
                f"--{part}_features and --{part}_labels, one row for each label"
            )
    _check_apart(files)


def _check_columns(files: Files, options: ReadOptions) -> None:
    """Refuses columns that no file of features has: they are misspelt."""
    features, labels = (Path(path) for path in _pair(files, "train"))
    trained = files_lib.feature_names(features, options) or ()
    options = options._replace(feature_names=trained)
    names = files_lib.columns(features, options)
    every = files_lib.droppable(features, options)
    others = [getattr(files, f"{part}_features") for part in _PARTS[1:]]
    elsewhere = {c for path in others if path for c in files_lib.columns(path, options)}
    for field in ("drop_columns", "keep_columns"):
        for name in getattr(options, field):
            if name not in {*every, *elsewhere}:
                raise ValueError(
                    f"--{field} holds {name!r}; expected columns of {features}: "
                    f"{_some(names) if names else f'0..{len(every) - 1}'}"
                )
    label = options.label_column
    known = {*names, *files_lib.columns(labels, options)}
    if label is not None and label not in known:
        raise ValueError(
            f"--label_column is {label!r}; expected a column of {features}"
            f"{'' if labels == features else f' or of {labels}'}: "
            f"{_some(sorted(known))}"
        )


def _some(names: Sequence[str]) -> str:
    """Returns the first names of many."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _check_apart(files: Files) -> None:
    """Refuses rows that would be tested, or choose, after they were fitted."""
    seen: dict[Path, str] = {}
    for name in (f"{part}_features" for part in _PARTS):
        path = getattr(files, name)
        if path is None:
            continue
        first = seen.setdefault(Path(path).resolve(), name)
        if first != name:
            raise ValueError(
                f"--{name} is {path}, as --{first} is; expected rows of its own"
            )


def _pair(files: Files, part: str) -> tuple[str | Path, str | Path]:
    return getattr(files, f"{part}_features"), getattr(files, f"{part}_labels")


def _check_headers(
    features: str | Path, labels: str | Path, train: Source, options: ReadOptions
) -> None:
    """Refuses files whose headers do not fit one another and the training rows."""
    shape, _ = files_lib.peek(features, options)
    names = files_lib.feature_names(features, options)
    try:
        feature_names.order(names, train.feature_names)
    except ValueError as error:
        raise BadFileError(f"{features}: {error}") from error
    columns = train.x.shape[1]
    if math.prod(shape[1:]) != columns:
        raise ValueError(
            f"{features} has {math.prod(shape[1:])} columns; expected {columns}, as in "
            "training"
        )
    image = shape[1:]
    if len(image) > 1 and train.image_shape not in (None, image):
        raise ValueError(
            f"{features} has images of shape {image}; expected {train.image_shape}, as "
            "in training"
        )
    _check_lengths(shape[0], files_lib.peek_labels(labels, options), features, labels)


def _check_lengths(
    rows: int, found: int, features: str | Path, labels: str | Path
) -> None:
    if rows != found:
        raise ValueError(
            f"{labels} has {found} labels; expected {rows}, one for each row of "
            f"{features}"
        )


def _read(
    features: str | Path,
    labels: str | Path,
    class_names: tuple[str, ...] | None,
    options: ReadOptions,
) -> Source:
    (rows, *_), _ = files_lib.peek(features, options)
    _check_lengths(rows, files_lib.peek_labels(labels, options), features, labels)
    found = files_lib.read_labels(labels, class_names, options=options)
    x = files_lib.read_features(features, options=options)
    if class_names is None:
        leaking_columns.check(x, found, features, options)
    shape = x.shape[1:] if x.ndim > 2 else None
    rest = None if found.rows is None else FileRows(found.rows, len(x))
    x = x.reshape(len(x), -1)
    return Source(
        x if rest is None else x[rest.index],
        found.labels,
        found.class_names,
        files_lib.feature_names(features, options),
        image_shape=shape,
        file_rows=rest,
    )
