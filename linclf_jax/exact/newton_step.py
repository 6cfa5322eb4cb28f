"""One Newton step of every lane: a direction, and how far to follow it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import axes as axes_lib
from linclf_jax.exact import bias, certificate, conjugate, lanewise
from linclf_jax.exact.axes import Axes
from linclf_jax.exact.certificate import Backward, Forward
from linclf_jax.exact.conjugate import State, System
from linclf_jax.exact.problem import Problem
from linclf_jax.params import Params

MAX_HALVINGS = 30
SUFFICIENT = 1e-4  # Armijo's share of the decrease that the slope promises
NOISE = 4 * np.finfo(np.float64).eps  # of an objective
# How much of the tolerance the linear model of a step may leave: the rest is for what
# the model does not see.
MODEL_SHARE = 0.3
# A step from far away needs no exact direction: it may leave a tenth of the gap, and
# nearer the optimum a share as small as the gap itself, which keeps convergence
# quadratic. Without a penalty there is no gap; then this much of the squared gradient.
LOOSEST = 0.1
BIAS_SHARE = 0.05  # of the tolerance, that the best bias may leave after a step
FINEST_BIAS = 1e-13  # of the data term; below it rounding hides what is gained
FIRST_BIAS = 1e-2  # of the data term, before the first step: the step will move it
WITHOUT_PENALTY = 1e-12


class Iterate(NamedTuple):
    """Parameters of all lanes, with what both passes say of them."""

    params: Params  # W (L, C, D), b (L, C): float64, with values of the result's dtype
    ahead: Forward
    back: Backward


class Step(NamedTuple):
    """What a step did."""

    iterate: Iterate
    promised: np.ndarray  # (L,) decrease of the objective by Newton's model
    solved: np.ndarray  # (L,) boolean: the direction is as exact as was asked for
    products: np.ndarray  # (L,) of the Hessian with a vector


def evaluate(
    problem: Problem, params: Params, l2: jax.Array, accuracy: float = FIRST_BIAS
) -> Iterate:
    """Makes both passes.

    Args:
        problem: Of L lanes.
        params: float64 ``W (L, C, D)``, ``b (L, C)``.
        l2: ``(L,)`` float64.
        accuracy: Of the best bias, as a share of the data term.
    """
    ahead = certificate.forward(problem, params.W, params.b, l2, accuracy)
    return Iterate(params, ahead, certificate.backward(problem, params.W, ahead, l2))


def step(
    problem: Problem,
    axes: Axes,
    iterate: Iterate,
    l2: jax.Array,
    tol: float,
    dtype: np.dtype,
) -> Step:
    """Makes a Newton step; no objective rises, but for ``NOISE``.

    Args:
        problem: Of L lanes, at least ``lanewise.FEWEST``.
        axes: Of its features.
        iterate: Where the lanes are.
        l2: ``(L,)`` float64.
        tol: Relative gap that the lanes are to reach.
        dtype: Of the parameters.
    """
    system, state = _begin(problem, axes, iterate, l2, tol)
    state = _finish(axes, system, state)
    change = _unrotated(problem, axes, iterate, state)
    iterate = _search(problem, axes, iterate, change, l2, tol, dtype)
    solved = conjugate.is_solved(system, state)
    promised = -0.5 * change.slope
    return Step(iterate, *map(np.asarray, (promised, solved, state.products)))


@jax.jit
def _begin(
    problem: Problem, axes: Axes, iterate: Iterate, l2: jax.Array, tol: float
) -> tuple[System, State]:
    ahead, back = iterate.ahead, iterate.back
    gradient = jnp.einsum(
        "lcd,dr->lcr", _centred(problem.present, back.gradient), axes.basis
    )
    # Without a penalty nothing holds a step along an axis that no row sees.
    held = axes.seen[None] | (l2 > 0.0)[:, None]
    gradient = jnp.where(held[:, None], gradient, 0.0)
    squares = jnp.sum(gradient**2, axis=(1, 2))
    relative = back.gap / ahead.objective
    rest = jnp.minimum(LOOSEST, relative) * squares
    certified = 2.0 * l2 * MODEL_SHARE * tol * ahead.objective
    target = jnp.where(
        l2 > 0.0, jnp.maximum(certified, rest), WITHOUT_PENALTY * squares
    )
    inverse = jnp.linalg.inv(bias.regular(ahead.jacobian, problem.present))
    narrow = axes.x.dtype == jnp.float32
    system = System(
        probs=ahead.probs.astype(axes.x.dtype),
        likeliest=None if narrow else jnp.argmax(ahead.probs, axis=1),
        shares=problem.shares.astype(axes.x.dtype),
        bias=jnp.where(jnp.isfinite(inverse), inverse, 0.0),
        l2=l2,
        preconditioner=axes_lib.make_preconditioner(
            axes, problem.shares, ahead.probs, ahead.jacobian, l2
        ),
        target=target,
    )
    return system, conjugate.begin(axes, system, gradient)


_proceed = jax.jit(conjugate.proceed, static_argnames="fewest")


def _finish(axes: Axes, system: System, state: State) -> State:
    """Iterates to the end, in narrower programs as lanes are done."""
    smaller = lanewise.narrower(len(state.live))
    state = _proceed(axes, system, state, fewest=smaller)
    live = np.flatnonzero(state.live)
    if not live.size:
        return state
    lanes = lanewise.padded(live, smaller)
    system, rest = lanewise.take((system, state), lanes)
    return lanewise.put(state, lanes, _finish(axes, system, rest))


class _Change(NamedTuple):
    """Where a whole step leads, in the features' own basis."""

    W: jax.Array  # (L, C, D)
    b: jax.Array  # (L, C)
    slope: jax.Array  # (L,) of the objective


@jax.jit
def _unrotated(problem: Problem, axes: Axes, iterate: Iterate, state: State) -> _Change:
    W = jnp.einsum("lcr,dr->lcd", state.direction, axes.basis)
    W = _centred(problem.present, W)
    # The direction is one of centred features, and starts from a better bias.
    b = iterate.ahead.step + state.shift - jnp.einsum("lcd,d->lc", W, axes.mean)
    return _Change(W, b, jnp.sum(W * iterate.back.gradient, axis=(1, 2)))


def _search(
    problem: Problem,
    axes: Axes,
    iterate: Iterate,
    change: _Change,
    l2: jax.Array,
    tol: float,
    dtype: np.dtype,
) -> Iterate:
    """Halves the step of every lane whose objective would not fall as it should."""
    size = jnp.ones(len(l2))
    accuracy = _bias_accuracy(axes, iterate, l2, tol)
    for _ in range(MAX_HALVINGS):
        params = _moved(problem, axes, iterate.params, change, size, dtype=dtype)
        ahead = certificate.forward(problem, params.W, params.b, l2, accuracy)
        moved, good = _judged(problem, iterate, change, size, ahead, dtype=dtype)
        if np.asarray(good).all():
            break
        size = jnp.where(good, size, 0.5 * size)
    else:
        kept = iterate.params.b, iterate.ahead
        moved = lanewise.select(good, moved, kept)
        params = lanewise.select(good, params, iterate.params)
    b, ahead = moved
    back = certificate.backward(problem, params.W, ahead, l2)
    return Iterate(Params(params.W, b), ahead, back)


@jax.jit
def _bias_accuracy(
    axes: Axes, iterate: Iterate, l2: jax.Array, tol: float
) -> jax.Array:
    """Returns what the best bias may leave, ``(L,)``, as a share of the data term.

    It counts in the gap once as it is, and once as an error of the gradient of second
    order, which the square of the spread and a weak penalty magnify.
    """
    seen = BIAS_SHARE * tol * l2 / (iterate.ahead.objective * axes.spread)
    return jnp.maximum(jnp.minimum(BIAS_SHARE * tol, jnp.sqrt(seen)), FINEST_BIAS)


@functools.partial(jax.jit, static_argnames="dtype")
def _moved(
    problem: Problem,
    axes: Axes,
    params: Params,
    change: _Change,
    size: jax.Array,
    *,
    dtype: np.dtype,
) -> Params:
    """Returns the parameters after a part of the step."""
    W = _centred(problem.present, params.W)
    if axes.basis.shape[0] > axes.basis.shape[1]:
        # What no row sees, the optimum does not have.
        W = jnp.einsum("lcd,dr,er->lce", W, axes.basis, axes.basis, optimize=True)
    W = rounded(W + size[:, None, None] * change.W, dtype)
    b = params.b + size[:, None] * change.b
    return Params(W, jnp.where(problem.present, b, -jnp.inf))


@functools.partial(jax.jit, static_argnames="dtype")
def _judged(
    problem: Problem,
    iterate: Iterate,
    change: _Change,
    size: jax.Array,
    ahead: Forward,
    *,
    dtype: np.dtype,
) -> tuple[tuple[jax.Array, Forward], jax.Array]:
    """Takes the best bias, and says where the objective has fallen as it should."""
    b = rounded(ahead.b, dtype)
    ahead = with_bias(problem, ahead, b)
    before = iterate.ahead.objective
    allowed = SUFFICIENT * size * change.slope + NOISE * jnp.abs(before)
    return (b, ahead), ahead.objective <= before + allowed


def rounded(array: jax.Array, dtype: np.dtype) -> jax.Array:
    """Returns the values that the result can have, in float64.

    Args:
        array: float64.
        dtype: Of the result.
    """
    return array.astype(dtype).astype(jnp.float64)


def with_bias(problem: Problem, ahead: Forward, b: jax.Array) -> Forward:
    """Accounts for a bias that is the best one but for rounding.

    Where the bias moves by d with a range of r, no third derivative of a row's loss
    exceeds r times the second. So it lies above its tangent by at most e^r / 2 times
    d.J d (Bach, Self-concordant analysis for logistic regression, 2010).

    Args:
        problem: Of L lanes.
        ahead: With the best bias.
        b: ``(L, C)`` float64, near it.
    """
    change = jnp.where(problem.present, b - ahead.b, 0.0)
    reach = jnp.max(change, axis=1) - jnp.min(change, axis=1)
    curvature = jnp.einsum("lc,lck,lk->l", change, ahead.jacobian, change)
    above = jnp.sum(ahead.rest * change, axis=1) + 0.5 * jnp.exp(reach) * curvature
    above = jnp.maximum(above, 0.0)
    # The certificate bounds the cost by the change itself.
    return ahead._replace(
        objective=ahead.best + above,
        given=b,
        change=change,
        above=jnp.full_like(above, jnp.inf),
    )


def _centred(present: jax.Array, array: jax.Array) -> jax.Array:
    """Takes away the mean over the classes, which changes no probability.

    The optimum has none, and weights of 0 for classes that are absent.
    """
    mask = present[:, :, None]
    mean = jnp.sum(jnp.where(mask, array, 0.0), axis=1, keepdims=True)
    mean = mean / jnp.sum(mask, axis=1, keepdims=True)
    return jnp.where(mask, array - mean, 0.0)
