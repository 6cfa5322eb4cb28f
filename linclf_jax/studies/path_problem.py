"""What a path is made of: its flags, scaled data, penalties and folds."""

import dataclasses
from typing import NamedTuple

import numpy as np

from linclf_jax import validation
from linclf_jax.cli.options import IN_PLACE_OF_L2
from linclf_jax.config import data
from linclf_jax.config import penalty as penalties_lib
from linclf_jax.config.data import DataFlags
from linclf_jax.config.fields import flag, one_of
from linclf_jax.data import datasets, preprocessing
from linclf_jax.data.datasets import Dataset
from linclf_jax.data.duplicates import Counts
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.exact import newton
from linclf_jax.selection import choose, ranking
from linclf_jax.selection import folds as folds_lib
from linclf_jax.studies import leakage, rare_classes
from linclf_jax.training import search_space, settings


@dataclasses.dataclass(frozen=True)
class Config(DataFlags):
    """Everything the script is told."""

    preprocessing: str = flag(
        "standardize",
        f"Fitted on training and validation rows. {one_of(preprocessing.NAMES)}",
    )
    l2: search_space.Axis | None = flag(
        search_space.parse("log:1e-6:1:45"), "Penalties: (l2 / 2) ||W||^2, mean loss."
    )
    C: search_space.Axis | None = flag(None, IN_PLACE_OF_L2)
    folds: int = flag(
        5, "Of the cross-validation over training and validation rows, at least 2."
    )
    loo: bool = flag(
        False, "Approximate leave-one-out, from one fit a penalty; --folds is not used."
    )
    select_by: str = flag(
        "val_loss", f"On rows that are held out. {one_of(ranking.CRITERIA)}"
    )
    choice: str = flag("min", one_of(choose.RULES))
    tol: float = flag(1e-6, "Relative duality gap of every fit.")
    max_newton: int = flag(100, "Newton steps of a fit.")
    out_dir: str | None = flag(None, "The run folder; a new one in runs/ if unset.")
    compilation_cache: str | None = flag(
        None,
        "A folder for compiled programs; none for no cache; a private one in the "
        "user's own cache if unset.",
    )


class Problem(NamedTuple):
    """All that a path needs to know; the test split is there, unread."""

    config: Config
    dataset: Dataset
    scaling: Preprocessing
    x: np.ndarray  # (N, D) float32, training and validation rows
    labels: np.ndarray  # (N,)
    l2s: np.ndarray  # (K,) float64, from the largest
    # (N,), the fold of each row, or ``folds.NOT_HELD_OUT``; None for leave-one-out.
    folds: np.ndarray | None
    duplicates: Counts  # of rows that are held out

    @property
    def held_out(self) -> np.ndarray:
        """Rows that some fit does not see, ``(N,)`` boolean."""
        if self.folds is None:
            return ~folds_lib.alone(self.labels)
        return self.folds != folds_lib.NOT_HELD_OUT

    @property
    def warnings(self) -> tuple[str, ...]:
        """What scores do not say of rare classes, and of rows that are twice."""
        return (
            *leakage.of_validation(self.duplicates),
            *rare_classes.of_folds(self.dataset, self.labels, self.held_out),
            *rare_classes.of_splits(self.dataset, validates=False),
        )


def prepare(config: Config) -> Problem:
    """Loads and scales the data and deals the folds, after checking every flag.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    penalties_lib.validate(config.l2, config.C)
    newton.check_limits(config.tol, config.max_newton)
    ranking.validate_criterion(config.select_by)
    choose.validate_rule(config.choice)
    validation.validate_seed(config.split_seed, name="--split_seed")
    dataset = data.load(config)
    x, labels, _ = datasets.joined(dataset.train, dataset.validation)
    l2s = penalties(config, num_rows=len(labels), num_classes=len(dataset.class_names))
    folds = None
    if not config.loo:
        folds = folds_lib.assign(
            labels, config.folds, seed=config.split_seed, name="--folds"
        )
    scaling = preprocessing.fit(config.preprocessing, x)
    return Problem(
        config,
        dataset,
        scaling,
        preprocessing.apply(scaling, x),
        labels,
        l2s,
        folds,
        _duplicates(x, labels, folds),
    )


def _duplicates(x: np.ndarray, labels: np.ndarray, folds: np.ndarray | None) -> Counts:
    if folds is None:
        every = np.arange(len(labels))
        folds = np.where(folds_lib.alone(labels), folds_lib.NOT_HELD_OUT, every)
    return leakage.across_folds(x, labels, folds)


def penalties(config: Config, *, num_rows: int, num_classes: int) -> np.ndarray:
    """Returns the values of l2 from the largest, if they are ones to fit.

    Args:
        config: All flags.
        num_rows: Of the fit to all rows, which ``--C`` is meant for.
        num_classes: C.

    Raises:
        ValueError: There are none, or one is out of range or comes twice.
    """
    axis = penalties_lib.axis(
        config.l2, config.C, num_rows=num_rows, num_classes=num_classes
    )
    values = search_space.values(axis)
    for value in values:
        settings.validate_hparam("l2", value)
    if len(set(values)) < max(len(values), 1):
        raise ValueError(
            f"--l2 has {len(values)} values, {len(set(values))} of them distinct; "
            "expected at least one, and no repetition"
        )
    return np.sort(np.asarray(values, np.float64))[::-1]
