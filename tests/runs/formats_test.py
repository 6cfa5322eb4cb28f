"""Formats: strict JSON, the same bytes for the same values, damage is refused."""

import io
import json
import string
import struct

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from safetensors import numpy as safetensors_numpy

from linclf_jax.runs import formats

NAMES = st.text(string.ascii_letters, min_size=1, max_size=5)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
JSON = st.recursive(
    SCALARS,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part),
    max_leaves=10,
)


def arrays(dtypes):
    shapes = numpy_st.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    array = st.sampled_from(dtypes).flatmap(lambda d: numpy_st.arrays(d, shapes))
    return st.dictionaries(NAMES, array, max_size=3)


def same_arrays(found, expected):
    assert set(found) == set(expected)
    for name, array in found.items():
        assert array.dtype == np.asarray(expected[name]).dtype
        assert array.shape == np.asarray(expected[name]).shape
        np.testing.assert_array_equal(array, expected[name])


def flipped_bits(data):
    """Yields the bytes with a bit flipped, of each byte one or two in turn."""
    for bit in range(0, 8 * len(data), 5):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


@hypothesis.given(JSON)
def test_json_comes_back_here_and_in_the_standard_library(value):
    data = formats.encode_json(value)
    back = formats.decode_json(data)
    assert repr(back) == repr(value)  # which tells 1 from 1.0, -0.0 from 0.0
    assert repr(json.loads(data)) == repr(value)
    assert data.endswith(b"\n")


@hypothesis.given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4))
def test_rows_come_back_and_cut_anywhere_are_whole_rows_or_refused(rows):
    data = formats.encode_rows(rows)
    assert repr(formats.decode_rows(data)) == repr(rows)
    assert data.count(b"\n") == len(rows)
    for length in {*range(min(len(data), 40)), len(data) - 1} - {-1}:
        cut = data[:length]
        if cut.endswith(b"\n") or not cut:
            assert repr(formats.decode_rows(cut)) == repr(rows[: cut.count(b"\n")])
        else:
            with pytest.raises(ValueError, match="line"):
                formats.decode_rows(cut)


def test_what_no_json_holds_is_null_and_keys_keep_their_order():
    value = {"z": float("nan"), "a": [float("inf"), -np.inf, np.float32("nan")], "": {}}
    data = formats.encode_json(value)
    assert b"".join(data.split()) == b'{"z":null,"a":[null,null,null],"":{}}'
    assert (
        formats.encode_rows([value])
        == b'{"z": null, "a": [null, null, null], "": {}}\n'
    )
    back = formats.decode_json(formats.encode_json([5e-324, -0.0]))
    assert struct.pack("2d", *back) == struct.pack("2d", 5e-324, -0.0)


def test_scalars_and_arrays_of_numpy_and_jax():
    value = {
        "f4": (np.float32(0.1), float(np.float32(0.1))),
        "f2": (np.float16(0.5), 0.5),
        "bf16": (jnp.bfloat16(1.5), 1.5),
        "i8": (np.int64(7), 7),
        "flag": (np.bool_(True), True),
        "text": (np.str_("sgd"), "sgd"),
        "array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        "jax": (jnp.array([0.5, jnp.nan]), [0.5, None]),
        "tuple": ((1, None), [1, None]),
    }
    given, expected = ({k: v[i] for k, v in value.items()} for i in (0, 1))
    assert repr(formats.decode_json(formats.encode_json(given))) == repr(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"flags": {"grid": [1, {2}]}}, r"value\.flags\.grid\[1\]: found set"),
        ({"a": {1: 2}}, r"value\.a: found key 1, expected a string"),
        ({"a": 1j}, r"value\.a: found complex"),
        (b"bytes", "found bytes"),
    ],
)
def test_what_json_cannot_hold_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        formats.encode_json(value)


@pytest.mark.parametrize(
    ("decode", "data", "message"),
    [
        (formats.decode_json, b"", "line 1, column 1"),
        (formats.decode_json, b'{\n  "a": 1,\n  "b": \n}', "line 4, column 1"),
        (formats.decode_json, b'{\n "a": "\xff"}', "line 2: no UTF-8"),
        (formats.decode_json, b"[NaN]", "found NaN, which strict JSON lacks"),
        (formats.decode_json, b"[1] [2]", "line 1, column 5"),
        (formats.decode_rows, b'{"a": 1}\n{"a": \n', "line 2, column 7"),
        (formats.decode_rows, b'{"a": 1}\n{"a": 2}', "line 2: cut short"),
        (formats.decode_rows, b'{"a": 1}\n\n{"a": 2}\n', "line 2, column 1"),
        (formats.decode_rows, b'{"a": 1}\n[1]\n', r"line 2: found \[1\], expected an"),
        (formats.decode_rows, b'{"a": 1}\n{"a": "\xff"}\n', "line 2: no UTF-8"),
        (formats.decode_rows, b'{"a": 1}\n{"a": NaN}\n', "after line 1: found NaN"),
    ],
)
def test_damaged_json_is_refused_with_its_place(decode, data, message):
    with pytest.raises(ValueError, match=message):
        decode(data)


@hypothesis.given(arrays(["f4", "f8", "i8", "u1", "bool", "U3", "S2", "c8"]))
def test_arrays_come_back_here_and_in_numpy(values):
    data = formats.encode_arrays(values)
    same_arrays(formats.decode_arrays(data), values)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        same_arrays(dict(archive), values)
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    same_arrays(formats.decode_arrays(buffer.getvalue()), values)
    one = list(values)[:1]
    found = formats.decode_arrays(io.BytesIO(data), one)
    same_arrays(found, {name: values[name] for name in one})


@hypothesis.given(arrays(["f4", "f8"]))
def test_same_arrays_give_the_same_bytes(values):
    shuffled = {k: np.array(values[k], order="F") for k in reversed(values)}
    with pytest.MonkeyPatch.context() as patch:
        data = formats.encode_arrays(values)
        patch.setattr("time.time", lambda: 1e9)  # as a later run sees another time
        assert formats.encode_arrays(shuffled) == data
    metadata = {name: name.upper() for name in values}
    backwards = dict(reversed(metadata.items()))
    expected = formats.encode_tensors(values, metadata)
    assert formats.encode_tensors(shuffled, backwards) == expected


@pytest.mark.parametrize(
    "array", [np.array([{}]), jnp.ones(2, jnp.bfloat16), np.zeros(2, "f4,i4")]
)
def test_arrays_that_npy_cannot_name_are_refused(array):
    with pytest.raises(ValueError, match=r"array 'odd' is .*, which .npz lacks"):
        formats.encode_arrays({"odd": array})


def test_no_array_is_unpickled_and_an_absent_one_is_left_out():
    buffer = io.BytesIO()
    np.savez(buffer, odd=np.array([{}]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        formats.decode_arrays(buffer.getvalue())
    assert formats.decode_arrays(buffer, ["absent"]) == {}


@pytest.mark.parametrize("names", [("loss", "on"), ("on",)])
def test_every_flipped_bit_of_an_npz_is_harmless_or_refused(names, tmp_path):
    values = {"loss": np.arange(3, dtype=np.float32), "on": np.ones(2)}
    data, refused, path = formats.encode_arrays(values), 0, tmp_path / "a.npz"
    for damaged in flipped_bits(data):
        path.write_bytes(damaged)  # a file refuses other offsets than a buffer
        try:
            with path.open("rb") as file:
                found = formats.decode_arrays(file, names)
        except ValueError:
            refused += 1
        else:
            same_arrays(found, {name: values[name] for name in names})
    assert refused > 0.4 * len(names) * len(data)


def test_every_truncated_file_is_refused():
    values = {"loss": np.arange(6.0)}
    for data, decode in (
        (formats.encode_arrays(values), formats.decode_arrays),
        (formats.encode_tensors(values, {"a": "A"}), formats.decode_tensors),
    ):
        for length in range(len(data)):
            with pytest.raises(ValueError, match="damaged"):
                decode(data[:length])


@hypothesis.given(arrays(["f4", "f8", "i4"]), st.dictionaries(NAMES, NAMES))
def test_tensors_come_back_here_and_in_safetensors(values, metadata):
    data = formats.encode_tensors(values, metadata)
    tensors, texts = formats.decode_tensors(data)
    same_arrays(tensors, values)
    assert texts == metadata
    same_arrays(safetensors_numpy.load(data), values)
    # Numbers start at a multiple of 8, so that a mapped file can be used in place.
    assert int.from_bytes(data[:8], "little") % 8 == 0
