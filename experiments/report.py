"""Draws the page of a run directory again, at any time.

    python -m experiments.report runs/sweep-digits-20260101-120000-ab12

Of an unfinished run, while it is being fitted too, it writes ``progress.html``: what
the trials that are finished say. Of a finished run it writes ``report.html`` and the
figures, where they would differ from those that are there; the directory stays sealed.
It prints the path of the page.
"""

import dataclasses
from pathlib import Path

from linclf_jax.cli import main
from linclf_jax.reports import render
from linclf_jax.runs import directory


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Nothing but the directory, which is no flag."""


def run(config: ReportConfig, path: str) -> None:
    """Draws the page of the run directory that the command line names."""
    del config
    is_finished = (Path(path) / directory.MANIFEST).exists()
    draw = render.redraw if is_finished else render.write_progress
    print(draw(path))


SCRIPT = main.Script(run, ReportConfig(), "RUN_DIRECTORY")

if __name__ == "__main__":
    main.launch(SCRIPT)
