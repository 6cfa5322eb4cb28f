"""What the library logs, as lines for the person at the terminal."""

import contextlib
import logging
import sys
from collections.abc import Iterator

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
    """Prints what the library logs in the meantime, from level INFO on."""
    handler, level = Handler(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)
