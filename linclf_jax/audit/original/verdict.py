"""All lines of the original derivation as tables, and whether they are confirmed."""

from collections.abc import Sequence
from typing import NamedTuple

from linclf_jax.audit.original import derivation
from linclf_jax.audit.original.derivation import Cancellation, Claim, Difference

_FACTORS = {"printed": "-1/P_ij", "right": "-1/p_{i,y_i}"}
_SLOPES = {
    "printed": "P_ij (t_ij - P_ij) x_i",
    "right": "p_{i,y_i} (t_ij - p_ij) x_i",
}


class Verdict(NamedTuple):
    """What an audit of the derivation came to."""

    text: str  # the table of lines, that of the factors, and a sentence
    is_confirmed: bool  # whether every line and correction is as it is catalogued


def confirm() -> Verdict:
    """Audits every line as printed and as corrected, and how two mistakes cancel."""
    rows, factors = derivation.claims(), derivation.cancellation()
    holding = sum(row.verdict == derivation.HOLDS for row in rows)
    wrong = [row.name for row in rows if not row.confirmed]
    if [row.holds for row in factors] != [True, False, False, True]:
        wrong.append("the cancellation")
    outcome = "every verdict and correction is confirmed"
    if wrong:
        outcome = f"NOT CONFIRMED: {', '.join(wrong)}"
    text = (
        f"{format_claims(rows)}\n\n"
        "S5i holds because two mistakes cancel: its factors, each printed or right\n"
        f"{format_cancellation(factors)}\n\n"
        f"{len(rows)} lines: {holding} hold, {len(rows) - holding} fail as printed; "
        f"{outcome}"
    )
    return Verdict(text, not wrong)


def format_claims(rows: Sequence[Claim]) -> str:
    """Returns a table, two lines a row: as printed above, as corrected below."""
    head = _columns("line of the original", "as printed; below it, as corrected")
    lines = [f"{head} abs diff  rel diff  verdict"]
    for row in rows:
        verdict = "holds" if row.verdict == derivation.HOLDS else "FAILS"
        if row.verdict != row.expected:
            verdict += f"  but expected: {row.expected}"
        correction = (
            "holds" if row.corrected_error.is_rounding else "FAILS  but expected: holds"
        )
        lines += [
            "",
            _columns(row.name, row.printed, row.printed_error) + verdict,
            _columns(row.section, row.corrected, row.corrected_error) + correction,
        ]
    return "\n".join(lines)


def format_cancellation(rows: Sequence[Cancellation]) -> str:
    """Returns a table of the four ways to choose the factors of line S5i."""
    return "\n".join(
        _columns(
            f"{row.factor} * {row.slope}",
            f"{_FACTORS[row.factor]} * {_SLOPES[row.slope]}",
            row.error,
        )
        + ("holds" if row.holds else "FAILS")
        for row in rows
    )


def _columns(left: str, middle: str, error: Difference | None = None) -> str:
    numbers = "" if error is None else f"{error[0]:9.1e} {error[1]:9.1e}  "
    return f"{left:26s} {middle:64s}{numbers}"
