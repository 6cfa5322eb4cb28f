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
from linclf_jax.runs import checkpoint, formats, lock, schema
from linclf_jax.runs.model import Model
from linclf_jax.runs.schema import Entry, Selected
from linclf_jax.runs.store import MemoryStore, Store
from linclf_jax.scheduler import tensorboard
from linclf_jax.scheduler.signals import Interrupted, Stop, Stopped
from linclf_jax.selection import choose
from linclf_jax.selection.choose import Failure, Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.studies import entries, feature_sets, run_files, testing
from linclf_jax.studies.entries import Tested
from linclf_jax.studies.study import Classifier, FitResults, Study

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
    selections: list[Selection | Failure]
    classifiers: list[Classifier]  # of the selections that are no failures
    seconds: float


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
    with Stop() as stop, lock.locked(path):
        run_files.open_run(path, study)
        try:
            return _run(study, path, checkpoint.DiskStore(path), stop)
        except Stopped as stopped:
            raise Interrupted(stopped, path) from None


def select(study: Study, results: FitResults) -> list[Selection | Failure]:
    """Returns the setting of each group, by held-out rows alone.

    Args:
        study: Its groups, metric and rule are used.
        results: What came of all trials.
    """
    return choose.select_per_group(
        results.rows,
        study.group_by,
        given=results.given,
        metric=study.metric,
        rule=study.rule,
        errors=results.standard_errors,
        edges=study.has_edges,
        flags=study.selection_flags,
    )


def _run(study: Study, path: Path | None, store: Store, stop: Stop) -> StudyResult:
    with run_files.guarded(study.name, path, OSError):
        fitted = _fit(study, path, store, stop)
    results, seconds = fitted.results, fitted.seconds
    rows = _with_new_rows(results.rows, fitted.classifiers)
    selected, models = None, {}
    with run_files.guarded(study.name, path):
        if study.shard is None and fitted.classifiers:
            tested, splits, test_data = _test(study, fitted, path)
            selected, models = _record(study, fitted, rows, tested, test_data)
            if path is not None:
                run_files.write_selected(path, rows, selected, models)
                _write_examples(path, selected, tested, splits)
        if path is not None:
            run_files.seal_shard(path) if study.shard else run_files.finish(path)
    if study.shard is None and selected is None:
        reasons = [
            ": ".join(filter(None, (schema.name(s.group), s.reason)))
            for s in fitted.selections
        ]
        raise ValueError("; ".join(dict.fromkeys(reasons)))
    return StudyResult(
        study.name, path, rows, results.history, selected, models, seconds
    )


def _fit(study: Study, path: Path | None, store: Store, stop: Stop) -> _Fitted:
    """Fits all trials, selects, and returns the classifiers; no test row is read."""
    for sentence in _warnings(study):  # before the work begins
        logger.warning("%s", sentence)
    begun = time.monotonic()
    with _recorded(study, path) as events:
        results = study.fit(store, stop)
        if path is not None:
            run_files.write_results(path, study, results)
        if study.shard is not None:
            return _Fitted(results, [], [], time.monotonic() - begun)
        selections = select(study, results)
        usable = [each for each in selections if isinstance(each, Selection)]
        fitted = study.classifiers(usable, results, store, stop) if usable else []
        selections = _with_failures(selections, fitted)
        classifiers = [each for each in fitted if isinstance(each, Classifier)]
        if events is not None and len(classifiers) == 1 and classifiers[0].curves:
            events.write_curves(classifiers[0].curves)
    return _Fitted(results, selections, classifiers, time.monotonic() - begun)


def _with_failures(
    selections: Sequence[Selection | Failure], fitted: Sequence[Classifier | Failure]
) -> list[Selection | Failure]:
    """Returns the selections, a failure in place of one that could not be fitted."""
    outcomes = iter(fitted)
    return [
        outcome
        if isinstance(selection, Selection)
        and isinstance(outcome := next(outcomes), Failure)
        else selection
        for selection in selections
    ]


@contextlib.contextmanager
def _recorded(
    study: Study, path: Path | None
) -> Iterator[tensorboard.EventFile | None]:
    scheduler = getattr(study.config, "scheduler", None)
    if path is None or scheduler is None or not scheduler.tensorboard:
        yield None
        return
    with tensorboard.recording(path, study.metric) as events:
        yield events


def _with_new_rows(rows: Sequence[Row], classifiers: Sequence[Classifier]) -> list[Row]:
    """Returns all rows by trial, those too that were fitted after the selection."""
    new = [row for classifier in classifiers for row in classifier.new_rows]
    return sorted([*rows, *new], key=lambda row: row["trial"])


def _test(
    study: Study, fitted: _Fitted, path: Path | None
) -> tuple[list[Tested], dict[str, Split], dict[str, dict]]:
    """Reads the test rows, here and nowhere else, and evaluates every classifier."""
    splits: dict[str, Split] = {}
    test_data = {}
    for inputs in study.inputs.values():
        if inputs.name not in splits:
            splits[inputs.name] = inputs.dataset.test.read()
            test_data[inputs.name] = testing.describe(splits[inputs.name])
            if path is not None:
                run_files.check_measured(path, inputs.name, test_data[inputs.name])
    (first, split), *others = splits.items()
    for name, other in others:
        feature_sets.check_same_labels(first, split.labels, name, other.labels)
    usable = [each for each in fitted.selections if isinstance(each, Selection)]
    tested = []
    for selection, classifier in zip(usable, fitted.classifiers, strict=True):
        inputs = study.inputs[entries.key(selection)]
        evaluation = testing.evaluate(classifier, inputs, splits[inputs.name])
        tested.append(Tested(selection, classifier, inputs, evaluation))
    return tested, splits, test_data


def _record(
    study: Study,
    fitted: _Fitted,
    rows: Sequence[Row],
    tested: Sequence[Tested],
    test_data: Mapping[str, dict],
) -> tuple[Selected, dict[str, Model]]:
    """Returns what ``selected.json`` is to hold, and the classifiers by file."""
    waiting = iter(tested)
    described: list[Entry] = [
        entries.failed(selection)
        if isinstance(selection, Failure)
        else entries.make(study, fitted.results, next(waiting))
        for selection in fitted.selections
    ]
    chosen, ties = testing.choose_entry(described, study.metric)
    if study.group_by and study.protocol is None:  # groups of one search
        bias = entries.selection_bias(study, fitted.results, {})
        described[chosen]["selection_bias"] = bias
    models: dict[str, Model] = {}
    for one in tested:  # of several seeds the first classifier is kept
        models.setdefault(
            schema.file_name(one.selection.group), entries.stored_model(one)
        )
    models[schema.MODEL] = models[described[chosen]["model"]]
    selected: Selected = {
        "metric": study.metric,
        "rule": study.rule,
        "select_per": list(study.group_by),
        "protocol": study.protocol,
        "entries": described,
        "chosen": chosen,
        "chosen_ties": ties,
        "comparisons": _comparisons(study, tested),
        "certificates": entries.certificates(rows, study.config),
        "test_data": test_data,
        "warnings": _warnings(study),
    }
    return formats.plain(selected), models


def _comparisons(study: Study, tested: Sequence[Tested]) -> list[dict]:
    """Returns the paired tests of feature sets of which all rows were used.

    Draws of shots are several classifiers, whose spread is more than rows can say.
    """
    names = [one.inputs.name for one in tested]
    if study.protocol is None or len(set(names)) < len(names):
        return []
    if any(one.selection.group.get("shots") is not None for one in tested):
        return []
    return testing.compare(
        {name: one.evaluation for name, one in zip(names, tested, strict=True)}
    )


def _warnings(study: Study) -> list[str]:
    """Returns the warnings of the data, each once, with the name of a feature set."""
    sentences = [
        f"{inputs.name}: {sentence}" if study.protocol is not None else sentence
        for inputs in study.inputs.values()
        for sentence in inputs.warnings
    ]
    return list(dict.fromkeys(sentences))


def _write_examples(
    path: Path,
    selected: Selected,
    tested: Sequence[Tested],
    splits: Mapping[str, Split],
) -> None:
    group = selected["entries"][selected["chosen"]]["group"]
    (one,) = (t for t in tested if formats.plain(t.selection.group) == group)
    run_files.write_examples(path, one.classifier, one.inputs, splits[one.inputs.name])
