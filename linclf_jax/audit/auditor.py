"""An audit of anyone's hand-derived gradient, with the name of the fault.

The gradient is run on every case of ``cases``, in float32 and in float64, and each
coordinate of dW and db is compared with autodiff and with central differences. A
gradient that fails is compared with the catalogue of ``faults``.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax import losses
from linclf_jax.audit import cases as case_lib
from linclf_jax.audit import diagnosis, outcomes, reference
from linclf_jax.audit.cases import Case, HostParams
from linclf_jax.audit.outcomes import GradientFn, Outcome
from linclf_jax.audit.reference import Problem

IMPURE = "it gives another result when it is called again: state, or random numbers"


class Row(NamedTuple):
    """One part of the gradient, ``W`` or ``b``, in one case and dtype."""

    case: str
    shape: tuple[int, int, int]  # N, D, C
    l2: float
    dtype: str  # of the inputs
    part: str
    autodiff_error: float  # largest absolute difference from autodiff
    differences_error: float  # and from central differences
    ratio: float  # of the worst coordinate: difference over what rounding allows
    remark: str  # what is wrong, and where

    @property
    def passed(self) -> bool:
        """True when no coordinate is off by more than rounding."""
        return self.ratio <= 1


class Audit(NamedTuple):
    """The result of an audit; ``print`` it for a table."""

    loss: str
    rows: tuple[Row, ...]
    diagnosis: str  # empty when it passed
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True when nothing is wrong with the gradient."""
        return not self.diagnosis

    def __str__(self) -> str:
        return _table(self)


def audit_gradient(
    gradient_fn: GradientFn,
    *,
    loss: str = "softmax_cross_entropy",
    l2: float = 0.1,
    cases: Sequence[Case] | None = None,
    targets: bool = False,
) -> Audit:
    """Compares a hand-derived gradient with autodiff and central differences.

    Every coordinate may differ by eight ulp times the square root of the number of
    terms, of the size of the terms, in the dtype that the function computes in. The
    function is called outside ``jit``, with JAX arrays or, if it cannot take those,
    NumPy arrays; once with all inputs float32 and once with all float64.

    Args:
        gradient_fn: ``gradient_fn(params, x, labels, l2) -> (dW, db)``: the gradient of
            equation (17) without example weights, ``params.W (D, C)``,
            ``params.b (C,)``, ``x (N, D)``, int32 ``labels (N,)``.
        loss: A name in ``losses.LOSSES``.
        l2: Largest penalty in the cases, at most 1e6; 0 for a function without one.
        cases: Other inputs than ``cases.standard``, rounded to float32.
        targets: Whether the labels of the standard cases are int32 ``(N, C)``: 1 and 0,
            and -1 for unknown. Those of other cases may be, too.

    Raises:
        ValueError: If the loss is unknown or takes no such targets, ``l2`` is out of
            range, or a case has shapes that do not fit, labels that are no class, or
            numbers that are not finite or larger than 1e6, or lies at a hinge's kink.

    >>> import jax
    >>> def gradient_of_mine(params, x, labels, l2):
    ...     probs = jax.nn.softmax(x @ params.W + params.b[None, :])
    ...     residual = (probs - jax.nn.one_hot(labels, probs.shape[1])) / len(x)
    ...     return x.T @ residual + l2 * params.W, probs.mean(axis=0)
    >>> result = audit_gradient(gradient_of_mine)
    >>> result.passed, result.diagnosis
    (False, 'bias gradient = P, S7')
    """
    losses.known(loss)
    case_lib.require_l2(l2)
    if targets and loss != losses.SEPARATE:
        raise ValueError(f"loss is {loss!r}; expected {losses.SEPARATE!r} of targets")
    standard = functools.partial(_standard, loss, float(l2), targets)
    problems = standard() if cases is None else _own(cases, loss)
    runs, notes = _run(gradient_fn, [problem.case for problem in problems], loss)
    rows = tuple(
        _row(problem, dtype, outcome, part)
        for dtype, results in runs.items()
        for problem, outcome in zip(problems, results, strict=True)
        for part in HostParams._fields
    )
    return Audit(loss, rows, _fault(gradient_fn, problems, runs, rows), notes)


@functools.lru_cache(maxsize=8)  # autodiff compiles for each shape
def _standard(loss: str, l2: float, targets: bool) -> tuple[Problem, ...]:
    cases = case_lib.standard(l2=l2, targets=targets)
    return tuple(reference.problem(case, loss) for case in cases)


def _own(cases: Sequence[Case], loss: str) -> tuple[Problem, ...]:
    """Returns the problems of a researcher's own cases, none of them at a kink."""
    cases = case_lib.validated(cases)
    problems = tuple(reference.problem(case, loss) for case in cases)
    for problem in problems:
        reference.require_smooth(problem)
    return problems


def _run(
    gradient_fn: GradientFn, cases: Sequence[Case], loss: str
) -> tuple[dict[str, list[Outcome]], tuple[str, ...]]:
    """Runs the function in both dtypes, and notes what it makes of them."""
    runs = {
        dtype: [outcomes.run(gradient_fn, case, dtype) for case in cases]
        for dtype in outcomes.DTYPES
    }
    refused = [d for d, results in runs.items() if all(r.raised for r in results)]
    if len(refused) == 1:
        del runs[refused[0]]
        return runs, (f"it takes no {refused[0]}: audited in {min(runs)} alone",)
    returned = {outcome.dtype for outcome in runs["float64"] if outcome.gradient}
    if returned == {"float32"}:
        return runs, ("it returns float32 for float64: judged by float32 rounding",)
    smooth = loss in reference.PROBABILITIES
    generic = case_lib.standard(l2=0.0, targets=cases[0].has_targets)[0]
    if outcomes.computes_in_float32(gradient_fn, generic, smooth=smooth):
        runs["float64"] = [r._replace(dtype="float32") for r in runs["float64"]]
        return runs, ("it computes in float32 on the way: judged by float32 rounding",)
    return runs, ()


def _fault(
    gradient_fn: GradientFn,
    problems: Sequence[Problem],
    runs: Mapping[str, Sequence[Outcome]],
    rows: Sequence[Row],
) -> str:
    """Names what is wrong; empty when every row passed and a second call agrees."""
    # The wider dtype of those that fail tells faults apart best.
    dtype = max({row.dtype for row in rows if not row.passed} or runs)
    evidence = [
        diagnosis.join(problem.terms, outcome)
        for problem, outcome in zip(problems, runs[dtype], strict=True)
    ]
    again = outcomes.run(gradient_fn, problems[0].case, dtype)
    if not diagnosis.same(evidence[0].outcome, again, evidence[0].rounding):
        return IMPURE
    if all(row.passed for row in rows):
        return ""
    ratios = {
        part: max(row.ratio for row in rows if (row.dtype, row.part) == (dtype, part))
        for part in HostParams._fields
    }
    return diagnosis.diagnose(evidence, ratios)


def _row(problem: Problem, dtype: str, outcome: Outcome, part: str) -> Row:
    """Compares one part of one outcome with what it should be."""
    case, terms = problem.case, problem.terms
    shape = (len(case.x), *case.params.W.shape)
    about = functools.partial(Row, case.name, shape, case.l2, dtype, part)
    autodiff = getattr(problem.autodiff, part)
    differences = getattr(problem.differences, part)
    if outcome.gradient is None:
        return about(np.inf, np.inf, np.inf, outcome.problem)
    actual = getattr(outcome.gradient, part)
    if unreadable := _unreadable(actual, autodiff):
        return about(np.inf, np.inf, np.inf, unreadable)
    allowed = getattr(reference.rounding(terms, outcome.dtype), part)
    gaps = np.abs(actual - autodiff), np.abs(actual - differences)
    ratios = np.maximum(
        gaps[0] / np.maximum(allowed, 1e-300),
        gaps[1] / (allowed + reference.differences_error(terms)),
    )
    worst = np.unravel_index(ratios.argmax(), ratios.shape)
    remark = ""
    if ratios[worst] > 1:
        index = ", ".join(map(str, worst))
        remark = (
            f"d{part}[{index}] is {actual[worst]:.6g}; autodiff {autodiff[worst]:.6g}, "
            f"central differences {differences[worst]:.6g}"
        )
    return about(*(float(gap.max()) for gap in gaps), float(ratios[worst]), remark)


def _unreadable(actual: np.ndarray, expected: np.ndarray) -> str:
    """Says why an array cannot be compared at all; empty when it can."""
    if actual.shape != expected.shape:
        return f"shape {actual.shape}; expected {expected.shape}"
    bad = ~np.isfinite(actual)
    if bad.any():
        first = ", ".join(map(str, np.argwhere(bad)[0]))
        return f"{bad.sum()} of {bad.size} entries not finite, first at [{first}]"
    return ""


def _table(audit: Audit) -> str:
    """Returns a line for each case, what went wrong first, and the diagnosis."""
    cases: dict[str, list[Row]] = {}
    for row in audit.rows:
        cases.setdefault(row.case, []).append(row)
    lines = [
        f"gradient of {audit.loss}; ! marks a difference larger than rounding",
        f"{'largest differences from':52s}" + 2 * f"{'autodiff':>14s}{'central':>13s}",
        f"{'case':28s}{'N':>4s}{'D':>4s}{'C':>4s}{'l2':>9s}   "
        + f"{'dW f32':>8s} {'db f32':>8s} {'f32':>8s} "
        + f"{'dW f64':>8s} {'db f64':>8s} {'f64':>8s}",
        *map(_case_line, cases.values()),
        *(f"note: {note}" for note in audit.notes),
    ]
    return "\n".join(lines + _verdict(audit))


def _case_line(rows: Sequence[Row]) -> str:
    N, D, C = rows[0].shape
    line = f"{rows[0].case:28s}{N:4d}{D:4d}{C:4d}{rows[0].l2:9.3g}   "
    for dtype in outcomes.DTYPES:
        parts = [row for row in rows if row.dtype == dtype]
        cells = [_number(row.autodiff_error, row.passed) for row in parts]
        central = max((row.differences_error for row in parts), default=0.0)
        cells += [_number(central, True)] if parts else 3 * [f"{'-':>8s} "]
        line += "".join(cells)
    return line.rstrip()


def _number(value: float, passed: bool) -> str:
    return f"{value:8.1e}" + (" " if passed else "!")


def _verdict(audit: Audit) -> list[str]:
    failed = [row for row in audit.rows if not row.passed]
    if audit.passed:
        return [f"PASSED: {len(audit.rows)} comparisons agree to rounding"]
    lines = [f"FAILED: {len(failed)} of {len(audit.rows)} comparisons"]
    for row in failed[:1]:
        lines += [f"first: {row.case}, {row.dtype}, d{row.part}:", f"  {row.remark}"]
    return [*lines, f"diagnosis: {audit.diagnosis}"]
