"""The sections of a path's report below the answer: one figure or table each.

Functions take the ``record.Record`` of a path and return markup.
"""

from collections import Counter

import numpy as np

from linclf_jax.figures import regularization_path
from linclf_jax.reports import markup, path_answer
from linclf_jax.reports.answer import rounded
from linclf_jax.runs import path_record, record


def held_out(run: record.Record, png: bytes) -> str:
    """How well each penalty does on rows that its fit did not see.

    Args:
        run: of a path.
        png: the figure.
    """
    loo = path_record.is_leave_one_out(run)
    return markup.section(
        "held_out",
        "Leave-one-out" if loo else "Cross-validation",
        markup.picture(
            png,
            alt="Log-loss and accuracy on held-out rows over l2, with a band of one "
            "standard error, and the penalty that each rule chooses.",
            caption=(
                "A strong penalty is at the right.",
                markup.when(
                    loo, "Each row's loss is estimated as if it had been left out."
                ),
                "Loss is drawn on its logarithm, accuracy on that of the error rate.",
                markup.when(
                    path_record.loss_calibrated(run) is not None,
                    "The loss is that of logits divided by the best temperature of all "
                    "held-out rows, one for each penalty.",
                ),
            ),
        ),
    )


def norms(run: record.Record, png: bytes) -> str:
    """How large the weights of each class become.

    Args:
        run: of a path.
        png: the figure.
    """
    size, most = run.config["data"]["num_classes"], regularization_path.MOST_NAMED
    return markup.section(
        "norms",
        "Coefficients along the path",
        markup.picture(
            png,
            alt="Norm of the weights of each class over l2.",
            caption=(
                "Of the fits to all rows: the Euclidean norm of each class's weights.",
                markup.when(
                    size > most, f"Named are the {most} largest at the chosen penalty."
                ),
            ),
        ),
    )


def coefficients(run: record.Record, png: bytes) -> str:
    """The weights one by one, where they are few.

    Args:
        run: of a path.
        png: the figure.
    """
    names = run.config["data"]["class_names"]
    mirrored = f"Those of “{names[0]}” are the same with the other sign."
    return markup.section(
        "coefficients",
        "Single coefficients",
        markup.picture(
            png,
            alt="The weight of each feature over l2, a panel for each class.",
            caption=(
                "Of the fits to all rows, in the units of the scaled features.",
                markup.when(len(names) == 2, mirrored),
            ),
        ),
    )


def work(run: record.Record, png: bytes) -> str:
    """What the fits cost, and how exact they are.

    Args:
        run: of a path.
        png: the figure.
    """
    products = int(path_record.arrays(run)["products"].sum())
    steps = int(path_record.arrays(run)["newton_steps"].sum())
    return markup.section(
        "work",
        "Work and certificates",
        markup.picture(
            png,
            alt="Newton steps, products with the Hessian and relative gap over l2.",
            caption=(
                "Solved from the right to the left, each penalty from those before it:",
                f"{steps:,} Newton steps and {products:,} products in all.",
                "The relative gap bounds how far a fit is from its optimum.",
            ),
        ),
    )


def table(run: record.Record) -> str:
    """All penalties, the strongest first, the chosen one highlighted.

    Args:
        run: of a path.
    """
    l2s = path_record.l2s(run)
    loss, accuracy = path_record.loss(run), path_record.accuracy(run)
    columns = (
        *("l2", "C", "held-out loss", "held-out accuracy"),
        *("Newton steps", "worst gap", "status", "chosen by"),
    )
    cells = [
        [
            rounded(l2),
            rounded(inverse),
            path_answer.plus_minus(loss.mean[i], loss.standard_error[i]),
            path_answer.plus_minus(accuracy.mean[i], accuracy.standard_error[i]),
            *_ends(run, i),
            ", ".join(_rules(run, l2)),
        ]
        for i, (l2, inverse) in enumerate(path_record.inverses(run).items())
    ]
    note = (
        "Scores are means ± their standard error; steps are the fewest and the most of "
        "a fit at that penalty; the status is of those that did not converge, if any."
    )
    return markup.section(
        "table",
        f"All {len(l2s):,} penalties",
        markup.table(
            columns,
            cells,
            words=("status", "chosen by"),
            marked=int(np.flatnonzero(l2s == run.choice["l2"])[0]),
        ),
        markup.paragraph(note, kind="note"),
    )


def _rules(run: record.Record, l2: float) -> list[str]:
    choices = path_record.choices(run)
    words = path_record.rules(run)
    return [words[name] for name in words if choices[name]["l2"] == l2]


def _ends(run: record.Record, place: int) -> tuple[str, str, str]:
    """Newton steps, worst gap and statuses of the fits at one penalty."""
    history = path_record.arrays(run)
    steps, gaps = history["newton_steps"][place], history["relative_gap"][place]
    low, high = int(steps.min()), int(steps.max())
    ends = Counter(path_record.statuses(run)[place].tolist())
    others = [name for name in ends if name != path_record.CONVERGED]
    words = (f"{ends[name]} {name.replace('_', ' ')}" for name in others)
    return (
        f"{low} to {high}" if low < high else str(low),
        path_answer.gap(float(np.max(gaps))),
        ", ".join(words) or path_record.CONVERGED,
    )
