"""Run folders: what a new one is called, and what it says of the run it is for."""

import secrets
import sys
import time
from pathlib import Path
from typing import Any

from linclf_jax.cli import options as shared_flags
from linclf_jax.data.datasets import Dataset
from linclf_jax.runs import checkpoint, configuration, directory
from linclf_jax.studies import problem as problem_lib


def default(config: Any, experiment: str) -> str:
    """Returns a new folder in ``runs/`` that jobs of the same second do not share."""
    now = time.strftime("%Y%m%d-%H%M%S")
    return f"runs/{experiment}-{config.dataset}-{now}-{secrets.token_hex(2)}"


def open_run(folder: Path, config: Any, dataset: Dataset, experiment: str) -> None:
    """Makes the run folder or takes it up again, with its ``flags.txt``.

    Raises:
        ValueError: It is finished, or of another configuration.
    """
    checkpoint.tidy(folder)
    directory.open_run(folder, describe(config, dataset, experiment))
    directory.write(folder / "flags.txt", shared_flags.to_flagfile(config))


def describe(config: Any, dataset: Dataset, experiment: str) -> dict[str, Any]:
    """Returns what ``config.json`` says: which run it is, and where it is made."""
    return {
        "experiment": experiment,
        "flags": shared_flags.compared(config),
        "data": problem_lib.describe(dataset),
        "environment": configuration.environment(),
    }


def tell(line: str) -> None:
    """Says something to the person at the terminal, apart from the results."""
    print(line, file=sys.stderr)
