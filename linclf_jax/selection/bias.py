"""How biased the score of the best setting is, on the rows that it was chosen on.

The best of S settings is one that is good and that these rows favour, and its own score
counts both. With means ``m_s`` over the N rows and the best setting s*, the number
wanted is ``E[true mean of s* - m_s*]``, which is 0 for a single setting.

The choice is made again on each of B bootstrap samples of the rows, and what it chose
is scored on the rows that the sample left out, about a third, which had no part in it:

    correction = mean_b [ out_b(s_b) - out_b(s*) ]

with ``s_b`` the best of sample b and ``out_b`` a setting's mean over the rows left out.
The first term is the estimate of Tsamardinos, Greasidou and Borboudakis,
"Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation" (2018), which replaced the correction by folds of Tibshirani and
Tibshirani, "A bias correction for the minimum error rate in cross-validation" (2009):
chosen and scored on disjoint rows, it is unbiased. Over all samples the second term has
the mean ``m_s*`` exactly, for rows are left out evenly; sample by sample it takes the
same rows as the first, so that their noise cancels, to 0 where one setting always wins.

A sample holds about 0.63 N distinct rows, and a choice by fewer rows is a little worse:
the estimate errs towards more bias. Scoring each choice on its own sample would
overstate it by 1.4 for equal settings, on all rows understate it by the same.
"""

from typing import Any, NamedTuple

import numpy as np

from linclf_jax.selection import ranking
from linclf_jax.selection.held_out import HeldOut

BLOCK = 2**24  # numbers of a float64 block, of which there are a few at a time


class Estimate(NamedTuple):
    """What the best setting should expect of new rows; plain numbers."""

    best: int  # of the best mean over all rows, the first of equal ones
    correction: float  # to add to its mean score
    error: float  # standard error of that, from the number of resamples alone
    stability: float  # share of the resamples in which the same setting wins
    resamples: int  # that left a row out


def estimate(
    scores: np.ndarray,
    measured: np.ndarray | None = None,
    *,
    lowest: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Estimates how the best setting's mean score changes on rows that chose nothing.

    In expectation the correction is positive for a loss, and negative for an accuracy.
    Memory is that of ``scores`` and a few blocks; time is B N S products.

    Args:
        scores: ``(S, N)``, of any real dtype: each setting's score of each row. The
            mean over the rows decides.
        measured: ``(S, N)``, another score of the same rows, which is to be corrected;
            correctness, say, where the loss decides. ``scores`` themselves if None.
        lowest: Whether the lowest mean is the best.
        resamples: B, at least 2.
        seed: Of the resamples, in ``0..2^32-1``; the same one gives the same bits.

    Raises:
        ValueError: A shape is another, there are fewer than two rows or resamples, or
            a score is not finite.

    >>> right = np.random.default_rng(0).random((50, 200)) < 0.5  # fifty coins
    >>> estimated = estimate(right, lowest=False)
    >>> print(f"{right[estimated.best].mean():.3f} {estimated.correction:.3f}")
    0.605 -0.071
    """
    measured = scores if measured is None else measured
    _check(scores, measured, resamples)
    rows = scores.shape[1]
    sign = 1.0 if lowest else -1.0
    best = int(np.argmin([sign * np.sum(row, dtype=np.float64) for row in scores]))
    stream = np.random.PCG64([seed, 2])  # apart from those of splits and folds
    gaps, same = [], []
    for start in range(0, resamples, step := max(1, BLOCK // rows)):
        count = min(step, resamples - start)
        winners, left_out = _resampled(stream, count, scores, sign)
        usable = left_out.any(axis=1)
        total = _left_out_change(measured, winners, best, left_out)[usable]
        gaps.append(total / np.sum(left_out, axis=1)[usable])
        same.append(winners[usable] == best)
    gap = np.concatenate(gaps)
    return Estimate(
        best,
        float(np.mean(gap)),
        float(np.std(gap, ddof=1) / np.sqrt(len(gap))),
        float(np.mean(np.concatenate(same))),
        len(gap),
    )


def _resampled(
    stream: np.random.PCG64, count: int, scores: np.ndarray, sign: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best setting of each of B samples, and their rows left out (B, N)."""
    rows = scores.shape[1]
    counts = np.empty((count, rows))
    for sample in counts:
        sample[:] = np.bincount(_draw(stream, rows), minlength=rows)
    return _winners(counts, scores, sign), counts == 0


def _left_out_change(
    measured: np.ndarray, winners: np.ndarray, best: int, left_out: np.ndarray
) -> np.ndarray:
    """Returns by how much winners differ from the best on rows left out, summed."""
    change = np.subtract(measured[winners], measured[[best]], dtype=np.float64)
    change[~left_out] = 0.0
    return np.sum(change, axis=1)


def _draw(stream: np.random.PCG64, rows: int) -> np.ndarray:
    """Returns N rows, with replacement; NumPy promises the bits of a raw stream."""
    return (stream.random_raw(rows) % np.uint64(rows)).astype(np.int64)


def _winners(counts: np.ndarray, scores: np.ndarray, sign: float) -> np.ndarray:
    """Returns the best setting of each sample ``(B,)``, the first of equal ones."""
    lowest = np.full(len(counts), np.inf)
    winners = np.zeros(len(counts), np.int64)
    for start in range(0, len(scores), step := max(1, BLOCK // counts.shape[1])):
        block = scores[start : start + step].astype(np.float64)
        totals = sign * (counts @ block.T)
        index = np.argmin(totals, axis=1)
        value = np.take_along_axis(totals, index[:, None], axis=1)[:, 0]
        better = value < lowest
        lowest[better], winners[better] = value[better], start + index[better]
    return winners


def _check(scores: np.ndarray, measured: np.ndarray, resamples: int) -> None:
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] < 2:
        raise ValueError(
            f"scores have shape {scores.shape}; expected (S, N), at least two rows"
        )
    if measured.shape != scores.shape:
        raise ValueError(
            f"measured has shape {measured.shape}; expected {scores.shape}, as scores"
        )
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}; expected at least 2")
    for name, values in (("scores", scores), ("measured", measured)):
        for setting, row in enumerate(values):
            if not np.isfinite(row).all():
                column = int(np.argmin(np.isfinite(row)))
                raise ValueError(
                    f"{name} of setting {setting} is {row[column]} in row {column}; "
                    "expected finite scores"
                )


def of_best(scores: HeldOut, *, metric: str) -> dict[str, Any] | None:
    """Returns what ``selected.json`` says of the bias of the best setting by a metric.

    How much its accuracy falls, and its loss rises, on rows that chose nothing; None
    where there was nothing to choose.
    """
    loss, correct, values = scores.loss, scores.correct, scores.by_metric[metric]
    if values is None:
        raise ValueError(f"metric is {metric!r}; expected calibrated losses with it")
    usable = np.isfinite(loss).all(axis=1)  # a class that a fold had all rows of
    count, size = int(usable.sum()), values.shape[1]
    if count < 2 or size < 2:
        return None
    if count < len(values):
        values, loss, correct = values[usable], loss[usable], correct[usable]
    if metric == "val_accuracy":
        # The estimate takes the first of equal means: here, too, the lower loss.
        order = np.argsort(np.mean(loss, axis=1, dtype=np.float64), kind="stable")
        values, loss, correct = values[order], loss[order], correct[order]
    lowest = ranking.METRICS[metric] > 0
    accuracy = estimate(values, correct, lowest=lowest)
    in_loss = estimate(values, loss, lowest=lowest)
    return {
        "settings": count,
        "rows": size,
        "resamples": accuracy.resamples,
        "stability": accuracy.stability,
        "accuracy": 0.0 - accuracy.correction,
        "accuracy_error": accuracy.error,
        "loss": in_loss.correction,
        "loss_error": in_loss.error,
    }
