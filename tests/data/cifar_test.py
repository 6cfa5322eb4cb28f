"""CIFAR in all its packages, and pickles from which nothing but arrays comes out."""

import hashlib
import os
import pickle
import pickletools
import tarfile

import numpy as np
import pytest

from linclf_jax.data import cifar, files, unpickling
from tests.data import own_files
from tests.fuzz import valid_files

ROWS = np.random.default_rng(0).integers(0, 256, (6, 3072), np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 5], np.uint8)
IMAGES = ROWS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def binary(rows=ROWS, *labels):
    return np.column_stack([*(labels or (LABELS[: len(rows)],)), rows]).tobytes()


def batch(rows=ROWS, labels=LABELS):
    return {"data": rows, "labels": labels.tolist(), "filenames": ["a.png"]}


def as_python_2(data, labels):
    """A pickle of Python 2 and NumPy 1, byte for byte as the published ones begin."""
    rows = data.tobytes()
    integers = b"".join(b"K" + bytes([label]) for label in labels)
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15testing batch 1 of 1\x00q\x03"
        b"U\x06labelsq\x04]q\x05(" + integers + b"eU\x04dataq\x06"
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85"
        b"U\x01b\x87Rq\t(K\x01"
        + b"M"
        + len(data).to_bytes(2, "little")
        + b"M\x00\x0c\x86"
        b"cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89"
        b"T" + len(rows).to_bytes(4, "little") + rows + b"tbu."
    )


def pack(path, contents):
    """Writes files as a folder, or as an archive by the ending of its name."""
    if not path.suffix:
        path.mkdir()
        for name, content in contents.items():
            (path / name).write_bytes(content)
        return path
    mode = "w:gz" if path.suffix == ".gz" else "w"
    path.write_bytes(valid_files.tar(contents, mode))
    return path


def parts(encode, ending=""):
    """Five training batches, of one row each, and the sixth for testing."""
    names = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
    return {
        f"{name}{ending}": encode(ROWS[k : k + 1], LABELS[k : k + 1])
        for k, name in enumerate(names)
    }


FORMS = {"binary": parts(binary, ".bin"), "python 2": parts(as_python_2)}
FORMS |= {
    f"protocol {k}": parts(lambda *row, k=k: pickle.dumps(batch(*row), k))
    for k in range(6)
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["folder", "c.tar.gz", "c.tar"])
def test_every_package_holds_the_same_images(form, name, tmp_path):
    contents = FORMS[form]
    path = pack(tmp_path / name, contents)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    train, test = (cifar.read(path, part, md5=md5) for part in ("train", "test"))
    np.testing.assert_array_equal(train.x, IMAGES[:5])
    np.testing.assert_array_equal(test.x, IMAGES[5:])
    assert [*train.labels, *test.labels] == LABELS.tolist()


def test_red_is_the_first_plane_and_rows_are_rows(tmp_path):
    """Against the published layout, one number at a time."""
    (tmp_path / "x.bin").write_bytes(binary(ROWS[:1]))
    image = files.read_features(tmp_path / "x.bin")[0]
    for row, column, colour in ((0, 0, 0), (0, 31, 1), (31, 0, 2), (5, 7, 1)):
        assert image[row, column, colour] == ROWS[0, 1024 * colour + 32 * row + column]


def test_the_larger_dataset_has_two_labels(tmp_path):
    fine = np.array([99, 0, 50, 1, 2, 3], np.uint8)
    pickled = {"data": ROWS, "fine_labels": fine.tolist(), "coarse_labels": [0] * 6}
    contents = {"train.bin": binary(ROWS, LABELS, fine), "test": pickle.dumps(pickled)}
    path = pack(tmp_path / "cifar", contents)
    for part in ("train", "test"):
        images = cifar.read(path, part, classes=100)
        np.testing.assert_array_equal(images.labels, fine)
        np.testing.assert_array_equal(images.x, IMAGES)


def test_a_binary_file_is_features_and_labels(tmp_path):
    path, labels = tmp_path / "rows.bin", np.array([0, 1, 2, 1, 0, 2], np.uint8)
    path.write_bytes(binary(ROWS, labels))
    np.testing.assert_array_equal(files.read_features(path), IMAGES)
    assert files.read_labels(path).labels.tolist() == labels.tolist()
    assert files.DataFile(path).shape == (6, 32, 32, 3)
    assert files.DataFile(path).num_labels == 6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_batch.bin", binary()[:-1], "18437 bytes; expected a multiple of 3073"),
        ("test_batch.bin", b"", "0 bytes; expected a multiple"),
        (
            "test_batch.bin",
            binary(ROWS, LABELS * 0 + 10),
            "6 of 6 .* 10; expected 0..9",
        ),
        ("test_batch", {"data": ROWS[:, 1:]}, r"uint8 of shape \(6, 3071\); expected"),
        ("test_batch", {"data": ROWS.astype(float)}, "data float64"),
        ("test_batch", {"data": [1, 2]}, "data int64"),
        ("test_batch", {"data": [[1], [1, 2]]}, "expected an array of data"),
        ("test_batch", {"labels": [1, 2]}, r"labels int64 of shape \(2,\); expected"),
        ("test_batch", {"labels": ["a"] * 6}, "labels <U1"),
        ("test_batch", {"labels": [10] * 6}, "6 of 6 labels .* is 10"),
        ("test_batch", {"labels": None}, "labels object"),
        ("test_batch", pickle.dumps([1]), "is no batch; expected a dict with data"),
    ],
)
def test_a_batch_that_is_none_is_refused(name, content, message, tmp_path):
    if isinstance(content, dict):
        content = pickle.dumps(batch() | content)
    path = pack(tmp_path / "cifar", {name: content})
    with pytest.raises(ValueError, match=message):
        cifar.read(path, "test")
    if name.endswith(".bin"):
        with pytest.raises(ValueError, match=message):
            files.read_features(path / name)


def test_missing_and_unknown_files_are_named(tmp_path):
    path = pack(tmp_path / "cifar", dict([*FORMS["binary"].items()][:4]))
    with pytest.raises(ValueError, match=r"holds data_batch_1\.bin, .*expected data_b"):
        cifar.read(path)
    whole = pack(tmp_path / "c.tar.gz", FORMS["binary"])
    with pytest.raises(ValueError, match=r"_1\.bin has the MD5 .*; expected 0"):
        cifar.read(whole, md5=dict.fromkeys(FORMS["binary"], "0"))
    own_files.refuse("absent: No such file", tmp_path / "absent", cifar.read)


def test_an_archive_is_read_to_its_checksum_and_not_beyond_a_limit(tmp_path):
    """Its files come out whole if the last eight bytes of gzip are wrong."""
    path = pack(tmp_path / "c.tar.gz", FORMS["binary"])
    content = path.read_bytes()
    for end in (content[:-8] + bytes(8), content[:-9], content + b"more"):
        path.write_bytes(end)
        own_files.refuse(str(path), path, cifar.read)
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = 2**40
    path.write_bytes(member.tobuf() + bytes(1024))
    message = "takes 1099511627776 bytes; expected at most"
    own_files.refuse(message, path, cifar.read)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_pickle_is_not_run(protocol, tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    content = pickle.dumps(batch() | {"filenames": Command()}, protocol)
    with pytest.raises(ValueError, match=r"it asks for posix\.system"):
        unpickling.loads(content, "batch")
    assert not (tmp_path / "executed").exists()
    pickle.loads(content)  # and that it would have been
    assert (tmp_path / "executed").exists()


def text(value):
    """The instruction that puts a text on the stack, without its memo."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("numpy", "load"), ("numpy.ndarray", "dump")],
)
def test_no_global_is_given_but_arrays(module, name):
    stacked = b"\x80\x04" + text(module) + text(name) + b"\x93."
    for content in (f"c{module}\n{name}\n.".encode(), stacked):
        with pytest.raises(ValueError, match=f"it asks for {module}.{name}"):
            unpickling.loads(content, "batch")


CODES = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
MAKE_OBJECTS = [
    (b"N" + CODES[name] + b"a\nb\n.", f"instruction {name};")
    for name in ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "PERSID", "BINPERSID")
]
THREE = pickle.dumps(np.arange(3, dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *MAKE_OBJECTS,
        (pickle.dumps(1) + b"N", "goes on after the end of its pickle"),
        (pickle.dumps([1, 2])[:-1], "batch: "),
        (b"Nr\xff\xff\xff\xff.", "remembers 4294967295 things"),
        (b"\x80\x02" + b"(" * 10 + b".", "batch: "),
        (pickle.dumps(np.array([None])), "NumPy"),
        (pickle.dumps(np.array(["a"])), "expected numbers"),
        (THREE.replace(b"\x03\x85", b"\x04\x85"), "found 3 bytes, expected 4"),
    ],
)
def test_pickles_that_are_damaged_or_make_objects_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        unpickling.loads(content, "batch")


def test_arrays_of_every_order_come_out_of_pickles():
    for protocol in range(6):
        for kind in ("<f4", ">i2", "u1"):
            for array in (np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2).T):
                content = pickle.dumps(array.astype(kind), protocol)
                np.testing.assert_array_equal(unpickling.loads(content, "x"), array)
