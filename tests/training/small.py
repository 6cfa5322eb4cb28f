"""A small problem, and programs of one run and of a stack, compiled once each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.training import program, states
from linclf_jax.training.settings import Hparams, Static

HPARAMS = Hparams(learning_rate=0.1, l2=0.01)
NO_FOLDS = jnp.full(3, states.NO_FOLD)


def make_data(num_rows=21, dtype=np.float64, *, folds=False):
    """Returns training rows and ten validation rows, or one table in three folds."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_rows + 10, 4)).astype(dtype)
    labels = rng.integers(0, 3, num_rows + 10).astype(np.int32)
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    if not folds:
        rows = slice(num_rows), slice(num_rows, None)
        return states.Data(x[rows[0]], labels[rows[0]], x[rows[1]], labels[rows[1]])
    x, labels = x[:num_rows], labels[:num_rows]
    fold = jnp.asarray(np.arange(num_rows) * 2 % 3, jnp.int32)
    return states.Data(x, labels, x, labels, fold, fold)


@functools.cache
def jitted(static: Static):
    """Returns the jitted training of one run."""
    return jax.jit(program.make_train(static))


def train(static, hparams=HPARAMS, data=None, seed=0):
    """Returns parameters and history of one run."""
    data = make_data() if data is None else data
    return jitted(static)(jax.random.key(seed), hparams, data)


@functools.cache
def stacked_program(static: Static):
    """Returns the jitted ``advance`` of seed 0; without a state it begins."""

    def advance(state, lanes, fold, data, first, last):
        key = jax.random.key(0)
        if state is None:
            state = program.begin(static, key, lanes, data)
        return program.advance(static, state, key, lanes, fold, data, first, last)

    return jax.jit(advance)


def lanes_of(*hparams):
    """Returns hyper-parameters of several runs, as arrays."""
    return Hparams(*(jnp.array(column, float) for column in zip(*hparams, strict=True)))


def train_stack(static, lanes, data, fold=None):
    """Returns the last state of a stack."""
    fold = NO_FOLDS[: len(lanes.l2)] if fold is None else fold
    last = program.num_steps(len(data.labels), static)
    return stacked_program(static)(None, lanes, fold, data, 0, last)


def lane_of(tree, lane):
    """Returns one lane of arrays with the lanes last; a count of steps is of all."""
    return jax.tree.map(lambda leaf: leaf[..., lane] if leaf.ndim else leaf, tree)


def run_of(state, lane):
    """Returns parameters and curves of one lane, as ``train`` does."""
    W, b = lane_of(state.params, lane)
    return W, b[0], *lane_of(state.curves, lane)
