"""What the library logs, as lines for the person at the terminal."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from linclf_jax.scheduler import signals

LOGGER = logging.getLogger("linclf_jax")


class Handler(logging.Handler):
    """Prints records apart from the results, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record, with what it is where it warns."""
        is_warning = record.levelno >= logging.WARNING
        line = f"{'Warning: ' if is_warning else ''}{record.getMessage()}"
        # A run of many hours outlives the window that it was started in.
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Prints what the library logs in the meantime, from level INFO on, and signals."""
    handler, level = Handler(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        with signals.heard(_acknowledge):
            yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)


def _acknowledge(name: str) -> None:
    """Says that a signal was received, past the streams, which may be in use."""
    line = f"\n{name}: stopping as soon as the state is saved; Ctrl-C stops at once\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
