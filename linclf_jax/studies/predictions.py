"""Predicts new rows by the chosen classifier of a finished run.

    python -m experiments.predict --run=runs/probe-... --features=new.npy --out=new.csv

The run may be any that has chosen a classifier: of a sweep, a path, a course, a probe.
Its files are compared with their SHA-256 sums first. Features are as they came, before
any scaling. ``--out`` is ``.csv`` or ``.parquet``, with a column ``class`` and, with
``--probabilities``, a column for each class, or ``.npy``, a structured array with the
fields ``class`` and ``probabilities (C,)``, classes in the order of the model. In a
``.csv`` an apostrophe stands before what a spreadsheet would take for a formula, see
``runs.csv_text``.
"""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.config.fields import flag
from linclf_jax.data import feature_names, files
from linclf_jax.data.columns import ReadOptions
from linclf_jax.runs import csv_text, directory
from linclf_jax.runs import model as model_lib
from linclf_jax.studies import folders


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything the script is told."""

    run: str | None = flag(None, "The run folder.")
    features: str | None = flag(None, "The file of the rows: .npy, .parquet, ...")
    out: str | None = flag(None, "What to write: .npy, .parquet or .csv.")
    probabilities: bool = flag(False, "Write the probability of every class too.")
    label_column: str | None = flag(
        None, "The column of labels in the file, if another than in training."
    )
    drop_columns: tuple[str, ...] = flag(
        (), "Columns that are no features, besides those that the run left out."
    )
    model: str = flag(
        "selected", "Which classifier of the run: the name of a .safetensors in it."
    )


class Predictions(NamedTuple):
    """What a classifier says of each row."""

    class_names: tuple[str, ...]  # C
    classes: np.ndarray  # (N,) text
    probabilities: np.ndarray | None  # (N, C) float32


def run(config: Config) -> Predictions:
    """Predicts all rows of the file, and writes what came out.

    Args:
        config: All flags.

    Raises:
        ValueError: A flag is bad, the run is unfinished or not as it was sealed, or
            the rows do not fit the classifier.
    """
    given = {"run": config.run, "features": config.features, "out": config.out}
    for name, value in given.items():
        if value is None:
            raise ValueError(f"--{name} is missing; expected a path")
    folder, out = Path(str(config.run)), Path(str(config.out))
    if out.suffix not in WRITERS:
        raise ValueError(f"--out is {out}; expected a name in {', '.join(WRITERS)}")
    if not out.parent.is_dir():
        raise ValueError(f"--out is {out}; expected a folder that is there")
    if out.resolve() == Path(str(config.features)).resolve():
        raise ValueError(f"--out is {out}, the file of --features; expected another")
    model = read(folder, config.model)
    if config.probabilities:
        require_probabilities(folder)
    options = read_options(folder, config.drop_columns, config.label_column)
    options = options._replace(feature_names=tuple(model.feature_names or ()))
    path = str(config.features)
    _require_columns(path, config, options)
    names = files.feature_names(path, options)
    if names is None and model.feature_names is not None:
        folders.tell(
            f"Warning: {path} has no names of features, as the model has: its columns "
            "are taken in the order in which they stand"
        )
    with _said_of(path):
        feature_names.order(names, model.feature_names)  # before the rows are read
    x = files.read_features(path, options=options)
    with _said_of(path):
        found = predict(model, x, config.probabilities, names)
    directory.write(out, WRITERS[out.suffix](found))
    return found


def _require_columns(path: str, config: Config, options: ReadOptions) -> None:
    """Refuses columns to leave out that the file does not have: they are misspelt."""
    known = files.droppable(path, options)
    some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    for name in config.drop_columns:
        if name not in known:
            raise ValueError(
                f"--drop_columns holds {name!r}; expected columns of {path}: {some}"
            )
    if config.label_column is not None and config.label_column not in known:
        raise ValueError(
            f"--label_column is {config.label_column!r}; expected a column of {path}: "
            f"{some}"
        )


@contextlib.contextmanager
def _said_of(path: str) -> Iterator[None]:
    """Puts the name of a file before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read(folder: Path, name: str) -> model_lib.Model:
    """Returns a classifier of a finished run, as it was sealed.

    Args:
        folder: The run folder.
        name: Of the file, without its ending.

    Raises:
        ValueError: A file of the run has changed, or there is no such classifier.
    """
    sealed = directory.verify(folder)
    known = [item.removesuffix(ENDING) for item in sealed if item.endswith(ENDING)]
    if name not in known:
        raise ValueError(
            f"--model is {name!r}; {folder} holds {', '.join(known) or 'no classifier'}"
        )
    return model_lib.load(folder / f"{name}{ENDING}")


def read_options(
    folder: Path, drop_columns: tuple[str, ...] = (), label_column: str | None = None
) -> ReadOptions:
    """Returns which columns are features, as the run that is predicted by was told.

    Args:
        folder: The run folder.
        drop_columns: Others that are none.
        label_column: Of the labels, if another than in training.
    """
    flags = directory.read(folder / directory.CONFIG)["flags"]
    return ReadOptions(
        label_column or flags.get("label_column"),
        (*flags.get("drop_columns", ()), *drop_columns),
        tuple(flags.get("keep_columns", ())),
    )


def require_probabilities(folder: Path) -> None:
    """Refuses a classifier whose scores are no logarithms of probabilities.

    Args:
        folder: The run folder.

    Raises:
        ValueError: It was trained by a hinge.
    """
    row = directory.read(folder / "selected.json").get("row") or {}
    loss = row.get("loss", "softmax_cross_entropy")
    if loss != "softmax_cross_entropy":
        raise ValueError(
            f"--probabilities is given, but {folder} was trained by {loss}, whose "
            "scores make no probabilities"
        )


def predict(
    model: model_lib.Model,
    x: np.ndarray,
    probabilities: bool = False,
    names: Sequence[str] | None = None,
) -> Predictions:
    """Returns what a classifier says of rows of raw features.

    Args:
        model: The classifier.
        x: ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``.
        probabilities: Whether to return those too.
        names: Of the columns, matched with those of the model where it has some.

    Raises:
        ValueError: The rows do not fit the classifier, or are not finite.
    """
    if x.ndim > 2 and model.image_shape not in (None, x.shape[1:]):
        raise ValueError(
            f"found images of shape {x.shape[1:]}, expected {model.image_shape}"
        )
    rows = x.reshape(len(x), -1)
    classes = np.array(model.class_names)
    if not probabilities:
        return Predictions(
            model.class_names, classes[model_lib.predict(model, rows, names)], None
        )
    found = np.asarray(model_lib.predict_proba(model, rows, names), np.float32)
    return Predictions(model.class_names, classes[found.argmax(axis=1)], found)


def _columns(found: Predictions) -> dict[str, np.ndarray]:
    columns = {"class": found.classes}
    if found.probabilities is not None:
        columns |= {
            f"probability of {name}": column
            for name, column in zip(
                found.class_names, found.probabilities.T, strict=True
            )
        }
    return columns


def _npy(found: Predictions) -> bytes:
    fields: list[Any] = [("class", found.classes.dtype)]
    if found.probabilities is not None:
        fields.append(("probabilities", np.float32, (len(found.class_names),)))
    table = np.empty(len(found.classes), fields)
    table["class"] = found.classes
    if found.probabilities is not None:
        table["probabilities"] = found.probabilities
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, table, allow_pickle=False)
    return buffer.getvalue()


def _csv(found: Predictions) -> bytes:
    return csv_text.encode(_columns(found))


def _parquet(found: Predictions) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            "--out is .parquet, which needs pyarrow: pip install 'linclf_jax[parquet]'"
        ) from error
    buffer = io.BytesIO()
    columns = {name: pyarrow.array(column) for name, column in _columns(found).items()}
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


ENDING = ".safetensors"
WRITERS: Mapping[str, Callable[[Predictions], bytes]] = {
    ".npy": _npy,
    ".parquet": _parquet,
    ".csv": _csv,
}


def main() -> None:
    """Predicts the rows that the flags name."""
    config = Config(**shared_flags.values(Config))
    found = run(config)
    print(f"{len(found.classes)} rows, classes {', '.join(found.class_names)}")
    print(config.out)


if __name__ == "__main__":
    shared_flags.define(Config())
    launch.launch(main)
