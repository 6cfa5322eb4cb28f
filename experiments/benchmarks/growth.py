"""How the cost of a path grows with each of its sizes: measured, and drawn.

From a problem in the middle, one size at a time takes other values: rows, features,
classes, lanes, and the reciprocal of the weakest penalty, at which the path ends. Time
is that of all lanes along the whole path, after compilation; products are those of the
Hessian with a vector, of all lanes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.benchmarks import problems
from linclf_jax.exact import path as path_lib
from linclf_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALUES_A_DECADE = 4  # of the path
SHARE = 0.8  # of the rows, that a lane trains on
LABELS = ("seconds", "products")


class Sizes(NamedTuple):
    """What a path's cost depends on."""

    rows: int
    features: int
    classes: int
    lanes: int
    inverse_l2: float  # of the weakest penalty


class Cost(NamedTuple):
    """Of one path."""

    seconds: float  # median
    products: int


MIDDLE = Sizes(rows=4000, features=128, classes=10, lanes=5, inverse_l2=1e4)
AXES: Mapping[str, Sequence[float]] = {
    "rows": (1000, 2000, 4000, 8000, 16_000),
    "features": (32, 64, 128, 256, 512),
    "classes": (3, 5, 10, 20, 40),
    "lanes": (1, 2, 5, 10, 20),
    "inverse_l2": (1e2, 1e3, 1e4, 1e5, 1e6),
}

Curves = dict[str, list[tuple[float, Cost]]]  # by the size that grows


def run(path: Path, scale: int, repeats: int) -> None:
    """Measures, and writes a PNG; for trying, rows and features are divided."""
    problems.check_scale(scale)
    path.touch()  # what is missing should not show after an hour
    costs: dict[Sizes, Cost] = {}  # the middle is on every curve
    curves: Curves = {}
    for name, values in AXES.items():
        every = [_scaled(MIDDLE._replace(**{name: value}), scale) for value in values]
        for sizes in every:
            if sizes not in costs:
                costs[sizes] = measure(sizes, repeats)
                print(sizes, costs[sizes], file=sys.stderr, flush=True)
        curves[name] = [(getattr(sizes, name), costs[sizes]) for sizes in every]
    path.write_bytes(style.png(draw(curves)))


def _scaled(sizes: Sizes, scale: int) -> Sizes:
    return sizes._replace(rows=sizes.rows // scale, features=sizes.features // scale)


def measure(sizes: Sizes, repeats: int) -> Cost:
    """Returns what a path costs, by several turns after one that compiles."""
    shape = (sizes.rows, sizes.features, sizes.classes)
    x, labels = problems.spectral(shape, decay=1.0, separation=2.0)
    x = x.astype(np.float32)
    draws = np.random.default_rng(0).random((sizes.lanes, sizes.rows))
    weights = (draws < SHARE).astype(np.float32)
    count = 1 + round(VALUES_A_DECADE * np.log10(sizes.inverse_l2))
    l2s = np.array(problems.grid(1.0 / sizes.inverse_l2, count))

    def follow() -> tuple[float, int]:
        start = time.perf_counter()
        points = path_lib.follow(x, labels, l2s, weights=weights)
        products = sum(int(point.info.products.sum()) for point in points)
        return time.perf_counter() - start, products

    _, products = follow()
    return Cost(statistics.median(follow()[0] for _ in range(repeats)), products)


@style.style()
def draw(curves: Curves) -> Figure:
    """Seconds above and products below, over each of the sizes, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    grid = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False)
    for column, (name, points) in zip(grid.T, curves.items(), strict=True):
        values = np.array([value for value, _ in points])
        for axis, label in zip(column, LABELS, strict=True):
            costs = np.array([getattr(cost, label) for _, cost in points], float)
            _panel(axis, values, costs)
        column[-1].set_xlabel("1 / l2" if name == "inverse_l2" else name)
    for axis, label in zip(grid[:, 0], LABELS, strict=True):
        axis.set_ylabel(label)
    return figure


def _panel(axis: Axes, values: np.ndarray, costs: np.ndarray) -> None:
    """One curve, with the slope of the straight line that fits it best for a title."""
    from matplotlib.ticker import LogLocator, NullLocator

    slope = np.polyfit(np.log(values), np.log(costs), 1)[0]
    axis.loglog(values, costs, "o-", color=style.CHOSEN, markersize=4, linewidth=1.5)
    axis.set_title(f"slope {slope:z.2f}")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for one in (axis.xaxis, axis.yaxis):
        one.set_minor_locator(NullLocator())
        one.set_major_formatter(lambda value, _: style.short_number(value))
    axis.set_xticks(values[::2])
    axis.grid(color="#eeeeee", linewidth=0.7)
    axis.set_axisbelow(True)
