"""How fast a regularisation path is, beside what people use, to the same certificate.

    python -m experiments.benchmarks.path --problems=a,b,d,e --json=path.jsonl
    python -m experiments.benchmarks.path --growth=docs/path_growth.png

Every solver follows the penalties of a problem from the strongest to the weakest, in
every fold of a cross-validation. A solution counts when ``certificate.certify`` proves
its objective within a millionth of the optimum. A peer gets the loosest tolerance, of
the powers of ten, with which all of its solutions count: passes go from loose to tight,
each abandoned where a solution misses, and the first that misses nowhere is its first
measurement. Solvers take turns in one process and the table shows medians; ``cold``
includes compilation. Fits alone are timed: no certificate, no choice of rows, and no
compilation of a peer.
"""

import dataclasses
import functools
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks import growth, passes, peers, problems
from experiments.benchmarks.passes import TARGET, Pass
from experiments.benchmarks.problems import FOLDS, Problem
from linclf_jax.cli import console, main
from linclf_jax.config import flat
from linclf_jax.config.fields import Check, at_least, flag
from linclf_jax.exact import path as exact_path
from linclf_jax.runs import formats

# A peer is stopped after so many times the seconds of the fastest one, or these.
LIMIT, LEAST_LIMIT = 5.0, 60.0
COLUMNS = (
    *("problem", "solver", "measured", "tolerance", "seconds", "cold", "ratio"),
    *("worst_gap", "steps", "products", "status"),
)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, how often, and where it is written."""

    problems: tuple[str, ...] = flag((), "Letters; all that need no files if unset.")
    peers: tuple[str, ...] = flag(
        tuple(peers.PEERS), "Solvers to compare with.", names=peers.PEERS
    )
    scale: int = flag(1, "Divides rows and features, for trying.")
    repeats: int = flag(3, "Turns of each solver.", check=at_least(1))
    peer_folds: int = flag(
        FOLDS,
        "That a peer solves; scaled up to all.",
        check=Check(lambda count: 1 <= count <= FOLDS, f"1 to {FOLDS}"),
    )
    peer_limit: float | None = flag(
        None,
        f"Seconds after which a pass is stopped; {LIMIT:g} times the fastest peer's if "
        "unset.",
        check=at_least(0),
    )
    data_dir: str | None = flag(None, "Has Fashion-MNIST's IDX files, problem c.")
    json: str | None = flag(None, "A file to which a line is added for each row.")
    growth: str | None = flag(None, "A PNG to draw how the cost grows in, alone.")


class Ours(NamedTuple):
    """One call of this package's solver, all folds at once."""

    seconds: float
    points: tuple[exact_path.Point, ...]


def follow(problem: Problem) -> Ours:
    """Solves a problem with this package."""
    l2s, weights = np.array(problem.l2s), problem.weights
    start = time.perf_counter()
    points = exact_path.follow(
        problem.x, problem.labels, l2s, weights=weights, tol=TARGET
    )
    # Without their states, which would keep the probabilities of all rows.
    points = (point._replace(state=None) for point in points)
    points = tuple(jax.block_until_ready(point) for point in points)
    return Ours(time.perf_counter() - start, points)


def run(problem: Problem, config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Returns a row for this package and for each of its peers on one problem."""
    refused = {name: peers.refusal(name, problem) for name in config.peers}
    jax.clear_caches()
    cold = follow(problem)
    _report(problem, "linclf_jax", f"cold {cold.seconds:.1f} s")
    ours: list[Ours] = []
    done: dict[str, list[Pass]] = {n: [] for n, why in refused.items() if not why}
    for _ in range(config.repeats):
        ours.append(follow(problem))
        for name, so_far in done.items():
            if not so_far or so_far[0].status == "ok":
                limit = _limit(done, config.peer_limit)
                so_far.append(_turn(name, problem, so_far, config.peer_folds, limit))
    row = _our_row(problem, cold, ours)
    common = dict.fromkeys(COLUMNS) | _about(problem)
    return [row] + [
        common
        | {"solver": name}
        | (
            {"status": why}
            if why
            else peer_row(problem, config.peer_folds, done[name], row["seconds"])
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


def run_benchmark(config: BenchmarkConfig) -> None:
    """Measures the problems that the flags name, or how the cost grows."""
    flat.validate(config)
    if config.growth:
        growth.run(Path(config.growth), config.scale, config.repeats)
        return
    letters = config.problems or [c for c in "abcde" if c != "c" or config.data_dir]
    # All of them first: what is missing should not show after an hour.
    every = [problems.make(letter, config.scale, config.data_dir) for letter in letters]
    if config.json:
        Path(config.json).touch()
    for problem in every:
        rows = run(problem, config)
        print(console.rows_table(rows, COLUMNS), end="\n\n", flush=True)
        if config.json:
            with Path(config.json).open("ab") as file:
                file.write(formats.encode_rows(rows))


SCRIPT = main.Script(run_benchmark, BenchmarkConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
