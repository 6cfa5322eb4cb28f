"""Newton steps of all lanes, until each has a status.

Steps of a lane are float32, and float64 once that is too coarse for it. Lanes that are
done leave the program: the others go on in a narrower one.
"""

from typing import NamedTuple

import jax
import numpy as np

from linclf_jax.exact import compaction, conjugate, newton_step, passes, status
from linclf_jax.exact.passes import Iterate, Probs, System
from linclf_jax.exact.solver import Solver
from linclf_jax.exact.status import Progress

# Norm of a gradient that is rounding, of columns whose entries are about 1.
FLAT = 1e-10


class Position(NamedTuple):
    """Where all lanes are, in the columns of the passes."""

    A: jax.Array  # (L, C, P) float64
    objective: np.ndarray  # (L,) float64, by the last pass


class Start(NamedTuple):
    """Where a fit starts, and what a float32 pass says of it, if there was one."""

    A: jax.Array  # (L, C, P) float64
    evaluated: tuple[Iterate, Probs] | None = None


def minimize(
    solver: Solver,
    position: Position,
    l2: np.ndarray,
    progress: Progress,
    start: Start,
) -> Position:
    """Makes Newton steps until every lane is done, and counts them in ``progress``."""
    A, objective = position
    for wide in (False, True):
        lanes = np.flatnonzero((progress.status == "") & (progress.wide == wide))
        if not lanes.size:
            continue
        system = solver.system(lanes, l2, wide=wide)
        if wide or start.evaluated is None or len(lanes) < len(A):
            own, keep = compaction.take(A, lanes), solver.problem.layout.keep
            state = passes.evaluate(system, own, keep=keep)
        else:
            state = start.evaluated
        iterate = _descend(solver, system, state, lanes, l2, progress)
        A = compaction.put(A, lanes, iterate.A)
        objective = objective.copy()
        objective[lanes] = np.asarray(iterate.objective)
    return Position(A, objective)


def _descend(
    solver: Solver,
    system: System,
    state: tuple[Iterate, Probs],
    lanes: np.ndarray,
    l2: np.ndarray,
    progress: Progress,
) -> Iterate:
    """Makes steps of some lanes in one precision, as long as that serves them."""
    iterate, probs = state
    wide = bool(progress.wide[lanes[0]])
    inverse = conjugate.make_preconditioner(system, probs)
    running = np.arange(len(lanes))
    while True:
        left = conjugate.distance(system.l2, system.column, inverse, iterate.gradient)
        left = np.asarray(left)
        measured = _measured(system, iterate, left, l2[lanes])
        measured = status.Measured(*(array[running] for array in measured))
        status.update(lanes[running], measured, progress, solver.tol, solver.max_newton)
        goes_on = (progress.status[lanes] == "") & (progress.wide[lanes] == wide)
        running = np.flatnonzero(goes_on)
        if not running.size:
            return iterate
        width = compaction.narrowest(len(lanes), len(running))
        own = compaction.padded(running, width)
        objective = np.asarray(iterate.objective)
        step = newton_step.step(
            system.take(own),
            compaction.take(iterate, own),
            probs.take(own),
            compaction.take(inverse, own),
            left[own],
            (progress.aim[lanes] * solver.tol * objective)[own],
        )
        again = conjugate.make_preconditioner(system.take(own), step.probs)
        inverse = compaction.put(inverse, own, again)
        iterate = compaction.put(iterate, own, step.iterate)
        probs = probs.put(own, step.probs)
        _record(progress, lanes[running], step)


def _measured(
    system: System, iterate: Iterate, left: np.ndarray, l2: np.ndarray
) -> status.Measured:
    """Returns what the status of lanes depends on."""
    separated = flat = np.zeros(len(l2), bool)
    if (l2 == 0).any():
        margins = passes.smallest_margins(system, iterate.A)
        several = np.sum(np.asarray(system.present), axis=1) > 1
        separated = (l2 == 0) & (margins > status.MARGIN) & several
        flat = (l2 == 0) & (left <= FLAT**2)
    return status.Measured(np.asarray(iterate.objective), left, l2, flat, separated)


def _record(progress: Progress, lanes: np.ndarray, step: newton_step.Step) -> None:
    count = len(lanes)
    progress.steps[lanes] += 1
    progress.products[lanes] += step.products[:count]
    progress.predicted[lanes] = step.predicted[:count]
    progress.solved[lanes] = step.solved[:count]
