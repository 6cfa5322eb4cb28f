"""How well each lane predicts a row that it was not trained on, from one solution.

Leaving a row out moves the optimum by little, so that one Newton step goes there. The
Hessian without a row differs by low rank from that with all rows: one factorisation
serves all N steps. Section 13 of ``docs/derivation.md`` derives it. It is the choice of
l2 for few shots, where there are no rows to spare for validation.

Rahnama Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via
approximate leave-one-out cross-validation", 2020.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import losses as losses_lib
from linclf_jax.exact import left_out
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import targets as targets_lib
from linclf_jax.exact.problem import Problem
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


_Predictions = tuple[np.ndarray, np.ndarray, np.ndarray]  # the last three of these


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
    stay: ``l2 sum_i w_i`` is that of all rows, as with a fixed C of scikit-learn. The
    arithmetic is float64 whether or not the process has 64-bit types on.

    A row of weight 0 is out of sample as it is: its loss is the plain one, and no part
    of the mean. Where its features are not finite, or its label is no class, the loss
    is NaN, and the row not right. The only row of its class has an infinite loss: by
    the fit without it its class is absent. A lane is NaN where its Hessian is singular
    in float64, which takes l2 = 0, or its parameters are not finite.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``: the root of their gap enters.
        x: Features ``(N, D)``.
        labels: ``(N,)`` integers, or soft targets ``(N, C)``, of which the largest is
            the class that counts as right.
        weights: ``(N,)``, ``(L, N)`` or None; l2 is ``(L,)``.
        counted: ``(N,)`` boolean, rows that the means are of; all if None. The others
            take part in the fits.
        max_bytes: Of memory for one lane, which come one after the other. With
            ``M = (min(N - 1, D) + 1) (C - 1)`` unknowns a lane takes 3 arrays
            ``(M, M)`` and 4 arrays ``(N, C, C)``, and ``2.3 M^3 + 2 N M^2`` operations.

    Raises:
        ValueError: An argument has another shape or holds impossible values, or a lane
            does not fit in ``max_bytes``.
    """
    l2 = problem_lib.checked_l2(l2)
    x = np.asarray(x).view(np.ndarray)  # a memory map is read as a whole
    with jax.enable_x64(True):
        problem, (W, b) = problem_lib.prepare_with(params, x, labels, l2, weights)
        _, rows, features, _ = problem.shape
        require_memory(rows, features, b.shape[1], max_bytes)
        whole = _rows(problem)
        b = jnp.where(whole.present, b, -jnp.inf)
        predictions = _predict(whole, Params(W, b), jnp.asarray(l2))
        used = problem_lib.rows_with_weight(weights, np.asarray(x), len(l2))
        sample_weights = np.asarray(whole.sample_weights)
        if counted is not None and not counted[used].all():
            sample_weights = np.where(counted[used], sample_weights, 0.0)
            sample_weights /= sample_weights.sum(axis=1, keepdims=True)
        estimate = _summary(predictions, sample_weights)
        if used.all():
            return estimate
        losses, right, logits = _predict_unused(Params(params.W, b), x, labels, used)
        for array, own in zip((losses, right, logits), predictions, strict=True):
            array[:, used] = own
        return estimate._replace(losses=losses, right=right, logits=logits)


def require_memory(
    rows: int, features: int, classes: int, max_bytes: int = MAX_BYTES
) -> None:
    """Refuses a problem whose estimate takes too much memory for one lane."""
    unknowns = (min(rows - 1, features) + 1) * (classes - 1)
    needed = 8 * (3 * unknowns**2 + 4 * rows * classes**2)
    if needed > max_bytes:
        raise ValueError(
            f"the Hessian of {unknowns} unknowns, for {rows} rows, {features} features "
            f"and {classes} classes, needs {needed / 2**30:.1f} GiB; expected at most "
            f"the {max_bytes / 2**30:.1f} GiB of max_bytes"
        )


def _summary(predictions: _Predictions, sample_weights: np.ndarray) -> Estimate:
    """Returns the weighted means, and the error of the loss."""
    values, right, logits = predictions
    counted = sample_weights != 0.0
    loss = np.sum(sample_weights * np.where(counted, values, 0.0), axis=1)
    correct = np.where(np.isnan(values), np.nan, right)
    accuracy = np.sum(sample_weights * np.where(counted, correct, 0.0), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.where(counted, values - loss[:, None], 0.0)
        squares = np.sum((sample_weights * deviations) ** 2, axis=1)
        # With equal weights this is the variance over n - 1, divided by n.
        error = np.sqrt(squares / (1.0 - np.sum(sample_weights**2, axis=1)))
    return Estimate(loss, error, accuracy, values, right, logits)


def _predict_unused(
    params: Params, x: ArrayLike, labels: ArrayLike, used: np.ndarray
) -> _Predictions:
    """Returns predictions of rows of weight 0 in all lanes by the fits as they are.

    The loss is NaN and the row not right where its features are not finite, its label
    is no class, or the row is ``used`` in some lane.
    """
    W, b = (np.asarray(array, np.float64) for array in params)
    finite = np.all(np.isfinite(np.asarray(x)), axis=1)
    features = np.where(finite[:, None], x, np.nan).astype(np.float64)
    logits = features @ W + b[:, None]
    rows = finite & ~used & targets_lib.valid(labels, b.shape[1])
    values, right = np.full(logits.shape[:2], np.nan), np.zeros(logits.shape[:2], bool)
    if rows.any():
        targets = targets_lib.prepare(labels, rows, b.shape[1])
        scores = logits[:, rows]
        values[:, rows] = losses_lib.softmax_cross_entropy_with_targets(
            jnp.asarray(scores), jnp.broadcast_to(targets.dense(), scores.shape)
        )
        right[:, rows] = scores.argmax(axis=2) == targets.labels
    return values, right, logits


def _rows(problem: Problem) -> left_out.Rows:
    (block,) = problem.blocks
    _, rows, features, classes = problem.shape
    weights = np.moveaxis(np.asarray(block.sample_weights), 1, 0)
    if block.targets is None:
        targets = np.eye(classes)[np.asarray(block.labels).ravel()]
    else:
        targets = np.moveaxis(np.asarray(block.targets)[:, 0], 1, 2)
    return left_out.Rows(
        jnp.asarray(block.x.reshape(-1, features)[:rows], jnp.float64),
        jnp.asarray(targets.reshape(-1, classes)[:rows]),
        jnp.asarray(weights.reshape(len(weights), -1)[:, :rows]),
        problem.lanes.present,
    )


def _predict(problem: left_out.Rows, params: Params, l2: jax.Array) -> _Predictions:
    """Returns the predictions of all lanes; an absent class has a bias of -infinity."""
    lanes = zip(*params, l2, problem.sample_weights, problem.present, strict=True)
    x, row_spaces, predictions = np.asarray(problem.x), {}, []
    # One after the other: a lane's Hessian may fill the memory.
    for lane in (left_out.Lane(*arrays) for arrays in lanes):
        used = ~(np.asarray(lane.sample_weights) <= 0.0)
        key = used.tobytes()
        if key not in row_spaces:  # one at a time is kept, for lanes that follow
            row_spaces = {key: jnp.asarray(left_out.row_space(x, used))}
        arrays = left_out.predict(problem, row_spaces[key], lane)
        predictions.append(jax.tree.map(np.asarray, arrays))
    losses, right, logits = map(np.stack, zip(*predictions, strict=True))
    return losses, right, logits
