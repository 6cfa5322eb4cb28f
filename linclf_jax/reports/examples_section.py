"""The sections of the report that show test rows: what is confused, what is sure.

Rows are shown as images where they are images, and else by their number, as a table.
"""

import functools
from collections.abc import Sequence

import numpy as np

from linclf_jax.figures import gallery, style
from linclf_jax.reports import markup
from linclf_jax.runs import examples as examples_lib
from linclf_jax.runs import record
from linclf_jax.runs.examples import CONFUSED, LEAST_SURE, SUREST, Examples

CERTAINTY = "certainty"
HEADINGS = {SUREST: "Surest", LEAST_SURE: "Least sure"}
NOTE = 15  # characters that fit below an image


def draw(run: record.Record) -> dict[str, bytes]:
    """The images of the rows that the folder has kept, as PNG bytes by name.

    Args:
        run: of any experiment.
    """
    kept = examples_lib.read(run.folder)
    if kept is None or kept.images.ndim < 3:
        return {}
    names = run.config["data"]["class_names"]
    pairs = [_pair_strip(pair, names) for pair in _pairs(kept)]
    ends = [
        _end_strip(rows, heading, names)
        for group, heading in HEADINGS.items()
        if len((rows := _take(kept, kept.group == group)).index)
    ]
    return style.pngs(
        {
            name: functools.partial(gallery.draw, strips)
            for name, strips in ((CONFUSED, pairs), (CERTAINTY, ends))
            if strips
        }
    )


def _take(kept: Examples, which: np.ndarray) -> Examples:
    rows = {name: a[which] for name, a in kept._asdict().items() if a.ndim}
    return kept._replace(**rows)


def _pairs(kept: Examples) -> list[Examples]:
    """The rows of each confused pair of classes, in the order of the pairs."""
    confused = _take(kept, kept.group == CONFUSED)
    kinds = zip(confused.labels.tolist(), confused.predictions.tolist(), strict=True)
    return [
        _take(confused, (confused.labels == true) & (confused.predictions == predicted))
        for true, predicted in dict.fromkeys(kinds)
    ]


def _pair_strip(pair: Examples, names: Sequence[str]) -> gallery.Strip:
    true, predicted = (
        style.short_name(names[int(classes[0])], 18)
        for classes in (pair.labels, pair.predictions)
    )
    rows = f"{pair.alike[0]} row{'s' if pair.alike[0] > 1 else ''}"
    notes = [[_certainty(value)] for value in pair.certainty]
    wrong = [False] * len(notes)  # all of them are: no need to say so in colour
    return gallery.Strip(
        f"{true} taken for {predicted}: {rows}", pair.images, notes, wrong
    )


def _end_strip(rows: Examples, heading: str, names: Sequence[str]) -> gallery.Strip:
    wrong = (rows.labels != rows.predictions).tolist()
    notes = [
        _note(names[int(true)], names[int(predicted)], _certainty(value))
        for true, predicted, value in zip(
            rows.labels, rows.predictions, rows.certainty, strict=True
        )
    ]
    return gallery.Strip(heading, rows.images, notes, wrong)


def _note(true: str, predicted: str, certainty: str) -> list[str]:
    room = NOTE - len(certainty) - 2
    first = f"{style.short_name(predicted, room)}: {certainty}"
    if true == predicted:
        return [first]
    return [first, f"is {style.short_name(true, NOTE - 3)}"]


def _certainty(value: float) -> str:
    """Two decimals; what rounds to 1 and is less is said to be more than 0.99."""
    return f"{value:.2f}" if not 0.995 <= value < 1 else ">0.99"


def confused(run: record.Record, png: bytes | None) -> str:
    """Which classes are taken for which, and the errors that were surest.

    Args:
        run: with ``examples.npz``.
        png: the figure; None where rows are no images.
    """
    kept = _kept(run)
    pairs = _pairs(kept)
    count = len(pairs)
    heading = "What it takes for what"
    if not count:
        nothing = markup.paragraph("No test row was predicted wrong.")
        return markup.section(CONFUSED, heading, nothing)
    caption = (
        f"The most frequent error{'s' if count > 1 else ''} on the test split; of each",
        f"at most {examples_lib.EACH} rows, the surest first, with {_meaning(kept)}.",
    )
    alt = f"Test images of the {count} most confused pairs of classes."
    table = _pair_table(pairs, run.config["data"]["class_names"])
    return markup.section(CONFUSED, heading, _figure(png, alt, caption, table))


def certainty(run: record.Record, png: bytes | None) -> str:
    """Which rows it is surest of, and which it is least sure of.

    Args:
        run: with ``examples.npz``.
        png: the figure; None where rows are no images.
    """
    kept = _kept(run)
    rows = _take(kept, kept.group != CONFUSED)
    wrong = int(np.sum((rows.labels != rows.predictions)[rows.group == SUREST]))
    surest = int(np.sum(rows.group == SUREST))
    caption = (
        f"Each with its predicted class and {_meaning(kept)};",
        "mistakes are orange, with the true class below." if png else "",
        f"Of the {surest} surest {wrong} {'are' if wrong != 1 else 'is'} wrong"
        + (": look there for labels that are wrong." if wrong else "."),
        "The least sure show what a linear classifier cannot tell apart.",
    )
    alt = "The test images that the classifier is surest of, and least sure of."
    table = _row_table(rows, run.config["data"]["class_names"])
    body = _figure(png, alt, caption, table)
    return markup.section(CERTAINTY, "What it is sure of, and what not", body)


def _kept(run: record.Record) -> Examples:
    kept = examples_lib.read(run.folder)
    if kept is None:
        raise ValueError(f"{run.folder} has no {examples_lib.FILE}")
    return kept


def _meaning(kept: Examples) -> str:
    if kept.calibrated:
        return "the probability that it gave its prediction"
    return (
        "the margin of its prediction over the next class, for a hinge loss makes no "
        "probabilities"
    )


def _figure(png: bytes | None, alt: str, caption: Sequence[str], table: str) -> str:
    """The figure with its caption, or the table where there is none."""
    if png is None:
        return table + markup.paragraph(*caption, kind="note")
    return markup.picture(png, alt=alt, caption=caption)


def _pair_table(pairs: Sequence[Examples], names: Sequence[str]) -> str:
    """A line for each pair of classes, with the rows by their numbers."""
    columns = ("true class", "predicted class", "test rows", "the surest of them")
    cells = []
    for pair in pairs:
        rows = zip(pair.index, pair.certainty, strict=True)
        named = ", ".join(f"{index} ({_certainty(value)})" for index, value in rows)
        true, predicted = names[pair.labels[0]], names[pair.predictions[0]]
        cells.append([true, predicted, str(pair.alike[0]), named])
    return markup.table(columns, cells, words=(*columns[:2], columns[3]))


def _row_table(rows: Examples, names: Sequence[str]) -> str:
    """The rows by their numbers in the source."""
    last = "probability" if rows.calibrated else "margin"
    columns = ("which", "row", "true class", "predicted class", last)
    cells = [
        [HEADINGS[group], str(index), names[true], names[predicted], _certainty(value)]
        for group, index, true, predicted, value in zip(
            *(rows.group, rows.index, rows.labels, rows.predictions, rows.certainty),
            strict=True,
        )
    ]
    return markup.table(
        columns, cells, words=("which", "true class", "predicted class")
    )


# In the order of the page.
SECTIONS = {CONFUSED: confused, CERTAINTY: certainty}
