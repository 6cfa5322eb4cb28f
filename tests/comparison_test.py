"""Paired comparisons: published examples, enumeration, and what must not matter."""

import itertools

import numpy as np
import pytest
from scipy import stats

from linclf_jax import comparison, metrics


def compare(both, only_a, only_b, neither):
    counts = [both, only_a, only_b, neither]
    return comparison.mcnemar(
        np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)
    )


@pytest.mark.parametrize(
    ("counts", "p_value", "interval"),
    [
        # Bentur et al. (2009), in Fagerland, Lydersen and Laake (2014).
        ((1, 1, 7, 12), 0.0703, (-0.507, -0.026)),
        # Altman et al., "Statistics with Confidence" (2000), table 6.2.
        ((14, 5, 0, 22), 0.0625, (0.011, 0.226)),
    ],
)
def test_published_examples(counts, p_value, interval):
    actual = compare(*counts)
    assert actual.p_value == pytest.approx(p_value, abs=5e-5)
    assert (actual.low, actual.high) == pytest.approx(interval, abs=5e-4)
    assert actual.size == sum(counts)
    assert (actual.only_a, actual.only_b) == counts[1:3]
    both, only_a, only_b, neither = counts
    other = compare(both, only_b, only_a, neither)
    assert (other.p_value, other.difference) == (actual.p_value, -actual.difference)
    assert (other.low, other.high) == pytest.approx((-actual.high, -actual.low))


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 3), (0, 7), (9, 2), (40, 41)])
def test_the_p_value_is_that_of_a_fair_coin(a, b):
    expected = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert compare(5, a, b, 6).p_value == pytest.approx(expected, rel=1e-12)


def test_the_interval_holds_the_difference_in_19_of_20_samples():
    """By enumeration of all tables of 24 rows, not by simulation."""
    chances, size = (0.6, 0.15, 0.05, 0.2), 24
    covered = total = 0.0
    for counts in itertools.product(range(size + 1), repeat=3):
        rest = size - sum(counts)
        if rest < 0:
            continue
        table = (*counts, rest)
        chance = stats.multinomial.pmf(table, size, chances)
        low, high = comparison._interval(*table)
        covered += chance * (low <= 0.1 <= high)
        total += chance
    assert total == pytest.approx(1.0, abs=1e-9)
    assert 0.94 < covered < 0.97


def test_two_intervals_apart_say_less():
    """Agreement narrows the interval of the difference: it is why rows are paired."""
    actual = compare(60, 6, 1, 33)
    (low_a, high_a), (low_b, high_b) = (
        metrics.wilson_interval(share, 100) for share in (0.66, 0.61)
    )
    assert actual.high - actual.low < 0.7 * np.hypot(high_a - low_a, high_b - low_b)


def test_one_that_agrees_everywhere_differs_by_nothing():
    for table in ((5, 0, 0, 5), (5, 0, 0, 0), (0, 0, 0, 5)):
        actual = compare(*table)
        assert (actual.difference, actual.p_value) == (0.0, 1.0)
        assert actual.low <= 0.0 <= actual.high


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm(p_values, expected):
    np.testing.assert_allclose(comparison.holm(p_values), expected, rtol=1e-12)


def test_holm_rejects_what_the_steps_down_reject():
    """The definition: smallest first, each against 0.05 / how many are left."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.random(5) ** 3
        bounds = 0.05 / np.arange(5, 0, -1)
        order = np.argsort(p_values)
        rejected = order[np.logical_and.accumulate(p_values[order] <= bounds)]
        actual = np.flatnonzero(comparison.holm(p_values) <= 0.05)
        assert set(actual) == set(rejected)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 0], [1, 0, 1], r"right_a has shape \(2,\) and right_b \(3,\)"),
        ([], [], r"right_a has shape \(0,\); expected \(N,\), at least one row"),
        ([1, 0], [0.5, 1], r"right_b\[0\] is 0.5, the first of 1 such; expected 0 or"),
        ([[1]], [[1]], r"right_a has shape \(1, 1\)"),
        ([1, np.nan], [1, 0], r"right_a\[1\] is nan"),
    ],
)
def test_bad_rows_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        comparison.mcnemar(np.array(a), np.array(b))


@pytest.mark.parametrize("p_values", [[0.5, 1.1], [np.nan], [-0.1], [[0.1]]])
def test_what_is_no_p_value_is_refused(p_values):
    with pytest.raises(ValueError, match="expected \\(M,\\), from 0 to 1"):
        comparison.holm(p_values)
