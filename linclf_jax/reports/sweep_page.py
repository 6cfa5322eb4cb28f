"""The page that a person opens after a run, made from the run folder alone.

Of an unfinished run it is ``progress.html``, so that nobody who looks in ever writes a
file that the run itself will write and seal.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.figures import (
    classifier,
    grid,
    group_curves,
    heatmap,
    learning_curves,
    scatter,
)
from linclf_jax.figures import style as figures
from linclf_jax.reports import (
    answer,
    examples_section,
    files,
    group_table,
    markup,
    ranking_table,
)
from linclf_jax.reports import sections as report_sections
from linclf_jax.runs import directory, record
from linclf_jax.selection import ranking

PAGE = files.PAGE
PROGRESS = "progress.html"
# In the order of the page; the ranking stands between the sweep and the choice. A grid
# has a heat map, a random sample has a scatter, and no run has both.
SECTIONS = {
    "cells": group_table.cells,
    "heatmap": report_sections.heatmap,
    "scatter": report_sections.scatter,
    "curves": report_sections.curves,
    "confusion": report_sections.confusion,
    **examples_section.SECTIONS,
    "templates": report_sections.templates,
    "reliability": report_sections.reliability,
}


def require() -> None:
    """Refuses to go on where figures cannot be drawn: before hours of training.

    Raises:
        ValueError: matplotlib is not installed; with the command that installs it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(
            "the report is drawn by matplotlib, which is not installed: "
            "pip install 'linclf_jax[experiments]'"
        )


def write(run_dir: str | Path) -> Path:
    """Draws the figures of a run folder and writes ``report.html`` around them.

    The same folder gives the same bytes. A run whose lanes all diverged gets a page
    that says so.

    Args:
        run_dir: a run folder, see ``record.read``. Every figure is also written into
            it as a PNG file.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: a file is missing, or what it holds does not fit the others; or as
            ``require`` does.
    """
    folder = Path(run_dir)
    for name, data in _files(folder).items():
        directory.write(folder / name, data)
    (folder / PROGRESS).unlink(missing_ok=True)
    return folder / PAGE


def write_progress(run_dir: str | Path) -> Path:
    """Writes ``progress.html``: the page of a run that is unfinished, as it stands.

    Args:
        run_dir: a run folder, which another process may be writing.

    Returns:
        The path of ``progress.html``; its figures are inside it.

    Raises:
        ValueError: as ``write`` does; or no piece of the run is finished yet.
    """
    require()
    run = record.read(Path(run_dir))
    path = run.folder / PROGRESS
    directory.write(path, page(run, draw(run)))
    return path


def redraw(run_dir: str | Path) -> Path:
    """Draws the page of a sealed run again, see ``files.renew``.

    Args:
        run_dir: a sealed run folder.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: files that the page is made from are not as they were sealed; or as
            ``write`` does.
    """
    names = PAGE, *(f"{name}.png" for name in SECTIONS)
    return files.renew(Path(run_dir), _files, names)


def _files(folder: Path) -> dict[str, bytes]:
    """The page and its figures as bytes, by the names of their files."""
    require()
    run = record.read(folder)
    images = draw(run)
    figures = {f"{name}.png": png for name, png in images.items()}
    return {**figures, PAGE: page(run, images).encode()}


def draw(run: record.Record) -> dict[str, bytes]:
    """The figures that a run folder has something to show in.

    Args:
        run: the run folder.

    Returns:
        PNG bytes by name.
    """
    selected = run.selected["row"] if run.selected is not None else None
    makers = {}
    if len(run.rows) > 1:  # one lane makes no map
        name, plot = "heatmap", heatmap.draw
        if grid.is_scattered(run.rows):
            name, plot = "scatter", scatter.draw
        makers[name] = functools.partial(plot, run.rows, selected)
    # Nothing to draw where every lane diverged in its first epoch.
    if run.history is not None and np.isfinite(run.history["val_loss"]).any():
        ended_early = ranking.diverged(run.rows), ranking.retired(run.rows)
        makers["curves"] = functools.partial(
            learning_curves.draw, run.history, named(run), *ended_early
        )
    if run.table and run.history is not None:
        makers["cells"] = lambda: group_curves.draw(cell_curves_of(run))
    images = figures.pngs(makers)
    return images | (draw_selected(run) if run.selected is not None else {})


def cell_curves_of(run: record.Record) -> list[group_curves.Curve]:
    """The curves of a table's cells; of a choice by repeats, their mean.

    Args:
        run: a run folder with a table and curves.
    """
    assert run.history is not None
    place = {int(lane): i for i, lane in enumerate(run.history["trial"])}
    keeps = run.config["flags"].get("keep") == "best"
    found = []
    for cell in (cell for cell in run.table if cell["failure"] is None):
        first, *rest = map(str, cell["values"].values())
        accuracy = run.history["val_accuracy"][[place[n] for n in cell["lanes"]]]
        # Repeats keep an epoch each: the mean of their curves has none.
        alone = len(cell["lanes"]) == 1
        epoch = cell["row"]["epoch"] if keeps and alone else None
        line = ", ".join(rest) or "the choice"
        found.append(group_curves.Curve(first, line, accuracy.mean(0), epoch))
    return found


def named(run: record.Record) -> dict[str, int]:
    """The lanes whose curves have a colour, by what they are.

    Args:
        run: the run folder.
    """
    ranked, chosen = run.ranked, run.chosen_rows
    best = chosen or ranked
    what = "chosen" if chosen else "best so far"
    if chosen and run.choice["trial"] is None:
        what = "a repeat of the chosen"
    lanes = {what: best[0]["trial"]} if best else {}
    if len(ranked) > 2:
        lanes["median"] = ranked[len(ranked) // 2]["trial"]
    return lanes


def draw_selected(run: record.Record) -> dict[str, bytes]:
    """What the chosen classifier confuses, is sure of and looks for, and reliability.

    Args:
        run: a run folder with a choice.

    Returns:
        PNG bytes by name.
    """
    data, test = run.config["data"], run.choice["test"]
    names, counts = data["class_names"], np.asarray(test["confusion"])
    recall = test["per_class_recall"]
    makers = {
        "confusion": functools.partial(classifier.confusion, counts, recall, names)
    }
    if run.weights is not None and _are_pixels(run):
        makers["templates"] = functools.partial(
            classifier.templates, run.weights, names, data["image_shape"]
        )
    diagrams = _diagrams(test)
    if diagrams:
        makers["reliability"] = functools.partial(classifier.reliability, *diagrams)
    return figures.pngs(makers) | examples_section.draw(run)


def _are_pixels(run: record.Record) -> bool:
    """Whether each weight of the chosen classifier belongs to one pixel."""
    row = run.choice["row"]
    changed = str(row.get("preprocessing")).startswith(("pca", "whiten"))
    pixels = row.get("features", "raw") in ("raw", "rgb")
    return run.config["data"]["image_shape"] is not None and pixels and not changed


def _diagrams(test: Mapping[str, Any]) -> list[classifier.Diagram]:
    """Reliability as trained, and after temperature scaling where that was fitted."""
    diagrams = []
    for name, suffix in (("as trained", ""), ("temperature", "_scaled")):
        bins = test.get(f"reliability{suffix}")
        if suffix and test.get("temperature") is not None:
            name = f"at temperature {test['temperature']:.3g}"
        if bins is not None:
            error = test[f"calibration_error{suffix}"]
            title = f"{name}: calibration error {error:.4f}"
            diagrams.append(classifier.Diagram(title, bins))
    return diagrams


def page(run: record.Record, images: dict[str, bytes]) -> str:
    """The whole page as HTML5, with everything inside it.

    Args:
        run: the run folder.
        images: PNG bytes, as from ``draw``; a section without its figure is left out.
    """
    sections = {
        name: section(run, images[name])
        for name, section in SECTIONS.items()
        if name in images
    }
    body = (
        answer.header(run),
        *(sections.pop(name, "") for name in ("cells", "heatmap", "scatter", "curves")),
        ranking_table.ranking(run),
        *sections.values(),
        report_sections.origins(run),
    )
    title = f"{run.config['experiment']} on {run.config['data']['name']}"
    return markup.document(f"{title}: {answer.headline(run)}", body)
