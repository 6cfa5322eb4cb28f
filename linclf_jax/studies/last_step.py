"""What comes after the fits: it loses nothing, whatever fails.

The test file, a figure, the page, a full disk: what was saved stays in the run folder,
one line says what failed on which file, and the same command does the rest.
"""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import flags

from linclf_jax.data.datasets import Held, Split
from linclf_jax.figures import style
from linclf_jax.reports import files
from linclf_jax.runs import checkpoint, directory
from linclf_jax.scheduler import signals
from linclf_jax.studies import problem as problem_lib
from linclf_jax.training import planning

SELECTED = "selected.json"


class Unfinished(Exception):  # noqa: N818, of a run whose results are safe
    """Something failed after fits were made; the same command does the rest."""

    def __init__(self, error: Exception, experiment: str, folder: Path) -> None:
        """Says in one line what failed and how to go on.

        Args:
            error: With the file that it is about.
            experiment: The script.
            folder: The run folder.
        """
        target = shlex.quote(str(folder))
        flagfile = shlex.quote(str(folder / "flags.txt"))
        kept = f"what was finished is safe in {folder}"
        if _is_piece(error, folder):
            kept = (
                "what was to be kept in it is lost and computed again; what was saved "
                f"before is safe in {folder}"
            )
        super().__init__(
            f"{described(error)}; {kept}: once this is mended, python -m "
            f"experiments.{experiment} --flagfile={flagfile} --out_dir={target} does "
            "the rest"
        )


def _is_piece(error: Exception, folder: Path) -> bool:
    """Returns whether the file that cannot be written was to keep fits or states."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | Path):
        return False
    path = Path(error.filename)
    return folder / checkpoint.FOLDER in (path, *path.parents)


@contextlib.contextmanager
def guarded(
    experiment: str, folder: Path, errors: type[Exception] = Exception
) -> Iterator[None]:
    """Turns what fails into ``Unfinished``, but for a stop by a signal.

    Args:
        experiment: The script.
        folder: The run folder.
        errors: What is turned; while fits are made, an ``OSError`` alone.

    Raises:
        Unfinished: Anything of these was raised.
    """
    try:
        yield
    except (Unfinished, signals.Interrupted):
        raise
    except errors as error:
        raise Unfinished(error, experiment, folder) from error


def draw_page(write: Callable[[Path], object], folder: Path) -> None:
    """Draws the page of a run folder.

    Args:
        write: Draws it.
        folder: The run folder.

    Raises:
        OSError: With the file that cannot be written.
        ValueError: With the figure, or the page, that cannot be drawn.
    """
    try:
        write(folder)
    except (OSError, style.FigureError):
        raise
    except Exception as error:
        page = folder / files.PAGE
        raise ValueError(f"{page} cannot be drawn: {described(error)}") from error


def described(error: BaseException) -> str:
    """Returns what failed in one line, the file first where the system names one."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if planning.is_exhausted(error):  # JAX says in many lines where the memory went
        text = next(iter(text.splitlines()), "")
    told = isinstance(error, ValueError | OSError | Unfinished | flags.Error)
    return text if told and text else f"{type(error).__name__}: {text}"


def opened(
    held: Held, folder: Path, name: str | None = None
) -> tuple[Split, dict[str, Any]]:
    """Opens a test split, after all choices; returns what it holds and is called.

    Args:
        held: The split.
        folder: The run folder. Where a run ended between its measurement and its page,
            ``selected.json`` says which rows were measured.
        name: Of the feature set, where there may be several.

    Raises:
        ValueError: The file is bad, or its rows are not those that were measured.
    """
    split = held.read()
    found = problem_lib.describe_test(split)
    if (folder / SELECTED).exists():
        before = directory.read(folder / SELECTED)["test_data"]
        before = before if name is None else before[name]
        if before["sha256"] != found["sha256"]:
            raise ValueError(
                f"{folder / SELECTED} has scores of {before['rows']} test rows with "
                f"the SHA-256 {before['sha256']}; found {found['rows']} rows with "
                f"{found['sha256']}: put the measured ones back"
            )
    return split, found
