"""What settings do on each held-out row, in the numbers that follow from it."""

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import calibration, losses, params
from linclf_jax.params import Params
from linclf_jax.runs.store import MemoryStore
from linclf_jax.scheduler.signals import Stop
from linclf_jax.selection import choose, ranking
from linclf_jax.selection.held_out import HeldOut
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies import pipeline, validation
from tests import sweeps

KEY = ("raw", "standardize")


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture(
    scope="module",
    params=[{}, {"folds": 3}, {"halving": 2, "loss": ("weston_watkins_hinge",)}],
    ids=["seeds", "folds", "halving"],
)
def fitted(request):
    return sweeps.fit(**request.param)


def held_out_scores(fitted, rows=None):
    study, rows = fitted.study, rows or fitted.results.rows
    return validation.score_settings(
        fitted.store,
        study.trials,
        study.plan.inputs[KEY],
        study.data,
        rows,
        width=study.width,
    )


def logits_of(fitted, row):
    """Returns the logits of a trial as one would compute them by hand."""
    arrays = fitted.store.load_trial(row["trial"], ("W", "b"))
    trained = Params(jnp.asarray(arrays["W"]), jnp.asarray(arrays["b"]))
    return params.logits(trained, fitted.study.data[KEY].val_x)


def own_rows(fitted, row):
    return inputs_lib.is_held_out(fitted.study.plan.inputs[KEY], row["fold"])


def test_rows_add_up_to_the_means_that_settings_are_selected_by(fitted):
    scores = held_out_scores(fitted)
    ranked = ranking.rank_settings(fitted.results.rows, metric="val_loss")
    groups = {group[0]["trial"]: group for group in ranked}
    assert scores.trials == tuple(sorted(groups))
    assert len(groups) == (1 if fitted.study.halving else 8)
    for index, trial in enumerate(scores.trials):
        for values, name in (
            (scores.loss, "val_loss"),
            (scores.correct, "val_accuracy"),
        ):
            # Folds of 40 rows each: the mean of their means is that over the rows.
            mean = ranking.spread(groups[trial], name).mean
            np.testing.assert_allclose(values[index].mean(), mean, rtol=1e-5)


def test_a_setting_of_which_a_repeat_diverged_is_left_out(fitted):
    """Its other repeats are usable, and are in the batches."""
    first, *others = held_out_scores(fitted).trials
    rows = [dict(row) for row in fitted.results.rows]
    rows[first]["status"] = "diverged"
    assert held_out_scores(fitted, rows).trials == tuple(others)


def test_a_row_is_scored_by_the_trials_that_have_not_seen_it(fitted):
    scores = held_out_scores(fitted)
    labels = fitted.study.data[KEY].val_labels
    for index, first in enumerate(scores.trials[:2]):
        like = ranking.settings(fitted.results.rows[first])
        repeats = [r for r in fitted.results.rows if ranking.settings(r) == like]
        loss = losses.LOSSES[like["loss"]]
        expected = sum(
            np.where(own_rows(fitted, row), loss(logits_of(fitted, row), labels), 0.0)
            for row in repeats
        )
        np.testing.assert_allclose(
            scores.loss[index], expected / 2, rtol=1e-4, atol=1e-6
        )


def test_what_a_study_says_is_of_these_rows(fitted):
    study, results = fitted.study, fitted.results
    scores = held_out_scores(fitted)
    assert results.standard_errors == validation.standard_errors([scores])
    # Who would have gone on after a rung with other rows, and to what scores, nobody
    # knows.
    np.testing.assert_equal(results.held_out, () if study.halving else (scores,))


def test_the_temperature_is_that_of_rows_that_trained_nothing(fitted):
    rows = fitted.results.rows
    chosen = choose.select(rows, metric="val_loss")
    with Stop() as stop:
        (classifier,) = fitted.study.classifiers(
            [chosen], fitted.results, fitted.store, stop
        )
    if fitted.study.halving:
        assert classifier.loss == "weston_watkins_hinge"
        assert classifier.temperature is None
        return
    labels = np.asarray(fitted.study.data[KEY].val_labels)
    together = np.zeros((len(labels), 3))
    for row in chosen.rows:
        if row["seed"] == 0:
            own = own_rows(fitted, row)
            together[own] = np.asarray(logits_of(fitted, row))[own]
    expected = calibration.fit_temperature(together, labels)
    assert classifier.temperature == pytest.approx(expected, rel=1e-4)
    assert classifier.num_held_out == len(labels)


def test_no_temperature_helps_a_label_without_a_finite_logit(fitted):
    row, store = dict(fitted.results.rows[0], fold=None), MemoryStore()
    batch = fitted.store.load_batch("r00-000000")
    batch.arrays["W"][0] = np.nan
    store.save_batch("r00-000000", batch)
    study = fitted.study
    inputs, data = study.plan.inputs[KEY], study.data[KEY]
    static = study.trials[0].static
    assert validation.temperature(store, static, inputs, data, [row]) is None


def test_standard_errors_are_those_over_rows():
    rng = np.random.default_rng(0)
    correct = (rng.random((2, 50)) < 0.5).astype(np.float32)
    scores = HeldOut((3, 8), rng.random((2, 50)), correct, None)
    errors = validation.standard_errors([scores])
    assert {metric: list(known) for metric, known in errors.items()} == {
        "val_loss": [3, 8],
        "val_accuracy": [3, 8],
    }
    variance = np.sum((scores.loss[1] - scores.loss[1].mean()) ** 2) / 49
    expected = np.sqrt(variance / 50)
    assert errors["val_loss"][8] == pytest.approx(expected, rel=1e-12)
    share = correct[0].mean()
    expected = np.sqrt(share * (1 - share) / 49)
    assert errors["val_accuracy"][3] == pytest.approx(expected, rel=1e-6)
    calibrated = validation.standard_errors([scores._replace(calibrated=scores.loss)])
    assert calibrated["val_loss_calibrated"] == errors["val_loss"]


def test_a_strongest_penalty_within_one_standard_error():
    l2 = (0.0, 0.001, 0.01, 0.03, 0.1)
    fitted = sweeps.fit(l2=l2, learning_rate=(0.3,), rule="one_standard_error")
    results, (scores,) = fitted.results, fitted.results.held_out
    (selection,) = pipeline.select(fitted.study.plan, results)
    error = results.standard_errors["val_loss"][selection.best]
    assert selection.standard_error == error
    means = scores.loss.mean(axis=1)
    limit = means[scores.trials.index(selection.best)] + error
    expected = max(v for v, mean in zip(l2, means, strict=True) if mean <= limit)
    assert selection.rows[0]["l2"] == expected
    assert expected > results.rows[selection.best]["l2"]
