"""When each lane of the exact solver is done: its status, and what is known of it."""

from typing import NamedTuple

import numpy as np

from linclf_jax.exact.certificate import Certificate

CONVERGED = "converged"
MAX_STEPS = "max_steps"
# l2 = 0: by Newton's model there is no more to gain than the tolerance; no proof.
WITHOUT_BOUND = "optimum_without_bound"
# l2 = 0, and a hyperplane separates the classes.
NO_FINITE_OPTIMUM = "no_finite_optimum"
# No step makes progress in this arithmetic; the gap is all that is known.
STALLED = "stalled_at_precision"
INVALID = "invalid"  # weights, penalty or start are NaN, or numbers left the range
NOT_CERTIFIED = "not_certified"  # near the optimum by an estimate; nothing is proved

# Steps aim at half of the tolerance by their own estimate, and at a tenth of that each
# time the certificate says more.
FIRST_AIM = 0.5
NEXT_AIM = 0.1
# A step is slow if it leaves more than SLOW_GAP of the lowest distance so far, or its
# direction could not be solved for, and it lowers the objective by less than
# SLOW_DECREASE of it. After SLOW_STEPS of them in a row float32 is too coarse.
SLOW_GAP = 0.5
SLOW_DECREASE = 1e-3
SLOW_STEPS = 2
# It is in vain if it also lowers the objective by less than VAIN_DECREASE of the
# tolerance. VAIN_STEPS of them in a row are the limit of float64.
VAIN_DECREASE = 0.01
VAIN_STEPS = 5
ROUNDING = 1e-14  # of an objective
REVISIONS = 4  # certificates that fall short, of one fit
# A row that scores its class above all others by so much is separated.
MARGIN = float(np.log(2.0))


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
    solved: np.ndarray  # whether the last direction was as exact as was asked for
    objective: np.ndarray  # before the last step
    lowest: np.ndarray  # distance so far
    slow: np.ndarray  # slow steps in a row
    vain: np.ndarray  # steps in vain in a row
    aim: np.ndarray  # share of the tolerance that steps aim at
    revisions: np.ndarray  # certificates that fell short
    wide: np.ndarray  # whether passes are float64
    status: np.ndarray  # empty while a lane goes on


def begin(l2: np.ndarray, is_valid: np.ndarray) -> Progress:
    """Returns what is known before the first step of lanes with valid weights.

    Without a penalty nothing is proved in the end, and float64 has to say it all.
    """
    is_valid = is_valid & ~np.isnan(l2)
    counts = np.zeros((5, len(l2)), np.int64)
    infinite = np.full((3, len(l2)), np.inf)
    return Progress(
        steps=counts[0],
        products=counts[1],
        predicted=infinite[0],
        solved=np.zeros(len(l2), bool),
        objective=infinite[1],
        lowest=infinite[2],
        slow=counts[2],
        vain=counts[3],
        aim=np.full(len(l2), FIRST_AIM),
        revisions=counts[4],
        wide=l2 == 0,
        status=np.where(is_valid, "", INVALID).astype("U32"),
    )


class Measured(NamedTuple):
    """What a pass says of some lanes; NumPy arrays ``(A,)``."""

    objective: np.ndarray
    left: np.ndarray  # how far the optimum may be, as estimated
    l2: np.ndarray
    flat: np.ndarray  # whether the gradient is rounding
    separated: np.ndarray  # whether every row scores its class highest


def update(
    lanes: np.ndarray,
    measured: Measured,
    progress: Progress,
    tol: float,
    max_newton: int,
) -> None:
    """Counts the last step of some lanes, and gives a status to those that are done.

    A lane for which float32 is too coarse goes on in float64.
    """
    objective, left, l2, flat, separated = measured
    own = Progress(*(array[lanes] for array in progress))
    _count(own, objective, left, tol)
    broken = ~np.isfinite(objective) | np.isnan(left)
    reliable = (own.solved & (own.predicted >= 0)) | flat
    no_more_to_gain = reliable & (own.predicted <= tol * objective)
    goal = own.aim * tol * objective
    endings = (
        (INVALID, broken & own.wide),
        (CONVERGED, (l2 > 0) & (left <= goal) & ~broken),
        (NO_FINITE_OPTIMUM, (l2 == 0) & separated),
        (WITHOUT_BOUND, (l2 == 0) & no_more_to_gain),
        (STALLED, own.wide & (own.vain >= VAIN_STEPS)),
        (MAX_STEPS, (own.steps >= max_newton) & (own.wide | ~broken)),
    )
    for ending, holds in endings:
        own.status[holds & (own.status == "")] = ending
    too_coarse = (broken | (own.slow >= SLOW_STEPS)) & (own.status == "") & ~own.wide
    for array, values in zip(progress, own, strict=True):
        array[lanes] = values
    _widen(progress, lanes[too_coarse])


def _widen(progress: Progress, lanes: np.ndarray) -> None:
    """Lets lanes go on in float64, and forgets what was slow."""
    progress.wide[lanes] = True
    progress.lowest[lanes] = progress.objective[lanes] = np.inf
    progress.slow[lanes] = progress.vain[lanes] = 0


def accept(proof: Certificate, progress: Progress, tol: float) -> None:
    """Ends the lanes whose start proves to be good enough."""
    progress.status[_relative_gap(proof) <= tol] = CONVERGED


def reopen(proof: Certificate, progress: Progress, tol: float) -> bool:
    """Makes statuses true of the certificate of what would be returned.

    A lane whose gap is above the tolerance goes on with a lower aim, the second time in
    float64.

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
    progress.objective[short] = np.inf  # the last step has been counted
    _widen(progress, np.flatnonzero(short & ~progress.wide & (progress.revisions > 1)))
    return bool(short.any())


def _count(own: Progress, objective: np.ndarray, left: np.ndarray, tol: float) -> None:
    """Counts slow steps and those in vain, and remembers where the lanes are."""
    stays = left > SLOW_GAP * own.lowest
    with np.errstate(invalid="ignore"):
        decrease = own.objective - objective
        slow = (stays | ~own.solved) & (decrease < SLOW_DECREASE * objective)
        vain = stays & (decrease < max(VAIN_DECREASE * tol, ROUNDING) * objective)
    for counts, holds in ((own.slow, slow), (own.vain, vain)):
        counts[:] = np.where(holds, counts + 1, 0)
    own.objective[:] = objective
    own.lowest[:] = np.fmin(own.lowest, left)


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

    A lane that has no optimum, has stalled, is invalid or out of steps is so without.
    """
    ends = progress.status
    unproved = np.isin(ends, (CONVERGED, WITHOUT_BOUND))
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
