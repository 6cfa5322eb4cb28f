"""Rows of results: what their columns mean, and their order."""

import math

import pytest

from linclf_jax.selection import ranking

ROWS = [
    {"trial": 0, "status": "ok", "val_loss": 0.1, "val_accuracy": 0.8},
    {"trial": 1, "status": "ok", "val_loss": 0.2, "val_accuracy": 0.9},
    {"trial": 2, "status": "ok", "val_loss": 0.1, "val_accuracy": 0.9},
    {"trial": 3, "status": "diverged", "val_loss": 0.0, "val_accuracy": 1.0},
    {"trial": 4, "status": "ok", "val_loss": None, "val_accuracy": 0.9},
    {"trial": 5, "status": "ok", "val_loss": math.nan, "val_accuracy": 0.9},
    {"trial": 6, "status": "retired", "val_loss": 0.0, "val_accuracy": 1.0},
]


@pytest.mark.parametrize(
    ("by", "order"),
    [("val_loss", [0, 2, 1, 4, 5]), ("val_accuracy", [2, 1, 4, 5, 0])],
)
def test_best_first_with_ties_broken_and_only_those_that_ended_well(by, order):
    assert [row["trial"] for row in ranking.rank(ROWS, by=by)] == order
    assert [row["trial"] for row in ranking.rank(ROWS[::-1], by=by)] == order


def test_the_spread_of_repeats():
    rows = [{"val_loss": value} for value in (0.1, 0.3, 0.8)]
    mean, sd, count = ranking.spread(rows, "val_loss")
    assert (mean, count) == (pytest.approx(0.4, abs=1e-15), 3)
    assert sd == pytest.approx(math.sqrt(0.13), abs=1e-15)
    assert ranking.spread(rows[:1], "val_loss") == (0.1, None, 1)
    # Their sum is no float32 and no float64 either; the mean is.
    huge = [{"val_loss": 1.5e308}, {"val_loss": 1.5e308}]
    assert ranking.spread(huge, "val_loss").mean == 1.5e308


def test_the_mean_does_not_depend_on_the_order_of_the_repeats():
    values = [{"val_loss": 0.1 * 3**i} for i in range(9)]
    means = {ranking.spread(values[i:] + values[:i], "val_loss").mean for i in range(9)}
    assert len(means) == 1


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="'loss'; expected one of val_loss"):
        ranking.rank(ROWS, by="loss")


def test_diverged_and_retired_lanes():
    assert ranking.diverged(ROWS) == [3]
    assert ranking.retired(ROWS) == [6]


def test_varying_settings_leave_out_what_is_unused_or_equal():
    rows = [
        {"trial": 0, "optimizer": "sgd", "l2": 0.1, "momentum": None, "val_loss": 1.0},
        {"trial": 1, "optimizer": "adam", "l2": 0.1, "momentum": 0.9, "val_loss": 2.0},
    ]
    assert ranking.varying(rows) == ["optimizer"]
    assert ranking.varying([{**row, "seed": row["trial"]} for row in rows]) == [
        "optimizer",
        "seed",
    ]
    assert ranking.varying([]) == []


def test_settings_are_ranked_by_the_mean_of_their_repeats():
    def repeat(lane, rate, seed, loss, accuracy, status="ok"):
        scores = {"val_loss": loss, "val_accuracy": accuracy, "status": status}
        return {"trial": lane, "rate": rate, "b1": None, "seed": seed, **scores}

    rows = [
        repeat(0, 0.1, 0, 0.1, 0.9),
        repeat(1, 0.2, 0, 0.3, 0.8),
        repeat(2, 0.1, 1, 0.7, 0.5),
        repeat(3, 0.2, 1, 0.3, 0.5),
        repeat(4, 0.3, 0, 0.0, 1.0),
        repeat(5, 0.3, 1, None, None, "diverged"),
        repeat(6, 0.4, 0, 0.0, 1.0),
        repeat(7, 0.4, 1, 0.0, 1.0, "retired"),
    ]
    for given in (rows, rows[::-1]):
        for by, order in (
            ("val_loss", [[1, 3], [0, 2]]),
            ("val_accuracy", [[0, 2], [1, 3]]),
        ):
            ranked = ranking.rank_settings(given, by=by)
            assert [[row["trial"] for row in group] for group in ranked] == order
    with pytest.raises(ValueError, match="'loss'; expected one of val_loss"):
        ranking.rank_settings(rows, by="loss")
    assert ranking.rank_settings([], by="val_loss") == []


def test_values_of_different_losses_break_no_tie():
    rows = [
        {
            **{"trial": lane, "loss": loss, "status": "ok", "seed": 0},
            **{"val_loss": value, "val_accuracy": 0.5},
        }
        for lane, loss, value in ((0, "hinge", 9.0), (1, "cross_entropy", 0.1))
    ]
    best, _ = ranking.rank_settings(rows, by="val_accuracy")
    assert best[0]["trial"] == 0  # the lower number, not the lower value
    assert ranking.rank(rows, by="val_accuracy") == rows
    same = [{**row, "loss": "hinge"} for row in rows]
    same = [{**row, "l2": row["trial"]} for row in same]
    best, _ = ranking.rank_settings(same, by="val_accuracy")
    assert best[0]["trial"] == 1
