"""CIFAR in all its packages, and pickles from which nothing but arrays comes out."""

import hashlib
import io
import os
import pickle
import pickletools
import tarfile

import numpy as np
import pytest

from linclf_jax.data import cifar, files, unpickling

ROWS = np.random.default_rng(0).integers(0, 256, (6, 3072), np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 5], np.uint8)
TEN = tuple(f"data_batch_{number}" for number in range(1, 6))


def pixels(rows):
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def binary(rows=ROWS, *labels):
    return np.column_stack([*(labels or (LABELS[: len(rows)],)), rows]).tobytes()


def batch(**changes):
    return {"data": ROWS, "labels": LABELS.tolist(), "filenames": ["a.png"], **changes}


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


def tar(path, contents, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def put(folder, contents):
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def parts(encode, ending=""):
    """Five training batches, one row after the other, and the sixth for testing."""
    names = (*TEN, "test_batch")
    return {f"{name}{ending}": encode(place) for place, name in enumerate(names)}


FORMS = {
    "binary": parts(lambda k: binary(ROWS[k : k + 1], LABELS[k : k + 1]), ".bin"),
    "python 2": parts(lambda k: as_python_2(ROWS[k : k + 1], LABELS[k : k + 1])),
    **{
        f"protocol {protocol}": parts(
            lambda k, protocol=protocol: pickle.dumps(
                batch(data=ROWS[k : k + 1], labels=LABELS[k : k + 1].tolist()), protocol
            )
        )
        for protocol in range(6)
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("package", ["folder", "tar.gz", "tar"])
def test_every_package_holds_the_same_images(form, package, tmp_path):
    contents = FORMS[form]
    if package == "folder":
        place = put(tmp_path / "cifar", contents)
    else:
        mode = {"tar.gz": "w:gz", "tar": "w"}[package]
        place = tar(tmp_path / f"cifar.{package}", contents, mode)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    train, test = (cifar.read(place, part, md5=md5) for part in ("train", "test"))
    np.testing.assert_array_equal(train.x, pixels(ROWS[:5]))
    np.testing.assert_array_equal(test.x, pixels(ROWS[5:]))
    assert [*train.labels, *test.labels] == LABELS.tolist()


def test_red_is_the_first_plane_and_rows_are_rows():
    """Against the published layout, one number at a time."""
    image = cifar._from_binary(binary(ROWS[:1]), "x").x[0]
    for row, column, colour in ((0, 0, 0), (0, 31, 1), (31, 0, 2), (5, 7, 1)):
        assert image[row, column, colour] == ROWS[0, 1024 * colour + 32 * row + column]


def test_the_larger_dataset_has_two_labels(tmp_path):
    fine = np.array([99, 0, 50, 1, 2, 3], np.uint8)
    content = binary(ROWS, LABELS, fine)
    place = put(
        tmp_path / "cifar",
        {
            "train.bin": content,
            "test": pickle.dumps(
                {"data": ROWS, "fine_labels": fine.tolist(), "coarse_labels": [0] * 6}
            ),
        },
    )
    for part in ("train", "test"):
        found = cifar.read(place, part, classes=100)
        np.testing.assert_array_equal(found.labels, fine)
        np.testing.assert_array_equal(found.x, pixels(ROWS))


def test_a_binary_file_is_features_and_labels(tmp_path):
    path = tmp_path / "rows.bin"
    labels = np.array([0, 1, 2, 1, 0, 2], np.uint8)
    path.write_bytes(binary(ROWS, labels))
    np.testing.assert_array_equal(files.read_features(path), pixels(ROWS))
    assert files.read_labels(path).labels.tolist() == labels.tolist()
    assert files.peek(path) == ((6, 32, 32, 3), np.uint8)
    assert files.peek_labels(path) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (binary()[:-1], "18437 bytes; expected a multiple of 3073"),
        (b"", "0 bytes; expected a multiple"),
        (
            binary(ROWS, np.full(6, 10, np.uint8)),
            "6 of 6 labels .* row 0, is 10; expected 0..9",
        ),
    ],
)
def test_what_is_no_binary_file_is_refused(content, message, tmp_path):
    path = tmp_path / "rows.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        files.read_features(path)
    place = put(tmp_path / "cifar", {"test_batch.bin": content})
    with pytest.raises(ValueError, match=message):
        cifar.read(place, "test")


def test_missing_and_unknown_files_are_named(tmp_path):
    place = put(tmp_path / "cifar", dict([*FORMS["binary"].items()][:4]))
    with pytest.raises(ValueError, match=r"holds data_batch_1\.bin, .*expected data_b"):
        cifar.read(place)
    whole = tar(tmp_path / "c.tar.gz", FORMS["binary"])
    with pytest.raises(
        ValueError, match=r"data_batch_1\.bin has the MD5 .*; expected 0"
    ):
        cifar.read(whole, md5=dict.fromkeys(FORMS["binary"], "0"))
    with pytest.raises(ValueError, match="absent: No such file"):
        cifar.read(tmp_path / "absent")


def test_an_archive_is_read_to_its_checksum(tmp_path):
    """Its files come out whole if the last eight bytes of gzip are wrong."""
    path = tar(tmp_path / "c.tar.gz", FORMS["binary"])
    content = path.read_bytes()
    for end in (content[:-8] + bytes(8), content[:-9], content + b"more"):
        path.write_bytes(end)
        with pytest.raises(ValueError, match=str(path)):
            cifar.read(path)


def test_an_archive_with_a_huge_file_is_refused_before_it_is_read(tmp_path):
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = 2**40
    path = tmp_path / "c.tar"
    path.write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(ValueError, match="takes 1099511627776 bytes; expected at most"):
        cifar.read(path)


class Command:
    """What an attacker puts into a pickle."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_pickle_is_not_run(protocol, tmp_path):
    evil = {**batch(), "filenames": Command(tmp_path / "executed")}
    content = pickle.dumps(evil, protocol)
    with pytest.raises(ValueError, match=r"it asks for posix\.system"):
        unpickling.loads(content, "batch")
    assert not (tmp_path / "executed").exists()
    pickle.loads(content)  # and that it would have been
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "what", ["builtins.eval", "builtins.getattr", "numpy.load", "numpy.ndarray.dump"]
)
def test_nothing_is_found_but_arrays(what):
    module, _, name = what.rpartition(".")
    for content in (
        f"c{module}\n{name}\n.".encode(),
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93.",
    ):
        with pytest.raises(ValueError, match=f"it asks for {what}"):
            unpickling.loads(content, "batch")


@pytest.mark.parametrize(
    "instruction", ["INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "PERSID", "BINPERSID"]
)
def test_instructions_that_make_objects_are_refused(instruction):
    code = {op.name: op.code for op in pickletools.opcodes}[instruction]
    content = b"N" + code.encode("latin-1") + b"a\nb\n."
    with pytest.raises(ValueError, match=f"the instruction {instruction}"):
        unpickling.loads(content, "batch")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(1) + b"N", "goes on after the end of its pickle"),
        (pickle.dumps([1, 2])[:-1], "batch: "),
        (b"Nr\xff\xff\xff\xff.", "remembers 4294967295 things"),
        (b"\x80\x02" + b"(" * 10 + b".", "batch: "),
        (pickle.dumps(np.array([None])), "NumPy"),
        (pickle.dumps(np.array(["a"])), "expected numbers"),
        (
            pickle.dumps(np.arange(3, dtype=np.uint8)).replace(
                b"\x03\x85", b"\x04\x85"
            ),
            "3",
        ),
    ],
)
def test_damaged_pickles_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        unpickling.loads(content, "batch")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ROWS[:, 1:]}, r"uint8 of shape \(6, 3071\); expected uint8"),
        ({"data": ROWS.astype(float)}, "data float64"),
        ({"data": [1, 2]}, "data int64"),
        ({"data": [[1], [1, 2]]}, "expected an array of data"),
        ({"labels": [1, 2]}, r"labels int64 of shape \(2,\); expected"),
        ({"labels": ["a"] * 6}, "labels <U1"),
        ({"labels": [10] * 6}, "6 of 6 labels .* is 10"),
        ({"labels": None}, "labels object"),
    ],
)
def test_a_batch_that_is_none_is_refused(changes, message, tmp_path):
    place = put(tmp_path / "cifar", {"test_batch": pickle.dumps(batch(**changes))})
    with pytest.raises(ValueError, match=message):
        cifar.read(place, "test")


def test_arrays_of_every_order_come_out_of_pickles():
    for protocol in range(6):
        for kind in ("<f4", ">i2", "u1"):
            for array in (np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2).T):
                found = unpickling.loads(
                    pickle.dumps(array.astype(kind), protocol), "x"
                )
                np.testing.assert_array_equal(found, array)
