"""The sections of trained trials: map of the search, learning curves, ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linclf_jax.figures import learning_curves, search_grid, search_map
from linclf_jax.figures.learning_curves import GroupCurve
from linclf_jax.figures.search_grid import Setting
from linclf_jax.reports import sections, tables, trials
from linclf_jax.reports.sections import Section
from linclf_jax.runs.record import Record
from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

GRID = ("optimizer", "learning_rate", "l2")


def make(record: Record) -> Iterator[Section]:
    """Yields the sections of a study that trains."""
    if not record.rows or record.is_exact:
        return
    if record.history is not None and len(record.tested) > 1:
        yield _group_curves(record, record.history)
    if len(record.rows) > 1:  # one trial makes no map
        yield _map(record)
    # Nothing to draw where every trial diverged in its first epoch.
    if record.history is not None and np.isfinite(record.history["val_loss"]).any():
        yield _curves(record, record.history)
    if record.ranked:
        yield _ranking(record)


def _map(record: Record) -> Section:
    rows, differing = record.rows, ranking.varying(record.rows)
    settings = [_setting(repeats) for repeats in trials.by_setting(rows).values()]
    row = record.chosen["row"] if record.chosen else None
    chosen = (row["optimizer"], row["learning_rate"], row["l2"]) if row else None
    return sections.make(
        "search_map",
        scattered=search_grid.is_scattered(settings),
        optimizers=list(dict.fromkeys(row["optimizer"] for row in rows)),
        repeats=[f"{name}s" for name in ranking.REPEATS if name in differing],
        others=[n for n in differing if n not in (*ranking.REPEATS, *GRID)],
        has_zero={row["l2"] > 0 for row in rows} == {True, False},
        by_loss=record.selected is not None and record.metric == "val_loss",
        counts=trials.count(record),
        figure=lambda: search_map.draw(settings, chosen),
    )


def _setting(repeats: Sequence[Row]) -> Setting:
    return Setting(
        optimizer=repeats[0]["optimizer"],
        learning_rate=repeats[0]["learning_rate"],
        l2=repeats[0]["l2"],
        accuracy=np.array([row["val_accuracy"] for row in repeats], float),
        status=np.array([row["status"] for row in repeats]),
    )


def _curves(record: Record, history: Mapping[str, np.ndarray]) -> Section:
    diverged, retired = ranking.diverged(record.rows), ranking.retired(record.rows)
    without = ~np.isfinite(history["val_loss"]).any(1)
    return sections.make(
        "curves",
        without_curve=int((without & np.isin(history["trial"], diverged)).sum()),
        several_losses="loss" in ranking.varying(record.rows),
        figure=lambda: learning_curves.of_trials(
            history, named(record), diverged, retired
        ),
    )


def named(record: Record) -> dict[str, int]:
    """The trials whose curves have a colour, by what they are."""
    ranked, entry = record.ranked, record.chosen
    if entry is None:
        what, best = "best so far", [row["trial"] for row in ranked[:1]]
    elif entry["trial"] is None:
        what, best = "a repeat of the chosen", entry["trials"]
    else:
        what, best = "chosen", [entry["trial"]]
    shown = {what: best[0]} if best else {}
    if len(ranked) > 2:
        shown["median"] = ranked[len(ranked) // 2]["trial"]
    return shown


def _group_curves(record: Record, history: Mapping[str, np.ndarray]) -> Section:
    curves = group_curves(record, history)
    return sections.make(
        "group_curves",
        repeated=any(len(entry["trials"]) > 1 for entry in record.tested),
        keeps_best=record.keeps_best,
        figure=lambda: learning_curves.of_groups(curves),
    )


def group_curves(record: Record, history: Mapping[str, np.ndarray]) -> list[GroupCurve]:
    """The curves of what each group selected; of repeats, their mean."""
    index = {int(trial): i for i, trial in enumerate(history["trial"])}
    curves = []
    for entry in record.tested:
        panel, *rest = map(str, entry["group"].values())
        rows = [index[trial] for trial in entry["trials"]]
        accuracy = history["val_accuracy"][rows].mean(0)
        # Repeats keep an epoch each: the mean of their curves has none.
        has_epoch = record.keeps_best and len(rows) == 1
        epoch = entry["row"]["epoch"] if has_epoch else None
        line = ", ".join(rest) or "the selection"
        curves.append(GroupCurve(panel, line, accuracy, epoch))
    return curves


def _ranking(record: Record) -> Section:
    table = tables.best(record)
    # Until the selection there are trials: settings of which some repeats are missing
    # have no mean that compares.
    repeats = not set(ranking.REPEATS).isdisjoint(record.differing)
    return sections.make(
        "ranking",
        of_settings=tables.is_repeated(record),
        count=len(tables.ranked(record)),
        shown=len(table.rows),
        order=ranking.order(record.rows, record.metric),
        counts=trials.count(record),
        same=common(record),
        repeats_to_come=record.selected is None and repeats,
        table=table,
    )


def common(record: Record) -> dict[str, Any]:
    """The settings in which no trial differs."""
    differing = record.differing
    return {
        name: value
        for row in record.rows
        for name, value in ranking.settings(row).items()
        if name not in differing
    }
