"""The exact fits of one feature set: penalties, and what each is compared by."""

from typing import NamedTuple

import numpy as np

from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.resampling import Resampling, WeightedFit
from linclf_jax.studies.study import Inputs, Key


class Problem(NamedTuple):
    """Fits that are solved together, of the rows that some resampling may use."""

    key: Key  # the columns ``features`` and ``preprocessing`` of its rows
    inputs: Inputs
    x: np.ndarray  # (M, D), of the rows that are used
    labels: np.ndarray  # (M,)
    l2s: np.ndarray  # (K,) float64, the largest first
    resamplings: tuple[Resampling, ...]  # G, of the rows that are used
    fits: tuple[WeightedFit, ...]  # L, at every penalty
    refit: bool  # whether the tested fit sees the rows of a validation split too
    unit: str  # of the penalties: l2, or C, which means a weaker l2 of more rows
    keep_path: bool  # whether the last fit is of all rows, and kept at every penalty
    first_trial: int

    @property
    def num_trials(self) -> int:
        """How many fits the path has."""
        return len(self.l2s) * len(self.fits)

    @property
    def state_name(self) -> str:
        """What the state of the path is kept as."""
        return f"path-{self.first_trial:08d}-state"

    @property
    def final_name(self) -> str:
        """What the fits after the selection are kept as."""
        return f"path-{self.first_trial:08d}-final"

    def batch_name(self, index: int) -> str:
        """Returns what the fits of a penalty are kept as.

        Args:
            index: Of the penalty.
        """
        return f"path-{self.first_trial:08d}-{index:05d}"

    def index_of(self, l2: float) -> int:
        """Returns the index of a penalty.

        Args:
            l2: One of ``l2s``.
        """
        return int(np.flatnonzero(self.l2s == l2)[0])

    def first_fit(self, group: int) -> int:
        """Returns the index of the first fit of a resampling.

        Args:
            group: Its index.
        """
        return next(i for i, fit in enumerate(self.fits) if fit.group == group)


def make(
    key: Key,
    inputs: Inputs,
    l2s: np.ndarray,
    resamplings: tuple[Resampling, ...],
    *,
    first_trial: int = 0,
    refit: bool = True,
    unit: str = "l2",
    keep_path: bool = False,
) -> Problem:
    """Lays out the fits of a feature set.

    Args:
        key: The columns ``features`` and ``preprocessing`` of its rows.
        inputs: Its rows.
        l2s: ``(K,)``, the largest first.
        resamplings: Of all rows.
        first_trial: The number of the first fit.
        refit: Whether the tested fit sees the rows of a validation split too.
        unit: Of the penalties.
        keep_path: Whether the classifier of all rows is kept at every penalty; of a
            single resampling.
    """
    # Other rows are most of a large set of which few shots are fitted.
    used = np.any([resampling_lib.train_rows(r) for r in resamplings], axis=0)
    if not used.all():
        resamplings = tuple(
            r._replace(rows=r.rows[used], held_out=r.held_out[:, used])
            for r in resamplings
        )
    fits = resampling_lib.compared_fits(resamplings)
    if keep_path and resamplings[0].kind != resampling_lib.LEAVE_ONE_OUT:
        fits.append(resampling_lib.final_fit(0, resamplings[0]))
    return Problem(
        key,
        inputs,
        inputs.x if used.all() else inputs.x[used],
        inputs.labels if used.all() else inputs.labels[used],
        l2s,
        resamplings,
        tuple(fits),
        refit,
        unit,
        keep_path,
        first_trial,
    )


def tested_fits(problem: Problem, group: int) -> list[WeightedFit]:
    """Returns the fits of a resampling after the selection, the tested one last.

    Those that are compared come first, for the logits of the rows they hold out.

    Args:
        problem: Its path keeps no classifiers.
        group: Index of the resampling.
    """
    resampling = problem.resamplings[group]
    fits = [fit for fit in problem.fits if fit.group == group]
    is_split = resampling.kind == resampling_lib.SPLIT
    if resampling.kind == resampling_lib.FOLDS or (is_split and problem.refit):
        fits.append(resampling_lib.final_fit(group, resampling))
    return fits


def num_final_trials(problem: Problem) -> int:
    """Returns how many fits are made after the selection.

    Args:
        problem: Of a feature set.
    """
    if problem.keep_path:
        return 0
    groups = range(len(problem.resamplings))
    return sum(len(tested_fits(problem, group)) for group in groups)
