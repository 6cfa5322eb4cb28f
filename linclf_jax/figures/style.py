"""The look that all figures share: colours, fonts, short numbers, PNG files.

Matplotlib is imported inside the functions, so that a run which draws nothing never
pays for it, and ``pyplot`` is never touched: a figure belongs to whoever asked for it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every common colour blindness.
CHOSEN = "#D55E00"
TYPICAL = "#0072B2"
DIVERGED = "#8c8c8c"
RETIRED = "#5bb89b"
INK = "#222222"
MUTED = "#555555"
BAND = "#d5e4f0"
GRID = "#eeeeee"
# The same palette without the colour of the selection; then again, dashed.
COLOURS = (TYPICAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
DASHES = ("-", "--")
MOST_SERIES = len(COLOURS) * len(DASHES)

DOTS_PER_INCH = 150
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same bytes everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.w_pad": 0.06,
    "hatch.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
}


class FigureError(ValueError):
    """A figure cannot be drawn; the message begins with its file."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style(), warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; the page
        # itself shows it in the reader's own fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        # Without this, the file names the version of matplotlib.
        metadata = {"Software": None}
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()


def pngs(makers: Mapping[str, Callable[[], Figure]]) -> dict[str, bytes]:
    """Figures as PNG bytes by name; raises FigureError with the one that failed."""
    images = {}
    for name, make in makers.items():
        try:
            images[name] = png(make())
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise FigureError(f"{name}.png cannot be drawn: {what}") from error
    return images


def short_number(value: float) -> str:
    """A finite number in as few characters as a tick label can spare.

    >>> [short_number(v) for v in (0, 0.1, 10.0, 0.001, 0.000316227766)]
    ['0', '0.1', '10', '1e-3', '3.2e-4']
    """
    if value == 0 or 0.01 <= abs(value) < 999.5:
        return f"{value:.2g}" if abs(value) < 99.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def short_name(name: str, length: int = 16) -> str:
    """A class name that fits beside an axis.

    >>> short_name("white-throated kingfisher")
    'white-throated …'
    """
    return name if len(name) <= length else name[: length - 1] + "…"


def series(number: int) -> dict[str, Any]:
    """Colour and dashes of one of several lines, told apart up to ``MOST_SERIES``."""
    dashes, colour = divmod(number % MOST_SERIES, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[dashes]}


def series_by_name(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The look of each name, in the order in which they first appear."""
    return {name: series(i) for i, name in enumerate(dict.fromkeys(names))}


def thinned(labels: Sequence[str], most: int) -> list[str]:
    """The labels with all but every k-th blanked, so that at most ``most`` remain.

    >>> thinned(["a", "b", "c", "d", "e"], 3)
    ['a', '', 'c', '', 'e']
    """
    step = max(1, -(-len(labels) // most))
    return [label if i % step == 0 else "" for i, label in enumerate(labels)]
