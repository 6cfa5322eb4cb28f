"""Labels of every kind as classes, names of classes, and rows that are left out."""

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.data import files
from linclf_jax.data import labels as labels_lib
from linclf_jax.data.columns import ReadOptions
from tests.data import own_files

N = 60
LABELS = np.random.default_rng(6).permutation(np.arange(N) % 3)
NAMES = ("ant", "bee", "cat")


@pytest.fixture
def read(tmp_path):
    """Writes labels and reads them."""

    def write_and_read(values, names=None, **options):
        np.save(tmp_path / "y.npy", np.asarray(values))
        options = ReadOptions(**options)
        return files.read_labels(tmp_path / "y.npy", names, options=options)

    return write_and_read


@pytest.mark.parametrize("label_values", ["consecutive", "as_is"])
@pytest.mark.parametrize(
    ("values", "names"),
    [
        (LABELS, ("0", "1", "2")),
        (LABELS > 0, ("0", "1")),
        (LABELS.astype(float), ("0", "1", "2")),
        (jnp.asarray(LABELS, jnp.bfloat16), ("0", "1", "2")),
        (LABELS[:, None], ("0", "1", "2")),
        (LABELS.astype(str)[:, None], ("0", "1", "2")),
        (np.array(NAMES)[LABELS], NAMES),
        (np.array(NAMES, "S")[LABELS], NAMES),
    ],
)
def test_every_kind_of_labels_is_classes(values, names, label_values, read):
    labels = read(values, label_values=label_values)
    assert labels.class_names == names
    assert labels.labels.dtype == np.int32
    assert labels.labels.tolist() == np.minimum(LABELS, len(names) - 1).tolist()


@pytest.mark.parametrize(
    "values", [[1, 2, 3], [-1, 1, 2], [10, 20, 50], [2**63, 5, 2**63 + 9]]
)
def test_integers_as_they_are(values, read):
    kind = np.uint64 if max(values) > 2**62 else np.int64  # or NumPy takes floats
    labels, expected = read(np.array(values, kind)[LABELS]), sorted(values)
    assert labels.class_names == tuple(map(str, expected))
    assert [expected[k] for k in labels.labels] == [values[k] for k in LABELS]
    others = read(np.array(values, kind)[[1, 1, 0]], labels.class_names)
    assert [expected[k] for k in others.labels] == [values[k] for k in (1, 1, 0)]
    with pytest.raises(ValueError, match=r"row 1, is 4; expected classes as in"):
        read(np.array([values[0], 4], kind), labels.class_names)


def test_other_rows_have_the_classes_of_training(read):
    names = ("wasp", "ant", "bee")  # in whatever order these are
    labels = read(["bee", "wasp", "bee"], names)
    assert labels.labels.tolist() == [2, 0, 2]
    assert labels.class_names == names
    assert read([1, 1], ("0", "1", "2")).labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, 2, 0], None, "no row of class 1, one of 1 empty ones below 3"),
        ([1, 2, 1], None, "no row of class 0"),
        ([0, 9, 1], None, "1 of 3 .* row 1, is 9; expected integers in 0..2"),
        ([0, 1, -1], None, "1 of 3 labels .* in row 2, is -1.*--ignore_label=-1"),
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
        ([b"a", b"\xff"], None, "UnicodeDecodeError"),
    ],
)
def test_labels_that_are_no_classes(values, names, message, read, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        read(values, names, label_values="consecutive")
    assert str(tmp_path / "y.npy") in str(refused.value)


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
def test_code_points_that_are_no_characters(code, read):
    texts = np.array(["ab", "cd", "ab"])
    texts.view(np.uint32)[3] = code
    with pytest.raises(ValueError, match=r"y\.npy: 1 of 3 labels .* in row 1, is no"):
        read(texts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "\ufeffant\nbee\ncat\n\n"),
        ("list.json", '["ant", "bee", "cat"]'),
        ("map.json", '{"0": "ant", "2": "cat", "1": "bee"}'),
    ],
)
def test_integers_have_names_of_a_file(name, content, read, tmp_path):
    (tmp_path / name).write_text(content, "utf-8")
    names = labels_lib.read_class_names(tmp_path / name)
    for label_values in labels_lib.columns.VALUES:
        options = {"class_names": names, "label_values": label_values}
        labels = read(LABELS, **options)
        assert labels.class_names == NAMES
        assert labels.labels.tolist() == LABELS.tolist()
        for others in ([2, 0], ["cat", "ant"]):
            assert read(others, NAMES, **options).labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"has integers; expected .*--class_names"):
        read([2, 0], NAMES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "ant\nant\n", "2 names, 1 of them more than once, such as 'ant'"),
        ("a.txt", "ant\n\nbee", "names 1 ''; expected a name a line"),
        ("a.txt", "", "a.txt has no names; expected a name a line"),
        ("a.json", '{"0": "a", "00": "b"}', "names '00'; expected .* one as 0"),
        ("a.json", '{"0": "a", "0": "b"}', "'0' is there more than once"),
        ("a.json", "{", "JSONDecodeError"),
        ("a.json", "3", "expected a name a line, or .json"),
        ("a.json", '{"cat": "0"}', "invalid literal"),
        ("a.json", "[1, 2]", "names 0 1; expected"),
    ],
)
def test_a_file_of_no_names_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    own_files.refuse(message, tmp_path / name, labels_lib.read_class_names)


@pytest.mark.parametrize(
    ("values", "count", "label_values", "message"),
    [
        (LABELS, 2, "as_is", "is 2; expected one of the 2 integers that class_na"),
        (LABELS, 2, "consecutive", r"2; expected integers in 0\.\.1, those that h"),
        (LABELS, 4, "consecutive", "no row of class 3"),
        (["a", "b"], 2, "as_is", "labels that are texts; expected int"),
    ],
)
def test_names_that_do_not_fit(values, count, label_values, message, read):
    names = {k: f"n{k}" for k in range(count)}
    with pytest.raises(ValueError, match=message):
        read(values, class_names=names, label_values=label_values)


def test_a_name_without_a_row_is_no_class(read):
    names = {k: f"n{k}" for k in range(4)}
    assert read(LABELS, class_names=names).class_names == ("n0", "n1", "n2")


class TestIgnoredRows:
    """Rows of a label that is left out, in every file."""

    @pytest.fixture
    def folder(self, tmp_path):
        for seed, part in enumerate(("train", "val", "test")):
            rng = np.random.default_rng(seed)
            labels = rng.permutation(np.arange(N) % 4) - 1
            np.save(tmp_path / f"{part}_features.npy", rng.normal(size=(N, 3)))
            np.save(tmp_path / f"{part}_labels.npy", labels)
        return tmp_path

    def load(self, folder, *parts):
        fields = [f"{part}_{what}" for part in parts for what in ("features", "labels")]
        paths = {field: folder / f"{field}.npy" for field in fields}
        options = {"ignore_label": "-1", "label_values": "consecutive"}
        return own_files.load(None, None, paths, **options)

    @pytest.mark.parametrize("parts", [("train",), ("train", "val", "test")])
    def test_rows_are_left_out_and_numbers_are_of_the_files(self, parts, folder):
        dataset = self.load(folder, *parts)
        x, labels = (
            np.concatenate([np.load(folder / f"{part}_{what}.npy") for part in parts])
            for what in ("features", "labels")
        )
        splits = dataset.train, dataset.validation, dataset.test.read()
        for split in splits:
            np.testing.assert_array_equal(split.x, x[split.index])
            np.testing.assert_array_equal(split.labels, labels[split.index])
        index = np.concatenate([split.index for split in splits])
        np.testing.assert_array_equal(np.sort(index), np.flatnonzero(labels >= 0))
        assert dataset.test.size == len(splits[2].labels)
        assert dataset.class_names == ("0", "1", "2")

    def test_lengths_are_those_of_the_files(self, folder):
        np.save(folder / "train_labels.npy", np.load(folder / "train_labels.npy")[:-1])
        with pytest.raises(ValueError, match="has 59 labels; expected 60, one"):
            self.load(folder, "train")

    def test_a_column_is_compared_where_there_are_labels(self, folder):
        labels = np.load(folder / "train_labels.npy")
        x = np.load(folder / "train_features.npy")
        x[:, 1] = np.where(labels < 0, 9, labels)
        np.save(folder / "train_features.npy", x)
        with pytest.raises(ValueError, match="column 1 has one value for each class"):
            self.load(folder, "train")

    def test_texts_and_messages_have_rows_of_the_file(self, read):
        texts = ["?", "ant", "bee", "?", "ant", "cow"]
        labels = read(texts, ignore_label="?")
        assert labels.class_names == ("ant", "bee", "cow")
        assert labels.rows.tolist() == [1, 2, 4, 5]
        with pytest.raises(ValueError, match=r"1 of 4 labels .* in row 5, is cow"):
            read(texts, ("ant", "bee"), ignore_label="?")
        with pytest.raises(ValueError, match=r"no label but \?, which is left out"):
            read(["?", "?"], ignore_label="?")
        assert read([0, 1], ignore_label="?").rows.tolist() == [0, 1]
