"""What a machine with a GPU computes right, and how fast: one command, in parts.

    python -m experiments.benchmarks.device --json=device.jsonl
    python -m experiments.benchmarks.device --parts=path:b,sweep --minutes=4

| part | what it is |
| --- | --- |
| environment | the device, versions, cores |
| tests | of losses, gradients, certificates and stacks, in processes of their own |
| path:LETTER | ``benchmarks.path``; f is a whole probe |
| sweep:SHAPE:PRECISION | ``benchmarks.sweep`` with momentum |
| single:LETTER | single cold fits |

Paths and single fits stand alone but at a and e, where ``newton-cg`` on float32 takes
turns, in one fold. A part that fails is recorded with its error, and the next one
begins. No part begins after ``--minutes``; what is left is skipped, and the last table
says so. The rows of a part are in the file as soon as it has ended. The exit status is
1 if a part has failed or holds a row that is not ok.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.benchmarks import probe, problems, single, sweep, turns
from experiments.benchmarks.turns import Settings
from linclf_jax.cli import console, main
from linclf_jax.config import flat
from linclf_jax.config.fields import at_least, flag
from linclf_jax.runs import configuration, formats
from linclf_jax.training import settings as training_settings

Row = dict[str, Any]
TESTS = ("losses", "objective", "curvature", "exact/certificate", "training/stack")
TEST_SECONDS = 150  # after which tests are stopped
PEER, PEER_LETTERS, PEER_SECONDS = "newton-cg:float32", "ae", 20.0
SINGLE_L2S = (single.L2S[0], single.L2S[-1])  # each of them compiles
ENVIRONMENT = ("devices", "runtime", "cpus", "python", "jax")
SWEEP = ("shape", "precision", *sweep.COLUMNS[2:])
SKIPPED = "skipped: no time is left"
OUTCOME = ("part", "seconds", "rows", "status")


class Part(NamedTuple):
    """Something to measure, by itself."""

    name: str
    columns: tuple[str, ...]  # of the table of its rows
    measure: Callable[[], list[Row]]


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """What is measured, for how long, and where it is written."""

    minutes: float = flag(8.0, "After which no part begins.", check=at_least(0))
    parts: tuple[str, ...] = flag((), "What their names begin with; all if unset.")
    scale: int = flag(1, "Divides rows, features and lanes, for trying on a CPU.")
    repeats: int = flag(3, "Turns of each solver.", check=at_least(1))
    data_dir: str | None = flag(None, "Has Fashion-MNIST's IDX files, problem c.")
    json: str | None = flag(None, "A file to which a line is added for each row.")


def run_benchmark(config: DeviceConfig) -> int:
    """Measures the parts that the flags name, and returns 1 if one is not ok."""
    flat.validate(config)
    problems.check_scale(config.scale)
    parts = named_parts(config)
    if config.json:
        Path(config.json).touch()
    end = time.monotonic() + 60.0 * config.minutes
    tables: dict[tuple[str, ...], list[Row]] = {}
    outcomes = []
    for part in parts:
        outcome, rows = attempt(part) if time.monotonic() < end else (skipped(part), [])
        print(f"{part.name}: {outcome['status']}", file=sys.stderr, flush=True)
        if config.json:
            with Path(config.json).open("ab") as file:
                named = ({"part": part.name} | row for row in rows)
                file.write(formats.encode_rows([*named, outcome]))
        tables.setdefault(part.columns, []).extend(rows)
        outcomes.append(outcome)
    for columns, rows in [*tables.items(), (OUTCOME, outcomes)]:
        print(console.rows_table(rows, columns), end="\n\n", flush=True)
    return int(any(outcome["status"] not in ("ok", SKIPPED) for outcome in outcomes))


def named_parts(config: DeviceConfig) -> list[Part]:
    """Returns the parts whose names begin as the flags say; all without a flag."""
    every = [*every_part(config)]
    for start in config.parts:
        if not any(part.name.startswith(start) for part in every):
            raise ValueError(
                f"--parts names {start!r}; expected beginnings of "
                f"{', '.join(part.name for part in every)}"
            )
    return [part for part in every if part.name.startswith(config.parts or "")]


def attempt(part: Part) -> tuple[Row, list[Row]]:
    """Measures a part, whatever happens, and returns its outcome and its rows."""
    start, rows, error = time.perf_counter(), [], None
    try:
        rows = part.measure()
        bad = [row for row in rows if row.get("status", "ok") != "ok"]
        status = f"{len(bad)} of {len(rows)} rows are not ok" if bad else "ok"
    except Exception as raised:
        error = traceback.format_exc()
        (status, *_) = f"{type(raised).__name__}: {raised}".splitlines()
    seconds = time.perf_counter() - start
    return _outcome(part, seconds, len(rows), status, error), rows


def skipped(part: Part) -> Row:
    """Returns the outcome of a part for which no time is left."""
    return _outcome(part, 0.0, 0, SKIPPED, None)


def _outcome(
    part: Part, seconds: float, rows: int, status: str, error: str | None
) -> Row:
    named = zip(OUTCOME, (part.name, seconds, rows, status), strict=True)
    return {**dict(named), "error": error}


def every_part(config: DeviceConfig) -> Iterator[Part]:
    """Yields all parts, in the order in which they are measured."""
    yield Part("environment", ENVIRONMENT, lambda: [environment()])
    yield Part("tests", ("tests", "seconds", "status"), run_tests)
    images = "c" if config.data_dir else ""
    for letter in f"aebd{images}":
        measure = functools.partial(follow, letter, config)
        yield Part(f"path:{letter}", turns.COLUMNS, measure)
    measure = functools.partial(probe.run, config.scale, with_peers=False)
    yield Part("path:f", probe.COLUMNS, measure)
    for shape, precision in itertools.product(
        sweep.SHAPES, training_settings.PRECISIONS
    ):
        measure = functools.partial(run_sweep, shape, precision, config)
        yield Part(f"sweep:{shape}:{precision}", SWEEP, measure)
    for letter in f"fae{images}":
        measure = functools.partial(solve, letter, config)
        yield Part(f"single:{letter}", single.COLUMNS, measure)


def environment() -> Row:
    """Returns the device and versions."""
    client = jax.devices()[0].client
    runtime = {"runtime": client.platform_version, "cpus": os.cpu_count()}
    return configuration.environment() | runtime


def run_tests() -> list[Row]:
    """Runs the files of tests side by side and returns a row for each."""
    with concurrent.futures.ThreadPoolExecutor(len(TESTS)) as pool:
        return [*pool.map(_run_test, TESTS)]


def _run_test(name: str) -> Row:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, "--tb=short", f"tests/{name}_test.py"],
            cwd=Path(__file__).parents[2],
            # This process may hold most of the device's memory.
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            capture_output=True,
            text=True,
            timeout=TEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"tests": name, "status": f"stopped after {TEST_SECONDS} s"}
    output = (done.stdout + done.stderr).strip()
    (*_, last) = output.splitlines() or ["no output"]
    return {
        "tests": name,
        "seconds": time.perf_counter() - start,
        "status": "ok" if done.returncode == 0 else last,
        "summary": last,
        "output": None if done.returncode == 0 else output[-8000:],
    }


def follow(letter: str, config: DeviceConfig) -> list[Row]:
    """Follows the path of a problem."""
    problem = problems.make(letter, config.scale, config.data_dir)
    return turns.run(problem, _settings(letter, config))


def solve(letter: str, config: DeviceConfig) -> list[Row]:
    """Solves a problem at single penalties."""
    problem = problems.make(letter, config.scale, config.data_dir)
    return single.run(problem, _settings(letter, config), SINGLE_L2S)


def _settings(letter: str, config: DeviceConfig) -> Settings:
    peers: Sequence[str] = (PEER,) if letter in PEER_LETTERS else ()
    return Settings(peers, config.repeats, peer_folds=1, peer_limit=PEER_SECONDS)


def run_sweep(text: str, precision: str, config: DeviceConfig) -> list[Row]:
    """Trains the lanes of a shape by momentum."""
    shape = sweep.parse_shape(text)
    shape = shape._replace(
        num_features=shape.num_features // config.scale,
        batch_size=shape.batch_size // config.scale,
        lanes=max(1, shape.lanes // config.scale),
    )
    problem = sweep.make_problem(shape, "momentum", precision)
    return sweep.run(problem, config.repeats, with_torch=False)


SCRIPT = main.Script(run_benchmark, DeviceConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
