"""The best epoch: the classifier that it had, whatever the run was cut into."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.training import keeping, program, states
from linclf_jax.training.settings import Hparams, Static
from tests import sweeps

BEST = Static(3, batch_size=8, epochs=8, schedule="constant", keep="best")
LAST_STEP = 24  # of 21 rows
# Lanes that improve to the end, overfit in between, and diverge at once.
LANES = Hparams(*(np.full(3, value) for value in Hparams()))._replace(
    learning_rate=np.array([0.003, 0.03, 1e30])
)
FOLD = jnp.full(3, states.NO_FOLD)
STOP_AT = 7  # in the middle of an epoch


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(51, 6)), rng.integers(0, 3, 51)
    x[:, 0] += labels
    return states.Data(*map(jnp.asarray, (x[:21], labels[:21], x[21:], labels[21:])))


@pytest.fixture(scope="module")
def advance(data):
    """Advances a stack of lanes from one step to another; ``None`` is its beginning."""

    @jax.jit
    def run(state, first, last):
        return program.advance(
            BEST, state, jax.random.key(0), LANES, FOLD, data, first, last
        )

    def advance(state, first, last):
        if state is None:
            state = program.begin(BEST, jax.random.key(0), LANES, data)
        return jax.device_get(run(state, first, last))

    return advance


@pytest.fixture(scope="module")
def whole(advance):
    return advance(None, 0, LAST_STEP)


def test_the_first_epoch_with_the_lowest_validation_loss_is_kept(advance, whole):
    best = np.argmin(whole.curves.val_loss[:, :2], axis=0) + 1
    assert 1 < best[1] < best[0] == 8  # the test would be empty otherwise
    np.testing.assert_array_equal(keeping.epochs(whole)[:2], best)
    for lane, epoch in enumerate(best):
        then = advance(None, 0, 3 * epoch).params
        for found, expected in zip(keeping.params(whole), then, strict=True):
            np.testing.assert_array_equal(found[..., lane], expected[..., lane])
        assert whole.best.loss[lane] == whole.curves.val_loss[epoch - 1, lane]
    assert np.any(whole.params.W[..., 1] != whole.best.params.W[..., 1])


def test_a_lane_without_a_good_epoch_keeps_its_first_weights(advance, whole):
    assert whole.status[2] != states.OK
    assert keeping.epochs(whole)[2] == 0
    begun = advance(None, 0, 0).params
    np.testing.assert_array_equal(whole.best.params.W[..., 2], begun.W[..., 2])


@pytest.mark.parametrize("cut", [1, STOP_AT, 12, 23])
def test_a_cut_changes_no_bit(advance, whole, cut):
    again = advance(advance(None, 0, cut), cut, LAST_STEP)
    chex.assert_trees_all_equal(again, whole)


def test_of_equal_losses_the_first_epoch_counts(whole):
    state = jax.tree.map(jnp.asarray, whole)
    closed = keeping.close_epoch(state, jnp.array(8), state.best.loss)
    chex.assert_trees_all_equal(closed.best, state.best)


def test_survivors_take_their_best_with_them(whole):
    moved = states.gather([(whole, [1]), (whole, [0])], 3)
    assert keeping.epochs(moved).tolist() == whole.best.epoch[[1, 0, 0]].tolist()
    np.testing.assert_array_equal(
        keeping.params(moved).W[..., 1], whole.best.params.W[..., 0]
    )


def test_keeping_the_last_costs_nothing(data):
    static = Static(3, batch_size=8, epochs=8)
    state = program.begin(static, jax.random.key(0), LANES, data)
    assert state.best is None
    assert keeping.params(state) is state.params
