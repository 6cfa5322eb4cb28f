"""How well each lane predicts a row that it was not trained on, from one solution.

Leaving a row out moves the optimum by little, so that one Newton step goes there: see
``left_out``. It is the choice of l2 for few shots, where there are no rows to spare for
validation.

Rahnama Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via
approximate leave-one-out cross-validation", 2020.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linclf_jax import losses
from linclf_jax.exact import left_out
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import targets as targets_lib
from linclf_jax.exact.left_out import Predictions
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
    is NaN, and the row not right. The only row of its class has an infinite loss:
    without it nothing holds the bias of the class, so that the refitted probability is
    0. A lane is NaN where its Hessian is singular in float64, which takes l2 = 0, or
    its parameters are not finite.

    Args:
        params: ``W (L, D, C)`` and ``b (L, C)``, at their optimum: their distance from
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

    Raises:
        ValueError: An argument has another shape or holds impossible values, or a lane
            does not fit in ``max_bytes``.
    """
    l2 = problem_lib.checked_l2(l2)
    with jax.enable_x64(True):
        problem, (W, b) = problem_lib.prepare_with(params, x, labels, l2, weights)
        require_memory(*problem.x.shape, b.shape[1], max_bytes)
        b = jnp.where(problem.present, b, -jnp.inf)
        predictions = left_out.predict(problem, Params(W, b), jnp.asarray(l2))
        used = problem_lib.rows_with_weight(weights, np.asarray(x), len(l2))
        sample_weights = np.asarray(problem.sample_weights)
        if counted is not None and not counted[used].all():
            sample_weights = np.where(counted[used], sample_weights, 0.0)
            sample_weights /= sample_weights.sum(axis=1, keepdims=True)
        estimate = _summary(predictions, sample_weights)
        if used.all():
            return estimate
        all_rows = _predict_unused(Params(params.W, b), x, labels, used)
        for name, array in all_rows._asdict().items():
            array[:, used] = getattr(predictions, name)
        return estimate._replace(**all_rows._asdict())


def require_memory(
    rows: int, features: int, classes: int, max_bytes: int = MAX_BYTES
) -> None:
    """Refuses a problem whose estimate takes too much memory for one lane.

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


def _summary(predictions: Predictions, sample_weights: np.ndarray) -> Estimate:
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
) -> Predictions:
    """Returns predictions of rows of weight 0 in all lanes by the fits as they are.

    The loss is NaN and the row not right where its features are not finite, its label
    is no class, or the row is ``used``: has weight in some lane.
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
        values[:, rows] = losses.softmax_cross_entropy_with_targets(
            jnp.asarray(scores), jnp.broadcast_to(targets, scores.shape)
        )
        right[:, rows] = scores.argmax(axis=2) == targets.argmax(axis=1)
    return Predictions(values, right, logits)
