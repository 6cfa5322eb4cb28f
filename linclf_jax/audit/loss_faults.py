"""Known faults of the gradient of one loss: its residual, its probabilities."""

from collections.abc import Callable
from typing import Any

import numpy as np

from linclf_jax.audit import reference
from linclf_jax.audit.cases import HostParams
from linclf_jax.audit.reference import RESIDUALS, Terms, gradient

# Formulas by the name of the fault, in tables by the term that they take the place of.
Formulas = dict[str, Callable[[Terms], Any]]
Table = dict[str, Formulas]


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


def summed(c: Terms) -> HostParams:
    """Returns the sum over the rows, not their mean, and no penalty."""
    return HostParams(c.x.T @ c.r, c.r.sum(axis=0))


def _one_against_rest(c: Terms) -> np.ndarray:
    """Returns the residual of C separate hinges, each with margin 1, ``(N, C)``."""
    sign = 2 * c.t - 1
    return -sign * (1 - sign * c.s > 0)


def _squared_hinge(c: Terms) -> np.ndarray:
    gaps = np.maximum(reference.margins(c.s, c.t), 0)
    return 2 * reference.against_true_class(gaps * (wrong_classes(c) > 0), c.t)


def wrong_classes(c: Terms) -> np.ndarray:
    """Returns the residual without the true class, ``(N, C)``."""
    return c.r * (1 - c.t)


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
            lambda c: summed(c)._replace(b=c.p.sum(axis=0))
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
        lambda c: wrong_classes(c) - c.t * (c.r < 0)
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
