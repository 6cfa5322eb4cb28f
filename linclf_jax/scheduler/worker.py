"""One call of a program: tiles from where they stand to their last step, made durable.

Rows and arrays of a finished tile become a piece of the run folder; while it is
trained, its state is saved from time to time, and when the run is asked to stop.
Several calls run side by side, each in a thread of its own.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from linclf_jax.runs import checkpoint
from linclf_jax.runs.checkpoint import Piece, Report
from linclf_jax.scheduler import signals
from linclf_jax.scheduler.jobs import Job, Rows
from linclf_jax.training import execution, states, trials
from linclf_jax.training.execution import Output, Program, Start
from linclf_jax.training.states import Data, State
from linclf_jax.training.trials import TrialBatch


class Stopped(Exception):  # noqa: N818, being stopped is no error
    """A job ended before its last step; its state is saved."""


class Worker:
    """Trains the jobs of one call after another; its methods may run in threads."""

    def __init__(
        self,
        folder: Path,
        data: Mapping[tuple[str, str], Data],
        width: int,
        checkpoint_every: float,
        stop: signals.Stop,
        report: Report,
    ) -> None:
        """Remembers what all calls have in common.

        Args:
            folder: The run folder.
            data: On the devices, by ``inputs`` of a static choice.
            width: Lanes of a tile.
            checkpoint_every: Seconds between two saves of a state.
            stop: Says whether the run is asked to stop.
            report: Takes a sentence for a person.
        """
        self._folder, self._data, self._width = folder, data, width
        self._every, self._stop, self._report = checkpoint_every, stop, report
        self._abort = threading.Event()

    def abort(self) -> None:
        """Lets all calls save their states and end at their next look."""
        self._abort.set()

    def alone(
        self, program: Program, tile: TrialBatch, steps: int | None = None
    ) -> Output:
        """Trains one tile from the beginning, without a piece, to a step or the end."""
        start = self._begin(tile, program)
        last = program.last_step if steps is None else steps
        return self._advance(program, start, tile, last)

    def train(self, program: Program, call: Sequence[Job]) -> list[Rows]:
        """Trains the jobs of one call and makes them durable; runs in a thread."""
        starts = [self._start(job, program) for job in call]
        saved = time.monotonic()
        static = call[0].tile.static
        last = last_step(call[0], program)

        def save(steps: list[int], reached: list[State]) -> None:
            for job, step, state in zip(call, steps, reached, strict=True):
                checkpoint.save_state(self._folder, job.name, step, state)

        def look(steps: list[int], reached: Callable[[], list[State]]) -> None:
            nonlocal saved
            stopping = self._stopping()
            if stopping or time.monotonic() - saved >= self._every:
                save(steps, reached())
                saved = time.monotonic()
            if stopping:
                raise Stopped

        self._check_stop()
        outputs = execution.run(program, starts, self._data[static.inputs], last, look)
        finished = last == program.last_step
        if not finished:  # the survivors go on from here
            save([last] * len(call), [output.state for output in outputs])
        return [
            self._finish(job, output, finished=finished)
            for job, output in zip(call, outputs, strict=True)
        ]

    def _finish(self, job: Job, output: Output, *, finished: bool) -> Rows:
        rows = trials.make_rows(job.tile, output, finished=finished)
        piece = Piece(rows, trials.make_arrays(job.tile, output))
        checkpoint.save_piece(self._folder, job.name, piece)
        if finished:
            checkpoint.drop_states(self._folder, job.name)
        return rows

    def _start(self, job: Job, program: Program) -> Start:
        """Returns where a job stands: at its newest state, or where its lanes did."""
        start = self._begin(job.tile, program)
        found = checkpoint.load_state(
            self._folder, job.name, program.state, self._report
        )
        if found is not None:
            return start._replace(step=found[0], state=found[1])
        if not job.sources:
            return start
        here = set(job.tile.trials)
        parts = [
            (
                self._state_after(source, program),
                [i for i, lane in enumerate(source.tile.trials) if lane in here],
            )
            for source in job.sources
        ]
        state = states.gather(parts, self._width)
        return start._replace(step=last_step(job.sources[0], program), state=state)

    def _state_after(self, job: Job, program: Program) -> State:
        """Returns what a job ended with; trains it again where the file is damaged."""
        start, last = self._start(job, program), last_step(job, program)
        if start.step == last and start.state is not None:
            return start.state
        return self._advance(program, start, job.tile, last).state

    def _advance(
        self, program: Program, start: Start, tile: TrialBatch, last: int
    ) -> Output:
        data = self._data[tile.static.inputs]
        (output,) = execution.run(program, [start], data, last, self._check_stop)
        return output

    def _begin(self, tile: TrialBatch, program: Program) -> Start:
        dtype = np.dtype(program.state.params.W.dtype)
        return Start(trials.filled(tile, self._width, dtype))

    def _check_stop(self, *_: object) -> None:
        if self._stopping():
            raise Stopped

    def _stopping(self) -> bool:
        return self._stop.requested() is not None or self._abort.is_set()


def last_step(job: Job, program: Program) -> int:
    """Returns one past the last step of a job."""
    return program.last_step // job.tile.static.epochs * job.epochs
