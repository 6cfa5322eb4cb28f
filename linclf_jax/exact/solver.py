"""What is the same in all steps of all lanes: rows, and their columns."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import certificate
from linclf_jax.exact import columns as columns_lib
from linclf_jax.exact import problem as problem_lib
from linclf_jax.exact import rows as rows_lib
from linclf_jax.exact.columns import Columns
from linclf_jax.exact.passes import System
from linclf_jax.exact.problem import Problem
from linclf_jax.exact.rows import Block
from linclf_jax.params import Params

# Principal axes save about this many products at each penalty of a path; a single fit
# makes as many as some penalties. Eigenvectors take many operations, at a low speed.
SAVED_PRODUCTS = 10
ONE_FIT = 4
EIGENVECTORS = 40
PENALTY_RANGE = 1e-290, 1e290  # penalty of a column, beside that of the others


@dataclasses.dataclass(frozen=True)
class Solver:
    """What is the same in all steps of all lanes, at any penalty."""

    problem: Problem
    columns: Columns
    dtype: np.dtype  # of the result's parameters
    tol: float  # relative gap that the lanes are to reach
    max_newton: int  # steps of a lane
    # (L,) of the penalties: a lane whose rows weigh less has a larger one.
    penalty_factors: np.ndarray
    bias_accuracy: float = certificate.BIAS_ACCURACY  # in certificates

    def system(self, lanes: np.ndarray, l2: np.ndarray, *, wide: bool) -> System:
        """Returns the objective of some lanes, for passes in float64 or float32.

        ``l2 (L,)`` is that of all lanes.
        """
        present = self.problem.lanes.present
        with np.errstate(over="ignore", under="ignore"):
            column = np.clip(self.columns.scale**-2.0, *PENALTY_RANGE)
        column = np.where(np.isfinite(self.columns.scale), column, 0.0)
        # One row of parameters for two classes has half of the penalty.
        own = l2 / 2.0 if present.shape[1] == 2 else l2
        system = System(
            blocks=self._wide if wide else self._narrow,
            present=present,
            l2=jnp.asarray(own),
            column=jnp.asarray(np.append(column, 0.0)),
            unit=jnp.asarray(np.finfo(np.float64 if wide else np.float32).eps),
        )
        return system.take(lanes)

    @functools.cached_property
    def _narrow(self) -> Sequence[Block]:
        return rows_lib.mapped(self.problem.blocks, self._columns_of(np.float32))

    @functools.cached_property
    def _wide(self) -> Sequence[Block]:
        columns_of = self._columns_of(np.float64)
        if self.problem.layout.is_bounded:
            # No budget has room for these, which few fits need.
            return rows_lib.lazily(self.problem.blocks, columns_of)
        return rows_lib.mapped(self.problem.blocks, columns_of)

    def _columns_of(self, dtype: type[np.floating]) -> Callable[[Block], Block]:
        return lambda block: columns_lib.of_block(block, self.columns, dtype)


def prepare(
    problem: Problem,
    x: Any,
    tol: float,
    max_newton: int,
    *,
    num_penalties: int = ONE_FIT,
    rotated: bool | None = None,
) -> Solver:
    """Chooses the columns of the passes, once for any number of solutions.

    The parameters have the dtype of ``x``, by the process's setting of 64-bit types.

    Args:
        num_penalties: That all lanes are solved at: the more, the sooner principal axes
            pay.
        rotated: Whether columns are principal axes; where that pays if None.
    """
    dtype = problem_lib.result_type(x)
    with jax.enable_x64(True):
        if rotated is None:
            rotated = _axes_pay(problem, num_penalties)
        columns = columns_lib.measure(problem.blocks, rotated=rotated)
    factors = np.ones(problem.shape[0])
    return Solver(problem, columns, dtype, tol, max_newton, factors)


def _axes_pay(problem: Problem, num_penalties: int) -> bool:
    """Returns whether principal axes save more operations than they cost."""
    if problem.layout.is_bounded:
        return False  # read again, the rows would be rotated in every pass
    lanes, rows, features, classes = problem.shape
    rank = min(rows, features)
    axes = 4 * rows * features * rank + EIGENVECTORS * rank**3
    product = 4 * rows * features * columns_lib.num_free(classes) * lanes
    return axes < SAVED_PRODUCTS * num_penalties * product


def origin(solver: Solver) -> jax.Array:
    """Returns W = 0 and its best bias, the logarithms of the classes' frequencies."""
    lanes = solver.problem.lanes
    frequencies = np.where(lanes.present, lanes.target_means, 1.0)
    W = np.zeros((*frequencies.shape, len(solver.columns.mean)))
    params = Params(jnp.asarray(W), jnp.asarray(np.log(frequencies)))
    return columns_lib.from_params(solver.columns, lanes.present, params)
