"""All lines of the original derivation, audited, and whether this is confirmed."""

from typing import NamedTuple

from linclf_jax.audit.original import derivation


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
        f"{derivation.format_claims(rows)}\n\n"
        "S5i holds because two mistakes cancel: its factors, each printed or right\n"
        f"{derivation.format_cancellation(factors)}\n\n"
        f"{len(rows)} lines: {holding} hold, {len(rows) - holding} fail as printed; "
        f"{outcome}"
    )
    return Verdict(text, not wrong)
