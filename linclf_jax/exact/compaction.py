"""Lanes that are done leave the program: the others move to one of fewer lanes.

A tree here is one of NamedTuples whose arrays all have the lanes in front. Lanes are
given by their numbers, ``(A,)``, one of which may come twice.
"""

import jax
import jax.numpy as jnp
import numpy as np


def take(tree, lanes: np.ndarray):
    """Returns some lanes of a tree."""
    return tree if _is_every(tree, lanes) else _taken(tree, lanes)


def put(tree, lanes: np.ndarray, part):
    """Returns ``tree`` with some of its lanes replaced by those of ``part``."""
    return part if _is_every(tree, lanes) else _replaced(tree, lanes, part)


def _is_every(tree, lanes: np.ndarray) -> bool:
    """Returns whether these are all lanes in order, which need no copy."""
    return np.array_equal(lanes, np.arange(len(jax.tree.leaves(tree)[0])))


@jax.jit
def _taken(tree, lanes: np.ndarray):
    return jax.tree.map(lambda array: array[lanes], tree)


@jax.jit
def _replaced(tree, lanes: np.ndarray, part):
    return jax.tree.map(lambda old, new: old.at[lanes].set(new), tree, part)


def select(chosen: jax.Array, new, old):
    """Returns the lanes of ``new`` where ``chosen (L,)`` is true, else of ``old``."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, new, old)


def narrower(width: int) -> int:
    """Returns the width of the next smaller program, 0 if there is none.

    Halves keep the programs to compile few.
    """
    return width // 2


def narrowest(num_lanes: int, running: int) -> int:
    """Returns the width of the narrowest program that holds the running lanes."""
    width = num_lanes
    while narrower(width) >= running:
        width = narrower(width)
    return width


def padded(lanes: np.ndarray, width: int) -> np.ndarray:
    """Returns the lanes with the last one repeated, up to the width."""
    return np.concatenate([lanes, np.repeat(lanes[-1:], width - len(lanes))])
