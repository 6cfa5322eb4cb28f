"""What a person should know before trusting a selection, in plain sentences.

Rows are one per trial, as in ``ranking``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row


def edges(
    rows: Sequence[Row], best: Row, flags: Mapping[str, str], only: str | None = None
) -> list[str]:
    """Returns where a value is the first or last of its axis and could go on.

    Args:
        rows: One per trial.
        best: The trial whose values are compared with the others'.
        flags: By setting, its flag where that has another name.
        only: The one axis to check, whose value a rule has chosen; all if None.
    """
    what = "best" if only is None else "chosen"
    rivals = [row for row in rows if row.get("optimizer") == best.get("optimizer")]
    warnings = []
    for name, value in ranking.settings(best).items():
        if only not in (None, name):
            continue
        if not isinstance(value, float) or value == 0:
            continue  # l2 = 0 cannot be lowered, so it is not an edge
        tried = {row[name] for row in rivals} - {None}
        if len(tried) > 1 and value in (min(tried), max(tried)):
            end = "largest" if value == max(tried) else "smallest"
            warnings.append(
                f"the {what} {name}, {value:g}, is the {end} of the grid; "
                f"widen --{flags.get(name, name)}"
            )
    return warnings


def endings(rows: Sequence[Row]) -> list[str]:
    """Returns which trials did not end well, and which are less exact than asked."""
    sentences = []
    failed = [row for row in rows if _has_failed(row)]
    if failed:
        sentences.append(
            f"{_share(len(failed), rows)} {_ends(failed)} and were not eligible"
        )
    stalled = [row for row in rows if row["status"] == ranking.STALLED]
    if stalled:
        gaps = [gap for row in stalled if (gap := row["relative_gap"]) is not None]
        worst = f"a relative gap of up to {max(gaps):.1e}" if gaps else "no gap"
        sentences.append(
            f"{len(stalled)} of {len(rows)} fits made no further progress in this "
            f"arithmetic; what is known of them is {worst}"
        )
    return sentences


def nothing_usable(rows: Sequence[Row], metric: str) -> str:
    """Returns why no setting is usable, and what to do about it."""
    failed, retired = [r for r in rows if _has_failed(r)], ranking.retired(rows)
    if retired and not failed:
        return f"{_share(len(retired), rows)} were retired early: others were better"
    if not failed:
        return (
            f"no setting has a finite {metric}; expected one: try a stronger --l2, or "
            "hold out other rows"
        )
    rest = ""
    if len(failed) < len(rows):
        rest = " and no setting kept all its repeats"
    if retired:
        rest = ", others were retired early"
    remedy = "try larger penalties, or allow more steps"
    if ranking.diverged(rows):
        remedy = "lower --learning_rate"
    return f"{_share(len(failed), rows)} {_ends(failed)}{rest}; {remedy}"


def repeats(setting: Sequence[Row]) -> str:
    """Returns what the repeats of a setting are, in words.

    >>> repeats([{"seed": 0, "fold": 0}, {"seed": 0, "fold": 1}])
    '2 folds'
    """
    counts = {
        name: len({row.get(name) for row in setting} - {None})
        for name in ranking.REPEATS
    }
    if counts["fold"] == len(setting):
        return _counted(counts["fold"], "fold")
    if counts["seed"] == len(setting):
        return _counted(counts["seed"], "seed")
    return _counted(len(setting), "repeat")


def _has_failed(row: Row) -> bool:
    return not ranking.is_usable(row) and row["status"] != ranking.RETIRED


def _ends(failed: Sequence[Row]) -> str:
    statuses = Counter(row["status"] for row in failed)
    if set(statuses) == {ranking.DIVERGED}:
        return ranking.DIVERGED
    return f"ended as {', '.join(sorted(statuses))}"


def _share(some: int, rows: Sequence[Row]) -> str:
    whole = "all" if some == len(rows) else f"{some} of"
    return f"{whole} {len(rows)} trials"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
