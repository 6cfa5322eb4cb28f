"""Lanes of several stacks in one: each goes on with the bits that it had."""

import functools

import chex
import jax
import numpy as np
import pytest

from linclf_jax.training import program as training
from linclf_jax.training import states
from linclf_jax.training.settings import Hparams, Static

WIDTH, LAST = 4, 8


@functools.cache
def program(static):
    def advance(state, rates, data, first, last):
        key, fold = jax.random.key(0), np.full(WIDTH, states.NO_FOLD)
        hparams = Hparams(*(np.full(WIDTH, value) for value in Hparams(l2=0.01)))
        hparams = hparams._replace(learning_rate=rates)
        if state is None:
            state = training.begin(static, key, hparams, data)
        return training.advance(static, state, key, hparams, fold, data, first, last)

    return jax.jit(advance)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    return states.Data(x[:16], labels[:16], x[16:], labels[16:])


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "lars"])
def test_gathered_lanes_go_on_as_they_would_have(optimizer, data):
    static = Static(3, optimizer=optimizer, batch_size=8, epochs=4)
    run = program(static)
    rates = [np.array([0.01, 0.02, 0.04, 1e9]), np.array([0.1, 0.2, 0.4, 0.8])]
    halves = [jax.device_get(run(None, own, data, 0, 3)) for own in rates]
    whole = [
        jax.device_get(run(state, own, data, 3, LAST))
        for state, own in zip(halves, rates, strict=True)
    ]
    picked = [[3, 0], [2]]  # in an order of their own; the last one fills up
    state = states.gather(list(zip(halves, picked, strict=True)), WIDTH)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, halves[0])
    together = np.array([rates[0][3], rates[0][0], rates[1][2], rates[1][2]])
    found = jax.device_get(run(state, together, data, 3, LAST))
    places = [(0, 3), (0, 0), (1, 2), (1, 2)]
    for lane, (part, old) in enumerate(places):
        mine, expected = (
            jax.tree.map(lambda leaf, n=n: leaf[..., n] if leaf.ndim else leaf, tree)
            for tree, n in ((found, lane), (whole[part], old))
        )
        chex.assert_trees_all_equal(mine, expected)


def test_a_single_part_in_order_is_itself(data):
    static = Static(3, optimizer="adam", batch_size=8, epochs=4)
    state = jax.device_get(program(static)(None, np.full(4, 0.1), data, 0, 3))
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
    found = states.diagnose(np.asarray(loss))
    assert int(found) == status
    assert found.dtype == np.int32
