"""The look that all figures share: colours, fonts, short numbers, an axis of accuracy.

Matplotlib is imported inside the functions, so that a run which draws nothing never
pays for it, and ``pyplot`` is never touched: a figure belongs to whoever asked for it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every common colour blindness.
CHOSEN = "#D55E00"
TYPICAL = "#0072B2"
DIVERGED = "#8c8c8c"
RETIRED = "#5bb89b"
INK = "#222222"
# The same palette without the colour of the choice; then again, dashed.
COLOURS = (TYPICAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
DASHES = ("-", "--")
MOST_SERIES = len(COLOURS) * len(DASHES)

CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}

DOTS_PER_INCH = 150
MOST_TICKS = 8
EDGE = 0.1  # of a power of ten, that is still on the axis beyond the outermost point
ROUNDING = 1e-6  # an error rate below this is the rounding of a float32 accuracy
# Steps of an accuracy axis, coarse to fine: the first with enough ticks is taken.
ROUND_ACCURACIES = (
    (
        0,
        0.2,
        0.4,
        0.6,
        0.7,
        0.8,
        0.9,
        0.95,
        0.97,
        0.98,
        0.99,
        0.995,
        0.998,
        0.999,
        0.9999,
    ),
    tuple(i / 100 for i in range(100)),
    tuple(i / 200 for i in range(200)),
    tuple(i / 1000 for i in range(1000)),
)
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
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes: the same figure gives the same bytes.

    Args:
        figure: any, of whatever size.
    """
    buffer = io.BytesIO()
    with style(), warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; the page
        # itself shows it in the reader's own fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        # Without this, the file names the version of matplotlib.
        figure.savefig(
            buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None}
        )
    return buffer.getvalue()


class FigureError(ValueError):
    """A figure cannot be drawn; the message begins with its file."""


def pngs(makers: Mapping[str, Callable[[], Figure]]) -> dict[str, bytes]:
    """Figures as PNG bytes by name, see ``png``.

    Args:
        makers: what draws each figure, by its name.

    Raises:
        FigureError: one of them failed.
    """
    images = {}
    for name, make in makers.items():
        try:
            images[name] = png(make())
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise FigureError(f"{name}.png cannot be drawn: {found}") from error
    return images


def short_number(value: float) -> str:
    """A number in as few characters as a tick label can spare.

    Args:
        value: any finite number.

    Returns:
        Plain from 0.01 to 999, with a bare exponent elsewhere.

    >>> [short_number(v) for v in (0, 0.1, 10.0, 0.001, 0.000316227766)]
    ['0', '0.1', '10', '1e-3', '3.2e-4']
    """
    if value == 0 or 0.01 <= abs(value) < 999.5:
        return f"{value:.2g}" if abs(value) < 99.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def short_name(name: str, length: int = 16) -> str:
    """A class name that fits beside an axis.

    Args:
        name: the whole of it.
        length: of what is returned, at most.

    >>> short_name("white-throated kingfisher")
    'white-throated …'
    """
    return name if len(name) <= length else name[: length - 1] + "…"


def series(number: int) -> dict[str, Any]:
    """Colour and dashes of one of several lines, told apart up to ``MOST_SERIES``.

    Args:
        number: of the line, from 0.
    """
    dashes, colour = divmod(number % MOST_SERIES, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[dashes]}


def thinned(labels: Sequence[str], most: int) -> list[str]:
    """The labels with all but every k-th blanked, so that at most ``most`` remain.

    Args:
        labels: of an axis, in order.
        most: how many of them there is room for.

    >>> thinned(["a", "b", "c", "d", "e"], 3)
    ['a', '', 'c', '', 'e']
    """
    step = max(1, -(-len(labels) // most))
    return [label if i % step == 0 else "" for i, label in enumerate(labels)]


def log_ticks(values: np.ndarray) -> list[float]:
    """Ticks of a logarithmic axis: the values where they are few, or powers of ten.

    Args:
        values: positive, any number of them.
    """
    distinct = np.unique(values)
    if distinct.size <= MOST_TICKS:
        return distinct.tolist()
    first, last = np.log10(distinct[[0, -1]])
    powers = np.arange(np.ceil(first - EDGE), np.floor(last + EDGE) + 1)
    powers = powers[:: -(-powers.size // MOST_TICKS)] if powers.size else powers
    return (10.0**powers if powers.size > 1 else distinct[[0, -1]]).tolist()


def error_floor(accuracy: np.ndarray) -> float:
    """What stands for an error rate of zero on a logarithmic scale.

    Args:
        accuracy: all accuracies of a figure, any shape, NaN where unknown.

    Returns:
        Half of the smallest positive error rate, 0.005 if there is none.
    """
    error = 1.0 - np.asarray(accuracy, np.float64)
    positive = error[error > ROUNDING]
    return float(0.5 * positive.min()) if positive.size else 0.005


def error_rates(accuracy: np.ndarray, floor: float) -> np.ndarray:
    """Error rates fit for a logarithmic scale.

    Between 0.96 and 0.98 half of the errors go away, between 0.70 and 0.72 hardly any:
    on the logarithm of the error rate each step is as long as it matters.

    Args:
        accuracy: any shape, NaN where unknown.
        floor: what to put in place of zero, see ``error_floor``.

    Returns:
        1 - accuracy, float64, the shape of ``accuracy``, NaN where that is NaN.
    """
    error = 1.0 - np.asarray(accuracy, np.float64)
    return np.where(error <= ROUNDING, floor, error)


def accuracy_ticks(lowest: float, highest: float) -> tuple[list[float], list[str]]:
    """Ticks for an axis that is the logarithm of the error rate, read as accuracy.

    Args:
        lowest: smallest error rate on the axis, positive.
        highest: largest error rate on the axis.

    Returns:
        Error rates in between, and their labels: round accuracies, thinned until each
        has a tenth of the axis to itself.
    """
    gap = np.log(highest / lowest) / 10
    errors: list[float] = []
    for accuracies in ROUND_ACCURACIES:
        errors = []
        for error in (1.0 - accuracy for accuracy in accuracies):
            inside = lowest <= error <= highest
            if inside and (not errors or np.log(errors[-1] / error) >= gap):
                errors.append(error)
        if len(errors) >= 4:
            break
    return errors, [f"{1.0 - error:.4g}" for error in errors]
