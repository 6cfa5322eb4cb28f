"""From a study to its result: fit, select, test once, record, draw, seal.

Every study goes this way, and nothing else reads a test row: it is done here, after all
selections are made and every classifier is there. Where anything fails or a signal
comes, what was fitted is in the run directory, and the same command goes on with it.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data.datasets import Split
from linclf_jax.reports import render
from linclf_jax.runs import checkpoint, directory, formats, schema
from linclf_jax.runs.model import Model
from linclf_jax.runs.schema import Selected
from linclf_jax.runs.store import MemoryStore, Store
from linclf_jax.scheduler import tensorboard
from linclf_jax.scheduler.signals import Interrupted, Stop, Stopped
from linclf_jax.selection import choose
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import entries, feature_sets, run_files, testing
from linclf_jax.studies.entries import Tested
from linclf_jax.studies.study import Classifier, FitResults, Plan, Study, key_of

logger = logging.getLogger(__name__)


class StudyResult(NamedTuple):
    """What a finished study leaves in memory; its run directory holds all of it."""

    study: str
    directory: Path | None
    rows: list[Row]
    history: dict[str, np.ndarray]
    selected: Selected | None  # None of a shard, which selects nothing
    models: Mapping[str, Model]  # by the names of their files
    seconds: float  # of the fits, compilation included


class _Fitted(NamedTuple):
    """All that is known before a test row is read."""

    results: FitResults
    outcomes: Sequence[Classifier | Failure]  # of each group; none of a shard
    seconds: float

    @property
    def classifiers(self) -> list[Classifier]:
        return [each for each in self.outcomes if isinstance(each, Classifier)]


def run(study: Study, out_dir: str | Path | None = None) -> StudyResult:
    """Fits, selects, tests once, and writes the run directory, if there is to be one.

    Args:
        study: All flags and data are checked.
        out_dir: The run directory, new or unfinished; nothing is written without it.

    Raises:
        ValueError: The directory is of another configuration, before anything is
            compiled; after all fits, where no setting is usable.
        signals.Interrupted: A signal stopped it; the same command goes on.
        run_files.Unfinished: The disk or something after the fits failed; likewise.
    """
    if out_dir is None:  # nothing is kept, so a signal means what it always does
        return _run(study, None, MemoryStore(), Stop())
    path = Path(out_dir)
    render.require()
    with Stop() as stop, directory.locked(path):
        run_files.open_run(path, study.plan)
        try:
            return _run(study, path, checkpoint.DiskStore(path), stop)
        except Stopped as stopped:
            raise Interrupted(stopped, path) from None


def select(plan: Plan, results: FitResults) -> list[Selection | Failure]:
    """Returns the setting of each group, by held-out rows alone."""
    return choose.select_per_group(
        results.rows,
        plan.group_by,
        given=results.given,
        metric=plan.metric,
        rule=plan.config.selection.rule,
        errors=results.standard_errors,
        edges=plan.has_edges,
        flags={"l2": plan.unit},
    )


def _run(study: Study, path: Path | None, store: Store, stop: Stop) -> StudyResult:
    plan = study.plan
    with run_files.guarded(plan.name, path, OSError):
        fitted = _fit(study, path, store, stop)
    rows = [*fitted.results.rows]
    rows += [row for each in fitted.classifiers for row in each.new_rows]
    rows.sort(key=lambda row: row["trial"])
    selected, models = None, {}
    with run_files.guarded(plan.name, path):
        if fitted.classifiers:
            splits, test_data = _read_test(plan, path)
            tested = _test(plan, fitted.outcomes, splits)
            selected, models = _record(plan, fitted.results, rows, tested, test_data)
            if path is not None:
                run_files.write_selected(path, rows, selected, models)
                chosen = tested[selected["chosen"]]
                assert isinstance(chosen, Tested)
                one, inputs = chosen.classifier, chosen.inputs
                run_files.write_examples(path, one, inputs, splits[inputs.name])
        if path is not None:
            run_files.finish(path, is_shard=plan.shard is not None)
    if plan.shard is None and selected is None:
        failures = [each for each in fitted.outcomes if isinstance(each, Failure)]
        reasons = [
            ": ".join(filter(None, (schema.name(each.group), each.reason)))
            for each in failures
        ]
        raise ValueError("; ".join(dict.fromkeys(reasons)))
    history, seconds = fitted.results.history, fitted.seconds
    return StudyResult(plan.name, path, rows, history, selected, models, seconds)


def _fit(study: Study, path: Path | None, store: Store, stop: Stop) -> _Fitted:
    """Fits all trials, selects, and returns the classifiers; no test row is read."""
    plan, outcomes = study.plan, []
    for sentence in _warnings(plan):  # before the work begins
        logger.warning("%s", sentence)
    begun = time.monotonic()
    with _recorded(plan, path) as events:
        results = study.fit(store, stop)
        if path is not None:
            run_files.write_results(path, plan, results)
        if plan.shard is None:
            selections = select(plan, results)
            usable = [each for each in selections if isinstance(each, Selection)]
            fitted = study.classifiers(usable, results, store, stop) if usable else []
            following = iter(fitted)
            outcomes = [
                each if isinstance(each, Failure) else next(following)
                for each in selections
            ]
        done = _Fitted(results, outcomes, time.monotonic() - begun)
        if events is not None and len(done.classifiers) == 1:
            events.write_curves(done.classifiers[0].curves or {})
    return done


@contextlib.contextmanager
def _recorded(plan: Plan, path: Path | None) -> Iterator[tensorboard.EventFile | None]:
    scheduler = getattr(plan.config, "scheduler", None)
    if path is None or scheduler is None or not scheduler.tensorboard:
        yield None
        return
    with tensorboard.recording(path, plan.metric) as events:
        yield events


def _read_test(
    plan: Plan, path: Path | None
) -> tuple[dict[str, Split], dict[str, dict]]:
    """Reads the test rows, here and nowhere else, and describes them."""
    splits: dict[str, Split] = {}
    for inputs in plan.inputs.values():
        if inputs.name not in splits:
            splits[inputs.name] = inputs.dataset.test.read()
    described = {name: testing.describe(split) for name, split in splits.items()}
    if path is not None:
        run_files.check_measured(path, described)
    (first, split), *others = splits.items()
    for name, other in others:
        feature_sets.check_same_labels(first, split.labels, name, other.labels)
    return splits, described


def _test(
    plan: Plan,
    outcomes: Sequence[Classifier | Failure],
    splits: Mapping[str, Split],
) -> list[Tested | Failure]:
    """Evaluates every classifier on the test rows."""
    tested: list[Tested | Failure] = []
    for outcome in outcomes:
        if isinstance(outcome, Classifier):
            inputs = plan.inputs[key_of(outcome.selection.setting)]
            evaluation = testing.evaluate(outcome, inputs, splits[inputs.name])
            tested.append(Tested(outcome, inputs, evaluation))
        else:
            tested.append(outcome)
    return tested


def _record(
    plan: Plan,
    results: FitResults,
    rows: Sequence[Row],
    outcomes: Sequence[Tested | Failure],
    test_data: Mapping[str, dict],
) -> tuple[Selected, dict[str, Model]]:
    """Returns what ``selected.json`` is to hold, and the classifiers by file."""
    described = [entries.make(each, results, plan.metric) for each in outcomes]
    chosen, ties = testing.choose_entry(described, plan.metric)
    if plan.group_by and plan.protocol is None:  # groups of one search
        bias = entries.selection_bias(results, {}, plan.metric)
        described[chosen]["selection_bias"] = bias
    models: dict[str, Model] = {}
    tested = [each for each in outcomes if isinstance(each, Tested)]
    for each in tested:  # of several seeds the first classifier is kept
        models.setdefault(schema.file_name(each.group), entries.stored_model(each))
    models[schema.MODEL] = models[described[chosen]["model"]]
    selected: Selected = {
        "metric": plan.metric,
        "rule": plan.config.selection.rule,
        "select_per": list(plan.group_by),
        "protocol": plan.protocol,
        "entries": described,
        "chosen": chosen,
        "chosen_ties": ties,
        "comparisons": _comparisons(plan, tested),
        "certificates": entries.certificates(rows, results, plan.config),
        "test_data": test_data,
        "warnings": _warnings(plan),
    }
    return formats.plain(selected), models


def _comparisons(plan: Plan, tested: Sequence[Tested]) -> list[dict]:
    """Returns the paired tests of feature sets of which all rows were used.

    Draws of shots are several classifiers, whose spread is more than rows can say.
    """
    by_name = {each.inputs.name: each.evaluation for each in tested}
    has_draws = any(each.group.get("shots") is not None for each in tested)
    if plan.protocol is None or has_draws or len(by_name) < len(tested):
        return []
    return testing.compare(by_name)


def _warnings(plan: Plan) -> list[str]:
    """Returns the warnings of the data, each once, with the name of a feature set."""
    sentences = [
        f"{inputs.name}: {sentence}" if plan.protocol is not None else sentence
        for inputs in plan.inputs.values()
        for sentence in inputs.warnings
    ]
    return list(dict.fromkeys(sentences))
