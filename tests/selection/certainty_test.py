"""When a path is past its best, and which fits a choice rests on."""

import numpy as np
import pytest

from linclf_jax.exact import status
from linclf_jax.selection import certainty, ranking

L2S = np.geomspace(1.0, 1e-4, 9)  # half a decade apart: three steps are a factor of 32
NONE = dict.fromkeys(ranking.METRICS, 0.0)


def path(means, *, noise=0.1, metric="val_loss", l2s=L2S):
    """Whether a path of such means is past its best, of 400 rows around each mean."""
    means = np.array(means, float)
    signs = np.where(np.arange(400) % 2, noise, -noise)
    # The noise of each penalty is its own, as if it were that of other rows.
    rows = np.stack([m + np.roll(signs, k % 2) for k, m in enumerate(means)])
    return certainty.is_past_best(l2s[: len(means)], means, rows, metric)


def test_it_is_past_its_best_after_several_penalties_that_are_surely_worse():
    # Every second one differs from the best by rows of 0.2: three errors are 0.03.
    assert path([3, 1, 2, 3, 4])
    assert path([-3, -1, -2, -3, -4], metric="val_accuracy")
    assert path([3, 1, 1.001, 1.05, 1.1, 1.2])


@pytest.mark.parametrize(
    "means",
    [
        [3, 2, 1],
        [3, 1, 2, 3],  # two
        [3, 1, 2, 0.9, 2],
        [3, 1, 4, 3, 2],  # it comes back
        [3, 1, 2, 1.0001, 3, 4],  # not in a row
        [3, 1, 1.01, 1.011, 1.012],  # within the noise
        [3, 1, 2, 3, np.nan],
        [np.inf] * 5,
    ],
)
def test_it_is_not_while_there_is_doubt(means):
    assert not path(means)


def test_a_fine_grid_goes_as_far_as_a_coarse_one():
    fine = np.geomspace(1.0, 0.5, 5)
    assert not path([3, 1, 2, 3, 4], l2s=fine)


def test_where_all_rows_are_right_differences_are_rounding():
    assert not path([1e-9, 1e-12, 1e-8, 1e-7, 1e-6], noise=0.0)


def rows(losses, *, certified=(), accuracies=None, folds=2, spread=0.0, ends=None):
    """Fits of folds at a grid of penalties, those at some indices certified."""
    return [
        {
            "trial": k * folds + f,
            "l2": float(L2S[k]),
            "fold": f,
            "status": (ends or {}).get(
                k, status.CONVERGED if k in certified else status.NOT_CERTIFIED
            ),
            "relative_gap": None,
            "val_loss": loss + (f - 0.5) * spread,
            "val_accuracy": 0.5 if accuracies is None else accuracies[k],
        }
        for k, loss in enumerate(losses)
        for f in range(folds)
    ]


def needed(*args, metric="val_loss", moved=NONE, **options):
    l2s = certainty.undecided(rows(*args, **options), metric, {}, moved)
    return [int(np.flatnonzero(l2 == L2S)[0]) for l2 in l2s]


LOSSES = [9.0, 5.0, 3.0, 2.0, 1.0, 1.5, 2.5, 3.5]


def test_a_choice_rests_on_both_rules_and_their_neighbours():
    assert needed(LOSSES) == [3, 4, 5]
    # An error of 2.5: the strongest within it is that of 3.
    assert needed(LOSSES, spread=5.0) == [1, 2, 3, 4, 5]
    assert needed(LOSSES[:5]) == [3, 4]
    assert needed(LOSSES[4:]) == [0, 1]


def test_what_is_certified_is_not_certified_again():
    assert needed(LOSSES, certified=(3, 5)) == [4]
    assert needed(LOSSES, certified=(3, 4, 5)) == []
    # It is another best by then.
    assert needed([*LOSSES[:5], 0.5, 2.5, 3.5], certified=(3, 4, 5)) == [6]


def test_others_are_if_certification_may_bring_them_in_front():
    moved = NONE | {"val_loss": 0.6}
    assert needed(LOSSES, certified=(3, 4, 5), moved=moved) == []
    moved = NONE | {"val_loss": 0.8}  # 2.5 is within twice that of the best
    assert needed(LOSSES, certified=(3, 4, 5), moved=moved) == [6]
    # 3.0 is within the error, 5.0 is beyond it by 1.5.
    within = {"spread": 5.0, "certified": (1, 2, 3, 4, 5)}
    assert needed([6.0, *LOSSES[1:]], moved=NONE, **within) == []
    moved = NONE | {"val_loss": 1.3}
    assert needed([6.0, *LOSSES[1:]], moved=moved, **within) == [0, 6, 7]


def test_of_equal_accuracies_those_that_the_loss_may_prefer():
    ties = [0.9] * 8
    options = {"accuracies": ties, "metric": "val_accuracy"}
    # No spread: by one standard error it is the strongest.
    assert needed(LOSSES, **options) == [0, 1, 3, 4, 5]
    moved = NONE | {"val_loss": 0.5}
    assert needed(LOSSES, moved=moved, **options) == [0, 1, 3, 4, 5]
    # If one row may move an accuracy, any of them may be the best.
    moved = NONE | {"val_accuracy": 0.01}
    assert needed(LOSSES, moved=moved, **options) == [*range(8)]


def test_a_penalty_that_cannot_be_chosen_is_nobodys_neighbour():
    assert needed(LOSSES, ends={5: status.MAX_STEPS}) == [3, 4, 6]
    assert needed(LOSSES, ends=dict.fromkeys(range(8), status.INVALID)) == []
