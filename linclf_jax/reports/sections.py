"""What a page shows below the answer, in order: each section where there is something.

The modules beside this one make the sections of one topic each, from a record alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from linclf_jax.reports import text
from linclf_jax.reports.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[], "Figure"]


class Section(NamedTuple):
    """One part of a page; all words are plain text."""

    id: str  # of the anchor, and the stem of the figure's file
    heading: str
    figure: Draw | None = None
    alt: str = ""  # what the figure shows, for those who cannot see it
    caption: str = ""
    table: Table | None = None
    notes: str = ""  # below the table
    remarks: Sequence[str] = ()  # a list below the notes


def make(
    name: str,
    *,
    figure: Draw | None = None,
    table: Table | None = None,
    remarks: Sequence[str] = (),
    **values: Any,
) -> Section:
    """A section with the words that the template of its name makes of the values."""
    words = text.blocks(name, values)
    return Section(name, figure=figure, table=table, remarks=remarks, **words)
