"""Datasets that are read from files; of the test rows headers and labels at first."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from linclf_jax.data import columns, leakage, official, stored_rows
from linclf_jax.data import files as files_lib
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.files import DataFile
from linclf_jax.data.labels import Labels
from linclf_jax.data.sources import FileRows, Source, Unread

NAMES = (*official.NAMES, "features")
_PARTS = ("train", "val", "test")
_MOST = 10  # names in a message
Parts = tuple[
    Source, Source | None, Unread[Source] | None
]  # training, validation, test


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

    def given(self) -> dict[str, str | Path]:
        """Returns the paths that are there, by their fields."""
        return {f: path for f, path in self._asdict().items() if path is not None}


def open_parts(name: str, files: Files, options: ReadOptions) -> Parts:
    """Reads training and validation rows; of the test rows headers and labels.

    Raises:
        ValueError: A file is missing or bad, is of no use to this dataset, or does not
            fit the others.
    """
    _check_fields(name, files)
    if name in official.NAMES:
        train, unread = official.open_parts(name, files.data_dir)
        return train, None, unread
    _check_columns(files, options)
    train = _Pair(files.train_features, files.train_labels, options).read()
    options = options._replace(feature_names=train.feature_names or ())
    validation = unread = None
    if files.val_features is not None:
        val = _Pair(files.val_features, files.val_labels, options, train)
        validation = val.read()
    if files.test_features is not None:
        test = _Pair(files.test_features, files.test_labels, options, train)
        test.check_headers()
        labels = test.read_labels().labels
        # Checks the headers again: the files may be other ones by then.
        unread = Unread(len(labels), test.read, labels)
    return train, validation, unread


def check_options(name: str, options: ReadOptions) -> None:
    """Refuses options of files where there are no files of the user's."""
    given = [field for field, value in options._asdict().items() if value]
    given = [f"--{field}" for field in given if field != "label_values"]
    if given and name != "features":
        raise ValueError(
            f"dataset {name!r} takes no {given[0]}; expected it with the files of "
            "--dataset=features"
        )


def _check_fields(name: str, files: Files) -> None:
    """Refuses paths that the dataset does not take, or not so."""
    given = {*files.given()}
    fields = Files._fields[:1] if name in official.NAMES else Files._fields[1:]
    if given - {*fields}:
        raise ValueError(
            f"dataset {name!r} takes no --{min(given - {*fields})}; expected "
            f"{', '.join(f'--{field}' for field in fields)}"
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
    # The rows of one file for two splits would choose or test what they fit.
    fields_of_files: dict[Path, str] = {}
    for field, path in files.given().items():
        if field.endswith("_features"):
            first = fields_of_files.setdefault(Path(path).resolve(), field)
            if first != field:
                raise ValueError(
                    f"--{field} is {path}, as --{first} is; expected rows of its own"
                )


def _check_columns(files: Files, options: ReadOptions) -> None:
    """Refuses columns that no file of features has: they are misspelt."""
    paths = files.given()
    features = DataFile(paths["train_features"], options)
    options = options._replace(feature_names=features.feature_names or ())
    features = DataFile(features.path, options)
    names, droppable = features.column_names, features.droppable
    others = [paths[f] for f in ("val_features", "test_features") if f in paths]
    of_others = {c for path in others for c in DataFile(path, options).column_names}
    for field in ("drop_columns", "keep_columns"):
        for name in getattr(options, field):
            if name not in {*droppable, *of_others}:
                raise ValueError(
                    f"--{field} holds {name!r}; expected columns of {features.path}: "
                    f"{_some(names) if names else f'0..{len(droppable) - 1}'}"
                )
    label, labels = options.label_column, DataFile(paths["train_labels"], options)
    candidates = {*names, *labels.column_names}
    if label is not None and label not in candidates:
        both = dict.fromkeys((str(features.path), str(labels.path)))
        raise ValueError(
            f"--label_column is {label!r}; expected a column of "
            f"{' or of '.join(both)}: {_some(sorted(candidates))}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Files of the features and labels of some rows."""

    features: Any  # paths: ``_check_fields`` has refused that one is missing
    labels: Any
    options: ReadOptions
    train: Source | None = None  # the training rows that these must fit

    def read(self) -> Source:
        self.check_headers()
        classes, file = self.read_labels(), DataFile(self.features, self.options)
        x, names = file.read_features(), file.names_or_numbers
        if self.train is None:
            leakage.check(x, classes, names, self.features, self.options)
        rows = None if classes.rows is None else FileRows(classes.rows, len(x))
        columns_of_x = stored_rows.stored(x.reshape(len(x), -1))
        if rows is not None:
            columns_of_x = stored_rows.take(columns_of_x, rows.index)
        return Source(
            columns_of_x,
            classes.labels,
            classes.class_names,
            file.feature_names,
            image_shape=x.shape[1:] if x.ndim > 2 else None,
            file_rows=rows,
        )

    def read_labels(self) -> Labels:
        names = None if self.train is None else self.train.class_names
        return files_lib.read_labels(self.labels, names, options=self.options)

    def check_headers(self) -> None:
        """Refuses headers that do not fit one another, or the training rows."""
        file = DataFile(self.features, self.options)
        num_rows, *columns_of_row = file.shape
        if self.train is not None:
            _check_fit(file, tuple(columns_of_row), self.train)
        num_labels = DataFile(self.labels, self.options).num_labels
        if num_rows != num_labels:
            raise ValueError(
                f"{self.labels} has {num_labels} labels; expected {num_rows}, one for "
                f"each row of {self.features}"
            )


def _check_fit(file: DataFile, shape: tuple[int, ...], train: Source) -> None:
    """Refuses features, of that shape in a row, that are not those of training."""
    try:
        columns.order(file.feature_names, train.feature_names)
    except ValueError as error:
        raise BadFileError(f"{file.path}: {error}") from error
    if math.prod(shape) != train.x.shape[1]:
        raise ValueError(
            f"{file.path} has {math.prod(shape)} columns; expected "
            f"{train.x.shape[1]}, as in training"
        )
    if len(shape) > 1 and train.image_shape not in (None, shape):
        raise ValueError(
            f"{file.path} has images of shape {shape}; expected {train.image_shape}, "
            "as in training"
        )
