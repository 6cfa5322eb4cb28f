"""Jobs trained side by side: programs compiled once, as many calls as memory allows.

A job whose piece is in the run folder is not trained again, one with a saved state goes
on from it. Whatever happens in between, a lane gets the same bits: a program has one
width, and a state is all that a tile's future depends on.
"""

import concurrent.futures as futures
import dataclasses
import os
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from linclf_jax.runs import checkpoint
from linclf_jax.runs.checkpoint import Report
from linclf_jax.scheduler import memory, signals
from linclf_jax.scheduler.jobs import Job, Rows
from linclf_jax.scheduler.worker import Worker
from linclf_jax.studies.problem import Problem
from linclf_jax.training import execution, planning
from linclf_jax.training.execution import Output, Program
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data
from linclf_jax.training.trials import TrialBatch

TICK = 10.0  # seconds after which no news is told, too
MOST_AT_ONCE = 8  # calls; measured on two cores, where two are as good as more
# Of a tile alone that ran out of memory, before it is called too big.
RETRIES = 3

Key = tuple[Static, int]  # of a program, see ``Engine._key``


class Engine:
    """Trains jobs on the devices, within the memory, until asked to stop."""

    def __init__(
        self,
        folder: Path,
        problem: Problem,
        stop: signals.Stop,
        report: Report,
    ) -> None:
        """Places the data on the devices.

        Args:
            folder: The run folder.
            problem: Data, and what the flags say of devices, memory, checkpoints.
            stop: Says whether to stop.
            report: Takes a sentence for a person.

        Raises:
            ValueError: There are fewer devices than asked for.
        """
        config = problem.config
        self._folder, self._report = folder, report
        self._width = config.tile_width or 1
        self.devices = choose_devices(config.devices)
        self._mesh = execution.make_mesh(self.devices)
        self._data = {
            k: execution.place(v, self._mesh) for k, v in problem.data.items()
        }
        self._compiler = futures.ThreadPoolExecutor(1)
        self._programs: dict[Key, futures.Future[Program]] = {}
        self._worker = Worker(
            folder,
            self._data,
            self._width,
            config.checkpoint_every,
            stop,
            report,
        )
        self._exhausted: dict[str, int] = {}  # how often alone, by the name of a job
        self._most = config.tiles_at_once or useful_at_once(self._mesh)
        given = config.memory_budget and memory.parse_size(config.memory_budget)
        in_use = memory.resident(self.devices)
        self._budget = given or in_use + memory.available(self.devices)
        self.predicted = 0  # bytes, the highest of all plans
        memory.forget_peak()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Rows, bool]]:
        """Yields the rows of each job as it finishes, and whether they were there.

        Every few seconds in which no job finishes it yields no rows.

        Args:
            jobs: Jobs of one static choice side by side.

        Raises:
            Stopped: The run was asked to stop; all states are saved.
            ValueError: Not even one tile fits the memory.
        """
        missing = []
        for job in jobs:
            piece = checkpoint.load_piece(self._folder, job.name, self._report)
            if piece is None:
                missing.append(job)
                continue
            _check_lanes(job, [row["trial"] for row in piece.rows], self._folder)
            yield piece.rows, True
        groups: dict[Key, list[Job]] = {}
        for job in missing:
            groups.setdefault(self._key(job.tile.static), []).append(job)
        order = [group[0].tile.static for group in groups.values()]
        for number, group in enumerate(groups.values()):
            program = self.program(order[number]).result()
            for following in order[number + 1 : number + 2]:
                self.program(following)  # compiled while this group is trained
            for rows in self._run_group(program, group):
                yield rows, False

    def program(self, static: Static) -> "futures.Future[Program]":
        """Returns the program of a static choice, compiled once, in the background."""
        key = self._key(static)
        if key not in self._programs:
            data = self._data[static.inputs]
            self._programs[key] = self._compiler.submit(
                execution.build, key[0], data, self._width, self._mesh
            )
        return self._programs[key]

    def alone(self, tile: TrialBatch, steps: int | None = None) -> Output:
        """Trains one tile from the beginning, without a piece, to a step or the end."""
        return self._worker.alone(self.program(tile.static).result(), tile, steps)

    def _key(self, static: Static) -> Key:
        """Returns what a program depends on; of its data, the number of columns."""
        compiled = dataclasses.replace(static, features="", preprocessing="")
        return compiled, self._data[static.inputs].x.shape[1]

    def memory_line(self) -> str:
        """Returns what the memory was predicted to reach, and what it reached."""
        sizes = (self.predicted, memory.peak(self.devices), self._budget)
        predicted, peak, budget = map(memory.format_size, sizes)
        return f"memory: predicted {predicted}, peak {peak}, budget {budget}"

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        """Lets running jobs end at their next look, and compiles no more."""
        self._worker.abort()
        self._compiler.shutdown(wait=False, cancel_futures=True)

    def _run_group(self, program: Program, jobs: Sequence[Job]) -> Iterator[Rows]:
        """Trains jobs of one program, as many at once as the memory allows."""
        waiting = self._calls(jobs)
        data = self._data[jobs[0].tile.static.inputs]
        at_once = self._plan(program, data, len(waiting))
        running: dict[futures.Future[list[Rows]], list[Job]] = {}
        with futures.ThreadPoolExecutor(at_once) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < at_once:
                        call = waiting.pop(0)
                        running[pool.submit(self._worker.train, program, call)] = call
                    done, _ = futures.wait(
                        running, TICK, return_when=futures.FIRST_COMPLETED
                    )
                    if not done:
                        yield []  # so that whoever watches can say that it goes on
                    for future in done:
                        call, error = running.pop(future), future.exception()
                        if error is None:
                            yield from future.result()
                            continue
                        if not planning.is_exhausted(error):
                            raise error
                        # Its frames hold what lay on the device, and would hold it
                        # while the tile is tried again.
                        traceback.clear_frames(error.__traceback__)
                        at_once = self._back_off(call, at_once, error, bool(running))
                        waiting.insert(0, call)
            except BaseException:
                self._worker.abort()  # the others stop at their next look, and save
                raise

    def _back_off(
        self, call: Sequence[Job], at_once: int, error: Any, others: bool
    ) -> int:
        """Returns how many calls to try at once after the memory was too small."""
        name = call[0].name
        if not others:
            self._exhausted[name] = self._exhausted.get(name, 0) + 1
        if self._exhausted.get(name, 0) > RETRIES:
            raise ValueError(
                f"tile {name} alone is too much for the memory, {RETRIES + 1} times; "
                f"make --trials_per_batch smaller ({error})"
            ) from error
        fewer = planning.fewer(at_once)
        self._report(f"out of memory at tile {name}; going on with {fewer} at a time")
        return fewer

    def _calls(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Returns the jobs that go into one call: one for each device, of one data."""
        calls: list[list[Job]] = []
        for job in jobs:
            fits = calls and len(calls[-1]) < self._mesh.size
            if fits and _same_call(calls[-1][0], job):
                calls[-1].append(job)
            else:
                calls.append([job])
        return calls

    def _plan(self, program: Program, data: Data, calls: int) -> int:
        size = planning.program_bytes(program.memory)
        size -= sum(leaf.nbytes for leaf in jax.tree.leaves(data))  # there already
        # A piece is put together, and then written, from copies of what came out.
        size += 2 * getattr(program.memory, "output_size_in_bytes", 0)
        if self.devices[0].platform == "cpu":
            size *= self._mesh.size  # the devices share the host's memory
        plan = planning.plan(
            budget=self._budget,
            resident=memory.resident(self.devices),
            per_batch=size,
            num_batches=calls,
            most=self._most,
        )
        self.predicted = max(self.predicted, plan.predicted_bytes)
        return plan.at_once


def choose_devices(text: str) -> list[Any]:
    """Returns the first devices of the machine, as many as ``--devices`` says.

    Raises:
        ValueError: There are not so many.
    """
    found = jax.devices()
    count = len(found) if text == "all" else int(text)
    if count > len(found):
        raise ValueError(
            f"--devices is {text}; expected 1 to {len(found)}, or all "
            f"({found[0].device_kind})"
        )
    return found[:count]


def useful_at_once(mesh: Mesh) -> int:
    """Returns how many calls at once gain speed.

    While one of them does what is not parallel, another one's product takes the cores;
    see docs/performance.md.
    """
    if mesh.devices.flat[0].platform == "cpu":
        allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        return max(1, min(MOST_AT_ONCE, len(allowed(0)) // mesh.size))
    return 2  # a GPU runs one after the other; two hide what the host does between


def _check_lanes(job: Job, found: list[int], folder: Path) -> None:
    expected = [lane.trial for lane in job.tile.trials]
    if found != expected:
        raise ValueError(
            f"{folder}: piece {job.name} holds lanes {found}, expected {expected}; "
            "delete it to train them again"
        )


def _same_call(first: Job, second: Job) -> bool:
    return (
        first.tile.static.inputs == second.tile.static.inputs
        and first.epochs == second.epochs
    )
