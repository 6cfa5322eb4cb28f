"""Gradients as people write them: right in several ways, and wrong in known ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from linclf_jax import gradients, losses
from linclf_jax.audit import reference
from linclf_jax.audit.cases import Case, HostParams

LOSSES = tuple(losses.LOSSES)
SOFTMAX = "softmax_cross_entropy"
SIGMOID = "sigmoid_cross_entropy"
HINGES = ("weston_watkins_hinge", "crammer_singer_hinge")

# Of many small programs that run a few times each, most of the time is compilation.
jit_quickly = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def by_library(loss):
    return functools.partial(_by_library, loss=loss)


@functools.partial(jit_quickly, static_argnames="loss")
def _by_library(params, x, labels, l2, loss):
    return gradients.objective_gradient(params, x, labels, loss=loss, l2=l2)


def _softmax_residual(s, labels):
    r = np.exp(s - s.max(axis=1, keepdims=True))
    r /= r.sum(axis=1, keepdims=True)
    r[np.arange(len(s)), labels] -= 1
    return r


def _sigmoid_residual(s, labels):
    r = np.exp(-np.logaddexp(0, -s)).astype(s.dtype)
    r[np.arange(len(s)), labels] -= 1
    return r


def _hinge_residual(s, labels, *, worst_alone):
    rows = np.arange(len(s))
    gaps = s - s[rows, labels][:, None] + 1
    gaps[rows, labels] = 0
    r = (gaps > 0).astype(s.dtype)
    if worst_alone:
        r *= np.arange(s.shape[1]) == gaps.argmax(axis=1)[:, None]
    r[rows, labels] = -r.sum(axis=1)
    return r


# Every loss once more: its residual in NumPy and its value in JAX.
RESIDUALS = {
    SOFTMAX: _softmax_residual,
    SIGMOID: _sigmoid_residual,
    HINGES[0]: functools.partial(_hinge_residual, worst_alone=False),
    HINGES[1]: functools.partial(_hinge_residual, worst_alone=True),
}
VALUES = {
    SOFTMAX: optax.softmax_cross_entropy_with_integer_labels,
    SIGMOID: lambda s, y: optax.sigmoid_binary_cross_entropy(
        s, jax.nn.one_hot(y, s.shape[1], dtype=s.dtype)
    ).sum(axis=1),
    HINGES[0]: lambda s, y: _gaps(s, y).clip(0).sum(axis=1),
    HINGES[1]: lambda s, y: _gaps(s, y).max(axis=1).clip(0),
}


def _gaps(s, y):
    true = y[:, None] == jnp.arange(s.shape[1])[None, :]
    chosen = jnp.where(true, s, 0).sum(axis=1, keepdims=True)
    return jnp.where(true, -jnp.inf, s - chosen + 1)


def by_numpy(loss):
    def gradient(params, x, labels, l2):
        W, b, x, labels = map(np.asarray, (*params, x, labels))
        r = RESIDUALS[loss](x @ W + b, labels)
        return x.T @ r / len(x) + l2 * W, r.mean(axis=0)

    return gradient


def by_numpy_of_targets(params, x, targets, l2):
    """The gradient of the sigmoid, of targets of which -1 is unknown."""
    W, b, x, targets = map(np.asarray, (*params, x, targets))
    p = np.exp(-np.logaddexp(0, -(x @ W + b))).astype(x.dtype)
    r = np.where(targets < 0, 0, p - targets).astype(x.dtype)
    return x.T @ r / len(x) + l2 * W, r.mean(axis=0)


def by_loop(loss):
    """One example after the other, accumulated."""
    by_row = by_numpy(loss)

    def gradient(params, x, labels, l2):
        W, x, labels = map(np.asarray, (params.W, x, labels))
        dW, db = l2 * W, np.zeros(W.shape[1], W.dtype)
        for i in range(len(x)):
            one_W, one_b = by_row(params, x[i : i + 1], labels[i : i + 1], 0.0)
            dW, db = dW + one_W / len(x), db + one_b / len(x)
        return [dW.astype(x.dtype), db.astype(x.dtype)]

    return gradient


@functools.cache
def by_autodiff_of_optax(loss):
    def objective(params, x, labels, l2):
        scores = x @ params.W + params.b[None, :]
        return VALUES[loss](scores, labels).mean() + l2 / 2 * (params.W**2).sum()

    return jit_quickly(jax.grad(objective))


RIGHT = {
    "library": by_library,
    "numpy": by_numpy,
    "loop": by_loop,
    "autodiff": by_autodiff_of_optax,
}


def planted(fault, loss):
    """A catalogued fault as a researcher's function, in the dtype that it is given."""

    def gradient(params, x, labels, l2):
        W, b, x, labels = map(np.asarray, (*params, x, labels))
        case = Case("", HostParams(W, b), x, labels, l2)
        with np.errstate(all="ignore"):
            return tuple(g.astype(x.dtype) for g in fault(reference.terms(case, loss)))

    return gradient
