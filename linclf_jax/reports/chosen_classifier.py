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
from linclf_jax.reports import sections, text
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
    yield _confusion(test, data["class_names"])
    kept = examples_lib.read(record.directory)
    if kept is not None:
        yield _confused(kept, data["class_names"])
        yield _certainty(kept, data["class_names"])
    if record.weights is not None and _are_pixels(record.chosen["row"], data):
        yield _templates(record.weights, data)
    if test["reliability"] is not None:
        yield _reliability(test)


def _confusion(test: Mapping[str, Any], names: Sequence[str]) -> Section:
    counts, recall = np.asarray(test["confusion"]), test["per_class_recall"]
    values = {
        "wrong": int(counts.sum() - np.trace(counts)),
        "size": test["size"],
        "num_classes": len(names),
        "frequent": [
            (names[true], names[predicted], int(counts[true, predicted]))
            for true, predicted in examples_lib.most_frequent_errors(counts)
        ],
        "lowest": min(
            pair for pair in zip(recall, names, strict=True) if pair[0] is not None
        ),
    }
    return sections.make(
        "confusion",
        values,
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


def _templates(weights: np.ndarray, data: Mapping[str, Any]) -> Section:
    names, shape = data["class_names"], data["image_shape"]
    values = {
        "colour": len(shape) == 3,
        "num_classes": len(names),
        "most": classifier.MOST_TEMPLATES,
    }
    return sections.make(
        "templates",
        values,
        figure=lambda: classifier.templates(weights, names, shape),
    )


def _reliability(test: Mapping[str, Any]) -> Section:
    """As trained, and after temperature scaling where that was fitted."""
    scaled = test.get("calibration_error_scaled")
    diagrams = [_diagram("as trained", test, "")]
    if test.get("reliability_scaled") is not None:
        name = f"at temperature {test['temperature']:.3g}"
        diagrams.append(_diagram(name, test, "_scaled"))
    values = {"error": test["calibration_error"], "scaled": scaled}
    return sections.make(
        "reliability", values, figure=lambda: classifier.reliability(*diagrams)
    )


def _diagram(name: str, test: Mapping[str, Any], suffix: str) -> Diagram:
    error = test[f"calibration_error{suffix}"]
    title = f"{name}: calibration error {error:.4f}"
    return Diagram(title, test[f"reliability{suffix}"])


def _take(kept: Examples, which: np.ndarray) -> Examples:
    rows = {name: a[which] for name, a in kept._asdict().items() if a.ndim}
    return kept._replace(**rows)


def _are_images(kept: Examples) -> bool:
    return kept.images.ndim > 2


def _confused(kept: Examples, names: Sequence[str]) -> Section:
    """Which classes are taken for which, and the errors that were surest."""
    pairs = _pairs(kept)
    values = {
        "pairs": len(pairs),
        "each": examples_lib.EACH,
        "calibrated": bool(kept.calibrated),
    }
    if not pairs:
        return sections.make(CONFUSED, values)
    if not _are_images(kept):
        return sections.make(CONFUSED, values, table=_pair_table(pairs, names))
    strips = [_pair_strip(pair, names) for pair in pairs]
    return sections.make(CONFUSED, values, figure=lambda: gallery.draw(strips))


def _pairs(kept: Examples) -> list[Examples]:
    """The rows of each confused pair of classes, in the order of the pairs."""
    confused = _take(kept, kept.group == CONFUSED)
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
    columns = "true class", "predicted class", "test rows", "the surest of them"
    rows = []
    for pair in pairs:
        surest = zip(pair.index, pair.certainty, strict=True)
        numbers = ", ".join(f"{index} ({_number(value)})" for index, value in surest)
        true, predicted = names[pair.labels[0]], names[pair.predictions[0]]
        rows.append([true, predicted, str(pair.alike[0]), numbers])
    return Table(columns, rows, words=(*columns[:2], columns[3]))


def _certainty(kept: Examples, names: Sequence[str]) -> Section:
    """Which rows it is surest of, and which it is least sure of."""
    rows = _take(kept, kept.group != CONFUSED)
    surest = rows.group == SUREST
    images = _are_images(kept)
    values = {
        "calibrated": bool(kept.calibrated),
        "images": images,
        "surest": int(surest.sum()),
        "wrong": int((rows.labels != rows.predictions)[surest].sum()),
    }
    if not images:
        return sections.make("certainty", values, table=_row_table(rows, names))
    groups = {name: _take(rows, rows.group == name) for name in HEADINGS}
    strips = [
        _end_strip(own, HEADINGS[name], names)
        for name, own in groups.items()
        if len(own.index)
    ]
    return sections.make("certainty", values, figure=lambda: gallery.draw(strips))


def _end_strip(rows: Examples, heading: str, names: Sequence[str]) -> Strip:
    wrong = (rows.labels != rows.predictions).tolist()
    shown = zip(rows.labels, rows.predictions, rows.certainty, strict=True)
    notes = [
        _note(names[int(true)], names[int(predicted)], _number(value))
        for true, predicted, value in shown
    ]
    return Strip(heading, rows.images, notes, wrong)


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
    last = "probability" if rows.calibrated else "margin"
    columns = "which", "row", "true class", "predicted class", last
    cells = [
        [HEADINGS[group], str(index), names[true], names[predicted], _number(value)]
        for group, index, true, predicted, value in zip(
            rows.group,
            rows.index,
            rows.labels,
            rows.predictions,
            rows.certainty,
            strict=True,
        )
    ]
    return Table(columns, cells, words=(columns[0], *columns[2:4]))
