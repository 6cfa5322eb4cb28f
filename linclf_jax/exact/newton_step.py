"""One Newton step of every lane: a direction by conjugate gradients, then a search."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import columns as columns_lib
from linclf_jax.exact import compaction, conjugate, passes
from linclf_jax.exact.conjugate import Preconditioner, State
from linclf_jax.exact.passes import Iterate, Probs, System

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
    probs: Probs
    predicted: np.ndarray  # (L,) decrease of the objective by Newton's model
    solved: np.ndarray  # (L,) boolean: the direction is as exact as was asked for
    products: np.ndarray  # (L,) of the Hessian with a vector


def step(
    system: System,
    iterate: Iterate,
    probs: Probs,
    inverse: Preconditioner,
    left: np.ndarray,
    goal: np.ndarray,
) -> Step:
    """Makes a step of some lanes, whose distances are to come from ``left`` to goal."""
    objective = np.asarray(iterate.objective)
    with np.errstate(invalid="ignore", divide="ignore"):
        loose = np.fmin(LOOSEST, left / objective) * left
    with_penalty = np.maximum(MODEL_SHARE * goal, loose)
    target = np.where(system.l2 > 0.0, with_penalty, WITHOUT_PENALTY * left)
    state = conjugate.begin(
        system.l2, system.column, inverse, iterate.gradient, jnp.asarray(target)
    )
    state = _solved(system, probs, inverse, state)
    slope = np.asarray(_slope(state.direction, iterate.gradient))
    moved, probs = _search(system, iterate, probs, state.direction, slope)
    solved = np.asarray(state.left) <= target
    return Step(moved, probs, -0.5 * slope, solved, np.asarray(state.products))


@jax.jit
def _slope(direction: jax.Array, gradient: jax.Array) -> jax.Array:
    return jnp.sum(direction * gradient, axis=(1, 2))


def _solved(
    system: System, probs: Probs, inverse: Preconditioner, state: State
) -> State:
    """Iterates to the end, in narrower programs as lanes are done."""
    smaller = compaction.narrower(len(state.live))
    state = conjugate.proceed(system, inverse, probs, state, fewest=smaller)
    live = np.flatnonzero(state.live)
    if not live.size:
        return state
    lanes = compaction.padded(live, smaller)
    own_inverse, own = compaction.take((inverse, state), lanes)
    own = _solved(system.take(lanes), probs.take(lanes), own_inverse, own)
    return compaction.put(state, lanes, own)


def _search(
    system: System,
    iterate: Iterate,
    probs: Probs,
    direction: jax.Array,
    slope: np.ndarray,
) -> tuple[Iterate, Probs]:
    """Halves the step of every lane whose objective would not fall as it should."""
    keep = probs.kept is not None
    size, before = np.ones(len(slope)), np.asarray(iterate.objective)
    noise = NOISE * float(system.unit) * np.abs(before)
    for _ in range(MAX_HALVINGS):
        A = _moved(system.present, iterate.A, direction, size)
        moved, moved_probs = passes.evaluate(system, A, keep=keep)
        allowed = before + SUFFICIENT * size * slope + noise
        # A lane that is not a number cannot get better by smaller steps.
        accepted = (np.asarray(moved.objective) <= allowed) | np.isnan(before)
        if accepted.all():
            return moved, moved_probs
        size = np.where(accepted, size, 0.5 * size)
    # No step is short enough in these lanes: they stay where they are.
    A = jnp.where(accepted[:, None, None], moved.A, iterate.A)
    return passes.evaluate(system, A, keep=keep)


@jax.jit
def _moved(
    present: jax.Array, A: jax.Array, direction: jax.Array, size: jax.Array
) -> jax.Array:
    return columns_lib.centred(present, A + size[:, None, None] * direction)
