"""When each lane of the exact solver is done: its status, and what is known of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import certificate
from linclf_jax.exact.certificate import Certificate, Iterate
from linclf_jax.exact.objective import Primal
from linclf_jax.exact.problem import Problem, Solver

CONVERGED = "converged"
MAX_STEPS = "max_steps"
# l2 = 0: by Newton's model there is no more to gain than the tolerance; no proof.
WITHOUT_BOUND = "optimum_without_bound"
# l2 = 0, and a hyperplane separates the classes.
NO_FINITE_OPTIMUM = "no_finite_optimum"
# No step makes progress in this arithmetic; the gap is all that is known.
STALLED = "stalled_at_precision"
INVALID = "invalid"  # weights, penalty or start are NaN, or numbers left the range

# A step is slow if it leaves more than SLOW_GAP of the gap, or its direction could not
# be solved for, and it lowers the objective by less than SLOW_DECREASE of it. After
# SLOW_STEPS of them in a row the float32 products are too coarse.
SLOW_GAP = 0.5
SLOW_DECREASE = 1e-3
SLOW_STEPS = 2
# A step is in vain if it lowers the objective by less than VAIN_DECREASE of the
# tolerance and leaves more than VAIN_GAP of the lowest gap so far. VAIN_STEPS of them
# in a row are the limit of the arithmetic.
VAIN_DECREASE = 0.01
VAIN_GAP = 0.5
VAIN_STEPS = 5
ROUNDING = 1e-14  # of an objective
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
    slow: np.ndarray  # slow steps in a row
    vain: np.ndarray  # steps in vain in a row
    predicted: np.ndarray  # decrease by Newton's model of the last step
    objective: np.ndarray  # before the last step
    distance: np.ndarray  # before it: the gap, or the squared gradient without penalty
    lowest: np.ndarray  # distance so far
    solved: np.ndarray  # whether the last direction was as exact as was asked for
    status: np.ndarray  # empty while a lane goes on


def begin(num_lanes: int) -> Progress:
    """Returns what is known before the first step."""
    return Progress(
        *np.zeros((4, num_lanes), np.int64),
        *np.full((4, num_lanes), np.inf),
        solved=np.ones(num_lanes, bool),
        status=np.full(num_lanes, "", dtype="U32"),
    )


def update(
    solver: Solver, iterate: Iterate, l2: np.ndarray, progress: Progress
) -> None:
    """Counts the last step, and gives a status to every lane that is done."""
    tol = solver.tol
    proof = certificate.summary(iterate)
    _count(progress, proof, tol)
    # A predicted decrease of 0 may come of a direction that could not be solved for: it
    # says that the optimum is near only where the gradient vanishes.
    reliable = (progress.predicted > 0) | (
        proof.gradient_norm <= FLAT * solver.mean_norm
    )
    no_more_to_gain = reliable & (progress.predicted <= tol * proof.objective)
    endings = (
        (INVALID, ~np.isfinite(proof.objective) | np.isnan(proof.gap)),
        (CONVERGED, _relative_gap(proof) <= tol),
        (NO_FINITE_OPTIMUM, (l2 == 0) & _separated(solver.problem, iterate, l2)),
        (WITHOUT_BOUND, (l2 == 0) & no_more_to_gain),
        (STALLED, progress.vain >= VAIN_STEPS),
        (MAX_STEPS, progress.steps >= solver.max_newton),
    )
    for ending, holds in endings:
        progress.status[holds & (progress.status == "")] = ending


def reopen(iterate: Iterate, progress: Progress, tol: float) -> bool:
    """Makes statuses true of a tighter certificate of the same parameters.

    A lane whose gap is above the tolerance by that certificate goes on.

    Returns:
        Whether some lane goes on.
    """
    relative = _relative_gap(certificate.summary(iterate))
    open_ended = (progress.status == STALLED) | (progress.status == MAX_STEPS)
    progress.status[open_ended & (relative <= tol)] = CONVERGED
    short = (progress.status == CONVERGED) & ~(relative <= tol)
    progress.status[short] = ""
    return bool(short.any())


def is_too_coarse(progress: Progress) -> bool:
    """Returns whether float32 products are too coarse for some lane."""
    return bool(np.any((progress.slow >= SLOW_STEPS) & (progress.status == "")))


def _count(progress: Progress, proof: Certificate, tol: float) -> None:
    """Counts slow steps and those in vain, and remembers where the lanes are."""
    running = progress.status == ""
    decrease = progress.objective - proof.objective
    # Without a penalty there is no gap to go by.
    distance = np.where(np.isfinite(proof.gap), proof.gap, proof.gradient_norm**2)
    slow = (distance > SLOW_GAP * progress.distance) | ~progress.solved
    slow &= decrease < SLOW_DECREASE * proof.objective
    vain = distance > VAIN_GAP * progress.lowest
    vain &= decrease < max(VAIN_DECREASE * tol, ROUNDING) * proof.objective
    for counts, holds in ((progress.slow, slow), (progress.vain, vain)):
        counts[running] = np.where(holds, counts + 1, 0)[running]
    progress.objective[running] = proof.objective[running]
    progress.distance[running] = distance[running]
    np.copyto(progress.lowest, np.fmin(progress.lowest, distance), where=running)


def _separated(problem: Problem, iterate: Iterate, l2: np.ndarray) -> np.ndarray:
    """Returns which lanes score the label of every row with weight highest."""
    if not (l2 == 0).any():
        return np.zeros(len(l2), bool)
    return np.asarray(_margins(problem, iterate.primal) > 0.0)


@jax.jit
def _margins(problem: Problem, primal: Primal) -> jax.Array:
    """Returns the smallest margin of each lane, minus infinity for soft targets."""
    label = problem.targets[None] == 1.0
    first = jnp.max(jnp.where(label, primal.probs, -jnp.inf), axis=1)
    second = jnp.max(jnp.where(label, -jnp.inf, primal.probs), axis=1)
    # Twice, because these probabilities are corrected to first order: they are not
    # exactly those of a classifier.
    margins = jnp.where(problem.sample_weights > 0.0, first - 2.0 * second, jnp.inf)
    return jnp.min(margins, axis=1)


def info(iterate: Iterate, progress: Progress) -> Info:
    """Returns the results of all lanes, as the caller gets them."""
    proof = certificate.summary(iterate)
    return Info(
        objective=proof.objective,
        gap=proof.gap,
        relative_gap=_relative_gap(proof),
        gradient_norm=proof.gradient_norm,
        newton_steps=progress.steps,
        products=progress.products,
        status=progress.status,
    )


def _relative_gap(proof: Certificate) -> np.ndarray:
    """Returns gap over objective, ``(L,)``; a gap of 0 is 0 whatever it is part of.

    Infinite where the objective is not above 0: no gap is small beside that.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = proof.gap / proof.objective
    ratio = np.where(proof.objective <= 0.0, np.inf, ratio)
    return np.where(proof.gap == 0.0, 0.0, ratio)
