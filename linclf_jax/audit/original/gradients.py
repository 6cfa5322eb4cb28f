"""Sections 1.2 and 1.3 of the original, the gradients of W and b: lines S4a to S7.

The original writes "with respect to W" and one index j for everything. Its lines are
read as kindly as their symbols allow: the derivative is the one that its equation (6)
needs, of the true class's probability with respect to column j of W, and ``delta_ij``
is the target ``t_ij``. Where another reading suggests itself, it has a row of its own.

Section 1.3 is read likewise, and its ``b_i`` as ``b_j``: a bias for each class. Taken
at its word, ``b_i`` shifts all scores of example i alike and the loss does not depend
on it at all; no line of the section would survive that.
"""

import jax
import jax.numpy as jnp

from linclf_jax.audit.original import statements as st
from linclf_jax.audit.original.statements import Example, Statement


def _first_line(e: Example) -> jax.Array:
    return e.outer((e.t * e.exps - e.exps * e.exps) / e.exp_sum**2)


def _second_line(e: Example) -> jax.Array:
    bracket = e.t * e.exp_sum - e.exps
    return e.outer(e.exps / e.exp_sum * bracket / e.exp_sum)


def _third_line(e: Example) -> jax.Array:
    return e.printed_p[:, None, :] * (e.outer(e.t) - e.outer(e.printed_p))


def _one_vector(e: Example) -> jax.Array:
    """Returns the vector ``(P_ij - 1) x_i`` for j = y_i, as if it were all of dW."""
    value = e.at_label(e.printed_p)[:, None] - 1
    return e.outer(jnp.broadcast_to(value, e.s.shape))


# What several lines state: as corrected, and by autodiff.
_LOSS_BY_W = (lambda e: e.outer(e.residual), st.derivative("loss", "W"))
_LOSS_BY_B = (lambda e: e.residual, st.derivative("loss", "b"))
_FACTORS_BY_W = (lambda e: e.outer(e.true_product), st.derivative("loss", "W"))
_FACTORS_BY_B = (lambda e: e.true_product, st.derivative("loss", "b"))
_TRUE_PROB_BY_W = (
    "∂p_{i,y_i}/∂w_j = p_{i,y_i} (t_ij - p_ij) x_i  (7)(10)",
    lambda e: e.outer(e.true_slope),
    st.derivative("true_p", "W"),
)
_TRUE_PROB_BY_B = (
    "∂p_{i,y_i}/∂b_j = p_{i,y_i} (t_ij - p_ij)  (7)(11)",
    lambda e: e.true_slope,
    st.derivative("true_p", "b"),
)
_SCORES_BY_W = (
    "∂s_ij/∂w_k = δ_jk x_i  (10)",
    lambda e: e.with_x(e.by_class),
    st.derivative("s", "W"),
)


STATEMENTS = (
    Statement(
        "S4a",
        "1.2 chain rule",
        "∂L_i/∂W = ∂L_i/∂P_ij ∂P_ij/∂s_ij ∂s_ij/∂W",
        lambda e: e.outer(e.diagonal_chain),
        "∂L_i/∂W = Σ_j Σ_k ∂L_i/∂p_ij ∂p_ij/∂s_ik ∂s_ik/∂W  (8)(10)",
        *_LOSS_BY_W,
    ),
    Statement(
        "S4b",
        "1.2, above eq. (5)",
        "f(x_i, W) = s_ij  [no b: ∂f/∂b = 0]",
        lambda e: jnp.zeros_like(e.by_class),
        "s_ij = f_j(x_i, W, b), ∂s_ij/∂b_k = δ_jk  (1)(11)",
        lambda e: e.by_class,
        st.derivative("s", "b"),
    ),
    Statement(
        "S5",
        "1.2 eq. (5)",
        "s_ij = W x_i + b_i",
        lambda e: e.x @ e.W + e.b[:, None],
        "s_ij = Σ_d x_id W_dj + b_j  (1)",
        lambda e: jnp.einsum("id,dj->ij", e.x, e.W) + e.b[None, :],
        lambda e: e.s,
    ),
    Statement(
        "S5a",
        "1.2, under eq. (5)",
        "∂s_ij/∂W is nonzero when j = y_i, zero everywhere else",
        lambda e: e.t,
        "∂s_ij/∂W is nonzero for every j  (10)",
        lambda e: jnp.ones_like(e.s),
        lambda e: st.depends(st.derivative("s", "W")(e)),
    ),
    Statement(
        "S5b",
        "1.2 ∂s/∂W",
        "∂s_ij/∂W = δ_ij x_i",
        lambda e: e.with_x(e.in_column(e.t)),
        *_SCORES_BY_W,
    ),
    Statement(
        "S5c",
        "1.2 ∂P/∂W, first sign",
        "∂P_ij/∂W = ∂/∂W (e^s_ij / Σ_k e^s_ik)",
        st.derivative("printed_p", "W"),
        "∂p_ij/∂w_k = p_ij (δ_jk - p_ik) x_i  (7)(10)",
        lambda e: e.with_x(e.softmax_jacobian),
        st.derivative("p", "W"),
        holds=True,
    ),
    Statement(
        "S5d",
        "1.2 ∂P/∂W, line 1",
        "(δ_ij x_i e^s_ij - e^s_ij x_i e^s_ij) / (Σ_k e^s_ik)²",
        _first_line,
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5e",
        "1.2 ∂P/∂W, line 2",
        "(e^s_ij/Σ_k e^s_ik)(δ_ij x_i Σ_k e^s_ik - x_i e^s_ij)/Σ_k e^s_ik",
        _second_line,
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5f",
        "1.2 ∂P/∂W, line 3",
        "P_ij (δ_ij x_i - P_ij x_i)",
        _third_line,
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5g",
        "1.2 ∂P/∂W, line 4",
        "P_ij x_i (δ_ij - P_ij)",
        lambda e: e.outer(e.printed_slope),
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5g own",
        "1.2 line 4, as ∂P_ij/∂w_j",
        "P_ij x_i (δ_ij - P_ij)",
        lambda e: e.outer(e.printed_slope),
        "∂p_ij/∂w_j = p_ij (1 - p_ij) x_i  (7)(10)",
        lambda e: e.outer(st.own_column(e.softmax_jacobian)),
        lambda e: st.own_column(st.derivative("p", "W")(e)),
    ),
    Statement(
        "S5h",
        "1.2 ∂L/∂W, first sign",
        "∂L_i/∂W = ∂/∂W (-ln P_ij)",
        lambda e: st.own_column(st.derivative("loss_of_j", "W")(e)),
        "∂L_i/∂W = ∂/∂W (-ln p_{i,y_i})  (4)",
        *_FACTORS_BY_W,
    ),
    Statement(
        "S5i",
        "1.2 ∂L/∂W, second sign",
        "-(1/P_ij) P_ij x_i (δ_ij - P_ij)",
        lambda e: e.outer(e.printed_factor * e.printed_slope),
        "-(1/p_{i,y_i}) p_{i,y_i} (t_ij - p_ij) x_i  (6)(7)(10)",
        *_FACTORS_BY_W,
        holds=True,
    ),
    Statement(
        "S6",
        "1.2 eq. (6), by columns",
        "∂L_i/∂W = (P_ij - δ_ij) x_i",
        lambda e: e.outer(e.printed_p - e.t),
        "∂L_i/∂W = x_i (p_i - t_i)ᵀ  (13)",
        *_LOSS_BY_W,
        holds=True,
    ),
    Statement(
        "S6 shape",
        "1.2 eq. (6), as one vector",
        "∂L_i/∂W = (P_ij - δ_ij) x_i",
        _one_vector,
        "∂L_i/∂W = x_i (p_i - t_i)ᵀ  (13)",
        *_LOSS_BY_W,
    ),
    Statement(
        "S6a",
        "1.3 chain rule",
        "∂L_i/∂b_i = ∂L_i/∂P_ij ∂P_ij/∂s_ij ∂s_ij/∂b_i",
        lambda e: e.diagonal_chain,
        "∂L_i/∂b_k = Σ_j ∂L_i/∂p_ij ∂p_ij/∂s_ik  (8)(11)",
        *_LOSS_BY_B,
    ),
    Statement(
        "S6b",
        "1.3, under the chain rule",
        "∂s_ij/∂b_i is nonzero when j = y_i, zero everywhere else",
        lambda e: e.t,
        "∂s_ij/∂b is nonzero for every j  (11)",
        lambda e: jnp.ones_like(e.s),
        lambda e: st.depends(st.derivative("s", "b")(e)),
    ),
    Statement(
        "S6c",
        "1.3 ∂s/∂b, as labelled",
        "∂s_ij/∂W = δ_ij",
        lambda e: e.for_each_d(e.in_column(e.t)),
        *_SCORES_BY_W,
    ),
    Statement(
        "S6c meant",
        "1.3 ∂s/∂b, as meant",
        "∂s_ij/∂W = δ_ij  [∂W read as ∂b_i]",
        lambda e: e.in_column(e.t),
        "∂s_ij/∂b_k = δ_jk  (11)",
        lambda e: e.by_class,
        st.derivative("s", "b"),
    ),
    Statement(
        "S6d",
        "1.3 ∂P/∂b, first sign",
        "∂P_ij/∂b_i = ∂/∂W (e^s_ij / Σ_k e^s_ik)",
        st.derivative("printed_p", "W"),
        "∂p_ij/∂b_k = ∂/∂b_k (e^s_ij / Σ_k e^s_ik)  (7)(11)",
        lambda e: e.for_each_d(e.softmax_jacobian),
        lambda e: e.for_each_d(st.derivative("p", "b")(e)),
    ),
    Statement(
        "S6e",
        "1.3 ∂P/∂b, second sign",
        "-e^s_ij e^s_ij / (Σ_k e^s_ik)²",
        lambda e: -e.exps * e.exps / e.exp_sum**2,
        *_TRUE_PROB_BY_B,
    ),
    Statement(
        "S6f",
        "1.3 ∂P/∂b, third sign",
        "-P_ij²",
        lambda e: -(e.printed_p**2),
        *_TRUE_PROB_BY_B,
    ),
    Statement(
        "S6f own",
        "1.3 ∂P/∂b, as ∂P_ij/∂b_j",
        "-P_ij²",
        lambda e: -(e.printed_p**2),
        "∂p_ij/∂b_j = p_ij (1 - p_ij)  (7)(11)",
        lambda e: st.own_column(e.softmax_jacobian),
        lambda e: st.own_column(st.derivative("p", "b")(e)),
    ),
    Statement(
        "S6g",
        "1.3 ∂L/∂b, first sign",
        "∂L_i/∂b_i = ∂/∂b_i (-ln P_ij)",
        lambda e: st.own_column(st.derivative("loss_of_j", "b")(e)),
        "∂L_i/∂b_j = ∂/∂b_j (-ln p_{i,y_i})  (4)",
        *_FACTORS_BY_B,
    ),
    Statement(
        "S6h",
        "1.3 ∂L/∂b, second sign",
        "-(1/P_ij) (-P_ij²)",
        lambda e: e.printed_factor * -(e.printed_p**2),
        "-(1/p_{i,y_i}) p_{i,y_i} (t_ij - p_ij)  (6)(7)(11)",
        *_FACTORS_BY_B,
    ),
    Statement(
        "S7",
        "1.3 eq. (7)",
        "∂L_i/∂b_i = P_ij",
        lambda e: e.printed_p,
        "∂L_i/∂b = p_i - t_i  (14)",
        *_LOSS_BY_B,
    ),
)
