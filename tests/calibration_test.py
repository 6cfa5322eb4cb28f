"""The temperature: its optimum by another road, and the cases without one."""

from unittest import mock

import numpy as np
import pytest
from scipy import optimize, special

from linclf_jax import calibration


def problem(seed=0, rows=200, classes=5, sharpness=1.0):
    """Logits that know something of their labels, and what to divide them by."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, classes))
    probs = special.softmax(2 * true, axis=1)
    labels = (probs.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    return 2 * sharpness * true, labels


def loss(logits, labels, temperature):
    log_probs = special.log_softmax(logits / temperature, axis=1)
    return -np.mean(log_probs[np.arange(len(labels)), labels])


@pytest.mark.parametrize("sharpness", [0.02, 0.3, 1.0, 7.0, 300.0])
def test_no_other_temperature_has_a_lower_loss(sharpness):
    logits, labels = problem(sharpness=sharpness)
    actual = calibration.fit_temperature(logits, labels)
    best = optimize.minimize_scalar(
        lambda u: loss(logits, labels, np.exp(u)),
        bounds=(np.log(actual) - 3, np.log(actual) + 3),
        method="bounded",
        options={"xatol": 1e-10},
    )
    # A minimum is known to the square root of the precision of its value.
    assert np.log(actual) == pytest.approx(best.x, abs=1e-6)
    # The logits were made from true probabilities: about right is about sharpness.
    assert actual / sharpness == pytest.approx(1.0, abs=0.2)
    nearby = [loss(logits, labels, actual * (1 + step)) for step in (-1e-4, 1e-4)]
    assert loss(logits, labels, actual) < min(nearby)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 7.0])
def test_newton_gets_there_in_a_few_steps(sharpness, monkeypatch):
    """Bisection alone would, too, in 45: a wrong curvature shows here and not above."""
    logits, labels = problem(sharpness=sharpness)
    slope = mock.Mock(side_effect=calibration.slope)
    monkeypatch.setattr(calibration, "slope", slope)
    actual = calibration.fit_temperature(logits, labels)
    assert slope.call_count <= 2 + 10  # both bounds are tried
    # The slope vanishes there to the last digits.
    probs = special.softmax(logits / actual, axis=1)
    own = logits[np.arange(len(labels)), labels]
    assert abs(np.mean(np.sum(probs * logits, axis=1) - own)) < 1e-11


def test_sharper_logits_have_a_higher_temperature_in_proportion():
    logits, labels = problem()
    once = calibration.fit_temperature(logits, labels)
    assert calibration.fit_temperature(8 * logits, labels) == pytest.approx(8 * once)
    shifted = logits + np.arange(len(labels))[:, None]
    assert calibration.fit_temperature(shifted, labels) == pytest.approx(once)


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e6])
def test_where_all_are_right_no_temperature_is_low_enough(size):
    logits = size * np.eye(4)
    assert calibration.fit_temperature(logits, np.arange(4)) == calibration.COLDEST
    wrong = np.array([0, 1, 2, 0])  # a quarter is wrong: exp(size / T) = 9
    actual = calibration.fit_temperature(logits, wrong)
    expected = min(size / np.log(9.0), calibration.HOTTEST)
    assert actual == pytest.approx(expected, rel=1e-12)


def test_where_the_logits_know_less_than_nothing_none_is_high_enough():
    logits, labels = -np.eye(3), np.arange(3)
    assert calibration.fit_temperature(logits, labels) == calibration.HOTTEST


def test_where_no_temperature_changes_anything_it_is_one():
    logits = np.repeat([[3.0], [-2.0]], 4, axis=1)
    assert calibration.fit_temperature(logits, np.array([0, 3])) == 1.0
    assert calibration.fit_temperature(np.zeros((3, 1)), np.zeros(3, int)) == 1.0


def test_a_class_that_is_ruled_out_takes_no_part_and_float32_is_widened():
    logits, labels = problem()
    logits = logits.astype(np.float32)
    expected = calibration.fit_temperature(logits.astype(np.float64), labels)
    assert calibration.fit_temperature(logits, labels) == expected
    masked = np.concatenate([logits, np.full((len(labels), 1), -np.inf)], axis=1)
    actual = calibration.fit_temperature(masked, labels)
    assert actual == pytest.approx(expected, rel=1e-14)


LOGITS, LABELS = problem()


def with_entry(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (LOGITS, LABELS[:-1], r"expected \(N, C\) and \(N,\)"),
        (LOGITS[0], LABELS, r"expected \(N, C\) and \(N,\)"),
        (LOGITS[:0], LABELS[:0], r"expected \(N, C\) and \(N,\), at least one row"),
        (
            with_entry(LOGITS, (4, 2), np.nan),
            LABELS,
            "1 entries that are NaN or infinity.* nan in row 4, column 2",
        ),
        (
            with_entry(LOGITS, (0, 1), np.inf),
            LABELS,
            "the first is inf in row 0, column 1",
        ),
        (
            np.full_like(LOGITS, -np.inf),
            LABELS,
            "minus infinity in 200 rows, the first is 0",
        ),
        (LOGITS, with_entry(LABELS, 2, -1), r"label -1 in row 2.* integers in 0\.\.4"),
        (
            LOGITS,
            with_entry(LABELS, slice(1, 3), 5),
            "2 labels that are no class, the first is label 5 in row 1",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        calibration.fit_temperature(logits, labels)
