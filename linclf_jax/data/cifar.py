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

from linclf_jax.data import checks, unpickling
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.formats import Array, Format

IMAGE_SHAPE = (32, 32, 3)
_PIXELS = 3072
PARTS = {  # the files of each part, by the number of classes
    10: {
        "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test": ("test_batch",),
    },
    100: {"train": ("train",), "test": ("test",)},
}
_MAX_FILE = 256 * 2**20  # bytes of a file in an archive; no batch is as large
_MAX_PADDING = 2**20  # bytes at the end of an archive
_EXPECTED = "CIFAR's archive, or a folder with its files"


class Images(NamedTuple):
    """Rows of CIFAR."""

    x: np.ndarray  # (N, 32, 32, 3) uint8
    labels: np.ndarray  # (N,) uint8, the fine ones of CIFAR-100


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
        md5: The expected sums of the files by their names; None checks no file.

    Raises:
        BadFileError: A file is missing, damaged, of another length, or of another sum.
    """
    names = PARTS[classes][part]
    with checks.reading(path, _EXPECTED):
        contents = _contents(Path(path), names)
    images = []
    for name, content in contents.items():
        where = f"{path}: {name}"
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 is not None and digest != md5.get(name):
            raise BadFileError(
                f"{where} has the MD5 {digest}; expected {md5.get(name)}"
            )
        decode = _from_binary if name.endswith(".bin") else _from_pickle
        images.append(decode(content, where, classes))
    return Images(*map(np.concatenate, zip(*images, strict=True)))


def _binary(path: Path, _: str | None, what: str) -> Array:
    """Returns features or labels of one binary file, whose number its length tells."""
    num_rows = _size(path.stat().st_size, path)[0]
    is_features = what == "features"
    return Array(
        (num_rows, *(IMAGE_SHAPE if is_features else ())),
        np.dtype(np.uint8),
        lambda: _from_binary(path.read_bytes(), path)[0 if is_features else 1],
    )


def _contents(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Returns the bytes of the files of a part, all binary or all Python batches."""
    binary = tuple(f"{name}.bin" for name in names)
    if path.is_dir():
        files = [path / name for name in (*names, *binary)]
        contents = {file.name: file.read_bytes() for file in files if file.is_file()}
    else:
        contents = _unpacked(path, {*names, *binary})
    for kind in (binary, names):
        if all(name in contents for name in kind):
            return {name: contents[name] for name in kind}
    raise BadFileError(
        f"{path} holds {', '.join(contents) or 'none of them'}; expected "
        f"{', '.join(names)}, all with or all without .bin"
    )


def _unpacked(path: Path, names: set[str]) -> dict[str, bytes]:
    """Returns the bytes of those of the named files that are in an archive."""
    contents = {}
    with (
        checks.open_stream(path) as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        for member in tar:
            name = Path(member.name).name
            if member.size > _MAX_FILE or (member.issparse() and name in names):
                raise BadFileError(
                    f"{path}: {member.name} takes {member.size} bytes; expected at "
                    f"most {_MAX_FILE}"
                )
            if member.isreg() and name in names:
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                contents[name] = bytes(checks.read_exactly(content, member.size, path))
        # To the end, where the checksum of gzip is; a damaged header ends it early.
        if stream.read(_MAX_PADDING + 1).strip(b"\0") or stream.read(1):
            raise BadFileError(f"{path} goes on after its last file; expected zeros")
    return contents


def _size(size: int, path: str | Path, classes: int | None = None) -> tuple[int, int]:
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
    rows, count = _size(len(content), path, classes)
    table = np.frombuffer(content, np.uint8).reshape(rows, count + _PIXELS)
    for column, limit in enumerate((10,) if count == 1 else (20, 100)):
        _check_labels(table[:, column], limit, path)
    return Images(_images(table[:, count:]), table[:, count - 1].copy())


def _from_pickle(content: bytes, path: str | Path, classes: int) -> Images:
    batch = unpickling.loads(content, path)
    key = "labels" if classes == 10 else "fine_labels"
    if not isinstance(batch, dict) or "data" not in batch or key not in batch:
        raise BadFileError(f"{path} is no batch; expected a dict with data and {key}")
    with checks.reading(path, f"an array of data and a list of {key}"):
        x, labels = np.asarray(batch["data"]), np.array(batch[key])
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


BINARY = Format("a binary file of CIFAR", _binary)
