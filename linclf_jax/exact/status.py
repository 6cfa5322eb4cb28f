"""When each lane of the exact solver is done: its status, and what is known of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact.certificate import Certificate
from linclf_jax.exact.passes import Iterate
from linclf_jax.exact.problem import Problem

CONVERGED = "converged"
MAX_STEPS = "max_steps"
# l2 = 0: by Newton's model there is no more to gain than the tolerance; no proof.
WITHOUT_BOUND = "optimum_without_bound"
NO_FINITE_OPTIMUM = (
    "no_finite_optimum"  # l2 = 0, and a hyperplane separates the classes
)
# No step makes progress in this arithmetic; the gap is all that is known.
STALLED = "stalled_at_precision"
INVALID = "invalid"  # weights, penalty or start are NaN, or numbers left the range
NOT_CERTIFIED = "not_certified"  # near the optimum by an estimate; nothing is proved

# Steps aim at half of the tolerance by their own estimate, and at a tenth of that each
# time the certificate says more.
FIRST_AIM = 0.5
NEXT_AIM = 0.1
# A step is slow if it leaves more than SLOW_GAP of the lowest distance so far and
# lowers the objective by less than SLOW_DECREASE of it. After SLOW_STEPS of them in a
# row float32 is too coarse.
SLOW_GAP = 0.5
SLOW_DECREASE = 1e-3
SLOW_STEPS = 2
# It is in vain if it also lowers the objective by less than VAIN_DECREASE of the
# tolerance. VAIN_STEPS of them in a row are the limit of the arithmetic.
VAIN_DECREASE = 0.01
VAIN_STEPS = 5
ROUNDING = 1e-14  # of an objective
REVISIONS = 4  # certificates that fall short, of one fit


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
    predicted: np.ndarray  # decrease by Newton's model of the last step
    objective: np.ndarray  # before the last step
    lowest: np.ndarray  # distance so far
    slow: np.ndarray  # slow steps in a row
    vain: np.ndarray  # steps in vain in a row
    aim: np.ndarray  # share of the tolerance that steps aim at
    revisions: np.ndarray  # certificates that fell short
    status: np.ndarray  # empty while a lane goes on


def begin(num_lanes: int) -> Progress:
    """Returns what is known before the first step."""
    counts = np.zeros((5, num_lanes), np.int64)
    infinite = np.full((3, num_lanes), np.inf)
    return Progress(
        steps=counts[0],
        products=counts[1],
        predicted=infinite[0],
        objective=infinite[1],
        lowest=infinite[2],
        slow=counts[2],
        vain=counts[3],
        aim=np.full(num_lanes, FIRST_AIM),
        revisions=counts[4],
        status=np.full(num_lanes, "", dtype="U32"),
    )


def restart(progress: Progress) -> None:
    """Forgets what was slow: the passes have become finer."""
    progress.lowest[:], progress.objective[:] = np.inf, np.inf
    progress.slow[:] = progress.vain[:] = 0


def update(
    solver: Any,
    iterate: Iterate,
    left: np.ndarray,
    l2: np.ndarray,
    progress: Progress,
) -> None:
    """Counts the last step, and gives a status to every lane that is done.

    Args:
        solver: The solver.
        iterate: Where the lanes are.
        left: ``(L,)`` how far the optimum may be, as estimated.
        l2: ``(L,)``.
        progress: How they came there.
    """
    objective = np.asarray(iterate.objective)
    _count(progress, objective, left, solver.tol)
    no_more_to_gain = (progress.predicted >= 0) & (
        progress.predicted <= solver.tol * objective
    )
    goal = progress.aim * solver.tol * objective
    endings = (
        (INVALID, ~np.isfinite(objective) | np.isnan(left)),
        (CONVERGED, (l2 > 0) & (left <= goal)),
        (NO_FINITE_OPTIMUM, (l2 == 0) & _separated(solver.problem, iterate, l2)),
        (WITHOUT_BOUND, (l2 == 0) & no_more_to_gain),
        (STALLED, progress.vain >= VAIN_STEPS),
        (MAX_STEPS, progress.steps >= solver.max_newton),
    )
    for ending, holds in endings:
        progress.status[holds & (progress.status == "")] = ending


def accept(proof: Certificate, progress: Progress, tol: float) -> None:
    """Ends the lanes whose start proves to be good enough."""
    progress.status[_relative_gap(proof) <= tol] = CONVERGED


def reopen(proof: Certificate, progress: Progress, tol: float) -> bool:
    """Makes statuses true of the certificate of what would be returned.

    A lane whose gap is above the tolerance goes on, with a lower aim.

    Returns:
        Whether some lane goes on.
    """
    relative = _relative_gap(proof)
    progress.status[relative <= tol] = CONVERGED
    short = (progress.status == CONVERGED) & ~(relative <= tol)
    progress.revisions[short] += 1
    ended = short & (progress.revisions > REVISIONS)
    progress.status[ended] = STALLED
    short &= ~ended
    progress.status[short] = ""
    progress.aim[short] *= NEXT_AIM
    # The second time float32 is to blame.
    progress.slow[short & (progress.revisions > 1)] = SLOW_STEPS
    return bool(short.any())


def is_too_coarse(progress: Progress) -> bool:
    """Returns whether float32 passes are too coarse for some lane."""
    return bool(np.any((progress.slow >= SLOW_STEPS) & (progress.status == "")))


def _count(
    progress: Progress, objective: np.ndarray, left: np.ndarray, tol: float
) -> None:
    """Counts slow steps and those in vain, and remembers where the lanes are."""
    running = progress.status == ""
    decrease = progress.objective - objective
    stays = left > SLOW_GAP * progress.lowest
    slow = stays & (decrease < SLOW_DECREASE * objective)
    vain = stays & (decrease < max(VAIN_DECREASE * tol, ROUNDING) * objective)
    for counts, holds in ((progress.slow, slow), (progress.vain, vain)):
        counts[running] = np.where(holds, counts + 1, 0)[running]
    progress.objective[running] = objective[running]
    np.copyto(progress.lowest, np.fmin(progress.lowest, left), where=running)


def _separated(problem: Problem, iterate: Iterate, l2: np.ndarray) -> np.ndarray:
    """Returns which lanes score the label of every row with weight highest."""
    if not (l2 == 0).any():
        return np.zeros(len(l2), bool)
    return np.asarray(_margins(problem, iterate.probs) > 0.0)


@jax.jit
def _margins(problem: Problem, probs: jax.Array) -> jax.Array:
    """Returns the smallest margin of each lane, minus infinity for soft targets."""
    label = problem.targets[None] == 1.0
    first = jnp.max(jnp.where(label, probs, -jnp.inf), axis=1)
    second = jnp.max(jnp.where(label, -jnp.inf, probs), axis=1)
    margins = jnp.where(problem.sample_weights > 0.0, first - second, jnp.inf)
    return jnp.min(margins, axis=1)


def info(proof: Certificate, progress: Progress) -> Info:
    """Returns the results of all lanes, as the caller gets them."""
    return Info(
        objective=proof.objective,
        gap=proof.gap,
        relative_gap=_relative_gap(proof),
        gradient_norm=proof.gradient_norm,
        newton_steps=progress.steps,
        products=progress.products,
        status=progress.status,
    )


def without_proof(objective: np.ndarray, progress: Progress) -> Info:
    """Returns the results of lanes of which nothing is proved: the gap is infinite.

    A lane that has no optimum, is invalid or out of steps is so without a proof.
    """
    ends = progress.status
    unproved = np.isin(ends, (CONVERGED, WITHOUT_BOUND, STALLED))
    unknown = np.full(len(objective), np.inf)
    return Info(
        objective=objective,
        gap=unknown,
        relative_gap=unknown,
        gradient_norm=np.full(len(objective), np.nan),
        newton_steps=progress.steps,
        products=progress.products,
        status=np.where(unproved, NOT_CERTIFIED, ends),
    )


def _relative_gap(proof: Certificate) -> np.ndarray:
    """Returns gap over objective, ``(L,)``; a gap of 0 is 0 whatever it is part of.

    Infinite where the objective is not above 0: no gap is small beside that.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = proof.gap / proof.objective
    ratio = np.where(proof.objective <= 0.0, np.inf, ratio)
    return np.where(proof.gap == 0.0, 0.0, ratio)
