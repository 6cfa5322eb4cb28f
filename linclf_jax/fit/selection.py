"""Choosing one setting by its validation scores, and saying how far to trust it.

A row is a mapping as in ``results.jsonl``. Lanes that differ in seed or fold alone
repeat one setting and are judged by their mean: the best of several seeds is luck.
Nothing here has ever seen the test split.
"""

from collections.abc import Sequence
from typing import NamedTuple

from linclf_jax import results
from linclf_jax.results import Row

WORDS = {1: "lowest", -1: "highest"}


class Choice(NamedTuple):
    """The chosen setting and what must be said with it."""

    rows: tuple[Row, ...]  # its repeats; the first has the lowest lane number
    reason: str
    repeats: dict[str, results.Spread]  # by criterion
    ties: tuple[int, ...]  # first lanes of settings with exactly the same two means
    warnings: tuple[str, ...]


def choose(rows: Sequence[Row], *, by: str, edges: bool = True) -> Choice:
    """Returns the best setting on validation data, with its ties and warnings.

    Args:
        rows: One per lane.
        by: ``val_loss`` or ``val_accuracy``.
        edges: Whether to warn when the best lies at an edge of what was swept; a
            random sample has no edges.

    Raises:
        ValueError: An unknown criterion, or no setting ended well.
    """
    ranked = results.rank_settings(rows, by=by)
    if not ranked:
        lost = len(results.diverged(rows)) < len(rows)
        what = " and no setting kept all its repeats" if lost else ""
        raise ValueError(f"{_diverged_text(rows)}{what}; lower --learning_rate")
    best = ranked[0]
    repeats = {name: results.spread(best, name) for name in results.CRITERIA}
    ties = tuple(
        group[0]["lane"]
        for group in ranked[1:]
        if all(
            results.spread(group, n).mean == repeats[n].mean for n in results.CRITERIA
        )
    )
    reason = "the only one"
    if len(rows) > 1:
        word = WORDS[results.CRITERIA[by][0]]
        mean = f"mean {by} over {len(best)} repeats" if len(best) > 1 else by
        # Those that halving retired were compared on the same validation rows.
        compared = [row for row in rows if row["status"] != "diverged"]
        count = len({frozenset(results.settings(row).items()) for row in compared})
        many = "setting" if len(best) > 1 else "lane"
        many += "s" if count > 1 else ""
        reason = f"the {word} {mean}, {repeats[by].mean:.4f}, of {count} {many}"
        if results.retired(rows):
            reason += f", {len(ranked)} of them trained to the end"
    warnings = _edge_warnings(rows, best[0]) if edges else []
    if results.diverged(rows):
        warnings.append(f"{_diverged_text(rows)} and were not eligible")
    return Choice(tuple(best), reason, repeats, ties, tuple(warnings))


def _diverged_text(rows: Sequence[Row]) -> str:
    diverged = len(results.diverged(rows))
    whole = "all" if diverged == len(rows) else f"{diverged} of"
    return f"{whole} {len(rows)} lanes diverged"


def _edge_warnings(rows: Sequence[Row], best: Row) -> list[str]:
    """Says where the best value is the first or last of its axis and could go on."""
    rivals = [row for row in rows if row["optimizer"] == best["optimizer"]]
    warnings = []
    for name, value in results.settings(best).items():
        if not isinstance(value, float) or value == 0:  # no l2 is less than none
            continue
        swept = {row[name] for row in rivals} - {None}
        if len(swept) > 1 and value in (min(swept), max(swept)):
            end = "largest" if value == max(swept) else "smallest"
            warnings.append(
                f"the best {name}, {value:g}, is the {end} of the grid; widen --{name}"
            )
    return warnings
