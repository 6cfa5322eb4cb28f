"""Parquet files: columns, lists and tensors of features, labels, and neither."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from linclf_jax.data import files, formats
from linclf_jax.data.columns import ReadOptions
from tests.data import own_files

X = np.arange(20.0).reshape(5, 4)
NAMES = ["b", "a", "b", "c", "a"]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes columns; they are read in blocks of two rows."""
    monkeypatch.setattr("linclf_jax.data.parquet._ROWS", 2)

    def write_table(columns, **options):
        parquet.write_table(pa.table(columns), tmp_path / "x.parquet", **options)
        return tmp_path / "x.parquet"

    return write_table


def fixed(x):
    return pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])


def tensors(x, permutation=None):
    """As Arrow has embeddings: x as it lies in memory, and the order of its axes."""
    kind = pa.fixed_shape_tensor(
        pa.from_numpy_dtype(x.dtype), x.shape[1:], permutation=permutation
    )
    return pa.ExtensionArray.from_storage(kind, fixed(x.reshape(len(x), -1)))


FORMS = {
    "columns": lambda x: {f"c{k}": x[:, k] for k in range(x.shape[1])},
    "lists": lambda x: {"features": list(x), "other": NAMES},
    "fixed lists": lambda x: {"features": fixed(x), "other": NAMES},
    "tensors": lambda x: {"features": tensors(x), "other": NAMES},
    "an embedding": lambda x: {"embedding": tensors(x), "id": np.arange(5)},
    "a column alone": lambda x: {"any name": list(x)},
}


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "u1", "i8"])
@pytest.mark.parametrize("form", FORMS)
def test_features_keep_their_dtype(form, kind, write):
    x = X.astype(kind)
    path = write({**FORMS[form](x), "label": NAMES})
    read = files.read_features(path)
    np.testing.assert_array_equal(read, x)
    assert read.dtype == x.dtype
    assert files.DataFile(path).shape == (5, 4)
    assert (files.DataFile(path).feature_names is None) == (form != "columns")
    if form != "columns":
        assert files.DataFile(path).names_or_numbers == ("0", "1", "2", "3")
    assert files.DataFile(path).num_labels == 5
    assert files.read_labels(path).class_names == ("a", "b", "c")
    assert files.read_labels(path).labels.tolist() == [1, 0, 1, 2, 0]


def test_tensors_of_images_and_in_another_order(write):
    images = np.arange(5 * 4 * 2 * 3, dtype=np.uint8).reshape(5, 4, 2, 3)
    path = write({"features": tensors(images)})
    np.testing.assert_array_equal(files.read_features(path), images)
    assert files.DataFile(path).names_or_numbers is None
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    path = write({"features": tensors(channels_first, permutation=[1, 2, 0])})
    assert files.DataFile(path).shape == (5, 4, 2, 3)
    np.testing.assert_array_equal(files.read_features(path), images)


@pytest.mark.parametrize("rows", [list(X), tensors(X)])
def test_columns_beside_a_list(rows, write):
    path = write({"vectors": rows, "id": np.arange(5)})
    with pytest.raises(ValueError, match=r"column vectors is of .*; expected numbers"):
        files.read_features(path)
    options = ReadOptions(drop_columns=("id",))
    np.testing.assert_array_equal(files.read_features(path, options=options), X)
    path = write({"embedding": rows, "features": tensors(X + 1)})
    np.testing.assert_array_equal(files.read_features(path), X + 1)
    options = ReadOptions(drop_columns=("features", "1"))
    rest = X[:, [0, 2, 3]]
    np.testing.assert_array_equal(files.read_features(path, options=options), rest)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (None, "2 entries of features are missing, the first in row 0"),
        ([], "has 0 features in row 0; expected 4, as in"),
    ],
)
def test_a_first_list_that_is_missing_or_empty_is_named(first, message, write):
    kind = pa.list_(pa.float32())
    path = write({"features": pa.array([first, first, *X[2:].tolist()], kind)})
    assert files.DataFile(path).shape == (5, 4)
    with pytest.raises(ValueError, match=message):
        files.read_features(path)
    path = write({"features": pa.array([first] * 5, kind)})
    with pytest.raises(ValueError, match="all lists of features are missing or empty"):
        files.read_features(path)


def test_columns_of_several_dtypes_take_one_that_holds_all(write):
    mixed = {"a": np.arange(5, dtype=np.uint8), "b": np.arange(5, dtype=np.float32)}
    read = files.read_features(write(mixed))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.stack([range(5), range(5)], axis=1))


@pytest.mark.parametrize(
    "labels", [[1, 0, 2, 1, 0], pa.array(NAMES).dictionary_encode()]
)
def test_labels_are_the_only_column(labels, write):
    read = files.read_labels(write({"whatever": labels}))
    assert read.labels.tolist()[:2] == [1, 0]
    assert len(read.class_names) == 3


@pytest.mark.parametrize(
    ("what", "table", "message"),
    [
        ("x", {"a": [1.0, None]}, "1 entries of a are missing, the first in row 1"),
        ("x", {"features": [[1.0], [1.0, 2.0]]}, "2 features in row 1; expected 1"),
        ("x", {"features": [[1.0], None]}, "features are missing, the first in"),
        ("x", {"features": [[1.0], [None]]}, "a number is missing in row 1"),
        ("x", {"a": [1.0], "b": ["x"]}, "column b is of string; expected numbers"),
        ("x", {"a": [True]}, "column a is of bool"),
        ("x", {"features": [["x"]]}, "column features is of string"),
        ("x", {"label": [1]}, r"\['label'\], none of which is a feature"),
        ("x", {"a": np.zeros(0)}, r"declares shape \(0, 1\)"),
        ("x", {"a": [1.0, np.nan]}, "1 of 2 numbers .* row 1, column 0, is nan"),
        ("y", {"a": [1], "b": [2]}, r"\['a', 'b'\]; expected one of label, labels"),
        ("y", {"label": [0, None]}, "1 entries of label are missing, .* in row 1"),
        ("y", {"label": [0.0, 1.5]}, "row 1, is 1.5; expected whole numbers"),
        ("y", {"label": np.zeros(0)}, r"declares shape \(0,\)"),
    ],
)
def test_a_table_without_features_or_labels_is_refused(what, table, message, write):
    read = {"x": files.read_features, "y": files.read_labels}[what]
    own_files.refuse(message, write(table), read)


def test_many_equal_rows_in_few_bytes_are_refused_by_their_number(write, monkeypatch):
    path = write({"a": np.zeros(10**6)})
    assert path.stat().st_size < 50_000
    monkeypatch.setattr(formats, "memory", lambda: 7_999_999)
    own_files.refuse("8000000 bytes; expected at most 7999999", path)


def test_a_damaged_page_is_noticed(write):
    options = {"write_page_checksum": True, "compression": "none"}
    path = write(FORMS["columns"](X), use_dictionary=False, **options)
    content = bytearray(path.read_bytes())
    content[content.index(X[:, 1].tobytes()) + 3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"x\.parquet: .*CRC checksum"):
        files.read_features(path)
