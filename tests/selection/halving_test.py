"""Successive halving: when lanes are ranked, and which of them go on."""

import itertools
import math
from fractions import Fraction

import pytest

from linclf_jax.selection import halving


def row(lane, val_loss, *, rate, status="ok", accuracy=0.5, seed=0, fold=None):
    return {
        "trial": lane,
        "learning_rate": rate,
        "momentum": None,
        "seed": seed,
        "fold": fold,
        "status": status,
        "val_loss": val_loss,
        "val_accuracy": accuracy,
    }


def survivors(rows, by="val_loss", eta=2):
    return halving.survivors(rows, metric=metric, eta=eta)


@pytest.mark.parametrize(
    ("epochs", "eta", "expected"),
    [
        (60, 2, (1, 2, 4, 8, 15, 30, 60)),
        (60, 3, (1, 3, 7, 20, 60)),
        (27, 3, (1, 3, 9, 27)),
        (1, 2, (1,)),
        (5, 100, (1, 5)),
    ],
)
def test_rungs(epochs, eta, expected):
    assert halving.rungs(epochs, eta) == expected


def test_rungs_are_the_rounded_up_quotients():
    for epochs, eta in itertools.product(range(1, 130), range(2, 6)):
        quotients = {math.ceil(Fraction(epochs, eta**k)) for k in range(10)}
        assert halving.rungs(epochs, eta) == tuple(sorted(quotients))


@pytest.mark.parametrize(
    ("count", "eta", "kept"), [(8, 2, 4), (9, 2, 5), (9, 4, 3), (1, 2, 1), (2, 9, 1)]
)
def test_the_best_part_rounded_up_goes_on(count, eta, kept):
    rows = [row(lane, lane / 10, rate=lane) for lane in range(count)]
    assert survivors(rows, eta=eta) == set(range(kept))
    assert survivors(rows[::-1], eta=eta) == set(range(kept))


def test_repeats_live_or_die_together_by_their_mean():
    losses = {0.1: (0.1, 0.9), 0.2: (0.4, 0.4), 0.3: (0.3, 0.6), 0.4: (0.5, 0.5)}
    rows = [
        row(2 * number + seed, loss, rate=rate, seed=seed)
        for number, (rate, pair) in enumerate(losses.items())
        for seed, loss in enumerate(pair)
    ]
    # Means 0.5, 0.4, 0.45, 0.5: the best lane of all, 0, is not of the best settings.
    assert survivors(rows) == {2, 3, 4, 5}
    folds = [{**r, "seed": 0, "fold": r["seed"]} for r in rows]
    assert survivors(folds) == {2, 3, 4, 5}
    # The mean of 0 and 1 is now that of 6 and 7, and the lower lane breaks the tie.
    assert survivors([r for r in rows if r["trial"] not in {2, 3}]) == {0, 1, 4, 5}


def test_one_bad_repeat_takes_its_setting_out():
    rows = [
        row(0, 0.1, rate=0.1),
        row(1, 0.1, rate=0.1, seed=1, status="diverged"),
        row(2, 0.8, rate=0.2),
        row(3, 0.8, rate=0.2, seed=1),
    ]
    assert survivors(rows) == {2, 3}


def test_the_diverged_count_as_having_been_in_the_rung():
    rows = [row(lane, lane / 10, rate=lane) for lane in range(6)]
    for lane in (0, 2):
        rows[lane]["status"] = "diverged"
    assert survivors(rows) == {1, 3, 4}  # half of six
    for lane in (1, 3, 4):
        rows[lane]["status"] = "diverged"
    assert survivors(rows) == {5}
    rows[5]["status"] = "diverged"
    assert survivors(rows) == set()
    assert survivors([]) == set()


@pytest.mark.parametrize("score", [math.nan, None, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_the_worst(score):
    rows = [row(0, score, rate=0.1), row(1, 1e30, rate=0.2), row(2, 1e31, rate=0.3)]
    assert survivors(rows) == {1, 2}
    rows = [row(0, 0.1, rate=0.1), row(1, score, rate=0.1, seed=1), rows[2]]
    assert survivors(rows) == {2}
    assert survivors(rows[:2]) == {0, 1}  # but it ended well, and there is no better


def test_accuracy_is_better_when_higher_and_the_loss_breaks_its_ties():
    rows = [
        row(0, 0.2, rate=0.1, accuracy=0.7),
        row(1, 0.2, rate=0.2, accuracy=0.8),
        row(2, 0.1, rate=0.3, accuracy=0.6),
        row(3, 0.3, rate=0.4, accuracy=0.7),
    ]
    assert survivors(rows) == {0, 2}  # of equal losses and penalties the first
    assert survivors(rows, by="val_accuracy") == {0, 1}


def test_the_order_of_the_rows_changes_nothing():
    # A plain sum of the thirds of 0.1, 0.2 and 0.3 is more than that of 0.3, 0.2 and
    # 0.1; the means are equal, and the setting with lane 0 wins.
    lanes = {0.1: {0: 0.1, 3: 0.2, 5: 0.3}, 0.2: {1: 0.3, 2: 0.2, 4: 0.1}}
    rows = [
        row(lane, loss, rate=rate, seed=seed)
        for rate, losses in lanes.items()
        for seed, (lane, loss) in enumerate(losses.items())
    ]
    for order in itertools.permutations(rows):
        assert survivors(order) == {0, 3, 5}


def test_losses_near_the_largest_number_have_a_mean():
    rows = [row(lane, 1e308, rate=lane // 2, seed=lane % 2) for lane in range(4)]
    rows[0]["val_loss"] = 1.1e308
    assert survivors(rows) == {2, 3}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: halving.rungs(60, 1), "--halving is 1; expected at least 2"),
        (lambda: halving.rungs(0, 2), "--epochs is 0; expected at least 1"),
        (lambda: survivors([], eta=0), "--halving is 0; expected at least 2"),
        (lambda: survivors([], by="loss"), "'loss'; expected one of val_loss"),
    ],
)
def test_bad_questions_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
