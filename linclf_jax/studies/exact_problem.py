"""The exact fits of one feature set: penalties, and what each is compared by."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax.params import Params
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.choose import Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.selection.resampling import FOLDS, SPLIT, Resampling, WeightedFit
from linclf_jax.studies.study import Classifier, Inputs, Key


class Problem(NamedTuple):
    """Fits that are solved together, of the rows that some resampling may use."""

    key: Key  # of its rows
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
    def num_final_trials(self) -> int:
        """How many fits are made after the selection."""
        if self.keep_path:
            return 0
        return sum(len(self.tested_fits(g)) for g in range(len(self.resamplings)))

    def batch_name(self, part: int | str) -> str:
        """Returns what the fits of a penalty, by its index, or others are kept as."""
        end = part if isinstance(part, str) else f"{part:05d}"
        return f"path-{self.first_trial:08d}-{end}"

    def index_of(self, l2: float) -> int:
        """Returns the index of a penalty."""
        return int(np.flatnonzero(self.l2s == l2)[0])

    def group_of(self, selection: Selection) -> int:
        """Returns the index of the resampling that a selection was made by."""
        if len(self.resamplings) == 1:
            return 0
        draws = [(draw.shots, draw.seed) for draw in self.resamplings]
        return draws.index((selection.group["shots"], selection.group["seed"]))

    def compared(self, group: int) -> list[int]:
        """Returns the indices of the fits that compare penalties for a resampling."""
        fits = enumerate(self.fits)
        return [i for i, fit in fits if fit.group == group and not fit.is_final]

    def tested_fits(self, group: int) -> list[WeightedFit]:
        """Returns the fits of a resampling after the selection, the tested one last.

        Those that are compared come first, for the logits of the rows they hold out.
        """
        resampling = self.resamplings[group]
        fits = [self.fits[i] for i in self.compared(group)]
        if resampling.kind == FOLDS or (resampling.kind == SPLIT and self.refit):
            fits.append(resampling_lib.final_fit(group, resampling))
        return fits


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
    """Lays out the fits of a feature set; resamplings are of all rows."""
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
        inputs.x[slice(None) if used.all() else used],
        inputs.labels if used.all() else inputs.labels[used],
        l2s,
        resamplings,
        tuple(fits),
        refit,
        unit,
        keep_path,
        first_trial,
    )


def classifier(
    problem: Problem,
    selection: Selection,
    fit: WeightedFit,
    params: Params,
    rows: Sequence[Row],
    temperature: float | None,
) -> Classifier:
    """Returns the classifier of a selection.

    Args:
        problem: Of its feature set.
        selection: Of one penalty.
        fit: What is tested.
        params: ``W (D, C)`` and ``b (C,)`` of that fit.
        rows: What is to be added to the results, the row of that fit last.
        temperature: Fitted on rows that the comparison held out.
    """
    resampling = problem.resamplings[fit.group]
    return Classifier(
        selection=selection,
        params=params,
        row=rows[-1],
        refit=fit.is_final and not problem.keep_path,
        num_rows=int(fit.train.sum()),
        temperature=temperature,
        resampling=resampling.kind,
        num_held_out=int(resampling.compared.sum()) if resampling.kind else 0,
        new_rows=() if problem.keep_path else tuple(rows),
    )
