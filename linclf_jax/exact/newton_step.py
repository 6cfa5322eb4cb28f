"""One Newton step of every lane: a direction by conjugate gradients, then a search."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import axes as axes_lib
from linclf_jax.exact import compaction, conjugate, line_search, objective
from linclf_jax.exact.axes import Axes
from linclf_jax.exact.certificate import Iterate
from linclf_jax.exact.conjugate import State, System
from linclf_jax.exact.line_search import Change
from linclf_jax.exact.problem import Problem, Solver

# How much of the tolerance the linear model of a step may leave: the rest is for what
# the model does not see.
MODEL_SHARE = 0.3
# A step from far away needs no exact direction: it may leave a tenth of the gap, and
# nearer the optimum a share as small as the gap itself, which keeps convergence
# quadratic. Without a penalty there is no gap; then this much of the squared gradient.
LOOSEST = 0.1
WITHOUT_PENALTY = 1e-12


class Step(NamedTuple):
    """What a step did."""

    iterate: Iterate
    predicted: np.ndarray  # (L,) decrease of the objective by Newton's model
    solved: np.ndarray  # (L,) boolean: the direction is as exact as was asked for
    products: np.ndarray  # (L,) of the Hessian with a vector


def step(solver: Solver, iterate: Iterate, l2: jax.Array) -> Step:
    """Makes a Newton step; no objective rises by more than ``line_search.NOISE``.

    Of at least ``compaction.FEWEST`` lanes.
    """
    problem, axes = solver.problem, solver.axes
    system, state = _begin(problem, axes, iterate, l2, solver.tol)
    state = _finish(axes, system, state)
    change = _unrotated(problem, axes, iterate, state)
    iterate = line_search.search(solver, iterate, change, l2)
    solved = conjugate.is_solved(system, state)
    predicted = -0.5 * change.slope
    return Step(iterate, *map(np.asarray, (predicted, solved, state.products)))


@jax.jit
def _begin(
    problem: Problem, axes: Axes, iterate: Iterate, l2: jax.Array, tol: float
) -> tuple[System, State]:
    """Returns Newton's system, and the state before its first product."""
    primal, dual = iterate.primal, iterate.dual
    centred = line_search.centred(problem.present, dual.gradient)
    gradient = jnp.einsum("lcd,dr->lcr", centred, axes.basis)
    # Without a penalty nothing bounds a step along an axis on which no rows differ.
    bounded = axes.varies[None] | (l2 > 0.0)[:, None]
    gradient = jnp.where(bounded[:, None], gradient, 0.0)
    target = _target(iterate, l2, tol, jnp.sum(gradient**2, axis=(1, 2)))
    inverse = jnp.linalg.inv(objective.regular(primal.jacobian, problem.present))
    narrow = axes.x.dtype == jnp.float32
    weights = problem.sample_weights
    system = System(
        probs=primal.probs.astype(axes.x.dtype),
        top_class=None if narrow else jnp.argmax(primal.probs, axis=1),
        sample_weights=weights.astype(axes.x.dtype),
        inverse_jacobian=jnp.where(jnp.isfinite(inverse), inverse, 0.0),
        l2=l2,
        preconditioner=axes_lib.make_preconditioner(
            axes, weights, primal.probs, primal.jacobian, l2
        ),
        target=target,
    )
    return system, conjugate.begin(axes, system, gradient)


def _target(
    iterate: Iterate, l2: jax.Array, tol: float, squares: jax.Array
) -> jax.Array:
    """Returns the squared norm of the residual to reach, given the gradient's."""
    value = iterate.primal.objective
    loose = jnp.minimum(LOOSEST, iterate.dual.gap / value) * squares
    certified = 2.0 * l2 * MODEL_SHARE * tol * value
    return jnp.where(l2 > 0.0, jnp.maximum(certified, loose), WITHOUT_PENALTY * squares)


_proceed = jax.jit(conjugate.proceed, static_argnames="fewest")


def _finish(axes: Axes, system: System, state: State) -> State:
    """Iterates to the end, in narrower programs as lanes are done."""
    smaller = compaction.narrower(len(state.live))
    state = _proceed(axes, system, state, fewest=smaller)
    live = np.flatnonzero(state.live)
    if not live.size:
        return state
    lanes = compaction.padded(live, smaller)
    system, rest = compaction.take((system, state), lanes)
    return compaction.put(state, lanes, _finish(axes, system, rest))


@jax.jit
def _unrotated(problem: Problem, axes: Axes, iterate: Iterate, state: State) -> Change:
    """Returns the direction in the features' own basis."""
    W = jnp.einsum("lcr,dr->lcd", state.direction, axes.basis)
    W = line_search.centred(problem.present, W)
    # The direction is one of centred features, and starts from a better bias.
    b = iterate.primal.b_step + state.shift - jnp.einsum("lcd,d->lc", W, axes.mean)
    return Change(W, b, jnp.sum(W * iterate.dual.gradient, axis=(1, 2)))
