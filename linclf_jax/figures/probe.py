"""The figures of a probe: what ``comparison_figures`` draws, from its entries."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from linclf_jax.figures import comparisons, penalties, style
from linclf_jax.figures.comparisons import Course, Estimate
from linclf_jax.figures.penalties import Panel
from linclf_jax.reports.answer import metric
from linclf_jax.runs import probe_record, record

SIGNIFICANT = 0.05


def draw(run: record.Record) -> dict[str, bytes]:
    """The figures that compare entries, as PNG bytes by name.

    Args:
        run: of a probe.
    """
    found = probe_record.entries(run)
    makers = {}
    if len({entry["shots"] for entry in found}) > 1:
        label = "test accuracy"
        makers["shots"] = lambda: comparisons.courses(_courses(run), label=label)
    elif len(found) > 1:
        makers["accuracies"] = lambda: comparisons.forest(
            [_estimate(run, entry) for entry in found],
            label="test accuracy",
            other="on rows that were held out",
        )
    if run.choice["comparisons"]:
        makers["differences"] = lambda: comparisons.forest(
            [_difference(pair) for pair in run.choice["comparisons"]],
            label="difference in test accuracy",
            reference=0.0,
        )
    panels = _panels(run)
    if panels:
        makers["penalties"] = lambda: penalties.draw(panels)
    return style.pngs(makers)


def _estimate(run: record.Record, entry: probe_record.Entry) -> Estimate:
    value, (low, high) = entry["test"]["accuracy"]["mean"], interval(entry)
    held_out = entry["validation"]["accuracy"]
    return Estimate(
        probe_record.name(entry),
        *(value, low, high),
        note=f"{metric(value)}  ({metric(low)} to {metric(high)})",
        marked=entry is probe_record.chosen(run),
        other=None if held_out is None else held_out["mean"],
    )


def interval(entry: probe_record.Entry) -> tuple[float, float]:
    """Wilson's interval of a single classifier, one deviation each way of several.

    Args:
        entry: of a probe.
    """
    if len(entry["runs"]) == 1:
        low, high = entry["runs"][0]["test"]["accuracy_interval"]
        return low, high
    score = entry["test"]["accuracy"]
    return score["mean"] - score["sd"], score["mean"] + score["sd"]


def _difference(pair: Mapping[str, Any]) -> Estimate:
    names = (style.short_name(pair[which], 20) for which in ("first", "second"))
    ends = f"({signed(pair['low'])} to {signed(pair['high'])})"
    return Estimate(
        " minus ".join(names),
        *(pair["difference"], pair["low"], pair["high"]),
        note=f"{signed(pair['difference'])}  {ends}",
        marked=pair["adjusted"] <= SIGNIFICANT,
    )


def signed(value: float) -> str:
    """A difference in plain text, with its sign.

    Args:
        value: of two accuracies.

    >>> signed(0.0125)
    '+0.0125'
    """
    return f"{value:+.4f}"


def _panels(run: record.Record) -> list[Panel]:
    """The held-out loss of each set, where there were several penalties to choose."""
    history, panels = run.history or {}, []
    score = "val_loss_calibrated" if probe_record.is_calibrated(run) else "val_loss"
    for name in probe_record.sets(run):
        loss = history.get(f"{name}.{score}")
        l2s = history.get(f"{name}.l2s")
        if loss is None or l2s is None or l2s.shape[1] < 2 or np.isnan(loss).any():
            continue
        labels = [
            probe_record.shots(entry)
            for entry in probe_record.entries(run)
            if entry["features"] == name
            for _ in entry["runs"]
        ]
        error = history[f"{name}.{score}_se"]
        panels.append(Panel(name, l2s[0], loss, error, labels))
    return panels


def _courses(run: record.Record) -> list[Course]:
    found = []
    for name in probe_record.sets(run):
        own = [e for e in probe_record.entries(run) if e["features"] == name]
        own.sort(key=lambda entry: entry["shots"])
        scores = [entry["test"]["accuracy"] for entry in own]
        found.append(
            Course(
                name,
                shots=[entry["shots"] for entry in own],
                mean=[score["mean"] for score in scores],
                sd=[score["sd"] or 0.0 for score in scores],
                scores=[[r["test"]["accuracy"] for r in e["runs"]] for e in own],
            )
        )
    return found
