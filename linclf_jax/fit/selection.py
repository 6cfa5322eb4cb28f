"""Choosing one lane by its validation score, and saying how far to trust the choice.

A row is a mapping as in ``results.jsonl``. Nothing here has ever seen the test split.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from linclf_jax import results
from linclf_jax.results import Row


class Choice(NamedTuple):
    """The chosen lane and what must be said with it."""

    lane: int
    reason: str
    ties: tuple[int, ...]  # other lanes of exactly the same two validation scores
    warnings: tuple[str, ...]


def choose(
    rows: Sequence[Row], *, by: str, axes: Mapping[str, Sequence[float]]
) -> Choice:
    """Returns the best lane on validation data, with its ties and warnings.

    Args:
        rows: One per lane.
        by: ``val_loss`` or ``val_accuracy``.
        axes: The values that were swept, to warn when the best lies at an edge.

    Raises:
        ValueError: An unknown criterion, or no lane ended well.
    """
    ranked = results.rank(rows, by=by)
    if not ranked:
        raise ValueError(f"all {len(rows)} lanes diverged; lower --learning_rate")
    best = ranked[0]
    ties = tuple(
        row["lane"]
        for row in ranked[1:]
        if all(row[name] == best[name] for name in results.CRITERIA)
    )
    word = "lowest" if results.CRITERIA[by][0] > 0 else "highest"
    reason = f"the {word} {by}, {best[by]:.4f}, of {len(ranked)} lanes"
    if len(rows) == 1:
        reason = "the only one"
    return Choice(best["lane"], reason, ties, _warnings(rows, best, axes))


def _warnings(
    rows: Sequence[Row], best: Row, axes: Mapping[str, Sequence[float]]
) -> tuple[str, ...]:
    diverged = len(results.diverged(rows))
    found = [_edge_warning(name, best[name], values) for name, values in axes.items()]
    if diverged:
        found.append(f"{diverged} of {len(rows)} lanes diverged and were not eligible")
    return tuple(warning for warning in found if warning)


def _edge_warning(
    name: str, value: float | None, values: Sequence[float]
) -> str | None:
    """Says that the best value is the first or last of its axis and could go on."""
    if value is None or len(values) < 2 or min(values) < value < max(values):
        return None
    if value == 0:  # no l2 or warm-up is less than none
        return None
    end = "largest" if value == max(values) else "smallest"
    return f"the best {name}, {value:g}, is the {end} of the grid; widen --{name}"
