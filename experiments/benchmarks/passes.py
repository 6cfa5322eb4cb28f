"""How a peer of ``benchmarks.path`` gets along a path, and with which tolerance.

A solution counts when ``certificate.certify`` proves its relative gap to be at most
``TARGET``. A peer's tolerance is its own affair: it gets the loosest power of ten with
which all of its solutions count.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.peers import Peer
from experiments.benchmarks.problems import Problem
from linclf_jax.exact import certificate
from linclf_jax.params import Params

TARGET = 1e-6  # relative gap
TOLERANCES = tuple(10.0**-digits for digits in range(1, 13))


class Step(NamedTuple):
    """One fit of a peer."""

    l2: float
    seconds: float
    iterations: int
    relative_gap: float
    gradient_norm: float


class Pass(NamedTuple):
    """A peer's way along the path in all its folds, as far as it came."""

    tolerance: float
    steps: tuple[Step, ...]
    planned: int  # steps
    limit: float = math.inf  # seconds after which it is stopped

    @property
    def seconds(self) -> float:
        """Of its fits alone."""
        return sum(step.seconds for step in self.steps)

    @property
    def worst(self) -> float:
        """The largest relative gap, which is its last where one missed the target."""
        return float(np.max([step.relative_gap for step in self.steps]))

    @property
    def status(self) -> str:
        """``ok``, or how it ended."""
        where = f"at l2={self.steps[-1].l2:.1e}"
        count = f"{len(self.steps)} of {self.planned} fits"
        stopped = f"stopped after {self.seconds:.1f} s"
        if not self.worst <= TARGET:
            end = f", {stopped}" if self.seconds > self.limit else ""
            return f"misses {where}, {count}{end}"
        if len(self.steps) < self.planned:
            return f"{stopped} {where}, {count}"
        return "ok"


def relative_gaps(
    problem: Problem, params: Params, l2: float | np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns certified relative gaps and the gradient's norms of lanes, ``(L,)`` each.

    Args:
        problem: What was solved.
        params: With lanes in front.
        l2: Of all lanes, or ``(L,)``.
        weights: ``(L, N)``.
    """
    penalties = np.full(len(weights), l2)
    proof = certificate.certify(params, problem.x, problem.labels, penalties, weights)
    return proof.gap / proof.objective, proof.gradient_norm


def walk(
    peer: Peer, problem: Problem, tolerance: float, folds: int, limit: float
) -> Pass:
    """Lets a peer follow the path until it is done, misses, or exceeds the seconds."""
    done: list[Step] = []
    for step in _steps(peer, problem, tolerance, folds):
        done.append(step)
        spent = sum(step.seconds for step in done)
        if not step.relative_gap <= TARGET or spent > limit:  # NaN misses, too
            break
    return Pass(tolerance, tuple(done), folds * len(problem.l2s), limit)


def _steps(
    peer: Peer, problem: Problem, tolerance: float, folds: int
) -> Iterator[Step]:
    for weights in problem.weights[:folds]:
        kept = weights > 0
        fit = peer(problem.x[kept], problem.labels[kept])
        for l2 in problem.l2s:
            start = time.perf_counter()
            params, iterations = fit(l2, tolerance)
            seconds = time.perf_counter() - start
            # All rows with weights: the same shapes, and one program, for every fold.
            gaps, norms = relative_gaps(problem, params, l2, weights[None])
            yield Step(l2, seconds, iterations, float(gaps[0]), float(norms[0]))


def search(
    peer: Peer,
    problem: Problem,
    folds: int,
    limit: float,
    report: Callable[[str], None],
) -> Pass:
    """Returns the pass with the loosest tolerance that reaches the target everywhere.

    Each tolerance is reported. A pass that takes too many seconds ends the search, for
    a tighter one takes more; where no tolerance is tight enough, the last that was
    tried is returned.
    """
    for tolerance in TOLERANCES:
        latest = walk(peer, problem, tolerance, folds, limit)
        report(f"tolerance {tolerance:.0e}: {latest.status}, {latest.seconds:.1f} s")
        if latest.worst <= TARGET or latest.seconds > limit:
            break
        if _in_vain(latest, problem):
            break
    return latest


def _in_vain(latest: Pass, problem: Problem) -> bool:
    """Whether a peer ended short of its tolerance: a tighter one changes nothing.

    Tolerances bound the largest entry of the gradient, which is at least this.
    """
    unknowns = (problem.x.shape[1] + 1) * problem.num_classes
    least = latest.steps[-1].gradient_norm / math.sqrt(unknowns)
    return least > latest.tolerance
