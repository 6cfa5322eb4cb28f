"""The sections of the report below the answer: one figure or table each, in words.

Functions take a ``record.Record`` and the bytes of their figure, and return markup.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from linclf_jax import results
from linclf_jax.runs import plots, record, report_answer
from linclf_jax.runs import report_markup as markup

SHOWN = 10
WORDS = ("optimizer", "schedule", "loss")
GRID = ("optimizer", "learning_rate", "l2")


def heatmap(run: record.Record, png: bytes) -> str:
    """Where in the grid the good lanes are.

    Args:
        run: the run folder.
        png: the figure.
    """
    differing = results.varying(run.rows)
    repeats = [f"{name}s" for name in ("seed", "fold") if name in differing]
    others = [n for n in differing if n not in ("seed", "fold", *GRID)]
    by_loss = run.selected is not None and run.selected_by == "val_loss"
    ended = any(row["status"] == "ok" for row in run.rows)
    optimizers = dict.fromkeys(row["optimizer"] for row in run.rows)
    return markup.section(
        "heatmap",
        "Validation accuracy over the grid",
        markup.picture(
            png,
            alt="Heat map of validation accuracy over learning rate and l2, one panel "
            f"for each optimizer: {', '.join(optimizers)}.",
            caption=(
                markup.when(
                    repeats, f"Each cell is the mean over {' and '.join(repeats)}."
                ),
                markup.when(
                    others, f"Of all values of {', '.join(others)} the best counts."
                ),
                markup.when(
                    by_loss, "The choice was made by validation loss, so another cell"
                ),
                markup.when(by_loss, "may be brighter than the chosen one."),
                markup.when(ended, "Colours follow the logarithm of the error rate:"),
                markup.when(ended, "wherever half of the errors go away, the step is"),
                markup.when(ended, "the same."),
            ),
        ),
    )


def curves(run: record.Record, png: bytes) -> str:
    """How training went.

    Args:
        run: the run folder.
        png: the figure.
    """
    unseen = _without_curve(run)
    return markup.section(
        "curves",
        "Learning curves",
        markup.picture(
            png,
            alt="Validation loss and validation accuracy by epoch, for the best lane, "
            "the median lane and a few diverged lanes.",
            caption=(
                "Accuracy is drawn on the logarithm of the error rate.",
                markup.when(
                    unseen, "Without a curve, for they diverged in their first epoch:"
                ),
                markup.when(unseen, f"{unseen:,} lane{'s' if unseen > 1 else ''}."),
            ),
        ),
    )


def _without_curve(run: record.Record) -> int:
    """Diverged lanes that did not live to the end of one epoch."""
    if run.history is None:
        return 0
    lost = np.isin(run.history["lane"], results.diverged(run.rows))
    return int((lost & ~np.isfinite(run.history["val_loss"]).any(1)).sum())


def ranking(run: record.Record) -> str:
    """The best lanes, in the order of the choice; empty if no lane finished.

    Args:
        run: the run folder.
    """
    ranked = run.ranked
    best = ranked[:SHOWN]
    if not best:
        return ""
    differing = results.varying(run.rows)
    columns = ["lane", *differing, *results.SCORES]
    lanes = [row["lane"] for row in best]
    chosen = run.selected["lane"] if run.selected is not None else None
    table = markup.table(
        [report_answer.METRICS.get(name, name) for name in columns],
        [_cells(row, columns) for row in best],
        words=WORDS,
        marked=lanes.index(chosen) if chosen in lanes else None,
    )
    if len(best) == 1:
        return markup.section("ranking", "The lane that finished", table)
    heading = f"The {len(best)} best of {len(ranked):,} lanes that finished"
    note = (_order(run.selected_by), _common(run.rows, differing))
    return markup.section(
        "ranking", heading, table, markup.paragraph(*note, kind="note")
    )


def _order(selected_by: str) -> str:
    names = ("validation loss", "validation accuracy")
    first, second = names if selected_by == "val_loss" else names[::-1]
    return f"Ordered by {first}, then by {second}, then by lane."


def _cells(row: results.Row, columns: Sequence[str]) -> list[str]:
    return [
        report_answer.metric(row[name])
        if name in results.SCORES
        else report_answer.rounded(row[name])
        for name in columns
    ]


def _common(rows: Sequence[results.Row], differing: Sequence[str]) -> str:
    """The settings that no lane differs in, as a sentence."""
    same: dict[str, Any] = {}
    for row in rows:
        for name, value in results.settings(row).items():
            if name not in differing and value is not None:
                same[name] = value
    pairs = (f"{name} {report_answer.rounded(value)}" for name, value in same.items())
    return markup.when(same, f"The same in all lanes that use it: {', '.join(pairs)}.")


def confusion(run: record.Record, png: bytes) -> str:
    """Which classes are taken for which.

    Args:
        run: the run folder.
        png: the figure.
    """
    test, names = run.choice["test"], run.config["data"]["class_names"]
    counts = np.asarray(test["confusion"])
    wrong = int(counts.sum() - np.trace(counts))
    frequent = ", ".join(
        f"“{names[true]}” taken for “{names[predicted]}” ({counts[true, predicted]})"
        for true, predicted in most_frequent_errors(counts)
    )
    recalls = zip(test["per_class_recall"], names, strict=True)
    lowest, name = min(pair for pair in recalls if pair[0] is not None)
    return markup.section(
        "confusion",
        f"Where it errs: {wrong:,} of {test['size']:,} test rows",
        markup.picture(
            png,
            alt=f"Confusion matrix of the test split over {len(names)} classes.",
            caption=(
                "Right answers are on the grey diagonal; only errors are coloured.",
                markup.when(wrong, f"Most frequent: {frequent}."),
                markup.when(
                    wrong, f"Lowest recall: “{name}” ({report_answer.metric(lowest)})."
                ),
            ),
        ),
    )


def most_frequent_errors(counts: np.ndarray, most: int = 5) -> list[tuple[int, int]]:
    """The largest counts off the diagonal, as (true, predicted); ties in row order.

    Args:
        counts: (C, C) integers, true classes down.
        most: how many to return at most.

    >>> most_frequent_errors(np.array([[9, 1, 0], [4, 9, 0], [0, 1, 9]]), most=2)
    [(1, 0), (0, 1)]
    """
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = (divmod(int(i), len(counts)) for i in order)
    return [(true, predicted) for true, predicted in pairs if errors[true, predicted]]


def templates(run: record.Record, png: bytes) -> str:
    """What each class looks for.

    Args:
        run: the run folder.
        png: the figure.
    """
    colour = len(run.config["data"]["image_shape"]) == 3
    most, size = plots.MOST_TEMPLATES, run.config["data"]["num_classes"]
    return markup.section(
        "templates",
        "What each class looks for",
        markup.picture(
            png,
            alt="The weights of each class drawn as an image.",
            caption=(
                "The weights of each class in the places of the pixels that they"
                " multiply.",
                "Grey is zero; every class has the same scale."
                if colour
                else "Red speaks for the class, blue against it, white does not matter;"
                " every class has the same scale.",
                markup.when(size > most, f"The first {most} of {size:,} classes."),
            ),
        ),
    )


def reliability(run: record.Record, png: bytes) -> str:
    """Whether its probabilities can be believed.

    Args:
        run: the run folder.
        png: the figure.
    """
    error = run.choice["test"]["calibration_error"]
    return markup.section(
        "reliability",
        "Can its probabilities be believed?",
        markup.picture(
            png,
            alt="Reliability diagram of the test split: accuracy over confidence, with "
            "the number of rows in each bin.",
            caption=(
                f"Expected calibration error {report_answer.metric(error)}.",
                "On the dashed line it is right as often as it is sure; below, it is",
                "too sure, above, too modest. Vertical lines are 95 % intervals.",
            ),
        ),
    )


def origins(run: record.Record) -> str:
    """Data, flags and environment.

    Args:
        run: the run folder.
    """
    data = dict(run.config["data"])
    names = data.pop("class_names")
    data["class_names"] = names if len(names) <= 20 else [*names[:20], "…"]
    return markup.section(
        "origins",
        "Data, flags and environment",
        "<h3>Data</h3>",
        markup.facts(data),
        "<h3>Environment</h3>",
        markup.facts(run.config["environment"]),
        "<details>\n<summary>All flags</summary>",
        markup.facts(run.config["flags"]),
        "</details>",
    )
