"""The tables of a page, as plain text by row: groups, pairs, trials, rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.reports import text
from linclf_jax.reports.text import METRICS, count, plus_minus, rounded, score, signed
from linclf_jax.runs import schema
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Average, Entry, Selected
from linclf_jax.selection import choose, ranking
from linclf_jax.selection.ranking import Row

SHOWN = 10  # of a ranking
WORDS = (
    *("features", "preprocessing", "optimizer", "schedule", "loss"),
    *("keep", "gradient", "precision"),
)
# Of the test split, by their names in selected.json.
TEST_SCORES = {
    "top5_accuracy": "top-5",
    "mean_per_class_recall": "mean per-class recall",
    "nll": "log-loss",
    "calibration_error": "calibration error",
    "calibration_error_scaled": "after temperature scaling",
}


class Table(NamedTuple):
    """Cells as plain text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()  # columns that hold words and are set flush left
    marked: int | None = None  # the row to highlight


def table(
    lines: Sequence[Mapping[str, str]],
    words: Collection[str] = (),
    marked: int | None = None,
) -> Table:
    """A table of lines that map columns to cells; a line may lack some."""
    columns = list(dict.fromkeys(column for line in lines for column in line))
    rows = [[line.get(column, "none") for column in columns] for line in lines]
    return Table(columns, rows, words, marked)


def scores(record: Record, selected: Selected) -> Table:
    """Each group's selection and its test scores, means over the draws of rows."""
    averages = schema.across_seeds(selected["entries"])
    names = group_columns(selected)
    known = [name for name in TEST_SCORES if any(each.test(name) for each in averages)]
    own = [name for name in record.differing if name not in (*names, *ranking.REPEATS)]
    for name in ("l2", "C", "epoch"):
        if name not in own and any(_values(each, name) for each in averages):
            own.append(name)
    lines = {
        average.indices[0]: {
            **{name: text.plain(average.group[name]) for name in names},
            "inputs": count(average.entries[0]["num_features"]),
            "rows": count(average.entries[0]["num_rows"]),
            "test accuracy": _accuracy(average, "test"),
            **{TEST_SCORES[name]: _mean(average.test(name)) for name in known},
            "held-out accuracy": _accuracy(average, "validation"),
            **{name: _range(_values(average, name)) for name in own},
        }
        for average in averages
    }
    for index, entry in enumerate(selected["entries"]):
        if entry.get("failure"):
            lines[index] = {name: text.plain(entry["group"][name]) for name in names}
    order = sorted(lines)
    chosen = next(e.indices[0] for e in averages if selected["chosen"] in e.indices)
    return table([lines[index] for index in order], WORDS, order.index(chosen))


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
    lines = [
        {
            "first": pair["first"],
            "second": pair["second"],
            "difference": signed(pair["difference"]),
            "95 % interval": f"{signed(pair['low'])} to {signed(pair['high'])}",
            "only the first right": count(pair["only_a"]),
            "only the second right": count(pair["only_b"]),
            "p-value": score(pair["p_value"]),
            "adjusted p-value": score(pair["adjusted"]),
        }
        for pair in selected["comparisons"]
    ]
    return table(lines, words=("first", "second"))


def is_repeated(record: Record) -> bool:
    """Whether the chosen setting was trained several times, over seeds or folds."""
    return record.chosen is not None and len(record.chosen["trials"]) > 1


def ranked(record: Record) -> Sequence[Sequence[Row]]:
    """The usable settings by rank, each with its repeats; else the trials, alone."""
    if is_repeated(record):
        return ranking.rank_settings(record.rows, metric=record.metric)
    return [[row] for row in record.ranked]


def best(record: Record) -> Table:
    """The first of ``ranked``, with mean and spread of the scores over repeats."""
    groups, repeated = ranked(record)[:SHOWN], is_repeated(record)
    names = [n for n in record.differing if not (repeated and n in ranking.REPEATS)]
    lines = [
        {
            **({} if repeated else {"trial": str(rows[0]["trial"])}),
            **{name: rounded(rows[0][name]) for name in names},
            **({"repeats": str(len(rows))} if repeated else {}),
            **{METRICS[name]: _over_repeats(rows, name) for name in ranking.SCORES},
        }
        for rows in groups
    ]
    chosen = set(record.chosen["trials"]) if record.chosen else set()
    of_chosen = [not chosen.isdisjoint(row["trial"] for row in rows) for rows in groups]
    return table(lines, WORDS, of_chosen.index(True) if any(of_chosen) else None)


def _over_repeats(rows: Sequence[Row], name: str) -> str:
    if any(row[name] is None for row in rows):
        return score(None)
    return plus_minus(*ranking.spread(rows, name)[:2])


def rules(selected: Selected) -> Table:
    """What each rule selects of the chosen group, side by side."""
    metric = selected["metric"]
    known = known_rules(selected["entries"][selected["chosen"]])
    lines = [
        {
            "rule": rule_name(name, metric),
            "l2": rounded(choice["l2"]),
            "C": rounded(choice["C"]),
            "held-out loss": plus_minus(choice["val_loss"], choice["standard_error"]),
            "held-out accuracy": score(choice["val_accuracy"]),
        }
        for name, choice in known.items()
    ]
    if metric == "val_loss_calibrated":
        for line, choice in zip(lines, known.values(), strict=True):
            line["calibrated"] = score(choice[metric])
    return table(lines, ["rule"], list(known).index(selected["rule"]))


def known_rules(entry: Entry) -> dict[str, Mapping[str, Any]]:
    """What each rule selects, without a rule of which nothing is known."""
    return {name: choice for name, choice in entry["rules"].items() if choice}


def rule_name(rule: str, metric: str) -> str:
    """What a rule selects, in words."""
    if rule == choose.BEST:
        return text.words("best_by", metric)
    return rule.replace("_", " ")
