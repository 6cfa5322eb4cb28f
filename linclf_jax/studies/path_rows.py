"""What a path writes of its fits: rows of results and the arrays of its history."""

from typing import Any

import numpy as np

from linclf_jax import regularization
from linclf_jax.exact import status
from linclf_jax.runs import formats
from linclf_jax.selection.cross_validation import CrossValidation
from linclf_jax.studies.path_problem import Problem

Rows = list[dict[str, Any]]


def rows(problem: Problem, found: CrossValidation) -> Rows:
    """Returns one row for each fit: of a penalty, its folds and then the fit to all."""
    count, lanes = found.info.status.shape
    seen = np.full(lanes, len(problem.labels))
    if problem.folds is not None:
        seen[:-1] -= np.bincount(problem.folds[problem.held_out])
    return [
        formats.plain(_row(problem, found, (place, lane), int(seen[lane])))
        for place in range(count)
        for lane in range(lanes)
    ]


def _row(
    problem: Problem, found: CrossValidation, at: tuple[int, int], num_rows: int
) -> dict[str, Any]:
    place, lane = at
    lanes = found.info.status.shape[1]
    is_fold = lane < lanes - 1
    l2 = float(found.l2[place])
    info = status.Info(*(values[at] for values in found.info))
    return {
        "lane": place * lanes + lane,
        "l2": l2,
        "C": inverse_strength(problem, l2, num_rows),
        "fold": lane if is_fold else None,
        "preprocessing": problem.config.preprocessing,
        "status": info.status,
        "train_loss": found.train.loss[at],
        "train_accuracy": found.train.accuracy[at],
        "val_loss": found.validation.loss[at] if is_fold else None,
        "val_accuracy": found.validation.accuracy[at] if is_fold else None,
        "val_loss_calibrated": (
            found.validation.loss_calibrated[at] if is_fold else None
        ),
        "steps": info.newton_steps,
        "objective": info.objective,
        "gap": info.gap,
        "relative_gap": info.relative_gap,
        "gradient_norm": info.gradient_norm,
        "products": info.products,
    }


def inverse_strength(problem: Problem, l2: float, num_rows: int) -> float:
    """Returns scikit-learn's C of a penalty.

    Args:
        problem: Its number of classes is used.
        l2: The penalty.
        num_rows: Of the fit.
    """
    num_classes = len(problem.dataset.class_names)
    return regularization.inverse_strength(l2, num_rows, num_classes)


def history(found: CrossValidation) -> dict[str, np.ndarray]:
    """Returns what is drawn over the path, the largest penalty first."""
    if found.validation.loss.shape[1] == 0:
        held_out = {
            "loo_loss": found.loss.mean,
            "loo_se": found.loss.standard_error,
            "loo_accuracy": found.accuracy.mean,
            "loo_loss_calibrated": found.loss_calibrated.mean,
            "loo_loss_calibrated_se": found.loss_calibrated.standard_error,
        }
    else:
        held_out = {
            "val_loss": found.validation.loss,
            "val_loss_mean": found.loss.mean,
            "val_loss_se": found.loss.standard_error,
            "val_accuracy": found.validation.accuracy,
            "val_accuracy_mean": found.accuracy.mean,
            "val_accuracy_se": found.accuracy.standard_error,
            "val_loss_calibrated": found.validation.loss_calibrated,
            "val_loss_calibrated_mean": found.loss_calibrated.mean,
            "val_loss_calibrated_se": found.loss_calibrated.standard_error,
        }
    return {
        "l2s": found.l2,
        **held_out,
        "temperature": found.rows.temperature,
        "coefficients": np.asarray(found.params.W, np.float32),
        "newton_steps": found.info.newton_steps,
        "products": found.info.products,
        "relative_gap": found.info.relative_gap,
    }
