"""Readers of data files, each of which checks all that a file says of itself.

The formats are those of ``formats``. Features are integers, float16, bfloat16, float32
or float64, and keep their dtype. Nothing is unpickled, but for
Python batches of CIFAR by a reader of arrays alone, and by PyTorch with weights_only.
"""

from pathlib import Path

import numpy as np

from linclf_jax.data import cifar, door, formats, idx, labels
from linclf_jax.data.columns import FeatureColumns, ReadOptions
from linclf_jax.data.door import BadFileError
from linclf_jax.data.labels import Labels

Header = formats.Header
KINDS = formats.KINDS
read_idx = idx.read
read_cifar = cifar.read
_NONE = ReadOptions()


def read_features(
    path: str | Path, *, max_bytes: int | None = None, options: ReadOptions = _NONE
) -> np.ndarray:
    """Returns the features of a file, once all of them have been looked at.

    Args:
        path: The file, of any of the formats.
        max_bytes: Most memory that they may take; what the machine has if None.
        options: Which columns are features.

    Returns:
        ``(N, D)``, or images ``(N, H, W)`` or ``(N, H, W, 3)``, in the file's dtype.

    Raises:
        ValueError: The file is missing, damaged, too long, too large, or of another
            format; or holds NaN or infinity, with the count and the first place.
    """
    peek(path, options)
    x = formats.of(path).read(path, max_bytes, options)
    x = door.check_features(x, path, feature_names(path, options))
    rest = _rest(path, x.shape, options)
    return x if rest is None else x[:, rest]


def read_labels(
    path: str | Path,
    class_names: tuple[str, ...] | None = None,
    *,
    options: ReadOptions = _NONE,
) -> Labels:
    """Returns the labels of a file as classes.

    Args:
        path: The file, of any of the formats.
        class_names: Of the training rows, for labels of other rows; None finds them.
        options: Which column holds them, and what its values mean.

    Returns:
        Classes ``(N,)`` int32 and the names of all classes, as ``labels.from_array``
        makes them.

    Raises:
        ValueError: As ``read_features``, or as ``labels.from_array``.
    """
    if class_names is not None and options.class_names is None:
        options = options._replace(label_texts=not labels.are_integers(class_names))
    found = formats.of(path).read_labels(path, None, options)
    return labels.from_array(found, class_names, path, options)


def peek(path: str | Path, options: ReadOptions = _NONE) -> Header:
    """Returns shape and dtype of features, from the header.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Raises:
        ValueError: The file is missing, the header is damaged, or what it describes
            can be no features.
    """
    shape, dtype = formats.of(path).peek(path, options)
    door.check_kind(shape, dtype, path)
    rest = _rest(path, shape, options)
    return (shape if rest is None else (shape[0], len(rest))), dtype


def peek_labels(path: str | Path, options: ReadOptions = _NONE) -> int:
    """Returns how many labels there are, from the header.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_labels``.

    Raises:
        ValueError: The file is missing, or the header is damaged.
    """
    (shape, _) = formats.of(path).peek_labels(path, options)
    if not shape:
        raise BadFileError(f"{path} holds a single number; expected one a row")
    return shape[0]


def feature_names(
    path: str | Path, options: ReadOptions = _NONE
) -> tuple[str, ...] | None:
    """Returns the names of the features, from the header, in the order of the columns.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Returns:
        One for each column that ``read_features`` returns; None where a file has no
        names: of arrays, lists, and a CSV without a header.

    Raises:
        ValueError: As ``peek``.
    """
    found = _feature_columns(path, options)
    return found.names if found is not None and found.named else None


def called(path: str | Path, options: ReadOptions = _NONE) -> tuple[str, ...] | None:
    """Returns what flags and messages call the features: names, or numbers from 0.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Returns:
        As ``feature_names``, with the number of the column in the file where it has no
        name; None of images.

    Raises:
        ValueError: As ``peek``.
    """
    found = _feature_columns(path, options)
    if found is not None:
        return found.names
    shape, _ = formats.of(path).peek(path, options)
    if len(shape) != 2:
        return None
    rest = _rest(path, shape, options)
    return tuple(map(str, range(shape[1]) if rest is None else rest))


def columns(path: str | Path, options: ReadOptions = _NONE) -> tuple[str, ...]:
    """Returns the names of all columns of a table, from the header; none of arrays.

    Args:
        path: The file, of any of the formats.
        options: Which names training had.

    Raises:
        ValueError: As ``peek``.
    """
    names = formats.of(path).columns
    return () if names is None else names(path, options)


def droppable(path: str | Path, options: ReadOptions = _NONE) -> tuple[str, ...]:
    """Returns what ``drop_columns`` may hold: all columns, by name or number.

    Args:
        path: The file, of any of the formats.
        options: As in ``read_features``.

    Raises:
        ValueError: As ``peek``.
    """
    names = columns(path, options)
    dropped = tuple(name for name in options.drop_columns if name in names)
    every = options._replace(drop_columns=dropped)
    if feature_names(path, every) is not None:
        return names
    return (*names, *(called(path, every) or ()))


def _feature_columns(path: str | Path, options: ReadOptions) -> FeatureColumns | None:
    reader = formats.of(path).feature_columns
    return None if reader is None else reader(path, options)


def _rest(
    path: str | Path, shape: tuple[int, ...], options: ReadOptions
) -> list[int] | None:
    """Returns the columns of a matrix that are not dropped; None where none is."""
    if not options.drop_columns or _feature_columns(path, options) is not None:
        return None
    rest = [k for k in range(shape[1]) if str(k) not in options.drop_columns]
    if len(shape) != 2 or not rest:
        raise BadFileError(
            f"{path} has shape {shape}, drop_columns is "
            f"{', '.join(options.drop_columns)}; expected columns that are left"
        )
    return rest if len(rest) < shape[1] else None


def members(path: str | Path) -> tuple[str, ...]:
    """Returns the names of the arrays in a file that has several; none of others.

    Args:
        path: The file, of any of the formats.

    Raises:
        ValueError: The file is missing or damaged.
    """
    names = formats.of(path).members
    return () if names is None else names(path)
