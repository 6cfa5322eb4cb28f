"""The tables of a page, as plain text by row: all groups, pairs, trials, penalties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.reports import text
from linclf_jax.reports.text import METRICS, plus_minus, rounded, score
from linclf_jax.runs import schema
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Average, Entry, Selected
from linclf_jax.selection import choose, ranking

SHOWN = 10  # of a ranking
CONVERGED = "converged"  # how an exact fit ends well
WORDS = ("features", "preprocessing", "optimizer", "schedule", "loss")
# Of the test split, by their names in selected.json.
TEST_SCORES = {
    "top5_accuracy": "top-5",
    "mean_per_class_recall": "mean per-class recall",
    "nll": "log-loss",
    "calibration_error": "calibration error",
    "calibration_error_scaled": "after temperature scaling",
}
RULES = {"one_standard_error": "one standard error"}


class Table(NamedTuple):
    """Cells as plain text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()  # columns that hold words and are set flush left
    marked: int | None = None  # the row to highlight


def scores(selected: Selected, settings: Sequence[str] = ()) -> Table:
    """Each group's selection and its test scores, means over the draws of rows.

    Args:
        selected: ``selected.json``.
        settings: columns of rows to show, besides those of the groups.
    """
    averages = schema.across_seeds(selected["entries"])
    names = group_columns(selected)
    known = [name for name in TEST_SCORES if any(each.test(name) for each in averages)]
    own = [name for name in settings if name not in (*names, *ranking.REPEATS)]
    for name in ("l2", "C", "epoch"):
        if name not in own and any(_values(each, name) for each in averages):
            own.append(name)
    columns = (
        *(*names, "inputs", "rows", "test accuracy"),
        *(TEST_SCORES[name] for name in known),
        *("held-out accuracy", *own),
    )
    lines = {
        each.indices[0]: [
            *(text.plain(each.group[name]) for name in names),
            text.count(each.entries[0]["num_features"]),
            text.count(each.entries[0]["num_rows"]),
            _accuracy(each, "test"),
            *(_mean(each.test(name)) for name in known),
            _accuracy(each, "validation"),
            *(_range(_values(each, name)) for name in own),
        ]
        for each in averages
    }
    for index, entry in enumerate(selected["entries"]):
        if entry.get("failure"):
            values = [text.plain(entry["group"][name]) for name in names]
            lines[index] = values + ["none"] * (len(columns) - len(names))
    order = sorted(lines)
    chosen = next(e.indices[0] for e in averages if selected["chosen"] in e.indices)
    words = [name for name in columns if name in (*names, *WORDS)]
    rows = [lines[index] for index in order]
    return Table(columns, rows, words, order.index(chosen))


def group_columns(selected: Selected) -> list[str]:
    """The columns that tell groups apart, but for the seed of a draw."""
    known: dict[str, None] = {}
    for entry in selected["entries"]:
        known |= dict.fromkeys(k for k, v in entry["group"].items() if v is not None)
    return [name for name in known if name != "seed"]


def _values(average: Average, name: str) -> list[Any]:
    values = [entry["row"].get(name) for entry in average.entries]
    return [value for value in values if value is not None]


def _range(values: Sequence[Any]) -> str:
    """A setting, or the least and the most of several."""
    if not values:
        return "none"
    low, high = rounded(min(values)), rounded(max(values))
    return low if low == high else f"{low} to {high}"


def _mean(spread: ranking.Spread | None) -> str:
    return score(None if spread is None else spread.mean)


def _accuracy(average: Average, where: str) -> str:
    """The accuracy with its interval, or with its spread over draws."""
    entry: Mapping[str, Any] = average.entries[0]
    if where == "test":
        spread = average.test("accuracy")
    else:
        spread = average.validation("val_accuracy")
    ends = entry[where]["accuracy_interval"]
    if spread is None or len(average.entries) > 1 or ends is None:
        return plus_minus(*((None, None) if spread is None else spread[:2]))
    return f"{score(spread.mean)} ({ends[0]:.3f} to {ends[1]:.3f})"


def comparisons(selected: Selected) -> Table:
    """The paired tests of feature sets on the same test rows."""
    columns = (
        "first",
        "second",
        "difference",
        "95 % interval",
        "only the first right",
        "only the second right",
        "p-value",
        "adjusted p-value",
    )
    rows = [
        [
            pair["first"],
            pair["second"],
            text.signed(pair["difference"]),
            f"{text.signed(pair['low'])} to {text.signed(pair['high'])}",
            text.count(pair["only_a"]),
            text.count(pair["only_b"]),
            score(pair["p_value"]),
            score(pair["adjusted"]),
        ]
        for pair in selected["comparisons"]
    ]
    return Table(columns, rows, words=columns[:2])


def ranked_trials(record: Record) -> Table:
    """The best trials."""
    best = record.ranked[:SHOWN]
    columns = ["trial", *record.differing, *ranking.SCORES]
    trials = [row["trial"] for row in best]
    chosen = None if record.chosen is None else record.chosen["trial"]
    rows = [_cells(row, columns) for row in best]
    return _ranking(columns, rows, trials.index(chosen) if chosen in trials else None)


def ranked_settings(record: Record) -> Table:
    """The best settings, with the mean and the spread over their repeats."""
    best = ranking.rank_settings(record.rows, metric=record.metric)[:SHOWN]
    differing = [name for name in record.differing if name not in ranking.REPEATS]
    columns = [*differing, "repeats", *ranking.SCORES]
    rows = [
        [
            *_cells(members[0], differing),
            str(len(members)),
            *(_mean_and_spread(members, name) for name in ranking.SCORES),
        ]
        for members in best
    ]
    chosen = set(record.chosen["trials"]) if record.chosen else set()
    trials = [{row["trial"] for row in members} for members in best]
    marked = [i for i, own in enumerate(trials) if own & chosen]
    return _ranking(columns, rows, marked[0] if marked else None)


def _ranking(
    columns: Sequence[str], rows: Sequence[Sequence[str]], marked: int | None
) -> Table:
    heads = [METRICS.get(name, name) for name in columns]
    return Table(heads, rows, WORDS, marked)


def _cells(row: ranking.Row, columns: Sequence[str]) -> list[str]:
    return [
        score(row[name]) if name in ranking.SCORES else rounded(row[name])
        for name in columns
    ]


def _mean_and_spread(rows: Sequence[ranking.Row], name: str) -> str:
    if any(row[name] is None for row in rows):
        return score(None)
    mean, sd, _ = ranking.spread(rows, name)
    return plus_minus(mean, sd)


def rules(selected: Selected) -> Table:
    """What each rule selects of the chosen group, side by side."""
    metric = selected["metric"]
    known = known_rules(selected["entries"][selected["chosen"]])
    calibrated = metric == "val_loss_calibrated"
    columns = ["rule", "l2", "C", "held-out loss", "held-out accuracy"]
    rows = []
    for name, choice in known.items():
        loss = plus_minus(choice["val_loss"], choice["standard_error"])
        cells = [rounded(choice["l2"]), rounded(choice["C"]), loss]
        rows.append([rule_name(name, metric), *cells, score(choice["val_accuracy"])])
        if calibrated:
            rows[-1].append(score(choice["val_loss_calibrated"]))
    columns += ["calibrated"] * calibrated
    return Table(columns, rows, ["rule"], list(known).index(selected["rule"]))


def known_rules(entry: Entry) -> dict[str, Mapping[str, Any]]:
    """What each rule selects, without a rule of which nothing is known."""
    return {name: choice for name, choice in entry["rules"].items() if choice}


def rule_name(rule: str, metric: str) -> str:
    """What a rule selects, in words."""
    return text.words("best_by", metric) if rule == choose.BEST else RULES[rule]


def ends(rows: Sequence[ranking.Row]) -> Counter[str]:
    """How many fits ended in each way."""
    return Counter(row["status"] for row in rows)
