"""Tables of text: what is a header, a number, a label, and what is none of them."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from linclf_jax.data import files
from linclf_jax.data.columns import ReadOptions
from tests.data import own_files

X = np.array([[0.1, -2.0, 3e-5], [1 / 3, 7.0, 1e300], [5.0, 0.0, -0.25]])
LABELS = ["ant", "bee", "ant"]
HEADER = "width,height,mass,label"
READ = {"x": files.read_features, "y": files.read_labels}


def text(rows=X, labels=LABELS, header=HEADER, separator=",", end="\n"):
    lines = [header] if header else []
    for row, label in zip(rows.tolist(), labels, strict=True):
        lines.append(separator.join([*map(repr, row), *([label] if label else [])]))
    return end.join(lines) + end


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="x.csv"):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write_file


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
def test_a_table_with_a_header(name, content, write):
    path = write(content, name)
    np.testing.assert_array_equal(files.read_features(path), X)
    assert files.DataFile(path).shape == (3, 3)
    assert files.DataFile(path).feature_names == ("width", "height", "mass")
    assert files.DataFile(path).num_labels == 3
    assert files.read_labels(path).class_names == ("ant", "bee")
    assert files.read_labels(path).labels.tolist() == [0, 1, 0]


@hypothesis.settings(derandomize=True, max_examples=50, deadline=None)
@hypothesis.given(
    x=numpy_strategies.arrays(
        np.float64,
        numpy_strategies.array_shapes(min_dims=2, max_dims=2, max_side=4),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_every_number_is_read_as_it_was_written(x, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "x.csv"
    header = ",".join(f"f{k}" for k in range(x.shape[1]))
    path.write_text(text(x, [""] * len(x), header))
    read = files.read_features(path)
    assert read.dtype == np.float64
    assert read.tobytes() == x.tobytes()


def test_a_field_may_hold_commas_quotes_and_lines(write):
    labels = ['"a, b"', '"say ""c"""', '"two\nlines"']
    path = write(text(labels=labels, header='"w,1",h,m,label'))
    np.testing.assert_array_equal(files.read_features(path), X)
    assert files.DataFile(path).feature_names == ("w,1", "h", "m")
    assert files.read_labels(path).class_names == ("a, b", 'say "c"', "two\nlines")


def test_numbers_alone_have_no_header(write):
    path = write(text(labels=["", "", ""], header=""))
    np.testing.assert_array_equal(files.read_features(path), X)
    assert files.DataFile(path).feature_names is None
    assert files.DataFile(path).names_or_numbers == ("0", "1", "2")
    options = ReadOptions(label_column="1", drop_columns=("0",))
    np.testing.assert_array_equal(files.read_features(path, options=options), X[:, 2:])
    assert files.DataFile(path, options).names_or_numbers == ("2",)
    assert files.DataFile(path, options).feature_names is None


@pytest.mark.parametrize("header", ["0,1,2", "0,1,2,label", ",0,1,2"])
def test_the_header_of_an_array_is_none_of_its_rows(header, write):
    """As pandas writes a frame of an array, and with its index."""
    labels = LABELS if "label" in header else [""] * 3
    lines = text(labels=labels, header="").splitlines()
    if header.startswith(","):
        lines = [f"{k},{line}" for k, line in enumerate(lines)]
    path = write("\n".join([header, *lines]))
    np.testing.assert_array_equal(files.read_features(path), X)


def test_names_of_training_make_a_header_of_numbers(write):
    path = write("2020,2019\n1,2\n3,4\n")
    assert files.DataFile(path).shape == (3, 2)  # nothing says otherwise
    for names in (("2019", "2020"), ("2020",)):
        options = ReadOptions(feature_names=names)
        assert files.DataFile(path, options).shape == (2, 2)
        assert files.DataFile(path, options).column_names == ("2020", "2019")
        assert files.DataFile(path, options).feature_names == ("2020", "2019")
        read = files.read_features(path, options=options)
        assert read.tolist() == [[1, 2], [3, 4]]
    others = ReadOptions(feature_names=("1", "2", "3", "2019"))
    assert files.DataFile(path, others).shape == (3, 2)
    path = write("0,1\n5,6\n")
    own_files.refuse(r"begins with '0,1', which may be a row or", path)
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
def test_labels_of_every_kind(content, expected, names, write):
    path = write(content)
    read = files.read_labels(path)
    assert read.labels.tolist() == expected
    assert read.class_names == names
    assert files.DataFile(path).num_labels == len(expected)


def test_labels_are_of_the_kind_that_training_had(write):
    """Alone in their file texts are perhaps numbers, or booleans."""
    names = files.read_labels(write("label\n1.0\n1e3\nx\nTrue\n")).class_names
    for name in names:
        read = files.read_labels(write(f"label\n{name}\n{name}\n"), names)
        assert read.labels.tolist() == [names.index(name)] * 2
    with pytest.raises(ValueError, match=r"row 0, is 1; expected names of classes"):
        files.read_labels(write("label\n1\n2\n"), names)
    # Integers remain numbers, however they are written.
    for content in ("label\n1.0\n0.0\n", "label\nTrue\nFalse\n"):
        assert files.read_labels(write(content), ("0", "1")).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("what", "content", "message"),
    [
        ("x", "", "x.csv is empty; expected a table of text"),
        ("x", "\na,b\n1,2\n", "begins with an empty line; expected a table of text"),
        ("x", "2019,2020,label\n1,2,ant\n", "none of which is a number: rename such"),
        ("x", "a;b\n1,5;2,5\n", "'a;b', whose separator may be ';'; .* a decimal po"),
        ("x", 'a,b\n1,"2,5"\n', "column b is '2,5'; expected a number with a decimal"),
        ("x", '"a,b",c\nx,1\n', r"\(--drop_columns='a\\,b'\)"),
        ("x", "a,b\n", r"declares shape \(0, 2\)|expected at least one"),
        ("x", "a,a\n1,2\n", "two columns 'a'"),
        ("x", "a,b\n1,2\n3\n", "row 1, line 3, has 1 fields; expected 2"),
        ("x", "a,b\n1,2\n3,4,5\n", "row 1, line 3, has 3 fields; expected 2"),
        ("x", "a,b\n1,2\n\n3,4\n", "line 3 is empty; expected a row"),
        ("x", "a,b\n1,2\n3,\n", "row 1, line 3: column b is empty; expected a number"),
        ("x", "a,b\n1,2\n3,x\n", "column b is 'x'; expected .*--drop_columns=b"),
        ("x", "a,b\n1,2\n3,1_0\n", "column b is '1_0'; expected a number"),
        ("x", "a,b\n1,2\n3,nan\n", "1 of 4 numbers .* row 1, column 1, is nan"),
        ("x", "a,b\n1,2\n3,inf\n", "row 1, column 1, is inf"),
        ("x", 'a,b\n1,"2\n', "unexpected end of data"),
        ("x", 'a,b\n1,"2"3\n', "expected after"),
        ("x", "1.5,2.5,cat\n3.5,4.5,dog\n", "begins with '1.5,2.5,cat'.* a first l"),
        ("x", "label\ncat\n", r"columns \['label'\], none of which is a feature"),
        ("x", b"a,b\n1,\xff\n", "UnicodeDecodeError"),
        ("x", b"a,b\n1,\x002\n", "column b is|NUL"),
        ("x", "a\n" + "1" * 200_000 + "\n", "field larger than field limit"),
        ("y", "a,b\n1,2\n", r"\['a', 'b'\]; expected one of label, labels, target, "),
        ("y", "a,label\n1,\n", "row 0, line 2: column label is ''; expected a label"),
        ("y", "a,label\n1,0\n2,NaN\n", "row 1, line 3: column label is 'NaN'"),
        ("y", "a,label\n1,0\n2,0.5\n", "row 1, is 0.5; expected whole numbers"),
    ],
)
def test_a_file_that_is_no_table_is_refused(what, content, message, write):
    own_files.refuse(message, write(content), READ[what])


def test_one_file_is_features_and_labels(write):
    x, labels = np.random.default_rng(0).normal(size=(40, 3)), ["ant", "bee"] * 20
    path = write(text(x, labels, "width,height,mass,kind"))
    options = {"label_column": "kind", "drop_columns": ("height",)}
    dataset = own_files.load(path, **options)
    np.testing.assert_array_equal(dataset.train.x, x[dataset.train.index][:, [0, 2]])
    assert dataset.class_names == ("ant", "bee")
