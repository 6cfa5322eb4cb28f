"""How fast a sweep trains, beside what people do and beside the bare matrix products.

    python -m experiments.benchmarks.sweep --shapes=512x10x512x256 --optimizer=momentum

Contenders take turns in one process, after compilation, and the table shows medians:

- ``ours``: this package, the lanes in batches, as many at once as a sweep trains;
- ``ours, 10 % diverging``: the same, with a learning rate of 1e30 in every tenth lane;
- ``vmap``: one run, mapped over lanes that draw their own minibatches;
- ``loop``: a Python loop over one jitted run (measured on a few lanes, scaled up);
- ``torch.func``, ``torch loop``: the same in PyTorch, where it is installed;
- ``products``: the two matrix products of a step, alone: the limit.

Work is counted as those products' ``4 B D C L`` operations a step. The table goes to
standard error and one JSON object a line to standard output.
"""

import concurrent.futures
import dataclasses
import functools
import importlib.util
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.cli import console, main
from linclf_jax.config import flat
from linclf_jax.config.fields import at_least, flag
from linclf_jax.scheduler import scheduler
from linclf_jax.training import execution, settings, trials
from linclf_jax.training import program as training
from linclf_jax.training.optimizers import OPTIMIZERS
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import NO_FOLD, Data

SHAPES = (
    "512x10x512x256",
    "64x10x128x1024",
    "784x10x256x512",
    "768x100x512x64",
    "1024x1000x256x8",
)
STEPS = 20
LOOP_LANES = 4
DIVERGING = "ours, 10 % diverging"
COLUMNS = (
    *("shape", "optimizer", "contender", "ms_per_step", "gflops"),
    *("of_products", "times_loop"),
)


class Shape(NamedTuple):
    """One problem."""

    num_features: int
    num_classes: int
    batch_size: int
    lanes: int

    @property
    def operations(self) -> float:
        """Of one step of all lanes: two products, a multiplication and an addition."""
        return 4.0 * self.batch_size * self.num_features * self.num_classes * self.lanes


class Contender(NamedTuple):
    """``run()`` trains for ``STEPS`` steps; ``scale`` makes it all the lanes."""

    name: str
    run: Callable[[], Any]
    scale: float = 1.0


class Problem(NamedTuple):
    """Random data and hyper-parameters of one shape."""

    shape: Shape
    static: Static
    data: Data
    hparams: Hparams  # arrays (L,)


def make_problem(shape: Shape, optimizer: str, precision: str) -> Problem:
    """Returns seeded data for ``STEPS`` steps of one epoch."""
    rng = np.random.default_rng(0)
    rows = STEPS * shape.batch_size
    x = jnp.asarray(rng.normal(size=(rows, shape.num_features)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, shape.num_classes, rows), jnp.int32)
    static = Static(
        num_classes=shape.num_classes,
        optimizer=optimizer,
        batch_size=shape.batch_size,
        epochs=1,
        precision=precision,
    )
    columns = (np.full(shape.lanes, value, np.float32) for value in Hparams(l2=1e-3))
    rates = np.geomspace(1e-4, 1e-2, shape.lanes).astype(np.float32)
    hparams = Hparams(*columns)._replace(learning_rate=rates)
    # Validation is no part of training: one row of it.
    return Problem(shape, static, Data(x, labels, x[:1], labels[:1]), hparams)


def diverging(problem: Problem) -> Contender:
    """Returns ``ours`` with lanes that diverge at once and go along frozen."""
    rates = np.array(problem.hparams.learning_rate)
    rates[::10] = 1e30
    hparams = problem.hparams._replace(learning_rate=rates)
    return ours(problem._replace(hparams=hparams))._replace(name=DIVERGING)


def ours(problem: Problem) -> Contender:
    """Returns this package's own way: compiled batches, several of them at once."""
    mesh = execution.make_mesh(jax.devices()[:1])
    shape, data = problem.shape, execution.place(problem.data, mesh)
    width = min(trials.default_width(shape.num_classes), shape.lanes)
    # Two epochs, of which one is trained: the validation after it is no part of this.
    static = dataclasses.replace(problem.static, epochs=2)
    program = execution.build(static, data, width, mesh)
    begun = []
    for first in range(0, shape.lanes, width):
        own = Hparams(*(np.asarray(h)[first : first + width] for h in problem.hparams))
        fold = np.full(width, NO_FOLD, np.int32)
        batch = execution.BatchInputs(np.zeros((), np.uint32), own, fold)
        begun.append(execution.arguments(program, [execution.Start(batch)]))
    pool = concurrent.futures.ThreadPoolExecutor(scheduler.useful_at_once(mesh))
    # From step 1, so that drawing the initial weights is no part of it either.
    first, last = np.ones(1, np.int32), np.int32(STEPS)

    def train(arguments: Any) -> Any:
        return jax.block_until_ready(
            program.call(*arguments, first, last, np.bool_(False), data)
        )

    return Contender(
        "ours", lambda: list(pool.map(train, begun)), scale=STEPS / (STEPS - 1)
    )


def vmap(problem: Problem) -> Contender:
    """Returns the plain map: every lane gathers minibatches of its own."""
    train = jax.vmap(training.make_train(problem.static), in_axes=(0, 0, None))
    keys = jax.random.split(jax.random.key(0), problem.shape.lanes)
    arguments = (keys, problem.hparams, problem.data)
    return Contender("vmap", functools.partial(jax.jit(train), *arguments))


def loop(problem: Problem) -> Contender:
    """Returns one jitted run after the other, a few of them."""
    train = jax.jit(training.make_train(problem.static))
    lanes = min(LOOP_LANES, problem.shape.lanes)
    each = [
        Hparams(*(np.asarray(column)[lane] for column in problem.hparams))
        for lane in range(lanes)
    ]

    def run() -> list[Any]:
        return [train(jax.random.key(0), hparams, problem.data) for hparams in each]

    return Contender("loop", run, scale=problem.shape.lanes / lanes)


def products(problem: Problem) -> Contender:
    """Returns the two products of a step, on operands of the same shapes."""
    shape, precision = problem.shape, problem.static.precision
    columns = shape.num_classes * shape.lanes
    rng = np.random.default_rng(1)
    W = jnp.asarray(rng.normal(size=(shape.num_features, columns)), jnp.float32)
    batches = problem.data.x.reshape(STEPS, shape.batch_size, shape.num_features)
    batches /= shape.num_features**0.5 + shape.batch_size**0.5  # a norm of about 1

    @jax.jit
    def run(W: jax.Array, batches: jax.Array) -> jax.Array:
        def step(W: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            # Each result is the other's operand, so that neither can be dropped.
            scores = jnp.matmul(x, W, precision=precision)
            return jnp.matmul(x.T, scores, precision=precision), None

        return jax.lax.scan(step, W, batches)[0]

    return Contender("products", functools.partial(run, W, batches))


def torch_contenders(problem: Problem) -> list[Contender]:
    """Returns SGD with momentum in PyTorch, mapped and one by one, if it is there."""
    available = importlib.util.find_spec("torch") is not None
    if not available or problem.static.optimizer != "momentum":
        return []
    from experiments.benchmarks import torch_sweep

    return [
        Contender(name, run, scale)
        for name, run, scale in torch_sweep.contenders(problem, STEPS, LOOP_LANES)
    ]


def measure(contenders: list[Contender], repeats: int) -> dict[str, float]:
    """Returns the median seconds of each contender, all lanes, ``STEPS`` steps."""
    for contender in contenders:
        jax.block_until_ready(contender.run())
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(repeats):
        for contender in contenders:
            start = time.perf_counter()
            jax.block_until_ready(contender.run())
            elapsed = time.perf_counter() - start
            seconds[contender.name].append(elapsed * contender.scale)
    return {name: statistics.median(times) for name, times in seconds.items()}


def run(
    problem: Problem, repeats: int, *, with_torch: bool = True
) -> list[dict[str, Any]]:
    """Returns one row per contender: rate, share of the limit, times the loop."""
    contenders = [make(problem) for make in (products, ours, diverging, vmap, loop)]
    if with_torch:
        contenders += torch_contenders(problem)
    seconds = measure(contenders, repeats)
    return [
        {
            "shape": ",".join(map(str, problem.shape)),
            "optimizer": problem.static.optimizer,
            "precision": problem.static.precision,
            "device": jax.devices()[0].device_kind,
            "contender": name,
            "ms_per_step": 1e3 * time_taken / STEPS,
            "gflops": problem.shape.operations * STEPS / time_taken / 1e9,
            "of_products": seconds["products"] / time_taken,
            "times_loop": seconds["loop"] / time_taken,
        }
        for name, time_taken in seconds.items()
    ]


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, and how often."""

    shapes: tuple[str, ...] = flag(
        (), "Each DxCxBATCHxLANES, such as 64x10x128x1024; five shapes if unset."
    )
    optimizer: tuple[str, ...] = flag(("momentum", "adam"), names=OPTIMIZERS)
    precision: str = flag("highest", "Of matrix products.", names=settings.PRECISIONS)
    repeats: int = flag(7, "Turns of each contender.", check=at_least(1))


def run_benchmark(config: BenchmarkConfig) -> None:
    """Measures the shapes and optimizers that the flags name."""
    flat.validate(config)
    shapes = [parse_shape(text) for text in config.shapes or SHAPES]
    for shape, optimizer in itertools.product(shapes, config.optimizer):
        rows = run(make_problem(shape, optimizer, config.precision), config.repeats)
        print(console.rows_table(rows, COLUMNS), end="\n\n", file=sys.stderr)
        for row in rows:
            print(json.dumps(row), flush=True)


def parse_shape(text: str) -> Shape:
    """Returns the shape ``DxCxBxL``."""
    numbers = text.split("x")
    if len(numbers) != 4 or not all(n.strip().isdigit() and int(n) for n in numbers):
        raise ValueError(
            f"--shapes holds {text!r}; expected DxCxBATCHxLANES, all positive"
        )
    return Shape(*map(int, numbers))


SCRIPT = main.Script(run_benchmark, BenchmarkConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
