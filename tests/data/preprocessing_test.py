"""Preprocessing: training statistics alone, no NaN, the same bits when read back."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from linclf_jax.data import datasets, preprocessing, statistics
from linclf_jax.runs import directory

DTYPES = [np.float32, np.float64, np.uint8, np.float16, ml_dtypes.bfloat16]
KINDS = ["none", "standardize", "mean_range", "l2_normalize", "pca:3", "whiten"]


def integers(dtype, seed=0):
    """Whole numbers that every dtype can hold, so that all see the same values."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.integers(0, 256, size=(50, 4)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values(dtype):
    x = integers(dtype)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    expected = {
        "none": exact,
        "standardize": centred / exact.std(axis=0),
        "mean_range": centred / (exact.max(axis=0) - exact.min(axis=0)),
        "l2_normalize": exact / np.linalg.norm(exact, axis=1, keepdims=True),
    }
    assert [*expected] == [*preprocessing.NAMES[:-2]]
    for name, values in expected.items():
        scaled = preprocessing.apply(preprocessing.fit(name, x), x)
        assert scaled.dtype == np.float32
        # One rounding to float32, half an ulp; the float64 work is far below it.
        np.testing.assert_allclose(scaled, values, rtol=6e-8, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("name", KINDS)
def test_dtype_and_memory_order_change_no_bit(name):
    x = integers(np.float64)
    expected = preprocessing.fit(name, x)
    for other in (*(x.astype(dtype) for dtype in DTYPES), np.asfortranarray(x)):
        fitted = preprocessing.fit(name, other)
        for statistic, other_one in zip(fitted[1:], expected[1:], strict=True):
            np.testing.assert_array_equal(statistic, other_one)
        np.testing.assert_array_equal(
            preprocessing.apply(fitted, other), preprocessing.apply(expected, x)
        )


@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_scaled_alike_whatever_is_beside_it(name):
    """The planted fault of many a script: statistics taken again on the test split."""
    train, test = integers(np.float32), integers(np.float32, seed=1)
    fitted = preprocessing.fit(name, train)
    before = [np.copy(statistic) for statistic in fitted[1:]]
    whole = preprocessing.apply(fitted, test)
    alone = np.concatenate([preprocessing.apply(fitted, row[None]) for row in test])
    np.testing.assert_array_equal(whole, alone)
    for statistic, old in zip(fitted[1:], before, strict=True):
        np.testing.assert_array_equal(statistic, old)
    refitted = preprocessing.apply(preprocessing.fit(name, test), test)
    if name not in ("none", "l2_normalize"):
        assert not np.array_equal(whole, refitted)


@pytest.mark.parametrize("name", ["standardize", "mean_range"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e5, 1e-40])
def test_a_constant_column_becomes_zero(name, value):
    # The mean of a thousand times 0.1 is not 0.1, and their deviation is not 0.
    x = np.stack([np.full(1000, value), np.arange(1000.0)], axis=1)
    fitted = preprocessing.fit(name, x)
    assert fitted.scale[0] == 1.0
    scaled = preprocessing.apply(fitted, x)
    np.testing.assert_array_equal(scaled[:, 0], 0.0)
    elsewhere = preprocessing.apply(fitted, x + 2.0)
    np.testing.assert_allclose(elsewhere[:, 0], 2.0, rtol=1e-7)


@pytest.mark.parametrize("name", KINDS)
def test_digits_has_constant_columns_and_no_nan(name):
    digits = datasets.load("digits", split_seed=0)
    assert np.any(np.ptp(digits.train.x, axis=0) == 0)
    fitted = preprocessing.fit(name, digits.train.x)
    assert np.all(np.isfinite(preprocessing.apply(fitted, digits.test.read().x)))


def test_zero_huge_and_tiny_rows():
    x = np.array([[0.0], [1e-200]])  # the square of the difference underflows
    scaled = preprocessing.apply(preprocessing.fit("standardize", x), x)
    np.testing.assert_array_equal(scaled, 0.0)
    x = np.array([[0.0, 0.0], [3e200, 4e200], [3e-200, -4e-200]])
    scaled = preprocessing.apply(preprocessing.fit("l2_normalize", x), x)
    expected = np.float32([[0, 0], [0.6, 0.8], [0.6, -0.8]])
    np.testing.assert_allclose(scaled, expected, rtol=6e-8)
    x = np.arange(6.0).reshape(3, 2) * 1e39  # beyond float32, until it is scaled
    assert np.abs(preprocessing.apply(preprocessing.fit("mean_range", x), x)).max() <= 1


@pytest.mark.parametrize("name", KINDS)
def test_round_trip_through_a_file_keeps_every_bit(name, tmp_path):
    fitted = preprocessing.fit(name, integers(np.float32) / np.float32(7))
    arrays, metadata = preprocessing.to_arrays(fitted)
    path = tmp_path / "selected.safetensors"
    tensors = {"W": np.ones((4, 2)), **arrays}
    directory.write(path, (tensors, {"loss": "hinge", **metadata}))
    back = preprocessing.from_arrays(*directory.read(path))
    assert back.name == name
    for statistic, kept in zip(back[1:], fitted[1:], strict=True):
        assert np.array_equal(statistic, kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing.shift": None}, "expected preprocessing.shift"),
        ({"preprocessing.scale": np.zeros(4)}, "expected positive"),
        ({"preprocessing.scale": np.ones(3)}, r"scale \(3,\)"),
        ({"preprocessing.shift": np.full(4, np.nan)}, "expected finite float64"),
        ({"preprocessing.shift": np.ones(4, np.float32)}, "found float32"),
        ({"preprocessing.axes": None}, "expected .*preprocessing.axes"),
        ({"preprocessing.axes": np.ones((4, 2))}, r"axes \(4, 2\) for pca:3"),
        ({"preprocessing.axes": np.ones(4)}, r"axes \(4,\) for pca:3"),
        ({"preprocessing": None}, "metadata 'preprocessing'"),
        ({"preprocessing": "zca"}, "'zca', expected one of none"),
    ],
)
def test_refuses_statistics_that_fit_could_not_return(changes, message):
    fitted = preprocessing.fit("pca:3", integers(np.float32))
    arrays, metadata = preprocessing.to_arrays(fitted)
    for key, value in changes.items():
        stored = metadata if key in metadata else arrays
        del stored[key]
        stored |= {} if value is None else {key: value}
    with pytest.raises(ValueError, match=message):
        preprocessing.from_arrays(arrays, metadata)


@pytest.mark.parametrize(
    ("name", "x", "other", "message"),
    [
        ("zca", np.ones((2, 2)), None, r"'zca', expected one of none.*pca:K, whiten"),
        ("none", [[1.0], [np.nan]], None, r"x_train\[1, 0\] = nan"),
        ("standardize", [[1e300], [-1e300]], None, "standardize statistics"),
        ("none", [[0.0, 0]], [[0.0, 0, 0]], "found 3 columns, e"),
        ("none", [[1e39]], [[1e39]], r"x after none\[0, 0\] = inf"),
        ("standardize", [[0.0], [1e-30]], [[1e10]], r"after standardize\[0, 0\] = inf"),
    ],
)
def test_refuses_bad_features(name, x, other, message):
    with pytest.raises(ValueError, match=message):
        preprocessing.apply(preprocessing.fit(name, np.array(x)), np.array(other))


@pytest.mark.parametrize("name", ["none", "standardize", "whiten"])
def test_bytes_are_never_in_float64_as_a_whole(name, monkeypatch):
    monkeypatch.setattr(statistics, "_ENTRIES", 2**14)
    x = np.tile(integers(np.uint8), (10_000, 1))
    whole = 8 * x.size
    tracemalloc.start()
    try:
        fitted = preprocessing.fit(name, x)
        assert tracemalloc.get_traced_memory()[1] < 0.1 * whole
        tracemalloc.reset_peak()
        scaled = preprocessing.apply(fitted, x)
        # The check of the results takes a byte for each of them.
        assert tracemalloc.get_traced_memory()[1] < scaled.nbytes + 0.25 * whole
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["pca", "pca:", "pca:0", "pca:03", "pca:-1", "pca:x"])
def test_a_number_of_axes_is_checked(name):
    with pytest.raises(ValueError, match=f"found preprocessing {name!r}, expected"):
        preprocessing.validate(name)
