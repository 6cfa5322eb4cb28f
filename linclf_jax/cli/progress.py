"""What is seen while a sweep runs: how far it is, how well it does, when it ends.

    with progress.Progress(total=len(lanes), by="val_loss") as shown:
        shown.update(restored_rows, restored=True)
        for rows in finished_tiles:
            shown.update(rows)

A terminal gets a bar. A log file gets a line a minute and one at the end, and nothing
that only a terminal understands.
"""

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

INTERVAL = 60.0  # seconds between two lines of a log file


class Progress:
    """Counts the lanes that are done and shows where the sweep stands.

    Called from one thread.
    """

    def __init__(
        self,
        total: int,
        by: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        """Shows nothing yet.

        Args:
            total: Lanes of the sweep.
            by: A name in ``ranking.CRITERIA``; the best lane is shown by it.
            clock: Returns seconds.
            stream: Where to show it; stderr if None.

        Raises:
            ValueError: ``by`` is another word.
        """
        ranking.validate_criterion(by)
        self._total, self._by, self._clock = total, by, clock
        self._stream = sys.stderr if stream is None else stream
        self._done = self._trained = self._diverged = 0
        self._best: float | None = None
        self._start = self._told = clock()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        self._start = self._told = self._clock()
        if self._stream.isatty():
            from tqdm import tqdm  # what writes to a log file does without

            self._bar = tqdm(
                total=self._total,
                file=self._stream,
                bar_format="{desc} |{bar}|",
                desc=self.line(),
                dynamic_ncols=True,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        line = self.line()
        with _whatever_becomes_of_the_terminal():
            if self._bar is None:
                self._write(line)
            else:
                self._bar.set_description_str(line)
                self._bar.close()

    def update(self, rows: Sequence[Row], *, restored: bool = False) -> None:
        """Counts lanes as done.

        Args:
            rows: One per lane, as in ``results.jsonl``; one whose status is ``retired``
                was stopped early because others were better.
            restored: They were trained by an earlier process, so that they say nothing
                about the speed of this one.
        """
        self._done += len(rows)
        self._diverged += len(ranking.diverged(rows))
        self._best = ranking.better(
            [self._best, *ranking.scores(rows, self._by)], self._by
        )
        if not restored:
            self._trained += len(rows)
        elif not self._trained:
            self._start = self._clock()  # reading them took time, too
        line = self.line()
        with _whatever_becomes_of_the_terminal():
            if self._bar is not None:
                self._bar.set_description_str(line, refresh=False)
                self._bar.update(len(rows))
            elif self._clock() - self._told >= INTERVAL:
                self._write(line)

    @property
    def done(self) -> int:
        """Lanes that need no more training."""
        return self._done

    def line(self) -> str:
        """Returns where the sweep stands."""
        seconds = self._clock() - self._start
        parts = [f"{self._done} of {self._total} lanes"]
        if self._diverged:
            parts.append(f"{self._diverged} diverged")
        if self._best is not None:
            parts.append(f"best {self._by} {self._best:.4f}")
        if self._trained and seconds > 0:
            speed = self._trained / seconds
            parts.append(f"{speed:.3g} lanes/s")
            if self._done < self._total:
                parts.append(f"{duration((self._total - self._done) / speed)} left")
            else:
                parts.append(f"took {duration(seconds)}")
        return ", ".join(parts)

    def _write(self, line: str) -> None:
        self._told = self._clock()
        print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Returns a time span as a person reads it.

    Args:
        seconds: Not negative.

    >>> duration(83.4), duration(90_000)
    ('0:01:23', '1 day, 1:00:00')
    """
    # A year is as good as any longer time, and no more than timedelta can hold.
    return str(datetime.timedelta(seconds=int(min(seconds, 366 * 86400))))


@contextlib.contextmanager
def _whatever_becomes_of_the_terminal() -> Iterator[None]:
    """Lets a sweep of many hours outlive the window it was started in."""
    # A terminal that has gone raises OSError, a stream that was closed ValueError.
    with contextlib.suppress(OSError, ValueError):
        yield
