"""A data file is read to the number, or refused with what is wrong with it."""

import gzip
import struct

import numpy as np
import pytest

from linclf_jax.data import files

TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array):
    header = bytes([0, 0, TYPES[array.dtype.str[1:]], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_in_order(kind, compress, tmp_path):
    path = tmp_path / "images"
    expected = (IMAGES.astype(int) * 2000 - 9000).astype(kind)  # both signs, two bytes
    path.write_bytes(compress(idx(expected)))
    found = files.read_idx(path)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_labels_have_one_dimension(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx(np.array([3, 0, 9], np.uint8)))
    assert files.read_idx(str(path)).tolist() == [3, 0, 9]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with the bytes ;"),
        (b"\0\0\x08", "begins with the bytes 00 00 08;"),
        (b"PNG" + idx(IMAGES), "begins with the bytes 50 4e 47 00"),
        (b"\0\0\x0a" + idx(IMAGES)[3:], "begins with the bytes 00 00 0a 03"),
        (idx(IMAGES)[:10], "ends within its header, after 10 bytes"),
        (idx(IMAGES)[:-1], r"39 bytes; expected 40, for uint8 of shape \(2, 3, 4\)"),
        (idx(IMAGES) + b"\0", "41 bytes; expected 40"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], "Compressed file ended"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-8] + bytes(8), "CRC check failed"),
        (gzip.compress(idx(IMAGES), mtime=0) + b"more", "Not a gzipped file"),
    ],
)
def test_what_is_no_whole_idx_file_is_refused(content, message, tmp_path):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"images.*{message}"):
        files.read_idx(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"No such file.*absent"):
        files.read_idx(tmp_path / "absent")
