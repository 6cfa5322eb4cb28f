"""How fast a regularisation path is, beside what people use, to the same certificate.

    python -m experiments.benchmarks.path --problems=a,b,d,e --json=path.jsonl
    python -m experiments.benchmarks.path --single --problems=f,a,e
    python -m experiments.benchmarks.path --problems=f
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
from pathlib import Path
from typing import Any

from experiments.benchmarks import growth, peers, probe, problems, single, turns
from experiments.benchmarks.problems import FOLDS, Problem
from experiments.benchmarks.turns import LIMIT, Settings
from linclf_jax.cli import console, main
from linclf_jax.config import flat
from linclf_jax.config.fields import Check, at_least, flag
from linclf_jax.runs import formats


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, how often, and where it is written."""

    problems: tuple[str, ...] = flag(
        (), "Letters; if unset all that need no files, f with --single alone."
    )
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
    single: bool = flag(False, "One cold fit at a time, in place of paths.")
    growth: str | None = flag(None, "A PNG to draw how the cost grows in, alone.")


def run_benchmark(config: BenchmarkConfig) -> None:
    """Measures the problems that the flags name, or how the cost grows."""
    flat.validate(config)
    if config.growth:
        growth.run(Path(config.growth), config.scale, config.repeats)
        return
    letters = config.problems or [
        letter
        for letter in (single.LETTERS if config.single else "abcde")
        if letter != "c" or config.data_dir
    ]
    # All of them first: what is missing should not show after an hour.
    every = [problems.make(letter, config.scale, config.data_dir) for letter in letters]
    if config.json:
        Path(config.json).touch()
    results = []
    for letter, problem in zip(letters, every, strict=True):
        columns, rows = _measure(letter, problem, config)
        print(console.rows_table(rows, columns), end="\n\n", flush=True)
        if config.json:
            with Path(config.json).open("ab") as file:
                file.write(formats.encode_rows(rows))
        results += rows
    if config.single:
        print(single.summary(results))


def _measure(
    letter: str, problem: Problem, config: BenchmarkConfig
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Returns the columns of a table and its rows."""
    limits = config.repeats, config.peer_folds, config.peer_limit
    settings = Settings(config.peers, *limits)
    if config.single:
        return single.COLUMNS, single.run(problem, settings)
    if letter == "f":
        return probe.COLUMNS, probe.run(config.scale, config.peer_limit)
    return turns.COLUMNS, turns.run(problem, settings)


SCRIPT = main.Script(run_benchmark, BenchmarkConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
