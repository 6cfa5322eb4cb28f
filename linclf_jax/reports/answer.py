"""The top of the report: which classifier to use, how good it is, how to get it again.

Functions take a ``record.Record`` and return plain text or markup, as each says.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linclf_jax.reports import markup, validation_text, warning_text
from linclf_jax.runs import record
from linclf_jax.selection import ranking

METRICS = {
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
}
MOST_TIES = 5
_INPUTS = ("features", "preprocessing", "loss")
REFIT = (
    "Its setting was chosen by folds; it was trained again on all rows of training and "
    "validation."
)


def headline(run: record.Record) -> str:
    """The answer in one line of plain text.

    Args:
        run: the run folder.
    """
    lanes = len(run.rows)
    if run.selected is not None:
        who = (
            f"lane {run.selected['trial']}: " if run.choice["trial"] is not None else ""
        )
        row = run.selected["row"]
        compared = [rounded(row[name]) for name in _compared(run)]
        return f"Use {who}{', '.join([*compared, describe(row)])}"
    if run.shard is not None:
        index, count = run.shard
        return f"Shard {index} of {count}, counted from 0, is finished: join all shards"
    if not lanes:
        return "No lane has finished yet"
    if run.ranked or run.training:
        return "No classifier has been chosen yet: the run is unfinished"
    who = f"all {lanes:,} lanes" if lanes > 1 else "the only lane"
    retired = markup.when(ranking.retired(run.rows), " or were retired")
    return f"No classifier to use: {who} diverged{retired}"


def _compared(run: record.Record) -> list[str]:
    """What a table compares, but for what ``describe`` tells anyway."""
    names = run.table[0]["values"] if run.table else _INPUTS
    if not run.table:
        names = [name for name in names if name in ranking.varying(run.rows)]
    return [n for n in names if n not in ("optimizer", "learning_rate", "l2")]


def describe(row: ranking.Row) -> str:
    """A lane by what matters most, in plain text.

    Args:
        row: of ``results.jsonl``.

    >>> describe({"optimizer": "adam", "learning_rate": 0.1, "l2": 0.001})
    'adam, learning rate 0.1, l2 0.001'
    """
    rate, l2 = rounded(row["learning_rate"]), rounded(row["l2"])
    return f"{row['optimizer']}, learning rate {rate}, l2 {l2}"


def rounded(value: Any) -> str:
    """A setting for reading; the list of hyper-parameters has it exactly.

    Args:
        value: of a JSON file.

    >>> rounded(0.00031622776601683794), rounded(128), rounded("adam")
    ('0.0003162', '128', 'adam')
    """
    return f"{value:.4g}" if isinstance(value, float) else markup.plain(value)


def metric(value: float | None) -> str:
    """Four decimals, or three digits where those would show nothing.

    Args:
        value: a score, None where it was not finite.

    >>> metric(0.98333), metric(1.5e-7), metric(None)
    ('0.9833', '1.50e-07', 'none')
    """
    if value is None:
        return "none"
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"


def ties(lanes: Sequence[int]) -> str:
    """The lanes whose score is exactly that of the best one, in plain text.

    Args:
        lanes: without the chosen one; of many, the first few are named.

    >>> ties([3]), ties([3, 5]), ties(range(11))
    ('lane 3', 'lanes 3, 5', '11 lanes, first 0, 1, 2, 3, 4')
    """
    named = ", ".join(str(lane) for lane in lanes[:MOST_TIES])
    if len(lanes) > MOST_TIES:
        return f"{len(lanes):,} lanes, first {named}"
    return f"lane{'s' if len(lanes) > 1 else ''} {named}"


def retired(rows: Sequence[ranking.Row], *, training: bool = False) -> str:
    """How many lanes successive halving took out, in plain text; empty for none.

    Args:
        rows: one per lane.
        training: whether pieces may follow: until then all lanes of a rung that is
            not the last are ``retired``, those that train on among them.

    >>> retired([{"trial": 0, "status": "retired"}, {"trial": 1, "status": "ok"}])
    '1 of 2 lanes was retired early: others were better, and it could not be chosen.'
    """
    count = len(ranking.retired(rows))
    verb, who = ("were", "they") if count > 1 else ("was", "it")
    why = "others were better"
    lost = [row for row in rows if row["status"] == "diverged"]
    gone = [row for row in rows if row["status"] == ranking.RETIRED]
    if _settings_of(lost) & _settings_of(gone):
        why += " or a repeat of the same setting diverged"
    what = f"{verb} retired early: {why}, and {who} could not be chosen."
    if training:
        verb = "have" if count > 1 else "has"
        what = f"{verb} been through a rung of halving; the best of each train on."
    return markup.when(count, f"{count:,} of {len(rows):,} lanes {what}")


def _settings_of(rows: Sequence[ranking.Row]) -> set[frozenset[tuple[str, Any]]]:
    return {frozenset(ranking.settings(row).items()) for row in rows}


def replay(experiment: str, folder: Path) -> list[str]:
    """The command that runs a run folder's flags again, into a folder beside it.

    Args:
        experiment: the script.
        folder: the run folder.

    Returns:
        The words, quoted for a shell; joined by spaces they are the command.

    >>> print(*replay("sweep", Path("my runs/one"))[2:])
    experiments.sweep --flagfile='my runs/one/flags.txt' --out_dir='my runs/one-replay'
    """
    flags = shlex.quote(str(folder / "flags.txt"))
    target = shlex.quote(f"{folder}-replay")
    script = f"experiments.{experiment}"
    return ["python", "-m", script, f"--flagfile={flags}", f"--out_dir={target}"]


def header(run: record.Record) -> str:
    """Markup of everything above the first figure.

    Args:
        run: the run folder.
    """
    count = f"{len(run.rows):,} linear classifier{'s' if len(run.rows) != 1 else ''}"
    kicker = f"{run.config['experiment']} on {run.config['data']['name']}: {count}"
    title = f"<h1>{markup.text(headline(run))}</h1>"
    top = [markup.paragraph(kicker, kind="kicker"), title]
    if run.selected is None:
        body = [_state(run), markup.warnings(run.notes)]
    else:
        body = [
            _choice(run, run.selected),
            _numbers(run, run.selected),
            markup.warnings(warning_text.warnings(run.selected)),
            _settings(run.selected["row"]),
        ]
    pieces = (*top, *body, replay_section(run.config["experiment"], run.folder))
    return "<header>\n" + "\n".join(p for p in pieces if p) + "\n</header>"


def _choice(run: record.Record, selected: Mapping[str, Any]) -> str:
    tied = selected["ties"]
    return markup.paragraph(
        f"Why this one: {selected['reason'].rstrip('.')}.",
        markup.when(
            tied, f"Tied for the best {METRICS[run.selected_by]}: {ties(tied)}."
        ),
        markup.when(selected.get("refit"), REFIT),
        retired(run.rows),
        "The test split was measured once, after the choice.",
    )


def _state(run: record.Record) -> str:
    """Why there is no choice, and what to do about it."""
    ranked, lost = run.ranked, len(ranking.diverged(run.rows))
    if run.shard is not None:
        return markup.paragraph(
            f"Of its share {len(ranked):,} lanes have finished and {lost:,} have "
            "diverged.",
            _ahead(run),
            "To choose among the lanes of all shards, join their folders with",
            "python -m experiments.merge; the test split has not been touched.",
        )
    if not run.rows:
        return markup.paragraph("The same command on this folder continues the run.")
    if lost == len(run.rows) or not (ranked or run.training):
        rates = [row["learning_rate"] for row in run.rows]
        return markup.paragraph(
            markup.when(run.training, "So far no lane has ended well."),
            f"The smallest learning rate tried was {rounded(min(rates))}:",
            "try smaller ones. The test split has not been touched.",
            retired(run.rows),
        )
    return markup.paragraph(
        f"So far {len(ranked):,} lanes have finished and {lost:,} have diverged.",
        retired(run.rows, training=run.training),
        _ahead(run),
        "The same command on this folder continues the run;",
        "the test split has not been touched.",
    )


def _ahead(run: record.Record) -> str:
    if not run.ranked:
        return ""
    first = run.ranked[0]
    return (
        f"Ahead by {METRICS[run.selected_by]}: lane {first['trial']} "
        f"({describe(first)}), validation accuracy {metric(first['val_accuracy'])}."
    )


def _numbers(run: record.Record, selected: Mapping[str, Any]) -> str:
    test, row = selected["test"], selected["row"]
    low, high = (metric(end) for end in test["accuracy_interval"])
    val_loss, val_accuracy = row["val_loss"], row["val_accuracy"]
    source = f"{run.config['data']['validation']:,} rows"
    # At every rung of halving the validation split chose among those retired there.
    known = [row for row in run.rows if row["status"] in ("ok", ranking.RETIRED)]
    candidates, what = len(known), "lanes"
    if run.repeats is not None:
        val_loss = run.repeats["val_loss"]["mean"]
        val_accuracy, source = run.repeats["val_accuracy"]["mean"], _spread(run.repeats)
        candidates, what = len(_settings_of(known)), "settings"
    tested = f"95 % interval {low} to {high}; {test['size']:,} rows"
    if run.repeats is not None and selected["trial"] is not None:
        tested += f"; of lane {selected['trial']}, the first of the repeats"
    return markup.numbers(
        ("test accuracy", metric(test["accuracy"]), tested),
        (
            "validation accuracy",
            metric(val_accuracy),
            source + validation_text.judged(selected, candidates, what),
        ),
        ("test loss", metric(test["loss"]), f"validation {metric(val_loss)}"),
    )


def _spread(repeats: Mapping[str, Mapping[str, Any]]) -> str:
    accuracy = repeats["val_accuracy"]
    return (
        f"mean of {accuracy['count']:,} repeats, standard deviation "
        f"{metric(accuracy['sd'])}"
    )


def _settings(row: ranking.Row) -> str:
    known = ranking.settings(row) | {k: row.get(k) for k in ("seed", "fold")}
    used = {name: value for name, value in known.items() if value is not None}
    return markup.section("settings", "Its hyper-parameters", markup.facts(used))


def replay_section(experiment: str, folder: Path) -> str:
    """Markup of the command that ``replay`` makes.

    Args:
        experiment: the script.
        folder: the run folder.
    """
    return markup.section(
        "replay",
        "The command that replays this run",
        markup.command(replay(experiment, folder)),
        markup.paragraph("One click selects all of it.", kind="note"),
    )
