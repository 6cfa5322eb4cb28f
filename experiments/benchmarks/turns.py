"""Solvers take turns on a problem of ``benchmarks.path``: a row of results for each."""

import functools
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks import passes, peers
from experiments.benchmarks.passes import TARGET, Pass
from experiments.benchmarks.problems import FOLDS, Problem
from linclf_jax.exact import path

# A peer is stopped after so many times the seconds of the fastest one, or these.
LIMIT, LEAST_LIMIT = 5.0, 60.0
COLUMNS = (
    *("problem", "solver", "measured", "tolerance", "seconds", "cold", "ratio"),
    *("worst_gap", "steps", "products", "status"),
)


class Settings(NamedTuple):
    """Who takes turns, and how often."""

    peers: Sequence[str]
    repeats: int = 3
    peer_folds: int = FOLDS  # that a peer solves; scaled up to all
    peer_limit: float | None = None  # seconds of a pass, in place of ``LIMIT``


class Ours(NamedTuple):
    """One call of this package's solver, all folds at once."""

    seconds: float
    points: tuple[path.Point, ...]


def follow(problem: Problem) -> Ours:
    """Solves a problem with this package."""
    l2s, weights = np.array(problem.l2s), problem.weights
    start = time.perf_counter()
    points = path.follow(problem.x, problem.labels, l2s, weights=weights, tol=TARGET)
    # Without their states, which would keep the probabilities of all rows.
    points = (point._replace(state=None) for point in points)
    points = tuple(jax.block_until_ready(point) for point in points)
    return Ours(time.perf_counter() - start, points)


def run(
    problem: Problem, settings: Settings, solve: Callable[[Problem], Ours] = follow
) -> list[dict[str, Any]]:
    """Returns a row for this package and for each of its peers on one problem."""
    refused = {name: peers.refusal(name, problem) for name in settings.peers}
    jax.clear_caches()
    cold = solve(problem)
    _report(problem, "linclf_jax", f"cold {cold.seconds:.1f} s")
    ours: list[Ours] = []
    done: dict[str, list[Pass]] = {n: [] for n, why in refused.items() if not why}
    for _ in range(settings.repeats):
        ours.append(solve(problem))
        for name, so_far in done.items():
            if not so_far or so_far[0].status == "ok":
                limit = _limit(done, settings.peer_limit)
                folds = settings.peer_folds
                so_far.append(_turn(name, problem, so_far, folds, limit))
    row = _our_row(problem, cold, ours)
    common = dict.fromkeys(COLUMNS) | _about(problem)
    return [row] + [
        common
        | {"solver": name}
        | (
            {"status": why}
            if why
            else peer_row(problem, settings.peer_folds, done[name], row["seconds"])
        )
        for name, why in refused.items()
    ]


def _turn(
    name: str, problem: Problem, so_far: Sequence[Pass], folds: int, limit: float
) -> Pass:
    peer = peers.PEERS[name]
    if not so_far:
        report = functools.partial(_report, problem, name)
        return passes.search(peer, problem, folds, limit, report)
    return passes.walk(peer, problem, so_far[0].tolerance, folds, math.inf)


def _limit(done: Mapping[str, Sequence[Pass]], given: float | None) -> float:
    """Returns the seconds after which a pass is stopped; none before one has ended."""
    fastest = min(
        (p.seconds for each in done.values() for p in each if p.status == "ok"),
        default=math.inf,
    )
    return max(LIMIT * fastest, LEAST_LIMIT) if given is None else given


def _about(problem: Problem) -> dict[str, Any]:
    return {
        "problem": problem.name,
        "shape": problem.shape,
        "values": len(problem.l2s),
        "folds": problem.num_folds,
        "device": jax.devices()[0].device_kind,
    }


def _our_row(problem: Problem, cold: Ours, ours: Sequence[Ours]) -> dict[str, Any]:
    points, times = ours[-1].points, [one.seconds for one in ours]
    gaps = [
        passes.relative_gaps(problem, p.params, p.l2, problem.weights)[0]
        for p in points
    ]
    worst = float(np.max(gaps))
    return _about(problem) | {
        "solver": "linclf_jax",
        "measured": f"{problem.num_folds} of {problem.num_folds} folds",
        "tolerance": TARGET,
        "seconds": statistics.median(times),
        "cold": cold.seconds,
        "ratio": 1.0,
        "worst_gap": worst,
        "steps": int(sum(point.info.newton_steps.sum() for point in points)),
        "products": int(sum(point.info.products.sum() for point in points)),
        "status": "ok" if worst <= TARGET else "misses",
        "turns": times,
    }


def peer_row(
    problem: Problem, folds: int, done: Sequence[Pass], our_seconds: float
) -> dict[str, Any]:
    """Returns what was measured, without seconds where a peer did not get there."""
    scale = problem.num_folds / folds
    scaled = "" if scale == 1 else f", x {scale:g}"
    row = {
        "measured": f"{folds} of {problem.num_folds} folds{scaled}",
        "tolerance": done[0].tolerance,
        "worst_gap": max(one.worst for one in done),
        "steps": round(scale * sum(step.iterations for step in done[0].steps)),
        "status": next((o.status for o in done if o.status != "ok"), "ok"),
        "turns": [scale * one.seconds for one in done],
    }
    if row["status"] == "ok":
        row["seconds"] = statistics.median(row["turns"])
        row["ratio"] = row["seconds"] / our_seconds
    return row


def _report(problem: Problem, solver: str, what: str) -> None:
    print(f"{problem.name}, {solver}: {what}", file=sys.stderr, flush=True)
