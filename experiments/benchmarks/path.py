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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks import growth
from experiments.benchmarks import passes as bench_passes
from experiments.benchmarks import peers as bench_peers
from experiments.benchmarks import problems as bench_problems
from experiments.benchmarks.passes import TARGET, Pass
from experiments.benchmarks.problems import Problem
from linclf_jax.cli import console, main
from linclf_jax.config.fields import flag
from linclf_jax.exact import path
from linclf_jax.runs import formats

# A peer is stopped after so many times the seconds of the fastest one, or these.
LIMIT, LEAST_LIMIT = 5.0, 60.0
OURS = "linclf_jax"
COLUMNS = (
    *("problem", "solver", "measured", "tolerance", "seconds", "cold", "ratio"),
    *("worst_gap", "steps", "products", "status"),
)


class Settings(NamedTuple):
    """How to measure."""

    peers: Sequence[str] = tuple(bench_peers.PEERS)
    repeats: int = 3  # turns of each solver
    peer_folds: int = bench_problems.FOLDS  # that a peer solves; scaled up to all
    peer_limit: float | None = None  # seconds; None means LIMIT


class Ours(NamedTuple):
    """One call of this package's solver, all folds at once."""

    seconds: float
    points: tuple[path.Point, ...]


def follow(problem: Problem) -> Ours:
    """Solves a problem with this package.

    Args:
        problem: Any.
    """
    l2s, weights = np.array(problem.l2s), problem.weights
    start = time.perf_counter()
    points = path.follow(problem.x, problem.labels, l2s, weights=weights, tol=TARGET)
    # Without their states, which would keep the probabilities of all rows.
    points = (point._replace(state=None) for point in points)
    points = tuple(jax.block_until_ready(point) for point in points)
    return Ours(time.perf_counter() - start, points)


def run(problem: Problem, settings: Settings) -> list[dict[str, Any]]:
    """Measures this package and its peers on one problem.

    Args:
        problem: To solve.
        settings: How to measure.

    Returns:
        A row for each solver.
    """
    refused = {n: bench_peers.refusal(n, problem) for n in settings.peers}
    jax.clear_caches()
    cold = follow(problem)
    _tell(problem, OURS, f"cold {cold.seconds:.1f} s")
    ours: list[Ours] = []
    passes: dict[str, list[Pass]] = {n: [] for n, why in refused.items() if not why}
    for _ in range(settings.repeats):
        ours.append(follow(problem))
        for name, so_far in passes.items():
            if not so_far or so_far[0].status == "ok":
                limit = _limit(passes, settings.peer_limit)
                so_far.append(_turn(name, problem, so_far, settings.peer_folds, limit))
    first = _our_row(problem, cold, ours)
    rows = [first]
    for name, why in refused.items():
        row = {**dict.fromkeys(COLUMNS), **_about(problem), "solver": name}
        if why:
            rows.append(row | {"status": why})
        else:
            rows.append(row | _peer_row(problem, settings, passes[name], first))
    return rows


def _turn(
    name: str, problem: Problem, so_far: Sequence[Pass], folds: int, limit: float
) -> Pass:
    peer = bench_peers.PEERS[name]
    if not so_far:
        tell = functools.partial(_tell, problem, name)
        return bench_passes.search(peer, problem, folds, limit, tell)
    return bench_passes.walk(peer, problem, so_far[0].tolerance, folds, math.inf)


def _limit(passes: dict[str, list[Pass]], given: float | None) -> float:
    """Returns the seconds after which a pass is stopped; none before one has ended."""
    fastest = min(
        (p.seconds for done in passes.values() for p in done if p.status == "ok"),
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
    points = ours[-1].points
    gaps = [
        bench_passes.relative_gaps(problem, p.params, p.l2, problem.weights)[0]
        for p in points
    ]
    worst = float(np.max(gaps))
    times = [one.seconds for one in ours]
    return _about(problem) | {
        "solver": OURS,
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


def _peer_row(
    problem: Problem, settings: Settings, done: Sequence[Pass], ours: dict[str, Any]
) -> dict[str, Any]:
    """Returns what was measured, without seconds where a peer did not get there."""
    scale = problem.num_folds / settings.peer_folds
    scaled = "" if scale == 1 else f", x {scale:g}"
    found = {
        "measured": f"{settings.peer_folds} of {problem.num_folds} folds{scaled}",
        "tolerance": done[0].tolerance,
        "worst_gap": max(one.worst for one in done),
        "steps": round(scale * sum(step.iterations for step in done[0].steps)),
        "status": next((o.status for o in done if o.status != "ok"), "ok"),
        "turns": [scale * one.seconds for one in done],
    }
    if found["status"] == "ok":
        found["seconds"] = statistics.median(found["turns"])
        found["ratio"] = found["seconds"] / ours["seconds"]
    return found


def _tell(problem: Problem, solver: str, what: str) -> None:
    print(f"{problem.name}, {solver}: {what}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, how often, and where it is written."""

    problems: tuple[str, ...] = flag((), "Letters; all that need no files if unset.")
    peers: tuple[str, ...] = flag(tuple(bench_peers.PEERS), "Solvers to compare with.")
    scale: int = flag(1, "Divides rows and features, for trying.")
    repeats: int = flag(3, "Turns of each solver.")
    peer_folds: int = flag(
        bench_problems.FOLDS, "That a peer solves; scaled up to all."
    )
    peer_limit: float | None = flag(
        None,
        f"Seconds after which a pass is stopped; {LIMIT:g} times the fastest peer's if "
        "unset.",
    )
    data_dir: str | None = flag(None, "Has Fashion-MNIST's IDX files, problem c.")
    json: str | None = flag(None, "A file to which a line is added for each row.")
    growth: str | None = flag(None, "A PNG to draw how the cost grows in, alone.")


def run_benchmark(config: BenchmarkConfig) -> None:
    """Measures the problems that the flags name, or how the cost grows."""
    settings = checked(config)
    if config.growth:
        growth.run(Path(config.growth), config.scale, config.repeats)
        return
    letters = config.problems or [c for c in "abcde" if c != "c" or config.data_dir]
    # All of them first: what is missing should not show after an hour.
    problems = [
        bench_problems.make(letter, config.scale, config.data_dir) for letter in letters
    ]
    if config.json:
        Path(config.json).touch()
    for problem in problems:
        rows = run(problem, settings)
        print(console.rows_table(rows, COLUMNS), end="\n\n", flush=True)
        if config.json:
            with Path(config.json).open("ab") as file:
                file.write(formats.encode_rows(rows))


def checked(config: BenchmarkConfig) -> Settings:
    """Returns how to measure.

    Args:
        config: All flags.

    Raises:
        ValueError: A peer is unknown or a number out of range.
    """
    unknown = [name for name in config.peers if name not in bench_peers.PEERS]
    if unknown:
        known = ", ".join(bench_peers.PEERS)
        raise ValueError(f"--peers names {unknown[0]!r}; expected some of {known}")
    if not 1 <= config.peer_folds <= bench_problems.FOLDS:
        raise ValueError(
            f"--peer_folds is {config.peer_folds}; expected 1 to {bench_problems.FOLDS}"
        )
    if config.repeats < 1:
        raise ValueError(f"--repeats is {config.repeats}; expected at least 1")
    if config.peer_limit is not None and config.peer_limit < 0:
        raise ValueError(f"--peer_limit is {config.peer_limit}; expected at least 0")
    return Settings(config.peers, config.repeats, config.peer_folds, config.peer_limit)


SCRIPT = main.Script(run_benchmark, BenchmarkConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
