"""The fits of a probe that come after the choice of a penalty: those that are tested.

Fits that were compared on folds or a validation split are solved once more at the
chosen penalty, for the scores that they give to rows they did not see. The classifier
that is tested is fitted to all rows of its contest.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import metrics, regularization
from linclf_jax import params as params_lib
from linclf_jax.exact import leave_one_out, newton, status
from linclf_jax.exact.status import Info
from linclf_jax.params import Params
from linclf_jax.runs import formats
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.studies import probe_scores, validated
from linclf_jax.studies.probe_problem import Fit, Problem
from linclf_jax.studies.probe_scores import Contest, HeldOut, Lane, RowScores, Scores

Rows = list[dict[str, Any]]


class Table(NamedTuple):
    """What fits see: the rows of a feature set that some contest looks at."""

    x: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,)
    num_classes: int
    contests: tuple[Contest, ...]  # G


class Path(NamedTuple):
    """What is known of each penalty, the largest first."""

    l2: np.ndarray  # (K,)
    scores: Scores  # (K, L) and (K, G) each
    info: Info  # (K, L) each
    held_out: HeldOut | None  # (K, M) each, of a contest of all rows


class Chosen(NamedTuple):
    """The penalty of one contest."""

    l2: float
    place: int | None  # in the path; None where nothing could be compared
    reason: str
    ties: tuple[float, ...] = ()  # other penalties with exactly the best score


def solve(
    problem: Problem, table: Table, path: Path, chosen: Sequence[Chosen], before: int
) -> tuple[Rows, tuple[Fit, ...]]:
    """Solves what was chosen, and returns rows of results and what is to be tested.

    Args:
        problem: Flags and protocol.
        table: Rows and contests.
        path: All fits before.
        chosen: One for each contest.
        before: How many rows of results the set has already.

    Raises:
        ValueError: A fit did not end well.
    """
    lanes, l2 = _lanes(problem, table, chosen)
    params, info = newton.solve(
        table.x,
        table.labels,
        l2,
        weights=np.stack([lane.seen for lane in lanes]).astype(np.float64),
        num_classes=table.num_classes,
        tol=problem.config.tol,
        max_newton=problem.config.max_newton,
    )
    failed = np.flatnonzero(~path_lib.ended_well(info))
    if failed.size:
        raise ValueError(
            f"a fit of the chosen penalty, l2 {l2[failed[0]]:g}, ended as "
            f"{info.status[failed[0]]}; expected it to converge: allow more steps"
        )
    params = jax.tree.map(np.asarray, params)
    fits = []
    for number, (contest, choice) in enumerate(
        zip(table.contests, chosen, strict=True)
    ):
        own = [at for at, lane in enumerate(lanes) if lane.contest == number]
        logits, labels = _held_out(table, lanes, params, l2, own)
        fits.append(
            Fit(
                params=jax.tree.map(lambda array, at=own[-1]: array[at], params),
                place=before + own[-1],
                num_rows=int(lanes[own[-1]].seen.sum()),
                reason=choice.reason,
                validation=_validation(problem, contest, path, choice, number),
                ties=choice.ties,
                logits=logits,
                labels=labels,
                warnings=tuple(warnings(problem, contest, path, choice)),
            )
        )
    values = probe_scores.row_scores(params, table.x, table.labels)
    return rows(problem, table, lanes, l2, values, info), tuple(fits)


def rows(
    problem: Problem,
    table: Table,
    lanes: Sequence[Lane],
    l2: np.ndarray,
    values: RowScores,
    info: Info,
    scores: Scores | None = None,
) -> Rows:
    """Returns one row of results for each lane, without its number and set.

    Args:
        problem: The protocol is used.
        table: Rows and contests.
        lanes: L lanes.
        l2: ``(L,)``.
        values: Of all rows, ``(L, N)`` each.
        info: ``(L,)`` each.
        scores: Of the lanes out of sample, where they are compared; None of those that
            are solved after the choice.
    """
    loss, right = values
    return [
        formats.plain(
            {
                "shots": table.contests[lane.contest].shots,
                "seed": table.contests[lane.contest].seed,
                "fold": lane.fold,
                "stage": "choice" if scores else "final",
                "l2": l2[at],
                "C": regularization.inverse_strength(
                    float(l2[at]), int(lane.seen.sum()), table.num_classes
                ),
                "preprocessing": problem.protocol.preprocessing,
                "status": info.status[at],
                "train_loss": loss[at, lane.seen].mean(),
                "train_accuracy": right[at, lane.seen].mean(),
                "val_loss": scores.loss.lanes[at] if scores else None,
                "val_accuracy": scores.accuracy.lanes[at] if scores else None,
                "val_loss_calibrated": (
                    scores.loss_calibrated.lanes[at] if scores else None
                ),
                "steps": info.newton_steps[at],
                "objective": info.objective[at],
                "gap": info.gap[at],
                "relative_gap": info.relative_gap[at],
                "gradient_norm": info.gradient_norm[at],
                "products": info.products[at],
            }
        )
        for at, lane in enumerate(lanes)
    ]


def _lanes(
    problem: Problem, table: Table, chosen: Sequence[Chosen]
) -> tuple[list[Lane], np.ndarray]:
    """Returns the fits of the chosen penalties, the tested one of a contest last."""
    compared = probe_scores.lanes(table.contests)
    lanes, l2 = [], []
    for number, (contest, choice) in enumerate(
        zip(table.contests, chosen, strict=True)
    ):
        own = [lane for lane in compared if lane.contest == number]
        lanes += own
        l2 += [choice.l2] * len(own)
        is_split = contest.held_out == probe_scores.VALIDATION
        if contest.held_out == probe_scores.FOLDS or (
            is_split and problem.protocol.refit
        ):
            nothing = np.zeros_like(contest.rows)
            lanes.append(Lane(number, None, contest.rows, nothing))
            # The same C is a weaker l2 where there are more rows.
            share = own[0].seen.sum() / contest.rows.sum()
            l2.append(choice.l2 * (share if problem.protocol.unit == "C" else 1.0))
    return lanes, np.array(l2, np.float64)


def _held_out(
    table: Table,
    lanes: Sequence[Lane],
    params: Params,
    l2: np.ndarray,
    own: Sequence[int],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns the logits ``(M, C)`` of rows from fits that did not see them."""
    contest = table.contests[lanes[own[0]].contest]
    if contest.held_out is None:
        return None, None
    if contest.held_out == probe_scores.LEAVE_ONE_OUT:
        x, labels = table.x[contest.rows], table.labels[contest.rows]
        alone = jax.tree.map(lambda array: array[own], params)
        found = leave_one_out.approximate(alone, x, labels, l2[own])
        return found.logits[0], labels
    apart = [(at, lanes[at].unseen) for at in own if lanes[at].unseen.any()]
    logits = [
        params_lib.logits(
            jax.tree.map(lambda array, at=at: jnp.asarray(array[at]), params),
            jnp.asarray(table.x[rows]),
            precision="highest",
        )
        for at, rows in apart
    ]
    return np.concatenate(logits), np.concatenate([table.labels[r] for _, r in apart])


def _validation(
    problem: Problem, contest: Contest, path: Path, chosen: Chosen, number: int
) -> dict[str, Any]:
    """Returns how the chosen penalty did on rows that its fits did not see."""
    if chosen.place is None:
        names = ("held_out", "loss", "standard_error", "accuracy", "accuracy_interval")
        others = ("loss_calibrated", "size", "optimism")
        return {name: None for name in (*names, *others)}
    (loss, accuracy, calibrated), at = path.scores, (chosen.place, number)
    left_out = contest.held_out == probe_scores.LEAVE_ONE_OUT
    size = int((contest.rows if left_out else contest.unseen.any(axis=0)).sum())
    return {
        "held_out": contest.held_out,
        "loss": loss.mean[at],
        "standard_error": loss.standard_error[at],
        "loss_calibrated": calibrated.mean[at],
        "accuracy": accuracy.mean[at],
        "accuracy_interval": metrics.wilson_interval(accuracy.mean[at], size),
        "size": size,
        "optimism": _optimism(problem, path),
    }


def _optimism(problem: Problem, path: Path) -> dict[str, Any] | None:
    """Returns how much the best penalty flatters itself, of all rows alone."""
    good = path_lib.ended_well(path.info).all(axis=1)
    if path.held_out is None or problem.config.choice != "min":
        return None
    loss, right, scaled = (value[good] for value in path.held_out)
    return validated.flattery(
        loss, right, by=problem.protocol.select_by, calibrated=scaled
    )


def warnings(
    problem: Problem, contest: Contest, path: Path, chosen: Chosen
) -> Iterator[str]:
    """Yields what a person should know before trusting a choice.

    Args:
        problem: The protocol is used.
        contest: Whose choice it is.
        path: All fits before.
        chosen: What was chosen.
    """
    last = len(path.l2) - 1
    if last and chosen.l2 > 0 and chosen.place in (0, last):
        end = "smallest" if chosen.place else "largest"
        draw = ""
        if contest.shots is not None:
            many = "s" if contest.shots > 1 else ""
            draw = f" of {contest.shots} shot{many} with seed {contest.seed}"
        yield (
            f"the best l2{draw}, {chosen.l2:g}, is the {end} of the grid; widen "
            f"--{problem.protocol.unit}"
        )
    failed = ~path_lib.ended_well(path.info)
    if failed.any():
        ends = ", ".join(sorted(set(path.info.status[failed].tolist())))
        yield (
            f"{failed.sum()} of {failed.size} fits ended as {ends}, and their "
            "penalties were not eligible"
        )
    stalled = path.info.status == status.STALLED
    if stalled.any():
        worst = path.info.relative_gap[stalled].max()
        yield (
            f"{stalled.sum()} of {stalled.size} fits made no further progress in this "
            f"arithmetic; what is known of them is a relative gap of up to {worst:.1e}"
        )
