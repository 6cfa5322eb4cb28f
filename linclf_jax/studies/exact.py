"""Exact fits as a study: every penalty solved for all that are compared, one selected.

The fits of a feature set that are compared at one penalty are lanes of one program, and
the next penalty starts where the last ones ended. What a penalty came to is in the
store as soon as it is solved, and what the path goes on from, every minute.

A path also keeps the classifier of all rows at every penalty. Without it that
classifier is solved once more, at the penalty that was selected, so that no more is in
memory than one solution of each fit, however long the path.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from linclf_jax.exact import path
from linclf_jax.exact.path import PathState, Point
from linclf_jax.params import Params
from linclf_jax.runs import schema
from linclf_jax.runs.store import Batch, MemoryStore, Store
from linclf_jax.scheduler import progress
from linclf_jax.scheduler.signals import Stop, Stopped
from linclf_jax.selection import held_out
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import exact_problem, exact_results, final_fits
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import Classifier, FitResults, Plan, key_of

_STATE = "state"  # of the batch that a path goes on from


@dataclasses.dataclass(frozen=True)
class ExactStudy:
    """One penalty selected for each feature set, or for each draw of shots of it."""

    plan: Plan
    problems: tuple[Problem, ...]  # of each feature set

    def fit(self, store: Store, stop: Stop) -> FitResults:
        """Solves all penalties of all feature sets; see ``Study.fit``."""
        done, batches = 0, []
        progress.begin(self._total, self.plan.metric)
        try:
            for problem in self.problems:
                own = []
                for batch, restored, stopping in self._batches(problem, store, stop):
                    own.append(batch)
                    done += len(batch.rows)
                    progress.update(batch.rows, restored=restored)
                    if stopping and done < self._total:
                        raise Stopped(stopping, done, self._total)
                batches.append(own)
        finally:
            progress.end()
        return exact_results.collect(self.problems, batches)

    def classifiers(
        self,
        selections: Sequence[Selection],
        results: FitResults,
        store: Store,
        stop: Stop,
    ) -> list[Classifier | Failure]:
        """Returns the fits to all rows, solved again where the path kept none."""
        del results
        outcomes = []
        # Selections are in the order of the rows, feature set by feature set.
        for problem in self.problems:
            if signal := stop.requested():
                raise Stopped(signal, self._total, self._total)
            own = [each for each in selections if key_of(each.setting) == problem.key]
            if problem.keep_path:
                outcomes += [_kept(problem, selection, store) for selection in own]
            else:
                limits = self.plan.config.exact
                outcomes += final_fits.solve(problem, own, limits, store)
        return outcomes

    def replay(self, row: Row, stop: Stop) -> Row:
        """Fits one trial again, as far as its path leads to it; writes nothing."""
        (problem,) = (p for p in self.problems if p.key == key_of(row))
        if row["trial"] >= problem.first_trial + problem.num_trials:
            raise ValueError(
                f"--trial is {row['trial']}, which was solved after the selection; "
                f"expected one of the stage {schema.SELECTION!r}"
            )
        for batch, *_ in self._batches(problem, MemoryStore(), stop):
            for again in batch.rows:
                if again["trial"] == row["trial"]:
                    return again
        raise ValueError(f"--trial is {row['trial']}; expected one of these fits")

    @property
    def _total(self) -> int:
        return sum(problem.num_trials for problem in self.problems)

    def _batches(
        self, problem: Problem, store: Store, stop: Stop
    ) -> Iterator[tuple[Batch, bool, str | None]]:
        """Yields what each penalty came to, whether it was there, and who asks to stop.

        From time to time, and when the run is to stop, it saves what it goes on from.
        """
        state, restored = _restored(problem, store)
        for batch in restored:
            yield batch, True, None
        if len(restored) == len(problem.l2s):
            return
        saved = time.monotonic()
        for index, point in enumerate(self._follow(problem, state), len(restored)):
            measured = held_out.measure(
                point, problem.x, problem.labels, problem.resamplings, problem.fits
            )
            batch = exact_results.batch(problem, index, point, measured)
            store.save_batch(problem.batch_name(index), batch)
            stopping = stop.requested()
            every = self.plan.config.runtime.checkpoint_every
            is_due = time.monotonic() - saved >= every
            if index + 1 < len(problem.l2s) and (is_due or stopping):
                assert point.state is not None
                arrays = path.state_arrays(point.state)
                name = problem.batch_name(_STATE)
                store.save_batch(name, Batch([], arrays), apart=True)
                saved = time.monotonic()
            yield batch, False, stopping

    def _follow(self, problem: Problem, state: PathState | None) -> Iterator[Point]:
        weights = np.stack([fit.train for fit in problem.fits]).astype(np.float64)
        limits = self.plan.config.exact
        return path.follow(
            problem.x,
            problem.labels,
            problem.l2s,
            weights=None if len(weights) == 1 and weights.all() else weights,
            num_classes=problem.inputs.num_classes,
            tol=limits.tol,
            max_newton=limits.max_newton_steps,
            state=state,
        )


def _restored(problem: Problem, store: Store) -> tuple[PathState | None, list[Batch]]:
    """Returns what a path goes on from, and the penalties that it has behind it.

    Penalties that were solved after the state was saved are solved once more.
    """
    there: list[Batch] = []
    for index in range(len(problem.l2s)):
        batch = store.load_batch(problem.batch_name(index))
        if batch is None:
            break
        there.append(batch)
    if len(there) == len(problem.l2s):
        return None, there
    stored = store.load_batch(problem.batch_name(_STATE), apart=True)
    if stored is None:
        return None, []
    state = path.state_from_arrays(stored.arrays)
    count = problem.index_of(state.solutions[-1].l2) + 1
    return (state, there[:count]) if count <= len(there) else (None, [])


def _kept(problem: Problem, selection: Selection, store: Store) -> Classifier:
    """Returns the classifier of all rows that the path has at a penalty."""
    index = problem.index_of(selection.setting["l2"])
    batch = store.load_batch(problem.batch_name(index))
    if batch is None:
        raise ValueError(
            f"the fits of l2 {selection.rows[0]['l2']:g} can no longer be read; the "
            "same command solves them again"
        )
    params = Params(*(jnp.asarray(batch.arrays[name]) for name in Params._fields))
    temperature = float(batch.arrays["temperature"][0])
    return exact_problem.classifier(
        problem,
        selection,
        problem.fits[-1],
        params,
        batch.rows[-1:],
        temperature if np.isfinite(temperature) else None,
    )
