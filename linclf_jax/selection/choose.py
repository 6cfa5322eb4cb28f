"""Choosing one setting by its held-out scores, and saying how far to trust it.

A row is a mapping as in ``results.jsonl``. Trials that differ in seed or fold alone
repeat one setting and are judged by their mean: the best of several seeds is chance.
Nothing here has ever seen the test split.

Two rules: ``best`` takes the setting of best mean; ``one_standard_error`` takes the
strongest l2 of those that are equal to it in all else and no more than a standard error
worse. The noise of a score is what other rows would change in it. So with folds the
error is that over folds, ``sd / sqrt(F)``, each the mean over its seeds. Without folds
it is that over the held-out rows, which all repeats share: how little seeds differ says
nothing of other rows.

Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees" (1984),
section 3.4.3; Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning"
(2009), section 7.10.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from linclf_jax.selection import cautions, ranking
from linclf_jax.selection.ranking import METRICS, Row

BEST, ONE_STANDARD_ERROR = RULES = ("best", "one_standard_error")
WORDS = {1: "lowest", -1: "highest"}
STRENGTH = ("l2", "C")  # the columns that say how strong a penalty is

# By metric, then by first trial of a setting.
Errors = Mapping[str, Mapping[int, float]]


class Selection(NamedTuple):
    """The setting chosen in one group of trials, why, and what must be said with it."""

    group: Mapping[str, Any]  # the values of the columns that make the group
    setting: Row  # of its first trial; where nothing was compared, the settings alone
    rows: tuple[Row, ...]  # its repeats that were compared, the first trial first
    reason: str
    repeats: dict[str, ranking.Spread]  # by metric
    ties: tuple[int, ...]  # first trials of others whose score is exactly the best
    warnings: tuple[str, ...]
    best: int | None  # first trial of the setting that the rule ``best`` takes
    standard_error: float | None  # of that one's mean; None where the rule is ``best``
    rules: Mapping[str, int]  # by rule, the first trial of what it would take


class NothingUsableError(ValueError):
    """No setting of a group can be chosen, whatever else is right."""


class Failure(NamedTuple):
    """A group of trials in which no setting is usable, and why."""

    group: Mapping[str, Any]
    reason: str


def without_comparison(
    group: Mapping[str, Any], setting: Row, reason: str
) -> Selection:
    """Returns a setting that was taken without comparing any."""
    return Selection(group, setting, (), reason, {}, (), (), None, None, {})


def select_per_group(
    rows: Sequence[Row],
    columns: Sequence[str],
    *,
    given: Sequence[Selection] = (),
    **options: Any,
) -> list[Selection | Failure]:
    """Returns what is chosen for each combination of values, in order of appearance.

    Args:
        rows: One per trial.
        columns: Of the rows; none make one group of all.
        given: Selections of groups in which nothing can be compared.
        options: As for ``select``.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    taken = {tuple(s.group.values()): s for s in given}
    selections: list[Selection | Failure] = []
    for key, members in groups.items():
        group = dict(zip(columns, key, strict=True))
        if key in taken:
            selections.append(taken[key])
            continue
        try:
            selections.append(select(members, group=group, **options))
        except NothingUsableError as error:
            selections.append(Failure(group, str(error)))
    return selections


def select(
    rows: Sequence[Row],
    *,
    metric: str,
    rule: str = BEST,
    errors: Errors | None = None,
    edges: bool = True,
    flags: Mapping[str, str] | None = None,
    group: Mapping[str, Any] | None = None,
) -> Selection:
    """Returns the best setting on held-out data, with its ties and warnings.

    Args:
        rows: One per trial.
        metric: A name in ``ranking.METRICS``; ties are broken as ``ranking.ranking``
            says.
        rule: A name in ``RULES``.
        errors: The standard errors over held-out rows of a setting's means. For
            ``one_standard_error`` without folds.
        edges: Whether to warn when the best lies at an edge of the search space; a
            random sample has no edges.
        flags: By setting, the flag that widens its axis, where it has another name.
        group: What the rows have in common, by column.

    Raises:
        ValueError: An unknown metric or rule.
        NothingUsableError: No setting is usable.
    """
    validate_rule(rule)
    ranked = ranking.rank_settings(rows, metric=metric)
    if not ranked or not _is_finite(ranked[0], metric):
        raise NothingUsableError(cautions.nothing_usable(rows, metric))
    error = standard_error(ranked[0], metric, errors or {})
    rules = {BEST: ranked[0]}
    if error is not None:
        rules[ONE_STANDARD_ERROR] = _strongest(ranked, metric, error)
    if rule not in rules:
        raise NothingUsableError(
            f"--rule is {rule}, but nothing says how sure the scores are; expected "
            f"{BEST}, or folds or held-out rows"
        )
    best, chosen = rules[BEST], rules[rule]
    warnings = cautions.edges(rows, best[0], flags or {}) if edges else []
    if edges and chosen is not best:
        warnings += cautions.edges(rows, chosen[0], flags or {}, only="l2")
    ties = _ties(ranked, metric)
    return Selection(
        group=group or {},
        setting=chosen[0],
        rows=tuple(chosen),
        reason=_reason(rows, ranked, metric, rule, error, len(ties)),
        repeats={
            name: ranking.spread(chosen, name) for name in METRICS if name in chosen[0]
        },
        ties=ties,
        warnings=(*warnings, *cautions.endings(rows)),
        best=best[0]["trial"],
        standard_error=error if rule == ONE_STANDARD_ERROR else None,
        rules={name: setting[0]["trial"] for name, setting in rules.items()},
    )


def validate_rule(rule: str) -> None:
    """Refuses another word than the rules."""
    if rule not in RULES:
        raise ValueError(f"--rule is {rule!r}; expected one of {', '.join(RULES)}")


def standard_error(setting: Sequence[Row], metric: str, errors: Errors) -> float | None:
    """Returns the standard error of a setting's mean, over folds or over rows.

    The rows are its repeats. None where the error is not known, or is no finite number:
    one fold says nothing of how folds differ, so that the rows have to.
    """
    folds = sorted({row["fold"] for row in setting if row.get("fold") is not None})
    if len(folds) < 2:
        error = errors.get(metric, {}).get(setting[0]["trial"])
        return error if error is not None and math.isfinite(error) else None
    means = [
        {metric: ranking.spread([r for r in setting if r["fold"] == f], metric).mean}
        for f in folds
    ]
    sd = ranking.spread(means, metric).sd
    return None if sd is None else sd / math.sqrt(len(folds))


def _ties(ranked: Sequence[list[Row]], metric: str) -> tuple[int, ...]:
    """Returns the first trials of other settings whose mean is exactly the best."""
    best, *others = [ranking.spread(setting, metric).mean for setting in ranked]
    return tuple(
        setting[0]["trial"]
        for setting, mean in zip(ranked[1:], others, strict=True)
        if mean == best
    )


def _is_finite(setting: Sequence[Row], metric: str) -> bool:
    scores = [row[metric] for row in setting]
    return all(score is not None and math.isfinite(score) for score in scores)


def _strongest(ranked: Sequence[list[Row]], metric: str, error: float) -> list[Row]:
    """Returns the setting of strongest l2, like the best in all else, within an error.

    Of two with one l2, which differ in nothing, there is none: the first is it.
    """
    sign = METRICS[metric]
    limit = sign * ranking.spread(ranked[0], metric).mean + error
    like = _besides_strength(ranked[0][0])
    within = [
        setting
        for setting in ranked
        if _besides_strength(setting[0]) == like
        and _is_finite(setting, metric)
        and sign * ranking.spread(setting, metric).mean <= limit
    ]
    return max(within, key=lambda setting: setting[0]["l2"])


def _besides_strength(row: Row) -> dict[str, Any]:
    known = ranking.settings(row)
    return {name: value for name, value in known.items() if name not in STRENGTH}


def _reason(
    rows: Sequence[Row],
    ranked: Sequence[list[Row]],
    metric: str,
    rule: str,
    error: float | None,
    ties: int,
) -> str:
    """Returns what makes the chosen setting the one to take."""
    best = ranked[0]
    compared = [row for row in rows if ranking.is_compared(row)]
    if len(compared) == 1:
        return "the only one"
    count = ranking.count_settings(
        [r for r in compared if ranking.is_usable(r) or r["status"] == ranking.RETIRED]
    )
    mean = f"mean {metric} over {cautions.repeats(best)}" if len(best) > 1 else metric
    what = ("setting" if len(best) > 1 else "trial") + ("s" if count > 1 else "")
    score = ranking.spread(best, metric).mean
    reason = f"the {WORDS[METRICS[metric]]} {mean}, {score:.4f}, of {count} {what}"
    if ranking.retired(rows):
        reason += f", {len(ranked)} of them trained to the end"
    if rule == ONE_STANDARD_ERROR:
        reason = f"the strongest l2 within one standard error, {error:.4f}, of {reason}"
    if ties:
        by_loss = len(ranking.order(rows, metric)) > 1
        first = "the lower val_loss, then " if by_loss else ""
        reason += f"; {ties + 1} tie for it, and {first}the stronger l2 goes first"
    return reason
