"""One cold fit at one penalty, beside the faster of two peers to the same certificate.

Every fit starts from nothing, this package's after a warm-up that compiles; how long
that took is the column ``cold``. A peer that does not reach the gap has no ratio, and
the status says where it ended.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import turns
from experiments.benchmarks.passes import TARGET
from experiments.benchmarks.problems import Problem
from experiments.benchmarks.turns import Ours, Settings
from linclf_jax.exact import newton
from linclf_jax.exact.path import Point

LETTERS = "face"  # of the problems
L2S = (1e-1, 1e-2, 1e-3, 4e-4)
PEERS = ("newton-cg:float32", "newton-cg:float64")
COLUMNS = (
    *("problem", "l2", "seconds", "cold", "peer", "tolerance", "peer_seconds"),
    *("ratio", "steps", "products", "gap", "status"),
)


def run(
    problem: Problem, settings: Settings, l2s: Sequence[float] = L2S
) -> list[dict[str, Any]]:
    """Returns a row for each penalty."""
    names = [name for name in PEERS if name in settings.peers]
    settings = settings._replace(peers=names, peer_folds=1)
    return [compare(l2, turns.run(problem.single(l2), settings, solve)) for l2 in l2s]


def solve(problem: Problem) -> Ours:
    """Solves a problem with one penalty from W = 0."""
    l2s = np.array(problem.l2s)
    start = time.perf_counter()
    params, info = newton.solve(problem.x, problem.labels, l2s, tol=TARGET)
    params = jax.block_until_ready(params)
    seconds = time.perf_counter() - start
    return Ours(seconds, (Point(problem.l2s[0], params, info, None),))


def compare(l2: float, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns this package's row beside that of the fastest peer that counts."""
    ours, *others = rows
    able = [row for row in others if row["status"] == "ok"]
    peer = min(able, key=lambda row: row["seconds"], default={})
    failures = [f"{r['solver']} {r['status']}" for r in rows if r["status"] != "ok"]
    same = ("problem", "shape", "device", "seconds", "cold", "steps", "products")
    return {name: ours[name] for name in same} | {
        "l2": l2,
        "gap": ours["worst_gap"],
        "peer": peer.get("solver"),
        "tolerance": peer.get("tolerance"),
        "peer_seconds": peer.get("seconds"),
        "ratio": peer.get("ratio") if ours["status"] == "ok" else None,
        "status": "; ".join(failures) or "ok",
        "turns": ours["turns"],
        "peer_turns": peer.get("turns"),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the worst and the median of how many times faster these fits are."""
    known = [row for row in rows if row["ratio"] is not None]
    if not known:
        return f"no ratio: none of {len(rows)} fits has a peer that reaches the gap"
    worst = min(known, key=lambda row: row["ratio"])
    median = statistics.median(row["ratio"] for row in known)
    return (
        f"worst ratio {worst['ratio']:.3g} ({worst['problem']}, l2 {worst['l2']:g}), "
        f"median {median:.3g}, of {len(known)} of {len(rows)} fits"
    )
