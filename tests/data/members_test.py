"""Files of several arrays: which is taken, in what dtype, and what is refused."""

import importlib.util
import json
import sys

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from linclf_jax.data import files

X = np.arange(12.0).reshape(4, 3)
Y = np.array([1, 0, 2, 0])


def write_npz(path, arrays):
    np.savez(path, **arrays)


def write_safetensors(path, arrays):
    made = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    safetensors_numpy.save_file(made, path)


def write_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_pt(path, arrays):
    import torch

    made = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(made, path)


WRITERS = {
    "x.npz": write_npz,
    "x.safetensors": write_safetensors,
    "x.h5": write_h5,
    "x.hdf5": write_h5,
}
if importlib.util.find_spec("torch"):
    WRITERS |= {"x.pt": write_pt, "x.pth": write_pt}
every_format = pytest.mark.parametrize("name", WRITERS)


@every_format
def test_arrays_are_taken_by_their_names(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, {"other": X + 1, "features": X, "labels": Y})
    np.testing.assert_array_equal(files.read_features(path), X)
    np.testing.assert_array_equal(files.read_features(f"{path}:other"), X + 1)
    assert files.peek(path) == ((4, 3), np.float64)
    assert files.peek_labels(path) == 4
    assert files.read_labels(path).labels.tolist() == Y.tolist()
    assert {*files.members(path)} == {"other", "features", "labels"}
    assert files.feature_names(path) is None


@every_format
def test_the_only_array_needs_no_name(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, {"whatever": X})
    np.testing.assert_array_equal(files.read_features(path), X)
    WRITERS[name](path, {"a": X, "b": X})
    with pytest.raises(ValueError, match="holds a, b; expected features, or a name"):
        files.read_features(path)
    with pytest.raises(ValueError, match=r"holds a, b; expected c.*:NAME"):
        files.read_features(f"{path}:c")


@every_format
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "u1", "i8"])
def test_every_dtype_is_kept(name, kind, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, {"features": X.astype(kind)})
    found = files.read_features(path)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, X.astype(kind))


@every_format
def test_too_much_missing_and_damaged_files(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(ValueError, match=f"{name}: No such file"):
        files.read_features(path)
    WRITERS[name](path, {"features": X, "labels": Y})
    with pytest.raises(ValueError, match="96 bytes; expected at most 95"):
        files.read_features(path, max_bytes=95)
    content = path.read_bytes()
    for damaged in (content[:-40], b"", b"nothing of the kind"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name}(:| is)") as refused:
            files.read_features(path)
        assert str(path) in str(refused.value)


class TestSafetensors:
    def test_bfloat16_stays_on_the_disk(self, tmp_path):
        path, x = tmp_path / "x.safetensors", X.astype(jnp.bfloat16)
        write_safetensors(path, {"features": x})
        found = files.read_features(path)
        assert found.dtype == jnp.bfloat16
        assert isinstance(found.base, np.memmap)
        np.testing.assert_array_equal(found, x)
        assert files.peek(path) == ((4, 3), jnp.bfloat16)

    def test_dtypes_that_are_no_numbers_of_ours(self, tmp_path):
        entry = {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}
        header = json.dumps({"features": entry}).encode()
        content = len(header).to_bytes(8, "little") + header + bytes(4)
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="features is of F8_E4M3; expected one of"):
            files.read_features(tmp_path / "x.safetensors")


class TestHdf5:
    def test_texts_groups_and_compressed_rows(self, tmp_path):
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("layer/four", data=X, compression="gzip", chunks=(2, 3))
            file["labels"] = ["bee", "ant", "bee", "b\u00e9"]
            file["features"] = X.astype(">f4")
        np.testing.assert_array_equal(files.read_features(f"{path}:layer/four"), X)
        assert files.read_features(path).dtype == np.float32
        assert files.read_features(path).dtype.isnative
        assert files.read_labels(path).class_names == ("ant", "bee", "b\u00e9")
        with pytest.raises(ValueError, match=r"has shape \(4,\); expected"):
            files.read_features(f"{path}:labels")

    def test_groups_alone_are_told(self, tmp_path):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["g/x"], file["g/deep/y"] = X, X
        message = r"x.h5 holds g/deep/y, g/x, all in groups; expected .*x.h5:g/deep/y"
        with pytest.raises(ValueError, match=message):
            files.read_features(tmp_path / "x.h5")

    def test_what_lies_in_other_files_is_not_read(self, tmp_path):
        write_h5(tmp_path / "other.h5", {"features": X})
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
        ("torch", "x.pt", "pip install torch, or save the tensors as .safetensors"),
        ("torch", "x.pth", "PyTorch, which is not installed"),
    ],
)
def test_says_what_to_install(module, name, remedy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for read in (files.read_features, files.read_labels, files.peek):
        with pytest.raises(ValueError, match=remedy):
            read(tmp_path / name)


class TestTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="needs PyTorch, to write its files")

    def test_a_single_tensor_and_bfloat16(self, torch, tmp_path):
        path = tmp_path / "x.pt"
        torch.save(torch.from_numpy(X).to(torch.bfloat16).requires_grad_(), path)
        found = files.read_features(path)
        assert found.dtype == jnp.bfloat16
        np.testing.assert_array_equal(found, X.astype(jnp.bfloat16))
        with pytest.raises(ValueError, match="a single tensor; expected one other"):
            files.read_features(f"{path}:other")

    def test_texts_old_files_and_transposed_tensors(self, torch, tmp_path):
        path = tmp_path / "x.pt"
        content = {
            "features": torch.from_numpy(X.T.copy()).T,
            "labels": ["b", "a", "b", "c"],
        }
        for old in (False, True):
            torch.save(content, path, _use_new_zipfile_serialization=not old)
            np.testing.assert_array_equal(files.read_features(path), X)
            assert files.read_labels(path).class_names == ("a", "b", "c")

    def test_nothing_runs(self, torch, tmp_path):
        class Evil:
            def __reduce__(self):
                return exec, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

        torch.save({"features": Evil()}, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=r"x\.pt is damaged, or holds more"):
            files.read_features(tmp_path / "x.pt")
        assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.xlsx", ".xlsx"),
        ("x.csv.gz", ".csv.gz"),
        ("x.pkl", ".pkl"),
        ("x.json", ".json"),
        ("x.feather", ".feather"),
    ],
)
def test_other_endings_get_the_list_of_what_is_read(name, said, tmp_path):
    (tmp_path / name).write_bytes(b"something else altogether")
    for read in (files.read_features, files.read_labels, files.peek):
        with pytest.raises(ValueError, match=f"ends in {said}, which is not .*safet"):
            read(tmp_path / name)
    with pytest.raises(
        ValueError, match=f"absent{said} is missing, and ends in {said}"
    ):
        files.read_features(tmp_path / f"absent{said}")


@pytest.mark.parametrize("name", ["images.idx3-ubyte", "images.idx", "images.dat"])
def test_idx_files_are_known_by_their_bytes_whatever_they_are_called(name, tmp_path):
    rows = np.arange(6, dtype=np.uint8).reshape(2, 3)
    header = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])
    (tmp_path / name).write_bytes(header + rows.tobytes())
    np.testing.assert_array_equal(files.read_features(tmp_path / name), rows)
