"""How rows are held out: which fits are compared, and on which rows."""

import numpy as np
import pytest

from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import resampling
from linclf_jax.selection.folds import NOT_HELD_OUT

LABELS = np.array([0, 1, 2, 0, 1, 0, 1, 3])  # the only rows of 2 and 3 are alone
FOLD = np.array([0, 1, NOT_HELD_OUT, 1, 0, 2, 2, NOT_HELD_OUT])
ALONE = np.isin(LABELS, (2, 3))


def draw_of(rows, shots, *, num_features=2, num_classes=2):
    sizes = {"num_features": num_features, "num_classes": num_classes}
    return resampling.of_draw(rows, LABELS, shots=shots, seed=3, **sizes)


def held_out_by(one):
    """Returns which fit holds each row out, or ``NOT_HELD_OUT``."""
    held_out = one.held_out
    return np.where(held_out.any(axis=0), held_out.argmax(axis=0), NOT_HELD_OUT)


def test_folds_hold_each_row_out_once_and_train_on_the_others():
    by_folds = resampling.of_folds(FOLD)
    assert by_folds.kind == resampling.FOLDS
    fits = resampling.compared_fits([by_folds])
    assert [(fit.group, fit.fold, fit.is_final) for fit in fits] == [
        (0, fold, False) for fold in range(3)
    ]
    for fit in fits:
        assert fit.train.tolist() == (fit.fold != FOLD).tolist()
    assert by_folds.compared.tolist() == (~ALONE).tolist()
    np.testing.assert_array_equal(held_out_by(by_folds), FOLD)
    final = resampling.final_fit(0, by_folds)
    assert (final.fold, final.is_final, final.train.all()) == (None, True, True)


def test_a_single_fold_is_a_split():
    fold = np.where(FOLD == 1, 0, NOT_HELD_OUT)
    split = resampling.of_folds(fold)
    (fit,) = resampling.compared_fits([split])
    assert (split.kind, fit.fold) == (resampling.SPLIT, None)
    assert fit.train.tolist() == (FOLD != 1).tolist()
    np.testing.assert_array_equal(held_out_by(split), fold)


def test_leave_one_out_fits_all_rows_and_compares_those_that_it_can_spare():
    by_row = resampling.of_leave_one_out(LABELS)
    (fit,) = resampling.compared_fits([by_row])
    assert (by_row.kind, fit.fold) == (resampling.LEAVE_ONE_OUT, None)
    assert fit.train.all()
    assert by_row.compared.tolist() == (~ALONE).tolist()
    assert not by_row.held_out.any()


def test_a_draw_of_one_shot_can_spare_no_row():
    rows = np.arange(8) < 2
    alone = draw_of(rows, 1)
    assert (alone.kind, alone.compared.any()) == (None, False)
    assert (alone.shots, alone.seed) == (1, 3)
    (fit,) = resampling.compared_fits([alone])
    assert fit.train.tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        ({}, "leave_one_out"),
        # Six rows have six unknowns to each class but one, a single feature two.
        ({"num_features": 999, "num_classes": 401}, "folds"),
        ({"num_features": 999, "num_classes": 334}, "leave_one_out"),
        ({"num_features": 1, "num_classes": 1001}, "leave_one_out"),
        ({"num_features": 1, "num_classes": 1002}, "folds"),
    ],
)
def test_a_draw_too_large_for_the_estimate_has_folds(sizes, kind):
    rows = ~ALONE
    draw = draw_of(rows, 3, **sizes)
    assert draw.kind == kind
    assert draw.compared.tolist() == rows.tolist()
    for fit in resampling.compared_fits([draw]):
        assert not fit.train[ALONE].any()
    if kind == "folds":
        fold = folds_lib.assign(LABELS[rows], 3, seed=3)
        np.testing.assert_array_equal(held_out_by(draw)[rows], fold)
    assert resampling.final_fit(0, draw).train.tolist() == rows.tolist()


def test_a_draw_has_five_folds_at_most():
    labels = np.repeat([0, 1], 7)
    sizes = {"num_features": 2, "num_classes": 5000}
    draw = resampling.of_draw(labels >= 0, labels, shots=7, seed=0, **sizes)
    assert draw.held_out.shape == (5, 14)


def test_fits_of_one_resampling_stand_side_by_side():
    draws = [resampling.of_folds(FOLD), draw_of(~ALONE, 3), draw_of(ALONE, 1)]
    fits = resampling.compared_fits(draws)
    assert [(fit.group, fit.fold) for fit in fits] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, None),
        (2, None),
    ]


def test_folds_of_rows_are_assigned_or_taken_as_they_are():
    labels = np.arange(12) % 2
    np.testing.assert_array_equal(
        resampling.fold_of_rows(labels, 3, seed=7), folds_lib.assign(labels, 3, seed=7)
    )
    fold = [0, 1, NOT_HELD_OUT, *[1] * 9]
    assert resampling.fold_of_rows(labels, fold, seed=0).tolist() == fold
