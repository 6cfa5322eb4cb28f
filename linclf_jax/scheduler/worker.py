"""One call of a program: batches from where they stand to their last step, made safe.

Rows and arrays of a finished batch go to the store; while it is trained,
its state is saved from time to time, and when the run is asked to stop. Several calls
run side by side, each in a thread of its own.
"""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from linclf_jax.runs.store import Batch, Store
from linclf_jax.scheduler import programs, signals
from linclf_jax.scheduler.jobs import Job, Rows
from linclf_jax.scheduler.programs import Programs
from linclf_jax.training import states, trials
from linclf_jax.training.execution import Output, Program, Start
from linclf_jax.training.states import State
from linclf_jax.training.trials import TrialBatch


class Halted(Exception):  # noqa: N818, being stopped is no error
    """A job ended before its last step; its state is saved."""


class Worker:
    """Trains the jobs of one call after another; its methods may run in threads."""

    def __init__(
        self,
        programs: Programs,
        store: Store,
        checkpoint_every: float,
        stop: signals.Stop,
    ) -> None:
        """Begins nothing yet; a state is saved every so many seconds."""
        self._programs, self._store = programs, store
        self._every, self._stop = checkpoint_every, stop
        self._abort = threading.Event()

    def abort(self) -> None:
        """Lets all calls save their states and end after their current segments."""
        self._abort.set()

    def train_single(
        self, program: Program, batch: TrialBatch, steps: int | None = None
    ) -> Output:
        """Trains one batch from the beginning to a step or the end, storing nothing."""
        last = program.last_step if steps is None else steps
        return self._advance(program, self._begin(batch, program), batch, last)

    def run_batch(self, program: Program, call: Sequence[Job]) -> list[Rows]:
        """Trains jobs side by side, one on each device, and makes them durable.

        The jobs are of one rung and of the same data.

        Raises:
            Halted: The run was asked to stop; the states are saved.
        """
        starts = [self._start(job, program) for job in call]
        saved, last = time.monotonic(), last_step(call[0], program)

        def save(steps: list[int], reached: list[State]) -> None:
            for job, step, state in zip(call, steps, reached, strict=True):
                self._store.save_state(job.name, step, state)

        def on_segment(steps: list[int], reached: Callable[[], list[State]]) -> None:
            nonlocal saved
            stopping = self._stopping()
            if stopping or time.monotonic() - saved >= self._every:
                save(steps, reached())
                saved = time.monotonic()
            if stopping:
                raise Halted

        self._check_stop()
        data = self._programs.data[call[0].batch.static.inputs]
        outputs = programs.run(program, starts, data, last, on_segment)
        finished = last == program.last_step
        if not finished:  # the survivors go on from here
            save([last] * len(call), [output.state for output in outputs])
        return [
            self._finish(job, output, finished=finished)
            for job, output in zip(call, outputs, strict=True)
        ]

    def _finish(self, job: Job, output: Output, *, finished: bool) -> Rows:
        rows = trials.make_rows(job.batch, output, finished=finished)
        arrays = trials.make_arrays(job.batch, output)
        self._store.save_batch(job.name, Batch(rows, arrays))
        if finished:
            self._store.drop_states(job.name)
        return rows

    def _start(self, job: Job, program: Program) -> Start:
        """Returns where a job stands: at its newest state, or where its trials did."""
        start = self._begin(job.batch, program)
        saved = self._store.load_state(job.name, program.state)
        if saved is not None:
            return start._replace(step=saved[0], state=saved[1])
        if not job.sources:
            return start
        members, parts = set(job.batch.trials), []
        for source in job.sources:
            origin = source.batch.trials
            lanes = [i for i, trial in enumerate(origin) if trial in members]
            parts.append((self._state_after(source, program), lanes))
        state = states.gather(parts, self._programs.width)
        return start._replace(step=last_step(job.sources[0], program), state=state)

    def _state_after(self, job: Job, program: Program) -> State:
        """Returns what a job ended with; trains it again where the file is damaged."""
        start, last = self._start(job, program), last_step(job, program)
        if start.step == last and start.state is not None:
            return start.state
        return self._advance(program, start, job.batch, last).state

    def _advance(
        self, program: Program, start: Start, batch: TrialBatch, last: int
    ) -> Output:
        data = self._programs.data[batch.static.inputs]
        (output,) = programs.run(program, [start], data, last, self._check_stop)
        return output

    def _begin(self, batch: TrialBatch, program: Program) -> Start:
        dtype = np.dtype(program.state.params.W.dtype)
        return Start(trials.filled(batch, self._programs.width, dtype))

    def _check_stop(self, *_: object) -> None:
        if self._stopping():
            raise Halted

    def _stopping(self) -> bool:
        return self._stop.requested() is not None or self._abort.is_set()


def last_step(job: Job, program: Program) -> int:
    """Returns one past the last step of a job."""
    return program.last_step // job.batch.static.epochs * job.epochs
