"""A probe by exact fits: penalties compared on held-out rows, the chosen one fitted.

First every penalty is solved in all lanes that are compared. Then the chosen one alone
is solved, in the same lanes and in the one that is tested, so that no more is held in
memory than one solution of each lane, however long the path.
"""

import jax
import numpy as np

from linclf_jax import regularization
from linclf_jax.config import probe
from linclf_jax.exact import continuation
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.selection import path_choice
from linclf_jax.studies import probe_fits, probe_scores
from linclf_jax.studies.probe_fits import Chosen, Path, Rows, Table
from linclf_jax.studies.probe_problem import Found, Problem
from linclf_jax.studies.probe_scores import HeldOut
from linclf_jax.studies.probe_sources import FeatureSet


def find(problem: Problem, features: FeatureSet) -> Found:
    """Compares all penalties, chooses, and fits what was chosen.

    Args:
        problem: Flags and protocol.
        features: The set.

    Raises:
        ValueError: No penalty has fits that ended well, or the last fit has not.
    """
    contests = probe_scores.arrange(problem, features)
    # Others are most of a large set of which few shots are fitted.
    used = np.any([contest.rows for contest in contests], axis=0)
    table = Table(
        features.x[used],
        features.labels[used],
        features.num_classes,
        tuple(
            each._replace(rows=each.rows[used], unseen=each.unseen[:, used])
            for each in contests
        ),
    )
    rows, path = follow(problem, table)
    chosen = [choose(problem, table, path, number) for number in range(len(contests))]
    last, fits = probe_fits.solve(problem, table, path, chosen, len(rows))
    history = {
        "l2s": np.tile(path.l2, (len(contests), 1)),
        "val_loss": path.scores.loss.mean.T,
        "val_loss_se": path.scores.loss.standard_error.T,
        "val_accuracy": path.scores.accuracy.mean.T,
        "val_loss_calibrated": path.scores.loss_calibrated.mean.T,
        "val_loss_calibrated_se": path.scores.loss_calibrated.standard_error.T,
    }
    return Found(rows + last, history, fits)


def follow(problem: Problem, table: Table) -> tuple[Rows, Path]:
    """Solves all lanes at all penalties, and forgets all but their scores.

    Args:
        problem: Flags and protocol.
        table: Rows and contests.
    """
    lanes = probe_scores.lanes(table.contests)
    num_rows = int(lanes[0].seen.sum())
    l2s = probe.penalties(problem.protocol, num_rows, table.num_classes)
    points = continuation.follow(
        table.x,
        table.labels,
        l2s,
        weights=np.stack([lane.seen for lane in lanes]).astype(np.float64),
        num_classes=table.num_classes,
        tol=problem.config.tol,
        max_newton=problem.config.max_newton,
    )
    rows, known, held_out = [], [], []
    for l2, params, info, _ in points:
        values = probe_scores.row_scores(params, table.x, table.labels)
        scaled = probe_scores.calibrated(params, table.x, table.labels, table.contests)
        scores = probe_scores.compare(
            values, scaled, params, l2, table.x, table.labels, table.contests
        )
        known.append((scores, info))
        if not problem.protocol.shots:
            held_out.append(probe_scores.held_out(values, scaled[0], table.contests[0]))
        every = np.full(len(lanes), l2)
        rows += probe_fits.rows(problem, table, lanes, every, values, info, scores)
    scores, info = jax.tree.map(lambda *leaves: np.stack(leaves), *known)
    return rows, Path(l2s, scores, info, _stacked(held_out))


def _stacked(held_out: list[HeldOut]) -> HeldOut | None:
    if not held_out:
        return None
    # In single precision: of every row at every penalty.
    return HeldOut(
        *(np.stack(each).astype(np.float32) for each in zip(*held_out, strict=True))
    )


def choose(problem: Problem, table: Table, path: Path, number: int) -> Chosen:
    """Returns the best penalty on held-out rows.

    Args:
        problem: The rule and the criterion are used.
        table: Rows and contests.
        path: All fits.
        number: Of the contest.

    Raises:
        ValueError: No penalty can be chosen.
    """
    contest, by = table.contests[number], problem.protocol.select_by
    if contest.held_out is None:
        l2 = regularization.inverse_strength(
            1.0, int(contest.rows.sum()), table.num_classes
        )
        return Chosen(l2, None, "scikit-learn's C = 1: one row a class spares none")
    own = [lane.contest == number for lane in probe_scores.lanes(table.contests)]
    score = getattr(path.scores, by.removeprefix("val_"))
    choices = path_choice.choose(
        score.mean[:, number],
        score.standard_error[:, number],
        by=by,
        losses=path.scores.loss.mean[:, number],
        l2s=path.l2,
        eligible=np.all(path_lib.ended_well(path.info)[:, own], axis=1),
    )
    if choices is None:
        statuses = ", ".join(sorted(set(path.info.status[:, own].ravel().tolist())))
        raise ValueError(
            f"no penalty has a finite {by} and fits that ended well: they are "
            f"{statuses}; expected one: try larger ones, or allow more steps"
        )
    reason = path_choice.reason(
        choices,
        *(array[choices.min, number] for array in score[1:]),
        by=by,
        what=by,
        rule=problem.config.choice,
        count=len(path.l2),
    )
    place = getattr(choices, problem.config.choice)
    ties = tuple(path.l2[list(choices.ties)].tolist())
    return Chosen(float(path.l2[place]), place, reason, ties)
