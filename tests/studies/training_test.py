"""A study that trains: what it finds in a store, and the classifiers it comes to."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import losses, metrics, params
from linclf_jax.runs.store import MemoryStore
from linclf_jax.scheduler import signals
from linclf_jax.scheduler.signals import Stop
from linclf_jax.selection import choose, ranking, row_scores
from linclf_jax.selection.choose import Failure
from linclf_jax.studies.training import TrainingStudy
from linclf_jax.training import execution
from tests import sweeps

KEY = ("raw", "standardize")
FOLDS = {"folds": 3, "l2": (0.0,), "learning_rate": (0.03, 0.1)}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(_quick):
    return sweeps.fit()


def select(fitted, columns=()):
    return choose.select_per_group(fitted.results.rows, columns, metric="val_loss")


def classifiers(fitted, selections, store=None):
    store = store or fitted.store
    return fitted.study.classifiers(selections, fitted.results, store, Stop())


def sets_of(study, count):
    """Returns a probe of several feature sets, from a sweep of one."""
    inputs, trials = study.plan.inputs[KEY], []
    sets = {}
    for number in range(count):
        name = f"set-{number}"
        sets[name, "standardize"] = inputs._replace(
            name=name, x=inputs.x * (1 + number)
        )
        for trial in study.trials:
            static = dataclasses.replace(trial.static, features=name)
            trials.append(trial._replace(trial=len(trials), static=static))
    plan = dataclasses.replace(study.plan, inputs=sets, protocol={})
    return dataclasses.replace(study, plan=plan, trials=tuple(trials))


def test_a_loaded_classifier_is_that_of_its_row(finished):
    selections = select(finished, ("l2",))
    assert len(selections) == 2
    study, data = finished.study, finished.study.data[KEY]
    for selection, one in zip(
        selections, classifiers(finished, selections), strict=True
    ):
        assert one.row == finished.results.rows[one.row["trial"]] == selection.rows[0]
        assert (one.refit, one.num_rows, one.num_held_out) == (False, 90, 30)
        logits = params.logits(one.params, data.val_x)
        loss = losses.softmax_cross_entropy(logits, data.val_labels).mean()
        assert one.row["val_loss"] == pytest.approx(float(loss), rel=1e-5)
        accuracy = metrics.accuracy(logits, data.val_labels)
        assert one.row["val_accuracy"] == pytest.approx(float(accuracy))
        curve = study.trials[one.row["trial"]].static.epochs
        assert one.curves["val_loss"].shape == (curve,)
        assert one.curves["val_loss"][-1] == np.float32(one.row["val_loss"])


def test_folds_select_a_setting_that_is_trained_again_on_all_rows(monkeypatch):
    fitted = sweeps.fit(**FOLDS)
    assert [row["fold"] for row in fitted.results.rows] == [0, 1, 2] * 4
    (selection,) = select(fitted)
    (one,) = classifiers(fitted, [selection])
    assert (one.row["trial"], one.refit, one.num_rows, one.num_held_out) == (
        *(None, True),
        *(120, 120),
    )
    row = one.row
    assert row["fold"] is row["val_loss"] is row["val_accuracy"] is row["trial"] is None
    assert ranking.settings(row) == ranking.settings(selection.rows[0])
    # The same as a trial of a sweep that has all these rows to train on.
    inputs = fitted.study.plan.inputs[KEY]
    labels = jnp.asarray(inputs.labels)
    logits = params.logits(one.params, jnp.asarray(inputs.x))
    assert row["train_accuracy"] == pytest.approx(
        float(metrics.accuracy(logits, labels)), rel=1e-6
    )
    assert set(one.curves) == {"train_loss"}
    # It is kept, and not trained twice.
    monkeypatch.setattr(execution, "run", pytest.fail)
    (again,) = classifiers(fitted, [selection])
    np.testing.assert_array_equal(again.params.W, one.params.W)
    assert again.row == row


def test_by_folds_the_last_training_ends_where_the_best_epochs_were():
    flags = {"folds": 3, "seeds": (0,), "learning_rate": (1.0,), "l2": (0.0,)}
    fitted = sweeps.fit(**sweeps.BEST | flags)
    epochs = sorted(row["epoch"] for row in fitted.results.rows)
    assert 1 < epochs[1] < 12  # the test would be empty otherwise
    (one,) = classifiers(fitted, select(fitted))
    assert one.row["epoch"] == epochs[1]
    assert one.row["steps"] == 8 * epochs[1]  # of 120 rows


def test_a_refit_that_diverges_fails_its_group_alone(monkeypatch):
    fitted = sweeps.fit(**FOLDS)
    selections = select(fitted, ("learning_rate",))
    train = TrainingStudy._train_on_all_rows

    def diverging(study, selection, *arguments):
        batch = train(study, selection, *arguments)
        if selection.group["learning_rate"] == 0.1:
            batch.rows[0] |= {"status": "diverged", "reason": "exploded"}
        return batch

    monkeypatch.setattr(TrainingStudy, "_train_on_all_rows", diverging)
    good, bad = classifiers(fitted, selections)
    assert good.refit
    assert bad == Failure(
        {"learning_rate": 0.1},
        "the chosen setting diverged (exploded) when it was trained on all rows; lower "
        "--learning_rate",
    )


def test_a_refit_can_be_stopped(monkeypatch):
    fitted, stop = sweeps.fit(**FOLDS), Stop()
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(signals.Stopped, match="12 of 12 trials are done"):
        fitted.study.classifiers(select(fitted), fitted.results, MemoryStore(), stop)


def test_the_best_epoch_is_kept_by_rows_classifiers_and_halving():
    whole = sweeps.fit(**sweeps.BEST)
    history = whole.results.history["val_loss"]
    for row, curve in zip(whole.results.rows, history, strict=True):
        assert row["epoch"] == np.argmin(curve) + 1
        assert row["val_loss"] == pytest.approx(curve.min(), rel=1e-6)
    worse = [i for i, c in enumerate(history) if c.min() < 0.9 * c[-1]]
    (one,) = classifiers(whole, select(whole)[:1])
    assert one.row["epoch"] < 12  # the test would be empty otherwise
    assert worse
    data = whole.study.data[KEY]
    logits = params.logits(one.params, data.val_x)
    loss = losses.softmax_cross_entropy(logits, data.val_labels).mean()
    assert float(loss) == pytest.approx(history[one.row["trial"]].min(), rel=1e-5)
    halved = sweeps.fit(halving=3, **sweeps.BEST).results.rows
    ended = [row for row in halved if row["status"] == "ok"]
    assert ended == [whole.results.rows[row["trial"]] for row in ended] != []


def test_trials_that_the_store_lacks_in_the_end_are_named(finished, monkeypatch):
    batches = MemoryStore.batches
    monkeypatch.setattr(
        MemoryStore, "batches", lambda self, names: [*batches(self, names)][1:]
    )
    with pytest.raises(ValueError, match="the store in memory lacks 3 trials, the fir"):
        finished.study.fit(finished.store, Stop())


def test_several_feature_sets_are_scored_apart_and_calibrated(finished):
    columns = {"shots": None, "stage": "selection"}
    study = sets_of(finished.study, 2)
    store = MemoryStore()
    results = study.fit(store, Stop())
    assert [row["trial"] for row in results.rows] == list(range(32))
    assert {row["features"] for row in results.rows} == {"set-0", "set-1"}
    one, other = results.held_out
    assert one.trials == tuple(range(0, 16, 2))
    assert other.trials == tuple(range(16, 32, 2))
    for row, expected in zip(results.rows, finished.results.rows, strict=False):
        assert {k: row[k] for k in columns} == columns
        same = {**expected, "features": "set-0"}
        assert {k: row[k] for k in same} == same  # the first set has the same columns
    data = study.data["set-1", "standardize"]
    x, labels = np.asarray(data.val_x), np.asarray(data.val_labels)
    for index, trial in enumerate(other.trials):
        scores = [
            row_scores.out_of_fold(
                params.Params(*(arrays[name][None] for name in "Wb")),
                x,
                labels,
                np.ones((1, len(labels)), bool),
            )
            for arrays in (store.load_trial(trial + i, "Wb") for i in range(2))
        ]
        assert results.rows[trial]["val_loss_calibrated"] == scores[0].calibrated.mean()
        for name in ("loss", "correct", "calibrated"):
            mean = (getattr(scores[0], name) * 1.0 + getattr(scores[1], name)) / 2
            np.testing.assert_allclose(getattr(other, name)[index], mean, rtol=1e-12)
    errors = results.standard_errors["val_loss_calibrated"]
    assert sorted(errors) == [*one.trials, *other.trials]
    selections = choose.select_per_group(
        results.rows, ("features",), metric="val_loss_calibrated", errors={}
    )
    chosen = study.classifiers(selections, results, store, Stop())
    assert [one.row["features"] for one in chosen] == ["set-0", "set-1"]
