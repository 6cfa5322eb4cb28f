"""The table of a gradient's audit, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linclf_jax.audit.auditor import Audit, Row

_DTYPES = ("float32", "float64")


def format_audit(audit: "Audit") -> str:
    """Returns a line for each case, what went wrong first, and the diagnosis."""
    cases: dict[str, list[Row]] = {}
    for row in audit.rows:
        cases.setdefault(row.case, []).append(row)
    lines = [
        f"gradient of {audit.loss}; ! marks a difference larger than rounding",
        f"{'largest differences from':49s}" + 2 * f"{'autodiff':>14s}{'central':>13s}",
        f"{'case':28s}{'N':>3s}{'D':>3s}{'C':>3s}{'l2':>9s}   "
        + f"{'dW f32':>8s} {'db f32':>8s} {'f32':>8s} "
        + f"{'dW f64':>8s} {'db f64':>8s} {'f64':>8s}",
        *map(_case_line, cases.values()),
        *(f"note: {note}" for note in audit.notes),
    ]
    return "\n".join(lines + _verdict(audit))


def _case_line(rows: Sequence["Row"]) -> str:
    N, D, C = rows[0].shape
    line = f"{rows[0].case:28s}{N:3d}{D:3d}{C:3d}{rows[0].l2:9.3g}   "
    for dtype in _DTYPES:
        parts = [row for row in rows if row.dtype == dtype]
        cells = [_number(row.autodiff_error, row.passed) for row in parts]
        central = max((row.differences_error for row in parts), default=0.0)
        cells += [_number(central, True)] if parts else 3 * [f"{'-':>8s} "]
        line += "".join(cells)
    return line.rstrip()


def _number(value: float, passed: bool) -> str:
    return f"{value:8.1e}" + (" " if passed else "!")


def _verdict(audit: "Audit") -> list[str]:
    failed = [row for row in audit.rows if not row.passed]
    if audit.passed:
        return [f"PASSED: {len(audit.rows)} comparisons agree to rounding"]
    lines = [f"FAILED: {len(failed)} of {len(audit.rows)} comparisons"]
    for row in failed[:1]:
        lines += [f"first: {row.case}, {row.dtype}, d{row.part}:", f"  {row.remark}"]
    return [*lines, f"diagnosis: {audit.diagnosis}"]
