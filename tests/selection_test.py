"""The choice of a lane, on rows made by hand."""

import pytest

from linclf_jax import results
from linclf_jax.fit import selection


def row(lane, val_loss, val_accuracy, *, status="ok", **settings):
    return {
        "lane": lane,
        "status": status,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
        "learning_rate": 0.1,
        "l2": 0.0,
        **settings,
    }


ROWS = [row(0, 0.5, 0.8), row(1, 0.3, 0.7), row(2, 0.4, 0.9), row(3, 0.4, 0.8)]


@pytest.mark.parametrize(
    ("by", "order"), [("val_loss", [1, 2, 3, 0]), ("val_accuracy", [2, 3, 0, 1])]
)
def test_the_best_wins_and_the_other_score_breaks_ties(by, order):
    assert selection.choose(ROWS, by=by, axes={}).lane == order[0]
    assert selection.choose(ROWS[::-1], by=by, axes={}).lane == order[0]


@pytest.mark.parametrize("score", [0.0, -1.0, None, float("nan")])
def test_a_diverged_lane_never_wins(score):
    rows = [*ROWS, row(4, score, 1.0, status="diverged")]
    for by in results.CRITERIA:
        assert selection.choose(rows, by=by, axes={}).lane != 4
    choice = selection.choose(rows, by="val_loss", axes={})
    assert choice.warnings == ("1 of 5 lanes diverged and were not eligible",)


def test_all_diverged_is_an_error():
    rows = [row(0, None, None, status="diverged")]
    with pytest.raises(ValueError, match="all 1 lanes diverged"):
        selection.choose(rows, by="val_loss", axes={})


def test_exact_ties_are_named_and_the_first_lane_wins():
    rows = [row(7, 0.3, 0.9), row(2, 0.3, 0.9), row(5, 0.3, 0.8)]
    choice = selection.choose(rows, by="val_loss", axes={})
    assert choice.lane == 2
    assert choice.ties == (7,)


@pytest.mark.parametrize(
    ("rate", "warned"), [(0.1, "smallest"), (1.0, None), (10.0, "largest")]
)
def test_the_best_value_at_an_edge_is_a_warning(rate, warned):
    rows = [row(0, 0.1, 0.9, learning_rate=rate)]
    axes = {"learning_rate": (0.1, 1.0, 10.0)}
    warnings = selection.choose(rows, by="val_loss", axes=axes).warnings
    if warned is None:
        assert warnings == ()
    else:
        assert len(warnings) == 1
        assert f"learning_rate, {rate:g}, is the {warned}" in warnings[0]
        assert "--learning_rate" in warnings[0]


def test_no_warning_where_nothing_lies_beyond():
    rows = [row(0, 0.1, 0.9, l2=0.0, momentum=None)]
    axes = {"l2": (0.0, 0.1), "learning_rate": (0.1,), "momentum": (0.5, 0.9)}
    assert selection.choose(rows, by="val_loss", axes=axes).warnings == ()


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="'test_loss'; expected one of val_loss"):
        selection.choose(ROWS, by="test_loss", axes={})
