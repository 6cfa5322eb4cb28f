"""Datasets that are read from files; of the test rows headers and labels at first."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from linclf_jax.data import columns, feature_names, official
from linclf_jax.data import files as files_lib
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.sources import FileRows, Source, UnreadSource

NAMES = (*official.NAMES, "features")
_PARTS = ("train", "val", "test")
_MOST = 10  # names in a message
Parts = tuple[Source, Source | None, UnreadSource | None]  # training, validation, test


class Files(NamedTuple):
    """Paths of files; a dataset takes some of them."""

    data_dir: str | Path | None = None  # of the datasets of ``official``
    # Of ``features``; validation and test rows may be drawn from the training file.
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
        files: Their paths.
        options: What the files of ``features`` do not tell themselves.

    Raises:
        ValueError: A file is missing or bad, is of no use to this dataset, or does not
            fit the others.
    """
    _check_fields(name, files)
    if name in official.NAMES:
        train, unread = official.open_parts(name, files.data_dir)
        return train, None, unread
    _check_columns(files, options)
    train = _read(*_pair(files, "train"), None, options)
    options = options._replace(feature_names=train.feature_names or ())
    validation = unread = None
    if files.val_features is not None:
        validation = _read(*_pair(files, "val"), train, options)
    if files.test_features is not None:
        paths = _pair(files, "test")
        _check_headers(*paths, train, options)
        names = train.class_names
        labels = files_lib.read_labels(paths[1], names, options=options).labels
        # Checks the headers again: the files may be other ones by then.
        unread = UnreadSource(
            len(labels), lambda: _read(*paths, train, options), labels
        )
    return train, validation, unread


def check_options(name: str, options: ReadOptions) -> None:
    """Refuses options of files where there are no files of the user's.

    Args:
        name: Of the dataset.
        options: Must be the default ones, unless the dataset is ``features``.
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
    fields = {"data_dir"} if name in official.NAMES else {*Files._fields[1:]}
    if given - fields:
        raise ValueError(
            f"dataset {name!r} takes no --{min(given - fields)}; expected "
            f"{', '.join(f'--{field}' for field in Files._fields if field in fields)}"
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
    _check_distinct(files)


def _check_distinct(files: Files) -> None:
    """Refuses one file for two splits: its rows would choose or test what they fit."""
    fields: dict[Path, str] = {}
    for field in (f"{part}_features" for part in _PARTS):
        path = getattr(files, field)
        if path is None:
            continue
        first = fields.setdefault(Path(path).resolve(), field)
        if first != field:
            raise ValueError(
                f"--{field} is {path}, as --{first} is; expected rows of its own"
            )


def _check_columns(files: Files, options: ReadOptions) -> None:
    """Refuses columns that no file of features has: they are misspelt."""
    features, labels = (Path(path) for path in _pair(files, "train"))
    trained = files_lib.feature_names(features, options) or ()
    options = options._replace(feature_names=trained)
    names = files_lib.columns(features, options)
    droppable = files_lib.droppable(features, options)
    others = [getattr(files, f"{part}_features") for part in _PARTS[1:]]
    of_others = {c for path in others if path for c in files_lib.columns(path, options)}
    for field in ("drop_columns", "keep_columns"):
        for name in getattr(options, field):
            if name not in {*droppable, *of_others}:
                raise ValueError(
                    f"--{field} holds {name!r}; expected columns of {features}: "
                    f"{_some(names) if names else f'0..{len(droppable) - 1}'}"
                )
    label = options.label_column
    candidates = {*names, *files_lib.columns(labels, options)}
    if label is not None and label not in candidates:
        raise ValueError(
            f"--label_column is {label!r}; expected a column of {features}"
            f"{'' if labels == features else f' or of {labels}'}: "
            f"{_some(sorted(candidates))}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")


def _pair(files: Files, part: str) -> tuple[str | Path, str | Path]:
    return getattr(files, f"{part}_features"), getattr(files, f"{part}_labels")


def _check_headers(
    features: str | Path, labels: str | Path, train: Source | None, options: ReadOptions
) -> None:
    """Refuses files whose headers do not fit one another, or the training rows."""
    shape, _ = files_lib.peek(features, options)
    if train is not None:
        _check_fit(features, shape, train, options)
    num_labels = files_lib.peek_labels(labels, options)
    if shape[0] != num_labels:
        raise ValueError(
            f"{labels} has {num_labels} labels; expected {shape[0]}, one for each row "
            f"of {features}"
        )


def _check_fit(
    path: str | Path, shape: tuple[int, ...], train: Source, options: ReadOptions
) -> None:
    """Refuses features that are not those of the training rows."""
    names = files_lib.feature_names(path, options)
    try:
        feature_names.order(names, train.feature_names)
    except ValueError as error:
        raise BadFileError(f"{path}: {error}") from error
    image, expected = shape[1:], train.x.shape[1]
    if math.prod(image) != expected:
        raise ValueError(
            f"{path} has {math.prod(image)} columns; expected {expected}, as in "
            "training"
        )
    if len(image) > 1 and train.image_shape not in (None, image):
        raise ValueError(
            f"{path} has images of shape {image}; expected {train.image_shape}, as in "
            "training"
        )


def _read(
    features: str | Path, labels: str | Path, train: Source | None, options: ReadOptions
) -> Source:
    _check_headers(features, labels, train, options)
    class_names = None if train is None else train.class_names
    classes = files_lib.read_labels(labels, class_names, options=options)
    x = files_lib.read_features(features, options=options)
    if train is None:
        names = files_lib.names_or_numbers(features, options)
        columns.check_leakage(x, classes.labels, classes.rows, names, features, options)
    image_shape = x.shape[1:] if x.ndim > 2 else None
    file_rows = None if classes.rows is None else FileRows(classes.rows, len(x))
    x = x.reshape(len(x), -1)
    return Source(
        x if file_rows is None else x[file_rows.index],
        classes.labels,
        classes.class_names,
        files_lib.feature_names(features, options),
        image_shape=image_shape,
        file_rows=file_rows,
    )
