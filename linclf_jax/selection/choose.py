"""Choosing one setting by its validation scores, and saying how far to trust it.

A row is a mapping as in ``results.jsonl``. Lanes that differ in seed or fold alone
repeat one setting and are judged by their mean: the best of several seeds is luck.
Nothing here has ever seen the test split.

Two rules: ``min`` takes the setting of best mean; ``one_standard_error`` takes the
strongest l2 of those that are equal to it in all else and no more than a standard error
worse. The noise of a score is what other rows would change in it. So with folds the
error is that over folds, ``sd / sqrt(F)``, each the mean over its seeds. Without folds
it is that over the validation rows, which all repeats share: how little seeds differ
says nothing of other rows.

Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees" (1984),
section 3.4.3; Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning"
(2009), section 7.10.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.selection import ranking
from linclf_jax.selection.ranking import Row

WORDS = {1: "lowest", -1: "highest"}
RULES = ("min", "one_standard_error")
STRENGTH = ("l2", "C")  # the columns that say how strong a penalty is


class Selection(NamedTuple):
    """The setting chosen in one group of trials, why, and what must be said with it."""

    group: Mapping[str, Any]  # the values of the columns that make the group
    rows: tuple[Row, ...]  # its repeats that were compared, the first trial first
    reason: str
    repeats: dict[str, ranking.Spread]  # by metric
    ties: tuple[int, ...]  # first trials of others whose score is exactly the best
    warnings: tuple[str, ...]
    best: int  # first trial of the setting that the rule ``best`` takes
    standard_error: float | None  # of that one's mean; None where the rule is ``best``
    rules: Mapping[str, int]  # by rule, the first trial of what it would take


class Choice(NamedTuple):
    """The chosen setting and what must be said with it."""

    rows: tuple[Row, ...]  # its repeats; the first has the lowest lane number
    reason: str
    repeats: dict[str, ranking.Spread]  # by criterion
    # First lanes of the other settings whose mean is exactly that of the best one.
    ties: tuple[int, ...]
    warnings: tuple[str, ...]
    best: int  # first lane of the setting that the rule ``min`` takes
    standard_error: float | None  # of that one's mean; None where the rule is ``min``


def choose(
    rows: Sequence[Row],
    *,
    by: str,
    rule: str = "min",
    errors: Mapping[int, float] | None = None,
    edges: bool = True,
    flags: Mapping[str, str] | None = None,
) -> Choice:
    """Returns the best setting on validation data, with its ties and warnings.

    Args:
        rows: One per lane.
        by: A name in ``ranking.CRITERIA``; ties are broken as ``ranking.ranking`` says.
        rule: A name in ``RULES``.
        errors: The standard error over validation rows of a setting's mean, by its
            first lane. For ``one_standard_error`` without folds.
        edges: Whether to warn when the best lies at an edge of what was swept; a
            random sample has no edges.
        flags: By setting, the flag that widens its axis, where it has another name.

    Raises:
        ValueError: An unknown criterion or rule, or no setting ended well.
    """
    validate_rule(rule)
    ranked = ranking.rank_settings(rows, by=by)
    if not ranked:
        raise ValueError(_nothing_text(rows))
    first = best = ranked[0]
    error = None
    if rule != "min":
        error = _standard_error(first, by, errors or {})
        best = _strongest(ranked, by, error)
    known = [name for name in ranking.CRITERIA if name in best[0]]
    repeats = {name: ranking.spread(best, name) for name in known}
    score = ranking.spread(first, by).mean
    ties = tuple(
        group[0]["trial"]
        for group in ranked
        if group is not first and ranking.spread(group, by).mean == score
    )
    reason = "the only one"
    if len(rows) > 1:
        reason = _reason(rows, ranked, by)
        if error is not None:
            reason = (
                f"the strongest l2 that is within one standard error, {error:.4f}, of "
                + reason
            )
    warnings = _edge_warnings(rows, first[0], flags or {}) if edges else []
    if edges and best is not first:
        warnings += _edge_warnings(rows, best[0], flags or {}, only="l2")
    if ranking.diverged(rows):
        warnings.append(f"{_diverged_text(rows)} and were not eligible")
    return Choice(
        tuple(best), reason, repeats, ties, tuple(warnings), first[0]["trial"], error
    )


def validate_rule(rule: str) -> None:
    """Checks how one setting is to be taken.

    Args:
        rule: A name in ``RULES``.

    Raises:
        ValueError: It is another word; with the names allowed.
    """
    if rule not in RULES:
        raise ValueError(f"--choice is {rule!r}; expected one of {', '.join(RULES)}")


def _standard_error(
    group: Sequence[Row], by: str, errors: Mapping[int, float]
) -> float:
    """Returns the standard error of a setting's mean, over folds or over rows."""
    folds = sorted({row["fold"] for row in group if row["fold"] is not None})
    if not folds:
        return errors[group[0]["trial"]]
    means = [
        {by: ranking.spread([row for row in group if row["fold"] == fold], by).mean}
        for fold in folds
    ]
    sd = ranking.spread(means, by).sd
    return 0.0 if sd is None else sd / math.sqrt(len(folds))


def _strongest(ranked: Sequence[list[Row]], by: str, error: float) -> list[Row]:
    """Returns the setting of strongest l2, like the best in all else, within an error.

    Of two with one l2, which differ in nothing, there is none: the first is it.
    """
    sign = ranking.CRITERIA[by]
    limit = sign * ranking.spread(ranked[0], by).mean + error
    like = _besides_strength(ranked[0][0])
    within = [
        group
        for group in ranked
        if _besides_strength(group[0]) == like
        and sign * ranking.spread(group, by).mean <= limit
    ]
    return max(within, key=lambda group: group[0]["l2"])


def _besides_strength(row: Row) -> dict[str, Any]:
    known = ranking.settings(row)
    return {name: value for name, value in known.items() if name not in STRENGTH}


def _reason(rows: Sequence[Row], ranked: Sequence[list[Row]], by: str) -> str:
    """Returns what makes the first of the ranking the best."""
    best = ranked[0]
    word = WORDS[ranking.CRITERIA[by]]
    mean = f"mean {by} over {len(best)} repeats" if len(best) > 1 else by
    # Those that halving retired were compared on the same validation rows.
    compared = [row for row in rows if row["status"] != "diverged"]
    count = len({frozenset(ranking.settings(row).items()) for row in compared})
    many = "setting" if len(best) > 1 else "trial"
    many += "s" if count > 1 else ""
    value = ranking.spread(best, by).mean
    reason = f"the {word} {mean}, {value:.4f}, of {count} {many}"
    if ranking.retired(rows):
        reason += f", {len(ranked)} of them trained to the end"
    return reason


def _nothing_text(rows: Sequence[Row]) -> str:
    """Returns why no setting ended well, and what to do about it."""
    lost, gone = ranking.diverged(rows), ranking.retired(rows)
    if gone and not lost:
        return f"{_share(gone, rows)} were retired early: others were better"
    rest = " and no setting kept all its repeats" if len(lost) < len(rows) else ""
    if gone:
        rest = ", others were retired early"
    return f"{_diverged_text(rows)}{rest}; lower --learning_rate"


def _diverged_text(rows: Sequence[Row]) -> str:
    return f"{_share(ranking.diverged(rows), rows)} diverged"


def _share(some: Sequence[int], rows: Sequence[Row]) -> str:
    whole = "all" if len(some) == len(rows) else f"{len(some)} of"
    return f"{whole} {len(rows)} lanes"


def _edge_warnings(
    rows: Sequence[Row], best: Row, flags: Mapping[str, str], only: str | None = None
) -> list[str]:
    """Says where a value is the first or last of its axis and could go on.

    Args:
        rows: One per lane.
        best: The lane whose values are looked at.
        flags: By setting, its flag where that has another name.
        only: The one axis to look at, whose value a rule has chosen; all if None.
    """
    what = "best" if only is None else "chosen"
    rivals = [row for row in rows if row["optimizer"] == best["optimizer"]]
    warnings = []
    for name, value in ranking.settings(best).items():
        if only not in (None, name):
            continue
        if not isinstance(value, float) or value == 0:
            continue  # l2 = 0 cannot be lowered, so it is not an edge
        swept = {row[name] for row in rivals} - {None}
        if len(swept) > 1 and value in (min(swept), max(swept)):
            end = "largest" if value == max(swept) else "smallest"
            warnings.append(
                f"the {what} {name}, {value:g}, is the {end} of the grid; "
                f"widen --{flags.get(name, name)}"
            )
    return warnings
