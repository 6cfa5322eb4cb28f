"""The search space, as data: candidates of static choices and hyper-parameters.

An *axis* says which values one hyper-parameter takes: numbers one by one, or a range.
A *grid* is the product of all axes; a *sample* draws candidates from them. What a fit
does not use, such as the momentum of adam, stays at the first value of its axis, so
that none is made twice under two names.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import validation
from linclf_jax.training import optimizers, settings
from linclf_jax.training.settings import Hparams, Static

MAX_COUNT = 100_000  # values of one axis
MAX_CANDIDATES = 1_000_000  # of one grid or sample
# Raw 64-bit words that each candidate of a sample draws: one for the static choice and
# one for each field of Hparams, used or not; the rest is for fields yet to come.
WORDS = 16

_SPACINGS = {"log": np.geomspace, "lin": np.linspace}


@dataclasses.dataclass(frozen=True)
class Range:
    """Evenly spaced numbers, or evenly spaced logarithms, both ends included.

    For a sample ``count`` means nothing: it draws between the ends.
    """

    kind: str  # log or lin
    low: float
    high: float
    count: int


Axis = tuple[float, ...] | Range


class Candidate(NamedTuple):
    """One setting of everything that may be tried, but for seed and fold."""

    static: Static
    hparams: Hparams  # Python floats


def parse(text: str) -> Axis:
    """Returns the axis that ``0.1``, ``0.1,0.3``, ``log:LOW:HIGH:COUNT`` or lin means.

    Nothing at all is an axis without values.

    >>> parse("0.1,0.3")
    (0.1, 0.3)
    >>> values(parse("log:1e-2:1:3"))
    (0.01, 0.1, 1.0)
    """
    kind, *numbers = text.split(":")
    try:
        if not numbers:
            return tuple(map(float, text.split(","))) if text.strip() else ()
        low, high, count = numbers
        axis = Range(kind, float(low), float(high), int(count))
        _validate_range("range", axis)
    except ValueError as error:
        raise ValueError(
            f"found {text!r}; expected numbers such as 0.1 or 0.1,0.3, or "
            "log:LOW:HIGH:COUNT (both above 0), or lin:LOW:HIGH:COUNT, with a COUNT "
            f"of 1 to {MAX_COUNT}"
        ) from error
    return axis


def text(axis: Axis) -> str:
    """Returns the text of which ``parse`` makes the same axis.

    >>> text(Range("log", 1e-3, 100.0, 16))
    'log:0.001:100:16'
    """
    if isinstance(axis, Range):
        return f"{axis.kind}:{_digits(axis.low)}:{_digits(axis.high)}:{axis.count}"
    return ",".join(map(_digits, axis))


def values(axis: Axis) -> tuple[float, ...]:
    """Returns the values that a grid takes from an axis, as Python floats."""
    if isinstance(axis, Range):
        return tuple(_SPACINGS[axis.kind](axis.low, axis.high, axis.count).tolist())
    return tuple(map(float, axis))


def grid(statics: Sequence[Static], axes: Mapping[str, Axis]) -> tuple[Candidate, ...]:
    """Returns the product of static choices and hyper-parameter values, in order.

    Args:
        statics: The static choices, distinct; the slowest to change.
        axes: For fields of ``Hparams``; fields left out keep their default. No value
            is out of range, or repeated in float32.
    """
    _validate(statics, axes)
    listed = {name: values(axis) for name, axis in axes.items()}
    for name, column in listed.items():
        _validate_distinct(name, column)
    columns = []
    for static in statics:
        used = optimizers.uses(static)
        columns.append({n: c if n in used else c[:1] for n, c in listed.items()})
    size = sum(math.prod(map(len, column.values())) for column in columns)
    if size > MAX_CANDIDATES:
        raise ValueError(
            f"the grid has {size} candidates; expected at most {MAX_CANDIDATES}, so "
            "give fewer values, or draw some of them with --sample"
        )
    return tuple(
        make_candidate(static, Hparams(**dict(zip(column, row, strict=True))))
        for static, column in zip(statics, columns, strict=True)
        for row in itertools.product(*column.values())
    )


def sample(
    statics: Sequence[Static], axes: Mapping[str, Axis], *, count: int, seed: int
) -> tuple[Candidate, ...]:
    """Returns candidates drawn at random: a static choice, then a value from each axis.

    A range is drawn from between its ends, evenly or evenly in the logarithm; of single
    numbers, as of static choices, each is equally likely. Draw ``i`` depends on the
    seed and ``i`` alone, so that a larger count continues a smaller one. The source is
    the raw stream of NumPy's PCG64, which NumPy guarantees for all its versions and
    platforms. A draw that makes the same run as an earlier one is left out: from short
    lists of values come fewer candidates than draws, of which there are ``count``.
    """
    _validate(statics, axes)
    for name, axis in axes.items():
        if not isinstance(axis, Range):
            _validate_distinct(name, axis)
    if not 1 <= count <= MAX_CANDIDATES:
        raise ValueError(f"--sample is {count}; expected 1 to {MAX_CANDIDATES}")
    validation.validate_seed(seed, name="--sample_seed")
    stream = np.random.PCG64(seed)
    candidates: dict[tuple, Candidate] = {}
    for _ in range(count):
        candidate = _draw(statics, axes, stream.random_raw(WORDS).tolist())
        candidates.setdefault(identity(candidate), candidate)
    return tuple(candidates.values())


def make_candidate(static: Static, hparams: Hparams) -> Candidate:
    """Returns a candidate whose program smooths labels only where it asks for it."""
    used = "label_smoothing" in optimizers.uses(static)
    smoothed = used and settings.to_float32(float(hparams.label_smoothing)) > 0
    return Candidate(dataclasses.replace(static, smoothed=smoothed), hparams)


def identity(candidate: Candidate) -> tuple[Static, tuple[float, ...]]:
    """Returns what makes a candidate another: the choices it uses, in float32."""
    used = optimizers.uses(candidate.static)
    numbers = (getattr(candidate.hparams, name) for name in used)
    return candidate.static, tuple(map(settings.to_float32, numbers))


def _draw(
    statics: Sequence[Static], axes: Mapping[str, Axis], words: Sequence[int]
) -> Candidate:
    # A field has a word of its own: whether it is used or varied moves no other field.
    static = _pick(statics, words[0])
    used = optimizers.uses(static)
    hparams = {}
    for name, word in zip(Hparams._fields, words[1:], strict=False):
        if name in axes:
            axis = axes[name]
            hparams[name] = _value(axis, word) if name in used else _ends(axis)[0]
    return make_candidate(static, Hparams(**hparams))


def _value(axis: Axis, word: int) -> float:
    """Returns the value that a 64-bit word draws from an axis."""
    if not isinstance(axis, Range):
        return float(_pick(axis, word))
    share = (word >> 11) * 2.0**-53  # in [0, 1), exactly
    ends = _ends(axis)
    low, high = map(math.log, ends) if axis.kind == "log" else ends
    value = low + share * (high - low)
    value = math.exp(value) if axis.kind == "log" else value
    # Seven digits, about what float32 holds: the last bits of exp and log differ from
    # one platform to another, and a row's value can be typed in again.
    return min(max(float(f"{value:.7g}"), min(ends)), max(ends))


def _pick(items: Sequence[Any], word: int) -> Any:
    return items[word * len(items) >> 64]


def _ends(axis: Axis) -> tuple[float, ...]:
    """Returns both ends of a range, or all numbers that are listed."""
    return (axis.low, axis.high) if isinstance(axis, Range) else tuple(map(float, axis))


def _digits(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def _validate(statics: Sequence[Static], axes: Mapping[str, Axis]) -> None:
    if not statics or len(set(statics)) < len(statics):
        raise ValueError(
            f"found {len(statics)} static choices, {len(set(statics))} of them "
            "distinct; expected at least one, and no repetition"
        )
    for name, axis in axes.items():
        if name not in Hparams._fields:
            raise ValueError(
                f"no hyper-parameter is named {name!r}; expected one of "
                f"{', '.join(Hparams._fields)}"
            )
        if isinstance(axis, Range):
            _validate_range(name, axis)
        if len(_ends(axis)) == 0:
            raise ValueError(f"--{name} is empty; expected at least one value")
        for value in _ends(axis):
            settings.validate_hparam(name, value)


def _validate_range(name: str, axis: Range) -> None:
    ends = _ends(axis)
    finite = all(map(math.isfinite, ends))
    positive = axis.kind == "lin" or (axis.kind == "log" and min(ends) > 0)
    if not (finite and positive and 1 <= axis.count <= MAX_COUNT):
        raise ValueError(
            f"--{name} is {axis}; expected kind log or lin, finite ends (above 0 for "
            f"log), and a count of 1 to {MAX_COUNT}"
        )


def _validate_distinct(name: str, column: Sequence[float]) -> None:
    distinct = len(set(map(settings.to_float32, column)))
    if distinct < len(column):
        raise ValueError(
            f"--{name} has {len(column)} values, {distinct} of them distinct in "
            "float32; expected no repetition"
        )
