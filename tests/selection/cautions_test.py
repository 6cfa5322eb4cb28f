"""What must be said with a selection, word by word."""

import pytest

from linclf_jax.selection import cautions, choose
from tests.selection.trial_rows import row


@pytest.mark.parametrize(
    ("rate", "end"), [(0.1, "smallest"), (1.0, None), (10.0, "largest")]
)
def test_the_best_value_at_an_edge(rate, end):
    rows = [
        row(n, 0.1 if value == rate else 0.2, learning_rate=value)
        for n, value in enumerate((0.1, 1.0, 10.0))
    ]
    options = {"metric": "val_loss", "flags": {"learning_rate": "rates"}}
    warnings = choose.select(rows, **options).warnings
    text = f"the best learning_rate, {rate:g}, is the {end} of the grid; widen --rates"
    assert warnings == (() if end is None else (text,))
    assert choose.select(rows, **options, edges=False).warnings == ()


def test_no_edge_where_nothing_lies_beyond():
    same = {"learning_rate": 0.1}
    rows = [row(0, 0.1, l2=0.0, **same), row(1, 0.2, l2=0.1, **same)]
    # Another optimizer's values are no axis of this one's.
    rows.append(row(2, 0.3, optimizer="adam", learning_rate=7.0))
    assert cautions.edges(rows, rows[0], {}) == []


def test_fits_that_did_not_end_well_are_counted_by_how_they_ended():
    rows = [
        row(n, 0.1, status=status, relative_gap=gap)
        for n, (status, gap) in enumerate(
            [
                ("converged", 1e-8),
                ("max_steps", 0.5),
                ("invalid", None),
                ("retired", None),
                ("stalled_at_precision", 2e-5),
                ("stalled_at_precision", 0.2),
            ]
        )
    ]
    assert cautions.endings(rows) == [
        "3 of 6 trials ended as invalid, max_steps, stalled_at_precision and were not "
        "eligible",
        "2 of 6 fits made no further progress in this arithmetic; what is known of "
        "them is a relative gap of up to 2.0e-01",
    ]
    assert cautions.endings(rows[:1]) == []
    (*_, stalled) = cautions.endings([{**rows[-1], "relative_gap": None}])
    assert stalled.endswith("what is known of them is no gap")


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (["retired"] * 2, "all 2 trials were retired early: others were better"),
        (
            ["diverged", "retired"],
            "1 of 2 trials diverged, others were retired early; lower --learning_rate",
        ),
        (["diverged"] * 2, "all 2 trials diverged; lower --learning_rate"),
        (
            ["max_steps"] * 2,
            "all 2 trials ended as max_steps; try larger penalties, or allow more "
            "steps",
        ),
        (
            ["ok", "diverged"],
            "1 of 2 trials diverged and no setting kept all its repeats; lower "
            "--learning_rate",
        ),
    ],
)
def test_why_there_is_nothing_to_choose(statuses, message):
    """In a group, halving may have retired all trials."""
    rows = [
        row(n, 0.5, status=status, learning_rate=0.1, seed=n)
        for n, status in enumerate(statuses)
    ]
    with pytest.raises(ValueError, match=f"^{message}$"):
        choose.select(rows, metric="val_loss")


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_without_a_finite_score_nothing_is_chosen(score):
    with pytest.raises(ValueError, match="no setting has a finite val_loss; expected"):
        choose.select([row(0, score)], metric="val_loss")


def test_repeats_are_called_by_what_they_differ_in():
    seeds = [row(n, 0.1, seed=n) for n in range(2)]
    assert cautions.repeats(seeds) == "2 seeds"
    assert cautions.repeats([{**r, "fold": r["seed"]} for r in seeds]) == "2 folds"
    both = [row(0, 0.1, seed=s, fold=f) for s in range(2) for f in range(3)]
    assert cautions.repeats(both) == "6 repeats"
    assert cautions.repeats(seeds[:1]) == "1 seed"
