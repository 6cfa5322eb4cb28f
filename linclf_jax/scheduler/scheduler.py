"""Jobs trained side by side: programs compiled once, as many calls as memory allows.

A job whose batch is in the store is not trained again, one with a saved state goes on
from it. Whatever happens in between, a trial gets the same bits: a program has one
width, and a state is all that a batch's future depends on.
"""

import concurrent.futures as futures
import itertools
import logging
import os
import traceback
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jax.sharding import Mesh

from linclf_jax.runs.store import Store
from linclf_jax.scheduler import jobs, memory, progress, signals
from linclf_jax.scheduler.jobs import Job, Rows, Rungs
from linclf_jax.scheduler.programs import Key, Programs
from linclf_jax.scheduler.worker import Worker
from linclf_jax.training.execution import Output, Program
from linclf_jax.training.trials import TrialBatch

TICK = 10.0  # seconds after which a sign of life is given, too
MOST_AT_ONCE = 8  # calls; measured on two cores, where two are as good as more
# Of a batch alone that ran out of memory, before it is called too big.
RETRIES = 3
_logger = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What training may take; nothing here changes a result."""

    memory_budget: int | None = None  # bytes; what is there if None
    concurrent_batches: int | None = None  # on a device; planned if None
    checkpoint_every: float = 60.0  # seconds between two saves of a state


class Done(NamedTuple):
    """A finished job."""

    rows: Rows
    restored: bool  # it was in the store


class Scheduler:
    """Trains jobs on the devices, within the memory, until asked to stop."""

    def __init__(
        self, programs: Programs, store: Store, limits: Limits, stop: signals.Stop
    ) -> None:
        """Measures the memory and trains nothing yet."""
        self._programs, self._store = programs, store
        self._worker = Worker(programs, store, limits.checkpoint_every, stop)
        self._exhausted: dict[str, int] = {}  # how often alone, by the name of a job
        self._most = limits.concurrent_batches or useful_at_once(programs.mesh)
        in_use = memory.resident(programs.devices)
        available = memory.available(programs.devices)
        self._budget = limits.memory_budget or in_use + available
        self.predicted = 0  # bytes, the highest of all plans
        memory.forget_peak()

    def train(self, queue: Sequence[Job], rungs: Rungs | None = None) -> Iterator[Done]:
        """Yields the trials that need no more training, rung by rung if there are any.

        The jobs are from ``jobs.first``, those of one static choice side by side.

        Raises:
            worker.Halted: The run was asked to stop; all states are saved.
            ValueError: Not even one batch fits the memory.
        """
        if rungs is not None:
            for number in range(1, len(rungs.epochs)):
                rows = [row for done in self._run(queue) for row in done.rows]
                width = self._programs.width
                queue = jobs.following(queue, rows, rungs, number, width)
                alive = {*jobs.numbers(queue)}
                yield Done([row for row in rows if row["trial"] not in alive], False)
        yield from self._run(queue)

    def train_single(self, batch: TrialBatch, steps: int | None = None) -> Output:
        """Trains one batch from the beginning to a step or the end, storing nothing."""
        program = self._programs.program(batch.static).result()
        return self._worker.train_single(program, batch, steps)

    def memory_line(self) -> str:
        """Returns what the memory was predicted to reach, and what it reached."""
        sizes = (self.predicted, memory.peak(self._programs.devices), self._budget)
        predicted, peak, budget = map(memory.format_size, sizes)
        return f"memory: predicted {predicted}, peak {peak}, budget {budget}"

    def __enter__(self) -> "Scheduler":
        return self

    def __exit__(self, *exception: object) -> None:
        """Lets running jobs end after their current segments; compiles no more."""
        self._worker.abort()
        self._programs.cancel()

    def _run(self, queue: Sequence[Job]) -> Iterator[Done]:
        """Yields each job as it finishes, those of the store first."""
        missing = []
        for job in queue:
            batch = self._store.load_batch(job.name)
            if batch is None:
                missing.append(job)
                continue
            self._check_trials(job, [row["trial"] for row in batch.rows])
            yield Done(batch.rows, True)
        groups: dict[Key, list[Job]] = {}
        for job in missing:
            groups.setdefault(self._programs.key(job.batch.static), []).append(job)
        queues = [*groups.values()]
        for group, following in itertools.zip_longest(queues, queues[1:]):
            program = self._programs.program(group[0].batch.static).result()
            if following:  # compiled while this group is trained
                self._programs.program(following[0].batch.static)
            for rows in self._run_group(program, group):
                yield Done(rows, False)

    def _run_group(self, program: Program, group: Sequence[Job]) -> Iterator[Rows]:
        """Trains jobs of one program, as many at once as the memory allows."""
        waiting = self._calls(group)
        at_once = self._plan(program, len(waiting))
        running: dict[futures.Future[list[Rows]], list[Job]] = {}
        with futures.ThreadPoolExecutor(at_once) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < at_once:
                        call = waiting.pop(0)
                        future = pool.submit(self._worker.run_batch, program, call)
                        running[future] = call
                    done, _ = futures.wait(
                        running, TICK, return_when=futures.FIRST_COMPLETED
                    )
                    if not done:
                        progress.update([])
                    for future in done:
                        call, error = running.pop(future), future.exception()
                        if error is None:
                            yield from future.result()
                            continue
                        if not memory.is_exhausted(error):
                            raise error
                        # Its frames hold what lay on the device, and would hold it
                        # while the batch is tried again.
                        traceback.clear_frames(error.__traceback__)
                        at_once = self._back_off(call, at_once, error, bool(running))
                        waiting.insert(0, call)
            except BaseException:
                self._worker.abort()  # the others save their states and stop
                raise

    def _back_off(
        self, call: Sequence[Job], at_once: int, error: BaseException, others: bool
    ) -> int:
        """Returns how many calls to try at once after the memory was too small."""
        name = call[0].name
        if not others:
            self._exhausted[name] = self._exhausted.get(name, 0) + 1
        if self._exhausted.get(name, 0) > RETRIES:
            raise ValueError(
                f"batch {name} alone is too much for the memory, {RETRIES + 1} times; "
                f"make --trials_per_batch smaller ({error})"
            ) from error
        fewer = max(1, at_once // 2)
        _logger.warning(
            "out of memory at batch %s; going on with %d at a time", name, fewer
        )
        return fewer

    def _calls(self, group: Sequence[Job]) -> list[list[Job]]:
        """Returns the jobs that go into one call: one for each device, of one data."""
        calls: list[list[Job]] = []
        for job in group:
            fits = calls and len(calls[-1]) < self._programs.mesh.size
            if fits and _kind(calls[-1][0]) == _kind(job):
                calls[-1].append(job)
            else:
                calls.append([job])
        return calls

    def _plan(self, program: Program, calls: int) -> int:
        size = memory.program_bytes(program.memory) + program.buffers
        size -= program.shared  # there already
        # Results are put together, and then written, from copies of what came out.
        size += 2 * getattr(program.memory, "output_size_in_bytes", 0)
        if self._programs.devices[0].platform == "cpu":
            size *= self._programs.mesh.size  # the devices share the host's memory
        plan = memory.plan(
            budget=self._budget,
            resident=memory.resident(self._programs.devices),
            per_batch=size,
            num_batches=calls,
            most=self._most,
        )
        self.predicted = max(self.predicted, plan.predicted)
        return plan.at_once

    def _check_trials(self, job: Job, trials: list[int]) -> None:
        expected = jobs.numbers([job])
        if trials != expected:
            raise ValueError(
                f"{self._store}: batch {job.name} holds trials {trials}, expected "
                f"{expected}; delete it to train them again"
            )


def useful_at_once(mesh: Mesh) -> int:
    """Returns how many calls at once gain speed.

    While one of them does what is not parallel, another one's product takes the cores;
    see docs/performance.md.
    """
    if mesh.devices.flat[0].platform == "cpu":
        allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        return max(1, min(MOST_AT_ONCE, len(allowed(0)) // mesh.size))
    return 2  # a GPU runs one after the other; two hide what the host does between


def _kind(job: Job) -> tuple[object, int]:
    """Returns what the jobs of one call agree in: their data, and where they end."""
    return job.batch.static.inputs, job.epochs
