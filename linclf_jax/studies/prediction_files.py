"""Predictions as bytes of a file, by the ending of its name."""

import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from linclf_jax.runs import csv_text


class Predictions(NamedTuple):
    """What a classifier says of each row."""

    class_names: tuple[str, ...]  # C
    classes: np.ndarray  # (N,) text
    probabilities: np.ndarray | None  # (N, C) float32


def encode(predictions: Predictions, ending: str) -> bytes:
    """Returns the bytes of a file whose name ends in one of ``ENDINGS``.

    Raises:
        ValueError: What the format needs is not installed.
    """
    return _ENCODERS[ending](predictions)


def _columns(predictions: Predictions) -> dict[str, np.ndarray]:
    columns = {"class": predictions.classes}
    if predictions.probabilities is not None:
        columns |= {
            f"probability of {name}": column
            for name, column in zip(
                predictions.class_names, predictions.probabilities.T, strict=True
            )
        }
    return columns


def _npy(predictions: Predictions) -> bytes:
    columns = {"class": predictions.classes}
    if predictions.probabilities is not None:
        columns["probabilities"] = predictions.probabilities
    fields = [(name, c.dtype, c.shape[1:]) for name, c in columns.items()]
    table = np.empty(len(predictions.classes), fields)
    for name, column in columns.items():
        table[name] = column
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, table, allow_pickle=False)
    return buffer.getvalue()


def _csv(predictions: Predictions) -> bytes:
    return csv_text.encode(_columns(predictions))


def _parquet(predictions: Predictions) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            "--out is .parquet, which needs pyarrow: pip install 'linclf_jax[parquet]'"
        ) from error
    buffer = io.BytesIO()
    columns = {
        name: pyarrow.array(column) for name, column in _columns(predictions).items()
    }
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


_ENCODERS: Mapping[str, Callable[[Predictions], bytes]] = {
    ".npy": _npy,
    ".parquet": _parquet,
    ".csv": _csv,
}
ENDINGS = tuple(_ENCODERS)
