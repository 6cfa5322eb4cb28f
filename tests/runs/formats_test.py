"""Formats: strict JSON, the same bytes for the same values, damage is refused."""

import io
import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from linclf_jax.runs import formats

ARRAYS = {
    "train_loss": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
    "alive": np.array([True, False]),
    "names": np.array(["sgd", "adam"]),
    "scalar": np.float64(0.1),
}


def test_json_is_strict_and_ordered():
    value = {"z": float("nan"), "a": [float("inf"), -np.inf, np.float32("nan")], "": {}}
    data = formats.encode_json(value)
    assert b"".join(data.split()) == b'{"z":null,"a":[null,null,null],"":{}}'
    assert data.endswith(b"}\n")
    assert list(formats.decode_json(data)) == ["z", "a", ""]


@pytest.mark.parametrize(
    "value", [0.1, 1e-300, 5e-324, 1 / 3, 1.7976931348623157e308, -0.0, 2**63]
)
def test_numbers_come_back_as_they_were(value):
    back = formats.decode_json(formats.encode_json([value]))[0]
    assert struct.pack("d", back) == struct.pack("d", value)
    assert type(back) is type(value)


def test_scalars_and_arrays_of_numpy_and_jax():
    value = {
        "f4": np.float32(0.1),
        "f2": np.float16(0.5),
        "bf16": jnp.bfloat16(1.5),
        "i8": np.int64(7),
        "flag": np.bool_(True),
        "text": np.str_("sgd"),
        "array": np.array([[1, 2], [3, 4]]),
        "jax": jnp.array([0.5, jnp.nan]),
        "tuple": (1, None),
    }
    back = formats.decode_json(formats.encode_json(value))
    assert back == {
        "f4": float(np.float32(0.1)),
        "f2": 0.5,
        "bf16": 1.5,
        "i8": 7,
        "flag": True,
        "text": "sgd",
        "array": [[1, 2], [3, 4]],
        "jax": [0.5, None],
        "tuple": [1, None],
    }
    assert back["flag"] is True


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"flags": {"grid": [1, {2}]}}, r"value\.flags\.grid\[1\]: found set"),
        ({"a": {1: 2}}, r"value\.a: found key 1, expected a string"),
        ({"a": 1j}, r"value\.a: found complex"),
        (b"bytes", "found bytes"),
    ],
)
def test_refuses_what_json_cannot_hold(value, message):
    with pytest.raises(ValueError, match=message):
        formats.encode_json(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1, column 1"),
        (b'{\n  "a": 1,\n  "b": \n}', "line 4, column 1"),
        (b'{\n "a": "\xff"}', "line 2: no UTF-8"),
        (b"[NaN]", "found NaN, which strict JSON lacks"),
        (b"[1] [2]", "line 1, column 5"),
    ],
)
def test_damaged_json_is_refused_with_its_place(data, message):
    with pytest.raises(ValueError, match=message):
        formats.decode_json(data)


def test_rows():
    rows = [{"trial": 0, "val_loss": 0.5}, {"trial": 1, "val_loss": float("nan")}]
    data = formats.encode_rows(rows)
    assert data == b'{"trial": 0, "val_loss": 0.5}\n{"trial": 1, "val_loss": null}\n'
    assert formats.decode_rows(data) == [rows[0], {"trial": 1, "val_loss": None}]
    assert formats.decode_rows(formats.encode_rows([])) == []
    odd = [{"text": "two\nlines \u2028 and \ud800"}]
    assert formats.decode_rows(formats.encode_rows(odd)) == odd


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2, column 7"),
        (b'{"a": 1}\n{"a": 2}', "line 2: cut short"),
        (b'{"a": 1}\n\n{"a": 2}\n', "line 2, column 1"),
        (b'{"a": 1}\n[1]\n', r"line 2: found \[1\], expected an object"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2: no UTF-8"),
        (b'{"a": 1}\n{"a": NaN}\n', "after line 1: found NaN"),
    ],
)
def test_damaged_rows_are_refused_with_their_line(data, message):
    with pytest.raises(ValueError, match=message):
        formats.decode_rows(data)


def test_rows_cut_anywhere_are_whole_rows_or_refused():
    rows = [{"trial": lane, "status": "ok"} for lane in range(3)]
    data = formats.encode_rows(rows)
    for length in range(len(data)):
        try:
            found = formats.decode_rows(data[:length])
        except ValueError:
            continue
        assert found == rows[: data[:length].count(b"\n")]
        assert data[:length].endswith(b"\n") or length == 0


def same_arrays(found, expected):
    assert set(found) == set(expected)
    for name, array in found.items():
        assert array.dtype == np.asarray(expected[name]).dtype
        assert array.shape == np.asarray(expected[name]).shape
        np.testing.assert_array_equal(array, expected[name])


def test_arrays_come_back_here_and_in_numpy():
    data = formats.encode_arrays(ARRAYS)
    same_arrays(formats.decode_arrays(data), ARRAYS)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        same_arrays(dict(archive), ARRAYS)
    buffer = io.BytesIO()
    np.savez(buffer, **ARRAYS)
    same_arrays(formats.decode_arrays(buffer.getvalue()), ARRAYS)
    assert formats.decode_arrays(formats.encode_arrays({})) == {}


def test_same_arrays_give_the_same_bytes(monkeypatch):
    data = formats.encode_arrays(ARRAYS)
    # 2001 to the clock, as a later run would see another time.
    monkeypatch.setattr("time.time", lambda: 1e9)
    shuffled = {name: ARRAYS[name] for name in reversed(ARRAYS)}
    shuffled["train_loss"] = np.asfortranarray(shuffled["train_loss"])
    assert formats.encode_arrays(shuffled) == data


@pytest.mark.parametrize(
    "array", [np.array([{}]), jnp.ones(2, jnp.bfloat16), np.zeros(2, "f4,i4")]
)
def test_refuses_arrays_that_npy_cannot_name(array):
    with pytest.raises(ValueError, match=r"array 'odd' is .*, which .npz lacks"):
        formats.encode_arrays({"odd": array})


def test_never_unpickles():
    buffer = io.BytesIO()
    np.savez(buffer, odd=np.array([{}]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        formats.decode_arrays(buffer.getvalue())


def test_every_flipped_bit_of_an_npz_is_harmless_or_refused():
    arrays = {"loss": np.arange(6, dtype=np.float32).reshape(2, 3), "on": np.ones(2)}
    data = formats.encode_arrays(arrays)
    refused = 0
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = formats.decode_arrays(bytes(damaged))
        except ValueError:
            refused += 1
        else:
            same_arrays(found, arrays)
    assert refused > 4 * len(data)


def test_every_truncated_npz_is_refused():
    data = formats.encode_arrays({"loss": np.arange(6.0)})
    for length in range(len(data)):
        with pytest.raises(ValueError, match="damaged"):
            formats.decode_arrays(data[:length])


def test_some_arrays_are_read_and_no_others():
    data = bytearray(formats.encode_arrays(ARRAYS))
    first = min(ARRAYS)
    found = formats.decode_some_arrays(io.BytesIO(data), [first])
    same_arrays(found, {first: ARRAYS[first]})
    with pytest.raises(ValueError, match=r"no item named 'absent.npy'"):
        formats.decode_some_arrays(io.BytesIO(data), ["absent"])


def test_every_flipped_bit_of_some_arrays_is_harmless_or_refused(tmp_path):
    arrays = {"loss": np.arange(3, dtype=np.float32), "on": np.ones(2)}
    data = formats.encode_arrays(arrays)
    path = tmp_path / "a.npz"  # a file refuses other places to seek than a buffer
    refused = 0
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            with path.open("rb") as file:
                found = formats.decode_some_arrays(file, ["on"])
        except ValueError:
            refused += 1
        else:
            same_arrays(found, {"on": arrays["on"]})
    assert refused > 2 * len(data)


TENSORS = {"b": np.zeros(3, np.float32), "W": np.arange(6.0).reshape(2, 3)}
METADATA = {letter: letter.upper() for letter in "hgfedcba"}


def test_tensors_come_back_here_and_in_safetensors():
    data = formats.encode_tensors(TENSORS, METADATA)
    tensors, metadata = formats.decode_tensors(data)
    same_arrays(tensors, TENSORS)
    assert metadata == METADATA
    same_arrays(safetensors_numpy.load(data), TENSORS)
    assert formats.decode_tensors(formats.encode_tensors(TENSORS, {}))[1] == {}
    # Numbers start at a multiple of 8, so that a mapped file can be used in place.
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_same_tensors_give_the_same_bytes():
    """The library's own order of metadata is another one in every call."""
    theirs = {safetensors_numpy.save(TENSORS, METADATA) for _ in range(20)}
    assert len(theirs) > 1
    ours = {
        formats.encode_tensors(
            {"W": np.asfortranarray(TENSORS["W"]), "b": TENSORS["b"]},
            dict(sorted(METADATA.items(), reverse=reverse)),
        )
        for reverse in (False, True)
    }
    assert ours == {formats.encode_tensors(TENSORS, METADATA)}


def test_truncated_tensors_are_refused():
    data = formats.encode_tensors(TENSORS, METADATA)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="damaged"):
            formats.decode_tensors(data[:length])


def test_encoded_json_is_what_the_standard_library_reads():
    assert json.loads(formats.encode_json({"a": [1.5, None, "é"]})) == {
        "a": [1.5, None, "é"]
    }
