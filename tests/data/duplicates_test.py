"""Rows that are in two splits: against a comparison of all pairs."""

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.data import duplicates


def by_pairs(x, labels, fold):
    """Returns the masks of ``across``, by comparing the bytes of every pair."""
    content = np.array([row.tobytes() for row in np.ascontiguousarray(x)], object)
    equal = content[:, None] == content[None, :]
    pairs = equal & (fold[:, None] != fold) & (fold[:, None] != duplicates.FITTED)
    same_label = (pairs & (labels[:, None] == labels)).any(axis=1)
    return pairs.any(axis=1), pairs.any(axis=1) & ~same_label


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_and_labels_are_those_of_all_pairs(kind, order):
    rng = np.random.default_rng(3)
    # Few values, so that many rows are equal, in and between folds.
    x = np.asarray(rng.integers(0, 3, (120, 3)).astype(jnp.dtype(kind)), order=order)
    labels, fold = rng.integers(0, 3, 120), rng.integers(-1, 3, 120)
    both = duplicates.across(x, labels, fold)
    rows, another = by_pairs(x, labels, fold)
    np.testing.assert_array_equal(both, (rows, another))
    assert 0 < another.sum() < rows.sum() < 120
    expected = (rows.sum(), another.sum(), np.count_nonzero(fold >= 0))
    assert duplicates.counts(both, fold) == expected


def test_between_is_across_of_both_tables():
    rng = np.random.default_rng(4)
    x, labels = rng.integers(0, 3, (90, 3)), rng.integers(0, 2, 90)
    tables = [(x[:40], labels[:40]), (x[40:60], labels[40:60])]
    both = duplicates.between(tables, x[60:], labels[60:])
    fold = np.where(np.arange(90) < 60, duplicates.FITTED, 0)
    rows, another = by_pairs(x, labels, fold)
    np.testing.assert_array_equal(both, (rows[60:], another[60:]))
    assert duplicates.counts(both).size == 30


def test_leave_one_out_is_a_fold_a_row_and_fitted_rows_are_none():
    x, labels = np.array([[1.0], [2.0], [1.0]]), np.zeros(3, int)
    assert duplicates.across(x, labels, np.arange(3)).rows.tolist() == [1, 0, 1]
    assert not duplicates.across(x, labels, np.full(3, duplicates.FITTED)).rows.any()


@pytest.mark.parametrize(
    ("first", "second"),
    [("float32", "float64"), ("uint8", "float16"), ("bfloat16", "float16")],
)
def test_files_of_two_dtypes_are_compared_by_value(first, second):
    values = np.array([[0, 1], [2, 3], [4, 5]])
    labels = np.arange(3)
    x, other = values.astype(jnp.dtype(first)), values[::-1].astype(jnp.dtype(second))
    assert duplicates.between([(x, labels)], other, labels).rows.all()
    # A tenth is another number in every precision.
    x, other = np.array([[0.1]], np.float32), np.array([[0.1]])
    assert not duplicates.between([(x, labels[:1])], other, labels[:1]).rows.any()


def test_equal_means_equal_bytes():
    labels = np.zeros(1, int)
    minus, zero = np.array([[-0.0]]), np.array([[0.0]])
    assert not duplicates.between([(zero, labels)], minus, labels).rows.any()


def test_rows_of_many_blocks_and_maps_of_files_are_the_same(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 4))
    x[40:] = x[:10]
    labels = np.zeros(50, int)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(duplicates, "_BLOCK", 7 * 32)
    both = duplicates.between([(mapped[:40], labels[:40])], mapped[35:], labels[35:])
    assert both.rows.tolist() == [True] * 15
