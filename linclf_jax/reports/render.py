"""The page that a person opens, made from a run directory alone.

It opens from disk: the style and the images are inside it, and it needs no script. Of
an unfinished run it is ``progress.html``: drawing it never writes a file that the run
itself will write and seal.
"""

from __future__ import annotations

import base64
import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linclf_jax.figures import style
from linclf_jax.reports import (
    answer,
    chosen_classifier,
    groups,
    penalties,
    search,
    text,
)
from linclf_jax.reports.sections import Section
from linclf_jax.runs import directory as run_directory
from linclf_jax.runs import record as records
from linclf_jax.runs.record import Record

PAGE = "report.html"
PROGRESS = "progress.html"
NEEDED = {"matplotlib": "the report is drawn", "jinja2": "the report is written"}
MOST_NAMES = 20  # of classes


def require() -> None:
    """Refuses to go on where no page can be made: before hours of training.

    Raises:
        ValueError: A package is not installed; with the command that installs it.
    """
    for package, purpose in NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"{purpose} by {package}, which is not installed: "
                "pip install 'linclf_jax[experiments]'"
            )


def write(directory: str | Path) -> Path:
    """Draws the figures of a run directory and writes ``report.html`` around them.

    The same directory gives the same bytes. A run without a usable setting gets a page
    that says so. Every figure is also a PNG file of the directory.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: A file is missing, or what it holds does not fit the others; or as
            ``require`` does.
    """
    path = Path(directory)
    for name, data in _files(path).items():
        run_directory.write(path / name, data)
    (path / PROGRESS).unlink(missing_ok=True)
    return path / PAGE


def write_progress(directory: str | Path) -> Path:
    """Writes ``progress.html``: the page of a run that is unfinished, as it stands.

    Another process may be writing the directory. The figures are inside the page.

    Returns:
        The path of ``progress.html``.

    Raises:
        ValueError: As ``write`` does; or no batch of the run is finished yet.
    """
    require()
    path = Path(directory)
    _, page = _draw(records.read(path))
    run_directory.write(path / PROGRESS, page)
    return path / PROGRESS


def redraw(directory: str | Path) -> Path:
    """Draws the page of a sealed run again, which stays sealed.

    Where other bytes come out, for the code that draws has changed, or the directory
    has moved, whose path the page names, they are written and their entries in the
    manifest renewed, and no other entry: the results are compared with the manifest
    before they are drawn, and stay comparable.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: Files that the page is made from are not as they were sealed; or as
            ``write`` does.
    """
    path = Path(directory)
    drawn_before = (PAGE, *(f"{name}.png" for name in text.with_block("alt")))
    run_directory.verify(path, besides=drawn_before)
    drawn = _files(path)
    changed = [name for name, data in drawn.items() if not _holds(path / name, data)]
    for name in changed:
        run_directory.write(path / name, drawn[name])
    if changed or not _is_sealed(path):
        run_directory.seal(path, drawn)
    return path / PAGE


def _holds(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def _is_sealed(path: Path) -> bool:
    """Whether the manifest is true; a stop may have come before its renewal."""
    try:
        return bool(run_directory.verify(path))
    except ValueError:
        return False


def _files(path: Path) -> dict[str, bytes]:
    """The page and its figures as bytes, by the names of their files."""
    require()
    images, page = _draw(records.read(path))
    files = {f"{name}.png": png for name, png in images.items()}
    return {**files, PAGE: page.encode()}


def _draw(record: Record) -> tuple[dict[str, bytes], str]:
    """The figures of a record as PNG bytes by name, and its page as HTML5."""
    shown = list(contents(record))
    images = style.pngs({s.id: s.figure for s in shown if s.figure is not None})
    config = record.config
    data, names = config["data"], config["data"]["class_names"]
    first = [*names[:MOST_NAMES], "…"] if len(names) > MOST_NAMES else names
    page = text.render(
        "page.html.j2",
        title=f"{config['experiment']} on {data['name']}",
        answer=answer.make(record),
        sections=shown,
        images={name: _image(png) for name, png in images.items()},
        data={**data, "class_names": first},
        environment=config["environment"],
        flags={k: "unset" if v is None else v for k, v in config["flags"].items()},
    )
    return images, page


def contents(record: Record) -> Iterator[Section]:
    """Yields the sections of a record, in the order of the page."""
    yield from groups.make(record)
    yield from search.make(record)
    yield from penalties.make(record)
    yield from chosen_classifier.make(record)
    yield from groups.protocol(record)


def _image(png: bytes) -> dict[str, Any]:
    pixels = struct.unpack(">II", png[16:24])  # the first chunk of a PNG: its size
    width, height = (round(p * 96 / style.DOTS_PER_INCH) for p in pixels)
    return {"width": width, "height": height, "data": base64.b64encode(png).decode()}
