"""The choice of a lane, on rows made by hand."""

import pytest

from linclf_jax.selection import choose, ranking


def row(lane, val_loss, val_accuracy, *, status="ok", **settings):
    return {
        "trial": lane,
        "status": status,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
        "optimizer": "sgd",
        "learning_rate": 0.1 * (lane + 1),
        "l2": 0.0,
        "seed": 0,
        "fold": None,
        **settings,
    }


def lanes(choice):
    return [row["trial"] for row in choice.rows]


ROWS = [row(0, 0.5, 0.8), row(1, 0.3, 0.7), row(2, 0.4, 0.9), row(3, 0.4, 0.8)]


@pytest.mark.parametrize(
    ("by", "order"), [("val_loss", [1, 2, 3, 0]), ("val_accuracy", [2, 3, 0, 1])]
)
def test_the_best_wins_and_the_other_score_breaks_ties(by, order):
    for rows in (ROWS, ROWS[::-1]):
        assert lanes(choose.choose(rows, by=by)) == order[:1]
        choice = choose.choose([r for r in rows if r["trial"] != order[0]], by=by)
        assert lanes(choice) == order[1:2]


def repeated(lane, scores, **settings):
    """Rows of one setting, one a seed, from pairs of loss and accuracy."""
    return [
        row(lane + seed, *pair, seed=seed, learning_rate=0.5 + lane, **settings)
        for seed, pair in enumerate(scores)
    ]


def test_repeats_are_judged_by_their_mean():
    """The best single lane, number 0, is a lucky seed of the worse setting."""
    lucky = repeated(0, [(0.1, 0.9), (0.9, 0.5), (0.8, 0.4)])
    steady = repeated(3, [(0.3, 0.8), (0.4, 0.7), (0.2, 0.75)])
    for rows in (lucky + steady, (lucky + steady)[::-1]):
        choice = choose.choose(rows, by="val_loss")
        assert lanes(choice) == [3, 4, 5]
        mean, sd, count = choice.repeats["val_loss"]
        assert (mean, count) == (pytest.approx(0.3, rel=1e-15), 3)
        assert sd == pytest.approx(0.1, rel=1e-12)
        assert choice.repeats["val_accuracy"].mean == pytest.approx(0.75, rel=1e-15)
        assert (
            choice.reason
            == "the lowest mean val_loss over 3 repeats, 0.3000, of 2 settings"
        )


def test_folds_repeat_a_setting_as_seeds_do():
    rows = [
        row(n, 0.1 * n, 0.5, fold=n % 2, l2=n // 2 * 0.1, learning_rate=0.1)
        for n in range(4)
    ]
    assert lanes(choose.choose(rows, by="val_loss")) == [0, 1]


@pytest.mark.parametrize("status", ["diverged", ranking.RETIRED])
def test_a_setting_of_which_one_repeat_did_not_end_well_never_wins(status):
    rows = repeated(0, [(0.1, 0.9), (0.2, 0.9)]) + repeated(2, [(0.5, 0.5)] * 2)
    rows[1]["status"] = status
    assert lanes(choose.choose(rows, by="val_loss")) == [2, 3]


def test_a_single_lane_has_no_spread():
    choice = choose.choose(ROWS[:1], by="val_loss")
    assert choice.reason == "the only one"
    assert choice.repeats["val_loss"] == (0.5, None, 1)


@pytest.mark.parametrize("score", [0.0, -1.0, None, float("nan")])
def test_a_diverged_lane_never_wins(score):
    rows = [*ROWS, row(4, score, 1.0, status="diverged")]
    for by in ranking.LANE_CRITERIA:
        assert 4 not in lanes(choose.choose(rows, by=by))
    choice = choose.choose(rows, by="val_loss")
    assert choice.warnings == ("1 of 5 trials diverged and were not eligible",)


def test_all_diverged_is_an_error():
    rows = [row(0, None, None, status="diverged")]
    with pytest.raises(ValueError, match="all 1 lanes diverged"):
        choose.choose(rows, by="val_loss")


def test_exact_ties_are_named_and_the_first_lane_wins():
    rows = [row(7, 0.3, 0.9), row(2, 0.3, 0.9), row(5, 0.3, 0.8)]
    choice = choose.choose(rows, by="val_loss", edges=False)
    assert lanes(choice) == [2]
    assert choice.ties == (5, 7)


@pytest.mark.parametrize(
    ("rate", "warned"), [(0.1, "smallest"), (1.0, None), (10.0, "largest")]
)
def test_the_best_value_at_an_edge_is_a_warning(rate, warned):
    rows = [
        row(n, 0.1 if value == rate else 0.2, 0.9, learning_rate=value)
        for n, value in enumerate((0.1, 1.0, 10.0))
    ]
    warnings = choose.choose(rows, by="val_loss").warnings
    assert choose.choose(rows, by="val_loss", edges=False).warnings == ()
    if warned is None:
        assert warnings == ()
    else:
        assert len(warnings) == 1
        assert f"learning_rate, {rate:g}, is the {warned}" in warnings[0]
        assert "--learning_rate" in warnings[0]


def test_no_warning_where_nothing_lies_beyond():
    same = {"learning_rate": 0.1}
    rows = [row(0, 0.1, 0.9, l2=0.0, **same), row(1, 0.2, 0.9, l2=0.1, **same)]
    # Another optimizer's values are no axis of this one's.
    rows += [row(2, 0.3, 0.9, optimizer="adam", learning_rate=7.0)]
    assert choose.choose(rows, by="val_loss").warnings == ()


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="'test_loss'; expected one of val_loss"):
        choose.choose(ROWS, by="test_loss")


def test_retired_settings_count_as_compared():
    rows = [*ROWS, row(8, 0.9, 0.1, l2=0.5, status="retired")]
    reason = choose.choose(rows, by="val_loss").reason
    count = len({tuple(ranking.settings(r).items()) for r in rows})
    kept = len(ranking.rank_settings(rows, by="val_loss"))
    assert reason.endswith(f"of {count} lanes, {kept} of them trained to the end")
    assert count == len(ROWS) + 1


def by_l2(scores, **settings):
    """Rows that differ in l2 alone, the weakest first, from pairs of scores."""
    return [
        row(lane, *pair, l2=10.0 ** (lane - 3), learning_rate=0.1, **settings)
        for lane, pair in enumerate(scores)
    ]


SCORES = [(0.31, 0.9), (0.30, 0.88), (0.32, 0.86), (0.34, 0.84), (0.5, 0.5)]


@pytest.mark.parametrize(
    ("error", "lane"), [(0.0, 1), (0.019, 1), (0.021, 2), (0.041, 3), (9.0, 4)]
)
def test_the_strongest_l2_within_one_standard_error_is_the_other_choice(error, lane):
    rows = by_l2(SCORES)
    for order in (rows, rows[::-1]):
        choice = choose.choose(
            order, by="val_loss", rule="one_standard_error", errors={1: error}
        )
        assert lanes(choice) == [lane]
        assert (choice.best, choice.standard_error) == (1, error)
        assert f"within one standard error, {error:.4f}, of the low" in choice.reason
        assert choice.reason.endswith("val_loss, 0.3000, of 5 trials")
        assert choice.repeats["val_loss"].mean == SCORES[lane][0]
    assert lanes(choose.choose(rows, by="val_loss", errors={1: error})) == [1]


def test_an_accuracy_may_fall_by_its_error():
    choice = choose.choose(
        by_l2(SCORES), by="val_accuracy", rule="one_standard_error", errors={0: 0.05}
    )
    assert (lanes(choice), choice.best) == ([2], 0)


@pytest.mark.parametrize(
    "other", [{"optimizer": "adam"}, {"learning_rate": 0.2}, {"status": "diverged"}]
)
def test_only_settings_that_are_like_the_best_in_all_else_are_simpler(other):
    rows = by_l2(SCORES)
    rows[3] |= other
    for found in rows:
        found["C"] = 1 / found["l2"]  # the same penalty in other words
    choice = choose.choose(
        rows, by="val_loss", rule="one_standard_error", errors={1: 0.05}
    )
    assert lanes(choice) == [2]


def folds_and_seeds(losses):
    """Rows of one l2 each, with two folds and two seeds in each fold."""
    return [
        row(4 * n + k, loss, 0.5, fold=k // 2, seed=k % 2, l2=0.1 * n, learning_rate=1)
        for n, group in enumerate(losses)
        for k, loss in enumerate(group)
    ]


def test_with_folds_the_error_is_over_folds_of_means_over_seeds():
    best = (0.1, 0.3, 0.4, 0.6)  # folds 0.2 and 0.5: sd 0.3 / sqrt 2, over sqrt 2
    error = 0.15
    near, far = (0.49,) * 4, (0.51,) * 4
    rows = folds_and_seeds([best, near, far])
    choice = choose.choose(rows, by="val_loss", rule="one_standard_error")
    assert choice.standard_error == pytest.approx(error, rel=1e-12)
    assert lanes(choice) == [4, 5, 6, 7]


def test_how_little_seeds_differ_is_no_error():
    """They share their validation rows; the errors given are over those."""
    losses = [(0.3, 0.3), (0.35, 0.35)]
    rows = [
        row(2 * n + seed, loss, 0.5, seed=seed, l2=0.1 * n, learning_rate=1)
        for n, pair in enumerate(losses)
        for seed, loss in enumerate(pair)
    ]
    given = {"by": "val_loss", "rule": "one_standard_error"}
    assert lanes(choose.choose(rows, errors={0: 0.06, 2: 0.0}, **given)) == [2, 3]
    assert lanes(choose.choose(rows, errors={0: 0.04, 2: 9.0}, **given)) == [0, 1]


def test_ties_are_those_of_the_best_setting_by_either_rule():
    rows = by_l2([(0.30, 0.9), (0.31, 0.9)])
    rows += [row(7, 0.31, 0.9, optimizer="adam"), row(8, 0.30, 0.9, optimizer="adam")]
    choice = choose.choose(
        rows, by="val_loss", rule="one_standard_error", errors={0: 0.05}
    )
    assert (lanes(choice), choice.ties) == ([1], (8,))


def test_both_the_best_and_the_chosen_l2_may_lie_at_an_edge():
    choice = choose.choose(
        by_l2(SCORES), by="val_loss", rule="one_standard_error", errors={1: 9.0}
    )
    (warning,) = choice.warnings
    assert warning == "the chosen l2, 10, is the largest of the grid; widen --l2"


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="--choice is 'max'; expected one of min, one"):
        choose.choose(ROWS, by="val_loss", rule="max")


def test_of_several_seeds_neither_the_best_is_told_nor_kept():
    steady = repeated(3, [(0.3, 0.8), (0.2, 0.7), (0.4, 0.75)])
    choice = choose.choose(steady, by="val_loss")
    assert choice.rows[0]["seed"] == 0  # whichever did best
    assert choice.repeats["val_loss"].mean == pytest.approx(0.3, rel=1e-15)
    assert choice.repeats["val_loss"].sd == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (["retired"] * 2, "^all 2 lanes were retired early: others were better$"),
        (["diverged", "retired"], "^1 of 2 lanes diverged, others were retired early;"),
        (["diverged"] * 2, "^all 2 lanes diverged; lower --learning_rate$"),
    ],
)
def test_why_there_is_nothing_to_choose(statuses, message):
    """Of a cell of a table, halving may have retired all lanes."""
    rows = [row(lane, 0.5, 0.8, status=each) for lane, each in enumerate(statuses)]
    with pytest.raises(ValueError, match=message):
        choose.choose(rows, by="val_loss")
