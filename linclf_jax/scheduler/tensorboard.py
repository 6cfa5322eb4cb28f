"""A study in TensorBoard: one event file of all trials at once.

    with tensorboard.recording(directory, "val_loss") as events:
        results = study.fit(store, stop)
        events.write_curves({"val_loss": curve_of_the_chosen_trial})

By trials done: the best score so far, the spread of validation loss and accuracy over
the usable trials, the share that diverged. By epoch: the curves of the chosen trial. A
file, or a run, for each trial would be thousands of lines in one diagram.
"""

import contextlib
import importlib
import importlib.util
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.scheduler import progress
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

# TensorBoard reads files with "tfevents" in their name. One name for every process, so
# that a resumed study, which reports its restored trials again, begins the file anew.
NAME = "events.out.tfevents.sweep"
SPREAD = ("val_loss", "val_accuracy")
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
INTERVAL = 5.0  # seconds after which what was written is brought to the disk


def require() -> None:
    """Refuses to begin, before hours of training, where tensorboardX is missing."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "--tensorboard needs tensorboardX, which is not installed: "
            "pip install 'linclf_jax[tensorboard]'"
        )


class EventFile(logging.Handler):
    """Writes records of progress to a file; an older one in its folder is replaced."""

    def __init__(
        self, directory: Path, metric: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Opens the file in a run directory; the best trial is that by ``metric``."""
        super().__init__()
        # Imported here, because a study without the flag does without.
        tensorboard = importlib.import_module("tensorboardX")
        self._event = importlib.import_module("tensorboardX.proto.event_pb2").Event
        self._metric, self._clock = metric, clock
        self._done = self._diverged = 0
        self._best: float | None = None
        self._scores: dict[str, list[float]] = {name: [] for name in SPREAD}
        # The record writer alone: the library's other writers hand events to a thread,
        # which a full disk ends while the study waits for it forever.
        self._writer = tensorboard.RecordWriter(str(directory / NAME))
        self._flushed, self._is_open = clock(), True
        self._write(self._event(wall_time=clock(), file_version="brain.Event:2"))

    def emit(self, record: logging.LogRecord) -> None:
        """Adds the rows of an update."""
        event = getattr(record, "progress", None)
        if isinstance(event, progress.Update) and event.rows:
            self.update(event.rows)

    def update(self, rows: Sequence[Row]) -> None:
        """Adds where the study stands after more trials are done."""
        self._done += len(rows)
        self._diverged += len(ranking.diverged(rows))
        for name, scores in self._scores.items():
            scores += ranking.scores(rows, name)
        new = ranking.scores(rows, self._metric)
        self._best = ranking.better([self._best, *new], self._metric)
        self._add(self._done, self._standing())

    def write_curves(self, curves: Mapping[str, np.ndarray]) -> None:
        """Adds the learning curves ``(E,)`` of the chosen trial, by epoch from 1."""
        values = {name: np.asarray(curve).tolist() for name, curve in curves.items()}
        for epoch, point in enumerate(zip(*values.values(), strict=True), start=1):
            names = (f"chosen/{name}" for name in values)
            self._add(epoch, dict(zip(names, point, strict=True)))

    def close(self) -> None:
        """Brings all that was written to the disk, the first time it is called."""
        if self._is_open:
            self._is_open = False
            self._writer.flush()
            self._writer.close()
        super().close()

    def _standing(self) -> dict[str, float]:
        scalars = {"sweep/share_diverged": self._diverged / max(1, self._done)}
        if self._best is not None:
            scalars[f"sweep/best_{self._metric}"] = self._best
        for name, scores in self._scores.items():
            if scores:
                spread = np.quantile(scores, QUANTILES).tolist()
                for level, value in zip(QUANTILES, spread, strict=True):
                    scalars[f"{name}/quantile_{level:g}"] = value
        return scalars

    def _add(self, step: int, scalars: Mapping[str, float]) -> None:
        event = self._event(wall_time=self._clock(), step=step)
        for tag, value in scalars.items():
            event.summary.value.add(tag=tag, simple_value=value)
        self._write(event)
        if self._clock() - self._flushed >= INTERVAL:
            self._writer.flush()
            self._flushed = self._clock()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())


@contextlib.contextmanager
def recording(directory: Path, metric: str) -> Iterator[EventFile]:
    """Records what becomes of trials in the meantime.

    Yields:
        The file, for the curves of the chosen trial; to be closed before a seal.
    """
    event_file = contextlib.closing(EventFile(directory, metric))
    with event_file as file, progress.attached(file):
        yield file
