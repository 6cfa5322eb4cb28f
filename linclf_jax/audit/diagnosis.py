"""Which known fault a wrong gradient is."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax.audit import faults, reference
from linclf_jax.audit.cases import HostParams
from linclf_jax.audit.outcomes import Outcome
from linclf_jax.audit.reference import Terms

NONE = "no catalogued fault reproduces it"

# How much further than rounding a fault and the gradient may be apart and still be the
# same: the same mistake can be written, and so rounded, in many ways.
_SLACK = 8.0

Results = list[HostParams | None]  # by case; None where a function raises


class Evidence(NamedTuple):
    """A case, what the function gave for it, and how far rounding may carry that."""

    terms: Terms
    outcome: Outcome
    rounding: HostParams


def join(terms: Terms, outcome: Outcome) -> Evidence:
    """Joins an outcome to what rounding excuses, at its most lenient.

    That of softmax, whatever the loss: the fault may be to have taken another one.
    """
    lenient = terms._replace(loss="softmax_cross_entropy")
    return Evidence(terms, outcome, reference.rounding(lenient, outcome.dtype))


def diagnose(evidence: Sequence[Evidence], ratios: Mapping[str, float]) -> str:
    """Names the known fault that a gradient has, if one reproduces it in every case.

    Tried in this order: every catalogued fault; the right gradient, roughly or times a
    number; a catalogued fault, or none, for dW and for db alone. ``ratios`` are, of W
    and of b, the worst coordinate's error over what rounding allows.
    """
    problems = [item.outcome.problem for item in evidence]
    if all(problems):
        return problems[0]
    penalty = any(item.terms.l2 > 0 for item in evidence)
    # In the dtype of the outcomes: a fault overflows where they do.
    terms = [_in_dtype(item.terms, item.outcome.dtype) for item in evidence]
    right = _run(reference.gradient, terms)
    distances = {}
    targets = terms[0].labels.ndim == 2
    catalogue = faults.catalogue(terms[0].loss, penalty=penalty, targets=targets)
    for name, fault in catalogue.items():
        results = _run(fault, terms)
        if not _harmless(results, right, evidence):
            distances[name] = _distance(results, evidence)
    nearest = sorted(distances, key=lambda name: max(distances[name]))
    if names := [name for name in nearest if max(distances[name]) <= 1]:
        return " or ".join(names)
    dtype = evidence[0].outcome.dtype
    from_right = _distance(right, evidence)
    if max(from_right) <= 1:
        return "the right gradient" + _but(max(ratios.values()), dtype)
    factor = _factor(right, evidence)
    scaled = [g and HostParams(factor * g.W, factor * g.b) for g in right]
    if max(_distance(scaled, evidence)) <= 1:
        return f"the right gradient times {factor:.6g}"
    parts = []
    for index, field in enumerate(HostParams._fields):
        name = min(distances, key=lambda name: distances[name][index])
        if from_right[index] <= 1:
            name = "right" + _but(ratios[field], dtype)
        elif distances[name][index] > 1:
            name = NONE
        parts.append(name)
    return NONE if parts == [NONE, NONE] else f"dW: {parts[0]}; db: {parts[1]}"


def _harmless(fault: Results, right: Results, evidence: Sequence[Evidence]) -> bool:
    """Returns True when a fault does not show in these cases, such as an overflow."""
    as_right = [
        item._replace(outcome=Outcome(gradient, item.outcome.dtype))
        for item, gradient in zip(evidence, right, strict=True)
    ]
    return max(_distance(fault, as_right)) <= 1


def _but(ratio: float, dtype: str) -> str:
    """Says what keeps a gradient near the right one from passing; empty if nothing."""
    if ratio <= 1:
        return ""
    off = f"off by up to {ratio:.3g} times {dtype} rounding"
    if ratio <= _SLACK:
        return f", but {off}"
    # Near it only as measured by the largest entry of the array.
    return f" in its largest entries; smaller ones are {off}"


def same(a: Outcome, b: Outcome, rounding: HostParams) -> bool:
    """Returns True when two outcomes of one case differ by no more than rounding."""
    if a.gradient is None or b.gradient is None:
        return a.problem == b.problem
    return all(
        _gap(actual, expected, float(allowed.max())) <= 1
        for actual, expected, allowed in zip(
            a.gradient, b.gradient, rounding, strict=True
        )
    )


def _run(fault: Callable[[Terms], HostParams], terms: Sequence[Terms]) -> Results:
    results = []
    with np.errstate(all="ignore"):
        for case in terms:
            try:
                results.append(fault(case))
            except ValueError:  # shapes that do not fit, as for whoever wrote it
                results.append(None)
    return results


def _in_dtype(c: Terms, dtype: str) -> Terms:
    arrays = {
        name: getattr(c, name).astype(dtype) for name in ("x", "W", "b", "s", "t", "r")
    }
    return c._replace(**arrays)


def _distance(results: Results, evidence: Sequence[Evidence]) -> tuple[float, float]:
    """Returns the largest gaps of dW and of db over what may be called equal."""
    if all(result is None for result in results):
        return np.inf, np.inf
    gaps = [_gaps(r, item) for r, item in zip(results, evidence, strict=True)]
    return max(of_W for of_W, _ in gaps), max(of_b for _, of_b in gaps)


def _gaps(result: HostParams | None, item: Evidence) -> tuple[float, float]:
    """Returns the gaps of dW and of db in one case."""
    actual = item.outcome.gradient
    if result is None or actual is None:
        both_raise = result is None and item.outcome.raised
        return (0.0, 0.0) if both_raise else (np.inf, np.inf)
    ulp = float(np.finfo(item.outcome.dtype).eps)
    gaps = []
    for part, expected, rounding in zip(actual, result, item.rounding, strict=True):
        # A fault's sums may be of far larger terms than the right ones.
        size = float(np.abs(expected).max(where=np.isfinite(expected), initial=0))
        allowed = _SLACK * (float(rounding.max()) + ulp * size)
        gaps.append(_gap(part, expected, allowed))
    return gaps[0], gaps[1]


def _gap(actual: np.ndarray, expected: np.ndarray, allowed: float) -> float:
    """Returns the largest difference over what is allowed; NaN and inf must agree."""
    if actual.shape != expected.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        equal = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        gap = np.abs(actual - expected) / np.maximum(allowed, 1e-300)
    return float(
        np.where(equal, 0.0, np.where(np.isnan(gap), np.inf, gap)).max(initial=0)
    )


def _factor(right: Results, evidence: Sequence[Evidence]) -> float:
    """Returns the number c for which ``c * right`` is nearest to the gradient."""
    pairs = [
        (actual, expected)
        for result, item in zip(right, evidence, strict=True)
        if item.outcome.gradient is not None and result is not None
        for actual, expected in zip(item.outcome.gradient, result, strict=True)
        if actual.shape == expected.shape and np.isfinite(actual).all()
    ]
    product = sum(float(np.sum(actual * expected)) for actual, expected in pairs)
    square = sum(float(np.sum(expected**2)) for _, expected in pairs)
    return product / square if square else 1.0
