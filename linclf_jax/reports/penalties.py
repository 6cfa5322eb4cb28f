"""The sections of exact fits: what each penalty does, costs, and is certified to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax.figures import regularization_path, style
from linclf_jax.figures.regularization_path import Curve, Panel
from linclf_jax.reports import sections, tables, trials
from linclf_jax.reports.sections import Section
from linclf_jax.reports.text import gap, plus_minus, rounded
from linclf_jax.runs import schema
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Entry, Selected
from linclf_jax.selection.ranking import Row

MOST_FEATURES = 12  # whose weights are drawn one by one
CALIBRATED = "val_loss_calibrated"


class Path(NamedTuple):
    """The held-out scores of one group over its penalties, the largest first."""

    l2s: np.ndarray  # (K,)
    loss: Curve
    accuracy: Curve
    calibrated: Curve

    def compared(self, metric: str) -> Curve:
        """The loss by which penalties were compared."""
        return self.calibrated if metric == CALIBRATED else self.loss


def of_entry(history: Mapping[str, np.ndarray], index: int) -> Path:
    """The held-out scores of an entry."""
    l2s = history[f"{index}.l2s"]
    without = np.empty((len(l2s), 0))
    curves = (
        Curve(
            history[f"{index}.{name}"],
            history[f"{index}.{name}_se"],
            history.get(f"{index}.folds.{name}", without),
        )
        for name in schema.FOLDS
    )
    return Path(l2s, *curves)


def make(record: Record) -> Iterator[Section]:
    """Yields the sections of a study that solves."""
    if record.selected is None or record.history is None or not record.is_exact:
        return
    selected, history = record.selected, record.history
    if len(record.tested) > 1:
        if panels := penalty_panels(selected, history):
            yield _penalties(selected, panels)
        return
    index = selected["chosen"]
    entry, path = selected["entries"][index], of_entry(history, index)
    if len(tables.known_rules(entry)) > 1:
        rules = tables.rules(selected)
        yield sections.make("rules", metric=record.metric, table=rules)
    if not entry["trials"]:  # nothing was compared
        return
    l2 = compared_l2(record, entry)
    marks = marked(entry, selected, l2)
    if np.isfinite(path.loss.mean).any():
        yield _held_out(record.metric, entry, path, marks)
    if "coefficients" in history:
        yield from _along_the_path(record, selected, path.l2s, marks)
    yield _table(record, entry, path, l2)


def _held_out(
    metric: str, entry: Entry, path: Path, marks: Mapping[str, float]
) -> Section:
    calibrated = metric == CALIBRATED
    return sections.make(
        "held_out",
        resampling=entry["validation"]["resampling"],
        calibrated=calibrated,
        figure=lambda: regularization_path.held_out(
            path.l2s, path.compared(metric), path.accuracy, marks, calibrated=calibrated
        ),
    )


def compared_l2(record: Record, entry: Entry) -> float:
    """The chosen penalty as it was compared.

    One that is given as C is another l2 once the classifier is fitted to more rows.
    """
    first = entry["trials"][0]
    return next(row["l2"] for row in record.rows if row["trial"] == first)


def marked(entry: Entry, selected: Selected, l2: float) -> dict[str, float]:
    """The penalties that figures mark by what they are, the chosen one first."""
    metric = selected["metric"]
    known = tables.known_rules(entry)
    others = {
        tables.rule_name(name, metric): choice["l2"]
        for name, choice in known.items()
        if name != selected["rule"] and choice["l2"] != l2
    }
    rule = tables.rule_name(selected["rule"], metric)
    if len(known) > 1 and not others:
        rule = "by either rule"
    marks = {f"chosen, {rule}": l2} | others
    return {f"{what}: l2 {style.short_number(at)}": at for what, at in marks.items()}


def _along_the_path(
    record: Record, selected: Selected, l2s: np.ndarray, marks: Mapping[str, float]
) -> Iterator[Section]:
    history, certificates = record.history or {}, selected["certificates"] or {}
    names, weights = record.config["data"]["class_names"], history["coefficients"]
    yield sections.make(
        "norms",
        num_classes=len(names),
        most=regularization_path.MOST_NAMED,
        figure=lambda: regularization_path.norms(l2s, weights, names, marks),
    )
    if max(weights.shape[1:]) <= MOST_FEATURES:
        yield sections.make(
            "coefficients",
            names=names,
            figure=lambda: regularization_path.coefficients(l2s, weights, names, marks),
        )
    well = trials.CONVERGED, trials.NOT_CERTIFIED
    converged = np.isin(statuses(record, l2s), well)
    tol = certificates.get("tol", 0.0)
    yield sections.make(
        "work",
        steps=int(history["newton_steps"].sum()),
        products=int(history["products"].sum()),
        figure=lambda: regularization_path.work(l2s, history, converged, tol, marks),
    )


def statuses(record: Record, l2s: np.ndarray) -> np.ndarray:
    """How each fit of a path ended, (K, F + 1) of words, the fit to all rows last."""
    known = {(row["l2"], row["fold"]): row["status"] for row in record.rows}
    folds = sorted({fold for _, fold in known if fold is not None})
    return np.array(
        [[known.get((l2, fold), "") for fold in (*folds, None)] for l2 in l2s.tolist()]
    )


def penalty_panels(
    selected: Selected, history: Mapping[str, np.ndarray]
) -> list[Panel]:
    """The held-out loss of each feature set, where there were several penalties."""
    groups: dict[tuple, list[tuple[Entry, Curve, np.ndarray]]] = {}
    for index, entry in enumerate(selected["entries"]):
        if entry.get("failure") or f"{index}.l2s" not in history:
            continue
        path = of_entry(history, index)
        curve = path.compared(selected["metric"])
        if len(path.l2s) > 1 and not np.isnan(curve.mean).any():
            # C is another l2 wherever there are other numbers of rows.
            key = entry["group"].get("features"), tuple(path.l2s.tolist())
            groups.setdefault(key, []).append((entry, curve, path.l2s))
    return [
        Panel(
            _title(members[0][0], [key[0] for key in groups]),
            members[0][2],
            np.stack([curve.mean for _, curve, _ in members]),
            np.stack([curve.standard_error for _, curve, _ in members]),
            [_shots(entry) for entry, _, _ in members],
        )
        for members in groups.values()
    ]


def _title(entry: Entry, sets: Sequence[str]) -> str:
    features = entry["group"].get("features")
    several = sets.count(str(features)) > 1
    return schema.name(entry["group"]) if several else str(features)


def _shots(entry: Entry) -> str:
    shots = entry["group"].get("shots")
    return "all rows" if shots is None else schema.name({"shots": shots})


def _penalties(selected: Selected, panels: Sequence[Panel]) -> Section:
    return sections.make(
        "penalties",
        calibrated=selected["metric"] == CALIBRATED,
        draws=any(e["group"].get("seed") is not None for e in selected["entries"]),
        figure=lambda: regularization_path.penalties(panels),
    )


def _table(record: Record, entry: Entry, path: Path, chosen: float) -> Section:
    """All penalties, the strongest first, the chosen one highlighted."""
    rules = tables.known_rules(entry).items()
    lines = []
    for i, l2 in enumerate(path.l2s.tolist()):
        fits = [row for row in record.rows if row["l2"] == l2]
        by = [tables.rule_name(n, record.metric) for n, c in rules if c["l2"] == l2]
        loss, accuracy = (
            plus_minus(curve.mean[i], curve.standard_error[i])
            for curve in (path.loss, path.accuracy)
        )
        lines.append(
            {
                "l2": rounded(l2),
                "C": rounded(_inverse(fits, entry["row"])),
                "held-out loss": loss,
                "held-out accuracy": accuracy,
                **_solved(fits),
                "chosen by": ", ".join(by),
            }
        )
    words, marked = ("status", "chosen by"), path.l2s.tolist().index(chosen)
    table = tables.table(lines, words, marked)
    certificates = (record.selected or {}).get("certificates") or {}
    left_out = certificates.get("penalties_left_out", 0)
    return sections.make("path", penalties=len(lines), left_out=left_out, table=table)


def _inverse(fits: Sequence[Row], chosen: Row) -> float | None:
    """scikit-learn's C of a fit to the rows that the chosen one is fitted to."""
    l2, inverse = fits[0]["l2"], chosen["C"]
    known = [row["C"] for row in fits if row["fold"] is None]
    if known or not l2 or not inverse:
        return known[0] if known else None
    return inverse * chosen["l2"] / l2


def _solved(fits: Sequence[Row]) -> dict[str, str]:
    """Newton steps, worst gap and statuses of the fits at one penalty."""
    steps = [row["steps"] for row in fits]
    low, high = min(steps), max(steps)
    gaps = [row["relative_gap"] for row in fits]
    ends = trials.ends(fits)
    ends.pop(trials.CONVERGED, None)
    words = (f"{number} {name.replace('_', ' ')}" for name, number in ends.items())
    return {
        "Newton steps": f"{low} to {high}" if low < high else str(low),
        "worst gap": gap(None if None in gaps else max(gaps)),
        "status": ", ".join(words) or trials.CONVERGED,
    }
