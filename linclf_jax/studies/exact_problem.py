"""The exact fits of one feature set: penalties, and what each is compared by."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from linclf_jax.config.parts import ExactConfig
from linclf_jax.exact import path
from linclf_jax.exact.newton import Solver
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
        return sum(map(self.is_refitted, self.groups))

    @property
    def groups(self) -> range:
        """The indices of the resamplings."""
        return range(len(self.resamplings))

    @property
    def compared_groups(self) -> list[int]:
        """The resamplings that hold out rows, so that penalties can be compared."""
        return [g for g in self.groups if self.resamplings[g].kind is not None]

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

    def lanes(self, group: int) -> np.ndarray:
        """Returns the indices of all fits of a resampling, ascending."""
        return np.flatnonzero([fit.group == group for fit in self.fits])

    def is_refitted(self, group: int) -> bool:
        """Returns whether the tested fit of a resampling is made after the selection.

        It is where the path has none to all rows, and where nothing is compared, at
        the one penalty that is given.
        """
        kind = self.resamplings[group].kind
        sees_all = self.keep_path or (kind == SPLIT and not self.refit)
        return not sees_all and kind in (None, FOLDS, SPLIT)


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


def prepare(problem: Problem, limits: ExactConfig) -> Solver:
    """Lays out the rows for the solver, once for all penalties."""
    weights = np.stack([fit.train for fit in problem.fits]).astype(np.float64)
    return path.prepare(
        problem.x,
        problem.labels,
        len(problem.l2s),
        weights=None if len(weights) == 1 and weights.all() else weights,
        num_classes=problem.inputs.num_classes,
        tol=limits.tol,
        max_newton=limits.max_newton_steps,
    )


def classifier(
    problem: Problem,
    selection: Selection,
    fit: WeightedFit,
    params: Params,
    row: Row,
    temperature: float,
    *,
    is_new: bool = False,
) -> Classifier:
    """Returns the classifier of a selection.

    Args:
        problem: Of its feature set.
        selection: Of one penalty.
        fit: What is tested.
        params: ``W (D, C)`` and ``b (C,)`` of that fit.
        row: Of that fit.
        temperature: Fitted on rows that the comparison held out; NaN if none was.
        is_new: Whether it was made after the selection.
    """
    resampling = problem.resamplings[fit.group]
    return Classifier(
        selection=selection,
        params=Params(*map(jnp.asarray, params)),
        row=row,
        refit=fit.is_final and is_new,
        num_rows=int(fit.train.sum()),
        temperature=temperature if np.isfinite(temperature) else None,
        resampling=resampling.kind,
        num_held_out=int(resampling.compared.sum()) if resampling.kind else 0,
        new_rows=(row,) if is_new else (),
    )
