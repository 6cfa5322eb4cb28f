"""CIFAR-10 and CIFAR-100: binary files, Python batches, folders and archives of them.

A row of a binary file is one label, of CIFAR-100 a coarse and a fine one, and 3072
bytes, all red ones first. Archives are read without being unpacked.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import door, unpickling
from linclf_jax.data.door import BadFileError

IMAGE_SHAPE = (32, 32, 3)
_PIXELS = 3072
PARTS = {  # of the two datasets, the files of each part
    10: {
        "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test": ("test_batch",),
    },
    100: {"train": ("train",), "test": ("test",)},
}
# Of a batch of the larger dataset; archives hold other large things at their peril.
_LARGEST = 256 * 2**20
_PADDING = 2**20  # bytes at the end of an archive, at most
_EXPECTED = "CIFAR's archive, or a folder with its files"


class Images(NamedTuple):
    """Rows of CIFAR."""

    x: np.ndarray  # (N, 32, 32, 3) uint8
    labels: np.ndarray  # (N,) uint8, the fine ones of CIFAR-100


def peek(path: str | Path) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the images of one binary file, from its length.

    Args:
        path: The file, ``.bin``.

    Raises:
        BadFileError: It is missing, or holds no whole number of rows.
    """
    with door.reading(path, "a binary file of CIFAR"):
        size = Path(path).stat().st_size
    rows, _ = _rows(size, path)
    return (rows, *IMAGE_SHAPE), np.dtype(np.uint8)


def read_images(path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns the images of one binary file of CIFAR-10 or CIFAR-100.

    Args:
        path: The file, ``.bin``.
        max_bytes: Most that they may take; what the machine has if None.

    Returns:
        ``(N, 32, 32, 3)`` uint8.

    Raises:
        BadFileError: As ``peek``, or a label is out of range.
    """
    return _read_file(path, max_bytes).x


def read_labels(path: str | Path, max_bytes: int | None = None) -> np.ndarray:
    """Returns the labels of one binary file, of CIFAR-100 the fine ones.

    Args:
        path: As in ``read_images``.
        max_bytes: As in ``read_images``.

    Returns:
        ``(N,)`` uint8.

    Raises:
        BadFileError: As ``read_images``.
    """
    return _read_file(path, max_bytes).labels


def read(
    path: str | Path,
    part: str = "train",
    *,
    classes: int = 10,
    md5: Mapping[str, str] | None = None,
) -> Images:
    """Returns the images of an archive or a folder.

    Args:
        path: ``.tar.gz`` or ``.tar`` or a folder, with binary files or Python batches.
        part: ``train`` or ``test``.
        classes: 10 or 100.
        md5: What the files must be, by their names; None checks no file.

    Raises:
        BadFileError: A file is missing, damaged, of another length, or not the known
            one.
    """
    names = PARTS[classes][part]
    with door.reading(path, _EXPECTED):
        contents = _contents(Path(path), names)
    images = []
    for name, content in contents.items():
        place = f"{path}: {name}"
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 is not None and found != md5.get(name):
            raise BadFileError(f"{place} has the MD5 {found}; expected {md5.get(name)}")
        if name.endswith(".bin"):
            images.append(_from_binary(content, place, classes))
        else:
            images.append(_from_pickle(content, place, classes))
    return Images(*map(np.concatenate, zip(*images, strict=True)))


def _read_file(path: str | Path, max_bytes: int | None) -> Images:
    door.check_size(*peek(path), path, max_bytes=max_bytes)
    with door.reading(path, "a binary file of CIFAR"):
        content = Path(path).read_bytes()
    return _from_binary(content, path)


def _contents(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Returns the bytes of the files of a part, all binary or all Python batches."""
    if path.is_dir():
        found = {n: path / n for n in _both(names) if (path / n).is_file()}
        return {n: found[n].read_bytes() for n in _whole(found, names, path)}
    found = {}
    with door.opened(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            name = Path(member.name).name
            if member.size > _LARGEST or (member.issparse() and name in _both(names)):
                raise BadFileError(
                    f"{path}: {member.name} takes {member.size} bytes; expected at "
                    f"most {_LARGEST}"
                )
            if member.isreg() and name in _both(names):
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                found[name] = bytes(door.read_exactly(content, member.size, path))
        # To the end, where the checksum of gzip is; a damaged header ends it early.
        if stream.read(_PADDING + 1).strip(b"\0") or stream.read(1):
            raise BadFileError(f"{path} goes on after its last file; expected zeros")
    return {name: found[name] for name in _whole(found, names, path)}


def _both(names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, *(f"{name}.bin" for name in names))


def _whole(
    found: Mapping[str, object], names: tuple[str, ...], path: Path
) -> tuple[str, ...]:
    for wanted in (tuple(f"{name}.bin" for name in names), names):
        if all(name in found for name in wanted):
            return wanted
    raise BadFileError(
        f"{path} holds {', '.join(found) or 'none of them'}; expected "
        f"{', '.join(names)}, all with or all without .bin"
    )


def _rows(size: int, path: str | Path, classes: int | None = None) -> tuple[int, int]:
    """Returns how many rows there are and how many labels each has."""
    for labels in {10: (1,), 100: (2,), None: (1, 2)}[classes]:
        rows, rest = divmod(size, labels + _PIXELS)
        if rows and not rest:
            return rows, labels
    raise BadFileError(
        f"{path} holds {size} bytes; expected a multiple of 3073, or for CIFAR-100 of "
        "3074"
    )


def _from_binary(
    content: bytes, path: str | Path, classes: int | None = None
) -> Images:
    rows, count = _rows(len(content), path, classes)
    table = np.frombuffer(content, np.uint8).reshape(rows, count + _PIXELS)
    for column, limit in enumerate((10,) if count == 1 else (20, 100)):
        _check_labels(table[:, column], limit, path)
    return Images(_images(table[:, count:]), table[:, count - 1].copy())


def _from_pickle(content: bytes, path: str | Path, classes: int) -> Images:
    found = unpickling.loads(content, path)
    key = "labels" if classes == 10 else "fine_labels"
    if not isinstance(found, dict) or "data" not in found or key not in found:
        raise BadFileError(f"{path} is no batch; expected a dict with data and {key}")
    with door.reading(path, f"an array of data and a list of {key}"):
        x, labels = np.asarray(found["data"]), np.array(found[key])
    if x.dtype != np.uint8 or x.shape != (len(x), _PIXELS) or not len(x):
        raise BadFileError(
            f"{path} has data {x.dtype} of shape {x.shape}; expected uint8 (N, 3072)"
        )
    if labels.dtype.kind not in "iu" or labels.shape != x.shape[:1]:
        raise BadFileError(
            f"{path} has {key} {labels.dtype} of shape {labels.shape}; expected "
            f"integers of shape {x.shape[:1]}"
        )
    _check_labels(labels, classes, path)
    return Images(_images(x), labels.astype(np.uint8))


def _check_labels(labels: np.ndarray, limit: int, path: str | Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    if len(wrong):
        raise BadFileError(
            f"{path}: {len(wrong)} of {len(labels)} labels are invalid, the first, in "
            f"row {wrong[0]}, is {labels[wrong[0]]}; expected 0..{limit - 1}"
        )


def _images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
