"""Shots: as many of each class as asked for, nested, by seed, and refusals."""

import numpy as np
import pytest

from linclf_jax.selection import shots

LABELS = np.random.default_rng(0).permutation(np.arange(60) % 4)


def test_shots_are_the_first_rows_of_each_class_in_the_order_of_a_seed():
    # Of NumPy's raw PCG64 stream, which is the same on every platform.
    for seed in range(2):
        keys = np.random.PCG64([seed, 2]).random_raw(60)
        for count in (1, 5, 15):
            drawn = shots.draw(LABELS, count, seed=seed)
            assert (drawn.shape, drawn.dtype) == ((60,), bool)
            for label in range(4):
                rows = np.flatnonzero(label == LABELS)
                expected = sorted(rows, key=lambda row: keys[row])[:count]
                assert np.flatnonzero(drawn & (label == LABELS)).tolist() == sorted(
                    expected
                )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: shots.draw(LABELS, 16, seed=0),
            "--shots is 16; .* fewer has 0 .15 rows.*: lower --shots",
        ),
        (lambda: shots.draw(LABELS, 1, seed=-1), "seed is -1"),
        (lambda: shots.validate((0,), 1), "--shots is 0; expected numbers of at leas"),
        (lambda: shots.validate((5, 5), 1), "--shots is 5,5; .*no repetition"),
        (lambda: shots.validate((5,), 0), "--draws is 0; expected at least 1"),
    ],
)
def test_numbers_that_nobody_can_draw_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
