"""Softmax regression by the book, in float64 NumPy: the optimum that others must reach.

Newton's method on the full Hessian, one problem at a time, sharing nothing with the
package. Every solution is proved by a lower bound of the minimum that comes from the
definition of the dual problem, not from a gradient.
"""

from typing import NamedTuple

import numpy as np

ACCURACY = 1e-14  # of the objective, and of 1: what a solution may be off by


class Solution(NamedTuple):
    """Parameters and the objective there."""

    W: np.ndarray  # (D, C)
    b: np.ndarray  # (C,)
    objective: float


def solve(x, labels, l2, weights=None, *, start=0.0) -> Solution:
    """Returns the optimum; every class must have some weight.

    l2 may be 0, and it may be one penalty for each feature: then nothing is proved.
    """
    columns = np.hstack([x, np.ones((len(x), 1))])
    targets = one_hot(labels, np.max(labels) + 1)
    penalty = np.append(np.zeros(x.shape[1]) + l2, 0.0)
    theta = _newton(columns, targets, _shares(weights, len(x)), penalty, start=start)
    W, b = theta[:-1], theta[-1]
    value = objective(W, b, x, targets, l2, weights)
    if np.ndim(l2) == 0 and l2 > 0:
        missing = value - lower_bound(W, b, x, targets, l2, weights)
        assert missing <= ACCURACY * (1 + value), f"the reference is off by {missing}"
    return Solution(W, b, value)


def objective(W, b, x, labels, l2, weights=None) -> float:
    """Returns the objective of one classifier, ``W (D, C)`` and ``b (C,)``."""
    W, b, x = (np.asarray(array, np.float64) for array in (W, b, x))
    targets = one_hot(labels, len(b))
    loss = _loss(x @ W + b, targets, _shares(weights, len(x)))
    return float(loss + 0.5 * np.sum(l2 * np.sum(W**2, axis=1)))


def lower_bound(W, b, x, labels, l2, weights=None) -> float:
    """Returns a lower bound of the minimum, best where the parameters are.

    Probabilities whose residuals ``r_i = s_i (p_i - t_i)`` sum to 0 are feasible in
    the dual problem; its objective is their mean entropy ``- ||X^T r||^2 / (2 l2)``.
    """
    W, x = np.asarray(W, np.float64), np.asarray(x, np.float64)
    targets, shares = one_hot(labels, len(b)), _shares(weights, len(x))
    ones = np.ones((len(x), 1))
    b = _newton(ones, targets, shares, np.zeros(1), start=b, offset=x @ W)
    log_probs = log_softmax(x @ W + b)
    probs = np.exp(log_probs)
    fitted = x.T @ (shares[:, None] * (probs - targets))
    entropy = -np.sum(shares @ (probs * log_probs))
    return float(entropy - np.sum(fitted**2) / (2 * l2))


def one_hot(labels, num_classes):
    """Returns ``(N, C)`` targets; soft ones stay as they are."""
    labels = np.asarray(labels)
    return labels if labels.ndim == 2 else np.eye(num_classes)[labels]


def log_softmax(logits):
    """Returns logarithms of probabilities, accurate where one of them is nearly 1."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    others = np.sort(np.exp(shifted), axis=1)[:, :-1]
    return shifted - np.log1p(others.sum(axis=1, keepdims=True))


def _shares(weights, num_rows):
    weights = np.ones(num_rows) if weights is None else np.asarray(weights, np.float64)
    return weights / weights.sum()


def _loss(logits, targets, shares):
    return shares @ -np.sum(targets * log_softmax(logits), axis=1)


def _newton(columns, targets, shares, penalty, *, start=0.0, offset=0.0):
    """Minimises over parameters ``(P, C)``, with a penalty for each of the columns."""

    def value(theta):
        loss = _loss(columns @ theta + offset, targets, shares)
        return loss + 0.5 * np.sum(penalty[:, None] * theta**2)

    theta = np.zeros((len(penalty), targets.shape[1])) + start
    for _ in range(200):
        probs = np.exp(log_softmax(columns @ theta + offset))
        residual = shares[:, None] * (probs - targets)
        gradient = columns.T @ residual + penalty[:, None] * theta
        hessian = _hessian(columns, probs, shares, penalty)
        step = -np.linalg.solve(hessian, gradient.ravel()).reshape(theta.shape)
        slope, size, here = np.sum(gradient * step), 1.0, value(theta)
        if -slope <= 1e-12 * here:
            # No decrease could be seen from here; convergence is quadratic.
            theta = theta + step
            if -slope <= 1e-17 * here:
                break
            continue
        while value(theta + size * step) > here + 1e-4 * size * slope:
            size *= 0.5
        theta = theta + size * step
    return theta


def _hessian(columns, probs, shares, penalty):
    """Returns the Hessian, and curvature for what is added to all classes alike."""
    classes = np.eye(probs.shape[1])
    jacobian = probs[:, :, None] * (classes - probs[:, None, :])
    scaled = columns[:, :, None, None] * (shares[:, None, None] * jacobian)[:, None]
    hessian = np.tensordot(scaled, columns, axes=(0, 0)).transpose(0, 1, 3, 2)
    hessian += np.einsum("pq,ck->pcqk", np.diag(penalty), classes)
    common = np.diag(np.mean(columns**2, axis=0))
    hessian += np.einsum("pq,ck->pcqk", common, np.ones_like(classes))
    return hessian.reshape([classes.shape[0] * len(penalty)] * 2)
