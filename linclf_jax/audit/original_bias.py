"""Section 1.3 of the original, the gradient of b: lines S6a to S7.

Read as in ``original_weights``, and ``b_i`` as ``b_j``: a bias for each class. Taken at
its word, ``b_i`` shifts all scores of example i alike and the loss does not depend on
it at all; no line of the section would survive that.
"""

import jax.numpy as jnp

from linclf_jax.audit import statements as st
from linclf_jax.audit.statements import Statement

STATEMENTS = (
    Statement(
        "S6a",
        "1.3 chain rule",
        "∂L_i/∂b_i = ∂L_i/∂P_ij ∂P_ij/∂s_ij ∂s_ij/∂b_i",
        "∂L_i/∂b_k = Σ_j ∂L_i/∂p_ij ∂p_ij/∂s_ik  (8)(11)",
        False,
        st.diagonal_chain,
        st.residual,
        st.autodiff(st.loss, "b"),
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
        lambda e: st.for_each_d(e, st.placed(e, st.targets(e))),
        lambda e: st.with_x(e, st.by_class(e)),
        st.autodiff(st.scores, "W"),
    ),
    Statement(
        "S6c meant",
        "1.3 ∂s/∂b, as meant",
        "∂s_ij/∂W = δ_ij  [∂W read as ∂b_i]",
        "∂s_ij/∂b_k = δ_jk  (11)",
        False,
        lambda e: st.placed(e, st.targets(e)),
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
        st.true_slope,
        st.autodiff(st.true_prob, "b"),
    ),
    Statement(
        "S6f",
        "1.3 ∂P/∂b, third sign",
        "-P_ij²",
        "∂p_{i,y_i}/∂b_j = p_{i,y_i} (t_ij - p_ij)  (7)(11)",
        False,
        lambda e: -(st.printed_probs(e) ** 2),
        st.true_slope,
        st.autodiff(st.true_prob, "b"),
    ),
    Statement(
        "S6f own",
        "1.3 ∂P/∂b, as ∂P_ij/∂b_j",
        "-P_ij²",
        "∂p_ij/∂b_j = p_ij (1 - p_ij)  (7)(11)",
        False,
        lambda e: -(st.printed_probs(e) ** 2),
        lambda e: st.own_column(st.softmax_jacobian(e)),
        lambda e: st.own_column(st.autodiff(st.probs, "b")(e)),
    ),
    Statement(
        "S6g",
        "1.3 ∂L/∂b, first sign",
        "∂L_i/∂b_i = ∂/∂b_i (-ln P_ij)",
        "∂L_i/∂b_j = ∂/∂b_j (-ln p_{i,y_i})  (4)",
        False,
        lambda e: st.own_column(st.autodiff(st.log_loss_of_j, "b")(e)),
        lambda e: st.true_factor(e) * st.true_slope(e),
        st.autodiff(st.loss, "b"),
    ),
    Statement(
        "S6h",
        "1.3 ∂L/∂b, second sign",
        "-(1/P_ij) (-P_ij²)",
        "-(1/p_{i,y_i}) p_{i,y_i} (t_ij - p_ij)  (6)(7)(11)",
        False,
        lambda e: st.printed_factor(e) * -(st.printed_probs(e) ** 2),
        lambda e: st.true_factor(e) * st.true_slope(e),
        st.autodiff(st.loss, "b"),
    ),
    Statement(
        "S7",
        "1.3 eq. (7)",
        "∂L_i/∂b_i = P_ij",
        "∂L_i/∂b = p_i - t_i  (14)",
        False,
        st.printed_probs,
        st.residual,
        st.autodiff(st.loss, "b"),
    ),
)
