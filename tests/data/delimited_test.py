"""Tables of text: what is a header, a number, a label, and what is none of them."""

import numpy as np
import pytest

from linclf_jax.data import datasets, files
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.datasets import Files

X = np.array([[0.1, -2.0, 3e-5], [1 / 3, 7.0, 1e300], [5.0, 0.0, -0.25]])
NAMES = ["ant", "bee", "ant"]
HEADER = "width,height,mass,label"


def text(rows=X, labels=NAMES, header=HEADER, separator=",", end="\n"):
    lines = [header] if header else []
    for row, label in zip(rows.tolist(), labels, strict=True):
        lines.append(separator.join([*map(repr, row), *([label] if label else [])]))
    return end.join(lines) + end


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", text()),
        ("x.csv", text().rstrip("\n")),
        ("x.csv", text() + "\n\n"),
        ("x.csv", text(end="\r\n")),
        ("x.csv", text(end="\r")),
        ("x.csv", "\ufeff" + text()),
        ("x.CSV", text(header='"width", "height",mass ,"label"')),
        ("x.csv", text(labels=['"ant"', '"bee"', "ant "])),
        ("x.tsv", text(header=HEADER.replace(",", "\t"), separator="\t")),
    ],
)
def test_a_table_with_a_header(name, content, tmp_path):
    path = write(tmp_path / name, content)
    found = files.read_features(path)
    np.testing.assert_array_equal(found, X)
    assert found.dtype == np.float64
    assert files.peek(path) == ((3, 3), np.float64)
    assert files.feature_names(path) == ("width", "height", "mass")
    assert files.peek_labels(path) == 3
    read = files.read_labels(path)
    assert read.class_names == ("ant", "bee")
    assert read.labels.tolist() == [0, 1, 0]


def test_a_field_may_hold_commas_quotes_and_lines(tmp_path):
    labels = ['"a, b"', '"say ""c"""', '"two\nlines"']
    path = write(tmp_path / "x.csv", text(labels=labels, header='"w,1",h,m,label'))
    np.testing.assert_array_equal(files.read_features(path), X)
    assert files.feature_names(path) == ("w,1", "h", "m")
    assert files.read_labels(path).class_names == ("a, b", 'say "c"', "two\nlines")


def test_numbers_alone_have_no_header(tmp_path):
    path = write(tmp_path / "x.csv", text(labels=["", "", ""], header=""))
    np.testing.assert_array_equal(files.read_features(path), X)
    assert files.feature_names(path) is None
    assert files.names_or_numbers(path) == ("0", "1", "2")
    options = ReadOptions(label_column="1", drop_columns=("0",))
    np.testing.assert_array_equal(files.read_features(path, options=options), X[:, 2:])
    assert files.names_or_numbers(path, options) == ("2",)
    assert files.feature_names(path, options) is None


@pytest.mark.parametrize("header", ["0,1,2", "0,1,2,label", ",0,1,2"])
def test_the_header_of_an_array_is_none_of_its_rows(header, tmp_path):
    """As pandas writes a frame of an array, and with its index."""
    if header.startswith(","):
        lines = [f"{k},{','.join(map(repr, row))}" for k, row in enumerate(X.tolist())]
    else:
        labels = NAMES if "label" in header else [""] * 3
        lines = text(labels=labels, header="").splitlines()
    path = write(tmp_path / "x.csv", "\n".join([header, *lines]))
    np.testing.assert_array_equal(files.read_features(path), X)


def test_names_of_training_make_a_header_of_numbers(tmp_path):
    path = write(tmp_path / "x.csv", "2020,2019\n1,2\n3,4\n")
    assert files.peek(path)[0] == (3, 2)  # nothing says that these are no numbers
    for names in (("2019", "2020"), ("2020",)):
        options = ReadOptions(feature_names=names)
        assert files.peek(path, options)[0] == (2, 2)
        assert files.columns(path, options) == ("2020", "2019")
        assert files.feature_names(path, options) == ("2020", "2019")
        found = files.read_features(path, options=options)
        assert found.tolist() == [[1, 2], [3, 4]]
    others = ReadOptions(feature_names=("1", "2", "3", "2019"))
    assert files.peek(path, others)[0] == (3, 2)


def test_two_numbered_columns_may_be_a_row(tmp_path):
    path = write(tmp_path / "x.csv", "0,1\n5,6\n")
    with pytest.raises(ValueError, match=r"begins with '0,1', which may be a row or"):
        files.peek(path)
    options = ReadOptions(feature_names=("0", "1"))
    assert files.read_features(path, options=options).tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("content", "expected", "names"),
    [
        ("2\n0\n1\n0\n", [2, 0, 1, 0], ("0", "1", "2")),
        ("label\n1.0\n0.0\n", [1, 0], ("0", "1")),
        ("cat\nant\ncat\n", [1, 0, 1], ("ant", "cat")),
        ("species\ncat\nant\ncat\n", [1, 0, 1], ("ant", "cat")),
        ("7\ncat\n", [0, 1], ("7", "cat")),
        ("label\n01\n1\n", [0, 1], ("01", "1")),
        ("id,y\n5,b\n6,a\n", [1, 0], ("a", "b")),
        ("label\nTrue\nFalse\nTrue\n", [1, 0, 1], ("0", "1")),
        ("y\nfalse\ntrue\n", [0, 1], ("0", "1")),
        ("y\nTRUE\nFALSE\n", [1, 0], ("0", "1")),
        ("y\nTrue\nFALSE\n", [1, 0], ("FALSE", "True")),
    ],
)
def test_labels_of_every_kind(content, expected, names, tmp_path):
    path = write(tmp_path / "y.csv", content)
    read = files.read_labels(path)
    assert read.labels.tolist() == expected
    assert read.class_names == names
    assert files.peek_labels(path) == len(expected)


def test_booleans_are_those_of_other_formats(tmp_path):
    np.save(tmp_path / "y.npy", np.array([True, False, True]))
    path = write(tmp_path / "y.csv", "label\nTrue\nTrue\n")
    trained = files.read_labels(tmp_path / "y.npy")
    assert files.read_labels(path, trained.class_names).labels.tolist() == [1, 1]


def test_labels_are_texts_where_those_of_training_are(tmp_path):
    """Alone in their file they are numbers, or booleans."""
    train = write(tmp_path / "y.csv", "label\n1.0\n1e3\nx\nTrue\n")
    names = files.read_labels(train).class_names
    for name in names:
        path = write(tmp_path / "test.csv", f"label\n{name}\n{name}\n")
        found = files.read_labels(path, names).labels.tolist()
        assert found == [names.index(name)] * 2
    path = write(tmp_path / "test.csv", "label\n1\n2\n")
    with pytest.raises(ValueError, match=r"row 0, is 1; expected names of classes"):
        files.read_labels(path, names)
    # Integers remain numbers, however they are written.
    path = write(tmp_path / "test.csv", "label\n1.0\n0.0\n")
    assert files.read_labels(path, ("0", "1")).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x.csv is empty; expected a table of text"),
        ("\na,b\n1,2\n", "begins with an empty line; expected a table of text"),
        ("2019,2020,label\n1,2,ant\n", "none of which is a number: rename such"),
        ("a;b\n1,5;2,5\n", "'a;b', whose separator may be ';'; .* a decimal point"),
        ('a,b\n1,"2,5"\n', "column b is '2,5'; expected a number with a decimal point"),
        ('"a,b",c\nx,1\n', r"\(--drop_columns='a\\,b'\)"),
        ("a,b\n", r"declares shape \(0, 2\)|expected at least one"),
        ("a,a\n1,2\n", "two columns 'a'"),
        ("a,b\n1,2\n3\n", "row 1, line 3, has 1 fields; expected 2"),
        ("a,b\n1,2\n3,4,5\n", "row 1, line 3, has 3 fields; expected 2"),
        ("a,b\n1,2\n\n3,4\n", "line 3 is empty; expected a row"),
        ("a,b\n1,2\n3,\n", "row 1, line 3: column b is empty; expected a number"),
        ("a,b\n1,2\n3,x\n", "column b is 'x'; expected .*--drop_columns=b"),
        ("a,b\n1,2\n3,1_0\n", "column b is '1_0'; expected a number"),
        ("a,b\n1,2\n3,nan\n", "1 of 4 numbers .* row 1, column 1, is nan"),
        ("a,b\n1,2\n3,inf\n", "row 1, column 1, is inf"),
        ("a;b\n1;2\n", "has one column, 'a;b', whose separator may be ';'"),
        ('a,b\n1,"2\n', "unexpected end of data"),
        ('a,b\n1,"2"3\n', "expected after"),
        ("1.5,2.5,cat\n3.5,4.5,dog\n", "begins with '1.5,2.5,cat'.* a first line of"),
        ("label\ncat\n", r"columns \['label'\], none of which is a feature"),
        (b"a,b\n1,\xff\n", "UnicodeDecodeError"),
        (b"a,b\n1,\x002\n", "column b is|NUL"),
        ("a\n" + "1" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_what_is_no_table_is_refused(content, message, tmp_path):
    path = write(tmp_path / "x.csv", content)
    with pytest.raises(ValueError, match=message) as refused:
        files.read_features(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\n1,2\n",
            r"columns \['a', 'b'\]; expected one of label, labels, target, ",
        ),
        ("a,label\n1,\n", "row 0, line 2: column label is ''; expected a label"),
        ("a,label\n1,0\n2,NaN\n", "row 1, line 3: column label is 'NaN'"),
        ("a,label\n1,0\n2,0.5\n", "row 1, is 0.5; expected whole numbers"),
    ],
)
def test_what_is_no_label_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        files.read_labels(write(tmp_path / "y.csv", content))


def test_more_than_the_memory_is_refused(tmp_path):
    path = write(tmp_path / "x.csv", text())
    with pytest.raises(ValueError, match=r"\(3, 3\), 72 bytes; expected at most 71"):
        files.read_features(path, max_bytes=71)


def test_one_file_is_features_and_labels(tmp_path):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 3)), [NAMES[k % 2] for k in range(40)]
    path = write(tmp_path / "x.csv", text(x, labels, "width,height,mass,kind"))
    options = ReadOptions(label_column="kind", drop_columns=("height",))
    dataset = datasets.load(
        "features",
        split_seed=0,
        files=Files(train_features=path, train_labels=path),
        options=options,
    )
    np.testing.assert_array_equal(dataset.train.x, x[dataset.train.index][:, [0, 2]])
    assert dataset.class_names == ("ant", "bee")
