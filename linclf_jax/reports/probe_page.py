"""The page that a person opens after a probe, made from its run folder.

First the answer, then what it is compared with, the table of all scores, the chosen
classifier, and the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from linclf_jax.figures import probe
from linclf_jax.reports import (
    answer,
    examples_section,
    files,
    markup,
    probe_sections,
    sections,
    sweep_page,
    validation_text,
    warning_text,
)
from linclf_jax.reports.answer import metric
from linclf_jax.runs import directory, examples, probe_record, record

# In the order of the page; the table of all scores stands between the two.
COMPARED = {
    "accuracies": probe_sections.accuracies,
    "shots": probe_sections.shots,
    "differences": probe_sections.differences,
    "penalties": probe_sections.penalties,
}
CHOSEN = {
    "confusion": sections.confusion,
    **examples_section.SECTIONS,
    "templates": sections.templates,
    "reliability": sections.reliability,
}


def write(run_dir: str | Path) -> Path:
    """Draws the figures of a probe's run folder and writes ``report.html`` around them.

    The same folder gives the same bytes.

    Args:
        run_dir: a run folder, see ``probe_record.read``. Every figure is also written
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
    """Draws the page of a sealed probe again, see ``files.renew``.

    Args:
        run_dir: a sealed run folder.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: the probe is unfinished, or files that the page is made from are
            not as they were sealed; or as ``write`` does.
    """
    pictures = (f"{name}.png" for name in (*COMPARED, *CHOSEN))
    return files.renew(Path(run_dir), _files, (files.PAGE, *pictures))


def _files(folder: Path) -> dict[str, bytes]:
    """The page and its figures as bytes, by the names of their files."""
    sweep_page.require()
    run = probe_record.read(folder)
    one = probe_record.of_chosen(run)
    images = probe.draw(run) | sweep_page.draw_selected(one)
    pictures = {f"{name}.png": png for name, png in images.items()}
    return {**pictures, files.PAGE: page(run, one, images).encode()}


def page(run: record.Record, one: record.Record, images: Mapping[str, bytes]) -> str:
    """The whole page as HTML5, with everything inside it.

    Args:
        run: of a probe.
        one: its chosen classifier, see ``probe_record.of_chosen``.
        images: PNG bytes by name.
    """
    kept = examples.read(run.folder) is not None
    body = (
        header(run),
        *(make(run, images[n]) for n, make in COMPARED.items() if n in images),
        probe_sections.table(run),
        *(
            # Rows without images are listed.
            make(one, images.get(name))
            for name, make in CHOSEN.items()
            if name in images or (kept and name in examples_section.SECTIONS)
        ),
        probe_sections.protocol(run),
        answer.replay_section(run.config["experiment"], run.folder),
        sections.origins(run),
    )
    title = f"{run.config['experiment']} on {run.config['data']['name']}"
    return markup.document(f"{title}: {headline(run)}", body)


def headline(run: record.Record) -> str:
    """The answer in one line of plain text.

    Args:
        run: of a probe.
    """
    entry = probe_record.chosen(run)
    accuracy = entry["test"]["accuracy"]["mean"]
    what = f"{probe_record.name(entry)}: test accuracy {metric(accuracy)}"
    if len(probe_record.entries(run)) == 1:
        return what
    compared = entry["validation"]["held_out"] is not None
    return f"{'Best on held-out rows is' if compared else 'Chosen is'} {what}"


def header(run: record.Record) -> str:
    """Markup of everything above the first figure.

    Args:
        run: of a probe.
    """
    sets = probe_record.sets(run)
    several = f", {len(sets)} feature sets" if len(sets) > 1 else ""
    protocol = run.choice["protocol"]["name"]
    kicker = f"probe on {run.config['data']['name']}{several}, protocol {protocol}"
    first = probe_record.chosen(run)["runs"][0]
    compared = probe_record.chosen(run)["validation"]["held_out"] is not None
    tied = probe_record.ties(run.choice)
    pieces = (
        markup.paragraph(kicker, kind="kicker"),
        f"<h1>{markup.text(headline(run))}</h1>",
        markup.paragraph(
            markup.when(
                first["reason"], f"Its setting: {first['reason'].rstrip('.')}."
            ),
            markup.when(
                len(probe_record.entries(run)) > 1 and compared,
                "It is named first for its score on rows that were held out, not for "
                "its test score; those of all are below.",
            ),
            markup.when(tied, f"A tie: {tied}."),
            "The test split was measured once, after every choice.",
            markup.when(
                len(probe_record.chosen(run)["runs"]) > 1,
                "Scores are means over draws; errors, examples and reliability below "
                "are of the classifier of the first draw, the one that is kept.",
            ),
        ),
        _numbers(run),
        markup.warnings(warning_text.warnings(run.choice)),
    )
    return "<header>\n" + "\n".join(p for p in pieces if p) + "\n</header>"


def _numbers(run: record.Record) -> str:
    entry = probe_record.chosen(run)
    test, held_out = entry["test"], entry["validation"]["accuracy"]
    size, seeds = entry["runs"][0]["test"]["size"], len(entry["runs"])
    low, high = (metric(end) for end in probe.interval(entry))
    spread = f"95 % interval {low} to {high}"
    if seeds > 1:
        spread = f"mean of {seeds} seeds, standard deviation "
        spread += metric(test["accuracy"]["sd"])
    source = probe_sections.HELD_OUT.get(entry["validation"]["held_out"], "")
    items = [
        ("test accuracy", metric(test["accuracy"]["mean"]), f"{spread}; {size:,} rows")
    ]
    if held_out is not None:
        first = entry["runs"][0]["validation"] if seeds == 1 else {}
        effect = (
            validation_text.flattery(first) or "it served to choose, so expect less"
        )
        items.append(
            ("held-out accuracy", metric(held_out["mean"]), f"{source}; {effect}")
        )
    if test["calibration_error"] is not None:
        after = test["calibration_error_scaled"]
        scaled = "" if after is None else f"{metric(after['mean'])} after temperature "
        note = f"{scaled}scaling" if scaled else "expected calibration error"
        error = metric(test["calibration_error"]["mean"])
        items.append(("calibration error", error, note))
    return markup.numbers(*items)
