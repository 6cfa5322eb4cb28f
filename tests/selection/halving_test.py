"""Successive halving: when trials are ranked, and which of them go on."""

import itertools
import math
from fractions import Fraction

import pytest

from linclf_jax.selection import halving
from tests.selection.trial_rows import row


def survivors(rows, metric="val_loss", eta=2):
    return halving.survivors(rows, metric=metric, eta=eta)


def test_rungs_are_the_rounded_up_quotients():
    for epochs, eta in itertools.product(range(1, 130), range(2, 6)):
        quotients = {math.ceil(Fraction(epochs, eta**k)) for k in range(10)}
        assert halving.rungs(epochs, eta) == tuple(sorted(quotients))
    assert halving.rungs(5, 100) == (1, 5)


@pytest.mark.parametrize(
    ("count", "eta", "kept"), [(8, 2, 4), (9, 2, 5), (9, 4, 3), (1, 2, 1), (2, 9, 1)]
)
def test_the_best_part_rounded_up_goes_on(count, eta, kept):
    rows = [row(trial, trial / 10, 1 - trial / 20) for trial in range(count)]
    for metric in ("val_loss", "val_accuracy"):
        assert survivors(rows, metric, eta) == set(range(kept))
        assert survivors(rows[::-1], metric, eta) == set(range(kept))


def test_repeats_go_on_together_by_their_mean():
    losses = [(0.1, 0.9), (0.4, 0.4), (0.3, 0.6), (0.5, 0.5)]
    rows = [
        row(2 * n + seed, loss, learning_rate=0.1 + n, seed=seed)
        for n, pair in enumerate(losses)
        for seed, loss in enumerate(pair)
    ]
    # Means 0.5, 0.4, 0.45, 0.5: the best trial of all, 0, is not of the best settings.
    assert survivors(rows) == {2, 3, 4, 5}
    rows[3]["status"] = "diverged"  # one bad repeat takes its setting out
    # The mean of 0 and 1 is that of 6 and 7, and the lower number breaks the tie.
    assert survivors(rows) == {0, 1, 4, 5}


def test_the_diverged_count_as_having_been_in_the_rung():
    rows = [row(trial, trial / 10) for trial in range(6)]
    for lost, kept in (((0, 2), {1, 3, 4}), ((1, 3, 4), {5}), ((5,), set())):
        for trial in lost:
            rows[trial]["status"] = "diverged"
        assert survivors(rows) == kept  # half of six at most
    assert survivors([]) == set()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: halving.rungs(60, 1), "--halving is 1; expected at least 2"),
        (lambda: halving.rungs(0, 2), "--epochs is 0; expected at least 1"),
        (lambda: survivors([], eta=0), "--halving is 0; expected at least 2"),
        (lambda: survivors([], "loss"), "--metric is 'loss'; expected one of val_loss"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
