"""Which held-out score to choose a penalty by: three of them, compared on test rows.

    python -m experiments.benchmarks.selection --problems=digits,wine --seeds=10

A seed draws the training rows and assigns the folds. One cross-validation over the
penalties serves all ``ranking.METRICS``: the same fits, chosen among by
each, and the fits to all training rows tested. The test loss is that of logits divided
by the temperature of the rows that were held out; as they are where that is the bound
of the fit, which is no calibration.

With ``--results`` finished draws are kept in a file, a JSON row for each, and the same
command does the others alone. At the end a table is printed, in Markdown.
"""

import dataclasses
import functools
import itertools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments.benchmarks import selection_problems
from experiments.benchmarks.selection_problems import Draw
from linclf_jax import calibration, losses
from linclf_jax.cli import main
from linclf_jax.config import flat
from linclf_jax.config.fields import at_least, flag
from linclf_jax.selection import cross_validation, ranking

Row = dict[str, Any]
Pair = tuple[float, float | None]  # a mean and its standard error, None of one value
SCORES = ("accuracy", "loss")
METRICS = tuple(ranking.METRICS)
OTHERS = tuple(metric for metric in METRICS if metric != "val_loss")


class Settings(NamedTuple):
    """How penalties are compared."""

    l2s: tuple[float, ...] = tuple(np.logspace(0.0, -6.0, 13).tolist())
    folds: int = 5
    tol: float = 1e-4


def measure(draw: Draw, seed: int, settings: Settings) -> Row:
    """Returns what each metric chooses, and what that does on the test rows.

    That is by metric: l2, accuracy, loss, and ties, how many other penalties have
    exactly the score of the best. The seed assigns the folds.
    """
    results = cross_validation.cross_validate(
        draw.x,
        draw.labels,
        np.array(settings.l2s),
        settings.folds,
        seed=seed,
        num_classes=draw.num_classes,
        tol=settings.tol,
        max_newton=200,
    )
    row: Row = {}
    for metric in METRICS:
        choices = cross_validation.choose(results, metric)
        index = choices.best
        W, b = (np.asarray(array[index], np.float64) for array in results.params)
        logits = draw.test_x @ W + b
        scale = float(results.rows.temperature[index])
        if scale in (calibration.COLDEST, calibration.HOTTEST):
            scale = 1.0
        scaled = jnp.asarray(logits / scale, jnp.float32)
        loss = losses.softmax_cross_entropy(scaled, jnp.asarray(draw.test_labels))
        row[metric] = {
            "l2": float(results.l2[index]),
            "accuracy": float(np.mean(np.argmax(logits, axis=1) == draw.test_labels)),
            "loss": float(np.mean(np.asarray(loss, np.float64))),
            "ties": len(choices.ties),
        }
    return row


def run(
    problems: Iterable[str],
    seeds: Iterable[int],
    draw: Callable[[str, int], Draw],
    settings: Settings,
    *,
    done: Sequence[Row] = (),
    keep: Callable[[Row], None],
) -> list[Row]:
    """Measures every draw that is not ``done``, and keeps each row at once."""
    rows = list(done)
    measured = {(row["problem"], row["seed"]) for row in done}
    for name, seed in itertools.product(problems, seeds):
        if (name, seed) in measured:
            continue
        start = time.perf_counter()
        scores = measure(draw(name, seed), seed, settings)
        seconds = time.perf_counter() - start
        print(f"{name}, seed {seed}: {seconds:.1f} s", file=sys.stderr)
        row = {"problem": name, "seed": seed, "seconds": seconds, **scores}
        keep(row)
        rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Returns means over the seeds and what they differ by, in Markdown."""
    heads = ["problem", "seeds"]
    for score in SCORES:
        heads += [f"{score}: val_loss", *(f"{metric} less that" for metric in OTHERS)]
    lines = [heads, ["---"] * len(heads)]
    for name, own in _by_problem(rows).items():
        cells = [name, str(len(own))]
        for score in SCORES:
            cells.append(f"{_mean([row['val_loss'][score] for row in own])[0]:.4f}")
            cells += [_signed(difference(own, metric, score)) for metric in OTHERS]
        lines.append(cells)
    each = [ranks(rows, score) for score in SCORES]
    means = [f"{one[m]:.2f}" for one in each for m in ("val_loss", *OTHERS)]
    lines.append(["mean rank", "", *means])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def difference(rows: Sequence[Row], metric: str, score: str) -> Pair:
    """Returns by how much the test score of a metric's choice exceeds ``val_loss``'s.

    The rows are of one problem, and paired, for the draws are the same.
    """
    return _mean([row[metric][score] - row["val_loss"][score] for row in rows])


def ranks(rows: Sequence[Row], score: str) -> dict[str, float]:
    """Returns the mean rank of each metric over the problems, 1 being the best.

    Equal means share the mean of their ranks.
    """
    sign = -1.0 if score == "accuracy" else 1.0
    means = [
        [sign * _mean([row[metric][score] for row in own])[0] for metric in METRICS]
        for own in _by_problem(rows).values()
    ]
    each = stats.rankdata(means, axis=1).mean(axis=0)
    return dict(zip(METRICS, each.tolist(), strict=True))


def _by_problem(rows: Sequence[Row]) -> dict[str, list[Row]]:
    names = dict.fromkeys(row["problem"] for row in rows)
    return {name: [row for row in rows if row["problem"] == name] for name in names}


def _mean(values: Sequence[float]) -> Pair:
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def _signed(pair: Pair) -> str:
    mean, error = pair
    return f"{mean:+.4f}" + ("" if error is None else f" ± {error:.4f}")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, and where finished draws are kept."""

    problems: tuple[str, ...] = flag(
        ("gaussian", "digits", "wine"), names=selection_problems.NAMES
    )
    seeds: int = flag(10, "Draws of each problem.", check=at_least(1))
    results: str | None = flag(None, "A file of finished draws; none if unset.")
    data_dir: str | None = flag(None, "Has the files of Fashion-MNIST.")


def run_benchmark(config: BenchmarkConfig) -> None:
    """Measures what the flags name, and prints the table."""
    flat.validate(config)
    file = Path(config.results or os.devnull)
    done = [*map(json.loads, file.read_text().splitlines())] if file.exists() else []

    def keep(row: Row) -> None:
        with file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    draw = functools.partial(selection_problems.draw, data_dir=config.data_dir)
    seeds = range(config.seeds)
    print(table(run(config.problems, seeds, draw, Settings(), done=done, keep=keep)))


SCRIPT = main.Script(run_benchmark, BenchmarkConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
