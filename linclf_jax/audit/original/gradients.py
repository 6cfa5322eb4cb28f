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
    terms = st.targets(e) * st.exps(e) - st.exps(e) * st.exps(e)
    return st.outer(e, terms / st.exp_sum(e) ** 2)


def _second_line(e: Example) -> jax.Array:
    bracket = st.targets(e) * st.exp_sum(e) - st.exps(e)
    return st.outer(e, st.exps(e) / st.exp_sum(e) * bracket / st.exp_sum(e))


def _one_vector(e: Example) -> jax.Array:
    """Returns the vector ``(P_ij - 1) x_i`` for j = y_i, as if it were all of dW."""
    value = st.at_label(e, st.printed_probs(e))[:, None] - 1
    return st.outer(e, jnp.broadcast_to(value, st.scores(e).shape))


# What several lines state: as corrected, and by autodiff.
_LOSS_BY_W = (lambda e: st.outer(e, st.residual(e)), st.autodiff(st.loss, "W"))
_LOSS_BY_B = (st.residual, st.autodiff(st.loss, "b"))
_FACTORS_BY_W = (lambda e: st.outer(e, st.true_product(e)), st.autodiff(st.loss, "W"))
_FACTORS_BY_B = (st.true_product, st.autodiff(st.loss, "b"))
_TRUE_PROB_BY_W = (
    lambda e: st.outer(e, st.true_slope(e)),
    st.autodiff(st.true_prob, "W"),
)
_TRUE_PROB_BY_B = (st.true_slope, st.autodiff(st.true_prob, "b"))
_TRUE_SLOPE = "∂p_{i,y_i}/∂w_j = p_{i,y_i} (t_ij - p_ij) x_i  (7)(10)"


STATEMENTS = (
    Statement(
        "S4a",
        "1.2 chain rule",
        "∂L_i/∂W = ∂L_i/∂P_ij ∂P_ij/∂s_ij ∂s_ij/∂W",
        "∂L_i/∂W = Σ_j Σ_k ∂L_i/∂p_ij ∂p_ij/∂s_ik ∂s_ik/∂W  (8)(10)",
        False,
        lambda e: st.outer(e, st.diagonal_chain(e)),
        *_LOSS_BY_W,
    ),
    Statement(
        "S4b",
        "1.2, above eq. (5)",
        "f(x_i, W) = s_ij  [no b: ∂f/∂b = 0]",
        "s_ij = f_j(x_i, W, b), ∂s_ij/∂b_k = δ_jk  (1)(11)",
        False,
        lambda e: jnp.zeros_like(st.by_class(e)),
        st.by_class,
        st.autodiff(st.scores, "b"),
    ),
    Statement(
        "S5",
        "1.2 eq. (5)",
        "s_ij = W x_i + b_i",
        "s_ij = Σ_d x_id W_dj + b_j  (1)",
        False,
        lambda e: e.x @ e.W + e.b[:, None],
        lambda e: jnp.einsum("id,dj->ij", e.x, e.W) + e.b[None, :],
        st.scores,
    ),
    Statement(
        "S5a",
        "1.2, under eq. (5)",
        "∂s_ij/∂W is nonzero when j = y_i, zero everywhere else",
        "∂s_ij/∂W is nonzero for every j  (10)",
        False,
        st.targets,
        lambda e: jnp.ones_like(st.scores(e)),
        lambda e: st.depends(st.autodiff(st.scores, "W")(e)),
    ),
    Statement(
        "S5b",
        "1.2 ∂s/∂W",
        "∂s_ij/∂W = δ_ij x_i",
        "∂s_ij/∂w_k = δ_jk x_i  (10)",
        False,
        lambda e: st.with_x(e, st.in_column(e, st.targets(e))),
        lambda e: st.with_x(e, st.by_class(e)),
        st.autodiff(st.scores, "W"),
    ),
    Statement(
        "S5c",
        "1.2 ∂P/∂W, first sign",
        "∂P_ij/∂W = ∂/∂W (e^s_ij / Σ_k e^s_ik)",
        "∂p_ij/∂w_k = p_ij (δ_jk - p_ik) x_i  (7)(10)",
        True,
        st.autodiff(st.printed_probs, "W"),
        lambda e: st.with_x(e, st.softmax_jacobian(e)),
        st.autodiff(st.probs, "W"),
    ),
    Statement(
        "S5d",
        "1.2 ∂P/∂W, line 1",
        "(δ_ij x_i e^s_ij - e^s_ij x_i e^s_ij) / (Σ_k e^s_ik)²",
        _TRUE_SLOPE,
        False,
        _first_line,
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5e",
        "1.2 ∂P/∂W, line 2",
        "(e^s_ij/Σ_k e^s_ik)(δ_ij x_i Σ_k e^s_ik - x_i e^s_ij)/Σ_k e^s_ik",
        _TRUE_SLOPE,
        False,
        _second_line,
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5f",
        "1.2 ∂P/∂W, line 3",
        "P_ij (δ_ij x_i - P_ij x_i)",
        _TRUE_SLOPE,
        False,
        lambda e: (
            st.printed_probs(e)[:, None, :]
            * (st.outer(e, st.targets(e)) - st.outer(e, st.printed_probs(e)))
        ),
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5g",
        "1.2 ∂P/∂W, line 4",
        "P_ij x_i (δ_ij - P_ij)",
        _TRUE_SLOPE,
        False,
        lambda e: st.outer(e, st.printed_slope(e)),
        *_TRUE_PROB_BY_W,
    ),
    Statement(
        "S5g own",
        "1.2 line 4, as ∂P_ij/∂w_j",
        "P_ij x_i (δ_ij - P_ij)",
        "∂p_ij/∂w_j = p_ij (1 - p_ij) x_i  (7)(10)",
        False,
        lambda e: st.outer(e, st.printed_slope(e)),
        lambda e: st.outer(e, st.matching_column(st.softmax_jacobian(e))),
        lambda e: st.matching_column(st.autodiff(st.probs, "W")(e)),
    ),
    Statement(
        "S5h",
        "1.2 ∂L/∂W, first sign",
        "∂L_i/∂W = ∂/∂W (-ln P_ij)",
        "∂L_i/∂W = ∂/∂W (-ln p_{i,y_i})  (4)",
        False,
        lambda e: st.matching_column(st.autodiff(st.log_loss_of_j, "W")(e)),
        *_FACTORS_BY_W,
    ),
    Statement(
        "S5i",
        "1.2 ∂L/∂W, second sign",
        "-(1/P_ij) P_ij x_i (δ_ij - P_ij)",
        "-(1/p_{i,y_i}) p_{i,y_i} (t_ij - p_ij) x_i  (6)(7)(10)",
        True,
        lambda e: st.outer(e, st.printed_factor(e) * st.printed_slope(e)),
        *_FACTORS_BY_W,
    ),
    Statement(
        "S6",
        "1.2 eq. (6), by columns",
        "∂L_i/∂W = (P_ij - δ_ij) x_i",
        "∂L_i/∂W = x_i (p_i - t_i)ᵀ  (13)",
        True,
        lambda e: st.outer(e, st.printed_probs(e) - st.targets(e)),
        *_LOSS_BY_W,
    ),
    Statement(
        "S6 shape",
        "1.2 eq. (6), as one vector",
        "∂L_i/∂W = (P_ij - δ_ij) x_i",
        "∂L_i/∂W = x_i (p_i - t_i)ᵀ  (13)",
        False,
        _one_vector,
        *_LOSS_BY_W,
    ),
    Statement(
        "S6a",
        "1.3 chain rule",
        "∂L_i/∂b_i = ∂L_i/∂P_ij ∂P_ij/∂s_ij ∂s_ij/∂b_i",
        "∂L_i/∂b_k = Σ_j ∂L_i/∂p_ij ∂p_ij/∂s_ik  (8)(11)",
        False,
        st.diagonal_chain,
        *_LOSS_BY_B,
    ),
    Statement(
        "S6b",
        "1.3, under the chain rule",
        "∂s_ij/∂b_i is nonzero when j = y_i, zero everywhere else",
        "∂s_ij/∂b is nonzero for every j  (11)",
        False,
        st.targets,
        lambda e: jnp.ones_like(st.scores(e)),
        lambda e: st.depends(st.autodiff(st.scores, "b")(e)),
    ),
    Statement(
        "S6c",
        "1.3 ∂s/∂b, as labelled",
        "∂s_ij/∂W = δ_ij",
        "∂s_ij/∂w_k = δ_jk x_i  (10)",
        False,
        lambda e: st.for_each_d(e, st.in_column(e, st.targets(e))),
        lambda e: st.with_x(e, st.by_class(e)),
        st.autodiff(st.scores, "W"),
    ),
    Statement(
        "S6c meant",
        "1.3 ∂s/∂b, as meant",
        "∂s_ij/∂W = δ_ij  [∂W read as ∂b_i]",
        "∂s_ij/∂b_k = δ_jk  (11)",
        False,
        lambda e: st.in_column(e, st.targets(e)),
        st.by_class,
        st.autodiff(st.scores, "b"),
    ),
    Statement(
        "S6d",
        "1.3 ∂P/∂b, first sign",
        "∂P_ij/∂b_i = ∂/∂W (e^s_ij / Σ_k e^s_ik)",
        "∂p_ij/∂b_k = ∂/∂b_k (e^s_ij / Σ_k e^s_ik)  (7)(11)",
        False,
        st.autodiff(st.printed_probs, "W"),
        lambda e: st.for_each_d(e, st.softmax_jacobian(e)),
        lambda e: st.for_each_d(e, st.autodiff(st.probs, "b")(e)),
    ),
    Statement(
        "S6e",
        "1.3 ∂P/∂b, second sign",
        "-e^s_ij e^s_ij / (Σ_k e^s_ik)²",
        "∂p_{i,y_i}/∂b_j = p_{i,y_i} (t_ij - p_ij)  (7)(11)",
        False,
        lambda e: -st.exps(e) * st.exps(e) / st.exp_sum(e) ** 2,
        *_TRUE_PROB_BY_B,
    ),
    Statement(
        "S6f",
        "1.3 ∂P/∂b, third sign",
        "-P_ij²",
        "∂p_{i,y_i}/∂b_j = p_{i,y_i} (t_ij - p_ij)  (7)(11)",
        False,
        lambda e: -(st.printed_probs(e) ** 2),
        *_TRUE_PROB_BY_B,
    ),
    Statement(
        "S6f own",
        "1.3 ∂P/∂b, as ∂P_ij/∂b_j",
        "-P_ij²",
        "∂p_ij/∂b_j = p_ij (1 - p_ij)  (7)(11)",
        False,
        lambda e: -(st.printed_probs(e) ** 2),
        lambda e: st.matching_column(st.softmax_jacobian(e)),
        lambda e: st.matching_column(st.autodiff(st.probs, "b")(e)),
    ),
    Statement(
        "S6g",
        "1.3 ∂L/∂b, first sign",
        "∂L_i/∂b_i = ∂/∂b_i (-ln P_ij)",
        "∂L_i/∂b_j = ∂/∂b_j (-ln p_{i,y_i})  (4)",
        False,
        lambda e: st.matching_column(st.autodiff(st.log_loss_of_j, "b")(e)),
        *_FACTORS_BY_B,
    ),
    Statement(
        "S6h",
        "1.3 ∂L/∂b, second sign",
        "-(1/P_ij) (-P_ij²)",
        "-(1/p_{i,y_i}) p_{i,y_i} (t_ij - p_ij)  (6)(7)(11)",
        False,
        lambda e: st.printed_factor(e) * -(st.printed_probs(e) ** 2),
        *_FACTORS_BY_B,
    ),
    Statement(
        "S7",
        "1.3 eq. (7)",
        "∂L_i/∂b_i = P_ij",
        "∂L_i/∂b = p_i - t_i  (14)",
        False,
        st.printed_probs,
        *_LOSS_BY_B,
    ),
)
