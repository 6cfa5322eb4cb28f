"""How exact fits of a probe are compared: on rows that they did not see.

A *contest* is one choice of a penalty: of all rows, or of one draw of shots. Its lanes
are the fits that are compared at each penalty. The lanes of all contests share the rows
of a feature set and differ in their weights, so that they are solved together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import losses
from linclf_jax import params as params_lib
from linclf_jax.exact import leave_one_out
from linclf_jax.params import Params
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import held_out as held_out_lib
from linclf_jax.studies.probe_problem import Problem
from linclf_jax.studies.probe_sources import FeatureSet

FOLDS, VALIDATION, LEAVE_ONE_OUT = "folds", "validation", "leave_one_out"
# Of a Hessian of the estimate: a fifth of a second a fit on two cores.
MOST_UNKNOWNS = 2000
DEALT_FOLDS = 5  # at most, of a draw of shots that is too large for the estimate


class Lane(NamedTuple):
    """One fit."""

    contest: int
    fold: int | None  # held out; None where a validation split is, or nothing
    seen: np.ndarray  # (N,) boolean
    unseen: np.ndarray  # (N,) boolean, what it is compared on


class Contest(NamedTuple):
    """One choice of a penalty."""

    shots: int | None
    seed: int | None
    held_out: str | None  # None where a class has one row, which cannot be spared
    rows: np.ndarray  # (N,) boolean, all that it may look at
    unseen: np.ndarray  # (F, N) boolean, held out by each lane; no rows of one alone


class RowScores(NamedTuple):
    """How fits do on each row; float64 NumPy arrays."""

    loss: np.ndarray  # (L, N)
    right: np.ndarray  # (L, N), 0 or 1


class HeldOut(NamedTuple):
    """How a contest of all rows fares with each row that a lane holds out."""

    loss: np.ndarray  # (M,)
    right: np.ndarray  # (M,), 0 or 1
    calibrated: np.ndarray  # (M,), the loss at the best temperature of them all


class Score(NamedTuple):
    """A mean over rows that fits did not see; float64 NumPy arrays."""

    lanes: np.ndarray  # (L,), NaN where it is unknown
    mean: np.ndarray  # (G,), of each contest
    standard_error: np.ndarray  # (G,), of that mean


class Scores(NamedTuple):
    """How the fits of one penalty do out of sample."""

    loss: Score
    accuracy: Score
    loss_calibrated: Score


def arrange(problem: Problem, features: FeatureSet) -> tuple[Contest, ...]:
    """Returns the contests of a feature set.

    Args:
        problem: The protocol and the number of seeds are used.
        features: Its rows are dealt.
    """
    if not problem.protocol.shots:
        unseen = features.fold == np.arange(features.fold.max() + 1)[:, None]
        held_out = VALIDATION if len(unseen) == 1 else FOLDS
        every = np.ones(len(features.labels), bool)
        return (Contest(None, None, held_out, every, unseen),)
    draws = [
        (shots, seed)
        for shots in problem.protocol.shots
        for seed in range(problem.config.seeds)
    ]
    return tuple(
        Contest(shots, seed, *_spared(features, shots, seed, rows))
        for (shots, seed), rows in zip(draws, features.dealt, strict=True)
    )


def lanes(contests: Sequence[Contest]) -> list[Lane]:
    """Returns the fits that are compared, those of a contest side by side.

    Args:
        contests: G contests.
    """
    return [
        Lane(
            number,
            fold if contest.held_out == FOLDS else None,
            contest.rows & ~unseen,
            unseen,
        )
        for number, contest in enumerate(contests)
        for fold, unseen in enumerate(contest.unseen)
    ]


def calibrated(
    params: Params, x: np.ndarray, labels: np.ndarray, contests: Sequence[Contest]
) -> list[np.ndarray]:
    """Returns the losses of held-out rows at the best temperature of each contest.

    Args:
        params: ``W (L, D, C)``, ``b (L, C)``, of ``lanes(contests)``.
        x: ``(N, D)``.
        labels: ``(N,)``.
        contests: G contests.

    Returns:
        ``(N,)`` float64 for each contest, NaN of rows that no lane holds out.
    """
    found, first = [], 0
    for contest in contests:
        rows = contest.unseen.any(axis=0)
        losses_of = np.full(len(labels), np.nan)
        if rows.any():
            own = slice(first, first + len(contest.unseen))
            alone = Params(params.W[own], params.b[own])
            scores = held_out_lib.out_of_fold(
                alone, x[rows], labels[rows], contest.unseen[:, rows]
            )
            losses_of[rows] = scores.calibrated
        found.append(losses_of)
        first += len(contest.unseen)
    return found


def compare(
    values: RowScores,
    calibrated: Sequence[np.ndarray],
    params: Params,
    l2: float,
    x: np.ndarray,
    labels: np.ndarray,
    contests: Sequence[Contest],
) -> Scores:
    """Returns how the fits of one penalty do on rows that they did not see.

    Args:
        values: Of all rows, ``(L, N)`` each.
        calibrated: ``(N,)`` of each contest, from the function of that name.
        params: ``W (L, D, C)``, ``b (L, C)``, of ``lanes(contests)``.
        l2: The penalty.
        x: ``(N, D)``.
        labels: ``(N,)``.
        contests: G contests.
    """
    parts: tuple[list[Score], ...] = ([], [], [])
    first = 0
    for contest, scaled in zip(contests, calibrated, strict=True):
        last = first + len(contest.unseen)
        if contest.held_out == LEAVE_ONE_OUT:
            lane = Params(params.W[first:last], params.b[first:last])
            rows = contest.rows
            found = _left_out(lane, x[rows], labels[rows], l2)
        else:
            alike = np.broadcast_to(scaled, (last - first, len(scaled)))
            each = (*(value[first:last] for value in values), alike)
            found = [_score(value, contest) for value in each]
        for part, score in zip(parts, found, strict=True):
            part.append(score)
        first = last
    return Scores(
        *(Score(*map(np.concatenate, zip(*part, strict=True))) for part in parts)
    )


def held_out(values: RowScores, calibrated: np.ndarray, contest: Contest) -> HeldOut:
    """Returns what a contest of all rows gives to each row that a lane holds out.

    Args:
        values: Of its lanes, ``(F, N)`` each.
        calibrated: ``(N,)``, of the contest.
        contest: With folds or a validation split.

    Returns:
        ``(M,)`` each, of the rows in their order.
    """
    lane = contest.unseen.argmax(axis=0)
    rows = np.flatnonzero(contest.unseen.any(axis=0))
    loss, right = (value[lane[rows], rows] for value in values)
    return HeldOut(loss, right, calibrated[rows])


def row_scores(params: Params, x: np.ndarray, labels: np.ndarray) -> RowScores:
    """Returns the loss of each row in each lane, and whether it is right, float64.

    Args:
        params: ``W (L, D, C)``, ``b (L, C)``.
        x: ``(N, D)``.
        labels: ``(N,)``.

    Returns:
        ``(L, N)`` each.
    """
    with jax.enable_x64(True):
        wide = Params(*(jnp.asarray(array, jnp.float64) for array in params))
        found = _row_scores(wide, jnp.asarray(x, jnp.float64), jnp.asarray(labels))
        loss, right = map(np.asarray, found)
    return RowScores(loss, right.astype(np.float64))


@jax.jit
def _row_scores(
    params: Params, x: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def lane(params: Params) -> tuple[jax.Array, jax.Array]:
        logits = params_lib.logits(params, x, precision="highest")
        right = jnp.argmax(logits, axis=-1) == labels
        return losses.softmax_cross_entropy(logits, labels), right

    return jax.lax.map(lane, params)  # the logits of one lane at a time


def _spared(
    features: FeatureSet, shots: int, seed: int, rows: np.ndarray
) -> tuple[str | None, np.ndarray, np.ndarray]:
    """Returns how the penalty of a draw is chosen from its own rows alone."""
    nothing = np.zeros((1, len(rows)), bool)
    if shots == 1:
        return None, rows, nothing
    rank = min(int(rows.sum()) - 1, features.x.shape[1])
    if (rank + 1) * (features.num_classes - 1) <= MOST_UNKNOWNS:
        return LEAVE_ONE_OUT, rows, nothing
    count = min(shots, DEALT_FOLDS)
    unseen = np.repeat(nothing, count, axis=0)
    unseen[:, rows] = (
        folds_lib.assign(features.labels[rows], count, seed=seed)
        == np.arange(count)[:, None]
    )
    return FOLDS, rows, unseen


def _score(values: np.ndarray, contest: Contest) -> Score:
    if contest.held_out is None:
        return Score(*np.full((3, 1), np.nan))
    each = [value[rows] for value, rows in zip(values, contest.unseen, strict=True)]
    means = np.array([value.mean() for value in each])
    # Folds differ by their fits too; of a single fit the rows alone say how sure it is.
    sample = means if contest.held_out == FOLDS else each[0]
    return Score(means, *held_out_lib.curve(sample[None, :]))


def _left_out(
    lane: Params, x: np.ndarray, labels: np.ndarray, l2: float
) -> tuple[Score, Score, Score]:
    if l2 == 0:
        unknown = Score(*np.full((3, 1), np.nan))
        return unknown, unknown, unknown
    found = leave_one_out.approximate(lane, x, labels, np.array([l2]))
    share = found.accuracy
    spread = np.sqrt(share * (1 - share) / (len(labels) - 1))
    every = np.ones(len(labels), bool)
    _, scaled = held_out_lib.calibrated(found.logits[0], labels, found.losses[0], every)
    mean, error = held_out_lib.curve(scaled[None])
    return (
        Score(found.loss, found.loss, found.standard_error),
        Score(share, share, spread),
        Score(mean, mean, error),
    )
