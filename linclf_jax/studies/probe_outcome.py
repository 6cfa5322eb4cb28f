"""What a probe comes to: a table of feature sets, tests between them, models.

``selected.json``, which the page is drawn from (a value without meaning is null)::

    protocol      name, source, sets (every value in force, by name), overridden (the
                  names of those that a flag gave), changed (sentences)
    selected_by   val_loss, val_accuracy or val_loss_calibrated, see docs/selection.md
    choice        min or one_standard_error
    entries       a list, one for each feature set and number of shots:
      features      name of the set
      shots         rows of each class; null for all
      model         file of the classifier, of the first seed where there are several
      num_rows      that each of its classifiers was fitted to
      num_features
      validation    how settings were compared: held_out ("folds", "validation",
                    "leave_one_out", or null where there was no choice), and mean, sd
                    and count over seeds of loss, accuracy and loss_calibrated, and
                    duplicates: rows of size that are held out and equal to one that
                    trains then, and another_label, those of which no equal has the
                    same label
      test          mean, sd and count over seeds of accuracy, top5_accuracy,
                    mean_per_class_recall, nll, calibration_error, and
                    calibration_error_scaled; sd is null of a single one
      runs          a list, one for each seed, a single one where all rows are used:
        seed          null where all rows are used and the fit is exact
        l2, C         the penalty; C is null without one
        learning_rate null where the fit is exact
        lane          the row of results.jsonl that is this classifier
        reason        why this setting
        ties          a list of what has exactly the best score too: penalties, or the
                      lanes of results.jsonl that were trained
        validation    loss, standard_error (of the loss), loss_calibrated, accuracy,
                      accuracy_interval, size, held_out, and optimism: see
                      ``validated.flattery``
        temperature   fitted on held-out rows
        test          what ``evaluation.measure`` returns: size, accuracy,
                      accuracy_interval, top5_accuracy, mean_per_class_recall, nll,
                      per_class_recall, confusion, calibration_error,
                      calibration_error_scaled, reliability, reliability_scaled, ...,
                      and duplicates: rows that are equal to one of training or
                      validation, another_label of these, and without: size, accuracy
                      and accuracy_interval of the others, null where it is all or none
    comparisons   a list, one for each pair of feature sets that all rows were used of,
                  on the same test rows: first, second (names), difference (accuracy of
                  the first minus that of the second), low, high, p_value, only_a and
                  only_b (rows that the one alone predicted right), size, adjusted (the
                  p-value by Holm's method over all pairs)
    chosen        place in entries of the classifier in selected.safetensors: the best
                  on held-out rows
    chosen_ties   places in entries of the others whose score is exactly that of chosen,
                  the one that would be next first, see docs/selection.md; where no
                  entry has held-out rows, all others
    test_data     for each set, by name: sha256, rows, opened
    warnings      sentences

``results.jsonl`` has a row for each fit, with ``features``, ``shots``, ``seed``,
``fold`` (null of a fit whose classifier is tested, or without folds), ``stage``
("choice", or "final" for a fit whose classifier is tested) and, besides, the columns
of a path or of a sweep. ``history.npz`` has, where fits are exact, for each set NAME
``NAME.l2s (G, K)``, ``NAME.val_loss``, ``NAME.val_loss_se``, ``NAME.val_accuracy``,
``NAME.val_loss_calibrated`` and ``NAME.val_loss_calibrated_se`` ``(G, K)``, for G
choices (shots, then seeds) of one of K penalties, the largest first;
where they are trained ``NAME.learning_rate (L,)`` and the curves ``NAME.train_loss``,
``NAME.val_loss``, ``NAME.val_accuracy (L, E)``. ``splits.npz`` has ``NAME.index (N,)``,
the rows but the test's, by their number in the files, ``NAME.fold (N,)``, the fold
that holds a row out, -1 for none, and ``NAME.shots (G, N)``, which rows were dealt.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.reports import probe_page
from linclf_jax.runs import checkpoint, directory, formats, model
from linclf_jax.studies import exhibits, last_step, probe_measured
from linclf_jax.studies.probe_problem import Found, Problem
from linclf_jax.studies.probe_sources import FeatureSet
from linclf_jax.training import search_space
from linclf_jax.training.settings import Static

Json = dict[str, Any]
_OWN = ("trial", "features")  # columns that a probe has its own of


class Outcome(NamedTuple):
    """What a finished probe leaves in memory; the folder holds all but the time."""

    folder: Path
    rows: list[Json]
    selected: Json
    seconds: float  # of all fits, compilation included


def finish(
    folder: Path, problem: Problem, found: Mapping[str, Found], seconds: float
) -> Outcome:
    """Writes rows and splits, tests every choice once, and seals.

    Args:
        folder: The run folder.
        problem: Flags and feature sets.
        found: What came of each set, by name: all choices are made.
        seconds: What that took.

    Raises:
        last_step.Unfinished: A test file or the page failed, or the disk is full.
    """
    rows = numbered(found)
    directory.write(folder / "results.jsonl", rows)
    history = [
        {f"{name}.{key}": array for key, array in one.history.items()}
        for name, one in found.items()
    ]
    directory.write(folder / "history.npz", dict(ChainMap(*history)))
    directory.write(folder / "splits.npz", splits(problem))
    with last_step.guarded("probe", folder):
        selected = _conclude(folder, problem, found, rows)
    return Outcome(folder, rows, formats.plain(selected), seconds)


def _conclude(
    folder: Path, problem: Problem, found: Mapping[str, Found], rows: list[Json]
) -> Json:
    """Tests what is chosen, draws the page and seals; may be done again if it fails."""
    own = {name: [row for row in rows if row["features"] == name] for name in found}
    tested = {
        features.name: probe_measured.measure(
            features, found[features.name], own[features.name], folder
        )
        for features in problem.sets
    }
    probe_measured.check_labels(tested)
    described = [
        entry
        for features in problem.sets
        for entry in probe_measured.entries(
            problem, features, found[features.name], tested[features.name]
        )
    ]
    best = probe_measured.best(described, problem.protocol.select_by)
    _save(folder, problem, found, described, tested, best.place)
    # Draws of shots are several classifiers, whose spread is more than rows can say.
    compared = [] if problem.protocol.shots else probe_measured.comparisons(tested)
    selected = {
        "protocol": protocol(problem),
        "selected_by": problem.protocol.select_by,
        "choice": problem.config.choice,
        "entries": described,
        "comparisons": compared,
        "chosen": best.place,
        "chosen_ties": list(best.ties),
        "test_data": {name: one.data for name, one in tested.items()},
        "warnings": [*warnings(problem, found)],
    }
    directory.write(folder / "selected.json", selected)
    last_step.draw_page(probe_page.write, folder)
    directory.seal(folder, without=checkpoint.FOLDER)
    checkpoint.clear(folder)
    return selected


def numbered(found: Mapping[str, Found]) -> list[Json]:
    """Returns the rows of all sets, each with its lane and its set."""
    rows = ((name, row) for name, one in found.items() for row in one.rows)
    # Rows of training have features of their own, those that images were turned into.
    return [
        {"trial": lane, "features": name} | {k: row[k] for k in row if k not in _OWN}
        for lane, (name, row) in enumerate(rows)
    ]


def splits(problem: Problem) -> dict[str, np.ndarray]:
    """Returns which rows were held out and which were dealt, by set."""
    return {
        f"{features.name}.{name}": array
        for features in problem.sets
        for name, array in (
            ("index", features.index),
            ("fold", features.fold),
            ("shots", features.dealt),
        )
    }


def protocol(problem: Problem) -> Json:
    """Returns what ``selected.json`` says of the protocol, flags included."""
    sets = problem.protocol._asdict()
    told = {name: sets.pop(name) for name in ("source", "changed")}
    training = sets.pop("training")
    sets["grid"] = search_space.text(sets["grid"])
    if training is not None:
        sets |= training._asdict()
    return {
        "name": problem.config.protocol,
        **told,
        "sets": sets,
        "overridden": problem.overridden,
    }


def warnings(problem: Problem, found: Mapping[str, Found]) -> Iterator[str]:
    """Yields the warnings of all sets and fits, each once, with the name of the set."""
    for features in problem.sets:
        of_fits = (w for fit in found[features.name].fits for w in fit.warnings)
        for warning in dict.fromkeys((*features.warnings, *of_fits)):
            yield f"{features.name}: {warning}"


def _save(
    folder: Path,
    problem: Problem,
    found: Mapping[str, Found],
    described: list[Json],
    tested: Mapping[str, probe_measured.Tested],
    chosen: int,
) -> None:
    """Writes the classifier of every entry, of its first seed, and the chosen one."""
    firsts = list(_firsts(problem, found))
    for entry, (_, stored) in zip(described, firsts, strict=True):
        model.save(folder / entry["model"], stored)
    features, stored = firsts[chosen]
    model.save(folder / "selected.safetensors", stored)
    exhibits.keep(
        folder,
        stored,
        tested[features.name].split,
        Static(num_classes=features.num_classes),
        features.dataset.image_shape,
    )


def _firsts(
    problem: Problem, found: Mapping[str, Found]
) -> Iterator[tuple[FeatureSet, model.Model]]:
    """Yields the classifier of the first seed, for each set and number of shots."""
    for features in problem.sets:
        fits, names = found[features.name].fits, features.dataset.class_names
        seeds = len(fits) // max(len(problem.protocol.shots), 1)
        for fit in fits[::seeds]:
            params = probe_measured.arrays(fit)
            stored = model.Model(
                params,
                features.scaling,
                names,
                feature_names=features.dataset.feature_names,
            )
            yield features, stored
