"""The page that a person opens after a run, made from the run folder alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from linclf_jax import results
from linclf_jax.runs import (
    curves,
    directory,
    figures,
    heatmap,
    plots,
    record,
    report_answer,
    report_sections,
)
from linclf_jax.runs import report_markup as markup

# In the order of the page; the ranking stands between the sweep and the choice.
SECTIONS = {
    "heatmap": report_sections.heatmap,
    "curves": report_sections.curves,
    "confusion": report_sections.confusion,
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

    The same folder gives the same bytes. A run that is unfinished, or whose lanes all
    diverged, gets a page that says so.

    Args:
        run_dir: a run folder, see ``record.read``. Every figure is also written into
            it as a PNG file.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: a file is missing, or what it holds does not fit the others; or as
            ``require`` does.
    """
    require()
    run = record.read(Path(run_dir))
    images = draw(run)
    for name, png in images.items():
        directory.write_bytes(run.folder / f"{name}.png", png)
    path = run.folder / "report.html"
    directory.write_text(path, page(run, images))
    return path


def draw(run: record.Record) -> dict[str, bytes]:
    """The figures that a run folder has something to show in.

    Args:
        run: the run folder.

    Returns:
        PNG bytes by name.
    """
    ranked = run.ranked
    selected = run.selected["row"] if run.selected is not None else None
    images = {}
    if len(run.rows) > 1:  # one lane makes no map
        images["heatmap"] = figures.png(heatmap.draw(run.rows, selected))
    # Nothing to draw where every lane diverged in its first epoch.
    if run.history is not None and np.isfinite(run.history["val_loss"]).any():
        best = "best so far" if selected is None else "chosen"
        first = selected or (ranked[0] if ranked else None)
        named = {best: first["lane"]} if first is not None else {}
        if len(ranked) > 2:
            named["median"] = ranked[len(ranked) // 2]["lane"]
        lost = results.diverged(run.rows)
        images["curves"] = figures.png(curves.draw(run.history, named, lost))
    return images | (_draw_selected(run) if run.selected is not None else {})


def _draw_selected(run: record.Record) -> dict[str, bytes]:
    """Confusion matrix, weight templates and reliability of the chosen classifier."""
    data, test = run.config["data"], run.choice["test"]
    names, shape = data["class_names"], data["image_shape"]
    counts = np.asarray(test["confusion"])
    images = {"confusion": plots.confusion(counts, test["per_class_recall"], names)}
    if shape is not None and run.weights is not None:
        images["templates"] = plots.templates(run.weights, names, shape)
    if test["reliability"] is not None:
        error = test["calibration_error"]
        images["reliability"] = plots.reliability(test["reliability"], error)
    return {name: figures.png(figure) for name, figure in images.items()}


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
        report_answer.header(run),
        *(sections.pop(name, "") for name in ("heatmap", "curves")),
        report_sections.ranking(run),
        *sections.values(),
        report_sections.origins(run),
    )
    title = f"{run.config['experiment']} on {run.config['data']['name']}"
    return markup.document(f"{title}: {report_answer.headline(run)}", body)
