"""Parquet files: what is a feature, what is a label, and what is neither."""

import sys

import numpy as np
import pytest

from linclf_jax.data import files
from linclf_jax.data import parquet as parquet_files
from linclf_jax.data.columns import ReadOptions

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
X = np.arange(20.0).reshape(5, 4)
NAMES = ["b", "a", "b", "c", "a"]


def write(path, columns, **options):
    parquet.write_table(pa.table(columns), path, **options)
    return path


def columns(x=X):
    return {f"c{place}": x[:, place] for place in range(x.shape[1])}


def fixed(x=X):
    return pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "u1", "i8"])
@pytest.mark.parametrize("form", ["columns", "lists", "fixed"])
def test_features_keep_their_dtype(kind, form, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "_ROWS", 2)  # three blocks
    x = X.astype(kind)
    forms = {
        "columns": columns(x),
        "lists": {"features": list(x), "other": NAMES},
        "fixed": {"features": fixed(x), "other": NAMES},
    }
    path = write(tmp_path / "x.parquet", {**forms[form], "label": NAMES})
    found = files.read_features(path)
    np.testing.assert_array_equal(found, x)
    assert found.dtype == x.dtype
    assert files.peek(path) == ((5, 4), x.dtype)
    assert files.peek_labels(path) == 5
    assert files.read_labels(path).class_names == ("a", "b", "c")
    assert files.read_labels(path).labels.tolist() == [1, 0, 1, 2, 0]


def tensors(x, permutation=None):
    """As Arrow has embeddings: x as it lies in memory, and the order of its axes."""
    kind = pa.fixed_shape_tensor(
        pa.from_numpy_dtype(x.dtype), x.shape[1:], permutation=permutation
    )
    return pa.ExtensionArray.from_storage(kind, fixed(x.reshape(len(x), -1)))


@pytest.mark.parametrize("name", ["features", "embedding", "only_one"])
@pytest.mark.parametrize("kind", ["f2", "f4", "u1"])
def test_tensors_of_fixed_shape(name, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "_ROWS", 2)
    x = X.astype(kind)
    path = write(tmp_path / "x.parquet", {name: tensors(x), "label": NAMES})
    found = files.read_features(path)
    np.testing.assert_array_equal(found, x)
    assert found.dtype == x.dtype
    assert files.peek(path) == ((5, 4), x.dtype)
    assert files.feature_names(path) is None
    assert files.names_or_numbers(path) == ("0", "1", "2", "3")


def test_tensors_of_images_and_in_another_order(tmp_path):
    images = np.arange(5 * 4 * 2 * 3, dtype=np.uint8).reshape(5, 4, 2, 3)
    path = write(tmp_path / "x.parquet", {"features": tensors(images)})
    np.testing.assert_array_equal(files.read_features(path), images)
    assert files.names_or_numbers(path) is None
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    moved = tensors(channels_first, permutation=[1, 2, 0])
    path = write(tmp_path / "x.parquet", {"features": moved})
    assert files.peek(path) == ((5, 4, 2, 3), np.uint8)
    np.testing.assert_array_equal(files.read_features(path), images)


@pytest.mark.parametrize("form", ["lists", "tensors"])
def test_a_list_column_is_known_by_its_name_or_alone(form, tmp_path):
    rows = tensors(X) if form == "tensors" else list(X)
    table = {"embedding": rows, "id": np.arange(5), "label": NAMES}
    path = write(tmp_path / "x.parquet", table)
    np.testing.assert_array_equal(files.read_features(path), X)
    path = write(tmp_path / "x.parquet", {"vectors": rows, "id": np.arange(5)})
    with pytest.raises(ValueError, match=r"column vectors is of .*; expected numbers"):
        files.read_features(path)
    options = ReadOptions(drop_columns=("id",))
    np.testing.assert_array_equal(files.read_features(path, options=options), X)
    both = {"embedding": rows, "features": tensors(X + 1)}
    path = write(tmp_path / "x.parquet", both)
    np.testing.assert_array_equal(files.read_features(path), X + 1)
    options = ReadOptions(drop_columns=("features", "1"))
    rest = X[:, [0, 2, 3]]
    np.testing.assert_array_equal(files.read_features(path, options=options), rest)


@pytest.mark.parametrize("first", [None, []])
def test_a_first_list_that_is_missing_or_empty_is_named(first, tmp_path):
    kind = pa.list_(pa.float32())
    rows = pa.array([first, first, *X[2:].tolist()], kind)
    path = write(tmp_path / "x.parquet", {"features": rows})
    assert files.peek(path) == ((5, 4), np.float32)
    message = "2 entries of features are missing, the first in row 0"
    message = message if first is None else "has 0 features in row 0; expected 4, as in"
    with pytest.raises(ValueError, match=message):
        files.read_features(path)
    path = write(tmp_path / "x.parquet", {"features": pa.array([first] * 5, kind)})
    with pytest.raises(ValueError, match="all lists of features are missing or empty"):
        files.read_features(path)


def test_columns_of_several_dtypes_take_one_that_holds_all(tmp_path):
    mixed = {"a": np.arange(5, dtype=np.uint8), "b": np.arange(5, dtype=np.float32)}
    found = files.read_features(write(tmp_path / "x.parquet", mixed))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack([range(5), range(5)], axis=1))


@pytest.mark.parametrize(
    "labels", [[1, 0, 2, 1, 0], pa.array(NAMES).dictionary_encode()]
)
def test_labels_are_the_only_column(labels, tmp_path):
    path = write(tmp_path / "y.parquet", {"whatever": labels})
    assert files.read_labels(path).labels.tolist()[:2] == [1, 0]
    assert len(files.read_labels(path).class_names) == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1.0, None]}, "1 entries of a are missing, the first in row 1"),
        ({"features": [[1.0], [1.0, 2.0]]}, "has 2 features in row 1; expected 1"),
        ({"features": [[1.0], None]}, "entries of features are missing, the first in"),
        ({"features": [[1.0], [None]]}, "a number is missing in row 1"),
        ({"a": [1.0], "b": ["x"]}, "column b is of string; expected numbers"),
        ({"a": [True]}, "column a is of bool"),
        ({"features": [["x"]]}, "column features is of string"),
        ({"features": [[]]}, "of double|of null|expected at least one"),
        ({"label": [1]}, r"1 rows and the columns \[\]"),
        ({"a": np.zeros(0)}, r"0 rows and the columns \['a'\]"),
        ({"a": [1.0, np.nan]}, "1 of 2 numbers .* row 1, column 0, is nan"),
    ],
)
def test_what_is_no_feature_is_refused(table, message, tmp_path):
    path = write(tmp_path / "x.parquet", table)
    with pytest.raises(ValueError, match=message) as refused:
        files.read_features(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"a": [1], "b": [2]},
            r"columns \['a', 'b'\]; expected one of label, labels, ",
        ),
        ({"label": [0, None]}, "1 entries of label are missing, the first in row 1"),
        ({"label": [0.0, 1.5]}, "row 1, is 1.5; expected whole numbers"),
    ],
)
def test_what_is_no_label_is_refused(table, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        files.read_labels(write(tmp_path / "x.parquet", table))


def test_many_equal_rows_in_few_bytes_are_refused_by_their_number(tmp_path):
    path = write(tmp_path / "x.parquet", {"a": np.zeros(10**6)})
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match="8000000 bytes; expected at most 7999999"):
        files.read_features(path, max_bytes=7_999_999)


def test_a_damaged_page_is_seen(tmp_path):
    path = tmp_path / "x.parquet"
    options = {"write_page_checksum": True, "compression": "none"}
    write(path, columns(), use_dictionary=False, **options)
    content = bytearray(path.read_bytes())
    content[content.index(X[:, 1].tobytes()) + 3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"x\.parquet: .*CRC checksum"):
        files.read_features(path)


def test_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[parquet\]'"):
        files.read_features(tmp_path / "x.parquet")
