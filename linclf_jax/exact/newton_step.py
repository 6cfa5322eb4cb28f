"""One Newton step of every lane: a direction by conjugate gradients, then a search."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import compaction, conjugate, passes
from linclf_jax.exact import table as table_lib
from linclf_jax.exact.conjugate import Preconditioner, State
from linclf_jax.exact.passes import Iterate, Lanes
from linclf_jax.exact.table import Table

# How much of what a lane is to reach the linear model of a step may leave: the rest is
# for what the model does not see.
MODEL_SHARE = 0.3
# A step from far away needs no exact direction: it may leave a tenth of the distance,
# and nearer the optimum a share as small as the relative distance itself, which keeps
# convergence quadratic. Without a penalty there is no gap; then this much of the
# squared gradient.
LOOSEST = 0.1
WITHOUT_PENALTY = 1e-12
MAX_HALVINGS = 30
SUFFICIENT = 1e-4  # Armijo's share of the decrease that the slope promises
NOISE = 4.0  # units of rounding, that an objective may rise by


class Step(NamedTuple):
    """What a step did."""

    iterate: Iterate
    predicted: jax.Array  # (L,) decrease of the objective by Newton's model
    products: jax.Array  # (L,) of the Hessian with a vector


def step(
    table: Table,
    lanes: Lanes,
    iterate: Iterate,
    inverse: Preconditioner,
    goal: np.ndarray,
) -> Step:
    """Makes a step of some lanes, whose relative distance is to reach the goal."""
    target = _target(table, lanes, iterate, inverse, jnp.asarray(goal))
    state = conjugate.begin(table, lanes, inverse, iterate, target)
    state = _solved(table, lanes, iterate.probs, inverse, state)
    slope = jnp.sum(state.direction * iterate.gradient, axis=(1, 2))
    moved = _search(table, lanes, iterate, state.direction, slope)
    return Step(moved, -0.5 * slope, state.products)


@jax.jit
def _target(
    table: Table,
    lanes: Lanes,
    iterate: Iterate,
    preconditioner: Preconditioner,
    goal: jax.Array,
) -> jax.Array:
    left = conjugate.distance(table, lanes, preconditioner, iterate.gradient)
    loose = jnp.minimum(LOOSEST, left / iterate.objective) * left
    wanted = MODEL_SHARE * goal * iterate.objective
    return jnp.where(lanes.l2 > 0.0, jnp.maximum(wanted, loose), WITHOUT_PENALTY * left)


def _solved(
    table: Table,
    lanes: Lanes,
    probs: jax.Array,
    preconditioner: Preconditioner,
    state: State,
) -> State:
    """Iterates to the end, in narrower programs as lanes are done."""
    smaller = compaction.narrower(len(state.live))
    state = conjugate.proceed(
        table, lanes, preconditioner, probs, state, fewest=smaller
    )
    live = np.flatnonzero(state.live)
    if not live.size:
        return state
    chosen = compaction.padded(live, smaller)
    part: Any = compaction.take((lanes, probs, preconditioner, state), chosen)
    return compaction.put(state, chosen, _solved(table, *part))


def _search(
    table: Table,
    lanes: Lanes,
    iterate: Iterate,
    direction: jax.Array,
    slope: jax.Array,
) -> Iterate:
    """Halves the step of every lane whose objective would not fall as it should."""
    size = jnp.ones(len(slope))
    for _ in range(MAX_HALVINGS):
        moved = passes.evaluate(table, lanes, _moved(lanes, iterate, direction, size))
        accepted = _accepted(iterate, moved, size, slope)
        if np.asarray(accepted).all():
            return moved
        size = jnp.where(accepted, size, 0.5 * size)
    return compaction.select(accepted, moved, iterate)


@jax.jit
def _moved(
    lanes: Lanes, iterate: Iterate, direction: jax.Array, size: jax.Array
) -> jax.Array:
    return table_lib.centred(lanes.present, iterate.A + size[:, None, None] * direction)


@jax.jit
def _accepted(
    iterate: Iterate, moved: Iterate, size: jax.Array, slope: jax.Array
) -> jax.Array:
    before, unit = iterate.objective, jnp.finfo(iterate.probs.dtype).eps
    allowed = SUFFICIENT * size * slope + NOISE * unit * jnp.abs(before)
    # A lane that is not a number cannot get better by smaller steps.
    return (moved.objective <= before + allowed) | jnp.isnan(before)
