"""How far a study is, as log records: whoever wants to show it attaches a handler.

The records are of the logger ``linclf_jax.progress`` and hand on no further: without a
handler nobody sees them. Each has an attribute ``progress``, one of the tuples below.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from linclf_jax.selection.ranking import Row

_logger = logging.getLogger("linclf_jax.progress")
_logger.setLevel(logging.INFO)
_logger.propagate = False


class Begin(NamedTuple):
    """Trials are about to be fitted."""

    total: int  # trials
    metric: str  # a name in ``ranking.METRICS``, which the best of them is best by


class Update(NamedTuple):
    """Trials are done; or, without rows, it goes on although none has ended."""

    rows: Sequence[Row]  # one per trial, as in ``results.jsonl``
    restored: bool  # done by an earlier process
    left_out: int = 0  # trials that were to come and are not needed


class End(NamedTuple):
    """No more trials will be done, whether or not all are."""


def begin(total: int, metric: str) -> None:
    """Says that trials are about to be fitted."""
    _log(Begin(total, metric))


def update(rows: Sequence[Row], *, restored: bool = False, left_out: int = 0) -> None:
    """Says that trials are done; without any, that the study is alive."""
    _log(Update(rows, restored, left_out))


def end() -> None:
    """Says that no more trials will be done."""
    _log(End())


@contextlib.contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    """Lets a handler see all records that are logged in the meantime."""
    _logger.addHandler(handler)
    try:
        yield
    finally:
        _logger.removeHandler(handler)


def _log(event: Begin | Update | End) -> None:
    _logger.info("%s", type(event).__name__, extra={"progress": event})
