"""Shots: as many of each class as asked for, nested, by seed, and refusals."""

import numpy as np
import pytest

from linclf_jax.selection import shots

LABELS = np.random.default_rng(0).permutation(np.arange(60) % 4)


def test_every_class_has_as_many_rows_as_asked_for():
    dealt = shots.deal(LABELS, 5, seed=3)
    assert dealt.tolist() == sorted(set(dealt.tolist()))
    assert np.bincount(LABELS[dealt]).tolist() == [5] * 4


def test_few_shots_are_among_more_of_the_same_seed():
    few, more = (set(shots.deal(LABELS, k, seed=1).tolist()) for k in (2, 7))
    assert few < more


def test_seeds_deal_other_rows_and_the_same_seed_the_same():
    draws = [shots.deal(LABELS, 5, seed=seed).tolist() for seed in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]


def test_the_order_of_a_seed_is_that_of_every_platform():
    # Of NumPy's raw PCG64 stream, which is the same everywhere.
    keys = np.random.PCG64([0, 2]).random_raw(60)
    rows = np.flatnonzero(LABELS == 3)
    expected = sorted(rows, key=lambda row: keys[row])[:2]
    dealt = shots.deal(LABELS, 2, seed=0)
    assert set(dealt[LABELS[dealt] == 3]) == set(expected)


def test_masks_have_the_seeds_of_a_number_side_by_side():
    masks = shots.masks(LABELS, (1, 3), (0, 1, 2))
    assert masks.shape == (6, 60)
    assert masks.sum(axis=1).tolist() == [4] * 3 + [12] * 3
    for lane, (count, seed) in enumerate([(1, 0), (1, 1), (1, 2), (3, 0)]):
        dealt = shots.deal(LABELS, count, seed=seed)
        assert np.flatnonzero(masks[lane]).tolist() == dealt.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: shots.deal(LABELS, 16, seed=0),
            "--shots is 16; .* fewer has 0 .15 rows.*: lower --shots",
        ),
        (lambda: shots.deal(LABELS, 1, seed=-1), "seed is -1"),
        (lambda: shots.validate((0,), 1), "--shots is 0; expected numbers of at leas"),
        (lambda: shots.validate((5, 5), 1), "--shots is 5,5; .*no repetition"),
        (lambda: shots.validate((5,), 0), "--draws is 0; expected at least 1"),
    ],
)
def test_numbers_that_nobody_can_deal_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
