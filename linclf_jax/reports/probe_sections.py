"""The sections of a probe's page: the table, the comparisons, the protocol.

Functions take the ``record.Record`` of a probe and return plain text or markup.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from linclf_jax.figures import probe
from linclf_jax.figures.probe import signed
from linclf_jax.reports import markup
from linclf_jax.reports.answer import metric
from linclf_jax.runs import probe_record, record

# Of the test split, by their names in selected.json.
SCORES = {
    "top5_accuracy": "top-5",
    "mean_per_class_recall": "mean per-class recall",
    "nll": "log-loss",
    "calibration_error": "calibration error",
    "calibration_error_scaled": "after temperature scaling",
}
SETTINGS = ("l2", "C", "learning_rate")
HELD_OUT = {
    "folds": "cross-validation",
    "validation": "validation rows",
    "leave_one_out": "estimated leave-one-out",
}


def table(run: record.Record) -> str:
    """Every entry and its test scores; the one that did best on held-out rows marked.

    Args:
        run: of a probe.
    """
    found = probe_record.entries(run)
    known = [name for name in SCORES if any(e["test"][name] for e in found)]
    settings = [n for n in SETTINGS if any(_known(entry, n) for entry in found)]
    with_shots = any(entry["shots"] is not None for entry in found)
    seeds = max(len(entry["runs"]) for entry in found)
    columns = (
        *("features", *(["shots"] if with_shots else []), "columns", "rows"),
        *("test accuracy", "± sd over seeds" if seeds > 1 else "95 % interval"),
        *(SCORES[name] for name in known),
        *("held-out accuracy", *settings),
    )
    cells = [
        [
            *(entry["features"], *([str(entry["shots"])] if with_shots else [])),
            *(f"{entry['num_features']:,}", f"{entry['num_rows']:,}"),
            *(metric(entry["test"]["accuracy"]["mean"]), _spread(entry)),
            *(_mean(entry["test"][name]) for name in known),
            _mean(entry["validation"]["accuracy"]),
            *(_range(_known(entry, name)) for name in settings),
        ]
        for entry in found
    ]
    return markup.section(
        "table",
        "All scores" if len(found) > 1 else "Its scores",
        markup.table(columns, cells, words=("features",), marked=run.choice["chosen"]),
        markup.paragraph(
            "All but the held-out accuracy are of the test split, measured once, after "
            "every choice was made.",
            markup.when(seeds > 1, "Scores are means over the seeds, never the best."),
            markup.when(
                "calibration_error_scaled" in known,
                "The temperature is fitted on rows that were held out of training.",
            ),
            kind="note",
        ),
    )


def _known(entry: probe_record.Entry, setting: str) -> list[float]:
    return [run[setting] for run in entry["runs"] if run.get(setting) is not None]


def _range(values: Sequence[float]) -> str:
    """A setting, or the least and the most of several, in plain text."""
    if not values:
        return "none"
    low, high = (f"{end:.3g}" for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _mean(score: Mapping[str, Any] | None) -> str:
    return metric(None if score is None else score["mean"])


def _spread(entry: probe_record.Entry) -> str:
    low, high = probe.interval(entry)
    if len(entry["runs"]) == 1:
        return f"{low:.3f} to {high:.3f}"
    return f"± {metric(entry['test']['accuracy']['sd'])}"


def accuracies(run: record.Record, png: bytes) -> str:
    """The feature sets by their test accuracy.

    Args:
        run: of a probe.
        png: the figure.
    """
    count = len(probe_record.entries(run))
    seeds = max(len(entry["runs"]) for entry in probe_record.entries(run))
    bars = f"one standard deviation over {seeds} seeds each way"
    paired = run.choice["comparisons"]
    caption = (
        f"Dots are test accuracies, bars {bars if seeds > 1 else '95 % intervals'};",
        "orange is the set that did best on held-out rows.",
        markup.when(paired, "Where bars overlap, sets may differ all the same:"),
        markup.when(paired, "the same test rows are compared below."),
    )
    return markup.section(
        "accuracies",
        f"Test accuracy of {count} feature sets",
        markup.picture(
            png,
            alt=f"Test accuracy of {count} feature sets, with intervals.",
            caption=caption,
        ),
    )


def shots(run: record.Record, png: bytes) -> str:
    """How far a few rows of each class go.

    Args:
        run: of a probe with shots.
        png: the figure.
    """
    seeds = max(len(entry["runs"]) for entry in probe_record.entries(run))
    return markup.section(
        "shots",
        "How far a few rows go",
        markup.picture(
            png,
            alt="Test accuracy over the number of training rows of each class.",
            caption=(
                f"A dot for each of {seeds} draws of the rows, lines for their mean,"
                if seeds > 1
                else "One draw of the rows of each class.",
                markup.when(seeds > 1, "bands of one standard deviation each way."),
            ),
        ),
    )


def differences(run: record.Record, png: bytes) -> str:
    """Which sets are better than which, on the same test rows.

    Args:
        run: of a probe with several sets.
        png: the figure.
    """
    pairs = run.choice["comparisons"]
    sure = [pair for pair in pairs if pair["adjusted"] <= probe.SIGNIFICANT]
    columns = (
        *("first", "second", "difference", "95 % interval"),
        *(
            "only the first right",
            "only the second right",
            "p-value",
            "adjusted p-value",
        ),
    )
    cells = [
        [
            *(pair["first"], pair["second"], signed(pair["difference"])),
            f"{signed(pair['low'])} to {signed(pair['high'])}",
            *(f"{pair[name]:,}" for name in ("only_a", "only_b")),
            *(metric(pair[name]) for name in ("p_value", "adjusted")),
        ]
        for pair in pairs
    ]
    count = f"{len(sure)} of {len(pairs)} differences"
    heading = f"{count} {'are' if len(sure) != 1 else 'is'} more than chance"
    if len(pairs) == 1:
        heading = f"The difference is {'' if sure else 'not '}more than chance"
    return markup.section(
        "differences",
        heading,
        markup.picture(
            png,
            alt="Differences in test accuracy of all pairs of feature sets.",
            caption=(
                "The accuracy of the first minus that of the second, with 95 % "
                "intervals; orange where the adjusted p-value is at most 0.05.",
            ),
        ),
        markup.table(columns, cells, words=("first", "second")),
        markup.paragraph(
            "Both are tested on the same rows, so that only those count which one of "
            "them alone has right: McNemar's exact test.",
            markup.when(
                len(pairs) > 1,
                f"Its p-values are adjusted by Holm's method for being {len(pairs)}.",
            ),
            kind="note",
        ),
    )


def penalties(run: record.Record, png: bytes) -> str:
    """How well each penalty does on rows that were held out.

    Args:
        run: of a probe whose fits are exact.
        png: the figure.
    """
    draws = any(entry["seed"] is not None for entry in _runs(run))
    calibrated = probe_record.is_calibrated(run)
    what = "calibrated loss" if calibrated else "loss"
    return markup.section(
        "penalties",
        "The choice of l2",
        markup.picture(
            png,
            alt=f"The {what} on held-out rows over l2, a panel for each feature set.",
            caption=(
                f"The {what} on rows that were held out, with a dot where it is lowest",
                "and a line for each draw of the rows."
                if draws
                else "and a band of one standard error each way.",
                markup.when(
                    calibrated,
                    "Calibrated is the loss once all logits are divided by one "
                    "temperature, the best for that penalty.",
                ),
                "A dot at an end means that the grid was too narrow.",
            ),
        ),
    )


def _runs(run: record.Record) -> list[Mapping[str, Any]]:
    return [each for entry in probe_record.entries(run) for each in entry["runs"]]


def protocol(run: record.Record) -> str:
    """What the protocol sets, and what of the original it does not do.

    Args:
        run: of a probe.
    """
    found = run.choice["protocol"]
    given = found["overridden"]
    return markup.section(
        "protocol",
        f"The protocol: {found['name']}",
        markup.paragraph(f"As in {found['source'].rstrip('.')}."),
        markup.facts(found["sets"]),
        markup.paragraph(f"Set by flags: {', '.join(given)}.") if given else "",
        "<h3>Where it departs from the original</h3>" if found["changed"] else "",
        markup.bullets(_sentence(text) for text in found["changed"])
        if found["changed"]
        else "",
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
