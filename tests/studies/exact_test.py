"""Exact studies against scikit-learn and against fits by hand: paths, probes, shots."""

import io

import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn import linear_model, metrics

from linclf_jax.cli import console, progress
from linclf_jax.config import protocols
from linclf_jax.data import preprocessing
from linclf_jax.exact import status
from linclf_jax.reports import penalties
from linclf_jax.runs import record, schema
from linclf_jax.runs.store import MemoryStore
from linclf_jax.scheduler import progress as records
from linclf_jax.scheduler import signals
from linclf_jax.selection import bias, cross_validation, ranking
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.studies import pipeline
from tests import feature_files, small_studies

GRID = (1.0, 1e-1, 1e-2, 1e-3)


def run(name, files=None, directory=None, **flags):
    return pipeline.run(small_studies.prepare(name, files, **flags), directory)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two sets of the same rows, and the first once more with a validation file."""
    folder = tmp_path_factory.mktemp("files")
    val = feature_files.write(folder / "val", val=True)
    for what in ("features", "labels"):  # as many fitted rows as without: one shape
        np.save(val / f"train_{what}.npy", np.load(val / f"train_{what}.npy")[:54])
    return {
        "good": feature_files.write(folder / "good", noise=1.0),
        "bad": feature_files.write(folder / "bad", noise=2.5),
        "val": val,
    }


@pytest.fixture(scope="module", autouse=True)
def _blank_pages():
    with small_studies.blank_pages():
        yield


@pytest.fixture(scope="module")
def both(files, tmp_path_factory):
    """A probe of two sets: the study and what came of it."""
    sets = tuple(f"{name}={files[name]}" for name in ("good", "bad"))
    flags = {"l2": GRID, "folds": 2, "tol": 1e-9, "certify": "all"}
    study = small_studies.prepare("probe", features=sets, **flags)
    return study, pipeline.run(study, tmp_path_factory.mktemp("runs") / "both")


@pytest.fixture(scope="module")
def reference(files, both):
    """The same by scikit-learn: fits of all penalties, on the folds of the study."""
    study, _ = both
    by_name = {inputs.name: inputs for inputs in study.plan.inputs.values()}
    return {name: by_sklearn(files[name], by_name[name]) for name in by_name}


def by_sklearn(path, inputs):
    read = {item.stem: np.load(item) for item in path.glob("*.npy")}
    x, labels = (read[f"train_{what}"][inputs.index] for what in ("features", "labels"))
    wide = x.astype(np.float64)
    shift, scale = wide.mean(axis=0), wide.std(axis=0)
    x, test = (wide - shift) / scale, (read["test_features"] - shift) / scale
    held_out = {l2: np.empty((len(x), 6)) for l2 in GRID}
    for l2 in GRID:
        for number in range(2):
            train = inputs.fold != number
            fitted = logistic(x[train], labels[train], l2)
            held_out[l2][~train] = fitted.decision_function(x[~train])
    temperatures = {l2: best_temperature(z, labels) for l2, z in held_out.items()}
    losses = {
        l2: fold_loss(z / temperatures[l2], labels, inputs.fold)
        for l2, z in held_out.items()
    }
    l2 = min(losses, key=losses.get)
    return {
        "l2": l2,
        "val_loss": fold_loss(held_out[l2], labels, inputs.fold),
        "val_loss_calibrated": losses[l2],
        "temperature": temperatures[l2],
        "scores": logistic(x, labels, l2).decision_function(test),
        "test_labels": read["test_labels"],
    }


def fold_loss(scores, labels, fold):
    logs = special.log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return -np.mean([logs[fold == k].mean() for k in range(2)])


def logistic(x, labels, l2):
    C = 1.0 / (l2 * len(x))
    solver = linear_model.LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10)
    return solver.fit(np.float64(x), labels)


def best_temperature(scores, labels):
    def nll(log_temperature):
        logs = special.log_softmax(scores / np.exp(log_temperature), axis=1)
        return -logs[np.arange(len(labels)), labels].mean()

    best = optimize.minimize_scalar(nll, bounds=(-3, 3), options={"xatol": 1e-8})
    return float(np.exp(best.x))


@pytest.mark.parametrize("number", [0, 1])
def test_a_probe_comes_to_what_scikit_learn_does(number, both, reference):
    expected = reference[("good", "bad")[number]]
    entry = both[1].selected["entries"][number]
    assert entry["row"]["l2"] == expected["l2"]
    for score in ("val_loss", "val_loss_calibrated"):
        assert entry["validation"][score] == pytest.approx(expected[score], rel=1e-4)
    assert entry["temperature"] == pytest.approx(expected["temperature"], rel=1e-3)
    test, scores, labels = entry["test"], expected["scores"], expected["test_labels"]
    assert test["accuracy"] == np.mean(scores.argmax(axis=1) == labels)
    loss = metrics.log_loss(labels, special.softmax(scores, axis=1))
    assert test["nll"] == pytest.approx(loss, rel=1e-4)
    cooled = special.softmax(scores / expected["temperature"], axis=1)
    assert test["nll_scaled"] == pytest.approx(
        metrics.log_loss(labels, cooled), rel=1e-3
    )


def test_sets_are_compared_row_by_row(both, reference):
    (pair,) = both[1].selected["comparisons"]
    correct = {
        name: one["scores"].argmax(axis=1) == one["test_labels"]
        for name, one in reference.items()
    }
    only_a = int(np.sum(correct["good"] & ~correct["bad"]))
    only_b = int(np.sum(correct["bad"] & ~correct["good"]))
    assert (pair["first"], pair["second"]) == ("good", "bad")
    assert (pair["only_a"], pair["only_b"], pair["size"]) == (only_a, only_b, 60)
    exact = stats.binomtest(only_a, only_a + only_b).pvalue
    assert pair["p_value"] == pair["adjusted"] == pytest.approx(exact, rel=1e-9)
    assert pair["difference"] == pytest.approx((only_a - only_b) / 60)


def test_every_fit_has_a_row_with_its_gap(both):
    rows = both[1].rows
    # Of each set four penalties in two folds, then the tested one.
    assert [row["features"] for row in rows] == ["good"] * 9 + ["bad"] * 9
    assert [row["fold"] for row in rows] == [*[0, 1] * 4, None] * 2
    stages = [schema.SELECTION] * 8 + [schema.FINAL]
    assert [row["stage"] for row in rows] == stages * 2
    gaps = [row["relative_gap"] for row in rows]
    assert max(gaps) <= 1e-9
    for entry, trial in zip(both[1].selected["entries"], (8, 17), strict=True):
        assert (entry["trial"], entry["num_rows"], entry["refit"]) == (trial, 90, True)
        C = 1 / (entry["row"]["l2"] * 90)
        assert entry["row"]["C"] == pytest.approx(C, rel=1e-12)
    assert both[1].selected["certificates"] == {
        "fits": 18,
        "certified": 18,
        "worst_relative_gap": max(gaps),
        "tol": 1e-9,
        "penalties_left_out": 0,
    }


def test_a_validation_file_compares_and_is_part_of_the_last_fit(files):
    flags = small_studies.data_flags(files["val"], val=True)
    result = run("probe", l2=GRID, tol=1e-9, **flags)
    (entry,) = result.selected["entries"]
    stages = [row["stage"] for row in result.rows]
    assert stages == [*[schema.SELECTION] * 4, schema.FINAL]
    assert entry["validation"]["resampling"] == resampling_lib.SPLIT
    assert (entry["num_rows"], entry["validation"]["size"]) == (90, 36)
    read = {item.stem: np.load(item) for item in files["val"].glob("*.npy")}
    # Scaling is that of the rows that were not held out.
    scaling = preprocessing.fit("standardize", read["train_features"])
    stored = result.models[schema.MODEL]
    np.testing.assert_array_equal(stored.scaling.shift, scaling.shift)
    x = preprocessing.apply(scaling, read["train_features"])
    val = preprocessing.apply(scaling, read["val_features"])
    scores = logistic(x, read["train_labels"], entry["row"]["l2"]).decision_function(
        val
    )
    logs = special.log_softmax(scores, axis=1)
    losses = -logs[np.arange(36), read["val_labels"]]
    assert entry["validation"]["val_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    error = losses.std(ddof=1) / 6
    assert entry["validation"]["standard_error"] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("name", ["clip_benchmark", "dinov2_logreg"])
def test_exact_protocols_compare_on_rows_of_training(name, files):
    preset = protocols.PROTOCOLS[name]
    unit = preset.penalty.unit
    grid = {unit: (0.1, 1.0, 10.0) if unit == "C" else GRID}
    other = {"l2": None} if unit == "C" else {}
    result = run("probe", files["good"], protocol=name, **{**other, **grid})
    said, (entry,) = result.selected["protocol"], result.selected["entries"]
    assert (said["name"], said["overridden"]) == (name, [unit])
    assert said["changed"] == list(preset.changed)
    size = entry["validation"]["size"]
    assert (size, entry["num_rows"]) == (90 // preset.hold_out, 90)
    compared = result.rows[entry["trials"][0]]
    assert entry["validation"]["val_accuracy"] == max(
        row["val_accuracy"] for row in result.rows if ranking.is_compared(row)
    )
    if unit == "C":
        assert entry["row"]["C"] == pytest.approx(compared["C"], rel=1e-12)
        assert entry["row"]["l2"] == pytest.approx(compared["l2"] * (90 - size) / 90)
    else:
        assert entry["row"]["l2"] == compared["l2"]


@pytest.mark.parametrize(("name", "trials"), [("dinov2_linear", 13), ("mae", 1)])
def test_protocols_that_train_scale_their_learning_rates(name, trials, files):
    flags = small_studies.data_flags(files["val"], val=True)
    result = run("protocol", **{**flags, "protocol": name, "epochs": 3})
    assert len(result.rows) == trials
    assert {row["steps"] for row in result.rows} == {3}
    # 54 rows are one batch, and the rates are for 256.
    expected = np.array(protocols.PROTOCOLS[name].training.learning_rate) * 54 / 256
    rates = [row["learning_rate"] for row in result.rows]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    (entry,) = result.selected["entries"]
    best = max(row["val_accuracy"] for row in result.rows)
    assert entry["validation"]["val_accuracy"] == best
    assert (entry["num_rows"], entry["refit"]) == (54, False)
    sets = result.selected["protocol"]["sets"]
    assert (sets["epochs"], sets["steps"]) == (3, None)
    assert "3 steps, where the original makes" in result.selected["warnings"][-1]


def test_draws_of_shots_are_the_fits_one_by_one(files):
    study = small_studies.prepare("shots", files["good"], tol=1e-9)
    result, (inputs,) = pipeline.run(study), study.plan.inputs.values()
    assert inputs.draws.sum(axis=1).tolist() == [6, 6, 12, 12]
    entries, l2s = result.selected["entries"], small_studies.FLAGS["shots"]["l2"]
    groups = [tuple(entry["group"].values()) for entry in entries]
    assert groups == [("features", shots, seed) for shots in (1, 2) for seed in (0, 1)]
    test = preprocessing.apply(
        inputs.scaling, np.load(files["good"] / "test_features.npy")
    )
    labels = np.load(files["good"] / "test_labels.npy")
    for entry, rows in zip(entries, inputs.draws, strict=True):
        x, own = inputs.x[rows], inputs.labels[rows]
        fitted = logistic(x, own, entry["row"]["l2"])
        assert entry["test"]["accuracy"] == fitted.score(test, labels)
        if rows.sum() == 6:
            assert entry["row"]["l2"] == pytest.approx(1 / 6)
            assert entry["validation"]["resampling"] is None
            assert (entry["temperature"], entry["trials"]) == (None, [])
    alone = cross_validation.leave_one_out(x, own, l2s, tol=1e-9)
    index = cross_validation.choose(alone).best
    assert entry["row"]["l2"] == l2s[index]
    loss = alone.loss.mean[index]
    assert entry["validation"]["val_loss"] == pytest.approx(loss, rel=1e-4)
    temperature = alone.rows.temperature[index]
    assert entry["temperature"] == pytest.approx(temperature, rel=1e-3)
    assert result.selected["chosen"] == 2
    assert {*result.models} == {
        "features-1shots.safetensors",
        "features-2shots.safetensors",
        "selected.safetensors",
    }
    assert result.selected["comparisons"] == []


def test_draws_too_large_for_the_estimate_are_dealt_into_folds(files, monkeypatch):
    monkeypatch.setattr(resampling_lib, "MOST_UNKNOWNS", 1)
    study = small_studies.prepare("shots", files["good"], shots=(2,))
    (problem,) = study.problems
    kinds = [(draw.kind, len(draw.held_out)) for draw in problem.resamplings]
    assert kinds == [(resampling_lib.FOLDS, 2)] * 2
    fits = [(fit.group, fit.fold, fit.train.sum()) for fit in problem.fits]
    assert fits == [(0, 0, 6), (0, 1, 6), (1, 0, 6), (1, 1, 6)]
    for entry in pipeline.run(study).selected["entries"]:
        assert (entry["num_rows"], entry["refit"]) == (12, True)


@pytest.fixture(scope="module")
def path(files):
    flags = {"l2": GRID, "folds": 2, "rule": "one_standard_error", "certify": "all"}
    return run("path", files["good"], **flags)


def test_the_history_of_a_path_says_what_its_rows_say(path):
    history = path.history
    assert history["0.l2s"].tolist() == sorted(GRID, reverse=True)
    by_fold = {(row["l2"], row["fold"]): row for row in path.rows}
    assert len(by_fold) == len(path.rows) == 12
    for k, l2 in enumerate(history["0.l2s"].tolist()):
        *folds, last = rows = [by_fold[l2, fold] for fold in (0, 1, None)]
        for name in schema.FOLDS:
            scores = [row[name] for row in folds]
            assert history[f"0.folds.{name}"][k].tolist() == scores
            assert history[f"0.{name}"][k] == pytest.approx(np.mean(scores), rel=1e-14)
            error = np.std(scores, ddof=1) / np.sqrt(2)
            assert history[f"0.{name}_se"][k] == pytest.approx(error, rel=1e-12)
        for name, column in (("newton_steps", "steps"), ("products", "products")):
            assert history[name][k].tolist() == [row[column] for row in rows]
        assert (last["stage"], last["val_loss"]) == (schema.FINAL, None)
    assert history["coefficients"].shape == (4, 5, 6)


def test_a_path_has_both_rules_and_tests_the_one_that_was_asked_for(path):
    (entry,) = path.selected["entries"]
    history = path.history
    best = int(np.argmin(history["0.val_loss"]))
    limit = history["0.val_loss"][best] + history["0.val_loss_se"][best]
    strongest = history["0.l2s"][history["0.val_loss"] <= limit].max()
    assert entry["rules"]["best"]["l2"] == history["0.l2s"][best]
    assert entry["rules"]["one_standard_error"]["l2"] == strongest
    assert entry["row"]["l2"] == strongest
    assert entry["standard_error"] == pytest.approx(history["0.val_loss_se"][best])
    C = 1 / (strongest * 90)
    assert entry["rules"]["one_standard_error"]["C"] == pytest.approx(C)
    k = history["0.l2s"].tolist().index(strongest)
    stored = path.models[schema.MODEL].params.W
    np.testing.assert_array_equal(np.float32(stored), history["coefficients"][k])
    assert entry["trial"] == 3 * k + 2


def test_the_bias_of_a_selection_follows_from_held_out_rows(files, path):
    ((_, inputs),) = small_studies.prepare(
        "path", files["good"], l2=GRID
    ).plan.inputs.items()
    alone = cross_validation.cross_validate(inputs.x, inputs.labels, GRID, inputs.fold)
    order = np.argsort(-np.array(GRID))
    scores, correct = (
        np.asarray(values, np.float32)[order]
        for values in (alone.rows.loss, alone.rows.correct)
    )
    estimate = bias.estimate(scores, correct)
    (entry,) = path.selected["entries"]
    assert entry["selection_bias"]["accuracy"] == pytest.approx(-estimate.correction)
    assert entry["selection_bias"]["settings"] == 4


def test_leave_one_out_is_the_path_of_all_rows(files, path):
    flags = {"l2": GRID, "leave_one_out": True, "certify": "all"}
    result = run("path", files["good"], **flags)
    (entry,) = result.selected["entries"]
    assert entry["validation"]["resampling"] == resampling_lib.LEAVE_ONE_OUT
    assert entry["validation"]["size"] == 90
    assert [row["fold"] for row in result.rows] == [None] * 4
    assert entry["trial"] == entry["trials"][0]
    np.testing.assert_allclose(
        result.history["coefficients"], path.history["coefficients"], atol=1e-3
    )


def test_fits_that_did_not_end_well_are_said_and_not_selected(files):
    result = run("path", files["good"], l2=(10.0, 1e-5), max_newton_steps=4, tol=1e-12)
    (entry,) = result.selected["entries"]
    failed = [row for row in result.rows if row["status"] == status.MAX_STEPS]
    assert 0 < len(failed) < len(result.rows)
    sentence = f"{len(failed)} of {len(result.rows)} trials ended as max_steps"
    assert any(sentence in warning for warning in entry["warnings"])
    assert entry["row"]["l2"] not in {row["l2"] for row in failed}


def test_rows_that_no_draw_uses_take_no_part(files):
    study = small_studies.prepare("shots", files["good"])
    (problem,), (inputs,) = study.problems, study.plan.inputs.values()
    used = inputs.draws.any(axis=0)
    assert 0 < used.sum() < 90
    np.testing.assert_array_equal(problem.x, inputs.x[used])
    for resampling, rows in zip(problem.resamplings, inputs.draws, strict=True):
        np.testing.assert_array_equal(resampling.rows, rows[used])


def test_a_last_fit_that_fails_costs_its_set_alone(files, monkeypatch):
    sets = tuple(f"{name}={files[name]}" for name in ("good", "bad"))
    study = small_studies.prepare("probe", features=sets, l2=GRID, folds=2)
    usable = ranking.is_usable
    monkeypatch.setattr(
        ranking,
        "is_usable",
        lambda row: (
            usable(row)
            and not (row.get("stage") == schema.FINAL and row["features"] == "good")
        ),
    )
    result = pipeline.run(study)
    failed, tested = result.selected["entries"]
    assert failed["failure"].startswith("a fit of the chosen penalty, l2 ")
    assert (tested["failure"], result.selected["chosen"]) == (None, 1)
    assert result.selected["comparisons"] == []


def test_fits_for_another_selection_are_not_taken_for_those_of_this_one(files):
    study = small_studies.prepare("probe", files["good"], l2=GRID, folds=2)
    store, stop = MemoryStore(), signals.Stop()
    results = study.fit(store, stop)
    (selection,) = pipeline.select(study.plan, results)
    others = [row for row in results.rows if row["l2"] != selection.setting["l2"]]
    other = selection._replace(setting=others[0])
    (wrong,) = study.classifiers([other], results, store, stop)
    (right,) = study.classifiers([selection], results, store, stop)
    assert wrong.row["l2"] == others[0]["l2"]
    assert right.row["l2"] == selection.setting["l2"]


def test_one_draw_of_one_shot_is_a_whole_run(files, tmp_path):
    study = small_studies.prepare("shots", files["good"], shots=(1,), draws=1)
    result = pipeline.run(study, tmp_path / "run")
    (entry,) = result.selected["entries"]
    assert (entry["trials"], entry["rules"]) == ([], {})
    read = record.read(result.directory)
    assert [*penalties.make(read)] == []
    assert "Chosen: " in console.summary(result)


def test_fits_after_the_selection_are_not_replayed(both):
    study, result = both
    with pytest.raises(ValueError, match="was solved after the selection"):
        study.replay(result.rows[8], signals.Stop())
    assert study.replay(result.rows[7], signals.Stop()) == result.rows[7]


def test_a_run_directory_says_what_its_selection_ranks_by(files):
    study = small_studies.prepare("probe", files["good"])
    assert (
        study.plan.config.selection.metric == study.plan.metric == "val_loss_calibrated"
    )
    again = small_studies.probe.prepare(study.plan.config)
    assert again.plan.protocol == study.plan.protocol  # the flag overrides nothing


def test_the_progress_of_trials_goes_by_scores_that_they_have_by_then(files):
    """The calibrated loss of trained rows is there once all are trained."""
    study = small_studies.prepare(
        "protocol", files["good"], metric="val_loss_calibrated"
    )
    stream = io.StringIO()
    with records.attached(progress.Handler(stream=stream)):
        result = pipeline.run(study)
    assert stream.getvalue().startswith("13 of 13 trials")
    assert result.selected["metric"] == "val_loss_calibrated"
