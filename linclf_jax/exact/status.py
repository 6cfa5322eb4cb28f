"""How each lane of the exact solver ends: its status, and what is known of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import certificate
from linclf_jax.exact.certificate import Certificate, Forward
from linclf_jax.exact.newton_step import Iterate
from linclf_jax.exact.problem import Problem

CONVERGED = "converged"
MAX_STEPS = "max_steps"
# l2 = 0: Newton's model promises no more than the tolerance, and nothing proves it.
WITHOUT_BOUND = "optimum_without_bound"
NO_FINITE_OPTIMUM = "no_finite_optimum"  # l2 = 0, and every row can be told apart
# No step makes progress in this arithmetic; the gap is all that is known.
STALLED = "stalled_at_precision"
INVALID = "invalid"

# A step is slow that leaves more than this much of the gap, or follows a direction that
# could not be solved for, and lowers the objective by less than this share. Two in a
# row: the float32 products are too coarse.
SLOW_GAP = 0.5
SLOW_DECREASE = 1e-3
SLOW_STEPS = 2
# It is in vain if it lowers the objective by less than this share of the tolerance and
# finds no gap that is half of the lowest. Five in a row: the arithmetic's limit.
VAIN_DECREASE = 0.01
VAIN_GAP = 0.5
ROUNDING = 1e-14  # of an objective
VAIN_STEPS = 5
FLAT = 1e-10  # of the rows' norms: a gradient that is rounding


class Info(NamedTuple):
    """What is known of each lane; NumPy arrays, float64 where they are floating."""

    objective: np.ndarray  # (L,)
    gap: np.ndarray  # (L,) the objective is at most this far above its minimum
    relative_gap: np.ndarray  # (L,) gap / objective
    gradient_norm: np.ndarray  # (L,) of W, with the best bias
    newton_steps: np.ndarray  # (L,) int64
    products: np.ndarray  # (L,) int64, of the Hessian with a vector
    status: np.ndarray  # (L,) str


class Progress(NamedTuple):
    """How far each lane is; NumPy arrays ``(L,)``, changed in place."""

    steps: np.ndarray
    products: np.ndarray
    promised: np.ndarray  # decrease by the model of the last step
    solved: np.ndarray  # whether its direction was as exact as was asked for
    objective: np.ndarray  # before the last step
    distance: np.ndarray  # from the optimum, by the gap, before the last step
    lowest: np.ndarray  # distance so far
    slow: np.ndarray  # steps in a row
    vain: np.ndarray  # steps in a row
    status: np.ndarray  # empty while a lane goes on


def begin(num_lanes: int) -> Progress:
    """Returns what is known before the first step.

    Args:
        num_lanes: L.
    """
    counts = np.zeros((4, num_lanes), np.int64)
    infinite = np.full((4, num_lanes), np.inf)
    return Progress(
        steps=counts[0],
        products=counts[1],
        promised=infinite[0],
        solved=np.ones(num_lanes, bool),
        objective=infinite[1],
        distance=infinite[2],
        lowest=infinite[3],
        slow=counts[2],
        vain=counts[3],
        status=np.full(num_lanes, "", dtype="U32"),
    )


def judge(
    problem: Problem,
    iterate: Iterate,
    l2: np.ndarray,
    progress: Progress,
    tol: float,
    max_newton: int,
    reach: float,
) -> None:
    """Gives a status to every lane that is done.

    Args:
        problem: Of L lanes.
        iterate: Where they are.
        l2: ``(L,)`` float64.
        progress: How they came there; changed in place.
        tol: Relative gap to reach.
        max_newton: Steps of a lane.
        reach: Root mean square of the rows' norms, which bounds the gradient's.
    """
    found = certificate.summary(iterate.ahead, iterate.back)
    _count(progress, found, tol)
    # A model that promises nothing has no direction, which proves nothing either.
    flat = (progress.promised > 0) | (found.gradient_norm <= FLAT * reach)
    promised = flat & (progress.promised <= tol * found.objective)
    endings = (
        (INVALID, ~np.isfinite(found.objective) | np.isnan(found.gap)),
        (CONVERGED, _relative(found) <= tol),
        (NO_FINITE_OPTIMUM, (l2 == 0) & _separated(problem, iterate.ahead, l2)),
        (WITHOUT_BOUND, (l2 == 0) & promised),
        (STALLED, progress.vain >= VAIN_STEPS),
        (MAX_STEPS, progress.steps >= max_newton),
    )
    for ending, holds in endings:
        progress.status[holds & (progress.status == "")] = ending


def reopen(iterate: Iterate, progress: Progress, tol: float) -> bool:
    """Makes statuses true of another certificate of the same parameters.

    Args:
        iterate: The parameters, with the certificate that is returned.
        progress: Of the lanes; changed in place. A lane that has not converged after
            all goes on.
        tol: Relative gap to reach.

    Returns:
        Whether some lane goes on.
    """
    relative = _relative(certificate.summary(iterate.ahead, iterate.back))
    open_ended = (progress.status == STALLED) | (progress.status == MAX_STEPS)
    progress.status[open_ended & (relative <= tol)] = CONVERGED
    short = (progress.status == CONVERGED) & ~(relative <= tol)
    progress.status[short] = ""
    return bool(short.any())


def is_too_coarse(progress: Progress) -> bool:
    """Returns whether some lane makes no headway with float32 products.

    Args:
        progress: Of the lanes.
    """
    return bool(np.any((progress.slow >= SLOW_STEPS) & (progress.status == "")))


def _count(progress: Progress, found: Certificate, tol: float) -> None:
    """Counts the slow steps and the vain ones, and remembers where the lanes are."""
    running = progress.status == ""
    decrease = progress.objective - found.objective
    # Without a penalty there is no gap to go by.
    distance = np.where(np.isfinite(found.gap), found.gap, found.gradient_norm**2)
    slow = (distance > SLOW_GAP * progress.distance) | ~progress.solved
    slow &= decrease < SLOW_DECREASE * found.objective
    vain = distance > VAIN_GAP * progress.lowest
    vain &= decrease < max(VAIN_DECREASE * tol, ROUNDING) * found.objective
    for counts, holds in ((progress.slow, slow), (progress.vain, vain)):
        counts[running] = np.where(holds, counts + 1, 0)[running]
    progress.objective[running] = found.objective[running]
    progress.distance[running] = distance[running]
    np.copyto(progress.lowest, np.fmin(progress.lowest, distance), where=running)


def _separated(problem: Problem, ahead: Forward, l2: np.ndarray) -> np.ndarray:
    """Returns which lanes give every row that counts more score for its own class."""
    if not (l2 == 0).any():
        return np.zeros(len(l2), bool)
    return np.asarray(_margins(problem, ahead) > 0.0)


@jax.jit
def _margins(problem: Problem, ahead: Forward) -> jax.Array:
    """Returns the smallest margin of each lane, minus infinity for soft targets."""
    own = problem.targets[None] == 1.0
    first = jnp.max(jnp.where(own, ahead.probs, -jnp.inf), axis=1)
    second = jnp.max(jnp.where(own, -jnp.inf, ahead.probs), axis=1)
    # Twice, for these are corrected to first order and not quite a classifier's own.
    margins = jnp.where(problem.shares > 0.0, first - 2.0 * second, jnp.inf)
    return jnp.min(margins, axis=1)


def info(iterate: Iterate, progress: Progress) -> Info:
    """Returns what a caller gets to know.

    Args:
        iterate: Where the lanes ended.
        progress: How they came there.
    """
    found = certificate.summary(iterate.ahead, iterate.back)
    return Info(
        objective=found.objective,
        gap=found.gap,
        relative_gap=_relative(found),
        gradient_norm=found.gradient_norm,
        newton_steps=progress.steps,
        products=progress.products,
        status=progress.status,
    )


def _relative(found: Certificate) -> np.ndarray:
    """Returns gap over objective, ``(L,)``; a gap of 0 is 0 whatever it is part of.

    Infinite where the objective is not above 0: no gap is small beside that.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = found.gap / found.objective
    ratio = np.where(found.objective <= 0.0, np.inf, ratio)
    return np.where(found.gap == 0.0, 0.0, ratio)
