"""Section 1.1 of the original, the loss: equations S1 to S4, line by line."""

import jax
import jax.numpy as jnp

from linclf_jax.audit.original.statements import Example, Statement

# Beyond the largest score whose exponential float32 (88.7) or float64 (709.8) holds.
LARGE_SHIFT = 1000.0


def _far(e: Example) -> Example:
    return e._replace(b=e.b + LARGE_SHIFT)


def _soft(e: Example) -> jax.Array:
    """Returns targets of 0.7 on the label and 0.3 shared by all classes, ``(N, C)``."""
    return 0.7 * e.t + 0.3 / e.b.size


def _printed_loss(e: Example, targets: jax.Array) -> jax.Array:
    return -jnp.log((targets * e.exps).sum(axis=1) / e.exp_sum[:, 0])


def _cross_entropy(e: Example, targets: jax.Array) -> jax.Array:
    """Returns equation (4) by way of equation (5), ``(N,)``."""
    top = jnp.argmax(e.s, axis=1)[:, None]
    shifted = e.s - jnp.take_along_axis(e.s, top, axis=1)
    others = jnp.where(top == jnp.arange(e.b.size)[None, :], 0, jnp.exp(shifted))
    log_probs = shifted - jnp.log1p(others.sum(axis=1, keepdims=True))
    return -(targets * log_probs).sum(axis=1)


def _soft_loss(e: Example) -> jax.Array:
    """Returns equation (4) as it stands, ``(N,)``."""
    return -(_soft(e) * jax.nn.log_softmax(e.s, axis=1)).sum(axis=1)


def _targets_by_grad(e: Example) -> jax.Array:
    """Returns ``-dL_i / d log p_ij``: how the loss weighs the log-probabilities."""
    return jax.grad(lambda log_probs: e.at_label(log_probs).sum())(jnp.log(e.p))


def _probs_by_grad(e: Example) -> jax.Array:
    """Returns ``d logsumexp(s_i) / ds_ij``, which is ``p_ij``, ``(N, C)``."""
    return jax.grad(lambda s: jax.nn.logsumexp(s, axis=1).sum())(e.s)


def _for_every_j(e: Example, values: jax.Array) -> jax.Array:
    return jnp.broadcast_to(values[:, None], e.s.shape)


# What several lines state: as corrected, and by autodiff.
_LOSS = (lambda e: _cross_entropy(e, e.t), lambda e: e.loss)
_TARGETS = ("t_ij = δ_{j, y_i}  (2)", lambda e: e.t, _targets_by_grad)


STATEMENTS = (
    Statement(
        "S1",
        "1.1 eq. (1)",
        "L_i = -log(Σ_j t_ij e^s_ij / Σ_k e^s_ik)",
        lambda e: _printed_loss(e, e.t),
        "L_i = -Σ_j t_ij log p_ij  (4); t is one-hot",
        *_LOSS,
        holds=True,
    ),
    Statement(
        "S1 soft",
        "1.1 eq. (1), soft targets",
        "L_i = -log(Σ_j t_ij e^s_ij / Σ_k e^s_ik)",
        lambda e: _printed_loss(e, _soft(e)),
        "L_i = -Σ_j t_ij log p_ij  (4)",
        lambda e: _cross_entropy(e, _soft(e)),
        _soft_loss,
    ),
    Statement(
        "S1 large",
        "1.1 eq. (1), scores ~ 1000",
        "L_i = -log(Σ_j t_ij e^s_ij / Σ_k e^s_ik)",
        lambda e: _printed_loss(_far(e), e.t),
        "log p_ij = s_ij - m_i - log1p(...)  (5)",
        lambda e: _cross_entropy(_far(e), e.t),
        lambda e: _far(e).loss,
    ),
    Statement(
        "S1a",
        "1.1, under eq. (1)",
        "log is to base e",
        lambda e: jnp.exp(-_printed_loss(e, e.t)),
        "e^-L_i = p_{i,y_i}  (4)",
        lambda e: jnp.exp(-_cross_entropy(e, e.t)),
        lambda e: e.at_label(_probs_by_grad(e)),
        holds=True,
    ),
    Statement(
        "S2",
        "1.1 eq. (2), first sign",
        "t_ij = δ_ij",
        lambda e: e.kronecker,
        *_TARGETS,
    ),
    Statement(
        "S2 cases",
        "1.1 eq. (2), second sign",
        "t_ij = 1 if j = y_i, 0 if j ≠ y_i",
        lambda e: jnp.where(e.labels[:, None] == jnp.arange(e.b.size)[None, :], 1.0, 0),
        *_TARGETS,
        holds=True,
    ),
    Statement(
        "S3",
        "1.1 eq. (3)",
        "P_ij = e^s_ij / Σ_k e^s_ik",
        lambda e: e.printed_p,
        "p_ij = e^(s_ij - m_i) / Σ_k e^(s_ik - m_i)  (3)",
        lambda e: e.p,
        _probs_by_grad,
        holds=True,
    ),
    Statement(
        "S3 large",
        "1.1 eq. (3), scores ~ 1000",
        "P_ij = e^s_ij / Σ_k e^s_ik",
        lambda e: _far(e).printed_p,
        "p_ij = e^(s_ij - m_i) / Σ_k e^(s_ik - m_i)  (3)",
        lambda e: _far(e).p,
        lambda e: _probs_by_grad(_far(e)),
    ),
    Statement(
        "S3a",
        "1.1, under eq. (3)",
        "j = y_i for exactly one of the k classes",
        lambda e: jnp.ones_like(e.x[:, 0]),
        "Σ_j t_ij = 1  (2)",
        lambda e: e.t.sum(axis=1),
        lambda e: _targets_by_grad(e).sum(axis=1),
        holds=True,
    ),
    Statement(
        "S3b",
        "1.1, under eq. (3)",
        "the other k-1 terms of (1) can be ignored",
        lambda e: -jnp.log(e.at_label(e.exps) / e.exp_sum[:, 0]),
        "Σ_j t_ij log p_ij = log p_{i,y_i}  (4)",
        *_LOSS,
        holds=True,
    ),
    Statement(
        "S4",
        "1.1 eq. (4), for every j",
        "L_i = -ln(e^s_ij / Σ_k e^s_ik) = -ln P_ij",
        lambda e: e.loss_of_j,
        "L_i = -ln p_{i,y_i}  (4)",
        lambda e: _for_every_j(e, _cross_entropy(e, e.t)),
        lambda e: _for_every_j(e, e.loss),
    ),
    Statement(
        "S4 at y",
        "1.1 eq. (4), for j = y_i",
        "L_i = -ln(e^s_ij / Σ_k e^s_ik) = -ln P_ij",
        lambda e: -jnp.log(e.at_label(e.printed_p)),
        "L_i = -ln p_{i,y_i}  (4)",
        *_LOSS,
        holds=True,
    ),
)
