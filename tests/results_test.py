"""Rows of results: what their columns mean, and their order."""

import math

import pytest

from linclf_jax import results

ROWS = [
    {"lane": 0, "status": "ok", "val_loss": 0.1, "val_accuracy": 0.8},
    {"lane": 1, "status": "ok", "val_loss": 0.2, "val_accuracy": 0.9},
    {"lane": 2, "status": "ok", "val_loss": 0.1, "val_accuracy": 0.9},
    {"lane": 3, "status": "diverged", "val_loss": 0.0, "val_accuracy": 1.0},
    {"lane": 4, "status": "ok", "val_loss": None, "val_accuracy": 0.9},
    {"lane": 5, "status": "ok", "val_loss": math.nan, "val_accuracy": 0.9},
]


@pytest.mark.parametrize(
    ("by", "order"),
    [("val_loss", [2, 0, 1, 4, 5]), ("val_accuracy", [2, 1, 4, 5, 0])],
)
def test_best_first_with_ties_broken_and_the_diverged_left_out(by, order):
    assert [row["lane"] for row in results.rank(ROWS, by=by)] == order
    assert [row["lane"] for row in results.rank(ROWS[::-1], by=by)] == order


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="'loss'; expected one of val_loss"):
        results.rank(ROWS, by="loss")


def test_diverged_lanes():
    assert results.diverged(ROWS) == [3]


def test_varying_settings_leave_out_what_is_unused_or_equal():
    rows = [
        {"lane": 0, "optimizer": "sgd", "l2": 0.1, "momentum": None, "val_loss": 1.0},
        {"lane": 1, "optimizer": "adam", "l2": 0.1, "momentum": 0.9, "val_loss": 2.0},
    ]
    assert results.varying(rows) == ["optimizer"]
    assert results.varying([{**row, "seed": row["lane"]} for row in rows]) == [
        "optimizer",
        "seed",
    ]
    assert results.varying([]) == []
