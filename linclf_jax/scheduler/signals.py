"""Signals that stop a run: noticed at once, obeyed when the state is safe.

    with signals.Stop() as stop:
        for batch in batches:
            train(batch)
            save(batch)
            if stop.requested():
                raise signals.Stopped(stop.requested(), done, total)

SIGTERM, which schedulers and ``kill`` send, and SIGINT, which Ctrl-C sends, only leave
a note; the loop above asks for it between its steps. A second Ctrl-C does not wait.
"""

import contextlib
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

# EX_TEMPFAIL of sysexits.h: stopped by a signal, the state is saved, the same command
# goes on. It differs from bad input, 2, and from a failure, 1.
EXIT_STATUS = 75

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_listeners: list[Callable[[str], object]] = []


class Stopped(Exception):  # noqa: N818, being stopped is no error
    """A study stopped because a signal asked for it; its store holds what was done."""

    def __init__(self, name: str, done: int, total: int) -> None:
        """Says how many of all trials are fitted and saved at the named signal."""
        super().__init__(f"stopped by {name}: {done} of {total} trials are done")
        self.name, self.done, self.total = name, done, total


class Interrupted(Exception):  # noqa: N818, being stopped is no error
    """A run stopped because a signal asked for it; the same command goes on."""

    def __init__(self, stopped: Stopped, directory: Path) -> None:
        """Says in one line what happened and how to go on."""
        super().__init__(
            f"{stopped} and saved; the same command with "
            f"--out_dir={shlex.quote(str(directory))} goes on"
        )
        self.stopped, self.directory = stopped, directory


class Stop:
    """While entered, a signal of ``SIGNALS`` is a request and no more.

    Outside the main thread, where Python allows no handlers, nothing is requested. A
    signal that the process was started to ignore, as Ctrl-C is by what a shell script
    runs in the background, stays ignored.
    """

    def __init__(self) -> None:
        self._requested: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def requested(self) -> str | None:
        """Returns the name of the first signal that asked for a stop, or None."""
        return self._requested

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                # None is a handler that was not installed from Python: not ours.
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and self._requested:
            raise KeyboardInterrupt
        if not self._requested:
            self._requested = signal.Signals(number).name
            for listener in _listeners:
                listener(self._requested)


@contextlib.contextmanager
def heard(listener: Callable[[str], object]) -> Iterator[None]:
    """Lets a function know of each request for a stop at once.

    It is called inside the signal handler, where neither logging nor print is safe: the
    signal may have come in the middle of another record or line.

    Args:
        listener: Takes the name of the signal.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
