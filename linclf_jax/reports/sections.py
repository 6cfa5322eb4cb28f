"""The sections of the report below the answer: one figure or table each, in words.

Functions take a ``record.Record`` and the bytes of their figure, and return markup.
"""

import numpy as np

from linclf_jax.figures import classifier
from linclf_jax.reports import answer, markup
from linclf_jax.runs import examples, record
from linclf_jax.selection import ranking

GRID = ("optimizer", "learning_rate", "l2")


def heatmap(run: record.Record, png: bytes) -> str:
    """Where in the grid the good lanes are.

    Args:
        run: the run folder.
        png: the figure.
    """
    repeats, others = _differences(run)
    return markup.section(
        "heatmap",
        "Validation accuracy over the grid",
        markup.picture(
            png,
            alt="Heat map of validation accuracy over learning rate and l2, one panel "
            f"for each optimizer: {_optimizers(run)}.",
            caption=(
                markup.when(repeats, f"Each cell is the mean over {repeats}."),
                markup.when(others, f"Of all values of {others} the best counts."),
                *_colours(run, "cell"),
                markup.when(
                    ranking.retired(run.rows),
                    "Where none finished, a cell shows how good they were by then.",
                ),
            ),
        ),
    )


def scatter(run: record.Record, png: bytes) -> str:
    """Where among the settings of a random sample the good lanes are.

    Args:
        run: the run folder.
        png: the figure.
    """
    repeats, others = _differences(run)
    both = {row["l2"] > 0 for row in run.rows} == {True, False}
    return markup.section(
        "scatter",
        "Validation accuracy over learning rate and l2",
        markup.picture(
            png,
            alt="Scatter of validation accuracy over learning rate and l2, one panel "
            f"for each optimizer: {_optimizers(run)}.",
            caption=(
                markup.when(not repeats, "Each point is a lane."),
                markup.when(repeats, f"Each point is the mean over {repeats}."),
                markup.when(
                    repeats and ranking.diverged(run.rows),
                    "Where a repeat diverged, the point is a cross.",
                ),
                markup.when(others, f"Points differ in {others} too."),
                "The better ones lie on top.",
                markup.when(both, "Without l2 they are in the strip at the bottom."),
                *_colours(run, "point"),
                markup.when(
                    ranking.retired(run.rows),
                    "Their points show how good they were by then.",
                ),
            ),
        ),
    )


def _differences(run: record.Record) -> tuple[str, str]:
    """Repeats, and settings besides the axes and panels, in words; empty for none."""
    differing = ranking.varying(run.rows)
    repeats = [f"{name}s" for name in ranking.REPEATS if name in differing]
    others = [n for n in differing if n not in (*ranking.REPEATS, *GRID)]
    return " and ".join(repeats), ", ".join(others)


def _optimizers(run: record.Record) -> str:
    return ", ".join(dict.fromkeys(row["optimizer"] for row in run.rows))


def _colours(run: record.Record, what: str) -> tuple[str, ...]:
    """What a reader must know of the colours; ``what`` has one: a cell."""
    by_loss = run.selected is not None and run.selected_by == "val_loss"
    return (
        markup.when(
            by_loss,
            f"The choice was made by validation loss, so another {what} may be "
            "brighter than the chosen one.",
        ),
        markup.when(
            any(row["status"] == "ok" for row in run.rows),
            "Colours follow the logarithm of the error rate: wherever half of the "
            "errors go away, the step is the same.",
        ),
        answer.retired(run.rows, training=run.training),
    )


def curves(run: record.Record, png: bytes) -> str:
    """How training went.

    Args:
        run: the run folder.
        png: the figure.
    """
    unseen = _without_curve(run)
    losses = "loss" in ranking.varying(run.rows)
    return markup.section(
        "curves",
        "Learning curves",
        markup.picture(
            png,
            alt="Validation loss and validation accuracy by epoch, for the best lane, "
            "the median lane and a few lanes that ended early.",
            caption=(
                "Accuracy is drawn on the logarithm of the error rate.",
                markup.when(
                    unseen, "Without a curve, for they diverged in their first epoch:"
                ),
                markup.when(unseen, f"{unseen:,} lane{'s' if unseen > 1 else ''}."),
                markup.when(losses, "Lanes minimise different losses, whose values do"),
                markup.when(losses, "not compare; their accuracies do."),
            ),
        ),
    )


def _without_curve(run: record.Record) -> int:
    """Diverged lanes that did not live to the end of one epoch."""
    if run.history is None:
        return 0
    lost = np.isin(run.history["trial"], ranking.diverged(run.rows))
    return int((lost & ~np.isfinite(run.history["val_loss"]).any(1)).sum())


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
        for true, predicted in examples.most_frequent_errors(counts)
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
                    wrong, f"Lowest recall: “{name}” ({answer.metric(lowest)})."
                ),
            ),
        ),
    )


def templates(run: record.Record, png: bytes) -> str:
    """What each class looks for.

    Args:
        run: the run folder.
        png: the figure.
    """
    colour = len(run.config["data"]["image_shape"]) == 3
    most, size = classifier.MOST_TEMPLATES, run.config["data"]["num_classes"]
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
    test = run.choice["test"]
    error = answer.metric(test["calibration_error"])
    scaled = test.get("calibration_error_scaled")
    return markup.section(
        "reliability",
        "Can its probabilities be believed?",
        markup.picture(
            png,
            alt="Reliability diagram of the test split: accuracy over confidence, with "
            "the number of rows in each bin.",
            caption=(
                f"Expected calibration error {error}.",
                "On the dashed line it is right as often as it is sure; below, it is",
                "too sure, above, too modest. Vertical lines are 95 % intervals.",
                markup.when(
                    scaled is not None,
                    "At the right all logits are divided by one temperature, fitted on "
                    "rows that were held out, not on these: "
                    f"{answer.metric(scaled)} is left.",
                ),
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
    flags = run.config["flags"]
    data["class_names"] = names if len(names) <= 20 else [*names[:20], "…"]
    return markup.section(
        "origins",
        "Data, flags and environment",
        "<h3>Data</h3>",
        markup.facts(data),
        "<h3>Environment</h3>",
        markup.facts(run.config["environment"]),
        "<details>\n<summary>All flags</summary>",
        # Not as an empty value elsewhere: none is a preprocessing, too.
        markup.facts({k: "unset" if v is None else v for k, v in flags.items()}),
        "</details>",
    )
