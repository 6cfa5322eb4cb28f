"""The luck of the best: against enumeration, and against a truth that is known."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from linclf_jax.selection import bias

LANES, ROWS = 10, 40
# The mean of the largest of ten standard normal numbers.
LARGEST_OF_TEN = 1.5387527308


class Resample(NamedTuple):
    """What a bootstrap sample shows: mean scores (L,), and two winners."""

    inside: np.ndarray  # on the rows drawn
    out: np.ndarray  # on the rows left out
    whole: np.ndarray  # on all rows
    won: int  # the best on the rows drawn
    best: int  # the best on all rows


def right(seen):
    return seen.out[seen.won] - seen.whole[seen.best]


# Estimators that look much like it.
WRONG = {
    "in-bag score of the winner": lambda s: s.out[s.won] - s.inside[s.won],
    "all rows less in-bag": lambda s: s.whole[s.won] - s.inside[s.won],
    "all rows": lambda s: s.whole[s.won] - s.whole[s.best],
    "best lane out of bag": lambda s: s.out[s.best] - s.whole[s.best],
}


def loop(scores, estimator, resamples, rng):
    """One resample after the other, every mean written out."""
    rows = scores.shape[1]
    whole = scores.mean(axis=1)
    best, found = int(np.argmin(whole)), []
    for _ in range(resamples):
        drawn = rng.integers(rows, size=rows)
        left_out = np.setdiff1d(np.arange(rows), drawn)
        inside, out = scores[:, drawn].mean(axis=1), scores[:, left_out].mean(axis=1)
        seen = Resample(inside, out, whole, int(np.argmin(inside)), best)
        found.append(estimator(seen))
    return np.mean(found)


def normal_lanes(seed):
    """Lanes of equal skill, whose means are normal with a variance of 1 / N."""
    return np.random.default_rng(seed).normal(size=(LANES, ROWS))


def luck(estimator):
    """The mean of an estimate over many data sets, in units of the truth."""
    found = [
        loop(normal_lanes(seed), estimator, 60, np.random.default_rng([seed, 1]))
        for seed in range(150)
    ]
    return np.mean(found) * np.sqrt(ROWS) / LARGEST_OF_TEN


@pytest.fixture(scope="module")
def estimated():
    """The luck that is estimated, and that there is, over many data sets."""
    found, true = [], []
    for seed in range(300):
        scores = normal_lanes(seed)
        estimate = bias.estimate(scores, resamples=100, seed=seed)
        found.append(estimate.correction)
        true.append(-scores.mean(axis=1)[estimate.best])  # of a true mean of 0
    return np.array(found), np.array(true)


def test_the_best_of_equal_lanes_is_as_lucky_as_estimated(estimated):
    found, true = estimated
    unit = LARGEST_OF_TEN / np.sqrt(ROWS)
    # Four standard errors of the simulation, 0.02 of the truth each.
    assert np.mean(true) / unit == pytest.approx(1.0, abs=0.08)
    assert np.mean(found) / unit == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("name", WRONG)
def test_an_estimator_that_is_wrong_misses_that_truth(name):
    assert abs(luck(WRONG[name]) - 1.0) > 0.2


def test_the_loop_that_they_are_held_against_finds_it():
    assert luck(right) == pytest.approx(1.0, abs=0.1)


def test_it_is_the_mean_over_all_resamples_there_are():
    """Of four rows there are 256; paired or plain, the mean is the same."""
    scores = np.random.default_rng(3).normal(size=(3, 4))
    whole = scores.mean(axis=1)
    best, gaps = np.argmin(whole), []
    for drawn in itertools.product(range(4), repeat=4):
        out = np.setdiff1d(np.arange(4), drawn)
        if out.size:
            won = np.argmin(scores[:, drawn].mean(axis=1))
            gaps.append(scores[won, out].mean() - whole[best])
    found = bias.estimate(scores, resamples=20_000)
    assert found.best == best
    assert found.correction == pytest.approx(np.mean(gaps), abs=4 * found.error)
    assert found.error < 0.01
    # 24 of the 256 leave no row out, and have no part in the mean.
    assert found.resamples == pytest.approx(20_000 * 232 / 256, rel=0.01)


def test_accuracies_are_the_negative_of_errors():
    correct = np.random.default_rng(0).random((30, 80)) < 0.6
    as_accuracy = bias.estimate(correct, lowest=False)
    as_error = bias.estimate(1.0 - correct)
    assert as_accuracy.correction < 0
    assert as_accuracy.best == as_error.best
    assert as_accuracy.correction == pytest.approx(-as_error.correction, abs=1e-15)


def test_another_score_is_corrected_for_the_same_choice():
    rng = np.random.default_rng(1)
    loss = rng.normal(size=(8, 50))
    alike, apart = 1.0 - 2.0 * loss, rng.normal(size=(8, 50))
    plain = bias.estimate(loss)
    found = bias.estimate(loss, alike)
    assert found.correction == pytest.approx(-2.0 * plain.correction, rel=1e-12)
    assert found.stability == plain.stability
    # A score that the choice knows nothing of is not flattered by it.
    assert abs(bias.estimate(loss, apart).correction) < 0.5 * plain.correction


def test_one_lane_and_its_copies_flatter_nobody():
    lane = np.random.default_rng(2).normal(size=(1, 30))
    for lanes, stability in ((lane, 1.0), (np.repeat(lane, 5, axis=0), 1.0)):
        found = bias.estimate(lanes)
        assert (found.correction, found.error) == (0.0, 0.0)
        assert found.stability == stability


def test_a_lane_far_ahead_owes_nothing_to_luck():
    scores = np.random.default_rng(4).normal(size=(20, 60))
    scores[7] -= 3.0
    found = bias.estimate(scores)
    assert found[:4] == (7, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("block", [1, 700, 10**6])
def test_blocks_change_no_bit(block, monkeypatch):
    scores = np.random.default_rng(5).random((23, 64)) < 0.5
    whole = bias.estimate(scores, lowest=False, resamples=50, seed=9)
    monkeypatch.setattr(bias, "BLOCK", block)
    assert bias.estimate(scores, lowest=False, resamples=50, seed=9) == whole
    assert bias.estimate(scores, lowest=False, resamples=50, seed=8) != whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros(4)}, r"scores have shape \(4,\); expected \(L, N\)"),
        ({"scores": np.zeros((4, 1))}, "at least two rows"),
        ({"measured": np.zeros((2, 3))}, r"measured has shape \(2, 3\); expected"),
        ({"resamples": 1}, "resamples is 1; expected at least 2"),
        ({"scores": np.array([[0, 1], [0, np.inf]])}, "lane 1 is inf in row 1"),
        ({"measured": np.array([[0, np.nan]] * 2)}, "measured of lane 0 is nan"),
    ],
)
def test_bad_input_is_refused(changes, message):
    given = {"scores": np.zeros((2, 2)), **changes}
    with pytest.raises(ValueError, match=message):
        bias.estimate(**given)
