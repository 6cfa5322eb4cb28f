"""--C in place of --l2: the same penalties in another unit."""

import math

import numpy as np
import pytest

from linclf_jax.config import flat, penalty, search_space
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.training import search_space as space
from linclf_jax.training.search_space import Range

SIZE = {"num_rows": 90, "num_classes": 3}


def to_l2(C, **size):
    return penalty.to_l2(Penalty("C", C), **{**SIZE, **size})


def candidates(**changes):
    size = {name: changes.pop(name, value) for name, value in SIZE.items()}
    config = flat.build(SweepConfig(), {"batch_size": (16,), **changes})
    return search_space.candidates(config, **size)


def test_values_become_l2_in_their_order():
    assert to_l2((1.0, 0.1, math.inf)) == (1 / 90, 1 / 9, 0.0)
    assert to_l2((1.0,), num_classes=2) == (2 / 90,)
    # Even in C is uneven in l2.
    values = to_l2(Range("lin", 1.0, 3.0, 3))
    np.testing.assert_allclose(values, [1 / 90, 1 / 180, 1 / 270], rtol=1e-15)


def test_a_range_of_logarithms_stays_one():
    axis = to_l2(Range("log", 1e-2, 1e2, 5))
    assert axis == Range("log", 1 / 0.9, 1 / 9000, 5)
    expected = to_l2((1e-2, 1e-1, 1.0, 1e1, 1e2))
    np.testing.assert_allclose(space.values(axis), expected, rtol=1e-14)


def test_exact_fits_go_from_the_largest_penalty():
    l2s = penalty.descending(Penalty("C", (0.1, 10.0, 1.0, math.inf)), **SIZE)
    assert l2s.dtype == np.float64
    assert l2s.tolist() == [1 / 9, 1 / 90, 1 / 900, 0.0]


@pytest.mark.parametrize(
    ("unit", "axis", "message"),
    [
        ("C", (0.0,), "--C holds 0; expected above 0"),
        ("C", (1.0, -1e-50), "--C holds -1e-50; expected above 0"),
        ("C", (math.nan,), "--C holds nan; expected above 0"),
        ("C", (1e-45,), r"--C holds 1e-45, as l2 out of range: --l2 holds 1\.1+e\+43"),
        ("C", (1.0, 1 + 1e-9), "--C has 2 values, 1 of them distinct as l2"),
        ("C", (), "--C has 0 values"),
        ("l2", (), "--l2 has 0 values"),
        ("l2", (1.0, 1.0), "--l2 has 2 values, 1 of them distinct"),
        ("l2", (-1.0,), "--l2 holds -1; expected at least 0"),
        ("alpha", (1.0,), "the unit .* is 'alpha'; expected one of l2, C"),
    ],
)
def test_what_is_no_strength_is_refused_by_its_flag(unit, axis, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        penalty.descending(Penalty(unit, axis), **SIZE)


@pytest.mark.parametrize("search", [{}, {"sample": 5}])
def test_candidates_by_either_flag_are_the_same(search):
    C = Range("log", 1e-2, 1e2, 4)
    assert candidates(C=C, **search) == candidates(l2=to_l2(C), **search)


def test_a_grid_of_a_file_may_be_in_the_other_unit():
    by_C = '{"grids": [{"C": [1, 10]}, {"l2": 0.5}, {"optimizer": "adam"}]}'
    by_l2 = (
        f'{{"grids": [{{"l2": [{1 / 90!r}, {1 / 900!r}]}}, {{"l2": 0.5}}, '
        f'{{"optimizer": "adam", "l2": {1 / 90!r}}}]}}'
    )
    assert candidates(C=(1.0,), grid_file=by_C) == candidates(grid_file=by_l2)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_separate_labels_are_a_regression_each(num_classes):
    size = {"num_classes": num_classes}
    sigmoid = {"loss": ("sigmoid_cross_entropy",), **size}
    alone = candidates(C=(1.0,), **sigmoid)
    assert alone == candidates(l2=(1 / 90,), **sigmoid)
    if num_classes == 2:
        assert to_l2((1.0,), **size) == (2 / 90,)
    else:  # the same l2 for both losses
        both = {"loss": ("sigmoid_cross_entropy", "softmax_cross_entropy"), **size}
        shared = {"metric": "val_accuracy", **both}
        assert candidates(C=(1.0,), **shared) == candidates(l2=(1 / 90,), **shared)


BOTH = ("softmax_cross_entropy", "sigmoid_cross_entropy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"C": (1.0,), "loss": BOTH, "num_classes": 2, "metric": "val_accuracy"},
            "--C is another l2 for each of --loss=softmax_cross_entropy and sigmoid",
        ),
        (
            {"C": (1.0,), "loss": ("weston_watkins_hinge",)},
            "--C is of logistic regression, which --loss=weston_watkins_hinge is not",
        ),
        (
            {"C": Range("lin", 1.0, 2.0, 3), "sample": 2},
            "--C is lin:1:2:3 to draw from, which is even in 1 / l2",
        ),
        ({"C": (1.0,), "l2": (1.0,)}, "of --l2 and --C both are given"),
        (
            {"grid_file": '{"grids": [{"C": 1, "l2": 0.5}]}'},
            "grid 1: of --l2 and --C both are given",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        candidates(**changes)
