"""The folds of a cross-validation: every row once, every class evenly, for ever."""

import numpy as np
import pytest

from linclf_jax import folds

# Of seed 7: whoever changes these changes every result that was ever reported.
PINNED_FOLDS = [1, 1, 0, 2, 0, 1, 2, 0, 2, 2, 1, 0]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_folds_hold_every_row_once_and_each_class_evenly(count):
    rng = np.random.default_rng(count)
    labels = rng.choice(4, 150, p=[0.1, 0.2, 0.3, 0.4])
    dealt = folds.deal(labels, count, seed=3)
    assert (dealt.shape, dealt.dtype) == ((150,), np.int32)
    assert set(dealt.tolist()) == set(range(count))
    for label in range(4):
        sizes = np.bincount(dealt[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(dealt)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(dealt, folds.deal(labels, count, seed=3))
    assert not np.array_equal(dealt, folds.deal(labels, count, seed=4))


def test_a_seed_names_the_same_folds_for_ever():
    dealt = folds.deal(np.arange(12) % 2, 3, seed=7)
    assert dealt.tolist() == PINNED_FOLDS


def test_folds_do_not_follow_the_split_of_the_same_seed():
    """Else a fold would hold what the split ordered next to each other."""
    keys = np.random.PCG64(0).random_raw(60)
    by_split = np.empty(60, int)
    by_split[np.argsort(keys)] = np.arange(60) % 3
    assert not np.array_equal(by_split, folds.deal(np.zeros(60, int), 3, seed=0))


def test_refuses_more_folds_than_a_class_has_rows():
    labels = np.array([0] * 9 + [1] * 3)
    folds.deal(labels, 3, seed=0)
    with pytest.raises(ValueError, match=r"^count is 4; class 1 has 3 rows"):
        folds.deal(labels, 4, seed=0)
    with pytest.raises(ValueError, match=r"^--folds is 4; class 1 has 3 rows"):
        folds.deal(labels, 4, seed=0, name="--folds")


def test_refuses_a_single_fold():
    with pytest.raises(ValueError, match=r"^count is 1; expected at least 2"):
        folds.deal(np.zeros(3, int), 1, seed=0)
