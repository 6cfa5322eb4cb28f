"""The catalogue of known faults: wrong gradients that people have written.

Each is the right gradient with a term replaced, so that an auditor can run all of them
beside a given gradient and name the one that it equals. Names that end in an S-number
are lines of the original derivation (``docs/derivation.md``).
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from linclf_jax.audit import reference
from linclf_jax.audit.cases import HostParams
from linclf_jax.audit.reference import Terms, gradient

Fault = Callable[[Terms], HostParams]


def catalogue(loss: str, *, penalty: bool = True) -> dict[str, Fault]:
    """Returns the known faults of a gradient of the named loss, by name.

    Args:
        loss: A name in ``losses.LOSSES``.
        penalty: Whether any l2 is above 0, so that a fault of the penalty shows.
    """
    known = ANY_LOSS | BY_LOSS[loss]
    return known | PENALTY if penalty else known


# One term replaced.
def _scores(c: Terms, s: np.ndarray) -> HostParams:
    return gradient(c, reference.RESIDUALS[c.loss](s, c.t))


def _labels(c: Terms, labels: np.ndarray) -> HostParams:
    t = reference.one_hot(labels, c.b.size)
    return gradient(c, reference.RESIDUALS[c.loss](c.s, t))


def _penalty(c: Terms, penalty: np.ndarray) -> HostParams:
    return gradient(c, penalty=penalty)


def _bias(c: Terms, b: np.ndarray) -> HostParams:
    return gradient(c)._replace(b=b)


def _probs(c: Terms, probs: np.ndarray) -> HostParams:
    return gradient(c, probs - c.t)


def _true_prob(c: Terms) -> np.ndarray:
    return (_p(c) * c.t).sum(axis=1, keepdims=True)


def _p(c: Terms) -> np.ndarray:
    return reference.softmax(c.s)


def _through_softmax(c: Terms, g: np.ndarray) -> np.ndarray:
    """Returns ``sum_j g_ij dp_ij/ds_ik``, by equation (7), ``(N, C)``."""
    p = _p(c)
    return p * (g - (p * g).sum(axis=1, keepdims=True))


def _normalized(exps: np.ndarray, axis: int = 1) -> np.ndarray:
    return exps / exps.sum(axis=axis, keepdims=True)


def _transposed(g: HostParams) -> HostParams:
    return g._replace(W=g.W.T)


def _times(g: HostParams, factor: float) -> HostParams:
    return HostParams(factor * g.W, factor * g.b)


def _summed(c: Terms) -> HostParams:
    """Returns the sum over the rows, not their mean, and no penalty."""
    return HostParams(c.x.T @ c.r, c.r.sum(axis=0))


def _last_row(c: Terms) -> HostParams:
    """Returns what a loop that writes ``=`` for ``+=`` leaves behind."""
    last = np.arange(len(c.x)) == len(c.x) - 1
    return gradient(c, c.r * last[:, None])


def _one_against_rest(c: Terms) -> np.ndarray:
    """Returns the residual of C separate hinges, each with margin 1, ``(N, C)``."""
    sign = 2 * c.t - 1
    return -sign * (1 - sign * c.s > 0)


def _squared_hinge(c: Terms) -> np.ndarray:
    gaps = np.maximum(reference.margins(c.s, c.t), 0)
    return 2 * reference.against_true_class(gaps * (_wrong(c) > 0), c.t)


def _wrong(c: Terms) -> np.ndarray:
    """Returns the residual without the true class, ``(N, C)``."""
    return c.r * (1 - c.t)


ANY_LOSS: MappingProxyType[str, Fault] = MappingProxyType(
    {
        # The mean.
        "1/N missing from the data term": lambda c: gradient(c, c.r * len(c.x)),
        "1/N missing from the bias gradient": lambda c: _bias(c, c.r.sum(axis=0)),
        "1/N missing from the W gradient": lambda c: gradient(
            c, c.r * len(c.x)
        )._replace(b=gradient(c).b),
        "1/N applied twice": lambda c: gradient(c, c.r / len(c.x)),
        "mean over the classes as well: 1/C": lambda c: gradient(c, c.r / c.b.size),
        "multiplied by C": lambda c: gradient(c, c.r * c.b.size),
        "only the last row counts: = for +=": _last_row,
        # Signs, shapes and axes.
        "sign: the whole gradient": lambda c: _times(gradient(c), -1.0),
        "sign: the data term alone, target minus prediction": lambda c: gradient(
            c, -c.r
        ),
        "sign: the bias gradient alone": lambda c: _bias(c, -gradient(c).b),
        "dW transposed": lambda c: _transposed(gradient(c)),
        "x not transposed in dW": lambda c: gradient(c)._replace(
            W=c.x @ c.r / len(c.x) + c.l2 * c.W
        ),
        "bias gradient summed over the classes": lambda c: _bias(
            c, c.r.sum(axis=1) / len(c.x)
        ),
        "bias gradient not summed over the rows": lambda c: _bias(c, c.r / len(c.x)),
        "bias gradient of shape (1, C)": lambda c: _bias(c, gradient(c).b[None, :]),
        "bias gradient missing: zero": lambda c: _bias(c, 0 * c.b),
        # Scores and labels.
        "bias left out of the scores": lambda c: _scores(c, c.x @ c.W),
        "bias by sample, S5": lambda c: _scores(c, c.x @ c.W + c.b[:, None]),
        "label off by one: y - 1": lambda c: _labels(c, (c.labels - 1) % c.b.size),
        "label off by one: y + 1": lambda c: _labels(c, (c.labels + 1) % c.b.size),
        "one-hot from the prediction": lambda c: _labels(c, c.s.argmax(axis=1)),
        "rows and labels out of step by one": lambda c: _labels(
            c, np.roll(c.labels, 1)
        ),
        # Classes.
        "true class missing": lambda c: gradient(c, _wrong(c)),
    }
)

PENALTY: MappingProxyType[str, Fault] = MappingProxyType(
    {
        "penalty missing": lambda c: _penalty(c, 0 * c.W),
        "penalty doubled: l2 ||W||^2 without the half": lambda c: _penalty(
            c, 2 * c.l2 * c.W
        ),
        "penalty halved": lambda c: _penalty(c, c.l2 / 2 * c.W),
        "penalty divided by N": lambda c: _penalty(c, c.l2 / len(c.x) * c.W),
        "penalty multiplied by N: the sum convention": lambda c: _penalty(
            c, c.l2 * len(c.x) * c.W
        ),
        "penalty of the wrong sign": lambda c: _penalty(c, -c.l2 * c.W),
        "penalty l2 sign(W): an L1 penalty": lambda c: _penalty(c, c.l2 * np.sign(c.W)),
        "penalty l2 W / ||W||: the norm not squared": lambda c: _penalty(
            c, c.l2 * c.W / np.linalg.norm(c.W)
        ),
        "penalty a constant l2, without W": lambda c: _penalty(
            c, c.l2 * np.ones_like(c.W)
        ),
        "bias penalised": lambda c: _bias(c, gradient(c).b + c.l2 * c.b),
        "1/N and penalty both missing": _summed,
    }
)

_SOFTMAX: dict[str, Fault] = {
    # The original derivation.
    "bias gradient = P, S7": lambda c: _bias(c, _p(c).mean(axis=0)),
    "the original as it stands: S6, S7, no 1/N, no penalty": lambda c: _summed(
        c
    )._replace(b=_p(c).sum(axis=0)),
    "chain rule on the diagonal alone: only the true class learns, S4a": lambda c: (
        gradient(c, c.r * c.t)
    ),
    "first mistake of S5i alone: -1/P_ij": lambda c: gradient(
        c, -_true_prob(c) / _p(c) * (c.t - _p(c))
    ),
    "second mistake of S5i alone: P_ij (t_ij - P_ij)": lambda c: gradient(
        c, -_p(c) / _true_prob(c) * (c.t - _p(c))
    ),
    # The targets.
    "targets never subtracted": lambda c: gradient(c, _p(c)),
    "targets not subtracted in dW": lambda c: gradient(c, _p(c))._replace(
        b=gradient(c).b
    ),
    "label smoothing of 0.1 left on": lambda c: gradient(
        c, _p(c) - 0.9 * c.t - 0.1 / c.b.size
    ),
    # The softmax.
    "softmax over the rows: the wrong axis": lambda c: _probs(
        c, _normalized(np.exp(c.s - c.s.max(axis=0, keepdims=True)), axis=0)
    ),
    "exponentials not normalised": lambda c: _probs(c, np.exp(c.s)),
    "shifted exponentials not normalised": lambda c: _probs(
        c, np.exp(c.s - c.s.max(axis=1, keepdims=True))
    ),
    "normalised over the whole batch": lambda c: _probs(
        c, np.exp(c.s - c.s.max()) / np.exp(c.s - c.s.max()).sum()
    ),
    "exponential without a shift: overflow": lambda c: _probs(
        c, _normalized(np.exp(c.s))
    ),
    "shift by the largest score of the batch: underflow": lambda c: _probs(
        c, _normalized(np.exp(c.s - c.s.max()))
    ),
    "softmax applied twice": lambda c: gradient(
        c, _through_softmax(c, reference.softmax(_p(c)) - c.t)
    ),
    "sigmoid for softmax": lambda c: _probs(c, np.exp(-np.logaddexp(0, -c.s))),
    # The loss.
    "squared error of the probabilities for cross-entropy": lambda c: gradient(
        c, _through_softmax(c, _p(c) - c.t)
    ),
    "an extra factor p (1 - p)": lambda c: gradient(c, c.r * _p(c) * (1 - _p(c))),
    "log to base 2": lambda c: gradient(c, c.r / np.log(2)),
    "log to base 10": lambda c: gradient(c, c.r / np.log(10)),
}

_HINGE: dict[str, Fault] = {
    "only the true class learns": lambda c: gradient(c, c.r * c.t),
    "margin not rectified: every wrong class counts": lambda c: gradient(
        c, reference.against_true_class(1 - c.t, c.t)
    ),
    "squared hinge for the hinge": lambda c: gradient(c, _squared_hinge(c)),
    "one-against-rest hinges": lambda c: gradient(c, _one_against_rest(c)),
    "softmax cross-entropy for the hinge": lambda c: gradient(c, _p(c) - c.t),
}

_SUM_HINGE: dict[str, Fault] = _HINGE | {
    "margin 0 for 1": lambda c: gradient(
        c, reference.sum_hinge_residual(c.s, c.t, margin=0)
    ),
    "margin of the true class left in": lambda c: gradient(c, c.r + c.t),
    "true class counted once, not once for each violation": lambda c: gradient(
        c, _wrong(c) - c.t * (c.r < 0)
    ),
    "the largest violation for their sum (Crammer-Singer)": lambda c: gradient(
        c, reference.max_hinge_residual(c.s, c.t)
    ),
}

_MAX_HINGE: dict[str, Fault] = _HINGE | {
    "margin 0 for 1": lambda c: gradient(
        c, reference.max_hinge_residual(c.s, c.t, margin=0)
    ),
    "the sum of the violations for the largest (Weston-Watkins)": lambda c: gradient(
        c, reference.sum_hinge_residual(c.s, c.t)
    ),
}

BY_LOSS: MappingProxyType[str, dict[str, Fault]] = MappingProxyType(
    {
        "softmax_cross_entropy": _SOFTMAX,
        "weston_watkins_hinge": _SUM_HINGE,
        "crammer_singer_hinge": _MAX_HINGE,
    }
)
