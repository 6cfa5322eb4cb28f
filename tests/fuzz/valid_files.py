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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors_numpy

from linclf_jax.data import cifar, files

Arrays = tuple[np.ndarray, ...]
_RANDOM = np.random.default_rng(0)
_X = _RANDOM.normal(size=(6, 4)).astype(np.float32)
_IMAGES = _RANDOM.integers(0, 256, (5, 4, 3), np.uint8)
_NAMES = np.array(["ant", "bee", "ant", "cat", "bee", "cat"])
_ROWS = _RANDOM.integers(0, 256, (3, 3072), np.uint8)
_PIXELS = _ROWS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
_LABELS = np.array([7, 0, 9], np.uint8)
_LIMIT = 2**20  # bytes; none of the files has as many
_BRAIN = jnp.dtype(jnp.bfloat16)


class ValidFile(NamedTuple):
    """A valid file, how it is read, and whether what came out is right."""

    name: str  # of the file
    content: bytes
    read: Callable[[Path], Arrays]
    is_right: Callable[[bytes, Arrays], bool]  # of the mutated bytes


def make() -> tuple[ValidFile, ...]:
    """Returns a valid file of every format."""
    idx = _idx(_IMAGES)
    zipped, deflated = io.BytesIO(), io.BytesIO()
    np.savez(zipped, features=_X, labels=_NAMES)
    np.savez_compressed(deflated, features=_X, labels=_NAMES)
    batch = _binary()
    pickles = [pickle.dumps(_batch(), protocol) for protocol in (2, 5)]
    return (
        ValidFile("x.npy", _npy(_X), _features, _as_npy_says),
        ValidFile("half.npy", _npy(_X.astype(np.float16)), _features, _as_npy_says),
        ValidFile("brain.npy", _npy(_X.astype(_BRAIN)), _features, _as_npy_says),
        ValidFile("names.npy", _npy(_NAMES), _classes, _is_mapping),
        ValidFile("bytes.npy", _npy(_NAMES.astype("S")), _classes, _is_mapping),
        ValidFile("stored.npz", zipped.getvalue(), _both, _equals(_X, _NAMES)),
        ValidFile("deflated.npz", deflated.getvalue(), _both, _equals(_X, _NAMES)),
        ValidFile("images", idx, _features, _as_idx_says),
        ValidFile(
            "images.gz", gzip.compress(idx, mtime=0), _features, _equals(_IMAGES)
        ),
        ValidFile("rows.bin", batch, _features, _as_rows_say),
        ValidFile("test_batch", pickles[0], _folder, _is_batch),
        ValidFile("test_batch", pickles[1], _folder, _is_batch),
        ValidFile("c.tar", _tar(batch, "w"), _archive, _is_batch),
        ValidFile("c.tar.gz", _tar(batch, "w:gz"), _archive, _equals(_PIXELS, _LABELS)),
        ValidFile("x.csv", _text(), _both, _as_text_says),
        ValidFile("x.safetensors", _tensors(_X), _both, _as_tensors_say),
        ValidFile(
            "brain.safetensors", _tensors(_X.astype(_BRAIN)), _both, _as_tensors_say
        ),
        *_parquet(),
    )


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 0x08, array.ndim]) + sizes + array.tobytes()


def _binary() -> bytes:
    return np.concatenate([_LABELS[:, None], _ROWS], axis=1).tobytes()


def _batch() -> dict[str, object]:
    return {"data": _ROWS, "labels": _LABELS.tolist(), "filenames": ["a", "b", "c"]}


def _tar(content: bytes, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[arg-type]
        member = tarfile.TarInfo("batches/test_batch.bin")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _text() -> bytes:
    lines = [",".join(["a", "b", '"c"', "d", "label"])]
    for row, name in zip(_X.tolist(), _NAMES, strict=True):
        lines.append(",".join([*map(repr, row), f'"{name}"']))
    return "\n".join(lines).encode()


def _tensors(x: np.ndarray) -> bytes:
    return safetensors_numpy.save({"features": x, "labels": np.arange(len(x)) % 3})


def _parquet() -> tuple[ValidFile, ...]:
    """Returns tables, where there is pyarrow."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return ()
    lists = pa.FixedSizeListArray.from_arrays(pa.array(_X.reshape(-1)), 4)
    columns = {name: _X[:, place] for place, name in enumerate("abcd")}
    made = []
    for table in (columns, {"features": lists}):
        stream = io.BytesIO()
        whole = pa.table({**table, "label": _NAMES.tolist()})
        parquet.write_table(whole, stream, write_page_checksum=True)
        made.append(ValidFile("x.parquet", stream.getvalue(), _both, _is_table))
    return tuple(made)


def _features(path: Path) -> Arrays:
    return (np.array(files.read_features(path, max_bytes=_LIMIT)),)


def _classes(path: Path) -> Arrays:
    found = files.read_labels(path)
    return found.labels, np.array(found.class_names)


def _both(path: Path) -> Arrays:
    found = files.read_labels(path)
    return (*_features(path), np.array(found.class_names)[found.labels])


def _folder(path: Path) -> Arrays:
    return cifar.read(path.parent, "test")


def _archive(path: Path) -> Arrays:
    return cifar.read(path, "test")


def _equals(*expected: np.ndarray) -> Callable[[bytes, Arrays], bool]:
    return lambda _, found: all(map(np.array_equal, found, expected))


def _as_npy_says(content: bytes, found: Arrays) -> bool:
    start = 10 + int.from_bytes(content[8:10], "little")
    # NumPy overlooks a line that ends early.
    said = ast.literal_eval(" ".join(content[10:start].decode("latin-1").split()))
    dtype = np.dtype(said["descr"])
    dtype = _BRAIN if dtype.kind == "V" else dtype
    order = "F" if said["fortran_order"] else "C"
    expected = np.frombuffer(content[start:], dtype).reshape(said["shape"], order=order)
    return np.array_equal(found[0], expected)


def _as_idx_says(content: bytes, found: Arrays) -> bool:
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    kinds = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}
    dtype = np.dtype(f">{kinds[content[2]]}")
    body = np.frombuffer(content[4 + 4 * content[3] :], dtype)
    return np.array_equal(found[0], body.reshape(shape))


def _as_rows_say(content: bytes, found: Arrays) -> bool:
    labels = 1 if len(content) % 3073 == 0 else 2
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3072 + labels)[:, labels:]
    return np.array_equal(found[0].transpose(0, 3, 1, 2).reshape(len(rows), -1), rows)


def _as_text_says(content: bytes, found: Arrays) -> bool:
    """Compares the numbers of lines that are simple enough for a reader of one line."""
    x, names = found
    lines = content.decode("utf-8-sig").splitlines()
    if x.ndim != 2 or not len(names) or not np.isfinite(x).all():
        return False
    rows = [line.split(",") for line in lines if line]
    header = [name.strip().strip('"') for name in rows.pop(0)]
    simple = len(rows) == len(x) and all(len(row) == len(header) for row in rows)
    if not simple or content.count(b'"') != _text().count(b'"'):
        return True
    names_of_labels = {"label", "labels", "target", "y", ""}
    places = [k for k, name in enumerate(header) if name not in names_of_labels]
    expected = [[float(row[k].strip().strip('"')) for k in places] for row in rows]
    return np.array_equal(x, np.array(expected))


def _as_tensors_say(content: bytes, found: Arrays) -> bool:
    start = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:start])
    entries.pop("__metadata__", None)
    entry = entries["features"] if len(entries) > 1 else next(iter(entries.values()))
    first, last = (start + offset for offset in entry["data_offsets"])
    kinds = {"F": "f", "I": "i", "U": "u"}
    dtype = _BRAIN
    if entry["dtype"] != "BF16":
        bits = int(entry["dtype"][1:])
        dtype = np.dtype(f"<{kinds[entry['dtype'][0]]}{bits // 8}")
    body = np.frombuffer(content[first:last], dtype).reshape(entry["shape"])
    return np.array_equal(found[0], body)


def _is_mapping(_: bytes, found: Arrays) -> bool:
    labels, names = found
    return np.array_equal(np.unique(labels), np.arange(len(names)))


def _is_batch(_: bytes, found: Arrays) -> bool:
    x, labels = found
    shape = (len(labels), *cifar.IMAGE_SHAPE)
    return x.shape == shape and x.dtype == np.uint8 and bool((labels < 10).all())


def _is_table(_: bytes, found: Arrays) -> bool:
    x, names = found
    return x.ndim == 2 and x.dtype.kind in "iuf" and len(names) > 0
