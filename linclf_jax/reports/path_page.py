"""The page that a person opens after a regularisation path, made from its run folder.

First the answer and what proves it, then the path: held-out scores, coefficients, the
solver's work, and a table of all penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from linclf_jax.figures import regularization_path, style
from linclf_jax.reports import (
    answer,
    examples_section,
    files,
    markup,
    path_answer,
    path_sections,
    sweep_page,
)
from linclf_jax.reports import sections as report_sections
from linclf_jax.runs import directory, path_record, record

Section = Callable[[record.Record, bytes], str]
# In the order of the page; the table of penalties stands between the two.
FIGURES = {
    "held_out": path_sections.held_out,
    "norms": path_sections.norms,
    "coefficients": path_sections.coefficients,
    "work": path_sections.work,
}
SELECTED = {
    "confusion": report_sections.confusion,
    **examples_section.SECTIONS,
    "templates": report_sections.templates,
    "reliability": report_sections.reliability,
}
MOST_FEATURES = 12  # whose weights are drawn one by one


def write(run_dir: str | Path) -> Path:
    """Draws the figures of a path's run folder and writes ``report.html`` around them.

    The same folder gives the same bytes.

    Args:
        run_dir: a run folder, see ``path_record.read``. Every figure is also written
            into it as a PNG file.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: a file is missing, or what it holds does not fit the others; or as
            ``sweep_page.require`` does.
    """
    folder = Path(run_dir)
    for name, data in _files(folder).items():
        directory.write(folder / name, data)
    return folder / files.PAGE


def redraw(run_dir: str | Path) -> Path:
    """Draws the page of a sealed path again, see ``files.renew``.

    Args:
        run_dir: a sealed run folder.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: the path is unfinished, or files that the page is made from are not
            as they were sealed; or as ``write`` does.
    """
    pictures = (f"{name}.png" for name in (*FIGURES, *SELECTED))
    return files.renew(Path(run_dir), _files, (files.PAGE, *pictures))


def _files(folder: Path) -> dict[str, bytes]:
    """The page and its figures as bytes, by the names of their files."""
    sweep_page.require()
    run = path_record.read(folder)
    images = draw(run)
    pictures = {f"{name}.png": png for name, png in images.items()}
    return {**pictures, files.PAGE: page(run, images).encode()}


def draw(run: record.Record) -> dict[str, bytes]:
    """The figures of a path.

    Args:
        run: of a path.

    Returns:
        PNG bytes by name.
    """
    history, l2s, marks = path_record.arrays(run), path_record.l2s(run), _marks(run)
    names, weights = run.config["data"]["class_names"], history["coefficients"]
    accuracy, scaled = path_record.accuracy(run), path_record.loss_calibrated(run)
    loss = path_record.loss(run) if scaled is None else scaled
    converged = path_record.statuses(run) == path_record.CONVERGED
    tol = run.choice["tol"]
    makers = {
        "held_out": lambda: regularization_path.held_out(
            l2s, loss, accuracy, marks, calibrated=scaled is not None
        ),
        "norms": lambda: regularization_path.norms(l2s, weights, names, marks),
        "work": lambda: regularization_path.work(l2s, history, converged, tol, marks),
    }
    if max(weights.shape[1:]) <= MOST_FEATURES:
        makers["coefficients"] = lambda: regularization_path.coefficients(
            l2s, weights, names, marks
        )
    return style.pngs(makers) | sweep_page.draw_selected(run)


def _marks(run: record.Record) -> dict[str, float]:
    """The penalties that the figures mark, the chosen one first."""
    rule, l2 = path_record.chosen_rule(run), run.choice["l2"]
    words = path_record.rules(run)
    (other,) = set(path_record.RULES) - {rule}
    second = path_record.choices(run)[other]["l2"]
    if second == l2:
        return {f"chosen, by either rule: l2 {style.short_number(l2)}": l2}
    return {
        f"chosen, {words[rule]}: l2 {style.short_number(l2)}": l2,
        f"{words[other]}: l2 {style.short_number(second)}": second,
    }


def page(run: record.Record, images: dict[str, bytes]) -> str:
    """The whole page as HTML5, with everything inside it.

    Args:
        run: of a path.
        images: PNG bytes, as from ``draw``.
    """

    def sections(makers: Mapping[str, Section]) -> list[str]:
        return [
            make(run, images[name]) for name, make in makers.items() if name in images
        ]

    body = (
        path_answer.header(run),
        *sections(FIGURES),
        path_sections.table(run),
        *sections(SELECTED),
        answer.replay_section(run.config["experiment"], run.folder),
        report_sections.origins(run),
    )
    title = f"{run.config['experiment']} on {run.config['data']['name']}"
    return markup.document(f"{title}: {path_answer.headline(run)}", body)
