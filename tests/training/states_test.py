"""Lanes of several stacks in one: each goes on with the bits that it had."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.training import states
from linclf_jax.training.settings import Static
from tests.training.small import HPARAMS, lane_of, lanes_of, make_data, stacked_program

WIDTH, LAST = 4, 8
NO_FOLDS = jnp.full(WIDTH, states.NO_FOLD)
DATA = make_data(16)


def advance(static, state, rates, first, last):
    lanes = lanes_of(*(HPARAMS._replace(learning_rate=rate) for rate in rates))
    run = stacked_program(static)
    return jax.device_get(run(state, lanes, NO_FOLDS, DATA, first, last))


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "lars"])
def test_gathered_lanes_go_on_as_they_would_have(optimizer):
    static = Static(3, optimizer=optimizer, batch_size=8, epochs=4)
    rates = [[0.01, 0.02, 0.04, 1e9], [0.1, 0.2, 0.4, 0.8]]
    halves = [advance(static, None, stack, 0, 3) for stack in rates]
    whole = [
        advance(static, *pair, 3, LAST) for pair in zip(halves, rates, strict=True)
    ]
    picked = [[3, 0], [2]]  # in another order; the last one fills up
    state = states.gather(list(zip(halves, picked, strict=True)), WIDTH)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, halves[0])
    together = advance(static, state, [1e9, 0.01, 0.4, 0.4], 3, LAST)
    for lane, (part, old) in enumerate([(0, 3), (0, 0), (1, 2), (1, 2)]):
        chex.assert_trees_all_equal(lane_of(together, lane), lane_of(whole[part], old))


def test_a_single_part_in_order_is_itself():
    static = Static(3, optimizer="adam", batch_size=8, epochs=4)
    state = advance(static, None, [0.1] * 4, 0, 3)
    chex.assert_trees_all_equal(states.gather([(state, range(4))], WIDTH), state)


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
def test_diagnosis(loss, status):
    diagnosis = states.diagnose(np.asarray(loss))
    assert int(diagnosis) == status
    assert diagnosis.dtype == np.int32
