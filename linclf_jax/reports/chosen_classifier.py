"""The sections of the chosen classifier: errors, examples, weights, reliability.

Test rows are shown as images where they are images, and else by their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linclf_jax.figures import classifier, gallery, style
from linclf_jax.figures.classifier import Diagram
from linclf_jax.figures.gallery import Strip
from linclf_jax.reports import sections, tables, text
from linclf_jax.reports.sections import Section
from linclf_jax.reports.tables import Table
from linclf_jax.runs import examples as examples_lib
from linclf_jax.runs.examples import CONFUSED, LEAST_SURE, SUREST, Examples
from linclf_jax.runs.record import Record
from linclf_jax.runs.schema import Row

HEADINGS = {SUREST: "Surest", LEAST_SURE: "Least sure"}
NOTE = 15  # characters that fit below an image


def make(record: Record) -> Iterator[Section]:
    """Yields the sections of the chosen classifier, if there is one."""
    if record.chosen is None:
        return
    test, data = record.chosen["test"], record.config["data"]
    names = data["class_names"]
    yield _confusion(test, names)
    examples = examples_lib.read(record.directory)
    if examples is not None:
        yield _confused(examples, names)
        yield _certainty(examples, names)
    if record.weights is not None and _are_pixels(record.chosen["row"], data):
        yield _templates(record.weights, names, data["image_shape"])
    if test["reliability"] is not None:
        yield _reliability(test)


def _confusion(test: Mapping[str, Any], names: Sequence[str]) -> Section:
    counts, recall = np.asarray(test["confusion"]), test["per_class_recall"]
    known = [pair for pair in zip(recall, names, strict=True) if pair[0] is not None]
    return sections.make(
        "confusion",
        wrong=int(counts.sum() - np.trace(counts)),
        size=test["size"],
        num_classes=len(names),
        frequent=[
            (names[true], names[predicted], int(counts[true, predicted]))
            for true, predicted in examples_lib.most_frequent_errors(counts)
        ],
        lowest=min(known),
        figure=lambda: classifier.confusion(counts, recall, names),
    )


def _are_pixels(row: Row, data: Mapping[str, Any]) -> bool:
    """Whether each weight belongs to one pixel."""
    changed = str(row.get("preprocessing")).startswith(("pca", "whiten"))
    if data["image_shape"] is None or changed:
        return False
    if "sets" in data:  # config.json has the image shape of the first set alone
        return row["features"] == next(iter(data["sets"]))
    return row.get("features", "raw") in ("raw", "rgb")


def _templates(
    weights: np.ndarray, names: Sequence[str], shape: Sequence[int]
) -> Section:
    return sections.make(
        "templates",
        colour=len(shape) == 3,
        num_classes=len(names),
        most=classifier.MOST_TEMPLATES,
        figure=lambda: classifier.templates(weights, names, shape),
    )


def _reliability(test: Mapping[str, Any]) -> Section:
    """As trained, and after temperature scaling where that was fitted."""
    diagrams = [_diagram("as trained", test, "")]
    if test.get("reliability_scaled") is not None:
        name = f"at temperature {test['temperature']:.3g}"
        diagrams.append(_diagram(name, test, "_scaled"))
    return sections.make(
        "reliability",
        error=test["calibration_error"],
        scaled=test.get("calibration_error_scaled"),
        figure=lambda: classifier.reliability(*diagrams),
    )


def _diagram(name: str, test: Mapping[str, Any], suffix: str) -> Diagram:
    error = test[f"calibration_error{suffix}"]
    title = f"{name}: calibration error {error:.4f}"
    return Diagram(title, test[f"reliability{suffix}"])


def _take(examples: Examples, which: np.ndarray) -> Examples:
    rows = {name: a[which] for name, a in examples._asdict().items() if a.ndim}
    return examples._replace(**rows)


def _are_images(examples: Examples) -> bool:
    return examples.images.ndim > 2


def _confused(examples: Examples, names: Sequence[str]) -> Section:
    """Which classes are taken for which, and the errors that were surest."""
    pairs = _pairs(examples)
    shown: dict[str, Any] = {}
    if pairs and _are_images(examples):
        strips = [_pair_strip(pair, names) for pair in pairs]
        shown["figure"] = lambda: gallery.draw(strips)
    elif pairs:
        shown["table"] = _pair_table(pairs, names)
    return sections.make(
        CONFUSED,
        pairs=len(pairs),
        each=examples_lib.EACH,
        calibrated=bool(examples.calibrated),
        **shown,
    )


def _pairs(examples: Examples) -> list[Examples]:
    """The rows of each confused pair of classes, in the order of the pairs."""
    confused = _take(examples, examples.group == CONFUSED)
    kinds = zip(confused.labels.tolist(), confused.predictions.tolist(), strict=True)
    return [
        _take(confused, (confused.labels == true) & (confused.predictions == predicted))
        for true, predicted in dict.fromkeys(kinds)
    ]


def _pair_strip(pair: Examples, names: Sequence[str]) -> Strip:
    true, predicted = (
        style.short_name(names[int(classes[0])], 18)
        for classes in (pair.labels, pair.predictions)
    )
    rows = text.count(int(pair.alike[0]), "row")
    notes = [[_number(value)] for value in pair.certainty]
    wrong = [False] * len(notes)  # all of them are: no need to say so in colour
    return Strip(f"{true} taken for {predicted}: {rows}", pair.images, notes, wrong)


def _pair_table(pairs: Sequence[Examples], names: Sequence[str]) -> Table:
    """A line for each pair of classes, with the rows by their numbers."""
    lines = []
    for pair in pairs:
        surest = zip(pair.index, pair.certainty, strict=True)
        line = {
            "true class": names[pair.labels[0]],
            "predicted class": names[pair.predictions[0]],
            "test rows": str(pair.alike[0]),
            "the surest of them": ", ".join(f"{i} ({_number(p)})" for i, p in surest),
        }
        lines.append(line)
    words = "true class", "predicted class", "the surest of them"
    return tables.table(lines, words)


def _certainty(examples: Examples, names: Sequence[str]) -> Section:
    """Which rows it is surest of, and which it is least sure of."""
    rows = _take(examples, examples.group != CONFUSED)
    shown: dict[str, Any] = {}
    if _are_images(examples):
        ends = [(name, _take(rows, rows.group == name)) for name in HEADINGS]
        strips = [_end_strip(end, name, names) for name, end in ends if len(end.index)]
        shown["figure"] = lambda: gallery.draw(strips)
    else:
        shown["table"] = _row_table(rows, names)
    surest = _take(rows, rows.group == SUREST)
    return sections.make(
        "certainty",
        calibrated=bool(examples.calibrated),
        images=_are_images(examples),
        surest=len(surest.index),
        wrong=int((surest.labels != surest.predictions).sum()),
        **shown,
    )


def _end_strip(rows: Examples, group: str, names: Sequence[str]) -> Strip:
    wrong = (rows.labels != rows.predictions).tolist()
    shown = zip(rows.labels, rows.predictions, rows.certainty, strict=True)
    notes = [
        _note(names[int(true)], names[int(predicted)], _number(value))
        for true, predicted, value in shown
    ]
    return Strip(HEADINGS[group], rows.images, notes, wrong)


def _note(true: str, predicted: str, certainty: str) -> list[str]:
    room = NOTE - len(certainty) - 2
    first = f"{style.short_name(predicted, room)}: {certainty}"
    if true == predicted:
        return [first]
    return [first, f"is {style.short_name(true, NOTE - 3)}"]


def _number(certainty: float) -> str:
    """Two decimals; what rounds to 1 and is less is said to be more than 0.99."""
    return f"{certainty:.2f}" if not 0.995 <= certainty < 1 else ">0.99"


def _row_table(rows: Examples, names: Sequence[str]) -> Table:
    """The rows by their numbers in the source."""
    certainty = "probability" if rows.calibrated else "margin"
    lines = [
        {
            "which": HEADINGS[group],
            "row": str(index),
            "true class": names[true],
            "predicted class": names[predicted],
            certainty: _number(value),
        }
        for group, index, true, predicted, value in zip(*rows[:5], strict=True)
    ]
    return tables.table(lines, words=("which", "true class", "predicted class"))
