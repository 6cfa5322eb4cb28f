"""Draws the page of a run folder again, at any time.

    python -m experiments.report runs/sweep-digits-20260101-120000-ab12

Of an unfinished run, while it is being trained too, it writes ``progress.html``: what
the pieces that are finished say. Of a finished run it writes ``report.html`` and the
figures, where they would differ from those that are there; the folder stays sealed.
Paths and probes, which take seconds, have no page before they are finished.
"""

from pathlib import Path

from linclf_jax.cli import main as launch
from linclf_jax.reports import path_page, probe_page, sweep_page
from linclf_jax.runs import directory, path_record, probe_record, record

# The pages of experiments that are no sweeps.
REDRAW = {
    path_record.EXPERIMENT: path_page.redraw,
    probe_record.EXPERIMENT: probe_page.redraw,
}


def run(folder: str | Path) -> Path:
    """Draws the page and returns its path.

    Args:
        folder: The run folder.

    Raises:
        ValueError: It is no run folder, nothing is finished yet, or its files are not
            as they were sealed.
    """
    folder = Path(folder)
    redraw = REDRAW.get(record.experiment(folder) or "")
    if redraw is not None:
        return redraw(folder)
    if (folder / directory.MANIFEST).exists():
        return sweep_page.redraw(folder)
    return sweep_page.write_progress(folder)


def main(folder: str) -> None:
    """Draws the page of the run folder that the command line names."""
    print(run(folder))


if __name__ == "__main__":
    launch.launch(main, "RUN_FOLDER")
