"""The catalogue of known faults: wrong gradients that people have written.

Each is the right gradient with one term replaced, so that an auditor can run all of
them beside a given gradient and name the one that it equals. Names that end in an
S-number are lines of the original derivation (``docs/derivation.md``).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from linclf_jax import classes
from linclf_jax.audit import loss_faults, reference
from linclf_jax.audit.cases import HostParams
from linclf_jax.audit.loss_faults import Table
from linclf_jax.audit.reference import RESIDUALS, Terms, gradient

Fault = Callable[[Terms], HostParams]
# The gradient of a case with one term replaced by what a formula gives.
_REPLACE: dict[str, Callable[[Terms, Any], HostParams]] = {
    "residual": gradient,
    "scores": lambda c, s: gradient(c, RESIDUALS[c.loss](s, c.t)),
    "targets": lambda c, t: gradient(c, RESIDUALS[c.loss](c.s, t)),
    "all targets": lambda c, t: gradient(
        c._replace(known=np.ones_like(c.known)), RESIDUALS[c.loss](c.s, t)
    ),
    "probabilities": lambda c, p: gradient(c, p - c.t),
    "penalty": lambda c, penalty: gradient(c, penalty=penalty),
    "dW": lambda c, dW: gradient(c)._replace(W=dW),
    "db": lambda c, db: gradient(c)._replace(b=db),
    "gradient": lambda _, whole: whole,
}


def catalogue(
    loss: str, *, penalty: bool = True, targets: bool = False
) -> dict[str, Fault]:
    """Returns the known faults of a gradient of the named loss, by name.

    ``penalty`` says whether any l2 is above 0, so that a fault of the penalty shows;
    ``targets`` whether targets, some unknown, are in the place of labels.
    """
    tables = [ANY_LOSS, TARGETS if targets else LABELS, loss_faults.BY_LOSS[loss]]
    tables += [PENALTY] if penalty else []
    return {
        name: functools.partial(_faulty, term=term, formula=formula)
        for table in tables
        for term, formulas in table.items()
        for name, formula in formulas.items()
    }


def _faulty(c: Terms, *, term: str, formula: Callable[[Terms], Any]) -> HostParams:
    return _REPLACE[term](c, formula(c))


def _labels(c: Terms, labels: np.ndarray) -> np.ndarray:
    return reference.one_hot(labels, c.b.size)


def _last_row(c: Terms) -> np.ndarray:
    """Returns what a loop that writes ``=`` for ``+=`` leaves behind."""
    return c.r * (np.arange(c.n) == c.n - 1)[:, None]


# Of several that reproduce one part of a gradient the first gives it its name.
ANY_LOSS: Table = {
    "gradient": {
        "sign: the whole gradient": lambda c: HostParams(*(-g for g in gradient(c))),
    },
    "residual": {
        "1/N missing from the data term": lambda c: c.r * c.n,
        "1/N applied twice": lambda c: c.r / c.n,
        "mean over the classes as well: 1/C": lambda c: c.r / c.b.size,
        "multiplied by C": lambda c: c.r * c.b.size,
        "only the last row counts: = for +=": _last_row,
        "sign: the data term alone, target minus prediction": lambda c: -c.r,
        "true class missing": loss_faults.wrong_classes,
    },
    "scores": {
        "bias left out of the scores": lambda c: c.x @ c.W,
        "bias by sample, S5": lambda c: c.x @ c.W + c.b[:, None],
    },
    "targets": {
        "one-hot from the prediction": lambda c: _labels(c, c.s.argmax(axis=1)),
        "rows and labels out of step by one": lambda c: np.roll(c.t, 1, axis=0),
    },
    "dW": {
        "1/N missing from the W gradient": lambda c: gradient(c, c.r * c.n).W,
        "dW transposed": lambda c: gradient(c).W.T,
        "x not transposed in dW": lambda c: c.x @ c.r / c.n + c.l2 * c.W,
    },
    "db": {
        "1/N missing from the bias gradient": lambda c: c.r.sum(axis=0),
        "sign: the bias gradient alone": lambda c: -gradient(c).b,
        "bias gradient summed over the classes": lambda c: c.r.sum(axis=1) / c.n,
        "bias gradient not summed over the rows": lambda c: c.r / c.n,
        "bias gradient of shape (1, C)": lambda c: gradient(c).b[None, :],
        "bias gradient missing: zero": lambda c: 0 * c.b,
    },
}

LABELS: Table = {
    "targets": {
        "label off by one: y - 1": lambda c: _labels(c, (c.labels - 1) % c.b.size),
        "label off by one: y + 1": lambda c: _labels(c, (c.labels + 1) % c.b.size),
    },
}

TARGETS: Table = {
    "residual": {
        "mean over the known labels of each row": (
            lambda c: c.r / np.maximum(c.known.sum(axis=1, keepdims=True), 1)
        ),
        "mean over all known labels": lambda c: c.r * c.n / c.known.sum(),
        "rows with unknown labels left out": (
            lambda c: c.r * c.known.all(axis=1, keepdims=True)
        ),
    },
    "all targets": {
        "unknown labels counted as 0": lambda c: c.t,
        "unknown labels counted as -1": (
            lambda c: np.where(c.known, c.t, classes.UNKNOWN)
        ),
    },
}

PENALTY: Table = {
    "penalty": {
        "penalty missing": lambda c: 0 * c.W,
        "penalty doubled: l2 ||W||^2 without the half": lambda c: 2 * c.l2 * c.W,
        "penalty halved": lambda c: c.l2 / 2 * c.W,
        "penalty divided by N": lambda c: c.l2 / c.n * c.W,
        "penalty multiplied by N: the sum convention": lambda c: c.l2 * c.n * c.W,
        "penalty of the wrong sign": lambda c: -c.l2 * c.W,
        "penalty l2 sign(W): an L1 penalty": lambda c: c.l2 * np.sign(c.W),
        "penalty l2 W / ||W||: the norm not squared": (
            lambda c: c.l2 * c.W / np.linalg.norm(c.W)
        ),
        "penalty a constant l2, without W": lambda c: c.l2 * np.ones_like(c.W),
    },
    "db": {"bias penalised": lambda c: gradient(c).b + c.l2 * c.b},
    "gradient": {"1/N and penalty both missing": loss_faults.summed},
}
