"""The folds of a cross-validation: every row once, every class evenly, for ever."""

import numpy as np
import pytest

from linclf_jax.selection import folds

# Of seed 7: whoever changes these changes every result that was ever reported.
PINNED_FOLDS = [1, 1, 0, 2, 0, 1, 2, 0, 2, 2, 1, 0]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_folds_hold_every_row_once_and_each_class_evenly(count):
    rng = np.random.default_rng(count)
    labels = rng.choice(4, 150, p=[0.1, 0.2, 0.3, 0.4])
    fold = folds.assign(labels, count, seed=3)
    assert (fold.shape, fold.dtype) == ((150,), np.int32)
    assert set(fold.tolist()) == set(range(count))
    for label in range(4):
        sizes = np.bincount(fold[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, folds.assign(labels, count, seed=3))
    assert not np.array_equal(fold, folds.assign(labels, count, seed=4))


def test_a_seed_names_the_same_folds_for_ever():
    fold = folds.assign(np.arange(12) % 2, 3, seed=7)
    assert fold.tolist() == PINNED_FOLDS


def test_folds_do_not_follow_the_split_of_the_same_seed():
    """Else a fold would hold what the split ordered next to each other."""
    keys = np.random.PCG64(0).random_raw(60)
    by_split = np.empty(60, int)
    by_split[np.argsort(keys)] = np.arange(60) % 3
    assert not np.array_equal(by_split, folds.assign(np.zeros(60, int), 3, seed=0))


def test_a_class_of_fewer_rows_than_folds_is_held_out_by_some_of_them():
    labels = np.array([0] * 9 + [1] * 3 + [2] * 2)
    fold = folds.assign(labels, 5, seed=0)
    for label in range(3):
        own = fold[labels == label]
        assert own.min() >= 0
        # Each fold trains on some row of each class.
        assert all((own != other).any() for other in range(5))
    assert set(fold.tolist()) == set(range(5))


def test_the_only_row_of_a_class_is_in_training_in_every_fold():
    labels = np.array([0, 1, 0, 1, 2, 0, 3])
    fold = folds.assign(labels, 2, seed=1)
    assert (fold == folds.NOT_HELD_OUT).tolist() == (labels >= 2).tolist()
    assert folds.alone(labels).tolist() == (labels >= 2).tolist()
    # The others are fold as if they were all.
    assert set(fold[labels < 2].tolist()) == {0, 1}


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.uint64])
def test_classes_that_are_never_held_out_are_named_and_counted(dtype):
    labels = np.array([0, 0, 0, 1, 2, 3, 4, 4], dtype)
    held_out = folds.assign(labels, 2, seed=0) != folds.NOT_HELD_OUT
    assert folds.warning(labels, held_out) == (
        "held-out scores contain no row of 3 classes, which stay in training: "
        "1 (1 row), 2 (1 row), 3 (1 row)"
    )
    said = folds.warning(labels, held_out & (labels != 4), tuple("abcde"))
    assert said is not None
    assert said.endswith(": b (1 row), c (1 row), d (1 row) and 1 more")
    assert folds.warning(labels[:3], np.ones(3, bool)) is None


def test_refuses_a_single_fold_and_more_than_rows_that_can_be_held_out():
    labels = np.array([0] * 2 + [1] * 2 + [2])
    folds.assign(labels, 4, seed=0)
    with pytest.raises(ValueError, match=r"^count is 5; 4 rows are of .*lower count$"):
        folds.assign(labels, 5, seed=0)
    with pytest.raises(ValueError, match=r"^count is 1; expected at least 2"):
        folds.assign(labels, 1, seed=0)
    with pytest.raises(ValueError, match=r"^--folds is 5; .*: lower --folds$"):
        folds.assign(labels, 5, seed=0, name="--folds")
