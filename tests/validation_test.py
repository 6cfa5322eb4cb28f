"""What the edge refuses, and that each message says what, where and what else."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import validation
from linclf_jax.params import Params

X = np.ones((4, 3))
LABELS = np.array([0, 1, 2, 0])


def spoilt(array, *places):
    """Returns a copy of ``array`` with a value put at each (index, value)."""
    array = np.array(array)
    for index, value in places:
        array[index] = value
    return array


def refuses(check, *args, says, **kwargs):
    """Asserts that ``check`` raises ValueError with each of ``says`` in its message."""
    with pytest.raises(ValueError, match=re.escape(says[0])) as error:
        check(*args, **kwargs)
    for part in says:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.ones(3), ["shape (3,)", "expected (N, D)"]),
        (np.ones((2, 3, 1)), ["shape (2, 3, 1)", "expected (N, D)"]),
        (np.ones((0, 3)), ["shape (0, 3)", "no data"]),
        (np.ones((3, 0)), ["shape (3, 0)", "no data"]),
        (X.astype(object), ["dtype object", "expected numbers"]),
        (X.astype(str), ["dtype <U", "expected numbers"]),
        (X.astype(complex), ["dtype complex128", "expected numbers"]),
        (X > 0, ["dtype bool", "expected numbers"]),
        (X.astype("m8[s]"), ["dtype timedelta64[s]", "expected numbers"]),
        (
            spoilt(X, ((1, 2), np.nan), ((3, 0), np.inf)),
            ["2 of 12", "x[1, 2] = nan", "expected finite numbers"],
        ),
        (spoilt(X, ((2, 1), -np.inf)), ["1 of 12", "x[2, 1] = -inf"]),
        (spoilt(X.astype("f2"), ((0, 0), np.nan)), ["1 of 12", "x[0, 0] = nan"]),
        (jnp.full((1, 1), jnp.inf, jnp.bfloat16), ["1 of 1", "x[0, 0] = inf"]),
    ],
)
def test_bad_features_are_refused(x, says):
    refuses(validation.validate_features, x, says=says)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int64", "float16", "float32", "float64", jnp.bfloat16]
)
def test_every_number_is_a_feature(dtype):
    validation.validate_features(jnp.ones((2, 3), dtype))
    validation.validate_features(np.ones((2, 3), dtype))


def test_messages_use_the_name_that_they_are_given():
    says = ["num_classes is 0", "expected at least 1"]
    refuses(validation.validate_labels, LABELS, 0, says=says)
    refuses(validation.validate_features, np.ones(2), name="probe", says=["probe has"])
    refuses(validation.validate_labels, [7], 2, name="y", says=["y: 1", "y[0] = 7"])
    refuses(validation.validate_weights, [0.0], 1, name="w", says=["w are all 0"])
    refuses(validation.validate_seed, -1, name="--seed", says=["--seed is -1"])


TARGETS = np.array([[1, 0, -1], [-1, -1, -1]])
SHARES = np.array([[1.0, 0.3, np.nan], [0.0, np.nan, np.nan]])


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (TARGETS[0], ["targets has shape (3,)", "expected (N, 3)"]),
        (TARGETS[:, :2], ["shape (2, 2)", "expected (N, 3)"]),
        (TARGETS.astype(str), ["dtype <U", "expected numbers"]),
        (spoilt(TARGETS, ((0, 1), -2), ((1, 2), 2)), ["2 of 6", "[0, 1] = -2", "-1"]),
        (np.full((1, 3), 255, "uint8"), ["3 of 3", "[0, 0] = 255", "0 or 1"]),
        (spoilt(SHARES, ((1, 1), -1.0)), ["[1, 1] = -1.0", "NaN for unknown"]),
        (spoilt(SHARES, ((0, 2), 1.5)), ["[0, 2] = 1.5; expected numbers from 0 to 1"]),
        (TARGETS[1:], ["targets are all unknown", "at least one"]),
        (SHARES[1:, 1:].repeat(2, axis=1)[:, :3], ["targets are all unknown"]),
    ],
)
def test_bad_targets_are_refused(targets, says):
    refuses(validation.validate_targets, targets, 3, says=says)


@pytest.mark.parametrize(
    "targets", [TARGETS, SHARES, SHARES.astype(jnp.bfloat16), TARGETS > 0]
)
def test_targets_may_be_unknown_in_part(targets):
    validation.validate_targets(targets, 3)
    validation.validate_batch(X[:2], targets, 3, targets=True)
    with pytest.raises(ValueError, match=r"labels has shape \(2, 3\); expected \(N,\)"):
        validation.validate_batch(X[:2], targets, 3)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((2, 1), int), ["shape (2, 1)", "expected (N,)"]),
        (3, ["shape ()", "expected (N,)"]),
        (np.array([], int), ["empty", "at least one"]),
        (np.array([0.0, 1.0]), ["dtype float64", "expected integers in 0..2"]),
        (np.array([True, False]), ["dtype bool", "expected integers in 0..2"]),
        (LABELS.astype(object), ["dtype object", "expected integers in 0..2"]),
        (np.array(["a", "b"]), ["dtype <U1", "expected integers in 0..2"]),
        (LABELS.astype("m8[s]"), ["dtype timedelta64[s]", "expected integers in 0..2"]),
        ([0, 1, 3, 0, -1], ["2 of 5", "labels[2] = 3", "expected integers in 0..2"]),
        ([0, -3], ["1 of 2", "labels[1] = -3"]),
        (np.array([1, 2**32]), ["1 of 2", "labels[1] = 4294967296"]),
        (np.array([2**64 - 1], "uint64"), [f"labels[0] = {2**64 - 1}"]),
    ],
)
def test_bad_labels_are_refused(labels, says):
    refuses(validation.validate_labels, labels, 3, says=says)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_every_integer_is_a_label(dtype):
    validation.validate_labels(LABELS.astype(dtype), 3)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.ones(3), ["shape (3,)", "expected (4,)"]),
        (np.ones((4, 1)), ["shape (4, 1)", "expected (4,)"]),
        (1.0, ["shape ()", "expected (4,)"]),
        ([1.0, -0.5, np.nan, 1.0], ["2 of 4", "weights[1] = -0.5", "at least 0"]),
        ([1.0, 1.0, np.inf, 1.0], ["1 of 4", "weights[2] = inf", "finite"]),
        (np.zeros(4), ["all 0", "expected at least one above 0"]),
        (["1", "1", "1", "1"], ["dtype <U1", "expected numbers"]),
        (np.ones(4, object), ["dtype object", "expected numbers"]),
        (np.ones(4, complex), ["dtype complex128", "expected numbers"]),
    ],
)
def test_bad_weights_are_refused(weights, says):
    refuses(validation.validate_weights, weights, 4, says=says)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32", jnp.bfloat16])
def test_weights_may_be_a_mask_or_counts(dtype):
    validation.validate_weights(jnp.array([1, 0, 1, 1]).astype(dtype), 4)


def test_a_good_batch_passes():
    validation.validate_batch(X, LABELS, 3)
    validation.validate_batch(jnp.asarray(X), jnp.asarray(LABELS), 3)
    validation.validate_batch(X, LABELS, 3, weights=np.ones(4))
    validation.validate_batch(X[:1], LABELS[:1], 1)


def test_rows_are_counted_across_blocks(monkeypatch):
    monkeypatch.setattr(validation, "_BLOCK", 6)  # two rows
    x = spoilt(X, ((2, 1), np.inf), ((3, 0), np.nan))
    says = ["x: 2 of 12", "x[2, 1] = inf"]
    refuses(validation.validate_features, x, says=says)
    refuses(validation.validate_features, x, start=10, says=["x[12, 1]"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": X[:3]}, ["x has 3 rows", "labels has 4"]),
        ({"labels": LABELS[:3]}, ["x has 4 rows", "labels has 3"]),
        ({"x": spoilt(X, ((0, 1), np.nan))}, ["x[0, 1] = nan"]),
        ({"labels": LABELS + 1}, ["1 of 4", "labels[2] = 3"]),
        ({"weights": np.ones(5)}, ["shape (5,)", "expected (4,)"]),
        ({"weights": np.zeros(4)}, ["all 0"]),
    ],
)
def test_a_bad_batch_is_refused(change, says):
    batch = {"x": X, "labels": LABELS, "weights": np.ones(4)} | change
    refuses(validation.validate_batch, num_classes=3, says=says, **batch)


@pytest.mark.parametrize(
    ("W", "b", "says"),
    [
        (np.ones((2, 3)), np.ones(3), ["W has shape (2, 3)", "(3, C)", "3 columns"]),
        (np.ones(3), np.ones(3), ["W has shape (3,)", "(3, C)"]),
        (np.ones((3, 0)), np.ones(0), ["W has shape (3, 0)", "at least one class"]),
        (np.ones((3, 2)), np.ones(3), ["b has shape (3,)", "expected (2,)"]),
        (np.ones((3, 2)), np.ones((1, 2)), ["b has shape (1, 2)", "expected (2,)"]),
        (np.ones((3, 2), int), np.ones(2), ["W has dtype int64", "floating"]),
        (np.ones((3, 2)), np.ones(2, bool), ["b has dtype bool", "floating"]),
    ],
)
def test_bad_params_are_refused(W, b, says):
    refuses(validation.validate_params, Params(W, b), X, says=says)
    for dtype in ("float16", "float32", "float64", jnp.bfloat16):
        params = Params(jnp.ones((3, 2), dtype), jnp.ones(2, dtype))
        validation.validate_params(params, X)
    for x in (np.float64(3.0), np.ones(3)):
        says = ["x has shape", "expected (N, D)"]
        refuses(validation.validate_params, params, x, says=says)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(5), np.uint32(2**32 - 1)])
def test_seeds_of_uint32_pass(seed):
    validation.validate_seed(seed)


@pytest.mark.parametrize(
    "seed", [-1, 2**32, np.int64(-1), 1.0, "1", True, np.True_, None, np.float32(1)]
)
def test_other_seeds_are_refused(seed):
    shown = str(seed) if isinstance(seed, int | np.integer) else repr(seed)
    says = [f"seed is {shown}", "expected an integer in 0..4294967295"]
    refuses(validation.validate_seed, seed, says=says)
