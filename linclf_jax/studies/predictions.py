"""Predictions of new rows by a classifier of a finished run.

The run may be any that has chosen a classifier; its files are compared with their
SHA-256 sums first. Features are as they came, before any scaling.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from linclf_jax import losses
from linclf_jax.config.fields import flag
from linclf_jax.data import columns, files, stored_rows
from linclf_jax.data.columns import ReadOptions
from linclf_jax.runs import directory, schema
from linclf_jax.runs import model as model_files
from linclf_jax.runs.model import Model
from linclf_jax.studies import prediction_files
from linclf_jax.studies.prediction_files import Predictions

MODEL_ENDING = ".safetensors"
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """A run, new rows, and where to write what it says of them."""

    run: str | None = flag(None, "The run directory.")
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


def run(config: PredictConfig) -> Predictions:
    """Predicts all rows of the file, and writes what came out.

    Raises:
        ValueError: A flag is bad, the run is unfinished or not as it was sealed, or
            the rows do not fit the classifier.
    """
    run_directory, rows, out = _validate(config)
    features = str(rows)
    model = read(run_directory, config.model)
    if config.probabilities:
        _require_probabilities(run_directory, config.model)
    options = _read_options(run_directory, config, model)
    _require_columns(features, config, options)
    names = files.DataFile(features, options).feature_names
    if names is None and model.feature_names is not None:
        logger.warning(
            "%s has no names of features, as the model has: its columns are taken in "
            "the order in which they stand",
            features,
        )
    with _errors_named(features):
        columns.order(names, model.feature_names)  # before the rows are read
    x = files.read_features(features, options=options)
    with _errors_named(features):
        predictions = predict(model, x, config.probabilities, names)
    directory.write(out, prediction_files.encode(predictions, out.suffix))
    return predictions


def _validate(config: PredictConfig) -> tuple[Path, Path, Path]:
    """Returns the run directory, the file of the rows, and the one to write."""
    given = {"run": config.run, "features": config.features, "out": config.out}
    for name, value in given.items():
        if value is None:
            raise ValueError(f"--{name} is missing; expected a path")
    run_directory, rows, out = (Path(str(value)) for value in given.values())
    if out.suffix not in prediction_files.ENDINGS:
        raise ValueError(
            f"--out is {out}; expected a name in {', '.join(prediction_files.ENDINGS)}"
        )
    if not out.parent.is_dir():
        raise ValueError(f"--out is {out}; expected a folder that is there")
    if out.resolve() == rows.resolve():
        raise ValueError(f"--out is {out}, the file of --features; expected another")
    return run_directory, rows, out


def read(path: Path, name: str) -> Model:
    """Returns a classifier of a finished run, by its file without the ending.

    Raises:
        ValueError: A file of the run has changed, or there is no such classifier.
    """
    models = [file for file in directory.verify(path) if file.endswith(MODEL_ENDING)]
    names = [file.removesuffix(MODEL_ENDING) for file in models]
    if name not in names:
        raise ValueError(
            f"--model is {name!r}; {path} holds {', '.join(names) or 'no classifier'}"
        )
    return model_files.load(path / f"{name}{MODEL_ENDING}")


def _require_probabilities(path: Path, name: str) -> None:
    """Refuses a classifier whose scores are no logarithms of probabilities."""
    selected = directory.read(path / schema.SELECTED)
    entry = selected["entries"][selected["chosen"]]
    for other in selected["entries"]:
        if other.get("model") == f"{name}{MODEL_ENDING}":
            entry = other
    loss = entry["row"].get("loss", "softmax_cross_entropy")
    if loss not in losses.PROBABILISTIC:
        raise ValueError(
            f"--probabilities is given, but {name} of {path} was trained by {loss}, "
            "whose scores make no probabilities of the classes"
        )


def _read_options(path: Path, config: PredictConfig, model: Model) -> ReadOptions:
    """Returns which columns are features, as in the run but for what flags say."""
    flags = directory.read(path / directory.CONFIG)["flags"]
    return ReadOptions(
        config.label_column or flags.get("label_column"),
        (*flags.get("drop_columns", ()), *config.drop_columns),
        tuple(flags.get("keep_columns", ())),
        feature_names=tuple(model.feature_names or ()),
    )


def _require_columns(path: str, config: PredictConfig, options: ReadOptions) -> None:
    """Refuses columns to leave out that the file does not have: they are misspelt."""
    names = files.DataFile(path, options).droppable
    some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    for name in config.drop_columns:
        if name not in names:
            raise ValueError(
                f"--drop_columns holds {name!r}; expected columns of {path}: {some}"
            )
    if config.label_column is not None and config.label_column not in names:
        raise ValueError(
            f"--label_column is {config.label_column!r}; expected a column of {path}: "
            f"{some}"
        )


@contextlib.contextmanager
def _errors_named(path: str) -> Iterator[None]:
    """Puts the name of a file before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def predict(
    model: Model,
    x: np.ndarray,
    probabilities: bool = False,
    names: Sequence[str] | None = None,
) -> Predictions:
    """Returns what a classifier says of rows of raw features.

    The rows are ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``; the names of
    their columns are matched with those of the model where it has some.

    Raises:
        ValueError: The rows do not fit the classifier, or are not finite.
    """
    if x.ndim > 2 and model.image_shape not in (None, x.shape[1:]):
        raise ValueError(
            f"found images of shape {x.shape[1:]}, expected {model.image_shape}"
        )
    rows = stored_rows.stored(x.reshape(len(x), -1))
    classes = np.array(model.class_names)
    if not probabilities:
        return Predictions(
            model.class_names, classes[model_files.predict(model, rows, names)], None
        )
    probs = np.asarray(model_files.predict_proba(model, rows, names), np.float32)
    return Predictions(model.class_names, classes[probs.argmax(axis=1)], probs)
