"""Rows that stand in two splits: against a comparison of all pairs."""

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.data import datasets, duplicates


def by_pairs(x, labels, fold):
    """Returns what ``across`` should, by comparing the bytes of every pair."""
    content = [row.tobytes() for row in np.ascontiguousarray(x)]
    rows, another = [], []
    for i, own in enumerate(content):
        equal = [
            labels[j] == labels[i]
            for j, other in enumerate(content)
            if fold[i] != duplicates.FITTED and fold[j] != fold[i] and other == own
        ]
        rows.append(bool(equal))
        another.append(bool(equal) and not any(equal))
    return rows, another


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_and_labels_are_those_of_all_pairs(kind, order):
    rng = np.random.default_rng(3)
    # Few values, so that many rows are equal, in and between folds.
    x = np.asarray(rng.integers(0, 3, (120, 3)).astype(jnp.dtype(kind)), order=order)
    labels, fold = rng.integers(0, 3, 120), rng.integers(-1, 3, 120)
    found = duplicates.across(x, labels, fold)
    rows, another = by_pairs(x, labels, fold)
    assert found.rows.tolist() == rows
    assert found.another_label.tolist() == another
    assert 0 < sum(another) < sum(rows) < 120
    held_out = int(np.count_nonzero(fold >= 0))
    assert duplicates.counts(found, fold) == (sum(rows), sum(another), held_out)


def test_between_is_across_of_both_tables():
    rng = np.random.default_rng(4)
    x, labels = rng.integers(0, 3, (90, 3)), rng.integers(0, 2, 90)
    tables = [(x[:40], labels[:40]), (x[40:60], labels[40:60])]
    found = duplicates.between(tables, x[60:], labels[60:])
    fold = np.where(np.arange(90) < 60, duplicates.FITTED, 0)
    rows, another = by_pairs(x, labels, fold)
    assert found.rows.tolist() == rows[60:]
    assert found.another_label.tolist() == another[60:]
    assert duplicates.counts(found).size == 30


def test_leave_one_out_is_a_fold_a_row():
    x = np.array([[1.0], [2.0], [1.0]])
    found = duplicates.across(x, np.zeros(3, int), np.arange(3))
    assert found.rows.tolist() == [True, False, True]


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
    found = duplicates.between([(mapped[:40], labels[:40])], mapped[35:], labels[35:])
    assert found.rows.tolist() == [True] * 15


def test_no_row_is_held_out():
    found = duplicates.across(np.ones((4, 2)), np.zeros(4, int), np.full(4, -1))
    assert not found.rows.any()


def test_iris_has_one_row_twice():
    dataset = datasets.load("iris", split_seed=0)
    test = dataset.test.read()
    seen = [dataset.train[:2], dataset.validation[:2]]
    found = duplicates.between(seen, test.x, test.labels)
    rows = [row for part in seen for row in part[0].tolist()]
    assert found.rows.tolist() == [row in rows for row in test.x.tolist()]
    assert found.rows.sum() == 1
