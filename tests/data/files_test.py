"""A data file is read to the number, or refused with what is wrong with it."""

import gzip
import hashlib
import io
import os
import struct
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.data import checks, datasets, files, idx
from linclf_jax.data.columns import ReadOptions

TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
X = np.arange(12.0).reshape(4, 3)


def idx_bytes(array):
    header = bytes([0, 0, TYPES[array.dtype.str[1:]], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npy_bytes(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def refuse(message, content, path, read=files.read_features, **options):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        read(path, **options)
    assert str(path) in str(refused.value)


class TestIdx:
    @pytest.mark.parametrize("compress", [bytes, gzip.compress])
    @pytest.mark.parametrize("kind", TYPES)
    def test_every_type_is_read_in_order(self, kind, compress, tmp_path):
        path = tmp_path / "images"
        expected = (IMAGES.astype(int) * 2000 - 9000).astype(kind)  # both signs
        path.write_bytes(compress(idx_bytes(expected)))
        assert files.peek(path) == ((2, 3, 4), expected.dtype)
        for read in (files.read_idx, files.read_features):
            found = read(path)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype

    def test_labels_have_one_dimension(self, tmp_path):
        path = tmp_path / "labels"
        path.write_bytes(idx_bytes(np.array([1, 0, 2, 1], np.uint8)))
        assert files.peek_labels(path) == 4
        assert files.read_labels(path).labels.tolist() == [1, 0, 2, 1]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "begins with the bytes ;"),
            (b"\0\0\x08", "begins with the bytes 00 00 08;"),
            (b"PNG" + idx_bytes(IMAGES), "begins with the bytes 50 4e 47 00"),
            (b"\0\0\x0a" + idx_bytes(IMAGES)[3:], "begins with the bytes 00 00 0a 03"),
            (idx_bytes(IMAGES)[:10], "ends within its header, after 10 bytes"),
            (idx_bytes(IMAGES)[:-1], r"39 bytes; expected 40, for uint8 of shape \(2,"),
            (idx_bytes(IMAGES) + b"\0", "41 bytes; expected 40"),
            (gzip.compress(idx_bytes(IMAGES), mtime=0)[:-9], "Compressed file ended"),
            (
                gzip.compress(idx_bytes(IMAGES), mtime=0)[:-8] + bytes(8),
                "CRC check failed",
            ),
            (gzip.compress(idx_bytes(IMAGES), mtime=0) + b"more", "Not a gzipped file"),
            (
                gzip.compress(idx_bytes(IMAGES)[:-1], mtime=0),
                "ends after 23 bytes; expected 24",
            ),
            (
                gzip.compress(idx_bytes(IMAGES) + b"\0", mtime=0),
                "goes on after 24 bytes",
            ),
            (idx_bytes(IMAGES[:0]), r"declares shape \(0, 3, 4\)"),
        ],
    )
    def test_what_is_no_whole_file_is_refused(self, content, message, tmp_path):
        refuse(message, content, tmp_path / "images", files.read_idx)

    def test_a_bomb_is_refused_before_it_expands(self, tmp_path, monkeypatch):
        """It says 4 GB, and so it holds; 4 MB would do for as many zeros, not 4 kB."""
        small = gzip.compress(idx_bytes(np.zeros((1, 2, 2), np.uint8)), mtime=0)
        header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**12, 2**10, 2**10)
        lie = gzip.compress(header + bytes(4096), mtime=0)
        monkeypatch.setattr(checks, "memory", lambda: 2**40)
        monkeypatch.setattr(checks, "read_exactly", lambda *_: pytest.fail("expanded"))
        refuse("4294967296 bytes; it has .* cannot hold", lie, tmp_path / "images.gz")
        over = {"max_bytes": 3}
        refuse("expected at most 3, the memory", small, tmp_path / "small.gz", **over)

    def test_the_sum_is_that_of_the_file(self):
        assert idx.sha256(IMAGES) == hashlib.sha256(idx_bytes(IMAGES)).hexdigest()


class TestNpy:
    @pytest.mark.parametrize("kind", ["f2", "f4", ">f8", "u1", "i8", "bfloat16"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_dtype_is_read_as_it_is(self, kind, order, tmp_path):
        dtype = jnp.dtype(jnp.bfloat16) if kind == "bfloat16" else np.dtype(kind)
        expected = np.asarray(X, dtype, order=order)
        path = tmp_path / "x.npy"
        path.write_bytes(npy_bytes(expected))
        found = files.read_features(path)
        assert files.peek(path)[0] == (4, 3)
        assert found.dtype == dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected.astype(found.dtype))

    def test_an_array_stays_on_the_disk(self, tmp_path):
        path = tmp_path / "x.npy"
        path.write_bytes(npy_bytes(X))
        found = files.read_features(path)
        assert isinstance(found.base, np.memmap)
        assert not found.flags.writeable

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (npy_bytes(X)[:-1], r"223 bytes; expected 224, for float64 of shape \(4,"),
            (npy_bytes(X) + b"\0", "225 bytes; expected 224"),
            (b"PK" + npy_bytes(X), "magic string is not correct"),
            (npy_bytes(X)[:30], "EOF"),
            (npy_bytes(X).replace(b"(4, 3)", b"(4,-3)"), "expected"),
            (npy_bytes(X[0]), r"has shape \(3,\); expected \(N, D\)"),
            (npy_bytes(np.zeros((2, 2, 2, 4))), r"\(2, 2, 2, 4\)"),
            (npy_bytes(X[:0]), r"declares shape \(0, 3\)"),
            (npy_bytes(X.astype(complex)), "has dtype complex128; expected integers"),
            (npy_bytes(X > 1), "has dtype bool"),
            (npy_bytes(np.zeros((2, 2), "V1")), "has dtype"),
            (npy_bytes(np.zeros((2, 2), "i4,f4")), "has dtype"),
        ],
    )
    def test_what_is_no_features_is_refused(self, content, message, tmp_path):
        refuse(message, content, tmp_path / "x.npy")

    def test_objects_are_refused_and_nothing_runs(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {tmp_path}/executed",)

        content = npy_bytes(np.array([[Evil()]], object), allow_pickle=True)
        refuse("Python objects, which are not read", content, tmp_path / "x.npy")
        np.savez(tmp_path / "y.npz", features=np.array([[Evil()]], object))
        whole = (tmp_path / "y.npz").read_bytes()
        refuse("Python objects, which are not read", whole, tmp_path / "y.npz")
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("kind", ["f2", "f4", "f8", "bfloat16"])
    def test_one_number_that_is_not_finite(self, value, kind, tmp_path, monkeypatch):
        monkeypatch.setattr(checks, "_BLOCK", 6)  # the rows are seen two by two
        dtype = jnp.dtype(jnp.bfloat16) if kind == "bfloat16" else np.dtype(kind)
        x = np.arange(15.0).reshape(5, 3).astype(dtype)
        x[4, 1] = value
        message = f"1 of 15 numbers .* in row 4, column 1, is {value}"
        refuse(message, npy_bytes(x), tmp_path / "x.npy")
        x[0, 2] = value
        refuse("2 of 15 .* row 0, column 2", npy_bytes(x), tmp_path / "x.npy")

    def test_more_than_the_memory_is_refused(self, tmp_path, monkeypatch):
        message = r"float64 of shape \(4, 3\), 96 bytes; expected at most 95"
        refuse(message, npy_bytes(X), tmp_path / "x.npy", max_bytes=95)
        monkeypatch.setattr(checks, "memory", lambda: 95)
        refuse(message, npy_bytes(X), tmp_path / "x.npy")

    def test_missing_files_and_folders_are_named(self, tmp_path):
        for name in ("absent", "absent.npy", "absent.npz", "absent.bin", "a.parquet"):
            with pytest.raises(ValueError, match=f"{name}: No such file"):
                files.read_features(tmp_path / name)
        with pytest.raises(ValueError, match="is a folder; expected a file"):
            files.read_features(tmp_path)


class TestNpz:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_arrays_are_taken_by_their_names(self, save, tmp_path):
        path = tmp_path / "x.npz"
        names = np.array(["b", "a", "b", "a"])
        save(path, other=np.asfortranarray(X + 1), features=X, labels=names)
        np.testing.assert_array_equal(files.read_features(path), X)
        np.testing.assert_array_equal(files.read_features(f"{path}:other"), X + 1)
        assert files.peek(path) == ((4, 3), np.float64)
        assert files.peek_labels(path) == 4
        assert files.read_labels(path).labels.tolist() == [1, 0, 1, 0]

    def test_the_only_array_needs_no_name(self, tmp_path):
        np.savez(tmp_path / "x.npz", whatever=X)
        np.testing.assert_array_equal(files.read_features(tmp_path / "x.npz"), X)
        np.savez(tmp_path / "x.npz", a=X, b=X)
        with pytest.raises(ValueError, match="holds a, b; expected features, or a"):
            files.read_features(tmp_path / "x.npz")

    def test_a_flipped_byte_is_seen(self, tmp_path):
        path = tmp_path / "x.npz"
        np.savez(path, features=X)
        content = bytearray(path.read_bytes())
        content[content.index(X.tobytes()) + 15] ^= 1
        refuse("Bad CRC-32", bytes(content), path)

    def test_a_header_that_lies_allocates_nothing(self, tmp_path):
        path = tmp_path / "x.npz"
        header = npy_bytes(X).replace(b"(4, 3), }  ", b"(40000,30000)}")[:128]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("features.npy", header + bytes(96))
        refuse("holds 224 bytes; expected 9600000128", path.read_bytes(), path)

    def test_a_bomb_is_refused_before_it_expands(self, tmp_path):
        path = tmp_path / "x.npz"
        np.savez_compressed(path, features=np.zeros((2000, 1000)))
        assert path.stat().st_size < 20_000
        refuse("expected at most 1000000", path.read_bytes(), path, max_bytes=10**6)


class TestLabels:
    def read(self, found, tmp_path, class_names=None, **options):
        np.save(tmp_path / "y.npy", found)
        options = ReadOptions(**options)
        return files.read_labels(tmp_path / "y.npy", class_names, options=options)

    def test_integers_are_classes(self, tmp_path):
        found = self.read(np.array([2, 0, 1, 0]), tmp_path)
        assert found.labels.tolist() == [2, 0, 1, 0]
        assert found.labels.dtype == np.int32
        assert found.class_names == ("0", "1", "2")

    @pytest.mark.parametrize("kind", ["U", "S"])
    def test_texts_are_mapped_in_sorted_order(self, kind, tmp_path):
        found = self.read(np.array(["dog", "ant", "dog", "cat"], kind), tmp_path)
        assert found.labels.tolist() == [2, 0, 2, 1]
        assert found.class_names == ("ant", "cat", "dog")

    def test_other_rows_are_classes_of_training(self, tmp_path):
        names = ("wasp", "ant", "bee")  # in whatever order these are
        found = self.read(np.array(["bee", "wasp", "bee"]), tmp_path, names)
        assert found.labels.tolist() == [2, 0, 2]
        assert found.class_names == names
        found = self.read(np.array([1, 1]), tmp_path, ("0", "1", "2"))
        assert found.labels.tolist() == [1, 1]

    @pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
    def test_numbers_that_are_no_characters(self, code, tmp_path):
        found = np.array(["ab", "cd", "ab"])
        found.view(np.uint32)[3] = code
        with pytest.raises(
            ValueError, match=r"y\.npy: 1 of 3 labels .* in row 1, is no"
        ):
            self.read(found, tmp_path)
        with pytest.raises(ValueError, match=r"y\.npy: UnicodeDecodeError"):
            self.read(np.array([b"a", b"\xff"]), tmp_path)

    @pytest.mark.parametrize(
        ("found", "names", "message"),
        [
            ([0, 2, 0], None, "no row of class 1, one of 1 empty ones below 3"),
            ([1, 2, 1], None, "no row of class 0"),
            ([0, 9, 1], None, "1 of 3 .* row 1, is 9; expected integers in 0..2"),
            ([0, 1, -1], None, "1 of 3 labels .* in row 2, is -1"),
            ([2**63, 2**63], None, "row 0, is 9223372036854775808"),
            ([0, 0, 0], None, "rows of one class, 0; expected two"),
            ([0, 3], ("0", "1", "2"), "row 1, is 3; expected integers in 0..2, as in"),
            ([0, 1], ("ant", "bee"), "has integers; expected names of classes"),
            (["ant", "cow"], ("ant", "bee"), "row 1, is cow; expected names"),
            ([[0, 1]], None, r"shape \(1, 2\); expected \(N,\)"),
            ([0.0, 0.5], None, "row 1, is 0.5; expected whole numbers"),
            ([0.0, np.nan], None, "row 1, is nan; expected whole numbers"),
            ([0.0, 1e300], None, "row 1, is 1e.300; expected whole numbers"),
            ([0j, 1j], None, "dtype complex128; expected integers"),
        ],
    )
    def test_labels_that_are_no_classes(self, found, names, message, tmp_path):
        with pytest.raises(ValueError, match=message) as refused:
            self.read(np.array(found), tmp_path, names, label_values="consecutive")
        assert str(tmp_path / "y.npy") in str(refused.value)


def test_constant_columns_are_those_of_the_training_rows():
    x = np.arange(60.0).reshape(20, 3)
    x[:, 1] = 7.0
    rows = datasets.Source(x, np.arange(20) % 2, ("even", "odd"))
    dataset = datasets.split(rows, name="small", split_seed=0)
    x[dataset.train.index, 2] = 1.0
    dataset = datasets.split(rows, name="small", split_seed=0)
    assert datasets.constant_columns(dataset).tolist() == [1, 2]
