"""Files of arrays: read to the number, or refused with what is wrong with them."""

import gzip
import hashlib
import importlib.util
import json
import os
import struct
import sys
import zipfile

import h5py
import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors import numpy as safetensors_numpy

from linclf_jax import validation
from linclf_jax.data import checks, files, formats, idx
from tests.data import own_files
from tests.fuzz import valid_files
from tests.fuzz.valid_files import npy

X = np.arange(12.0).reshape(4, 3)
Y = np.array([1, 0, 2, 0])
BRAIN = jnp.dtype(jnp.bfloat16)
NUMBERS = ("f2", "f4", "f8", "u1", "i8")


def save_safetensors(path, **arrays):
    made = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    safetensors_numpy.save_file(made, path)


def save_h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def save_pt(path, **arrays):
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def save_idx(path, x):
    content = valid_files.idx(x)
    path.write_bytes(gzip.compress(content) if path.suffix else content)


ARCHIVES = {
    "x.npz": np.savez,
    "deflated.npz": np.savez_compressed,
    "x.safetensors": save_safetensors,
    "x.h5": save_h5,
    "x.hdf5": save_h5,
}
if importlib.util.find_spec("torch"):
    ARCHIVES |= {"x.pt": save_pt, "x.pth": save_pt}
every_archive = pytest.mark.parametrize("name", ARCHIVES)
SINGLE = {"x.npy": np.save, "images": save_idx, "images.gz": save_idx}
DTYPES = {
    **dict.fromkeys(ARCHIVES, NUMBERS),
    **dict.fromkeys(("images", "images.gz"), tuple(valid_files.IDX_TYPES)),
    "x.npy": [*NUMBERS, ">f8", BRAIN],
    "x.safetensors": [*NUMBERS, BRAIN],
    "x.h5": [*NUMBERS, ">f4"],
}


def shape(path):
    return files.DataFile(path).shape


def num_labels(path):
    return files.DataFile(path).num_labels


def save_features(path, x):
    if path.name in SINGLE:
        SINGLE[path.name](path, x)
    else:
        ARCHIVES[path.name](path, features=x)


@pytest.mark.parametrize("name", DTYPES)
@hypothesis.settings(max_examples=15)
@hypothesis.given(data=st.data())
def test_every_number_is_read_as_it_was_written(name, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / name
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES[name])))
    rows, columns, side = (data.draw(st.integers(1, 4)) for _ in range(3))
    shapes = [(rows, columns), (rows, columns, side), (rows, columns, side, 3)]
    shape = data.draw(st.sampled_from(shapes))
    lowest = 0 if dtype.kind == "u" else -100
    x = np.random.default_rng(0).integers(lowest, 100, shape)
    x = np.asarray(x, dtype, order=data.draw(st.sampled_from("CF")))
    save_features(path, x)
    read = files.read_features(path)
    assert (read.dtype, read.shape) == (dtype.newbyteorder("="), shape)
    np.testing.assert_array_equal(read, x.astype(read.dtype))
    assert files.DataFile(path).shape == shape
    assert files.DataFile(path).feature_names is None


@every_archive
def test_arrays_of_an_archive_are_read_by_their_names(name, tmp_path):
    path, save = tmp_path / name, ARCHIVES[name]
    save(path, other=X + 1, features=X, labels=Y)
    np.testing.assert_array_equal(files.read_features(path), X)
    np.testing.assert_array_equal(files.read_features(f"{path}:other"), X + 1)
    assert files.DataFile(path).shape == (4, 3)
    assert files.DataFile(path).num_labels == 4
    assert files.read_labels(path).labels.tolist() == Y.tolist()
    assert {*files.DataFile(path).members} == {"other", "features", "labels"}
    save(path, whatever=X)  # the only one needs no name
    np.testing.assert_array_equal(files.read_features(path), X)
    save(path, a=X, b=X)
    own_files.refuse("holds a, b; expected features, or a name", path)
    with pytest.raises(ValueError, match=r"holds a, b; expected c.*:NAME"):
        files.read_features(f"{path}:c")


@every_archive
def test_archives_that_are_missing_damaged_or_too_large(name, tmp_path, monkeypatch):
    path = tmp_path / name
    own_files.refuse(f"{name}: No such file", path)
    ARCHIVES[name](path, features=X, labels=Y)
    monkeypatch.setattr(formats, "memory", lambda: 95)
    if name == "x.safetensors":  # it is memory-mapped
        np.testing.assert_array_equal(files.read_features(path), X)
    else:
        own_files.refuse("96 bytes; expected at most 95", path)
    content = path.read_bytes()
    for damaged in (content[:-40], b"", b"nothing of the kind"):
        path.write_bytes(damaged)
        own_files.refuse(f"{name}(:| is)", path)


@pytest.fixture
def refuse(tmp_path):
    """Writes a file that is refused by a message."""

    def write_and_refuse(name, content, message):
        (tmp_path / name).write_bytes(content)
        own_files.refuse(message, tmp_path / name)

    return write_and_refuse


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
IDX = valid_files.idx(IMAGES)
NPY = npy(X)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images", b"PNG" + IDX, "begins with the bytes 50 4e 47 00"),
        ("images", b"\0\0\x0a" + IDX[3:], "begins with the bytes 00 00 0a 03"),
        ("images", IDX[:10], "ends within its header, after 10 bytes"),
        ("images", IDX[:-1], r"39 bytes; expected 40, for uint8 of shape \(2,"),
        ("images", gzip.compress(IDX)[:-8] + bytes(8), "CRC check failed"),
        ("images", gzip.compress(IDX[:-1]), "ends after 23 bytes; expected 24"),
        ("images", gzip.compress(IDX + b"\0"), "goes on after 24 bytes"),
        ("images", valid_files.idx(IMAGES[:0]), r"declares shape \(0, 3, 4\)"),
        ("x.npy", NPY[:-1], r"223 bytes; expected 224, for float64 of shape \(4,"),
        ("x.npy", NPY + b"\0", "225 bytes; expected 224"),
        ("x.npy", NPY[:6] + b"\3\0" + NPY[8:], r"has version \(3, 0\); expected"),
        ("x.npy", NPY.replace(b"(4, 3)", b"(4,-3)"), "expected"),
        ("x.npy", npy(X[0]), r"has shape \(3,\); expected \(N, D\)"),
        ("x.npy", npy(np.zeros((2, 2, 2, 4))), r"\(2, 2, 2, 4\)"),
        ("x.npy", npy(X[:0]), r"declares shape \(0, 3\)"),
        ("x.npy", npy(X.astype(complex)), "has dtype complex128; expected int"),
        ("x.npy", npy(X > 1), "has dtype bool"),
        ("x.npy", npy(np.zeros((2, 2), "V1")), "has dtype"),
        ("x.npy", npy(np.zeros((2, 2), "i4,f4")), "has dtype"),
        ("x.csv.gz", b"something else", r"ends in \.csv\.gz, which is not .*safet"),
        ("x.pkl", b"something else", r"ends in \.pkl, which is not .*safet"),
        ("x.dat", b"\x1f\x8bdamaged", r"ends in \.dat, which is not .*safet"),
    ],
)
def test_a_file_that_is_not_whole_or_no_features(name, content, message, refuse):
    refuse(name, content, message)


def test_missing_files_and_folders_are_named(tmp_path):
    for name in ("absent", "absent.npy", "absent.bin", "a.parquet"):
        own_files.refuse(f"{name}: No such file", tmp_path / name)
    for read in (files.read_features, files.read_labels, shape):
        message = r"x.json is missing, and ends in \.json"
        own_files.refuse(message, tmp_path / "x.json", read)
    own_files.refuse("is a folder; expected a file", tmp_path)
    np.save(tmp_path / "y.npy", 3)
    own_files.refuse(
        "holds a single number",
        tmp_path / "y.npy",
        lambda path: files.DataFile(path).num_labels,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", BRAIN])
def test_one_number_that_is_not_finite(value, kind, refuse, monkeypatch):
    monkeypatch.setattr(validation, "_BLOCK", 6)  # blocks of two rows
    x = np.arange(15.0).reshape(5, 3).astype(kind)
    x[4, 1] = value
    refuse("x.npy", npy(x), f"1 of 15 numbers .* in row 4, column 1, is {value}")
    x[0, 2] = value
    refuse("x.npy", npy(x), "2 of 15 .* row 0, column 2")
    images = np.zeros((5, 2, 4, 3), kind)
    images[3, 1, 2, 0] = value
    refuse("x.npy", npy(images), "1 of 120 .* row 3, column 18")


def test_what_declares_too_much_is_refused_before_it_is_read(refuse, monkeypatch):
    """An IDX file declares 4 GB of zeros, for which 4 MB would do, but not 4 kB."""
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**12, 2**10, 2**10)
    monkeypatch.setattr(formats, "memory", lambda: 2**40)
    monkeypatch.setattr(checks, "read_exactly", lambda *_: pytest.fail("expanded"))
    bomb = gzip.compress(header + bytes(4096))
    refuse("x.gz", bomb, "4294967296 bytes; it has .* cannot hold")
    monkeypatch.setattr(formats, "memory", lambda: 95)
    too_much = r"float64 of shape \(4, 3\), 96 bytes; expected at most 95"
    swapped = npy(X.astype(">f8"))  # it is converted, where others are mapped
    refuse("x.npy", swapped, too_much)
    refuse("x.gz", gzip.compress(valid_files.idx(np.zeros((96, 1), "u1"))), "most 95")


def test_an_npz_that_declares_too_much(tmp_path):
    path = tmp_path / "x.npz"
    header = NPY.replace(b"(4, 3), }  ", b"(40000,30000)}")[:128]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", header + bytes(96))
    own_files.refuse("holds 224 bytes; expected 9600000128", path)


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors"])
def test_an_array_stays_on_the_disk(name, tmp_path):
    save_features(tmp_path / name, X)
    read = files.read_features(tmp_path / name)
    assert isinstance(read.base, np.memmap)
    assert not read.flags.writeable


def test_objects_are_refused_and_nothing_runs(tmp_path, refuse):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    evil, message = np.array([[Evil()]], object), "Python objects, which are not read"
    refuse("x.npy", npy(evil, allow_pickle=True), message)
    np.savez(tmp_path / "y.npz", features=evil)
    own_files.refuse(message, tmp_path / "y.npz")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["images.idx3-ubyte", "images.idx", "images.dat"])
def test_idx_files_are_recognised_whatever_they_are_called(name, tmp_path):
    (tmp_path / name).write_bytes(IDX)
    for read in (files.read_features, files.read_idx):
        np.testing.assert_array_equal(read(tmp_path / name), IMAGES)
    assert idx.sha256(IMAGES) == hashlib.sha256(IDX).hexdigest()
    (tmp_path / name).write_bytes(valid_files.idx(Y.astype(np.uint8)))
    assert files.read_labels(tmp_path / name).labels.tolist() == Y.tolist()


def test_a_dtype_of_safetensors_that_numpy_has_not(refuse):
    entry = {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}
    header = json.dumps({"features": entry}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    refuse("x.safetensors", content, "features is of F8_E4M3; expected one of")


class TestHdf5:
    def test_texts_groups_and_compressed_rows(self, tmp_path):
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("layer/four", data=X, compression="gzip", chunks=(2, 3))
            file["labels"] = ["bee", "ant", "bee", "b\u00e9"]
            file["features"] = X
        np.testing.assert_array_equal(files.read_features(f"{path}:layer/four"), X)
        assert files.read_labels(path).class_names == ("ant", "bee", "b\u00e9")
        own_files.refuse(r"has shape \(4,\); expected", f"{path}:labels")
        save_h5(path, **{"g/x": X, "g/deep/y": X})
        message = r"holds g/deep/y, g/x, all in groups; expected .*x.h5:g/deep/y"
        own_files.refuse(message, path)

    def test_datasets_in_other_files_are_not_read(self, tmp_path):
        save_h5(tmp_path / "other.h5", features=X)
        X.tofile(tmp_path / "raw")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["link"] = h5py.ExternalLink(tmp_path / "other.h5", "features")
            raw = [(str(tmp_path / "raw"), 0, X.nbytes)]
            file.create_dataset("raw", X.shape, X.dtype, external=raw)
            layout = h5py.VirtualLayout(X.shape, X.dtype)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "features", X.shape)
            file.create_virtual_dataset("virtual", layout)
        with pytest.raises(ValueError, match="holds raw, virtual; expected link"):
            files.read_features(f"{tmp_path}/x.h5:link")
        for name in ("raw", "virtual"):
            with pytest.raises(ValueError, match=f"{name} lies in other files"):
                files.read_features(f"{tmp_path}/x.h5:{name}")


@pytest.mark.parametrize(
    ("module", "name", "remedy"),
    [
        ("h5py", "x.h5", r"pip install 'linclf_jax\[hdf5\]'"),
        ("torch", "x.pth", "PyTorch.* pip install torch, or save .* as .safetensors"),
        ("pyarrow", "x.parquet", r"pip install 'linclf_jax\[parquet\]'"),
    ],
)
def test_a_missing_library_is_named(module, name, remedy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for read in (files.read_features, files.read_labels, shape):
        own_files.refuse(remedy, tmp_path / name, read)


class TestTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="needs PyTorch, to write its files")

    def test_a_single_tensor_and_bfloat16(self, torch, tmp_path):
        path = tmp_path / "x.pt"
        torch.save(torch.from_numpy(X).to(torch.bfloat16).requires_grad_(), path)
        read = files.read_features(path)
        assert read.dtype == BRAIN
        np.testing.assert_array_equal(read, X.astype(BRAIN))
        with pytest.raises(ValueError, match="a single tensor; expected one other"):
            files.read_features(f"{path}:other")

    def test_texts_old_files_and_transposed_tensors(self, torch, tmp_path):
        path, texts = tmp_path / "x.pt", ["b", "a", "b", "c"]
        content = {"features": torch.from_numpy(X.T.copy()).T, "labels": texts}
        for old in (False, True):
            torch.save(content, path, _use_new_zipfile_serialization=not old)
            np.testing.assert_array_equal(files.read_features(path), X)
            assert files.read_labels(path).class_names == ("a", "b", "c")

    def test_nothing_runs(self, torch, tmp_path):
        class Evil:
            def __reduce__(self):
                return exec, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

        torch.save({"features": Evil()}, tmp_path / "x.pt")
        own_files.refuse(r"x\.pt is damaged, or holds more", tmp_path / "x.pt")
        assert not (tmp_path / "executed").exists()
