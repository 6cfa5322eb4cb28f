"""How well each lane predicts a row that it was not trained on, from one solution.

Leaving a row out moves the optimum by little, so that one Newton step goes there, and
the Hessian without the row differs by low rank from that with all rows: one
factorisation serves all N steps. Section 13 of ``docs/derivation.md`` derives it. It
is the choice of l2 for few shots, where there is nothing to spare for validation.

Rahnama Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via
approximate leave-one-out cross-validation", 2020.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import linalg
from jax.typing import ArrayLike

from linclf_jax import curvature, losses
from linclf_jax.exact import bias, unweighted
from linclf_jax.exact import problem as problem_lib
from linclf_jax.params import Params

MAX_BYTES = 8 * 2**30  # 18,000 unknowns, if the rows are few


class Estimate(NamedTuple):
    """What each lane does out of sample; float64 NumPy arrays."""

    loss: np.ndarray  # (L,) mean over the rows, with their weights
    standard_error: np.ndarray  # (L,) of that mean
    accuracy: np.ndarray  # (L,)
    losses: np.ndarray  # (L, N)
    right: np.ndarray  # (L, N) boolean
    logits: np.ndarray  # (L, N, C), of each row by the classifier without it


class Lane(NamedTuple):
    """A classifier, and what its rows weigh."""

    W: jax.Array  # (C, D)
    b: jax.Array  # (C,), minus infinity for a class that is absent
    l2: jax.Array  # ()
    shares: jax.Array  # (N,)
    present: jax.Array  # (C,) boolean


def approximate(
    params: Params,
    x: ArrayLike,
    labels: ArrayLike,
    l2: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    counted: np.ndarray | None = None,
    max_bytes: int = MAX_BYTES,
) -> Estimate:
    """Estimates the leave-one-out loss of every lane without fitting one anew.

    Each row is predicted by the classifier one Newton step away, equation (30), on the
    objective without that row. The penalty keeps its strength against the rows that
    stay: ``l2 sum_i w_i`` is that of all rows, as with a fixed C of scikit-learn.

    A row of weight 0 is out of sample as it is: its loss is the plain one, and no part
    of the mean. Where its features are not finite, or its label is no class, the loss
    is NaN, and the row not right. The only row of its class has an infinite loss:
    without it nothing holds the bias of the class, so that the refitted probability is
    0. A lane is NaN where its Hessian is singular in float64, which takes l2 = 0, or
    its parameters are not finite.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``, at their optimum: what is missing to
            it enters as the square root of the gap.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers, or soft targets ``(N, C)``, of which the largest is
            the class that counts as right.
        l2: ``(L,)``.
        weights: ``(N,)``, ``(L, N)`` or None.
        counted: ``(N,)`` boolean, rows that the means are of; all if None. The others
            take part in the fits.
        max_bytes: Of memory for one lane, which come one after the other. With
            ``M = (min(N - 1, D) + 1) (C - 1)`` unknowns a lane takes 3 arrays
            ``(M, M)`` and 4 arrays ``(N, C, C)``, and ``2.3 M^3 + 2 N M^2`` operations.

    Returns:
        The estimate, computed in float64 whether or not the process has 64-bit types
        on.

    Raises:
        ValueError: An argument has another shape or holds impossible values, or a lane
            does not fit in ``max_bytes``.
    """
    l2 = problem_lib.checked_l2(l2)
    if np.ndim(params.b) != 2:
        raise ValueError(
            f"b has shape {np.shape(params.b)}; expected (L, C), lanes in front"
        )
    with jax.enable_x64(True):
        num_classes = np.shape(params.b)[1]
        problem = problem_lib.prepare(
            x, labels, num_lanes=len(l2), weights=weights, num_classes=num_classes
        )
        lanes = _lanes(problem, params, l2)
        num_rows, num_features = problem.x.shape
        require_memory(num_rows, num_features, lanes.b.shape[1], max_bytes)
        x_float64, spaces = np.asarray(problem.x), {}
        found = []
        # One after the other: a lane's Hessian may fill the memory.
        for lane in (Lane(*lane) for lane in zip(*lanes, strict=True)):
            own = ~(np.asarray(lane.shares) <= 0.0)
            if own.tobytes() not in spaces:
                spaces = {own.tobytes(): jnp.asarray(_row_space(x_float64, own))}
            features = spaces[own.tobytes()]
            found.append(jax.tree.map(np.asarray, _predict(problem, features, lane)))
        values, correct, logits = map(np.stack, zip(*found, strict=True))
        weighing = problem_lib.weighing(weights, np.asarray(x), len(l2))
        shares = np.asarray(problem.shares)
        if counted is not None and not counted[weighing].all():
            shares = np.where(counted[weighing], shares, 0.0)
            shares /= shares.sum(axis=1, keepdims=True)
        estimate = _summary(values, correct, logits, shares)
        if weighing.all():
            return estimate
        own = Params(params.W, lanes.b)
        every = unweighted.scores(own, x, labels, ~weighing)
        for whole, name in zip(every, ("losses", "right", "logits"), strict=True):
            whole[:, weighing] = getattr(estimate, name)
        return estimate._replace(losses=every[0], right=every[1], logits=every[2])


def _lanes(problem: problem_lib.Problem, params: Params, l2: np.ndarray) -> Lane:
    """Returns all lanes, stacked."""
    lanes, classes = problem.present.shape
    shape = (lanes, problem.x.shape[1], classes)
    W, b = problem_lib.checked_params(params, shape)
    b = jnp.where(problem.present, b, -jnp.inf)
    return Lane(W, b, jnp.asarray(l2), problem.shares, problem.present)


def require_memory(
    rows: int, features: int, classes: int, max_bytes: int = MAX_BYTES
) -> None:
    """Refuses a problem whose estimate takes too much memory.

    Args:
        rows: N.
        features: D.
        classes: C.
        max_bytes: Of memory for one lane.

    Raises:
        ValueError: It takes more; with what it takes.
    """
    unknowns = (min(rows - 1, features) + 1) * (classes - 1)
    needed = 8 * (3 * unknowns**2 + 4 * rows * classes**2)
    if needed > max_bytes:
        raise ValueError(
            f"the Hessian of {unknowns} unknowns, for {rows} rows, {features} features "
            f"and {classes} classes, needs {needed / 2**30:.1f} GiB; expected at most "
            f"the {max_bytes / 2**30:.1f} GiB of max_bytes"
        )


def _row_space(x: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Returns the rows in a basis of what they span around their mean, and a one.

    The bias is not penalised, so that it takes up the mean; directions in which no row
    has a component change no score. Constant and duplicate columns disappear.

    Args:
        x: ``(N, D)``.
        counted: ``(N,)`` boolean, rows that have a share; the others are 0.

    Returns:
        ``(N, R + 1)``, R at most the smaller of N - 1 and D.
    """
    own = x[counted]
    left, sizes, _ = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)
    kept = sizes > sizes[0] * max(own.shape) * np.finfo(np.float64).eps
    rows = np.zeros((len(x), int(kept.sum()) + 1))
    rows[counted] = np.concatenate(
        [left[:, kept] * sizes[kept], np.ones((len(own), 1))], axis=1
    )
    return rows


@jax.jit
def _predict(
    problem: problem_lib.Problem, features: jax.Array, lane: Lane
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns loss, correctness and scores of rows, by the classifier without each."""
    targets = problem.targets.T
    scores = _left_out(problem, features, lane)
    values = losses.softmax_cross_entropy_with_targets(scores, targets)
    correct = jnp.argmax(scores, axis=1) == jnp.argmax(targets, axis=1)
    # The step is finite where the optimum without the row is not.
    counts = (targets > 0.0) & (lane.shares > 0.0)[:, None]
    alone = jnp.any(counts & (jnp.sum(counts, axis=0) == 1)[None], axis=1)
    values = jnp.where(alone & ~jnp.isnan(values), jnp.inf, values)
    return values, correct & ~alone & ~jnp.isnan(values), scores


def _left_out(
    problem: problem_lib.Problem, features: jax.Array, lane: Lane
) -> jax.Array:
    """Returns the scores of each row after the step without it, (30), ``(N, C)``."""
    logits = problem.x @ lane.W.T + lane.b[None]
    if len(lane.b) == 1:
        return logits  # a single class is always right, and has no contrasts
    basis = _contrasts(lane.present)
    probs = jax.nn.softmax(logits).T[None]
    residual = bias.residuals(problem, probs)[0][0].T @ basis
    jacobian = curvature.softmax_jacobian(logits)
    jacobian = jnp.einsum("ck,ncj,jl->nkl", basis, jacobian, basis)
    inverse = _inverse_hessian(features, lane, jacobian, basis)
    own = _leverages(features, inverse) * lane.shares[:, None, None]
    back = jnp.einsum("njk,nk->nj", own, residual)
    matrix = jnp.eye(basis.shape[1])[None] - own @ jacobian
    change = jnp.linalg.solve(matrix, back[:, :, None])[:, :, 0]
    return logits + change @ basis.T


def _contrasts(present: jax.Array) -> jax.Array:
    """Returns an orthonormal basis of scores without common shift, ``(C, C - 1)``.

    The shift is that of the classes that are present. It is one column of a Householder
    reflection, whose others are orthogonal to it; those of absent classes are units.
    """
    shift = present / jnp.sqrt(jnp.sum(present))
    first = jnp.argmax(present)
    normal = shift.at[first].add(1.0)
    reflection = 2.0 * jnp.outer(normal, normal) / jnp.sum(normal**2)
    others = (first + jnp.arange(1, len(present))) % len(present)
    return (jnp.eye(len(present)) - reflection)[:, others]


def _inverse_hessian(
    features: jax.Array, lane: Lane, jacobian: jax.Array, basis: jax.Array
) -> jax.Array:
    """Returns the inverse in the bases of classes and rows, ``(K, R + 1, K, R + 1)``.

    Written out, because every row needs all of it: N triangular solutions with K
    columns each would take N / R times as long.
    """
    num_classes, size = basis.shape[1], features.shape[1]
    penalty = jnp.diag(lane.l2 * (jnp.arange(size) < size - 1))
    # An absent class has no curvature, and no part in the rest: any will do.
    absent = basis.T @ (basis * ~lane.present[:, None])

    def block(pair: jax.Array) -> jax.Array:
        j, k = pair
        weighted = features * (lane.shares * jacobian[:, j, k])[:, None]
        moments = weighted.T @ features
        return moments + (j == k) * penalty + absent[j, k] * jnp.eye(size)

    # The factorisation reads the lower triangle alone.
    j, k = np.tril_indices(num_classes)
    blocks = jax.lax.map(block, (j, k))
    hessian = jnp.zeros((num_classes, size, num_classes, size))
    hessian = hessian.at[j, :, k, :].set(blocks)
    hessian = hessian.reshape(num_classes * size, num_classes * size)
    factor = jnp.linalg.cholesky(hessian, symmetrize_input=False)
    inverse = linalg.cho_solve((factor, True), jnp.eye(num_classes * size))
    return inverse.reshape(num_classes, size, num_classes, size)


def _leverages(features: jax.Array, inverse: jax.Array) -> jax.Array:
    """Returns ``X_i^T H^-1 X_i`` of every row, (29), as products of matrices."""

    def form(pair: jax.Array) -> jax.Array:
        j, k = pair
        return jnp.sum((features @ inverse[j, :, k, :]) * features, axis=1)

    num_classes = len(inverse)
    j, k = np.tril_indices(num_classes)
    forms = jax.lax.map(form, (j, k)).T
    leverages = jnp.zeros((len(features), num_classes, num_classes))
    return leverages.at[:, j, k].set(forms).at[:, k, j].set(forms)


def _summary(
    values: np.ndarray, correct: np.ndarray, logits: np.ndarray, shares: np.ndarray
) -> Estimate:
    counted = shares != 0.0
    loss = np.sum(shares * np.where(counted, values, 0.0), axis=1)
    right = np.where(np.isnan(values), np.nan, correct)
    accuracy = np.sum(shares * np.where(counted, right, 0.0), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.where(counted, values - loss[:, None], 0.0)
        squares = np.sum((shares * deviations) ** 2, axis=1)
        # n / (n - 1) for equal shares.
        error = np.sqrt(squares / (1.0 - np.sum(shares**2, axis=1)))
    return Estimate(loss, error, accuracy, values, correct, logits)
