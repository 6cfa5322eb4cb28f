"""Exact fits as a study: a path of penalties for all that are compared, one selected.

The fits of a feature set that are compared at one penalty are lanes of one program, and
the next penalty starts where the last ones ended. What a penalty came to is in the
store as soon as it is solved, and what the path goes on from, every minute.

By default the path is solved only near enough to be compared, and ends where no weaker
penalty can be the best. Then the fits that the selection rests on are certified, see
``certification``. A path that is kept, with the classifier of all rows at every
penalty, is followed to its end.

Parameters are kept in the store and read again, so that no more is in memory than one
solution of each fit, however long the path, where the store is on a disk.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence

import numpy as np

from linclf_jax.exact import path
from linclf_jax.exact.newton import Solver
from linclf_jax.exact.path import PathState
from linclf_jax.exact.status import NOT_CERTIFIED
from linclf_jax.runs import schema
from linclf_jax.runs.store import Batch, MemoryStore, Store
from linclf_jax.scheduler import progress
from linclf_jax.scheduler.signals import Stop, Stopped
from linclf_jax.selection import certainty, held_out
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import (
    certification,
    exact_problem,
    exact_results,
    final_fits,
)
from linclf_jax.studies.exact_problem import Problem
from linclf_jax.studies.study import Classifier, FitResults, Plan, key_of

_STATE = "state"  # of the batch that a path goes on from


@dataclasses.dataclass(frozen=True)
class ExactStudy:
    """One penalty selected for each feature set, or for each draw of shots of it."""

    plan: Plan
    problems: tuple[Problem, ...]  # of each feature set

    def fit(self, store: Store, stop: Stop) -> FitResults:
        """Solves the penalties of all feature sets; see ``Study.fit``."""
        done, batches = 0, []
        progress.begin(self._total, self.plan.metric)
        try:
            for problem in self.problems:
                own: list[Batch] = []
                batches.append(own)
                for rows, restored, stopping in self._steps(problem, own, store, stop):
                    done += len(rows)
                    progress.update(rows, restored=restored)
                    if stopping:
                        raise Stopped(stopping, done, self._total)
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
        """Returns the fits to all rows, which are solved where the path kept none."""
        del results
        outcomes = []
        # Selections are in the order of the rows, feature set by feature set.
        for problem in self.problems:
            if signal := stop.requested():
                raise Stopped(signal, self._total, self._total)
            own = [each for each in selections if key_of(each.setting) == problem.key]
            outcomes += final_fits.make(problem, own, self.plan.config.exact, store)
        return outcomes

    def replay(self, row: Row, stop: Stop) -> Row:
        """Fits one trial again, as far as its path leads to it; writes nothing."""
        (problem,) = (p for p in self.problems if p.key == key_of(row))
        if row["trial"] >= problem.first_trial + problem.num_trials:
            raise ValueError(
                f"--trial is {row['trial']}, which was solved after the selection; "
                f"expected one of the stage {schema.SELECTION!r}"
            )
        index, lane = divmod(row["trial"] - problem.first_trial, len(problem.fits))
        own: list[Batch] = []
        for _ in self._steps(problem, own, MemoryStore(), stop):
            # One that was certified is so after the path, whatever came before.
            is_last = self._certifies_all or row["status"] == NOT_CERTIFIED
            if is_last and len(own) > index:
                break
        if len(own) <= index:
            raise ValueError(f"--trial is {row['trial']}; expected one of these fits")
        return own[index].rows[lane]

    @property
    def _total(self) -> int:
        return sum(problem.num_trials for problem in self.problems)

    @property
    def _certifies_all(self) -> bool:
        return self.plan.config.exact.certify == certainty.ALL

    def _steps(
        self, problem: Problem, own: list[Batch], store: Store, stop: Stop
    ) -> Iterator[tuple[Sequence[Row], bool, str | None]]:
        """Follows the path, then certifies what the selection rests on.

        Adds to ``own`` what each penalty came to. Yields the rows of new trials,
        whether they were there, and who asks to stop.
        """
        limits = self.plan.config.exact
        prepare = functools.cache(lambda: exact_problem.prepare(problem, limits))
        state, restored = self._restored(problem, store)
        for batch in restored:
            own.append(batch)
            yield batch.rows, True, None
        if not self._is_over(problem, own):
            yield from self._follow(problem, own, prepare(), state, store, stop)
        left_out = len(problem.l2s) - len(own)
        progress.update([], left_out=left_out * len(problem.fits))
        if not self._certifies_all:
            metric = self.plan.metric
            for _ in certification.certify(problem, metric, own, prepare, store):
                yield [], False, stop.requested()

    def _follow(
        self,
        problem: Problem,
        own: list[Batch],
        solver: Solver,
        state: PathState | None,
        store: Store,
        stop: Stop,
    ) -> Iterator[tuple[Sequence[Row], bool, str | None]]:
        """Goes on with the path, to its end or until it is past the best.

        From time to time, and when the run is to stop, it saves what it goes on from.
        """
        saved, left = time.monotonic(), problem.l2s[len(own) :]
        for point in path.points(solver, left, state, certified=self._certifies_all):
            measured = held_out.measure(
                point, problem.x, problem.labels, problem.resamplings, problem.fits
            )
            batch = exact_results.batch(problem, len(own), point, measured)
            store.save_batch(problem.batch_name(len(own)), batch)
            own.append(exact_results.without_params(problem, batch))
            is_over, stopping = self._is_over(problem, own), stop.requested()
            every = self.plan.config.runtime.checkpoint_every
            if not is_over and (stopping or time.monotonic() - saved >= every):
                assert point.state is not None
                arrays = path.state_arrays(point.state)
                name = problem.batch_name(_STATE)
                store.save_batch(name, Batch([], arrays), apart=True)
                saved = time.monotonic()
            yield batch.rows, False, stopping
            if is_over:
                return

    def _is_over(self, problem: Problem, own: Sequence[Batch]) -> bool:
        """Returns whether no more penalties are to be solved."""
        if len(own) == len(problem.l2s):
            return True
        groups = problem.compared_groups
        if self._certifies_all or problem.keep_path or not groups or not own:
            return False
        metric, l2s = self.plan.metric, problem.l2s[: len(own)].tolist()
        number = schema.FOLDS.index(metric)
        curves = np.array([batch.arrays["curves"][:, number, 0] for batch in own])
        return all(
            certainty.is_past_best(
                l2s,
                curves[:, group],
                exact_results.row_scores(problem, own, group)[number],
                metric,
            )
            for group in groups
        )

    def _restored(
        self, problem: Problem, store: Store
    ) -> tuple[PathState | None, list[Batch]]:
        """Returns what a path goes on from, and the penalties that it has behind it.

        Penalties that were solved after the state was saved are solved once more.
        """
        there: list[Batch] = []
        for index in range(len(problem.l2s)):
            batch = store.load_batch(problem.batch_name(index))
            if batch is None:
                break
            there.append(exact_results.without_params(problem, batch))
        if self._is_over(problem, there):
            return None, there
        stored = store.load_batch(problem.batch_name(_STATE), apart=True)
        if stored is None:
            return None, []
        state = path.state_from_arrays(stored.arrays)
        count = problem.index_of(state.solutions[-1].l2) + 1
        return (state, there[:count]) if count <= len(there) else (None, [])
