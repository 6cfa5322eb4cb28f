"""The bias of the best: against enumeration, and against a truth that is known."""

import itertools

import numpy as np
import pytest

from linclf_jax.selection import bias, ranking
from linclf_jax.selection.held_out import HeldOut

SETTINGS, ROWS = 10, 40
# The mean of the largest of ten standard normal numbers.
LARGEST_OF_TEN = 1.5387527308


def test_the_best_of_equal_settings_is_as_biased_as_estimated():
    estimated, true = [], []
    for seed in range(300):
        # Equal settings, whose means are normal with a variance of 1 / ROWS.
        scores = np.random.default_rng(seed).normal(size=(SETTINGS, ROWS))
        estimate = bias.estimate(scores, resamples=100, seed=seed)
        estimated.append(estimate.correction)
        true.append(-scores.mean(axis=1)[estimate.best])  # of a true mean of 0
    unit = LARGEST_OF_TEN / np.sqrt(ROWS)
    # Four standard errors of the simulation, 0.02 of the truth each.
    assert np.mean(true) / unit == pytest.approx(1.0, abs=0.08)
    assert np.mean(estimated) / unit == pytest.approx(1.0, abs=0.08)


def test_the_estimate_is_the_mean_over_all_resamples_there_are():
    """Of four rows there are 256; paired or plain, the mean is the same."""
    scores = np.random.default_rng(3).normal(size=(3, 4))
    whole = scores.mean(axis=1)
    best, gaps = np.argmin(whole), []
    for drawn in itertools.product(range(4), repeat=4):
        out = np.setdiff1d(np.arange(4), drawn)
        if out.size:
            winner = np.argmin(scores[:, drawn].mean(axis=1))
            gaps.append(scores[winner, out].mean() - whole[best])
    estimate = bias.estimate(scores, resamples=20_000)
    assert estimate.best == best
    assert estimate.correction == pytest.approx(np.mean(gaps), abs=4 * estimate.error)
    assert estimate.error < 0.01
    # 24 of the 256 leave no row out, and have no part in the mean.
    assert estimate.resamples == pytest.approx(20_000 * 232 / 256, rel=0.01)


def test_accuracies_are_the_negative_of_errors():
    right = np.random.default_rng(0).random((30, 80)) < 0.6
    as_accuracy = bias.estimate(right, lowest=False)
    as_error = bias.estimate(1.0 - right)
    assert as_accuracy.correction < 0
    assert as_accuracy.best == as_error.best
    assert as_accuracy.correction == pytest.approx(-as_error.correction, abs=1e-15)


def test_another_score_is_corrected_for_the_same_choice():
    rng = np.random.default_rng(1)
    loss = rng.normal(size=(8, 50))
    alike, apart = 1.0 - 2.0 * loss, rng.normal(size=(8, 50))
    plain, other = bias.estimate(loss), bias.estimate(loss, alike)
    assert other.correction == pytest.approx(-2.0 * plain.correction, rel=1e-12)
    assert other.stability == plain.stability
    # A score that the choice knows nothing of is not biased by it.
    assert abs(bias.estimate(loss, apart).correction) < 0.5 * plain.correction


def test_where_one_setting_always_wins_there_is_no_bias():
    scores = np.random.default_rng(4).normal(size=(20, 60))
    for copies in (scores[:1], np.repeat(scores[:1], 5, axis=0)):
        assert bias.estimate(copies)[:4] == (0, 0.0, 0.0, 1.0)
    scores[7] -= 3.0
    assert bias.estimate(scores)[:4] == (7, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("block", [1, 700])
def test_blocks_change_no_bit(block, monkeypatch):
    scores = np.random.default_rng(5).random((23, 64)) < 0.5
    whole = bias.estimate(scores, lowest=False, resamples=50, seed=9)
    monkeypatch.setattr(bias, "BLOCK", block)
    assert bias.estimate(scores, lowest=False, resamples=50, seed=9) == whole
    assert bias.estimate(scores, lowest=False, resamples=50, seed=8) != whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros(4)}, r"scores have shape \(4,\); expected \(S, N\)"),
        ({"scores": np.zeros((4, 1))}, "at least two rows"),
        ({"measured": np.zeros((2, 3))}, r"measured has shape \(2, 3\); expected"),
        ({"resamples": 1}, "resamples is 1; expected at least 2"),
        ({"scores": np.array([[0, 1], [0, np.inf]])}, "setting 1 is inf in row 1"),
        ({"measured": np.array([[0, np.nan]] * 2)}, "measured of setting 0 is nan"),
    ],
)
def test_bad_input_is_refused(changes, message):
    given = {"scores": np.zeros((2, 2)), **changes}
    with pytest.raises(ValueError, match=message):
        bias.estimate(**given)


def held_out(seed, *, settings=3, rows=40):
    rng = np.random.default_rng(seed)
    loss, calibrated = rng.random((2, settings, rows))
    correct = rng.random((settings, rows)) < 0.5
    return HeldOut(tuple(range(settings)), loss, correct, calibrated)


@pytest.mark.parametrize("metric", ranking.METRICS)
def test_what_is_reported_is_of_the_best_by_the_metric(metric):
    scores = held_out(1)
    values = dict(zip(ranking.METRICS, (scores[1], scores[2], scores[3]), strict=True))
    # Of equal accuracies the lower loss is the best, as in every selection.
    index = np.argsort(scores.loss.mean(axis=1))
    chosen_by, correct, loss = (
        array[index] for array in (values[metric], scores.correct, scores.loss)
    )
    lowest = metric != "val_accuracy"
    accuracy = bias.estimate(chosen_by, correct, lowest=lowest)
    rise = bias.estimate(chosen_by, loss, lowest=lowest)
    assert bias.of_best(scores, metric=metric) == {
        "settings": 3,
        "rows": 40,
        "resamples": 1000,
        "stability": accuracy.stability,
        "accuracy": -accuracy.correction,
        "accuracy_error": accuracy.error,
        "loss": rise.correction,
        "loss_error": rise.error,
    }


def test_a_class_without_rows_leaves_settings_that_can_be_compared():
    scores = held_out(0)
    scores.loss[1, 7] = np.inf
    others = HeldOut((0, 2), *(array[[0, 2]] for array in scores[1:]))
    reported = bias.of_best(scores, metric="val_loss")
    assert reported == bias.of_best(others, metric="val_loss")
    assert reported["settings"] == 2
    single = HeldOut((0, 1), *(array[:2] for array in scores[1:]))
    assert bias.of_best(single, metric="val_loss") is None


def test_calibrated_losses_must_be_there():
    scores = held_out(0)._replace(calibrated=None)
    with pytest.raises(ValueError, match="expected calibrated losses with it"):
        bias.of_best(scores, metric="val_loss_calibrated")
