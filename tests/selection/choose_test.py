"""The choice of a setting, on rows made by hand."""

import math

import pytest

from linclf_jax.selection import choose
from tests.selection.trial_rows import numbers, row

ROWS = [row(0, 0.5, 0.8), row(1, 0.3, 0.7), row(2, 0.4, 0.9), row(3, 0.4, 0.8)]


def chosen(selection):
    return numbers(selection.rows)


def repeated(first, losses, **columns):
    """Returns rows of one setting, one a seed."""
    return [
        row(first + seed, loss, seed=seed, learning_rate=0.5 + first, **columns)
        for seed, loss in enumerate(losses)
    ]


def test_a_setting_is_judged_by_the_mean_of_its_repeats():
    """The best single trial, number 0, is the best seed of the worse setting."""
    worse, better = repeated(0, [0.1, 0.9, 0.8]), repeated(3, [0.3, 0.4, 0.2])
    for rows in (worse + better, (worse + better)[::-1]):
        selection = choose.select(rows, metric="val_loss")
        assert chosen(selection) == [3, 4, 5]
        # The first seed, though the last did best.
        assert (selection.setting["trial"], selection.best) == (3, 3)
        mean, sd, count = selection.repeats["val_loss"]
        assert (mean, count) == (pytest.approx(0.3, rel=1e-15), 3)
        assert sd == pytest.approx(0.1, rel=1e-12)
        assert selection.repeats["val_accuracy"] == (0.5, 0.0, 3)
        assert selection.reason == (
            "the lowest mean val_loss over 3 seeds, 0.3000, of 2 settings"
        )


def test_a_diverged_trial_is_counted_and_not_compared():
    rows = [*ROWS, row(4, 0.0, 1.0, status="diverged")]
    selection = choose.select(rows, metric="val_loss")
    assert "1 of 5 trials diverged and were not eligible" in selection.warnings
    assert selection.reason == "the lowest val_loss, 0.3000, of 4 trials"


def test_a_single_trial_has_no_spread():
    selection = choose.select(ROWS[:1], metric="val_loss")
    assert selection.reason == "the only one"
    assert selection.repeats["val_loss"] == (0.5, None, 1)


def test_exact_ties_are_named_and_the_rule_is_said():
    rows = [row(7, 0.3, 0.9), row(2, 0.3, 0.9), row(5, 0.3, 0.8), row(6, 0.4, 0.9)]
    selection = choose.select(rows, metric="val_loss", edges=False)
    assert (chosen(selection), selection.ties) == ([2], (5, 7))
    end = "; 3 tie for it, and the stronger l2 goes first"
    assert selection.reason == "the lowest val_loss, 0.3000, of 4 trials" + end
    selection = choose.select(rows, metric="val_accuracy", edges=False)
    assert (chosen(selection), selection.ties) == ([2], (7, 6))
    assert selection.reason.endswith(
        "; 3 tie for it, and the lower val_loss, then the stronger l2 goes first"
    )
    assert "tie" not in choose.select(ROWS, metric="val_loss").reason


def test_retired_settings_count_as_compared():
    rows = [*ROWS, row(8, 0.9, 0.1, l2=0.5, status="retired")]
    reason = choose.select(rows, metric="val_loss").reason
    assert (
        reason
        == "the lowest val_loss, 0.3000, of 5 trials, 4 of them trained to "
        + ("the end")
    )


def by_l2(scores, **columns):
    """Returns rows that differ in l2 alone, the weakest first."""
    return [
        row(trial, *pair, l2=10.0 ** (trial - 3), learning_rate=0.1, **columns)
        for trial, pair in enumerate(scores)
    ]


def within_an_error(rows, errors=None, metric="val_loss"):
    """Returns the selection by the one-standard-error rule."""
    errors = None if errors is None else {metric: errors}
    rule = choose.ONE_STANDARD_ERROR
    return choose.select(rows, metric=metric, rule=rule, errors=errors)


SCORES = [(0.31, 0.9), (0.30, 0.88), (0.32, 0.86), (0.34, 0.84), (0.5, 0.5)]


@pytest.mark.parametrize(
    ("error", "trial"), [(0.0, 1), (0.019, 1), (0.021, 2), (0.041, 3), (9.0, 4)]
)
def test_the_strongest_l2_within_one_standard_error(error, trial):
    rows = by_l2(SCORES)
    for given in (rows, rows[::-1]):
        selection = within_an_error(given, {1: error})
        assert chosen(selection) == [trial]
        assert (selection.best, selection.standard_error) == (1, error)
        assert selection.rules == {"best": 1, "one_standard_error": trial}
        assert selection.reason == (
            f"the strongest l2 within one standard error, {error:.4f}, of the lowest "
            "val_loss, 0.3000, of 5 trials"
        )
        assert selection.repeats["val_loss"].mean == SCORES[trial][0]
    # Both rules are known, whichever is followed.
    errors = {"val_loss": {1: error}}
    selection = choose.select(rows, metric="val_loss", errors=errors)
    assert (chosen(selection), selection.standard_error) == ([1], None)
    assert selection.rules["one_standard_error"] == trial


def test_an_accuracy_may_fall_by_its_error():
    selection = within_an_error(by_l2(SCORES), {0: 0.05}, "val_accuracy")
    assert (chosen(selection), selection.best) == ([2], 0)


@pytest.mark.parametrize(
    "other",
    [
        {"optimizer": "adam"},
        {"learning_rate": 0.2},
        {"status": "diverged"},
        {"val_loss": math.nan},
    ],
)
def test_only_settings_that_are_like_the_best_in_all_else_are_simpler(other):
    rows = [{**r, "C": 1 / r["l2"]} for r in by_l2(SCORES)]  # C says the same as l2
    rows[3] |= other
    assert chosen(within_an_error(rows, {1: 0.05})) == [2]


def folds_and_seeds(losses):
    """Returns rows of one l2 each, with two folds and two seeds in each fold."""
    return [
        row(4 * n + k, loss, fold=k // 2, seed=k % 2, l2=0.1 * n, learning_rate=1)
        for n, setting in enumerate(losses)
        for k, loss in enumerate(setting)
    ]


def test_with_folds_the_error_is_over_folds_of_means_over_seeds():
    best = (0.1, 0.3, 0.4, 0.6)  # folds 0.2 and 0.5: sd 0.3 / sqrt 2, over sqrt 2
    near, far = (0.49,) * 4, (0.51,) * 4
    # What is known of the rows has no part in it.
    selection = within_an_error(folds_and_seeds([best, near, far]), {0: 0.0})
    assert selection.standard_error == pytest.approx(0.15, rel=1e-12)
    assert chosen(selection) == [4, 5, 6, 7]
    assert "of the lowest mean val_loss over 4 repeats, 0.3500" in selection.reason


def test_one_fold_says_nothing_of_how_folds_differ():
    """Its rows do, if their error is given; else it is unknown, and not 0."""
    rows = folds_and_seeds([(0.1, 0.3), (0.25, 0.25)])
    assert {r["fold"] for r in rows} == {0}
    assert choose.standard_error(rows[:2], "val_loss", {}) is None
    assert choose.select(rows, metric="val_loss").rules == {"best": 0}
    selection = within_an_error(rows, {0: 0.06})
    assert (selection.standard_error, chosen(selection)) == (0.06, [4, 5])


def test_how_little_seeds_differ_is_no_error():
    """They share their validation rows; the errors given are over those."""
    rows = [
        {**r, "learning_rate": 1, "l2": 0.1 * n}
        for n, losses in enumerate([(0.3, 0.3), (0.35, 0.35)])
        for r in repeated(2 * n, losses)
    ]
    assert chosen(within_an_error(rows, {0: 0.06, 2: 0.0})) == [2, 3]
    assert chosen(within_an_error(rows, {0: 0.04, 2: 9.0})) == [0, 1]


@pytest.mark.parametrize("score", [None, math.nan, math.inf])
def test_other_scores_need_not_be_finite(score):
    """A fold may hold all rows of a class, whose loss is infinite without them."""
    rows = folds_and_seeds([(0.1, 0.3, 0.4, 0.6), (0.2, 0.2, 0.2, 0.2)])
    rows[2]["val_loss"] = score
    assert choose.standard_error(rows[:4], "val_loss", {}) is None
    assert chosen(choose.select(rows, metric="val_loss")) == [4, 5, 6, 7]
    rows[5]["val_accuracy"] = 0.4
    selection = choose.select(rows, metric="val_accuracy")
    assert chosen(selection) == [0, 1, 2, 3]
    assert not math.isfinite(selection.repeats["val_loss"].mean)
    assert selection.repeats["val_loss"][1:] == (None, 4)
    assert selection.repeats["val_accuracy"] == (0.5, 0.0, 4)


@pytest.mark.parametrize("errors", [None, {}, {2: 0.1}, {1: math.nan}])
def test_without_an_error_there_is_one_rule(errors):
    given = {"val_loss": errors or {}, "val_accuracy": {1: 0.1}}
    selection = choose.select(ROWS, metric="val_loss", errors=given)
    assert selection.rules == {"best": 1}
    with pytest.raises(ValueError, match="nothing says how sure the scores are; exp"):
        within_an_error(ROWS, errors)


def test_ties_are_those_of_the_best_setting_by_either_rule():
    rows = by_l2([(0.30, 0.9), (0.31, 0.9)])
    rows += [row(7, 0.31, 0.9, optimizer="adam"), row(8, 0.30, 0.9, optimizer="adam")]
    selection = within_an_error(rows, {0: 0.05})
    assert (chosen(selection), selection.ties) == ([1], (8,))


def test_both_the_best_and_the_chosen_l2_may_lie_at_an_edge():
    (warning,) = within_an_error(by_l2(SCORES), {1: 9.0}).warnings
    assert warning == "the chosen l2, 10, is the largest of the grid; widen --l2"
    best, strongest = within_an_error(by_l2(SCORES[1:]), {0: 9.0}).warnings
    assert best.startswith("the best l2, 0.001, is the smallest")
    assert strongest.startswith("the chosen l2, 1, is the largest")


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="--rule is 'max'; expected one of best, one_"):
        choose.select(ROWS, metric="val_loss", rule="max")


def test_each_group_has_a_choice_of_its_own():
    rows = [
        row(0, 0.3, loss="hinge"),
        row(1, 0.1, loss="softmax"),
        row(2, 0.2, loss="hinge"),
        row(3, 0.4, loss="squared", status="diverged"),
        row(4, None, loss="first"),
    ]
    taken = choose.without_comparison({"loss": "first"}, rows[4], "of one row each")
    first, second, failure, given = choose.select_per_group(
        rows, ("loss",), given=(taken,), metric="val_loss"
    )
    assert (first.group, chosen(first)) == ({"loss": "hinge"}, [2])
    assert (second.group, chosen(second)) == ({"loss": "softmax"}, [1])
    assert failure == choose.Failure(
        {"loss": "squared"}, "all 1 trials diverged; lower --learning_rate"
    )
    assert given is taken
    assert (given.rows, given.best, given.rules) == ((), None, {})
    # Without columns there is one group of all.
    (whole,) = choose.select_per_group(rows, (), metric="val_loss", edges=False)
    assert (whole.group, chosen(whole)) == ({}, [1])
