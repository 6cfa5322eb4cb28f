"""The catalogue of known faults: wrong gradients that people have written.

Each is the right gradient with one term replaced, so that an auditor can run all of
them beside a given gradient and name the one that it equals. Names that end in an
S-number are lines of the original derivation (``docs/derivation.md``).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from linclf_jax.audit import reference
from linclf_jax.audit.cases import HostParams
from linclf_jax.audit.reference import RESIDUALS, Terms, gradient

Fault = Callable[[Terms], HostParams]
# Formulas by the name of the fault, in tables by the term that they take the place of.
Formulas = dict[str, Callable[[Terms], Any]]
Table = dict[str, Formulas]

# The gradient of a case with one term replaced by what a formula gives.
_REPLACE: dict[str, Callable[[Terms, Any], HostParams]] = {
    "residual": gradient,
    "scores": lambda c, s: gradient(c, RESIDUALS[c.loss](s, c.t)),
    "targets": lambda c, t: gradient(c, RESIDUALS[c.loss](c.s, t)),
    "probabilities": lambda c, p: gradient(c, p - c.t),
    "penalty": lambda c, penalty: gradient(c, penalty=penalty),
    "dW": lambda c, dW: gradient(c)._replace(W=dW),
    "db": lambda c, db: gradient(c)._replace(b=db),
    "gradient": lambda _, whole: whole,
}


def catalogue(loss: str, *, penalty: bool = True) -> dict[str, Fault]:
    """Returns the known faults of a gradient of the named loss, by name.

    ``penalty`` says whether any l2 is above 0, so that a fault of the penalty shows.
    """
    tables = [ANY_LOSS, BY_LOSS[loss], *([PENALTY] if penalty else [])]
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


def _true_prob(c: Terms) -> np.ndarray:
    return (c.p * c.t).sum(axis=1, keepdims=True)


def _through_softmax(c: Terms, g: np.ndarray) -> np.ndarray:
    """Returns ``sum_j g_ij dp_ij/ds_ik``, by equation (7), ``(N, C)``."""
    return c.p * (g - (c.p * g).sum(axis=1, keepdims=True))


def _through_sigmoid(c: Terms, g: np.ndarray) -> np.ndarray:
    """Returns ``g_ik`` times the slope of the sigmoid, equation (38), ``(N, C)``."""
    return reference.sigmoid(c.s) * reference.sigmoid(-c.s) * g


def _exps(c: Terms, axis: int | None) -> np.ndarray:
    """Returns exponentials, shifted by the largest score along an axis or of all."""
    return np.exp(c.s - c.s.max(axis=axis, keepdims=True))


def _normalized(exps: np.ndarray, axis: int | None = 1) -> np.ndarray:
    return exps / exps.sum(axis=axis, keepdims=True)


def _summed(c: Terms) -> HostParams:
    """Returns the sum over the rows, not their mean, and no penalty."""
    return HostParams(c.x.T @ c.r, c.r.sum(axis=0))


def _last_row(c: Terms) -> np.ndarray:
    """Returns what a loop that writes ``=`` for ``+=`` leaves behind."""
    return c.r * (np.arange(c.n) == c.n - 1)[:, None]


def _one_against_rest(c: Terms) -> np.ndarray:
    """Returns the residual of C separate hinges, each with margin 1, ``(N, C)``."""
    sign = 2 * c.t - 1
    return -sign * (1 - sign * c.s > 0)


def _squared_hinge(c: Terms) -> np.ndarray:
    gaps = np.maximum(reference.margins(c.s, c.t), 0)
    return 2 * reference.against_true_class(gaps * (_wrong_classes(c) > 0), c.t)


def _wrong_classes(c: Terms) -> np.ndarray:
    """Returns the residual without the true class, ``(N, C)``."""
    return c.r * (1 - c.t)


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
        "true class missing": _wrong_classes,
    },
    "scores": {
        "bias left out of the scores": lambda c: c.x @ c.W,
        "bias by sample, S5": lambda c: c.x @ c.W + c.b[:, None],
    },
    "targets": {
        "label off by one: y - 1": lambda c: _labels(c, (c.labels - 1) % c.b.size),
        "label off by one: y + 1": lambda c: _labels(c, (c.labels + 1) % c.b.size),
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
    "gradient": {"1/N and penalty both missing": _summed},
}

_SOFTMAX: Table = {
    "residual": {
        "chain rule on the diagonal alone: only the true class learns, S4a": (
            lambda c: c.r * c.t
        ),
        "first mistake of S5i alone: -1/P_ij": (
            lambda c: -_true_prob(c) / c.p * (c.t - c.p)
        ),
        "second mistake of S5i alone: P_ij (t_ij - P_ij)": (
            lambda c: -c.p / _true_prob(c) * (c.t - c.p)
        ),
        "targets never subtracted": lambda c: c.p,
        "label smoothing of 0.1 left on": lambda c: c.p - 0.9 * c.t - 0.1 / c.b.size,
        "softmax applied twice": (
            lambda c: _through_softmax(c, reference.softmax(c.p) - c.t)
        ),
        "squared error of the probabilities for cross-entropy": (
            lambda c: _through_softmax(c, c.p - c.t)
        ),
        "an extra factor p (1 - p)": lambda c: c.r * c.p * (1 - c.p),
        "log to base 2": lambda c: c.r / np.log(2),
        "log to base 10": lambda c: c.r / np.log(10),
    },
    "probabilities": {
        "softmax over the rows: the wrong axis": (
            lambda c: _normalized(_exps(c, axis=0), axis=0)
        ),
        "exponentials not normalised": lambda c: np.exp(c.s),
        "shifted exponentials not normalised": lambda c: _exps(c, axis=1),
        "normalised over the whole batch": (
            lambda c: _normalized(_exps(c, axis=None), axis=None)
        ),
        "exponential without a shift: overflow": lambda c: _normalized(np.exp(c.s)),
        "shift by the largest score of the batch: underflow": (
            lambda c: _normalized(_exps(c, axis=None))
        ),
        "sigmoid for softmax": lambda c: np.exp(-np.logaddexp(0, -c.s)),
    },
    "dW": {"targets not subtracted in dW": lambda c: gradient(c, c.p).W},
    "db": {"bias gradient = P, S7": lambda c: c.p.mean(axis=0)},
    "gradient": {
        "the original as it stands: S6, S7, no 1/N, no penalty": (
            lambda c: _summed(c)._replace(b=c.p.sum(axis=0))
        ),
    },
}

_HINGE: Formulas = {
    "only the true class learns": lambda c: c.r * c.t,
    "margin not rectified: every wrong class counts": (
        lambda c: reference.against_true_class(1 - c.t, c.t)
    ),
    "margin 0 for 1": lambda c: RESIDUALS[c.loss](c.s, c.t, margin=0),
    "squared hinge for the hinge": _squared_hinge,
    "one-against-rest hinges": _one_against_rest,
    "softmax cross-entropy for the hinge": lambda c: c.p - c.t,
}

_SUM_HINGE = _HINGE | {
    "margin of the true class left in": lambda c: c.r + c.t,
    "true class counted once, not once for each violation": (
        lambda c: _wrong_classes(c) - c.t * (c.r < 0)
    ),
    "the largest violation for their sum (Crammer-Singer)": (
        lambda c: reference.max_hinge_residual(c.s, c.t)
    ),
}

_MAX_HINGE = _HINGE | {
    "the sum of the violations for the largest (Weston-Watkins)": (
        lambda c: reference.sum_hinge_residual(c.s, c.t)
    ),
}

_SIGMOID: Table = {
    "residual": {
        "only the true class learns": lambda c: c.r * c.t,
        "targets never subtracted": lambda c: c.r + c.t,
        "targets of 1 and -1 for 1 and 0": lambda c: c.r + c.t - (2 * c.t - 1),
        "label smoothing of 0.1 left on": lambda c: c.r + 0.1 * (c.t - 1 / c.b.size),
        "sigmoid applied twice": (
            lambda c: _through_sigmoid(c, reference.sigmoid(c.r + c.t) - c.t)
        ),
        "squared error of the probabilities for cross-entropy": (
            lambda c: _through_sigmoid(c, c.r)
        ),
        "log to base 2": lambda c: c.r / np.log(2),
        "log to base 10": lambda c: c.r / np.log(10),
        "softmax for sigmoid": lambda c: c.p - c.t,
        "one-against-rest hinges": _one_against_rest,
    },
    "probabilities": {
        "sigmoid of minus the score": lambda c: reference.sigmoid(-c.s),
        "hyperbolic tangent for sigmoid": lambda c: np.tanh(c.s),
        "exponential of the score over 1 plus itself: overflow": (
            lambda c: np.exp(c.s) / (1 + np.exp(c.s))
        ),
    },
    "dW": {"targets not subtracted in dW": lambda c: gradient(c, c.r + c.t).W},
    "db": {"bias gradient = mean probability": lambda c: (c.r + c.t).mean(axis=0)},
}

BY_LOSS: dict[str, Table] = {
    "softmax_cross_entropy": _SOFTMAX,
    "weston_watkins_hinge": {"residual": _SUM_HINGE},
    "crammer_singer_hinge": {"residual": _MAX_HINGE},
    "sigmoid_cross_entropy": _SIGMOID,
}
