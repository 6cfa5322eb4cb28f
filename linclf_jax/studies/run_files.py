"""What a study writes into its run directory, in an order in which nothing is lost.

What fails after the fits, the test file, a figure, the page, a full disk, leaves what
was saved: one line says what failed on which file, and the same command does the rest.
"""

import contextlib
import functools
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from linclf_jax import losses, params
from linclf_jax.config import flat
from linclf_jax.data import datasets
from linclf_jax.data.datasets import Split
from linclf_jax.figures import style
from linclf_jax.params import Params
from linclf_jax.reports import render
from linclf_jax.runs import (
    checkpoint,
    configuration,
    directory,
    examples,
    formats,
    schema,
)
from linclf_jax.runs import model as model_lib
from linclf_jax.runs.model import Model
from linclf_jax.runs.schema import Selected
from linclf_jax.scheduler import memory
from linclf_jax.scheduler.signals import Interrupted, Stopped
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies.study import Classifier, FitResults, Inputs, Plan

FLAGS = "flags.txt"


class Unfinished(Exception):  # noqa: N818, of a run whose results are safe
    """Something failed after fits were made; the same command does the rest."""

    def __init__(self, error: Exception, study: str, path: Path) -> None:
        """Says in one line what failed, on which file, and how to go on."""
        target, flagfile = (shlex.quote(str(p)) for p in (path, path / FLAGS))
        kept = f"what was finished is safe in {path}"
        if _is_in_store(error, path):
            kept = (
                "what was to be kept in it is lost and computed again; what was saved "
                f"before is safe in {path}"
            )
        super().__init__(
            f"{described(error)}; {kept}: once this is mended, python -m "
            f"experiments.{study} --flagfile={flagfile} --out_dir={target} does the "
            "rest"
        )


def described(error: BaseException) -> str:
    """Returns what failed in one line, the file first where the system names one."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if memory.is_exhausted(error):  # JAX says in many lines where the memory went
        text = next(iter(text.splitlines()), "")
    speaks = isinstance(error, ValueError | OSError | Unfinished)
    return text if speaks and text else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def guarded(
    study: str, path: Path | None, errors: type[Exception] = Exception
) -> Iterator[None]:
    """Turns what fails into ``Unfinished``, but for a stop by a signal.

    Nothing is turned where there is no path. While fits are made, ``errors`` is an
    ``OSError`` alone.
    """
    try:
        yield
    except (Unfinished, Interrupted, Stopped):
        raise
    except errors as error:
        if path is None:
            raise
        raise Unfinished(error, study, path) from error


def out_dir(plan: Plan) -> Path:
    """Returns the run directory of the flags, or a new one in ``runs/``.

    Jobs of the same second share none.
    """
    if plan.config.runtime.out_dir is not None:
        return Path(plan.config.runtime.out_dir)
    now, data = time.strftime("%Y%m%d-%H%M%S"), plan.config.data.dataset
    return Path(f"runs/{plan.name}-{data}-{now}-{secrets.token_hex(2)}")


def open_run(path: Path, plan: Plan) -> None:
    """Makes the run directory or takes it up again, with its ``flags.txt``.

    Raises:
        ValueError: It is finished, or of another configuration.
    """
    checkpoint.tidy(path)
    directory.open_run(path, describe(plan))
    directory.write(path / FLAGS, flat.to_flagfile(plan.config))


def describe(plan: Plan) -> dict[str, Any]:
    """Returns what ``config.json`` says: which run it is, and where it is made."""
    dataset = next(iter(plan.inputs.values())).dataset
    data = {
        "name": dataset.name,
        "fingerprint": datasets.fingerprint(dataset),
        "train": len(dataset.train.labels),
        "validation": len(dataset.validation.labels),
        "test": dataset.test.size,
        "num_features": dataset.train.x.shape[1],
        "num_classes": len(dataset.class_names),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
    }
    if plan.protocol is not None:
        data["sets"] = {
            inputs.name: {
                "fingerprint": datasets.fingerprint(inputs.dataset),
                "num_features": inputs.x.shape[1],
            }
            for inputs in plan.inputs.values()
        }
    config = {
        "experiment": plan.name,
        "flags": flat.compared(plan.config),
        "data": data,
        "environment": configuration.environment(),
    }
    return formats.plain(config, "config")


def write_results(path: Path, plan: Plan, results: FitResults) -> None:
    """Writes the rows, the curves, and of exact fits which rows were held out."""
    if not (path / schema.SELECTED).exists():  # which names rows that are there then
        directory.write(path / schema.RESULTS, results.rows)
    directory.write(path / schema.HISTORY, results.history)
    if "trial" not in results.history:
        splits = {
            f"{inputs.name}.{name}": getattr(inputs, name)
            for inputs in plan.inputs.values()
            for name in ("index", "fold", "draws")
        }
        directory.write(path / schema.SPLITS, splits)


def write_selected(
    path: Path, rows: Sequence[Row], selected: Selected, models: Mapping[str, Model]
) -> None:
    """Writes all rows, the classifiers by file, and what is selected and tested."""
    directory.write(path / schema.RESULTS, rows)
    for name, stored in models.items():
        model_lib.save(path / name, stored)
    directory.write(path / schema.SELECTED, selected)


def write_examples(
    path: Path, classifier: Classifier, inputs: Inputs, test: Split
) -> None:
    """Writes the few test rows that the page shows, where rows are images."""
    shape = inputs.dataset.image_shape
    if shape is None:
        return
    own = Params(*map(jnp.asarray, classifier.params))
    score = functools.partial(params.logits, own, precision=classifier.precision)
    collected = examples.collect(
        inputs_lib.by_part(score, inputs_lib.scaled(inputs, test)),
        test,
        image_shape=shape,
        calibrated=classifier.loss in losses.PROBABILISTIC,
    )
    examples.write(path, collected)


def finish(path: Path, *, is_shard: bool) -> None:
    """Draws the page, seals the directory, drops what was kept for a resumption.

    In this order: a run that is killed in between is finished, and not fitted again.
    Of a shard there is no page, and its batches are sealed, for the merged run.

    Raises:
        OSError: With the file that cannot be written.
        ValueError: With the figure, or the page, that cannot be drawn.
    """
    if is_shard:
        directory.seal(path, without=(render.PROGRESS,))
        return
    try:
        render.write(path)
    except (OSError, style.FigureError):
        raise
    except Exception as error:
        page = path / render.PAGE
        raise ValueError(f"{page} cannot be drawn: {described(error)}") from error
    directory.seal(path, without=(checkpoint.FOLDER, render.PROGRESS))
    checkpoint.DiskStore(path).clear()


def check_measured(path: Path, test_data: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses test rows other than those that an earlier attempt has measured.

    Where a run ended between its test and its page, ``selected.json`` says which.
    """
    selected = path / schema.SELECTED
    if not selected.exists():
        return
    for name, before in directory.read(selected)["test_data"].items():
        test = test_data[name]
        if before["sha256"] != test["sha256"]:
            raise ValueError(
                f"{selected} has scores of {before['rows']} test rows with the SHA-256 "
                f"{before['sha256']}; found {test['rows']} rows with {test['sha256']}: "
                "put the measured ones back"
            )


def _is_in_store(error: Exception, path: Path) -> bool:
    """Returns whether the file that cannot be written was to keep fits or states."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | Path):
        return False
    file = Path(error.filename)
    return path / checkpoint.FOLDER in (file, *file.parents)
