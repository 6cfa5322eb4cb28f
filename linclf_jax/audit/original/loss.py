"""Section 1.1 of the original, the loss: equations S1 to S4, line by line."""

import jax
import jax.numpy as jnp

from linclf_jax.audit.original import statements as st
from linclf_jax.audit.original.statements import Example, Statement

# Beyond the largest score whose exponential float32 (88.7) or float64 (709.8) holds.
LARGE_SHIFT = 1000.0


def _far(e: Example) -> Example:
    return e._replace(b=e.b + LARGE_SHIFT)


def _soft(e: Example) -> jax.Array:
    """Returns targets of 0.7 on the label and 0.3 shared by all classes, ``(N, C)``."""
    return 0.7 * st.targets(e) + 0.3 / e.b.size


def _printed_loss(e: Example, targets: jax.Array) -> jax.Array:
    return -jnp.log((targets * st.exps(e)).sum(axis=1) / st.exp_sum(e)[:, 0])


def _cross_entropy(e: Example, targets: jax.Array) -> jax.Array:
    """Returns equation (4) by way of equation (5), ``(N,)``."""
    top = jnp.argmax(st.scores(e), axis=1)[:, None]
    shifted = st.scores(e) - jnp.take_along_axis(st.scores(e), top, axis=1)
    others = jnp.where(top == jnp.arange(e.b.size)[None, :], 0, jnp.exp(shifted))
    log_probs = shifted - jnp.log1p(others.sum(axis=1, keepdims=True))
    return -(targets * log_probs).sum(axis=1)


def _soft_loss(e: Example) -> jax.Array:
    """Returns equation (4) as it stands, ``(N,)``."""
    return -(_soft(e) * jax.nn.log_softmax(st.scores(e), axis=1)).sum(axis=1)


def _targets_by_grad(e: Example) -> jax.Array:
    """Returns ``-dL_i / d log p_ij``: how the loss weighs the log-probabilities."""
    picked = jax.grad(lambda log_probs: st.at_label(e, log_probs).sum())
    return picked(jnp.log(st.probs(e)))


def _probs_by_grad(e: Example) -> jax.Array:
    """Returns ``d logsumexp(s_i) / ds_ij``, which is ``p_ij``, ``(N, C)``."""
    return jax.grad(lambda s: jax.nn.logsumexp(s, axis=1).sum())(st.scores(e))


def _for_every_j(e: Example, values: jax.Array) -> jax.Array:
    return jnp.broadcast_to(values[:, None], st.scores(e).shape)


STATEMENTS = (
    Statement(
        "S1",
        "1.1 eq. (1)",
        "L_i = -log(Σ_j t_ij e^s_ij / Σ_k e^s_ik)",
        "L_i = -Σ_j t_ij log p_ij  (4); t is one-hot",
        True,
        lambda e: _printed_loss(e, st.targets(e)),
        lambda e: _cross_entropy(e, st.targets(e)),
        st.loss,
    ),
    Statement(
        "S1 soft",
        "1.1 eq. (1), soft targets",
        "L_i = -log(Σ_j t_ij e^s_ij / Σ_k e^s_ik)",
        "L_i = -Σ_j t_ij log p_ij  (4)",
        False,
        lambda e: _printed_loss(e, _soft(e)),
        lambda e: _cross_entropy(e, _soft(e)),
        _soft_loss,
    ),
    Statement(
        "S1 large",
        "1.1 eq. (1), scores ~ 1000",
        "L_i = -log(Σ_j t_ij e^s_ij / Σ_k e^s_ik)",
        "log p_ij = s_ij - m_i - log1p(...)  (5)",
        False,
        lambda e: _printed_loss(_far(e), st.targets(e)),
        lambda e: _cross_entropy(_far(e), st.targets(e)),
        lambda e: st.loss(_far(e)),
    ),
    Statement(
        "S1a",
        "1.1, under eq. (1)",
        "log is to base e",
        "e^-L_i = p_{i,y_i}  (4)",
        True,
        lambda e: jnp.exp(-_printed_loss(e, st.targets(e))),
        lambda e: jnp.exp(-_cross_entropy(e, st.targets(e))),
        lambda e: st.at_label(e, _probs_by_grad(e)),
    ),
    Statement(
        "S2",
        "1.1 eq. (2), first sign",
        "t_ij = δ_ij",
        "t_ij = δ_{j, y_i}  (2)",
        False,
        st.kronecker,
        st.targets,
        _targets_by_grad,
    ),
    Statement(
        "S2 cases",
        "1.1 eq. (2), second sign",
        "t_ij = 1 if j = y_i, 0 if j ≠ y_i",
        "t_ij = δ_{j, y_i}  (2)",
        True,
        lambda e: jnp.where(e.labels[:, None] == jnp.arange(e.b.size)[None, :], 1.0, 0),
        st.targets,
        _targets_by_grad,
    ),
    Statement(
        "S3",
        "1.1 eq. (3)",
        "P_ij = e^s_ij / Σ_k e^s_ik",
        "p_ij = e^(s_ij - m_i) / Σ_k e^(s_ik - m_i)  (3)",
        True,
        st.printed_probs,
        st.probs,
        _probs_by_grad,
    ),
    Statement(
        "S3 large",
        "1.1 eq. (3), scores ~ 1000",
        "P_ij = e^s_ij / Σ_k e^s_ik",
        "p_ij = e^(s_ij - m_i) / Σ_k e^(s_ik - m_i)  (3)",
        False,
        lambda e: st.printed_probs(_far(e)),
        lambda e: st.probs(_far(e)),
        lambda e: _probs_by_grad(_far(e)),
    ),
    Statement(
        "S3a",
        "1.1, under eq. (3)",
        "j = y_i for exactly one of the k classes",
        "Σ_j t_ij = 1  (2)",
        True,
        lambda e: jnp.ones_like(e.x[:, 0]),
        lambda e: st.targets(e).sum(axis=1),
        lambda e: _targets_by_grad(e).sum(axis=1),
    ),
    Statement(
        "S3b",
        "1.1, under eq. (3)",
        "the other k-1 terms of (1) can be ignored",
        "Σ_j t_ij log p_ij = log p_{i,y_i}  (4)",
        True,
        lambda e: -jnp.log(st.at_label(e, st.exps(e)) / st.exp_sum(e)[:, 0]),
        lambda e: _cross_entropy(e, st.targets(e)),
        st.loss,
    ),
    Statement(
        "S4",
        "1.1 eq. (4), for every j",
        "L_i = -ln(e^s_ij / Σ_k e^s_ik) = -ln P_ij",
        "L_i = -ln p_{i,y_i}  (4)",
        False,
        lambda e: -jnp.log(st.printed_probs(e)),
        lambda e: _for_every_j(e, _cross_entropy(e, st.targets(e))),
        lambda e: _for_every_j(e, st.loss(e)),
    ),
    Statement(
        "S4 at y",
        "1.1 eq. (4), for j = y_i",
        "L_i = -ln(e^s_ij / Σ_k e^s_ik) = -ln P_ij",
        "L_i = -ln p_{i,y_i}  (4)",
        True,
        lambda e: -jnp.log(st.at_label(e, st.printed_probs(e))),
        lambda e: _cross_entropy(e, st.targets(e)),
        st.loss,
    ),
)
