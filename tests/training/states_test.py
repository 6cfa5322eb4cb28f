"""Statuses, the epoch that a lane ends with, and lanes of several stacks in one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.training import program, states
from linclf_jax.training.program import Lanes
from linclf_jax.training.settings import Static
from tests.training import small

BEST = Static(3, batch_size=8, epochs=8, schedule="constant", keep="best")
LAST = 24  # steps of 21 rows
# Lanes that improve to the end, overfit in between, and diverge at once.
RATES = small.of_rates(0.001, 0.02, 1e30)
NO_FOLDS = jnp.full(3, states.NO_FOLD)


@pytest.mark.parametrize(
    ("loss", "status"),
    [
        (0.0, states.OK),
        (1e6, states.OK),
        (1.1e6, states.EXPLODED),
        (np.nan, states.NONFINITE_LOSS),
        (np.inf, states.NONFINITE_LOSS),
    ],
)
def test_a_loss_is_diagnosed_and_the_first_diagnosis_stays(loss, status):
    before = jnp.array([states.OK, states.EXPLODED, states.NONFINITE_LOSS], jnp.int32)
    after = states.diagnosed(before, jnp.full(3, loss))
    assert after.dtype == np.int32
    assert after.tolist() == [status, states.EXPLODED, states.NONFINITE_LOSS]


def advance(state, first, last):
    """Advances the lanes from one step to another; ``None`` is their beginning."""
    run = small.stacked_program(BEST)
    return jax.device_get(run(state, RATES, NO_FOLDS, small.make_data(), first, last))


@pytest.fixture(scope="module")
def whole():
    return advance(None, 0, LAST)


def test_the_first_epoch_with_the_lowest_validation_loss_is_kept(whole):
    best = np.argmin(whole.curves.val_loss[:, :2], axis=0) + 1
    assert 1 < best[1] < best[0] == 8  # the test would be empty otherwise
    np.testing.assert_array_equal(states.final_epochs(whole)[:2], best)
    for lane, epoch in enumerate(best):
        then = advance(None, 0, 3 * epoch).params
        kept = small.lane_of(states.final_params(whole), lane)
        chex.assert_trees_all_equal(kept, small.lane_of(then, lane))
        assert whole.best.loss[lane] == whole.curves.val_loss[epoch - 1, lane]
    assert np.any(whole.params.W[..., 1] != whole.best.params.W[..., 1])


def test_a_lane_without_a_good_epoch_keeps_its_first_weights(whole):
    assert whole.status[2] != states.OK
    assert states.final_epochs(whole)[2] == 0
    begun = advance(None, 0, 0).params
    np.testing.assert_array_equal(whole.best.params.W[..., 2], begun.W[..., 2])


@pytest.mark.parametrize("cut", [1, 7, 12, 23])
def test_a_cut_changes_no_bit_of_the_best(whole, cut):
    again = advance(advance(None, 0, cut), cut, LAST)
    chex.assert_trees_all_equal(again, whole)


def test_of_equal_losses_the_first_epoch_counts(whole):
    state = jax.tree.map(jnp.asarray, whole)
    closed = states.with_best(state, jnp.array(8), state.best.loss)
    chex.assert_trees_all_equal(closed.best, state.best)


def test_where_the_last_epoch_is_kept_no_best_is():
    lanes = Lanes(jax.random.key(0), RATES, NO_FOLDS)
    state = program.begin(Static(3, batch_size=8, epochs=8), lanes, small.make_data())
    assert state.best is None
    assert states.final_params(state) is state.params


def test_survivors_take_their_best_with_them(whole):
    moved = states.gather([(whole, [1]), (whole, [0])], 3)
    assert states.final_epochs(moved).tolist() == whole.best.epoch[[1, 0, 0]].tolist()
    np.testing.assert_array_equal(
        states.final_params(moved).W[..., 1], whole.best.params.W[..., 0]
    )


@pytest.mark.parametrize("optimizer", ["adam", "lars"])
def test_gathered_lanes_go_on_as_they_would_have(optimizer):
    static = Static(3, optimizer=optimizer, batch_size=8, epochs=3)
    data, fold = small.make_data(), jnp.full(4, states.NO_FOLD)

    def advance(state, rates, first, last):
        run = small.stacked_program(static)
        lanes = small.of_rates(*rates)
        return jax.device_get(run(state, lanes, fold, data, first, last))

    rates = [[0.01, 0.02, 0.04, 1e9], [0.1, 0.2, 0.4, 0.8]]
    halves = [advance(None, of_part, 0, 4) for of_part in rates]
    whole = [advance(*pair, 4, 9) for pair in zip(halves, rates, strict=True)]
    picked = [[3, 0], [2]]  # in another order; the last one fills up
    state = states.gather(list(zip(halves, picked, strict=True)), 4)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, halves[0])
    together = advance(state, [1e9, 0.01, 0.4, 0.4], 4, 9)
    for lane, (part, old) in enumerate([(0, 3), (0, 0), (1, 2), (1, 2)]):
        expected = small.lane_of(whole[part], old)
        chex.assert_trees_all_equal(small.lane_of(together, lane), expected)
    same = states.gather([(halves[0], range(4))], 4)
    chex.assert_trees_all_equal(same, halves[0])
