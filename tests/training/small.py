"""A small problem, and programs of a run, a stack and a batch, compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.training import execution, program, states
from linclf_jax.training.program import Lanes
from linclf_jax.training.settings import Hparams, Static

HPARAMS = Hparams(learning_rate=0.1, l2=0.01)
WIDTH = 4  # of the batches of ``compiled``
FOLDS = jnp.array([1, states.NO_FOLD, 0])  # of three lanes


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


def lanes_of(*hparams):
    """Returns hyper-parameters of several runs, as arrays."""
    return Hparams(*(jnp.array(column, float) for column in zip(*hparams, strict=True)))


def of_rates(*rates):
    """Returns hyper-parameters of runs that differ in their learning rates."""
    return lanes_of(*(HPARAMS._replace(learning_rate=rate) for rate in rates))


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
    begin = jax.jit(functools.partial(program.begin, static))
    advance = jax.jit(functools.partial(program.advance, static))

    def run(state, hparams, fold, data, first, last):
        lanes = Lanes(jax.random.key(0), hparams, fold)
        if state is None:
            state = begin(lanes, data)
        return advance(lanes, data, state, first, last)

    return run


def train_stack(static, hparams, data, fold=None):
    """Returns the last state of a stack."""
    if fold is None:
        fold = jnp.full(len(hparams.l2), states.NO_FOLD)
    last = program.num_steps(len(data.labels), static)
    return stacked_program(static)(None, hparams, fold, data, 0, last)


def lane_of(tree, lane):
    """Returns one lane of arrays with the lanes last; a count of steps is of all."""
    return jax.tree.map(lambda leaf: leaf[..., lane] if leaf.ndim else leaf, tree)


def run_of(state, lane):
    """Returns parameters and curves of one lane, as ``train`` does."""
    W, b = lane_of(state.params, lane)
    return W, b[0], *lane_of(state.curves, lane)


@functools.cache
def compiled(static: Static, devices=1, *, folds=False):
    """Returns the program of batches of ``WIDTH`` in float32, and its data."""
    mesh = execution.make_mesh(jax.devices()[:devices])
    data = execution.place(make_data(dtype=np.float32, folds=folds), mesh)
    return execution.build(static, data, WIDTH, mesh), data


def run(built, starts, last=None, on_segment=lambda *_: None):
    """Returns the outputs of batches, after their last step if none is given."""
    program, data = built
    last = program.last_step if last is None else last
    return execution.run(program, starts, data, last, on_segment)
