"""The table of the report: the best lanes, or the best settings where lanes repeat one.

A setting that was trained with several seeds or folds is chosen by its mean, and the
table then has the mean and the spread of each setting. Before the choice it has lanes:
settings of which some repeats are missing have no mean that compares.
"""

from collections.abc import Sequence
from typing import Any

from linclf_jax.reports import answer, markup
from linclf_jax.runs import record
from linclf_jax.selection import ranking as results

SHOWN = 10
WORDS = ("features", "preprocessing", "optimizer", "schedule", "loss")
BY_MEANS = "The choice will go by the mean of each setting over its repeats."


def ranking(run: record.Record) -> str:
    """The best settings as the choice orders them, or lanes; empty if none finished.

    Args:
        run: the run folder.
    """
    if not run.ranked:
        return ""
    return _of_lanes(run) if run.repeats is None else _of_settings(run)


def _of_lanes(run: record.Record) -> str:
    best, differing = run.ranked[:SHOWN], run.differing
    columns = ["trial", *differing, *results.SCORES]
    lanes = [row["trial"] for row in best]
    chosen = run.selected["trial"] if run.selected is not None else None
    marked = lanes.index(chosen) if chosen in lanes else None
    cells = [_cells(row, columns) for row in best]
    if len(best) == 1:
        table = _table(columns, cells, marked)
        return markup.section("ranking", "The lane that finished", table)
    return _section(run, "lanes", (columns, cells, marked), len(run.ranked), "trial")


def _of_settings(run: record.Record) -> str:
    groups = results.rank_settings(run.rows, by=run.selected_by)
    best = groups[:SHOWN]
    varying = run.differing
    differing = [name for name in varying if name not in results.REPEATS]
    columns = [*differing, "repeats", *results.SCORES]
    chosen = {row["trial"] for row in run.chosen_rows}
    marked = [i for i, rows in enumerate(best) if chosen & {r["trial"] for r in rows}]
    cells = [
        [*_cells(rows[0], differing), str(len(rows))]
        + [_mean_and_spread(rows, name) for name in results.SCORES]
        for rows in best
    ]
    table = columns, cells, marked[0] if marked else None
    return _section(run, "settings", table, len(groups), "first lane")


def _mean_and_spread(rows: Sequence[results.Row], name: str) -> str:
    if any(row[name] is None for row in rows):
        return answer.metric(None)
    mean, sd, _ = results.spread(rows, name)
    deviation = "" if sd is None else f" ± {answer.metric(sd)}"
    return f"{answer.metric(mean)}{deviation}"


def _section(
    run: record.Record,
    what: str,
    table: tuple[Sequence[str], Sequence[Sequence[str]], int | None],
    count: int,
    last: str,
) -> str:
    columns, cells, marked = table
    order = results.order(run.rows, run.selected_by)
    words = [*(answer.METRICS[name] for name in order), "the stronger l2", last]
    by = ", then by ".join(words)
    differing = run.differing
    spread = "Scores are means over the repeats ± their standard deviation."
    note = (
        f"Ordered by {by}.",
        markup.when(what == "settings", spread),
        markup.when(what == "lanes" and _are_repeated(run), BY_MEANS),
        answer.retired(run.rows, training=run.training),
        _common(run.rows, differing),
    )
    heading = f"The {len(cells)} best of {count:,} {what} that finished"
    return markup.section(
        "ranking",
        heading,
        _table(columns, cells, marked),
        markup.paragraph(*note, kind="note"),
    )


def _are_repeated(run: record.Record) -> bool:
    """Whether lanes repeat settings and the choice among those is still to come."""
    differing = run.differing
    return run.selected is None and any(name in differing for name in results.REPEATS)


def _table(
    columns: Sequence[str], cells: Sequence[Sequence[str]], marked: int | None
) -> str:
    heads = [answer.METRICS.get(name, name) for name in columns]
    return markup.table(heads, cells, words=WORDS, marked=marked)


def _cells(row: results.Row, columns: Sequence[str]) -> list[str]:
    return [
        answer.metric(row[name])
        if name in results.SCORES
        else answer.rounded(row[name])
        for name in columns
    ]


def _common(rows: Sequence[results.Row], differing: Sequence[str]) -> str:
    """The settings that no lane differs in, as a sentence."""
    same: dict[str, Any] = {}
    for row in rows:
        for name, value in results.settings(row).items():
            if name not in differing and value is not None:
                same[name] = value
    pairs = (f"{name} {answer.rounded(value)}" for name, value in same.items())
    return markup.when(same, f"The same in all lanes that use it: {', '.join(pairs)}.")
