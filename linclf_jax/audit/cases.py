"""The inputs on which a gradient is audited, chosen to tell one fault from another.

A transposed W shows when D and C differ and hides when they do not, so both are here; a
penalty that is wrong by little shows where nothing else is left of the gradient; a
softmax that overflows shows where scores are far from zero. Every number is a float32,
so that the same case is put, exactly, to a function in float32 and in float64.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from linclf_jax import classes, validation
from linclf_jax.params import Params

FAR = 1000.0  # a score beyond the range of exp in float32 and float64

_SHARES = (0.375, 0.375, 0.25)  # of targets that are 0, 1 and unknown

STEP = 2.0**-17  # of central differences: near the cube root of the ulp of float64

LARGEST = 1e6  # number in a case: far beyond it even right gradients overflow float32


class HostParams(NamedTuple):
    """Parameters, or a gradient with respect to them, on the host in float64."""

    W: np.ndarray  # (D, C)
    b: np.ndarray  # (C,)


class Case(NamedTuple):
    """One problem, on the host in float64."""

    name: str
    params: HostParams
    x: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,) int32, or targets (N, C) of 0, 1 and -1 for unknown
    l2: float

    @property
    def has_targets(self) -> bool:
        """True when each class is a label of its own."""
        return np.ndim(self.labels) == 2


def standard(
    *, l2: float = 0.1, seed: int = 0, targets: bool = False
) -> tuple[Case, ...]:
    """Returns the cases of an audit, most with penalty l2, some with less or none.

    With ``targets`` each class is a label of its own, a quarter of them unknown.
    """
    rng = np.random.default_rng(seed)
    plain = [
        _draw(rng, "N = C = D", 5, 5, 5, l2),
        _draw(rng, "N = C = D, no penalty", 5, 5, 5, 0.0),
        _draw(rng, "N, D, C all different", 7, 3, 4, l2),
        _draw(rng, "no penalty", 7, 3, 4, 0.0),
        _draw(rng, "a quarter of the penalty", 7, 3, 4, l2 / 4),
        _draw(rng, "N = C", 4, 3, 4, l2),
        _draw(rng, "one row", 1, 3, 4, l2),
        _draw(rng, "one class", 7, 3, 1, l2),
        _draw(rng, "two classes", 7, 3, 2, l2),
        _draw(rng, "one feature", 7, 1, 4, l2),
        _draw(rng, "many rows", 65, 3, 4, l2),
        _draw(rng, "many rows and classes", 130, 9, 12, l2),
    ]
    special = [
        change(_draw(rng, name, 7, 3, 4, l2)) for name, change in _CHANGES.items()
    ]
    cases = tuple(_off_the_kinks(rng, case) for case in plain + special)
    return tuple(_with_targets(rng, case) for case in cases) if targets else cases


def validated(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Returns cases of one's own, at least one, on the host, rounded to float32.

    Raises:
        ValueError: If there are none, two have one name, shapes do not fit, a label is
            out of range, or a number is not finite or larger than ``LARGEST``.
    """
    cases = tuple(_validated(case) for case in cases)
    if not cases:
        raise ValueError("found no cases; expected at least one")
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{names.count(name)} cases are named {name!r}")
    return cases


def _validated(case: Case) -> Case:
    """Returns one case of one's own; messages say which it is."""
    try:
        W, b = case.params
        validation.validate_params(Params(W, b), case.x)  # pyright: ignore[reportArgumentType]
        validation.validate_batch(
            case.x, case.labels, len(b), targets=np.ndim(case.labels) == 2
        )
        for name, values in (("x", case.x), ("W", W), ("b", b)):
            array = np.asarray(values, np.float64)
            validation.require_all(
                np.abs(array) <= LARGEST,  # not of a NaN
                array,
                name,
                expected=f"finite numbers, of size at most {LARGEST:g}",
            )
        require_l2(case.l2)
    except ValueError as error:
        raise ValueError(f"case {case.name!r}: {error}") from error
    W, b, x = (_as_float32(np.asarray(v)) for v in (W, b, case.x))
    labels = np.asarray(case.labels, np.int32)
    return Case(case.name, HostParams(W, b), x, labels, float(case.l2))


def require_l2(l2: float) -> None:
    """Checks that a penalty is not negative, and at most ``LARGEST``."""
    if not 0 <= l2 <= LARGEST:
        raise ValueError(
            f"l2 is {l2}; expected a finite number, at least 0 and at most {LARGEST:g}"
        )


def _draw(
    rng: np.random.Generator, name: str, N: int, D: int, C: int, l2: float
) -> Case:
    """Returns a case of normal numbers, in which every class has examples if N >= C."""
    W, b, x = (rng.normal(size=shape) for shape in ((D, C), (C,), (N, D)))
    labels = rng.permutation(np.arange(N, dtype=np.int32) % C)
    return Case(
        name, HostParams(_as_float32(W), _as_float32(b)), _as_float32(x), labels, l2
    )


def _as_float32(values: np.ndarray) -> np.ndarray:
    """Rounds values to the nearest float32, and returns them as float64."""
    return values.astype(np.float32).astype(np.float64)


def _with(case: Case, **changes: np.ndarray) -> Case:
    """Returns the case with other W, b, x or labels."""
    own = {name: changes.pop(name) for name in ("W", "b") if name in changes}
    return case._replace(params=case.params._replace(**own), **changes)  # pyright: ignore[reportArgumentType]


def _with_targets(rng: np.random.Generator, case: Case) -> Case:
    shape = len(case.x), case.params.b.size
    targets = rng.choice(np.array([0, 1, classes.UNKNOWN], np.int32), shape, p=_SHARES)
    return _with(case, labels=targets)


def _constant_columns(case: Case) -> Case:
    constants = np.tile([1.0, -2.0], (len(case.x), 1))
    return _with(case, x=np.concatenate([constants, case.x[:, 2:]], axis=1))


def _rows_far_apart(case: Case) -> Case:
    """Shifts all scores of a row alike: of even rows up, of odd rows down."""
    x, W = case.x.copy(), case.params.W.copy()
    x[:, 0] = np.where(np.arange(len(x)) % 2, -1.0, 1.0)
    W[0] = FAR
    return _with(case, x=x, W=W)


def _all_right(case: Case) -> Case:
    case = _with(case, W=case.params.W * 32.0)
    labels = np.argmax(case.x @ case.params.W + case.params.b[None, :], axis=1)
    return _with(case, labels=labels.astype(np.int32))


_CHANGES: dict[str, Callable[[Case], Case]] = {
    "W = 0": lambda c: _with(c, W=c.params.W * 0.0),
    "tiny W": lambda c: _with(c, W=c.params.W * 2.0**-20),
    "large W": lambda c: _with(c, W=c.params.W * 32.0),
    "large W, all predicted": _all_right,
    "large features, small W": (
        lambda c: _with(c, x=c.x * 2.0**8, W=c.params.W * 2.0**-8)
    ),
    "all features zero": lambda c: _with(c, x=0.0 * c.x),
    "constant columns": _constant_columns,
    # With the labels as they were: the same x in several classes.
    "duplicate rows": lambda c: _with(c, x=c.x[np.arange(len(c.x)) // 3]),
    "an empty class": (
        lambda c: _with(c, labels=np.minimum(c.labels, c.params.b.size - 2))
    ),
    "one label only": lambda c: _with(c, labels=np.ones_like(c.labels)),
    "all scores near 1000": lambda c: _with(c, b=_as_float32(c.params.b + FAR)),
    "rows near +1000 and -1000": _rows_far_apart,
}


def _off_the_kinks(rng: np.random.Generator, case: Case) -> Case:
    """Moves the bias until no hinge is near a kink, where subgradients may differ."""
    while _near_a_kink(case):
        nudge = rng.normal(size=case.params.b.shape) / 8
        case = _with(case, b=_as_float32(case.params.b + nudge))
    return case


def _near_a_kink(case: Case) -> bool:
    """Returns True when rounding or ``STEP`` may change which hinges are active."""
    W, b = case.params
    scores = case.x @ W + b[None, :]
    size = 1 + np.abs(case.x) @ np.abs(W) + np.abs(b)[None, :]
    reach = 4 * STEP * (1 + np.abs(case.x).max()) + 1e-5 * size.max(axis=1)
    gaps = scores[:, :, None] - scores[:, None, :]
    distance = np.minimum(np.abs(gaps), np.abs(gaps + 1))
    near = distance < reach[:, None, None]
    return bool(near.any(where=~np.eye(b.size, dtype=bool)[None]))
