"""A valid file of every format that is read, and what may come out of a damaged one.

Where a format has checksums, arrays that are read are the original ones. Where it has
none, they are what the bytes say to a second reader, which is written here.
"""

import ast
import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from safetensors import numpy as safetensors_numpy

from linclf_jax.data import cifar, files

Arrays = tuple[np.ndarray, ...]
IDX_TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
_RANDOM = np.random.default_rng(0)
_X = _RANDOM.normal(size=(6, 4)).astype(np.float32)
_IMAGES = _RANDOM.integers(0, 256, (5, 4, 3), np.uint8)
_NAMES = np.array(["ant", "bee", "ant", "cat", "bee", "cat"])
_ROWS = _RANDOM.integers(0, 256, (3, 3072), np.uint8)
_PIXELS = _ROWS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
_LABELS = np.array([7, 0, 9], np.uint8)
_BFLOAT16 = jnp.dtype(jnp.bfloat16)


class ValidFile(NamedTuple):
    """A valid file, how it is read, and whether what came out is right."""

    name: str  # of the file
    content: bytes
    read: Callable[[Path], Arrays]
    is_right: Callable[[bytes, Arrays], bool]  # of the mutated bytes


def npy(array: np.ndarray, **options) -> bytes:
    """Returns the ``.npy`` file of an array."""
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def idx(array: np.ndarray) -> bytes:
    """Returns the IDX file of an array."""
    header = bytes([0, 0, IDX_TYPES[array.dtype.str[1:]], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def tar(contents: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """Returns an archive of files in a folder, by their names."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[arg-type]
        for name, content in contents.items():
            member = tarfile.TarInfo(f"batches/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def make() -> tuple[ValidFile, ...]:
    """Returns a valid file of every format."""
    stored, deflated = io.BytesIO(), io.BytesIO()
    np.savez(stored, features=_X, labels=_NAMES)
    np.savez_compressed(deflated, features=_X, labels=_NAMES)
    arrays, images = _equals(_X, _NAMES), idx(_IMAGES)
    rows = np.concatenate([_LABELS[:, None], _ROWS], axis=1).tobytes()
    batch = {"data": _ROWS, "labels": _LABELS.tolist(), "filenames": ["a", "b", "c"]}
    old, new = (pickle.dumps(batch, protocol) for protocol in (2, 5))
    tars = (tar({"test_batch.bin": rows}, mode) for mode in ("w", "w:gz"))
    brain = _X.astype(_BFLOAT16)
    return (
        ValidFile("x.npy", npy(_X), _features, _as_npy_says),
        ValidFile("half.npy", npy(_X.astype("f2")), _features, _as_npy_says),
        ValidFile("brain.npy", npy(brain), _features, _as_npy_says),
        ValidFile("names.npy", npy(_NAMES), _classes, _is_mapping),
        ValidFile("bytes.npy", npy(_NAMES.astype("S")), _classes, _is_mapping),
        ValidFile("stored.npz", stored.getvalue(), _both, arrays),
        ValidFile("deflated.npz", deflated.getvalue(), _both, arrays),
        ValidFile("images", images, _features, _as_idx_says),
        ValidFile(
            "images.gz", gzip.compress(images, mtime=0), _features, _equals(_IMAGES)
        ),
        ValidFile("rows.bin", rows, _features, _as_rows_say),
        ValidFile("test_batch", old, _folder, _is_batch),
        ValidFile("test_batch", new, _folder, _is_batch),
        ValidFile("c.tar", next(tars), _archive, _is_batch),
        ValidFile("c.tar.gz", next(tars), _archive, _equals(_PIXELS, _LABELS)),
        ValidFile("x.csv", _text(), _both, _as_text_says),
        ValidFile("x.safetensors", _tensors(_X), _both, _as_tensors_say),
        ValidFile("brain.safetensors", _tensors(brain), _both, _as_tensors_say),
        *_parquet(),
    )


def _text() -> bytes:
    lines = [",".join(["a", "b", '"c"', "d", "label"])]
    for row, name in zip(_X.tolist(), _NAMES, strict=True):
        lines.append(",".join([*map(repr, row), f'"{name}"']))
    return "\n".join(lines).encode()


def _tensors(x: np.ndarray) -> bytes:
    return safetensors_numpy.save({"features": x, "labels": np.arange(len(x)) % 3})


def _parquet() -> Iterator[ValidFile]:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(_X.reshape(-1)), 4)
    for features in (dict(zip("abcd", _X.T, strict=True)), {"features": lists}):
        stream, table = io.BytesIO(), pa.table({**features, "label": _NAMES.tolist()})
        parquet.write_table(table, stream, write_page_checksum=True)
        yield ValidFile("x.parquet", stream.getvalue(), _both, _is_table)


def _features(path: Path) -> Arrays:
    return (np.array(files.read_features(path)),)


def _classes(path: Path) -> Arrays:
    read = files.read_labels(path)
    return read.labels, np.array(read.class_names)


def _both(path: Path) -> Arrays:
    labels, names = _classes(path)
    return (*_features(path), names[labels])


def _folder(path: Path) -> Arrays:
    return cifar.read(path.parent, "test")


def _archive(path: Path) -> Arrays:
    return cifar.read(path, "test")


def _equals(*expected: np.ndarray) -> Callable[[bytes, Arrays], bool]:
    return lambda _, arrays: all(map(np.array_equal, arrays, expected))


def _as_npy_says(content: bytes, arrays: Arrays) -> bool:
    start = 10 + int.from_bytes(content[8:10], "little")
    # NumPy overlooks a line that ends early.
    header = ast.literal_eval(" ".join(content[10:start].decode("latin-1").split()))
    dtype = np.dtype(header["descr"])
    dtype = _BFLOAT16 if dtype.kind == "V" else dtype
    order = "F" if header["fortran_order"] else "C"
    expected = np.frombuffer(content[start:], dtype).reshape(
        header["shape"], order=order
    )
    return np.array_equal(arrays[0], expected)


def _as_idx_says(content: bytes, arrays: Arrays) -> bool:
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    kinds = {code: kind for kind, code in IDX_TYPES.items()}
    dtype = np.dtype(f">{kinds[content[2]]}")
    body = np.frombuffer(content[4 + 4 * content[3] :], dtype)
    return np.array_equal(arrays[0], body.reshape(shape))


def _as_rows_say(content: bytes, arrays: Arrays) -> bool:
    labels = 1 if len(content) % 3073 == 0 else 2
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3072 + labels)[:, labels:]
    return np.array_equal(arrays[0].transpose(0, 3, 1, 2).reshape(len(rows), -1), rows)


def _as_text_says(content: bytes, arrays: Arrays) -> bool:
    """Compares the numbers of lines that are simple enough for a reader of one line."""
    x, names = arrays
    lines = content.decode("utf-8-sig").splitlines()
    if x.ndim != 2 or not len(names) or not np.isfinite(x).all():
        return False
    rows = [line.split(",") for line in lines if line]
    header = [name.strip().strip('"') for name in rows.pop(0)]
    simple = len(rows) == len(x) and all(len(row) == len(header) for row in rows)
    if not simple or content.count(b'"') != _text().count(b'"'):
        return True
    no_features = {"label", "labels", "target", "y", ""}
    indices = [k for k, name in enumerate(header) if name not in no_features]
    expected = [[float(row[k].strip().strip('"')) for k in indices] for row in rows]
    return np.array_equal(x, np.array(expected))


def _as_tensors_say(content: bytes, arrays: Arrays) -> bool:
    start = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:start])
    entries.pop("__metadata__", None)
    entry = entries["features"] if len(entries) > 1 else next(iter(entries.values()))
    first, last = (start + offset for offset in entry["data_offsets"])
    kinds = {"F": "f", "I": "i", "U": "u"}
    dtype = _BFLOAT16
    if entry["dtype"] != "BF16":
        bits = int(entry["dtype"][1:])
        dtype = np.dtype(f"<{kinds[entry['dtype'][0]]}{bits // 8}")
    body = np.frombuffer(content[first:last], dtype).reshape(entry["shape"])
    return np.array_equal(arrays[0], body)


def _is_mapping(_: bytes, arrays: Arrays) -> bool:
    labels, names = arrays
    return np.array_equal(np.unique(labels), np.arange(len(names)))


def _is_batch(_: bytes, arrays: Arrays) -> bool:
    x, labels = arrays
    shape = (len(labels), *cifar.IMAGE_SHAPE)
    return x.shape == shape and x.dtype == np.uint8 and bool((labels < 10).all())


def _is_table(_: bytes, arrays: Arrays) -> bool:
    x, names = arrays
    return x.ndim == 2 and x.dtype.kind in "iuf" and len(names) > 0
