"""The sections of groups: scores, shots, pairs of feature sets, the protocol."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from linclf_jax.figures import comparisons, style
from linclf_jax.figures.comparisons import Estimate, ShotCurve
from linclf_jax.reports import answer, sections, tables, text
from linclf_jax.reports.sections import Section
from linclf_jax.runs import schema
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Average, Selected
from linclf_jax.selection import choose

SIGNIFICANT = 0.05


def make(record: Record) -> Iterator[Section]:
    """Yields the sections of the groups, if there is a selection."""
    selected = record.selected
    if selected is None:
        return
    averages = schema.across_seeds(selected["entries"])
    if len({each.group.get("shots") for each in averages}) > 1:
        yield _shots(averages)
    elif len(averages) > 1:
        yield _accuracies(selected, averages)
    if selected["comparisons"]:
        yield _differences(selected)
    yield _scores(record, selected, averages)


def _draws(averages: Sequence[Average]) -> int:
    return max(len(each.entries) for each in averages)


def _accuracies(selected: Selected, averages: Sequence[Average]) -> Section:
    estimates = [
        _estimate(each, selected["chosen"] in each.indices) for each in averages
    ]
    return sections.make(
        "accuracies",
        count=len(averages),
        draws=_draws(averages),
        compared=averages[0].entries[0]["validation"]["resampling"] is not None,
        pairs=selected["comparisons"],
        figure=lambda: comparisons.forest(
            estimates, label="test accuracy", other="on rows that were held out"
        ),
    )


def _estimate(average: Average, marked: bool) -> Estimate:
    accuracy, held_out = average.test("accuracy"), average.validation("val_accuracy")
    assert accuracy is not None
    low, high = interval(average)
    shown = f"{text.score(accuracy.mean)}  ({text.score(low)} to {text.score(high)})"
    other = held_out.mean if held_out else None
    name = schema.name(average.group)
    return Estimate(name, accuracy.mean, low, high, shown, marked, other)


def interval(average: Average) -> tuple[float, float]:
    """Wilson's interval of a single classifier, one deviation each way of several."""
    if len(average.entries) == 1:
        low, high = average.entries[0]["test"]["accuracy_interval"]
        return low, high
    accuracy = average.test("accuracy")
    assert accuracy is not None
    sd = accuracy.sd or 0.0
    return accuracy.mean - sd, accuracy.mean + sd


def _shots(averages: Sequence[Average]) -> Section:
    by_features: dict[str, list[Average]] = {}
    for average in averages:
        by_features.setdefault(str(average.group.get("features")), []).append(average)
    curves = [_shot_curve(name, members) for name, members in by_features.items()]
    return sections.make(
        "shots",
        draws=_draws(averages),
        figure=lambda: comparisons.shots(curves, label="test accuracy"),
    )


def _shot_curve(name: str, averages: Sequence[Average]) -> ShotCurve:
    averages = sorted(averages, key=lambda each: each.group["shots"])
    accuracies = [each.test("accuracy") for each in averages]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return ShotCurve(
        name,
        shots=[each.group["shots"] for each in averages],
        mean=[accuracy.mean for accuracy in known],
        sd=[accuracy.sd or 0.0 for accuracy in known],
        scores=[[e["test"]["accuracy"] for e in each.entries] for each in averages],
    )


def _differences(selected: Selected) -> Section:
    pairs = selected["comparisons"]
    estimates = [_difference(pair) for pair in pairs]
    return sections.make(
        "differences",
        pairs=len(pairs),
        sure=sum(estimate.marked for estimate in estimates),
        significant=SIGNIFICANT,
        table=tables.comparisons(selected),
        figure=lambda: comparisons.forest(
            estimates, label="difference in test accuracy", reference=0.0
        ),
    )


def _difference(pair: Mapping[str, Any]) -> Estimate:
    names = (style.short_name(pair[which], 20) for which in ("first", "second"))
    value, low, high = pair["difference"], pair["low"], pair["high"]
    shown = f"{text.signed(value)}  ({text.signed(low)} to {text.signed(high)})"
    is_sure = pair["adjusted"] <= SIGNIFICANT
    return Estimate(" minus ".join(names), value, low, high, shown, is_sure)


def _scores(record: Record, selected: Selected, averages: Sequence[Average]) -> Section:
    return sections.make(
        "scores",
        columns=tables.group_columns(selected),
        groups=len(selected["entries"]),
        draws=_draws(averages),
        metric=selected["metric"],
        rule=selected["rule"],
        best=choose.BEST,
        scaled=any(each.test("calibration_error_scaled") for each in averages),
        keeps_best=record.keeps_best,
        table=tables.scores(record, selected),
        remarks=answer.remarks(selected),
    )


def protocol(record: Record) -> Iterator[Section]:
    """Yields what a protocol sets, and what of the original it does not do."""
    known = record.selected["protocol"] if record.selected else None
    if not known:
        return
    lines = [{"setting": k, "value": text.plain(v)} for k, v in known["sets"].items()]
    yield sections.make(
        "protocol",
        protocol=known,
        table=tables.table(lines, words=("setting", "value")),
        remarks=[text.capitalized(sentence) for sentence in known["changed"]],
    )
