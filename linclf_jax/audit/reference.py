"""The right gradient of a case: by autodiff, by central differences, and by hand.

Autodiff runs in JAX, on ``losses.objective``. Central differences run in NumPy, on an
objective written again from equation (17), so that the two share nothing. The terms of
the gradient by hand, also in NumPy, are what the known faults are made of, and say how
much rounding a right gradient may show.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import classes, losses
from linclf_jax.audit import cases
from linclf_jax.audit.cases import Case, HostParams
from linclf_jax.params import Params


class Terms(NamedTuple):
    """What the gradient of a case is put together from, in float64 on the host."""

    x: np.ndarray  # (N, D)
    W: np.ndarray  # (D, C)
    b: np.ndarray  # (C,)
    labels: np.ndarray  # (N,), or targets (N, C)
    l2: float
    loss: str
    s: np.ndarray  # scores (N, C)
    t: np.ndarray  # targets (N, C), 0 where unknown
    known: np.ndarray  # which count (N, C), all of one-hot ones
    r: np.ndarray  # d loss_i / d scores_i (N, C)

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.x)

    @property
    def p(self) -> np.ndarray:
        """Softmax probabilities, ``(N, C)``, whatever the loss."""
        return softmax(self.s)


class Problem(NamedTuple):
    """A case, the terms of its gradient, and that gradient in two other ways."""

    case: Case
    terms: Terms
    autodiff: HostParams
    differences: HostParams


def problem(case: Case, loss: str) -> Problem:
    """Returns a case with its right gradient."""
    by_hand, automatic = terms(case, loss), autodiff(case, loss)
    return Problem(case, by_hand, automatic, central_differences(case, loss))


def require_smooth(problem: Problem) -> None:
    """Refuses a case at a kink, where autodiff and differences need not agree."""
    allowed = rounding(problem.terms, "float64")
    truncation = differences_error(problem.terms)
    for part, automatic, differences, rounded in zip(
        HostParams._fields, problem.autodiff, problem.differences, allowed, strict=True
    ):
        gap = np.abs(automatic - differences)
        if (gap > rounded + truncation).any():
            raise ValueError(
                f"case {problem.case.name!r}: autodiff and central differences are "
                f"apart by {gap.max():.3g} in d{part}; expected a case that lies at no "
                "kink of the loss: move b a little"
            )


def terms(case: Case, loss: str) -> Terms:
    """Returns the terms of one case."""
    W, b = case.params
    s = scores(case.x, W, b)
    t, known = targets(case)
    r = np.where(known, RESIDUALS[loss](s, t), 0.0)
    return Terms(case.x, W, b, case.labels, case.l2, loss, s, t, known, r)


def scores(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns equation (1), ``(N, C)``."""
    return x @ W + b[None, :]


def targets(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Returns targets, 0 where unknown, and which are known, ``(N, C)``."""
    if case.has_targets:
        known = case.labels != classes.UNKNOWN
        return np.where(known, case.labels, 0).astype(np.float64), known
    t = one_hot(case.labels, case.params.b.size)
    return t, np.ones_like(t, bool)


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns equation (2), ``(N, C)``."""
    return np.eye(num_classes)[labels]


def softmax(s: np.ndarray) -> np.ndarray:
    """Returns equation (3), ``(N, C)``."""
    exps = np.exp(s - s.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def sigmoid(s: np.ndarray) -> np.ndarray:
    """Returns equation (35), ``(N, C)``."""
    return np.exp(-np.logaddexp(0, -s))


def margins(s: np.ndarray, t: np.ndarray, margin: float = 1.0) -> np.ndarray:
    """Returns ``s_ij - s_{i,y_i} + margin``; minus infinity for the true class."""
    values = s - (s * t).sum(axis=1, keepdims=True) + margin
    return np.where(t == 1, -np.inf, values)


def softmax_residual(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Returns equation (8), ``(N, C)``."""
    return softmax(s) - t


def sigmoid_residual(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Returns equation (37), ``(N, C)``."""
    return sigmoid(s) - t


def sum_hinge_residual(s: np.ndarray, t: np.ndarray, margin: float = 1.0) -> np.ndarray:
    """Returns equation (25), ``(N, C)``."""
    return against_true_class((margins(s, t, margin) > 0).astype(float), t)


def max_hinge_residual(s: np.ndarray, t: np.ndarray, margin: float = 1.0) -> np.ndarray:
    """Returns equation (27), ``(N, C)``."""
    gaps = margins(s, t, margin)
    worst = one_hot(gaps.argmax(axis=1), s.shape[1])
    return against_true_class(worst * (gaps > 0), t)


def softmax_loss(s: np.ndarray, t: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Returns equation (4) as ``log sum_j e^(s_ij - s_{i,y_i})``, ``(N,)``."""
    return np.logaddexp.reduce(s - (s * t).sum(axis=1, keepdims=True), axis=1)


def sigmoid_loss(s: np.ndarray, t: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns equation (36), each term as ``log(1 + e^(+-s))``, ``(N,)``."""
    return np.logaddexp(0, np.where(t == 1, -s, s)).sum(axis=1, where=known)


def against_true_class(wrong: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Sets the true class to minus the sum of the wrong ones, ``(N, C)``."""
    return wrong - t * wrong.sum(axis=1, keepdims=True)


def sum_hinge_loss(s: np.ndarray, t: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Returns equation (24), ``(N,)``."""
    return np.maximum(margins(s, t), 0).sum(axis=1)


def max_hinge_loss(s: np.ndarray, t: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Returns equation (26), ``(N,)``."""
    return np.maximum(margins(s, t), 0).max(axis=1)


VALUES = {
    "softmax_cross_entropy": softmax_loss,
    "weston_watkins_hinge": sum_hinge_loss,
    "crammer_singer_hinge": max_hinge_loss,
    "sigmoid_cross_entropy": sigmoid_loss,
}
RESIDUALS = {
    "softmax_cross_entropy": softmax_residual,
    "weston_watkins_hinge": sum_hinge_residual,
    "crammer_singer_hinge": max_hinge_residual,
    "sigmoid_cross_entropy": sigmoid_residual,
}
# Of the losses whose residual is a probability less its target.
PROBABILITIES = {
    "softmax_cross_entropy": softmax,
    "sigmoid_cross_entropy": sigmoid,
}


def gradient(
    c: Terms, r: np.ndarray | None = None, *, penalty: np.ndarray | None = None
) -> HostParams:
    """Returns equations (18) and (19), or what they become with a term replaced."""
    r = np.where(c.known, c.r if r is None else r, 0)
    penalty = c.l2 * c.W if penalty is None else penalty
    return HostParams(c.x.T @ r / len(c.x) + penalty, r.sum(axis=0) / len(c.x))


def autodiff(case: Case, loss: str) -> HostParams:
    """Returns ``jax.grad`` of ``losses.objective`` in float64, on the host.

    Scoped: ``jax_enable_x64`` is what it was when this returns.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        W, b, x, labels = map(jnp.asarray, (*case.params, case.x, case.labels))
        gradient = _autodiff(Params(W, b), x, labels, loss=loss, l2=case.l2)
        return HostParams(*map(np.asarray, gradient))


_autodiff = jax.jit(jax.grad(losses.objective), static_argnames="loss")


def central_differences(case: Case, loss: str) -> HostParams:
    """Returns ``(J(u + h) - J(u - h)) / 2h`` for every coordinate u of W and b."""

    def slopes(field: str) -> np.ndarray:
        value = getattr(case.params, field)
        slopes = np.empty(value.shape)
        for index in np.ndindex(value.shape):
            ends = []
            for step in (cases.STEP, -cases.STEP):
                moved = value.copy()
                moved[index] += step
                params = case.params._replace(**{field: moved})
                ends.append(objective(params, case, loss))
            slopes[index] = (ends[0] - ends[1]) / (2 * cases.STEP)
        return slopes

    return HostParams(slopes("W"), slopes("b"))


def objective(params: HostParams, case: Case, loss: str) -> float:
    """Returns equation (17) for the features, labels and penalty of ``case``."""
    s = scores(case.x, params.W, params.b)
    values = VALUES[loss](s, *targets(case))
    return float(np.mean(values) + case.l2 / 2 * np.sum(params.W**2))


def rounding(c: Terms, dtype: str) -> HostParams:
    """Returns how far each coordinate of a right gradient may be off in ``dtype``.

    Eight ulp times the square root of the length of the sums, of the size of what is
    summed. Of probabilities that is ``|x| (p + t)``, not ``|x| |p - t|``: whoever
    subtracts t rounds at the size of 1. An error of the scores is a relative one of p.
    """
    info = np.finfo(dtype)
    if c.loss in PROBABILITIES:
        size = (PROBABILITIES[c.loss](c.s) + c.t) * (1 + _score_size(c))[:, None]
    else:
        size = np.abs(c.r)
    positive = c._replace(x=np.abs(c.x), W=np.abs(c.W))
    # What underflows is lost whatever its size.
    W, b = gradient(positive, size + float(info.tiny) / float(info.eps))
    ulps = 8 * float(info.eps) * np.sqrt(len(c.x) + sum(c.W.shape))
    return HostParams(ulps * W, ulps * b)


def differences_error(c: Terms) -> float:
    """Returns how far a central difference may be off: truncation and rounding."""
    truncation = cases.STEP**2 * np.abs(c.x).max() ** 3
    # At W = 0 the penalty is zero, but not where the differences are taken.
    penalty = c.l2 / 2 * np.sum((np.abs(c.W) + cases.STEP) ** 2)
    value = 1 + _score_size(c).max() + penalty
    return truncation + 4 * np.finfo(np.float64).eps * value / cases.STEP


def _score_size(c: Terms) -> np.ndarray:
    """Returns the largest sum of magnitudes that a score of each row is, ``(N,)``."""
    return (np.abs(c.x) @ np.abs(c.W) + np.abs(c.b)[None, :]).max(axis=1)
