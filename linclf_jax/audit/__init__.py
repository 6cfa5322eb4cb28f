"""The derivation's claims as executable rows, and an auditor for anyone's gradient.

``claims`` runs every line of the original derivation against autodiff;
``cancellation`` shows the two mistakes in it that hide each other. ``audit_gradient``
compares a researcher's own gradient with autodiff and central differences and, when it
is wrong, names the known fault that it has.
"""

from linclf_jax.audit.auditor import Audit, Row, audit_gradient
from linclf_jax.audit.cases import Case
from linclf_jax.audit.original.derivation import (
    FAILS,
    HOLDS,
    Cancellation,
    Claim,
    cancellation,
    claims,
)
from linclf_jax.audit.original.verdict import format_cancellation, format_claims

__all__ = [
    "FAILS",
    "HOLDS",
    "Audit",
    "Cancellation",
    "Case",
    "Claim",
    "Row",
    "audit_gradient",
    "cancellation",
    "claims",
    "format_cancellation",
    "format_claims",
]
