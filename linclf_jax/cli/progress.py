"""What is seen while trials are fitted: how far they are, how well, when they end.

A terminal gets a bar. A log file gets a line a minute and one at the end, and nothing
that only a terminal understands.
"""

import contextlib
import datetime
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from linclf_jax.scheduler.progress import Begin, End, Update
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

INTERVAL = 60.0  # seconds between two lines of a log file
# A run of many hours outlives the window that it was started in: a terminal that has
# gone raises OSError, a stream that was closed ValueError.
_LOST_TERMINAL = contextlib.suppress(OSError, ValueError)


class Handler(logging.Handler):
    """Shows the records of ``scheduler.progress``."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        """Shows nothing yet; then on the stream, or on standard error."""
        super().__init__()
        self._clock, self._stream = clock, stream
        self._display: Display | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Shows what one record says."""
        event = getattr(record, "progress", None)
        if isinstance(event, Begin):
            stream = sys.stderr if self._stream is None else self._stream
            self._display = Display(event, self._clock, stream)
        elif isinstance(event, Update) and self._display is not None:
            self._display.update(*event)
        elif isinstance(event, End) and self._display is not None:
            self._display.close()
            self._display = None


class Display:
    """Counts the trials that are done and shows where the study stands."""

    def __init__(
        self, begin: Begin, clock: Callable[[], float], stream: TextIO
    ) -> None:
        """Shows a bar, if the stream is a terminal."""
        self._total, self._metric = begin
        self._clock, self._stream = clock, stream
        self._done = self._fitted = self._diverged = 0
        self._best: float | None = None
        self._start = self._last_line = clock()
        self._bar: Any = None
        if stream.isatty():
            from tqdm import tqdm  # what writes to a log file does without

            self._bar = tqdm(
                total=self._total,
                file=stream,
                bar_format="{desc} |{bar}|",
                desc=self.line(),
                dynamic_ncols=True,
            )

    def update(self, rows: Sequence[Row], restored: bool, left_out: int = 0) -> None:
        """Counts trials as done; those restored say nothing of the speed."""
        self._total -= left_out
        self._done += len(rows)
        self._diverged += len(ranking.diverged(rows))
        scores = ranking.scores(rows, self._metric)
        self._best = ranking.better([self._best, *scores], self._metric)
        if not restored:
            self._fitted += len(rows)
        elif not self._fitted:
            self._start = self._clock()  # reading them took time, too
        line = self.line()
        with _LOST_TERMINAL:
            if self._bar is not None:
                self._bar.total = self._total
                self._bar.set_description_str(line, refresh=False)
                self._bar.update(len(rows))
            elif self._clock() - self._last_line >= INTERVAL:
                self._write(line)

    def close(self) -> None:
        """Shows where it ended."""
        line = self.line()
        with _LOST_TERMINAL:
            if self._bar is None:
                self._write(line)
            else:
                self._bar.set_description_str(line)
                self._bar.close()

    def line(self) -> str:
        """Returns where the study stands."""
        seconds = self._clock() - self._start
        parts = [f"{self._done} of {self._total} trials"]
        if self._diverged:
            parts.append(f"{self._diverged} diverged")
        if self._best is not None:
            parts.append(f"best {self._metric} {self._best:.4f}")
        if self._fitted and seconds > 0:
            speed = self._fitted / seconds
            parts.append(f"{speed:.3g} trials/s")
            if self._done < self._total:
                parts.append(f"{duration((self._total - self._done) / speed)} left")
            else:
                parts.append(f"took {duration(seconds)}")
        return ", ".join(parts)

    def _write(self, line: str) -> None:
        self._last_line = self._clock()
        print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Returns a time span as a person reads it.

    >>> duration(83.4), duration(90_000)
    ('0:01:23', '1 day, 1:00:00')
    """
    # A year is as good as any longer time, and no more than timedelta can hold.
    return str(datetime.timedelta(seconds=int(min(seconds, 366 * 86400))))
